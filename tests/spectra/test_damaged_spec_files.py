"""Damaged spec files that were once a traceback, a hang or a wrong number."""

import io

import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import to_rest_frame


def rewritten(path, change):
    with fits.open(path) as hdus:
        parts = [hdu.copy() for hdu in hdus]
    change(parts)
    to = io.BytesIO()
    fits.HDUList(parts).writeto(to)
    path.write_bytes(to.getvalue())
    return path


def with_columns(hdu, **forms):
    """The same table with some columns of another format."""
    columns = []
    for column in hdu.columns:
        form = forms.get(column.name)
        array = hdu.data[column.name] if form is None else np.resize(np.asarray(hdu.data[column.name], "O"), 0)
        columns.append(fits.Column(column.name, form or column.format, array=array if form is None else None))
    return fits.BinTableHDU.from_columns(columns, nrows=len(hdu.data))


def no_rows(parts):
    parts[2] = fits.BinTableHDU(parts[2].data[:0], parts[2].header)


def two_rows(parts):
    parts[2] = fits.BinTableHDU(np.concatenate([parts[2].data, parts[2].data]), parts[2].header)


def scaled(parts):
    place = parts[2].columns.names.index("MJD") + 1
    parts[2].header[f"TZERO{place}"] = 1.0


SPEC_FILES = {
    "no row in HDU 2: its numbers came from the bytes behind": (no_rows, "0 rows"),
    "two rows": (two_rows, "2 rows"),
    "a column with an offset: it was ignored": (scaled, "column MJD"),
    "a reduction that is a number": (lambda p: p.__setitem__(2, with_columns(p[2], RUN2D="J")), "RUN2D"),
    "a mask that is no integer": (lambda p: p.__setitem__(1, with_columns(p[1], and_mask="E")), "and_mask"),
    "a mask of two numbers a pixel": (lambda p: p.__setitem__(1, with_columns(p[1], and_mask="2J")), "and_mask"),
    "flux that is no number": (lambda p: p.__setitem__(1, with_columns(p[1], flux="4A")), "flux"),
    "simulated, perhaps": (lambda p: p[0].header.__setitem__("SIMULATE", 175), "SIMULATE"),
}


@pytest.mark.parametrize("what", SPEC_FILES)
def test_spec_files_that_contradict_themselves_are_refused(tmp_path, make, what):
    change, match = SPEC_FILES[what]
    path = rewritten(make.spec(tmp_path / "spec.fits"), change)
    with pytest.raises(SpectrumError, match=match) as caught:
        read_spectrum(path)
    assert caught.value.reason == "unreadable file"


def test_a_column_described_twice_is_refused(tmp_path, make):
    path = make.spec(tmp_path / "spec.fits")
    content = path.read_bytes()
    assert content.count(b"TTYPE7  = 'Z ") == 1
    place = content.index(b"TTYPE7  = 'Z ")
    path.write_bytes(content[:place] + b"TTYPE6  = 'Z'".ljust(80) + content[place + 80 :])
    with pytest.raises(SpectrumError, match="TTYPE6 twice"):
        read_spectrum(path)
    assert content.count(b"TTYPE3  = 'ZWARNING'") == 1
    path.write_bytes(content.replace(b"TTYPE3  = 'ZWARNING'", b"TTYPE3  = 'MJD     '"))
    with pytest.raises(SpectrumError, match="two columns MJD"):  # the last one was taken
        read_spectrum(path)
    path.write_bytes(content.replace(b"TTYPE5  = 'or_mask ", b"TTYPE5  = 'AND_MASK"))
    with pytest.raises(SpectrumError, match="two columns and_mask"):  # the one of the same case was taken
        read_spectrum(path)


def test_a_name_longer_than_any_file_s_is_a_missing_file():
    with pytest.raises(SpectrumError) as caught:
        read_spectrum("x" * 5000)
    assert caught.value.reason == "missing file"


def test_an_absurd_extinction_is_refused_and_spoils_no_other_spectrum(tmp_path, make):
    spectrum = read_spectrum(make.spec(tmp_path / "spec.fits", extinction=(1e30,) * 5))
    with pytest.raises(SpectrumError) as caught:
        to_rest_frame(spectrum, 1.6, Grid(1e-3), ebv=spectrum.ebv)
    assert caught.value.reason == "invalid values"
