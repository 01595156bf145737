"""Predictions without end: the memory of a process stays as it is. Each soak has a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
MOST = 0.05  # growth of the resident memory from the first quarter of the time to the last

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux, which counts the memory")


@pytest.mark.slow
def test_memory_is_flat():
    command = [sys.executable, "benchmarks/soak.py", "--spectra", "200000"]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    print(f"\n{done.stdout}")  # with pytest -s
    first, last = (float(number.replace(",", "")) for number in re.findall(r"\(([\d,]+) MB\)", done.stdout)[-2:])
    assert last <= (1.0 + MOST) * first
