"""Properties measured on spectra (noise, luminosity, broad absorption, shape), and the flags they give."""

import numpy as np
import pytest

from quasar_mass.core.survey import Grid
from quasar_mass.uncertainty import spectrum_measures, training_domain
from quasar_mass.uncertainty.calibration import fit_domain
from quasar_mass.uncertainty.network_view import NetworkView

GRID = Grid()
CIV = 1549.06
KM_S = 299_792.458


def spectra(rng, n, signal_to_noise=8.0, trough=None):
    """Power laws with lines and noise; a trough is (fastest, slowest, depth) in km/s to the blue of C IV."""
    w = GRID.wavelength
    flux = 0.4 * 10 ** rng.normal(0, 0.1, (n, 1)) * (w / 2000) ** rng.normal(-1.4, 0.2, (n, 1))
    for centre, width, height in ((CIV, 2000, 1.2), (1908.7, 3000, 0.4), (2798.8, 2000, 0.5)):
        velocity = KM_S * np.log(w / centre)
        flux = flux * (1 + height * np.exp(-0.5 * (velocity / width) ** 2))
    if trough:
        velocity = KM_S * np.log(w / CIV)
        flux = flux * np.where((velocity > -trough[0]) & (velocity < -trough[1]), 1 - trough[2], 1.0)
    noise = np.median(flux, axis=1, keepdims=True) / signal_to_noise
    return (flux + noise * rng.normal(size=flux.shape)).astype(np.float32)


def measured(flux, z=1.6):
    return spectrum_measures.measure(flux, np.full(len(flux), z), GRID)


def test_signal_to_noise_is_that_of_the_pixels():
    rng = np.random.default_rng(0)
    for signal_to_noise in (2.0, 20.0):
        given = measured(spectra(rng, 20, signal_to_noise)).signal_to_noise
        # these spectra were not interpolated, so the correction for it makes their noise too large
        np.testing.assert_allclose(given / spectrum_measures.INTERPOLATED, signal_to_noise, rtol=0.15)


def test_luminosity_is_the_tables_unit_turned_back():
    flux = np.full((1, GRID.size), 0.5, np.float32)
    expected = np.log10(3000 * 0.5 * 4 * np.pi * 2.6 * 9.5214e40)
    assert measured(flux, 1.6).log_luminosity[0] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(measured(-flux).log_luminosity[0])


@pytest.mark.parametrize("signal_to_noise", [4.0, 12.0])
def test_broad_troughs_are_found_and_clean_spectra_are_not_flagged(signal_to_noise):
    rng = np.random.default_rng(1)
    clean = measured(spectra(rng, 40, signal_to_noise)).absorption
    absorbed = measured(spectra(rng, 40, signal_to_noise, (12_000, 5_000, 0.6))).absorption
    assert np.mean(clean > training_domain.BROAD_ABSORPTION) <= 0.05
    assert np.mean(absorbed > training_domain.BROAD_ABSORPTION) >= 0.9
    assert np.median(absorbed) == pytest.approx(7_000 * (1 - 0.4 / 0.9), rel=0.3)  # width times depth below 90 %


def test_a_narrow_line_is_no_broad_absorption():
    narrow = spectra(np.random.default_rng(2), 20, 12.0, (6_000, 5_300, 0.8))
    assert np.all(measured(narrow).absorption <= training_domain.BROAD_ABSORPTION)


def view(flux, hidden, z=1.6):
    n = len(flux)
    values = np.full(n, z), np.full(n, 8.0), np.full(n, 8.5), np.zeros(n), hidden, measured(flux, z)
    return NetworkView(*values, np.ones((n, 3)))


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(3)
    training, validation = spectra(rng, 300), spectra(rng, 400)
    hidden = rng.normal(size=(300, 20)), rng.normal(size=(400, 20))
    names = [str(n) for n in range(400)]
    return fit_domain(view(training, hidden[0]), view(validation, hidden[1]), names)


def flags(fitted, flux, z=1.6, signal_to_noise=8.0, hidden=None):
    return fitted.flags(
        view(flux, np.zeros((len(flux), 20)) if hidden is None else hidden, z), np.full(len(flux), signal_to_noise)
    )


def test_a_spectrum_like_the_training_set_has_no_flags(fitted):
    assert sum(map(bool, flags(fitted, spectra(np.random.default_rng(4), 50)))) <= 4


def test_each_difference_from_the_training_set_has_its_flag(fitted):
    flux = spectra(np.random.default_rng(5), 3)
    assert all(training_domain.FLAG_REDSHIFT in every for every in flags(fitted, flux, z=1.9))
    assert all(training_domain.FLAG_SN in every for every in flags(fitted, flux, signal_to_noise=300.0))
    assert all(training_domain.FLAG_LUMINOSITY in every for every in flags(fitted, 30 * flux))
    assert all(training_domain.FLAG_LUMINOSITY in every for every in flags(fitted, -flux))
    assert all(training_domain.FLAG_HIDDEN in every for every in flags(fitted, flux, hidden=np.full((3, 20), 9.0)))
    wave = flux * (1 + 0.8 * np.sin(GRID.log_wavelength * 200))
    assert all(training_domain.FLAG_SHAPE in every for every in flags(fitted, wave.astype(np.float32)))
    trough = spectra(np.random.default_rng(6), 3, trough=(12_000, 5_000, 0.8))
    assert all(training_domain.FLAG_BAL in every for every in flags(fitted, trough))


def test_an_unknown_signal_to_noise_is_not_flagged(fitted):
    given = flags(fitted, spectra(np.random.default_rng(7), 5), signal_to_noise=np.nan)
    assert not any(training_domain.FLAG_SN in every for every in given)
