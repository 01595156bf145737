"""Predictions without end: nothing of a spectrum is kept, and the memory of a process stays as it is."""

import gc
import re
import subprocess
import sys
import weakref
from pathlib import Path

import golden_sample
import pytest

from quasar_mass import tables
from quasar_mass.quoting import Quoter
from quasar_mass.usage import SHIPPED_MODEL

HOME = Path(__file__).resolve().parents[2]
MOST = 0.05  # growth of the resident memory from the first quarter of the time to the last


def test_nothing_of_a_spectrum_is_kept_once_its_mass_is_known():
    quoter = Quoter.load(SHIPPED_MODEL)
    frame, flux = next(tables.iterate_spectra(golden_sample.SPECTRA))
    flux = flux.copy()
    kept = weakref.ref(flux)
    quoter.see(flux, frame["Z"].to_numpy(), frame["SN"].to_numpy(float))
    quoter.ensemble.first.predict(flux)
    del flux
    gc.collect()
    assert kept() is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux, which counts the memory")
def test_memory_is_flat():
    command = [sys.executable, "benchmarks/soak.py"]  # in a process of its own
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    print(f"\n{done.stdout}")  # with pytest -s
    first, last = (float(number.replace(",", "")) for number in re.findall(r"\(([\d,]+) MB\)", done.stdout)[-2:])
    assert last <= (1.0 + MOST) * first
