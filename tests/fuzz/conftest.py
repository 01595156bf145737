"""Limits on memory and a timer of a process's own do not exist on Windows."""

import sys

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]
