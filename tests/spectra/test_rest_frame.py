"""From a spectrum to the rest-frame grid: against SciPy, dust_extinction and astropy, with flags or a reason."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import Planck15
from dust_extinction.parameter_averages import F99
from scipy.interpolate import interp1d

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import (
    FLAG_LUMINOSITY,
    FLAG_MANY_BAD,
    FLAG_NO_EXTINCTION,
    luminosity_flags,
    prepare,
    spectrum_flags,
    to_rest_frame,
    transmission,
)
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


@pytest.mark.parametrize(("step", "size"), [(1e-4, 3701), (5e-5, 7401)])
def test_grid_spans_the_window_with_both_ends(step, size):
    grid = Grid(step)
    assert grid.size == len(grid.log_wavelength) == size
    assert grid.log_wavelength[0] == pytest.approx(3.16, abs=1e-12)
    assert grid.log_wavelength[-1] == pytest.approx(3.53, abs=1e-9)


@pytest.mark.parametrize(("step", "redshift"), [(1e-4, 1.5), (5e-5, 1.6), (1e-4, 1.79)])
def test_flux_on_the_grid_is_fill_then_interpolate(make, step, redshift):
    random = np.random.default_rng(1)
    n = make.n_pixels
    flux = make.smooth_flux(make.first_pixel + np.arange(n)) + random.normal(0, 0.5, n)
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


@pytest.mark.parametrize("ebv", [0.005, 0.4])
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


# --- flags or a reason ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "redshift", "reason", "words"),
    [
        ({}, np.nan, "no redshift", "has no redshift; give one"),
        ({}, 0.0, "no redshift", "positive"),
        ({}, -3.0, "no redshift", "positive"),
        ({}, np.inf, "no redshift", "positive"),
        ({}, 1.4, "does not cover the window", "redshifts 1.466 to 1.964"),
        ({}, 5.0, "does not cover the window", "redshifts 1.466 to 1.964"),
        ({"flux": np.ones(100)}, Z, "does not cover the window", "too short at any redshift"),
        ({"dead": "everywhere"}, Z, "no good pixels", "among the 3700"),
        ({"dead": "inside"}, Z, "no good pixels", "among the 3700"),
        ({"ebv": 1e30}, Z, "invalid values", "E(B-V) 1e+30"),
    ],
)
def test_a_spectrum_that_cannot_be_used_has_a_reason_in_one_sentence(make, case, redshift, reason, words):
    pixel, case = make.first_pixel + np.arange(make.n_pixels), dict(case)
    if dead := case.pop("dead", ""):
        case["ivar"] = np.where(in_window(pixel) | (dead == "everywhere"), 0.0, 4.0)
    spectrum = observed(make, **case)
    prepared = prepare(replace(spectrum, redshift=redshift), Grid(1e-3))
    assert prepared.error.reason == reason
    assert prepared.rest_frame is None
    assert words in prepared.reason
    assert prepared.reason.startswith(f"{reason}: ")
    with pytest.raises(SpectrumError):
        to_rest_frame(spectrum, redshift, Grid(1e-3), ebv=spectrum.ebv)


def test_a_file_is_prepared_as_its_spectrum_is(make, tmp_path):
    path = make.spec(tmp_path / "spec.fits", extinction=None)
    prepared, own = prepare(path, Grid(), spec_id="4000-56000-0001"), read_spectrum(path)
    np.testing.assert_array_equal(prepared.rest_frame.flux, to_rest_frame(own, own.redshift, Grid()).flux)
    assert (prepared.redshift, prepared.reason) == (own.redshift, "")
    other = prepare(path, Grid(), spec_id="4000-56000-0002")
    assert other.error.reason == "not the spectrum named"
    assert prepare(tmp_path / "none.fits", Grid()).error.reason == "missing file"
    assert prepare(path).spectrum.spec_id == "4000-56000-0001"  # without a grid it is only read


def test_extinction_that_is_wanted_and_unknown_is_flagged(make):
    for own, options, expected in (
        (np.nan, {}, [FLAG_NO_EXTINCTION]),
        (0.1, {}, []),
        (0.1, {"ebv": np.nan}, [FLAG_NO_EXTINCTION]),
        (np.nan, {"ebv": 0.1}, []),
        (np.nan, {"correct_extinction": False}, []),
    ):
        prepared = prepare(observed(make, ebv=own), Grid(1e-3), **options)
        assert prepared.flags == expected
        corrected = 0.1 if not expected and options.get("correct_extinction", True) else None
        np.testing.assert_array_equal(
            prepared.rest_frame.flux, to_rest_frame(observed(make), Z, Grid(1e-3), ebv=corrected).flux
        )


def test_a_tenth_of_bad_pixels_and_another_class_are_flagged(make):
    for n_bad, expected in ((370, []), (371, [FLAG_MANY_BAD])):
        mask = np.zeros(make.n_pixels, bool)
        mask[np.flatnonzero(in_window(make.first_pixel + np.arange(make.n_pixels)))[-n_bad:]] = True
        assert prepare(observed(make, mask=mask, ebv=0.0), Grid()).flags == expected
    assert spectrum_flags(replace(observed(make), spectral_class="STAR")) == ["class STAR"]
    assert spectrum_flags(replace(observed(make), spectral_class="QSO")) == spectrum_flags(observed(make)) == []


@pytest.mark.parametrize(("log_luminosity", "flagged"), [(41.9, True), (42.1, False), (48.4, False), (48.6, True)])
def test_a_luminosity_of_no_quasar_is_flagged(make, log_luminosity, flagged):
    distance = Planck15.luminosity_distance(Z).to_value(units.cm)
    flux = 10**log_luminosity / 3000 / (4 * np.pi * distance**2 * (1 + Z)) / 1e-17
    placed = to_rest_frame(observed(make, flux=np.full(make.n_pixels, flux)), Z, Grid())
    assert luminosity_flags(placed.flux, Z, Grid()) == ([FLAG_LUMINOSITY] if flagged else [])


def test_without_measured_luminosity_there_is_no_flag_and_without_flux_there_is_one():
    flat = np.ones(Grid().size, np.float32)
    assert luminosity_flags(-flat, Z, Grid()) == []  # noise
    assert luminosity_flags(0 * flat, Z, Grid()) == [FLAG_LUMINOSITY]
