"""Spikes are removed, real features stay: simple shapes with known answers, on SDSS's and on DESI's pixels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.special import erf

from quasar_mass.core.survey import WINDOW, Grid
from quasar_mass.spectra.rest_frame import to_rest_frame
from quasar_mass.spectra.spectrum import Spectrum, grid_wavelength
from quasar_mass.spectra.spikes import remove_spikes
from quasar_mass.virial import measurement as virial

FIRST, SIZE, Z = 35_600, 4_500, 1.6
SDSS = grid_wavelength(FIRST + np.arange(SIZE))
DESI = np.arange(3600.0, 9824.0, 0.8)
LSF = 1.05  # pixels, standard deviation: the sharpest that is real


def smooth(wavelength):
    """A power law with broad Mg II (3000 km/s) and C IV (4500 km/s), at redshift 1.6."""
    flux = (wavelength / 6000.0) ** -1.5
    for line, height, width in ((2800.0, 1.0, 3000.0), (1549.0, 2.0, 4500.0)):
        velocity = 299_792.458 * np.log(wavelength / line / (1 + Z))
        flux = flux + height * flux * np.exp(-4 * np.log(2) * (velocity / width) ** 2)
    return flux


def noisy(sn, seed, wavelength=SDSS, flux=None):
    """A spectrum with white noise, `sn` at 6000 Angstrom and better on the lines."""
    flux = smooth(wavelength) if flux is None else flux
    noise = np.random.default_rng(seed).standard_normal(len(wavelength)) / sn
    return Spectrum(wavelength, flux + noise, np.full(len(wavelength), sn**2), redshift=Z, ebv=0.02)


def disturbed(spectrum, first, width, sigmas):
    flux = spectrum.flux.copy()
    flux[first : first + width] += sigmas / np.sqrt(spectrum.ivar[first : first + width])
    return replace(spectrum, flux=flux)


def positions(count, seed, wavelength=SDSS):
    """Pixels on the lines and off them."""
    lines = np.searchsorted(wavelength, [2800 * (1 + Z), 2785 * (1 + Z), 1549 * (1 + Z), 1560 * (1 + Z)])
    return [*lines, *np.random.default_rng(seed).integers(50, len(wavelength) - 50, count)]


@pytest.mark.parametrize("wavelength", [SDSS, DESI], ids=["sdss", "desi"])
@pytest.mark.parametrize("sigmas", [20, -20, 1000, -1000])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_spikes_are_replaced_by_the_flux_around_them(wavelength, width, sigmas):
    for seed, first in enumerate(positions(12, width)):
        spectrum = noisy((2.0, 5.0, 12.0, 30.0)[seed % 4], seed, wavelength)
        cleaned, pixel = remove_spikes(disturbed(spectrum, first, width, sigmas))
        hit = np.arange(first, first + width)
        error = np.sqrt(spectrum.ivar[hit])
        assert np.abs((cleaned.flux - smooth(wavelength))[hit] * error).max() < 2.5
        at = np.rint(1e4 * np.log10(wavelength[hit])).astype(int)
        assert set(at) <= set(pixel.tolist())
        assert len(set(pixel.tolist()) - set(range(at[0] - 2, at[-1] + 3))) <= 1  # else at most one pixel of noise
        others = np.setdiff1d(np.flatnonzero(cleaned.flux != spectrum.flux), hit)
        assert len(others) <= 4
        np.testing.assert_array_equal(cleaned.ivar, spectrum.ivar)


@pytest.mark.parametrize("sigmas", [6, -6])
@pytest.mark.parametrize(("width", "least"), [(2, 0.8), (5, 0.85)])
def test_most_spikes_of_six_sigma_are_found(width, least, sigmas):
    found = []
    for seed, first in enumerate(positions(100, width)):
        spectrum = noisy((2.0, 5.0, 12.0)[seed % 3], seed)
        pixel = remove_spikes(disturbed(spectrum, first, width, sigmas))[1]
        found.append(np.isin(FIRST + first + np.arange(width), pixel).mean() > 0.5)
    assert np.mean(found) > least


@pytest.mark.parametrize("wavelength", [SDSS, DESI], ids=["sdss", "desi"])
@pytest.mark.parametrize("sn", [2.0, 10.0, 50.0])
def test_noise_and_broad_lines_lose_nothing(wavelength, sn):
    removed = sum(len(remove_spikes(noisy(sn, seed, wavelength))[1]) for seed in range(40))
    assert removed < 3e-5 * 40 * len(wavelength)


def test_noise_of_twice_the_stated_errors_loses_few_pixels():
    spectra = [noisy(5.0, seed) for seed in range(20)]
    removed = sum(len(remove_spikes(replace(s, ivar=4 * s.ivar))[1]) for s in spectra)
    assert removed < 5e-3 * 20 * SIZE


@pytest.mark.parametrize(("fwhm", "most"), [(350.0, 0.1), (500.0, 0.03), (1200.0, 0.02)])
@pytest.mark.parametrize("height", [1.0, 4.0])
def test_narrow_emission_lines_stay(fwhm, height, most):
    sigma = np.hypot(fwhm / 69.03 / 2.3548, LSF)
    lost = []
    for seed, centre in enumerate(np.linspace(100.3, SIZE - 100.2, 80)):
        line = height * np.exp(-0.5 * ((np.arange(SIZE) - centre) / sigma) ** 2)
        pixel = remove_spikes(noisy(12.0, seed, flux=smooth(SDSS) * (1 + line)))[1]
        lost.append((np.abs(pixel - FIRST - centre) < 5).any())
    assert np.mean(lost) <= most


@pytest.mark.parametrize("separation", [7.22, 11.14])  # pixels, of the doublets of C IV and Mg II
@pytest.mark.parametrize("sn", [5.0, 12.0, 30.0])
def test_absorption_doublets_stay(separation, sn):
    random, lost = np.random.default_rng(1), []
    fine = (np.arange(8 * SIZE) + 0.5) / 8 - 0.5
    for seed in range(100):
        centre, sigma, depth = random.uniform(100, SIZE - 100), random.uniform(0.3, 2.5), 10 ** random.uniform(-0.3, 1)
        near = np.abs(fine - centre) < 40
        tau = sum(
            depth / n * np.exp(-0.5 * ((fine[near] - centre - s) / sigma) ** 2) for n, s in ((1, 0), (2, separation))
        )
        through = np.ones(8 * SIZE)
        through[near] = gaussian_filter1d(np.exp(-tau), 8 * LSF)
        flux = smooth(SDSS) * through.reshape(SIZE, 8).mean(axis=1)
        pixel = remove_spikes(noisy(sn, seed, flux=flux))[1] - FIRST
        lost.append(((pixel > centre - 6) & (pixel < centre + separation + 6)).any())
    assert np.mean(lost) <= 0.08


def test_broad_absorption_stays_with_its_edges():
    pixels = np.arange(SIZE)
    for seed in range(40):
        left, right = 500 + 37 * seed, 540 + 60 * seed
        trough = 0.5 * (erf((pixels - left) / LSF / 2**0.5) - erf((pixels - right) / LSF / 2**0.5))
        assert len(remove_spikes(noisy(15.0, seed, flux=smooth(SDSS) * (1 - 0.95 * trough)))[1]) <= 1


def test_groups_of_absorption_lines_stay():
    pixels, removed, groups = np.arange(SIZE), 0, 0
    for seed in range(60):
        random, through = np.random.default_rng(seed), np.ones(SIZE)
        for centre in range(300, SIZE - 250, 330):
            groups += 1
            for _ in range(random.integers(2, 6)):
                left, width = centre + random.uniform(-25, 25), random.uniform(2, 14)
                edges = [erf((pixels - end) / LSF / 2**0.5) for end in (left, left + width)]
                through *= 1 - random.uniform(0.25, 0.5) * (edges[0] - edges[1])
        removed += len(remove_spikes(noisy(random.choice([5.0, 15.0, 30.0]), seed, flux=smooth(SDSS) * through))[1])
    assert removed < 0.3 * groups


@pytest.mark.parametrize(("sn", "depth"), [(3.0, 4.0), (10.0, 4.0), (15.0, 1.4), (40.0, 1.3)])
def test_flux_below_zero_is_no_absorption(sn, depth):
    spectrum = noisy(sn, 1)
    dip = depth * smooth(SDSS)[2000] * np.exp(-0.5 * ((np.arange(SIZE) - 2000) / LSF) ** 2)  # as sharp as real lines
    cleaned, pixel = remove_spikes(replace(spectrum, flux=spectrum.flux - dip))
    assert {1999, 2000, 2001} <= set((pixel - FIRST).tolist())
    assert np.abs((cleaned.flux - smooth(SDSS))[1999:2002]).max() < 3.0 / sn


def test_bad_pixels_are_neither_changed_nor_counted():
    spectrum = disturbed(noisy(10.0, 2), 2000, 3, 30.0)
    mask = np.zeros(SIZE, bool)
    mask[[2001, 2003, 2004]] = True
    ivar = np.where(np.arange(SIZE) == 1999, 0.0, spectrum.ivar)
    flux = np.where(mask | (ivar == 0), 1e6, spectrum.flux)
    cleaned, pixel = remove_spikes(replace(spectrum, flux=flux, ivar=ivar, mask=mask))
    assert (pixel - FIRST).tolist() == [2000, 2002]
    assert (cleaned.flux[[1999, 2001, 2003, 2004]] == 1e6).all()


def test_only_the_wavelengths_asked_for_are_searched():
    spectrum = disturbed(disturbed(noisy(10.0, 3), 1000, 2, 30.0), 3000, 2, 30.0)
    assert (remove_spikes(spectrum, (SDSS[2500], np.inf))[1] - FIRST).tolist() == [3000, 3001]
    assert len(remove_spikes(spectrum, (1.0, 2.0))[1]) == len(remove_spikes(spectrum, (2e4, 3e4))[1]) == 0


@pytest.mark.parametrize("wavelength", [SDSS, DESI], ids=["sdss", "desi"])
def test_network_and_fit_lose_the_same_pixels_and_count_them(wavelength):
    clean = noisy(10.0, 4, wavelength)
    hit = clean
    for rest in (2800.0, 1549.0, 2200.0):
        hit = disturbed(hit, int(np.searchsorted(wavelength, rest * (1 + Z))), 2, 30.0)
    before, after = (to_rest_frame(spectrum, Z, Grid()) for spectrum in (clean, hit))
    assert before.n_spikes == 0
    assert 4 <= after.n_spikes <= 8
    assert after.n_bad == before.n_bad + after.n_spikes
    assert after.signal_to_noise == pytest.approx(before.signal_to_noise, rel=1e-3)
    assert np.abs(after.flux - before.flux).max() < 0.3 * before.flux.max() < np.ptp(after.flux)
    fits = virial.measure([clean, hit])
    assert fits["N_SPIKES"].tolist() == [0, after.n_spikes]
    for name in ("FWHM_MgII", "FWHM_CIV"):
        assert np.log10(fits[name][1] / fits[name][0]) == pytest.approx(0, abs=0.02)


def test_spikes_outside_the_window_are_not_counted():
    beyond = int(np.searchsorted(SDSS, 10 ** WINDOW[1] * (1 + Z))) + 20
    assert to_rest_frame(disturbed(noisy(10.0, 5), beyond, 2, 30.0), Z, Grid()).n_spikes == 0


@pytest.mark.parametrize("values", [[1e300, -1e300, 1e160, 0.0], [1e38, 1.0], [0.0], [1e-300, 5e-324]])
def test_absurd_numbers_raise_nothing(values):
    random = np.random.default_rng(1)
    ivar = random.choice([0.0, 1e-300, 1.0, 1e5], SIZE)
    remove_spikes(Spectrum(SDSS, random.choice(values, SIZE), ivar))
    remove_spikes(Spectrum(SDSS[:30], np.ones(30), np.ones(30)))
    remove_spikes(Spectrum([4000.0, 4001.0], [1.0, 2.0], [1.0, 1.0]))
