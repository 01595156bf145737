"""One spectrum, from its file to the rest-frame grid."""

import contextlib
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import Planck15
from astropy.io import fits
from dust_extinction.parameter_averages import F99
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.extinction import transmission
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import luminosity_distance, to_rest_frame
from quasar_mass.spectra.spectrum import Spectrum

WINDOW = (3.16, 3.53)
Z = 1.6


def observed(make, *, flux=None, ivar=None, mask=None, first=None, ebv=np.nan) -> Spectrum:
    """A spectrum in memory."""
    first = make.first_pixel if first is None else first
    n = make.n_pixels if flux is None else len(flux)
    pixel = first + np.arange(n)
    return Spectrum(
        wavelength=10 ** (1e-4 * pixel),
        flux=make.smooth_flux(pixel).astype(float) if flux is None else np.asarray(flux, float),
        ivar=np.full(n, 4.0) if ivar is None else np.asarray(ivar, float),
        mask=mask,
        redshift=Z,
        ebv=ebv,
    )


def in_window(pixel, redshift=Z):
    rest = 1e-4 * pixel - np.log10(1 + redshift)
    return (rest >= WINDOW[0]) & (rest <= WINDOW[1])


def scale(redshift=Z):
    return Planck15.luminosity_distance(redshift).value ** 2 * 1e-9


def fill_then_interpolate(spectrum, redshift, grid, factor=1.0):
    """The slow way in two steps, with SciPy: repair the bad pixels, shift, interpolate."""
    good = (spectrum.ivar > 0) & ~spectrum.mask
    x, y = 1e-4 * spectrum.pixel, spectrum.flux * factor
    ends = (y[good][0], y[good][-1])
    repaired = np.where(good, y, interp1d(x[good], y[good], bounds_error=False, fill_value=ends)(x))
    return interp1d(x - np.log10(1 + redshift), repaired)(grid.log_wavelength) * scale(redshift)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("extnames", [False, True])
@pytest.mark.parametrize("exposures", [0, 6])
@pytest.mark.parametrize("identity", ["header", "row", "both"])
def test_files_of_all_reductions_read_the_same(make, tmp_path, upper, extnames, exposures, identity):
    path = make.spec(
        tmp_path / "spec.fits",
        spectrum=(10247, 58162, 218),
        upper=upper,
        extnames=extnames,
        exposures=exposures,
        in_header=identity != "row",
        in_row=identity != "header",
    )
    spectrum = read_spectrum(path)
    assert spectrum.spec_id == "10247-58162-0218"
    np.testing.assert_array_equal(spectrum.pixel, make.first_pixel + np.arange(make.n_pixels))
    np.testing.assert_array_equal(spectrum.flux, make.smooth_flux(spectrum.pixel))
    assert spectrum.redshift == pytest.approx(1.6)
    assert spectrum.ebv == pytest.approx(0.0661 / 3.303, rel=1e-5)
    assert (spectrum.run2d, spectrum.spectral_class, spectrum.kind) == ("v5_13_0", "QSO", "sdss")
    assert spectrum.flux.dtype.isnative


@pytest.mark.parametrize("extinction", [None, (0.0,) * 5, (np.nan,) * 5, (-9999.0,) * 5, (0.05,)])
def test_extinction_that_is_not_there_is_nan_and_not_zero(make, tmp_path, extinction):
    assert np.isnan(read_spectrum(make.spec(tmp_path / "spec.fits", extinction=extinction)).ebv)


def test_redshift_that_is_not_there_is_nan(make, tmp_path):
    assert np.isnan(read_spectrum(make.spec(tmp_path / "spec.fits", z=None)).redshift)


def test_simulated_file_says_so(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits")
    fits.setval(path, "SIMULATE", value=True)
    assert read_spectrum(path).kind == "simulated"


def test_float32_wavelengths_come_out_as_exact_pixels(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits")
    with fits.open(path) as hdus:
        stored = hdus[1].data["loglam"].astype(float)
    pixel = read_spectrum(path).pixel
    assert np.abs(stored - 1e-4 * pixel).max() > 1e-8  # the file is off
    np.testing.assert_array_equal(np.diff(pixel), 1)


def refused(path) -> SpectrumError:
    """The error, after making sure that nothing else came out: no other exception and no warning."""
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with pytest.raises(SpectrumError) as caught:
            read_spectrum(path)
    assert [str(warning.message) for warning in leaked] == []
    assert caught.value.reason in SpectrumError.REASONS
    assert "\n" not in str(caught.value)
    return caught.value


def test_missing_file_and_folder_are_missing(tmp_path):
    assert refused(tmp_path / "nothing.fits").reason == "missing file"
    assert refused(tmp_path).reason == "missing file"


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b"text\n" * 5000, b"\0" * 9000, b"SIMPLE  =  T", b"<html></html>" * 300]
)
def test_what_is_no_fits_file_is_unreadable(tmp_path, content):
    path = tmp_path / "spec.fits"
    path.write_bytes(content)
    assert refused(path).reason == "unreadable file"


@pytest.mark.parametrize("hdus", [1, 2])
def test_file_with_too_few_hdus_is_unreadable(make, tmp_path, hdus):
    assert refused(make.spec(tmp_path / "spec.fits", hdus=hdus)).reason == "unreadable file"


def test_images_in_place_of_tables_are_unreadable(make, tmp_path):
    good = make.spec(tmp_path / "good.fits")
    for number, shape in ((1, (5,)), (1, (5, 5)), (2, (1,)), (2, (1, 5)), (2, ())):
        with fits.open(good) as hdus:
            every = [hdu.copy() for hdu in hdus]
        every[number] = fits.ImageHDU(np.ones(shape)) if shape else fits.ImageHDU()
        path = tmp_path / "spec.fits"
        fits.HDUList(every).writeto(path, overwrite=True)
        assert refused(path).reason == "unreadable file"


def test_without_identity_the_file_is_unreadable(make, tmp_path):
    assert refused(make.spec(tmp_path / "spec.fits", in_header=False, in_row=False)).reason == "unreadable file"


@pytest.mark.parametrize(
    "loglam",
    [
        lambda x: x[::-1],
        lambda x: np.where(np.arange(len(x)) == 7, np.nan, x),
        lambda x: x + 3e-5,  # off the SDSS grid
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


def test_nan_flux_without_weight_is_a_bad_pixel(make, tmp_path):
    pixel = make.first_pixel + np.arange(make.n_pixels)
    flux, ivar = make.smooth_flux(pixel), np.full(make.n_pixels, 4.0)
    flux[2000:2003], ivar[2000:2003] = (np.nan, np.inf, -np.inf), 0
    placed = to_rest_frame(read_spectrum(make.spec(tmp_path / "spec.fits", flux=flux, ivar=ivar)), Z, Grid())
    assert np.isfinite(placed.flux).all()
    assert placed.n_bad == 3


class Content:
    """Bytes that do not print themselves."""

    def __init__(self, content: bytes):
        self.bytes = content


@pytest.fixture(scope="module")
def content(make, tmp_path_factory) -> "Content":
    pixel = make.first_pixel + np.arange(600)
    path = make.spec(tmp_path_factory.mktemp("content") / "spec.fits", flux=make.smooth_flux(pixel))
    return Content(path.read_bytes())


@pytest.mark.parametrize("share", np.linspace(0, 0.995, 25).round(3))
def test_file_cut_off_is_refused_unless_only_the_line_fits_are_hurt(content, tmp_path, share):
    path = tmp_path / "spec.fits"
    path.write_bytes(content.bytes[: int(share * len(content.bytes))])
    if path.stat().st_size <= content.bytes.index(b"SPZLINE"):
        assert refused(path).reason == "unreadable file"
        return
    whole = tmp_path / "whole.fits"
    whole.write_bytes(content.bytes)
    try:
        read = read_spectrum(path)
    except SpectrumError:
        return
    for name, value in vars(read_spectrum(whole)).items():
        np.testing.assert_array_equal(getattr(read, name), value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.one_of(st.just(10**9), st.integers(0, 40_000)),
    damage=st.lists(
        st.tuples(
            # the header cards, where a byte decides; then anywhere
            st.one_of(
                st.sampled_from([0, 2880, 25920, 31680]).flatmap(lambda at: st.integers(at, at + 2400)),
                st.integers(0, 40_000),
            ),
            st.one_of(st.sampled_from(b"0123456789 -'=/.TEJAXIO\x00\xff"), st.integers(0, 255)),
        ),
        max_size=4,
    ),
)
def test_no_cut_and_no_damaged_byte_raises_anything_but_spectrum_error(content, tmp_path, length, damage):
    damaged = bytearray(content.bytes[:length])
    for where, byte in damage:
        if where < len(damaged):
            damaged[where] = byte
    path = tmp_path / "spec.fits"
    path.write_bytes(bytes(damaged))
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        with contextlib.suppress(SpectrumError):
            read_spectrum(path)
    assert [str(warning.message) for warning in leaked] == []


# --- to the grid -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "size"), [(1e-4, 3701), (5e-5, 7401), (1e-3, 371)])
def test_grid_spans_the_window_with_both_ends(step, size):
    grid = Grid(step)
    assert grid.size == len(grid.log_wavelength) == size
    assert grid.log_wavelength[0] == pytest.approx(3.16, abs=1e-12)
    assert grid.log_wavelength[-1] == pytest.approx(3.53, abs=1e-9)


@pytest.mark.parametrize("step", [1e-4, 5e-5])
@pytest.mark.parametrize("redshift", [1.5, 1.6, 1.79])
def test_flux_on_the_grid_is_fill_then_interpolate(make, step, redshift):
    random = np.random.default_rng(1)
    n = make.n_pixels
    flux = make.smooth_flux(make.first_pixel + np.arange(n)) + random.normal(0, 1, n)
    ivar = np.where(random.random(n) < 0.1, 0.0, 4.0)
    ivar[1000:1100] = 0
    flux[1000:1100] = 1e6  # must not matter
    mask = random.random(n) < 0.05
    flux[mask] = -1e6
    spectrum = observed(make, flux=flux, ivar=ivar, mask=mask)
    placed = to_rest_frame(spectrum, redshift, Grid(step))
    assert placed.flux.dtype == np.float32
    np.testing.assert_allclose(placed.flux, fill_then_interpolate(spectrum, redshift, Grid(step)), rtol=1e-6, atol=1e-4)

    inside = in_window(spectrum.pixel, redshift)
    bad = (ivar == 0) | mask
    assert placed.n_pixels == inside.sum()
    assert placed.n_bad == (inside & bad).sum()
    signal_to_noise = np.median((flux * np.sqrt(ivar))[inside & ~bad])
    assert placed.signal_to_noise == pytest.approx(signal_to_noise)


def test_only_brightsky_of_sdss_s_mask_bits_masks_a_pixel(make, tmp_path):
    and_mask = np.zeros(make.n_pixels, int)
    and_mask[2000:2031] = 1 << np.arange(31)
    spectrum = read_spectrum(make.spec(tmp_path / "spec.fits", and_mask=and_mask))
    assert np.flatnonzero(~spectrum.good).tolist() == [2023]


def test_pixels_that_the_file_lacks_count_as_bad(make):
    whole = observed(make)
    keep = np.ones(make.n_pixels, bool)
    keep[2000:2025] = False
    parts = {name: getattr(whole, name)[keep] for name in ("wavelength", "flux", "ivar", "mask")}
    placed = to_rest_frame(replace(whole, **parts), Z, Grid(1e-3))
    assert placed.n_bad == 25
    assert placed.n_pixels == in_window(whole.pixel).sum()


def test_bad_pixels_at_the_ends_of_the_file_take_the_nearest_good_value(make):
    low = int(np.ceil(1e4 * (WINDOW[0] + np.log10(1 + Z)))) - 2  # the file begins just before the window
    n = 3710
    flux, ivar = np.linspace(5, 9, n), np.full(n, 4.0)
    ivar[:20] = 0
    flux[:20] = 999
    placed = to_rest_frame(observed(make, flux=flux, ivar=ivar, first=low), Z, Grid())
    np.testing.assert_allclose(placed.flux[:15], flux[20] * scale(), rtol=1e-6)


def test_luminosity_is_scaled_with_planck15(make):
    flat = observed(make, flux=np.full(make.n_pixels, 2.0))
    for redshift in (1.48, 1.6, 1.79):
        np.testing.assert_allclose(to_rest_frame(flat, redshift, Grid(1e-3)).flux, 2.0 * scale(redshift), rtol=1e-6)
    given_distance = to_rest_frame(flat, Z, Grid(1e-3), distance=1000.0).flux
    np.testing.assert_allclose(given_distance, 2.0 * 1000.0**2 * 1e-9, rtol=1e-6)


def test_distances_of_many_redshifts_are_those_of_each():
    redshift = np.array([1.2, 1.5, 1.79])
    each = [Planck15.luminosity_distance(z).to_value(units.Mpc) for z in redshift]
    np.testing.assert_allclose(luminosity_distance(redshift), each, rtol=1e-12)


@pytest.mark.parametrize("ebv", [0.005, 0.05, 0.4])
def test_extinction_is_undone_as_dust_extinction_makes_it(make, ebv):
    intrinsic = make.smooth_flux(make.first_pixel + np.arange(make.n_pixels)).astype(float)
    wavelength = 10 ** (1e-4 * (make.first_pixel + np.arange(make.n_pixels))) * units.AA
    reddened = intrinsic * F99(Rv=3.1).extinguish(wavelength, Av=2.742 * ebv)
    corrected = to_rest_frame(observed(make, flux=reddened), Z, Grid(), ebv=ebv)
    expected = to_rest_frame(observed(make, flux=intrinsic), Z, Grid())
    np.testing.assert_allclose(corrected.flux, expected.flux, rtol=1e-6)
    # signal to noise is the file's own
    assert corrected.signal_to_noise < expected.signal_to_noise


@pytest.mark.parametrize("ebv", [None, np.nan, 0.0])
def test_no_extinction_leaves_the_flux_alone(make, ebv):
    plain = to_rest_frame(observed(make, ebv=0.3), Z, Grid(1e-3))
    assert np.array_equal(to_rest_frame(observed(make, ebv=0.3), Z, Grid(1e-3), ebv=ebv).flux, plain.flux)


def test_transmission_is_of_the_observed_wavelength_and_goes_on_flat_beyond_the_curve():
    pixel = np.array([34771, 37000, 40792])
    expected = F99(Rv=3.1).extinguish(10 ** (1e-4 * pixel) * units.AA, Av=2.742 * 0.1)
    np.testing.assert_allclose(transmission(pixel, 0.1), expected, rtol=1e-12)
    assert transmission(np.array([30000, 45000]), 0.1) == pytest.approx(expected[[0, 2]])


def edges(redshift):
    """First and last pixel a file must have, with room for float noise."""
    shift = np.log10(1 + redshift)
    return int(np.floor(1e4 * (WINDOW[0] + shift))), int(np.ceil(1e4 * (WINDOW[1] + shift)))


@pytest.mark.parametrize("redshift", [1.5, 1.61803, 1.7])
@pytest.mark.parametrize(("front", "back"), [(0, 0), (1, 0), (0, 1)])
def test_file_that_just_covers_the_window_is_used_and_one_pixel_less_is_not(make, redshift, front, back):
    low, high = edges(redshift)
    spectrum = observed(make, flux=np.ones(high - low + 1 - front - back), first=low + front)
    if front or back:
        with pytest.raises(SpectrumError) as caught:
            to_rest_frame(spectrum, redshift, Grid())
        assert caught.value.reason == "does not cover the window"
    else:
        assert np.isfinite(to_rest_frame(spectrum, redshift, Grid()).flux).all()


def test_too_low_and_too_high_redshift_do_not_cover_and_the_served_range_is_said(make):
    for redshift in (0.01, 1.4, 2.1, 5.0):
        with pytest.raises(SpectrumError, match=r"redshifts 1\.466 to 1\.964") as caught:
            to_rest_frame(observed(make), redshift, Grid())
        assert caught.value.reason == "does not cover the window"


def test_short_file_serves_no_redshift(make):
    with pytest.raises(SpectrumError, match="too short at any redshift"):
        to_rest_frame(observed(make, flux=np.ones(100)), Z, Grid())


@pytest.mark.parametrize("redshift", [np.nan, np.inf, 0.0, -0.5, -1.0, -3.0])
def test_without_a_redshift_nothing_is_placed(make, redshift):
    with pytest.raises(SpectrumError) as caught:
        to_rest_frame(observed(make), redshift, Grid())
    assert caught.value.reason == "no redshift"


def test_no_good_pixel_in_the_window_is_refused(make):
    pixel = make.first_pixel + np.arange(make.n_pixels)
    everywhere, inside = np.zeros(make.n_pixels), np.where(in_window(pixel), 0.0, 4.0)
    for ivar in (everywhere, inside):
        with pytest.raises(SpectrumError) as caught:
            to_rest_frame(observed(make, ivar=ivar), Z, Grid())
        assert caught.value.reason == "no good pixels"


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(1, 4498), st.integers(1, 1500)), max_size=8),
    offset=st.floats(-50, 50),
    slope=st.floats(-20, 20),
    redshift=st.floats(1.48, 1.96),
    step=st.sampled_from([1e-4, 5e-5, 1e-3]),
)
def test_a_straight_line_comes_out_straight_whatever_is_masked(make, runs, offset, slope, redshift, step):
    pixel = make.first_pixel + np.arange(make.n_pixels)
    line = offset + slope * (1e-4 * pixel - 3.7)
    ivar, flux = np.full(make.n_pixels, 4.0), line.copy()
    for start, length in runs:
        ivar[start : min(start + length, make.n_pixels - 1)] = 0
    flux[ivar == 0] = np.nan
    spectrum = observed(make, flux=flux, ivar=ivar)
    if not (in_window(pixel, redshift) & (ivar > 0)).any():
        with pytest.raises(SpectrumError):
            to_rest_frame(spectrum, redshift, Grid(step))
        return
    placed = to_rest_frame(spectrum, redshift, Grid(step))
    x = Grid(step).log_wavelength + np.log10(1 + redshift)
    expected = (offset + slope * (x - 3.7)) * scale(redshift)
    np.testing.assert_allclose(placed.flux, expected, rtol=2e-7, atol=2e-6 * (abs(offset) + abs(slope) + 1))
    assert placed.n_bad == (in_window(pixel, redshift) & (ivar == 0)).sum()
