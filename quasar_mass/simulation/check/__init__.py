"""A simulated survey beside real data, number by number."""
