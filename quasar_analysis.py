#!/usr/bin/env python3
"""Predict masses and evaluate networks. `python quasar_analysis.py --help` lists the verbs."""

import sys

from quasar_mass.cli.quasar_analysis import main, results

__all__ = ["main", "results"]

if __name__ == "__main__":
    sys.exit(main())
