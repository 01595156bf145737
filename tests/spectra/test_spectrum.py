"""A spectrum given as arrays: the numbers of the file it came from, on any wavelengths, and errors in one sentence."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import prepare
from quasar_mass.spectra.spectrum import Spectrum

PIXEL = 35500 + np.arange(4600)


def spectrum(wavelength, seed=0, **more):
    """Unit flux with noise of a tenth."""
    flux = 1 + 0.1 * np.random.default_rng(seed).standard_normal(len(wavelength))
    return Spectrum(wavelength, flux, np.full(len(wavelength), 100.0), **more)


# --- the file's numbers -----------------------------------------------------------------------------------------------


def test_arrays_on_sdss_s_grid_give_the_bits_of_their_file(simulated):
    for path in simulated[:3]:
        own = read_spectrum(path)
        stored = 10.0 ** np.log10(own.wavelength).astype(np.float32)  # as files have them
        arrays = Spectrum(
            stored, own.flux.astype(np.float32), own.ivar.tolist(), own.mask, redshift=own.redshift, ebv=own.ebv
        )
        np.testing.assert_array_equal(arrays.pixel, own.pixel)
        expected, given = prepare(own, Grid()), prepare(arrays, Grid())
        assert expected.reason == given.reason
        if not expected.error:
            assert expected.rest_frame.flux.tobytes() == given.rest_frame.flux.tobytes()
            assert expected.rest_frame.signal_to_noise == given.rest_frame.signal_to_noise


# --- rebinning --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(step=st.floats(0.2, 3.0), first=st.floats(3500, 4000), bad=st.floats(0, 0.3), seed=st.integers(0, 99))
def test_noise_on_any_pixels_has_a_chi_squared_of_one_a_pixel(step, first, bad, seed):
    rng = np.random.default_rng(seed)
    wavelength = np.arange(first, 9500, step)
    sigma = 0.5 + 0.5 * wavelength / 9500
    ivar = np.where(rng.random(len(wavelength)) < bad, 0.0, sigma**-2)
    noise = Spectrum(wavelength, sigma * rng.standard_normal(len(wavelength)), ivar).on_log_grid()
    chi_squared = (noise.flux**2 * noise.ivar)[noise.good]
    # new pixels that share an old one are correlated
    independent = min(len(chi_squared), (ivar > 0).sum())
    assert chi_squared.mean() == pytest.approx(1, abs=6 * np.sqrt(2 / independent))


@pytest.mark.parametrize("step", [0.3, 0.8, 2.5])
def test_rebinning_conserves_flux(step):
    wavelength = np.arange(3700.0, 9000.0, step)
    flux = 1 + np.sin(wavelength / 7) ** 2
    rebinned = Spectrum(wavelength, flux, np.ones(len(wavelength))).on_log_grid()
    width = np.diff(10 ** (1e-4 * (np.arange(rebinned.pixel[0], rebinned.pixel[-1] + 2) - 0.5)))
    assert (rebinned.flux * width).sum() == pytest.approx((flux * step).sum(), rel=1e-3)  # both ends differ by a pixel
    assert rebinned.good[1:-1].all()


def test_bad_pixels_and_gaps_stay_bad():
    wavelength = np.arange(3700.0, 9000.0, 0.8)
    mask = (wavelength > 5000) & (wavelength < 5050)
    kept = (wavelength < 6000) | (wavelength > 6100)
    flux = np.where(mask, 1e6, 1.0)[kept]
    rebinned = Spectrum(wavelength[kept], flux, np.ones(kept.sum()), mask[kept]).on_log_grid()
    assert rebinned.flux[rebinned.good] == pytest.approx(1)
    away = np.abs(rebinned.wavelength - [[5000], [5050], [6000], [6100]]).min(axis=0) > 2
    lost = ((rebinned.wavelength > 5000) & (rebinned.wavelength < 5050)) | (
        (rebinned.wavelength > 6000) & (rebinned.wavelength < 6100)
    )
    np.testing.assert_array_equal(rebinned.good[away], ~lost[away])


# --- what is taken ----------------------------------------------------------------------------------------------------


def test_values_that_are_not_finite_or_without_weight_are_bad_pixels():
    flux, ivar = np.ones(6), np.ones(6)
    flux[:2], ivar[2:5] = (np.nan, np.inf), (np.nan, -1.0, np.inf)
    made = Spectrum(4000.0 + np.arange(6), flux, ivar)
    assert made.ivar.tolist() == [0, 0, 0, 0, 0, 1]
    masked = Spectrum(4000.0 + np.arange(3), np.ma.masked_equal([1.0, -999.0, 1.0], -999.0), np.ones(3))
    assert masked.good.tolist() == [True, False, True]


def test_quantities_are_converted_and_other_units_are_refused():
    unit = 1e-17 * units.erg / units.s / units.cm**2 / units.AA
    wavelength, flux = np.linspace(400, 900, 50) * units.nm, np.full(50, 2e-18) * units.W / units.m**2 / units.um
    made = Spectrum(wavelength, flux, np.ones(50) / unit**2)
    np.testing.assert_allclose(made.wavelength, np.linspace(4000, 9000, 50))
    np.testing.assert_allclose(made.flux, flux.to_value(unit))
    with pytest.raises(SpectrumError, match="flux cannot be read as numbers in 1e-17 erg"):
        Spectrum(wavelength, flux * units.m, np.ones(50))


def test_quantities_by_frequency_are_converted():
    wavelength = np.linspace(4000, 9000, 50)
    jansky = 1e-17 * wavelength**2 / 2.99792458e18 / 1e-23  # of 1e-17 erg / s / cm2 / Angstrom
    frequency = 2.99792458e18 / wavelength * units.Hz
    made = Spectrum(frequency, 3e3 * jansky * units.mJy, (2e3 * jansky * units.mJy) ** -2)
    np.testing.assert_allclose(made.wavelength, wavelength)
    np.testing.assert_allclose(made.flux, 3.0)
    np.testing.assert_allclose(made.ivar, 0.25)
    for wrong in ({"flux": made.flux * units.K}, {"ivar": made.flux * units.mJy}):
        with pytest.raises(SpectrumError, match="cannot be read as numbers in 1e"):
            Spectrum(**{"wavelength": wavelength, "flux": made.flux, "ivar": made.ivar} | wrong)


def test_other_wavelengths_put_into_a_spectrum_leave_no_old_pixels_behind():
    made = spectrum(10 ** (1e-4 * PIXEL))
    assert made.pixel.tolist() == PIXEL.tolist()
    assert replace(made, flux=2 * made.flux).pixel.tolist() == PIXEL.tolist()
    assert replace(made, wavelength=made.wavelength * 10**1e-4).pixel.tolist() == (PIXEL + 1).tolist()
    assert replace(made, wavelength=made.wavelength * 1.00003).pixel is None


def test_an_unknown_redshift_and_extinction_may_be_none():
    made = spectrum(10 ** (1e-4 * PIXEL), redshift=None, ebv=None)
    assert np.isnan([made.redshift, made.ebv]).all()


W = np.linspace(3700.0, 9500.0, 100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flux": np.ones(99)}, r"100 wavelengths but flux of shape \(99,\); give one for each"),
        ({"mask": np.zeros(3, bool)}, "mask of shape"),
        ({"wavelength": W[::-1]}, "wavelengths must ascend, and 9441.41 follows 9500; sort the pixels"),
        ({"wavelength": np.where(W[5] == W, np.nan, W)}, "wavelengths must be finite"),
        ({"wavelength": W / 10}, "370 to 950 are outside .* nanometres; multiply them by 10"),
        ({"wavelength": W / 1e4}, "micrometres; multiply them by 10000"),
        ({"wavelength": W / 1e10}, "metres; multiply them by 1e"),
        ({"wavelength": np.log10(W)}, r"logarithms; give 10 \*\* wavelength"),
        ({"wavelength": np.log(W)}, r"natural logarithms; give exp\(wavelength\)\.$"),
        (
            {"wavelength": np.log(2 * W)},
            "micrometres; multiply them by 10000, or, if they are natural logarithms",
        ),
        ({"wavelength": np.log(3 * W)}, "give Angstrom, in vacuum, as observed, or, if they are natural logarithms"),
        ({"wavelength": W * 100}, "give Angstrom"),
        ({"flux": ["a"] * 100}, "flux cannot be read as numbers"),
        ({"ivar": np.ones((100, 1))}, r"ivar has the shape \(100, 1\); give one-dimensional arrays"),
        ({"wavelength": [], "flux": [], "ivar": []}, "at least two numbers"),
        ({"redshift": "high"}, "redshift is 'high'; give a number"),
        ({"ebv": -0.1}, "ebv is negative"),
        ({"ivar": None}, "ivar is missing"),
    ],
)
def test_arrays_that_cannot_be_a_spectrum_are_one_sentence(change, words):
    with pytest.raises(SpectrumError, match=words) as caught:
        Spectrum(**({"wavelength": W, "flux": np.ones(100), "ivar": np.ones(100)} | change))
    assert caught.value.reason == "invalid values"
    assert str(caught.value).startswith("the spectrum: ")
    assert "expected" not in str(caught.value)


@pytest.mark.parametrize("unit", [1.0, 1e-17])
@pytest.mark.parametrize("grid", [True, False])
def test_absurd_inverse_variances_are_no_data(unit, grid):
    wavelength = 10 ** (3.6 + 1e-4 * np.arange(3000)) if grid else np.linspace(4000, 8000, 3000)
    ivar = np.geomspace(1.0, 1e4, 3000)  # real ones differ by less
    flux, absurd = np.full(3000, 3.0), np.zeros(3000, bool)
    for pixels in (slice(50, 60), slice(None, None, 7), slice(None)):
        absurd[pixels] = True
        spectrum = Spectrum(wavelength, unit * flux, np.where(absurd, 1e30, ivar) / unit**2)
        np.testing.assert_array_equal(spectrum.ivar, np.where(absurd, 0.0, ivar / unit**2))
        assert (spectrum.good == ~absurd).all()


def test_a_file_s_absurd_inverse_variances_are_no_data(make, tmp_path):
    ivar = np.full(make.n_pixels, 4.0)
    ivar[[100, 2000]] = 1e30
    spectrum = read_spectrum(make.spec(tmp_path / "spec.fits", ivar=ivar))
    assert np.flatnonzero(~spectrum.good).tolist() == [100, 2000]
