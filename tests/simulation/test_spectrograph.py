"""The simulated spectrograph: its spectra are blurred, noisy, calibrated and masked as measured on real ones."""

import csv
import itertools

import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.survey import BRIGHTSKY
from quasar_mass.simulation.spectrograph import flux_calibration, masks, recording, sky

CONDITIONS = recording.draw_conditions(5, 7000, 56_500, 1)
WAVELENGTH = 10.0 ** sky.pixels()
OFFSET = CONDITIONS.first - sky.FIRST_PIXEL  # from an exposure's pixels to all pixels


def at(*wavelengths):
    return np.searchsorted(WAVELENGTH, wavelengths)


def flat(level=2.0):
    return np.full(len(WAVELENGTH), level)


def exposures(number, **options):
    return [recording.expose(np.random.default_rng(n), flat(), CONDITIONS, **options) for n in range(number)]


@pytest.fixture
def no_systematic_errors(monkeypatch):
    one = np.ones(len(WAVELENGTH))
    monkeypatch.setattr(flux_calibration, "draw_factor", lambda *_: one)
    monkeypatch.setattr(flux_calibration, "draw_error_factor", lambda *_: one)
    monkeypatch.setattr(sky, "draw_residual", lambda *_: 0.0 * one)
    monkeypatch.setattr(recording, "UNREPORTED_FRACTION", 0.0)


# --- resolution -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_a_line_is_blurred_by_the_width_reported_and_keeps_its_flux(factor):
    for pixel in at(3800, 5500, 9000):
        line = np.zeros(len(WAVELENGTH))
        line[pixel] = 1.0
        blurred = sky.blur(line, factor)
        offset = np.arange(len(blurred)) - pixel
        assert blurred.sum() == pytest.approx(1.0, abs=1e-9)
        width = np.sqrt(np.sum(blurred * offset**2) - np.sum(blurred * offset) ** 2)
        assert width == pytest.approx(factor * sky.typical_sky().wdisp[pixel], rel=0.02)
    smooth = 3.0 * (WAVELENGTH / 5000.0) ** -1.5
    assert sky.blur(smooth, 1.0) == pytest.approx(smooth, rel=2e-3)  # up to the ends


# --- noise ----------------------------------------------------------------------------------------------------------


def test_reading_adds_noise_of_the_true_variance():
    exposure = recording.expose(np.random.default_rng(1), flat(), CONDITIONS)
    rng = np.random.default_rng(2)
    kept = exposure.ivar > 0
    residual = np.array([exposure.read(rng).flux - exposure.flux for _ in range(200)])[:, kept]
    chi = residual / np.sqrt(exposure.variance[kept])
    assert np.mean(chi) == pytest.approx(0.0, abs=0.01)
    quartiles = np.percentile(chi, (25, 75))  # cosmic rays spoil the standard deviation
    assert (quartiles[1] - quartiles[0]) / 1.349 == pytest.approx(1.0, abs=0.01)
    regions = np.percentile(chi[:, :4000].reshape(200, 40, 100), (25, 75), axis=(0, 2))
    assert (regions[1] - regions[0]) / 1.349 == pytest.approx(1.0, abs=0.05)  # at all wavelengths


def test_noise_of_neighbouring_pixels_is_correlated_as_measured():
    noise = recording._noise(np.random.default_rng(3), 300_000)
    assert np.std(noise) == pytest.approx(1.0, abs=0.01)
    correlation = [np.mean(noise[lag:] * noise[:-lag]) for lag in range(1, 6)]
    assert correlation == pytest.approx([0.20, -0.09, 0.0, 0.0, 0.0], abs=0.02)


def test_the_true_noise_differs_from_the_reported_by_a_smooth_factor_of_the_measured_size():
    ratios = np.array([flux_calibration.draw_error_factor(np.random.default_rng(n)) for n in range(300)])
    red, blue = at(7500)[0], at(4300)[0]
    assert np.median(ratios[:, red]) == pytest.approx(1.10, abs=0.02)  # real errors are overestimated there
    assert np.median(ratios[:, blue]) == pytest.approx(1.02, abs=0.02)
    assert 0.10 < 2.0 * np.std(np.log(ratios[:, at(5000)[0]])) < 0.20  # in ivar: 10-20 %
    assert np.abs(np.diff(np.log(ratios), axis=1)).max() < 2e-3
    assert 0.3 < np.corrcoef(np.log(ratios[:, red]), np.log(ratios[:, blue]))[0, 1] < 0.8  # partly independent


@pytest.mark.usefixtures("no_systematic_errors")
def test_brighter_quasars_have_more_noise_and_sky_lines_stand_out():
    faint, bright = (recording.expose(np.random.default_rng(4), flat(level), CONDITIONS) for level in (1.0, 20.0))
    pixel = at(5000)[0]
    ratio = sky.typical_sky().photons[pixel] / sky.typical_sky().brightness[pixel]
    grown = bright.variance[pixel - OFFSET] / faint.variance[pixel - OFFSET]
    assert grown == pytest.approx((1 + 20 * ratio) / (1 + ratio), rel=0.03)
    line = 37_465 - CONDITIONS.first
    assert faint.variance[line] > 50.0 * faint.variance[line - 15]


@pytest.mark.usefixtures("no_systematic_errors")
def test_cosmic_rays_are_rare_and_unmasked():
    exposure = recording.expose(np.random.default_rng(5), flat(), CONDITIONS)
    rng = np.random.default_rng(6)
    chi = [(exposure.read(rng).flux - exposure.flux) / np.sqrt(exposure.variance) for _ in range(400)]
    chi = np.array(chi)[:, exposure.ivar > 0]
    assert 0.15 < (np.abs(chi) > 5.5).any(axis=1).mean() < 0.35
    assert (chi > 5.5).sum() > (chi < -5.5).sum() > 0


def test_a_few_pixels_are_noisier_than_reported():
    drawn = exposures(40)
    excess = np.array([exposure.variance * exposure.ivar for exposure in drawn])[:, :4550]
    around = np.median(excess.reshape(40, -1, 50), axis=2).repeat(50, axis=1)
    assert np.mean((excess > 3.0 * around)[excess > 0]) == pytest.approx(0.008, abs=0.002)


def test_the_sky_subtraction_leaves_residuals_of_the_measured_size_at_sky_lines_alone():
    drawn = exposures(200)
    lost = np.array([exposure.ivar == 0 for exposure in drawn])
    left = np.array([(exposure.flux - exposure.model) * np.sqrt(exposure.ivar) for exposure in drawn])
    bright = drawn[0].and_mask & BRIGHTSKY > 0
    assert np.std(left[:, bright][~lost[:, bright]]) == pytest.approx(0.39, abs=0.03)
    flanks = 37_465 - CONDITIONS.first + np.array((-3, -2, 2, 3))
    assert np.std(left[:, flanks][~lost[:, flanks]]) == pytest.approx(1.7, abs=0.15)
    assert np.abs(left[:, at(5050)[0] - OFFSET]).max() < 1e-6


def test_the_noise_of_a_plate_falls_with_its_exposures_as_far_as_measured():
    plates = [recording.draw_conditions(5, plate, 57_000, 1) for plate in range(4000, 6000)]
    noise = [np.median([plate.noise for plate in plates if plate.exposures == n]) for n in (3, 4, 5, 10)]
    assert noise == pytest.approx([1.29, 1.12, 1.0, 1.0], abs=0.1)


# --- calibration ----------------------------------------------------------------------------------------------------


def calibration_errors(lambda_eff, number=400):
    drawn = []
    for n in range(number):
        rng = np.random.default_rng([n, 1])
        drawn.append(flux_calibration.draw_factor(rng, flux_calibration.draw_half_plate(rng), lambda_eff))
    return np.log(drawn)


def test_quasars_drilled_for_4000_angstrom_are_too_blue_on_average():
    blue, middle, red = np.exp(np.median(calibration_errors(4000.0), axis=0))[at(3600, 5400, 10_000)]
    assert (blue / middle, red / middle) == pytest.approx((1.19, 0.76), abs=0.04)
    assert middle == pytest.approx(1.0, abs=0.02)


def test_others_are_right_on_average_within_a_few_per_cent_each_and_some_have_a_step_at_the_dichroic():
    drawn = calibration_errors(5400.0)
    assert np.median(drawn, axis=0) == pytest.approx(0.0, abs=0.03)
    colour = drawn[:, at(4686)[0]] - drawn[:, at(6166)[0]]
    assert 0.03 < np.std(colour) < 0.08  # g-r: 5-6 % published
    below, left, right, above = (drawn[:, pixel] for pixel in at(5500, 5850, 6250, 6600))
    step = right - left - 0.5 * (left - below + above - right)  # against the trend on either side
    assert np.mean(np.abs(step) > 0.02) == pytest.approx(0.2, abs=0.1)
    assert np.abs(step).max() < 0.2


def test_fibres_of_half_a_plate_have_excess_and_stellar_lines_in_common():
    def errors(half_plate, n):
        factor = np.log(flux_calibration.draw_factor(np.random.default_rng([n, 2]), half_plate, 4000.0))
        line, left, right, blue, red = factor[at(4862.7, 4800.0, 4925.4, 4000, 9000)]
        return blue - red, line - 0.5 * (left + right)

    plates = [flux_calibration.draw_half_plate(np.random.default_rng([n, 3])) for n in range(100)]
    drawn = np.array([[errors(plate, 100 * n + fibre) for fibre in range(10)] for n, plate in enumerate(plates)])
    slope, depth = np.moveaxis(drawn, 2, 0)
    assert np.std(slope.mean(axis=1)) > np.std(slope, axis=1).mean() > 0.05
    assert np.std(depth.mean(axis=1)) == pytest.approx(flux_calibration.BALMER, rel=0.3)
    assert np.std(depth, axis=1).max() < 2e-3


# --- masks ----------------------------------------------------------------------------------------------------------


def test_masks_and_lost_pixels_have_the_measured_fractions():
    drawn = exposures(300)
    bits = np.array([exposure.and_mask for exposure in drawn])
    lost = np.array([exposure.ivar == 0 for exposure in drawn])
    assert np.mean(lost) == pytest.approx(0.0015, abs=0.0003)
    assert np.mean(bits & BRIGHTSKY > 0) == pytest.approx(0.049, abs=0.005)
    assert np.mean((bits != 0) & ~lost) == pytest.approx(0.069, abs=0.02)
    either = np.array([exposure.or_mask for exposure in drawn])
    for bit, fraction in ((masks.LOWFLAT, 0.15), (masks.BADFLUXFACTOR, 0.25), (masks.PARTIALREJECT, 0.13)):
        assert np.mean(either & bit > 0) == pytest.approx(fraction, abs=0.02)
    assert (bits & ~either == 0).all()
    assert not lost[:, [0, -1]].any()


# --- real spectra ---------------------------------------------------------------------------------------------------


def faint_real_spectra(folder):
    with open(folder / "sdss" / "index.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["run2d"] in ("v5_13_0", "v5_13_2") and float(row["sn_median_all"]) < 8.0:
                plate, mjd, fiberid = (int(row[name]) for name in ("plate", "mjd", "fiberid"))
                yield folder / "sdss" / f"{plate:04d}" / f"spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"


def median_noise(k, ivar, low, high):
    inside = (k >= low) & (k < high) & (ivar > 0)
    return np.median(1.0 / np.sqrt(ivar[inside]))


def test_noise_is_that_of_real_spectra_of_the_same_flux(real_data):
    ratios = []
    for number, path in enumerate(faint_real_spectra(real_data)):
        data = fits.getdata(path, 1)
        k = np.rint(1e4 * data["LOGLAM"].astype(float)).astype(int)
        model = np.interp(np.arange(sky.FIRST_PIXEL, sky.LAST_PIXEL + 1), k, data["MODEL"].astype(float))
        exposure = recording.expose(np.random.default_rng(number), model, CONDITIONS, lambda_eff=5400.0)
        simulated = exposure.first + np.arange(len(exposure.ivar)), exposure.ivar
        edges = itertools.pairwise(np.linspace(35_600, 40_100, 10).astype(int))
        ratios.append([median_noise(*simulated, *edge) / median_noise(k, data["IVAR"], *edge) for edge in edges])
    assert len(ratios) > 10
    assert np.median(ratios, axis=0) / CONDITIONS.noise == pytest.approx(1.0, abs=0.12)
