"""Files of DESI, damaged in every way: their spectra, or one clear sentence."""

import numpy as np
import pytest
import watch
from desi_files import Target, write_redrock, write_spectra
from mutations import Case, fits_damage

from quasar_mass.spectra.read import read
from quasar_mass.spectra.requests import resolve


@pytest.mark.parametrize("examples", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mask", ["plain", "compressed"])
def test_a_damaged_file_of_desi_is_read_or_refused(tmp_path, mask, examples):
    targets = [Target(39633345008634465), Target(39633345008634466, spectype="STAR")]
    write_redrock(tmp_path / "redrock-main-dark-1.fits", targets)
    path = write_spectra(tmp_path / "coadd-main-dark-1.fits", targets, arms="BZ", mask=mask)
    content = path.read_bytes()

    def check(case: Case) -> None:
        path.write_bytes(case.damaged())
        watch.attempt(lambda: resolve([path, path]))
        found = watch.attempt(lambda: read(path))
        for spectrum in found if isinstance(found, list) else [found] if found else []:
            assert np.isfinite(spectrum.flux[spectrum.good]).all()

    watch.fuzz(check, fits_damage(content), examples)
