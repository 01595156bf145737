"""Evaluation, figures and the report."""
