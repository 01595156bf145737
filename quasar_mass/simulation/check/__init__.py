"""Comparison of a simulated survey with real data."""
