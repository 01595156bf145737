"""Files of other kinds are refused in one sentence with the reason, and not taken for spectra."""

import gzip

import formats
import numpy as np
import pytest
from test_read import refused

WAVELENGTH = 10 ** (1e-4 * (35682 + np.arange(3900)))
ONES = np.ones(len(WAVELENGTH), np.float32)


@pytest.mark.parametrize("release", [0, 5, 7, 8, 10])
def test_lamost_has_no_luminosity_and_so_no_mass(tmp_path, release):
    path = formats.lamost(
        tmp_path / "spec-56972-HD064049N515841V01_sp07-008.fits", WAVELENGTH, ONES, ONES, release=release
    )
    packed = path.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        error = refused(one)
        assert error.reason == "relative flux"
        assert error.message == "is a LAMOST spectrum, whose flux is relative: it gives no luminosity and so no mass"


@pytest.mark.parametrize(
    ("write", "reason", "words"),
    [
        (formats.sp_plate, "another kind of file", "holds the spectra of 20 fibres (an spPlate or spField file)"),
        (formats.sp_zbest, "another kind of file", "holds redshifts and no spectra"),
        (formats.apogee, "does not cover the window", "is an APOGEE spectrum of the near infrared"),
        (lambda path: formats.apogee(path, visit=True), "does not cover the window", "is an APOGEE spectrum"),
    ],
    ids=["spPlate", "spZbest", "apStar", "apVisit"],
)
def test_other_files_of_sdss_are_named(tmp_path, write, reason, words):
    error = refused(write(tmp_path / "file.fits"))
    assert error.reason == reason
    assert words in error.message
