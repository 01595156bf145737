"""Spectrum files of every reduction, gzip'd or not; what is missing, damaged or something else is one sentence."""

import gzip
import io
import os
import warnings

import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import is_spectrum_file
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import to_rest_frame


@pytest.mark.parametrize(
    "layout",
    [
        {"upper": True, "extnames": False},
        {"exposures": 6, "in_header": False},
        {"upper": True, "exposures": 6, "in_row": False},
        {"extnames": False},
    ],
    ids=str,
)
def test_files_of_all_reductions_read_the_same(make, tmp_path, layout):
    path = make.spec(tmp_path / "spec.fits", spectrum=(10247, 58162, 218), **layout)
    spectrum = read_spectrum(path)
    assert spectrum.spec_id == "10247-58162-0218"
    np.testing.assert_array_equal(spectrum.pixel, make.first_pixel + np.arange(make.n_pixels))
    np.testing.assert_array_equal(spectrum.wavelength, 10 ** (1e-4 * spectrum.pixel))
    np.testing.assert_array_equal(spectrum.flux, make.smooth_flux(spectrum.pixel))
    assert spectrum.redshift == pytest.approx(1.6)
    assert spectrum.ebv == pytest.approx(0.0661 / 3.303, rel=1e-5)
    assert (spectrum.run2d, spectrum.spectral_class, spectrum.kind) == ("v5_13_0", "QSO", "sdss")
    assert spectrum.flux.dtype.isnative


@pytest.mark.parametrize("extinction", [None, (0.0,) * 5, (np.nan,) * 5, (-9999.0,) * 5, (0.05,)])
def test_extinction_and_redshift_that_a_file_lacks_are_nan_and_not_zero(make, tmp_path, extinction):
    spectrum = read_spectrum(make.spec(tmp_path / "spec.fits", extinction=extinction, z=None))
    assert np.isnan([spectrum.ebv, spectrum.redshift]).all()


def test_a_simulated_file_says_so(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits")
    fits.setval(path, "SIMULATE", value=True)
    assert read_spectrum(path).kind == "simulated"


def test_float32_wavelengths_come_out_as_exact_pixels(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits")
    stored = fits.getdata(path, 1)["loglam"].astype(float)
    pixel = read_spectrum(path).pixel
    assert np.abs(stored - 1e-4 * pixel).max() > 1e-8  # the file is off
    np.testing.assert_array_equal(np.diff(pixel), 1)


def test_only_brightsky_of_sdss_s_mask_bits_masks_a_pixel(make, tmp_path):
    and_mask = np.zeros(make.n_pixels, int)
    and_mask[2000:2031] = 1 << np.arange(31)
    spectrum = read_spectrum(make.spec(tmp_path / "spec.fits", and_mask=and_mask))
    assert np.flatnonzero(~spectrum.good).tolist() == [2023]


def test_nan_flux_without_weight_is_a_bad_pixel(make, tmp_path):
    pixel = make.first_pixel + np.arange(make.n_pixels)
    flux, ivar = make.smooth_flux(pixel), np.full(make.n_pixels, 4.0)
    flux[2000:2003], ivar[2000:2003] = (np.nan, np.inf, -np.inf), 0
    placed = to_rest_frame(read_spectrum(make.spec(tmp_path / "spec.fits", flux=flux, ivar=ivar)), 1.6, Grid())
    assert np.isfinite(placed.flux).all()
    assert placed.n_bad == 3


@pytest.mark.parametrize("name", ["spec.fits.gz", "spec.FIT", "spectrum"])
def test_the_content_and_not_the_name_decides(make, tmp_path, name):
    plain = make.spec(tmp_path / "plain.fits")
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()) if "T" not in name else plain.read_bytes())
    np.testing.assert_array_equal(read_spectrum(path).flux, read_spectrum(plain).flux)
    assert is_spectrum_file(path) == (name != "spectrum")


# --- what cannot be read ----------------------------------------------------------------------------------------------


def refused(path) -> SpectrumError:
    """The error, after making sure that nothing else came out: no other exception and no warning."""
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with pytest.raises(SpectrumError) as caught:
            read_spectrum(path)
    assert [str(warning.message) for warning in leaked] == []
    assert "\n" not in str(caught.value)
    assert "Error" not in caught.value.message  # no names of Python classes
    return caught.value


def test_what_is_not_there_is_missing(tmp_path):
    for path in (tmp_path / "nothing.fits", tmp_path, "x" * 5000):  # a name longer than any file's
        assert refused(path).reason == "missing file"
    assert "is a folder; name a spectrum file" in str(refused(tmp_path))


@pytest.mark.parametrize("size", [5760, 40_000, 0.5, 0.9])
def test_a_file_that_is_cut_short_says_so(make, tmp_path, size):
    path = make.spec(tmp_path / "spec.fits", upper=True, extnames=False)
    content = path.read_bytes()
    path.write_bytes(content[: int(size if size > 1 else size * len(content))])
    error = refused(path)
    assert error.reason == "unreadable file"
    assert "cut off: " in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits")
    path.chmod(0)
    assert "no permission to read it" in str(refused(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"text\n" * 5000, "neither FITS nor a text with a table of numbers"),
        (b"\0" * 9000, "neither FITS, VOTable or .npz, nor text"),
        (b"SIMPLE  =  T", "cut off: in header 0"),
        (gzip.compress(b"text\n" * 5000), "neither FITS nor a text with a table of numbers"),
        (gzip.compress(b"SIMPLE" * 5000)[:-20], "ended before"),
    ],
    ids=["empty", "text", "zeros", "cut off", "text, gzip'd", "cut off, gzip'd"],  # gzip'd bytes contain the time
)
def test_what_is_no_known_format_is_unreadable(tmp_path, content, words):
    path = tmp_path / "spec.fits"
    path.write_bytes(content)
    error = refused(path)
    assert error.reason == "unreadable file"
    assert words in str(error)


def rewritten(path, change):
    with fits.open(path) as hdus:
        parts = [hdu.copy() for hdu in hdus]
    change(parts)
    to = io.BytesIO()
    fits.HDUList(parts).writeto(to)
    path.write_bytes(to.getvalue())
    return path


def with_columns(number, **forms):
    """A change of a table: some columns of another format."""

    def change(parts):
        hdu, columns = parts[number], []
        for column in hdu.columns:
            form = forms.get(column.name)
            array = hdu.data[column.name] if form is None else np.resize(np.asarray(hdu.data[column.name], "O"), 0)
            columns.append(fits.Column(column.name, form or column.format, array=array if form is None else None))
        parts[number] = fits.BinTableHDU.from_columns(columns, nrows=len(hdu.data))

    return change


def image(number, *shape):
    return lambda parts: parts.__setitem__(number, fits.ImageHDU(np.ones(shape)) if shape else fits.ImageHDU())


def rows(indices):
    return lambda parts: parts.__setitem__(2, fits.BinTableHDU(parts[2].data[indices], parts[2].header))


def scaled(parts):
    parts[2].header[f"TZERO{parts[2].columns.names.index('MJD') + 1}"] = 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rows([]), "0 rows"),  # its numbers came from the bytes behind
        (rows([0, 0]), "2 rows"),
        (scaled, "column MJD"),  # it was ignored
        (with_columns(2, RUN2D="J"), "RUN2D"),
        (with_columns(1, and_mask="E"), "and_mask"),
        (with_columns(1, and_mask="2J"), "and_mask"),
        (with_columns(1, flux="4A"), "flux"),
        (lambda parts: parts[0].header.__setitem__("SIMULATE", 175), "SIMULATE"),
        (lambda parts: parts.pop(), "3 HDUs instead of at least 4"),
        (image(1, 5, 5), "none of which holds a spectrum"),
        (image(1), "none of which holds a spectrum"),
        (image(2, 1), "no tables in HDUs 1 and 2"),
    ],
)
def test_files_that_are_no_spec_files_or_contradict_themselves_are_refused(tmp_path, make, change, words):
    error = refused(rewritten(make.spec(tmp_path / "spec.fits"), change))
    assert error.reason == "unreadable file"
    assert words in str(error)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"TTYPE7  = 'Z ", b"TTYPE6  = 'Z ", "TTYPE6 twice"),
        (b"TTYPE3  = 'ZWARNING'", b"TTYPE3  = 'MJD     '", "two columns MJD"),  # the last one was taken
        (b"TTYPE5  = 'or_mask ", b"TTYPE5  = 'AND_MASK", "two columns and_mask"),  # the one of the same case was taken
    ],
)
def test_a_column_described_twice_is_refused(tmp_path, make, old, new, words):
    path = make.spec(tmp_path / "spec.fits")
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    assert words in str(refused(path))


def test_without_identity_the_file_is_unreadable(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits", in_header=False, in_row=False)
    assert "neither PLATEID in HDU 0 nor PLATE in HDU 2" in str(refused(path))


@pytest.mark.parametrize(
    "loglam",
    [
        lambda x: x[::-1],
        lambda x: np.where(np.arange(len(x)) == 7, np.nan, x),
        lambda x: np.where(np.arange(len(x)) == 7, x + 3e-5, x),  # one off the SDSS grid
        lambda x: 10**x,  # Angstrom instead of their logarithm
        lambda x: np.where(np.arange(len(x)) == 7, x[6], x),
        lambda x: 0 * x,
    ],
)
def test_wavelengths_that_contradict_themselves_are_unreadable(make, tmp_path, loglam):
    x = 1e-4 * (make.first_pixel + np.arange(make.n_pixels))
    assert refused(make.spec(tmp_path / "spec.fits", loglam=loglam(x))).reason == "unreadable file"


@pytest.mark.parametrize(
    ("column", "value"),
    [("flux", np.nan), ("flux", np.inf), ("flux", -np.inf), ("ivar", -1.0), ("ivar", np.nan), ("ivar", np.inf)],
)
def test_invalid_values_are_refused(make, tmp_path, column, value):
    values = np.full(make.n_pixels, 4.0)
    values[100] = value
    assert refused(make.spec(tmp_path / "spec.fits", **{column: values})).reason == "invalid values"


def test_a_spec_file_without_its_masks_is_no_table_of_somebody_s(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits", extnames=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"'and_mask'", b"'any_mask'"))
    assert "no column and_mask" in refused(path).message
