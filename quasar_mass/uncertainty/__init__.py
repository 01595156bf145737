"""Intervals, flags and pooling, in NumPy alone."""
