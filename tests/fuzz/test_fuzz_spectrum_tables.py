"""Tables of one spectrum, damaged in every way: a spectrum or one sentence."""

import numpy as np
import pytest
import watch
from astropy.table import Table
from mutations import Case, fits_damage, text_damage

from quasar_mass.spectra.read import read as read_spectrum


def written(path, ending: str) -> bytes:
    """A small spectrum in one format."""
    pixels = np.arange(40)
    table = Table({"wavelength": 3600.0 + pixels, "flux": 5.0 + np.sin(pixels), "error": 0.1 + 0.01 * pixels})
    table.meta.update(Z=1.6, EBV=0.03)
    forms = {"csv": "ascii.csv", "txt": "ascii.basic", "ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable"}
    if ending == "npz":
        np.savez(path, z=1.6, **{name: table[name].data for name in table.colnames})
    else:
        table.write(path, format=forms[ending])
    return path.read_bytes()


@pytest.mark.parametrize("examples", [40, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["csv", "txt", "ecsv", "fits", "vot", "npz"])
def test_damaged_tables_are_spectra_or_are_refused(tmp_path, ending, examples):
    path = tmp_path / f"spectrum.{ending}"
    content = written(path, ending)

    def check(case: Case) -> None:
        path.write_bytes(case.damaged())
        spectrum = watch.attempt(lambda: read_spectrum(path))
        if spectrum is None:
            return
        assert (np.diff(spectrum.wavelength) > 0).all()
        assert np.isfinite(spectrum.flux[spectrum.good]).all()
        assert np.isfinite(spectrum.ivar).all()

    watch.fuzz(check, (fits_damage if ending == "fits" else text_damage)(content), examples)
