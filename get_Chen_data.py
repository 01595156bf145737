#!/usr/bin/env python3
"""Get a survey: simulate it, or fetch and build it. `python get_Chen_data.py --help` lists the verbs."""

import sys

from quasar_mass.cli.get_chen_data import get_Chen_data, main

__all__ = ["get_Chen_data", "main"]

if __name__ == "__main__":
    sys.exit(main())
