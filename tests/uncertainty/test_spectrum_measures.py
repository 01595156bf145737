"""Properties measured on spectra (noise, luminosity, broad absorption, shape), and the flags they give."""

from dataclasses import replace

import numpy as np
import pytest

from quasar_mass.core.survey import Grid
from quasar_mass.spectra import redshift_check
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
    return NetworkView(*values, np.ones((n, 3)), np.zeros(n, bool))


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


# --- partial spectra --------------------------------------------------------------------------------------------------


def without(flux, *hidden):
    """Spectra without data between these wavelengths."""
    partial = flux.copy()
    for low, high in hidden:
        partial[:, (GRID.wavelength > low) & (GRID.wavelength < high)] = np.nan
    return partial


def test_a_partial_spectrum_measures_as_the_whole_one_where_the_same_is_seen():
    flux = spectra(np.random.default_rng(8), 40, 6.0, (12_000, 5_000, 0.6))
    whole = measured(flux)
    red, blue = measured(without(flux, (3100, 9999))), measured(without(flux, (0, 2000)))
    assert np.array_equal(red.absorption, whole.absorption)
    assert whole.absorption.min() > 0
    assert not blue.absorption.any(), "the trough is not seen"
    assert np.array_equal(red.log_luminosity, whole.log_luminosity)
    assert np.array_equal(blue.log_luminosity, whole.log_luminosity)
    bins = 10 ** (3.16 + 2e-3 * (np.arange(whole.shape.shape[1]) + 0.5))
    for partial, seen in ((red, bins < 3090), (blue, bins > 2010)):
        assert np.isfinite(partial.shape[:, seen]).all()
        assert np.isfinite(partial.shape_error[:, seen]).all()
        # over its own median: one factor for all bins
        np.testing.assert_allclose(np.ptp(partial.shape[:, seen] / whole.shape[:, seen], axis=1), 0.0, atol=1e-4)
        np.testing.assert_allclose(np.nanmedian(partial.shape, axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(partial.signal_to_noise, whole.signal_to_noise, rtol=0.35)
    assert np.isnan(red.shape[:, bins > 3110]).all()
    assert np.isnan(blue.shape[:, bins < 1990]).all()


def test_a_bin_that_is_not_seen_whole_is_unknown():
    flux = spectra(np.random.default_rng(9), 2)
    flux[0, 1000] = np.nan  # one pixel, in bin 50 of twenty pixels
    shape = measured(flux).shape
    assert np.flatnonzero(np.isnan(shape[0])).tolist() == [50]
    assert np.isfinite(shape[1]).all()


def test_partial_spectra_do_not_change_those_beside_them():
    rng = np.random.default_rng(10)
    whole, other = spectra(rng, 6), without(spectra(rng, 6), (0, 2600))
    together, alone = measured(np.concatenate([whole, other])), [measured(part) for part in (whole, other)]
    for name, values in vars(together).items():
        expected = np.concatenate([getattr(part, name) for part in alone])
        np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=name)


def test_broad_troughs_are_found_without_the_red_end_and_are_not_without_a_continuum():
    rng = np.random.default_rng(11)
    absorbed, clean = (spectra(rng, 40, 8.0, trough) for trough in ((12_000, 5_000, 0.6), None))
    red_end = (2300, 9999)  # three windows of the continuum are left
    given = measured(without(absorbed, red_end)).absorption
    assert np.mean(given > training_domain.BROAD_ABSORPTION) >= 0.9
    assert np.mean(measured(without(clean, red_end)).absorption > training_domain.BROAD_ABSORPTION) <= 0.05
    np.testing.assert_allclose(measured(1000 * without(absorbed, red_end)).absorption, given, rtol=1e-3)
    for hidden in ((1660, 9999), (1900, 9999), (1480, 1500)):  # no window, one window, a gap in the trough
        assert not measured(without(absorbed, hidden)).absorption.any()


def test_lines_are_placed_in_partial_spectra():
    """Mg II alone, 10,000 km/s from the redshift."""
    flux = spectra(np.random.default_rng(12), 40, 20.0)
    moved = np.roll(flux, round(10_000 / (KM_S * np.log(10) * 1e-4)), axis=1)
    right, wrong = (measured(without(values, (0, 2500))) for values in (flux, moved))
    assert np.mean(right.line_significance > redshift_check.MIN_SIGNIFICANCE) <= 0.05
    assert np.mean(wrong.line_significance > redshift_check.MIN_SIGNIFICANCE) >= 0.9
    assert np.median(wrong.line_velocity) == pytest.approx(10_000, abs=1000)


def test_a_partial_spectrum_like_the_training_set_is_like_it_in_shape():
    """Where thresholds come from a validation set that has such spectra: fewer bins scatter more."""
    rng = np.random.default_rng(13)
    partly = ((0, 2500), (2200, 9999), (1600, 1700))
    validation = np.concatenate([without(spectra(rng, 60), hidden) for hidden in (*partly, (0, 0))])
    names = [str(n) for n in range(len(validation))]
    domain = fit_domain(view(spectra(rng, 100), np.zeros((100, 2))), view(validation, np.zeros((240, 2))), names)
    for hidden in partly:
        flux = without(spectra(rng, 40), hidden)
        assert np.mean(domain.shape_distance(measured(flux)) > domain.thresholds[1]) <= 0.1
        wave = flux * (1 + 0.8 * np.sin(GRID.log_wavelength * 200)).astype(np.float32)
        assert np.all(domain.shape_distance(measured(wave)) > domain.thresholds[1])


def test_a_sum_of_the_training_set_s_shapes_has_no_distance_whatever_is_seen(fitted):
    """Times any factor: a partial spectrum has another median."""
    rng = np.random.default_rng(14)
    shape = fitted.shape_mean + rng.normal(0, 0.1, (3, len(fitted.shape_axes))) @ fitted.shape_axes
    shape[1, :90] = np.nan
    shape[2, 100:] = np.nan
    shape[1:] *= 1.7
    given = replace(measured(spectra(rng, 3)), shape=shape, shape_error=np.full(shape.shape, 0.01))
    assert fitted.shape_distance(given) == pytest.approx(0.0, abs=1e-6)
    shape[:, 95] += 5.0  # one bin that no sum of them has
    assert np.all(fitted.shape_distance(given) > 1.0)
    # too few bins to tell
    shape[2, 5:] = np.nan
    assert fitted.shape_distance(given)[2] == 0.0


def test_the_training_domain_is_that_of_the_whole_spectra_s_shapes():
    rng = np.random.default_rng(15)
    whole, partial = spectra(rng, 60), without(spectra(rng, 20), (0, 2500))
    hidden = rng.normal(size=(80, 20))
    with_partial = training_domain.fit(view(np.concatenate([whole, partial]), hidden))
    without_partial = training_domain.fit(view(whole, hidden[:60]))
    assert np.array_equal(with_partial.shape_axes, without_partial.shape_axes)
    assert np.array_equal(with_partial.shape_mean, without_partial.shape_mean)
    assert np.isfinite(with_partial.log_luminosity).all()
