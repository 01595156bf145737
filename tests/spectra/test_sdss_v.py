"""Spec files of SDSS-V, written by the data models of its releases."""

import gzip

import formats
import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import prepare, spectrum_flags

PIXEL = 35523 + np.arange(4648)
WAVELENGTH = 10 ** (1e-4 * PIXEL)
IVAR = np.full(len(PIXEL), 4.0)


@pytest.fixture
def write(make, tmp_path):
    """A file of SDSS-V, of the given options of `formats.sdss_v`, read."""

    def one(**options):
        wavelength = options.pop("wavelength", WAVELENGTH)
        flux = make.smooth_flux(np.log10(wavelength) * 1e4)
        return read_spectrum(
            formats.sdss_v(tmp_path / "spec.fits", wavelength, flux, np.full(len(flux), 4.0), **options)
        )

    return one


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("release", "run2d"), [("DR18", "v6_0_4"), ("DR19", "v6_1_3"), ("DR20", "v6_2_1")])
def test_lite_and_full_files_of_all_releases_read_the_same(write, make, release, run2d, full):
    spectrum = write(release=release, full=full, redshift=1.625, ebv=0.03)
    assert spectrum.spec_id == "112360-60000-27021598150202075"  # a CATALOGID beyond 2^53, where floats have gaps
    np.testing.assert_array_equal(spectrum.pixel, PIXEL)
    np.testing.assert_array_equal(spectrum.wavelength, WAVELENGTH)
    np.testing.assert_array_equal(spectrum.flux, make.smooth_flux(PIXEL))
    np.testing.assert_array_equal(spectrum.ivar, IVAR)
    assert (spectrum.redshift, spectrum.ebv) == (1.625, pytest.approx(0.03))
    assert (spectrum.kind, spectrum.run2d, spectrum.spectral_class) == ("sdss", run2d, "QSO")
    assert (spectrum.telescope, spectrum.notes) == ("SDSS 2.5-M", ())


def test_both_telescopes_are_told_apart(write):
    assert write(telescope="LCO Du Pont").telescope == "LCO Du Pont"


@pytest.mark.parametrize(
    ("options", "spec_id"),
    [
        ({"field": 15143, "mjd": 59205, "catalogid": 4544940698, "release": "DR18"}, "15143-59205-4544940698"),
        ({"field": 15143, "mjd": 59205, "catalogid": 4544940698}, "15143-59205-4544940698"),
        ({"catalogid": "04544940698"}, "112360-60000-4544940698"),
        ({"catalogid": "u095551.0+013107.8"}, "112360-60000-u095551.0+013107.8"),
        ({"field": "allepoch", "catalogid": 4382190169}, "allepoch-60000-4382190169"),
        ({"field": "allepoch_apo", "catalogid": 4351657527, "release": "DR20"}, "allepoch_apo-60000-4351657527"),
        ({"field": "allepoch", "columns": {"SPEC_FILE": None, "FIELD": None}}, f"allepoch-60000-{formats.CATALOGID}"),
    ],
)
def test_a_spectrum_is_named_by_field_mjd_and_catalogid(write, options, spec_id):
    assert write(**options).spec_id == spec_id


@pytest.mark.parametrize(
    ("options", "ebv", "notes"),
    [
        ({"ebv": 0.04}, 0.04, ()),
        ({"ebv": 0.04, "release": "DR18"}, 0.04, ()),
        ({"ebv": 0.04, "ebv_type": "RJCE"}, 0.04, ("E(B-V) of RJCE, not SFD",)),
        ({"ebv": 0.04, "ebv_type": "bayestar15"}, 0.04, ("E(B-V) of bayestar15, not SFD",)),
        ({"ebv": 0.04, "ebv_type": ""}, 0.04, ("E(B-V) of an unknown map, not SFD",)),
        ({"ebv": 0.0}, 0.0, ()),
        ({"ebv": 0.0, "ebv_type": ""}, np.nan, ()),  # never filled
        ({"ebv": 0.0, "release": "DR18"}, np.nan, ()),
        ({"ebv": np.nan}, np.nan, ()),
        ({"ebv": -999.0}, np.nan, ()),
    ],
)
def test_another_reddening_than_sfd_is_used_and_named(write, options, ebv, notes):
    spectrum = write(**options)
    assert spectrum.ebv == pytest.approx(ebv, nan_ok=True)
    assert spectrum.notes == notes


def test_what_the_file_says_of_its_own_redshift_and_reddening_does_not_flag_those_of_the_user(make, tmp_path):
    options = {"ebv_type": "RJCE", "zwarning": 4, "spectral_class": "STAR"}
    flux = make.smooth_flux(PIXEL)
    path = formats.sdss_v(tmp_path / "spec.fits", WAVELENGTH, flux, IVAR, **options)
    own, of_user = prepare(path, Grid()), prepare(SpectrumRequest(path, redshift=1.7, ebv=0.02), Grid())
    notes = ["redshift with ZWARNING 4", "E(B-V) of RJCE, not SFD"]
    assert sorted(spectrum_flags(own.spectrum)) == sorted(["class STAR", *notes])
    assert spectrum_flags(of_user.spectrum) == ["class STAR"]
    np.testing.assert_array_equal(of_user.spectrum.flux, flux)


def test_only_brightsky_masks_a_pixel(write):
    and_mask = np.zeros(len(PIXEL), int)
    and_mask[2000:2031] = 1 << np.arange(31)
    assert np.flatnonzero(~write(and_mask=and_mask).good).tolist() == [2023]


def test_the_order_of_the_hdus_does_not_count_where_they_have_names(make, tmp_path):
    path = formats.sdss_v(tmp_path / "spec.fits", WAVELENGTH, make.smooth_flux(PIXEL), IVAR, full=True)
    with fits.open(path) as hdus:
        places = [(hdu.fileinfo()["hdrLoc"], hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"]) for hdu in hdus]
    primary, *others = [path.read_bytes()[start:end] for start, end in places]
    (tmp_path / "other.fits").write_bytes(primary + b"".join(reversed(others)))
    one, other = read_spectrum(path), read_spectrum(tmp_path / "other.fits")
    np.testing.assert_array_equal(one.flux, other.flux)
    assert (one.spec_id, one.redshift) == (other.spec_id, other.redshift)


def test_wavelengths_may_be_float64(write):
    np.testing.assert_array_equal(write(loglam="D").pixel, PIXEL)


def test_packed_files_are_read(make, tmp_path):
    path = formats.sdss_v(tmp_path / "spec.fits", WAVELENGTH, make.smooth_flux(PIXEL), IVAR)
    (tmp_path / "spec.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    packed = read_spectrum(tmp_path / "spec.fits.gz")
    np.testing.assert_array_equal(packed.flux, read_spectrum(path).flux)


@pytest.mark.parametrize(
    "wavelength",
    [np.linspace(3600, 10_000, 6000), 10 ** (1e-4 * (PIXEL + 0.3)), 10 ** (5e-5 * np.arange(71000, 80000))],
    ids=["linear", "shifted by a third of a pixel", "twice as fine"],
)
def test_pixels_off_sdss_s_grid_are_read_and_rebinned(write, make, wavelength):
    spectrum = write(wavelength=wavelength)
    assert spectrum.pixel is None
    np.testing.assert_allclose(spectrum.wavelength, wavelength, rtol=6e-7)
    rebinned = spectrum.on_log_grid()
    inside = slice(20, -20)
    expected = make.smooth_flux(rebinned.pixel)
    np.testing.assert_allclose(rebinned.flux[inside], expected[inside], rtol=0.005)
