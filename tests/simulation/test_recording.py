"""The telescope of the simulation: what it does to light, and that its spectra are noisy and masked as real ones."""

import csv
import dataclasses
import itertools

import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.survey import BRIGHTSKY, Survey
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.quasar import received_flux
from quasar_mass.simulation.spectrograph import flux_calibration, masks, recording, sky
from quasar_mass.spectra.read import read as read_spectrum

SEED = 5
WHERE = recording.conditions(SEED, 7000, 56_500, 1)
WAVELENGTH = 10.0 ** recording.pixels()


def at(*wavelengths):
    return np.searchsorted(WAVELENGTH, wavelengths)


def flat(level=2.0):
    return np.full(len(WAVELENGTH), level)


def no_errors(monkeypatch):
    """Switch the systematic errors of calibration, sky subtraction and reported noise off."""
    one = np.ones(len(WAVELENGTH))
    monkeypatch.setattr(flux_calibration, "draw_factor", lambda *_: one)
    monkeypatch.setattr(flux_calibration, "draw_error_factor", lambda *_: one)
    monkeypatch.setattr(recording, "leftover", lambda *_: 0.0 * one)
    monkeypatch.setattr(recording, "UNREPORTED_SCATTER", 0.0)


@pytest.fixture(scope="module")
def target():
    found = next(target for target in population.targets(400, SEED) if len(target.epochs) == 3)
    assert found.has_files
    return found


@pytest.fixture(scope="module")
def monitored():
    return population.targets(500, 1)[0]


# --- resolution -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_resolution_spreads_a_line_by_the_width_it_reports_and_loses_no_light(factor):
    for place in at(3800, 5500, 9000):
        point = np.zeros(len(WAVELENGTH))
        point[place] = 1.0
        seen = sky.blur(point, factor)
        offset = np.arange(len(seen)) - place
        assert seen.sum() == pytest.approx(1.0, abs=1e-9)
        width = np.sqrt(np.sum(seen * offset**2) - np.sum(seen * offset) ** 2)
        assert width == pytest.approx(factor * sky.sky()[2][place], rel=0.02)


def test_resolution_leaves_smooth_light_alone_up_to_the_ends():
    smooth = 3.0 * (WAVELENGTH / 5000.0) ** -1.5
    assert sky.blur(smooth, 1.0) == pytest.approx(smooth, rel=2e-3)


def test_the_reported_width_varies_from_fibre_to_fibre_as_the_true_one_does():
    exposures = [recording.expose(np.random.default_rng(n), flat(), WHERE) for n in range(60)]
    typical = sky.sky()[2][WHERE.first - recording.FIRST]
    factors = [exposure.wdisp[0] / typical for exposure in exposures]
    assert np.std(factors) == pytest.approx(0.11, abs=0.03)


# --- noise ----------------------------------------------------------------------------------------------------------


def test_reading_adds_noise_of_the_variance_that_the_exposure_claims():
    exposure = recording.expose(np.random.default_rng(1), flat(), WHERE)
    rng = np.random.default_rng(2)
    kept = exposure.ivar > 0
    residual = np.array([exposure.read(rng).flux - exposure.light for _ in range(200)])[:, kept]
    chi = residual / np.sqrt(exposure.variance[kept])
    assert np.mean(chi) == pytest.approx(0.0, abs=0.01)
    quartiles = np.percentile(chi, (25, 75))  # cosmic rays spoil the standard deviation
    assert (quartiles[1] - quartiles[0]) / 1.349 == pytest.approx(1.0, abs=0.01)
    rough = np.percentile(chi[:, :4000].reshape(200, 40, 100), (25, 75), axis=(0, 2))
    assert (rough[1] - rough[0]) / 1.349 == pytest.approx(1.0, abs=0.05)  # at all wavelengths


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
    assert 0.3 < np.corrcoef(np.log(ratios[:, red]), np.log(ratios[:, blue]))[0, 1] < 0.8  # in part a region's own


def test_brighter_quasars_have_more_noise_and_sky_lines_stand_out(monkeypatch):
    no_errors(monkeypatch)
    faint, bright = (recording.expose(np.random.default_rng(4), flat(level), WHERE) for level in (1.0, 20.0))
    place = at(5000)[0] - (WHERE.first - recording.FIRST)
    grown = bright.variance[place] / faint.variance[place]
    _, brightness, _, photons, _ = (column[at(5000)[0]] for column in sky.sky())
    assert grown == pytest.approx((1 + 20 * photons / brightness) / (1 + photons / brightness), rel=0.03)
    line = 37_465 - WHERE.first
    assert faint.variance[line] > 50.0 * faint.variance[line - 15]


def test_cosmic_rays_are_rare_and_not_told(monkeypatch):
    no_errors(monkeypatch)
    exposure = recording.expose(np.random.default_rng(5), flat(), WHERE)
    kept = exposure.ivar > 0
    rng = np.random.default_rng(6)
    chi = np.array([(exposure.read(rng).flux - exposure.light) / np.sqrt(exposure.variance) for _ in range(400)])
    struck = (np.abs(chi[:, kept]) > 5.5).any(axis=1)
    assert 0.15 < struck.mean() < 0.35
    assert (chi[:, kept] > 5.5).sum() > (chi[:, kept] < -5.5).sum() > 0


def test_a_few_pixels_are_noisier_than_told():
    exposures = [recording.expose(np.random.default_rng(n), flat(), WHERE) for n in range(40)]
    variance = np.array([exposure.variance for exposure in exposures])
    told = np.array([exposure.ivar for exposure in exposures])
    lost = told == 0
    excess = variance * told
    around = np.median(excess[:, :4550].reshape(40, -1, 50), axis=2).repeat(50, axis=1)
    assert np.mean((excess[:, :4550] > 3.0 * around)[~lost[:, :4550]]) == pytest.approx(0.008, abs=0.002)


def test_the_sky_subtraction_leaves_as_much_as_measured_at_sky_lines_and_nothing_beside():
    exposures = [recording.expose(np.random.default_rng(n), flat(), WHERE) for n in range(200)]
    lost = np.array([exposure.ivar == 0 for exposure in exposures])
    left = np.array([(exposure.light - exposure.model) * np.sqrt(exposure.ivar) for exposure in exposures])
    bright = exposures[0].and_mask & BRIGHTSKY > 0
    assert np.std(left[:, bright][~lost[:, bright]]) == pytest.approx(0.39, abs=0.03)
    start = 37_465 - WHERE.first
    flanks = [start - 3, start - 2, start + 2, start + 3]
    assert np.std(left[:, flanks][~lost[:, flanks]]) == pytest.approx(1.7, abs=0.15)
    assert np.abs(left[:, at(5050)[0] - WHERE.first + recording.FIRST]).max() < 1e-6


# --- calibration ----------------------------------------------------------------------------------------------------


def factors(lambda_eff, number=400):
    drawn = []
    for n in range(number):
        rng = np.random.default_rng([n, 1])
        drawn.append(flux_calibration.draw_factor(rng, flux_calibration.draw_half_plate(rng), lambda_eff))
    return np.array(drawn)


def test_quasars_drilled_for_4000_angstrom_come_out_too_blue_on_average():
    average = np.exp(np.median(np.log(factors(4000.0)), axis=0))
    blue, middle, red = average[at(3600, 5400, 10_000)]
    assert blue / middle == pytest.approx(1.19, abs=0.04)
    assert red / middle == pytest.approx(0.76, abs=0.04)
    assert middle == pytest.approx(1.0, abs=0.02)


def test_others_are_right_on_average_within_a_few_per_cent_each():
    drawn = np.log(factors(5400.0))
    assert np.median(drawn, axis=0) == pytest.approx(0.0, abs=0.03)
    colour = drawn[:, at(4686)[0]] - drawn[:, at(6166)[0]]
    assert 0.03 < np.std(colour) < 0.08  # g-r: 5-6 % published


def test_the_excess_differs_between_plates_more_than_within_one():
    def slope(half_plate, n):
        factor = flux_calibration.draw_factor(np.random.default_rng([n, 2]), half_plate, 4000.0)
        return np.log(factor[at(4000)[0]] / factor[at(9000)[0]])

    plates = [flux_calibration.draw_half_plate(np.random.default_rng([n, 3])) for n in range(60)]
    slopes = np.array([[slope(plate, 100 * n + fibre) for fibre in range(15)] for n, plate in enumerate(plates)])
    assert np.std(slopes.mean(axis=1)) > np.std(slopes, axis=1).mean() > 0.05


def test_some_spectra_have_a_step_at_the_dichroic():
    drawn = np.log(factors(5400.0))
    below, left, right, above = at(5500, 5850, 6250, 6600)
    # against the trend on either side
    step = (
        drawn[:, right] - drawn[:, left] - 0.5 * (drawn[:, left] - drawn[:, below] + drawn[:, above] - drawn[:, right])
    )
    assert np.mean(np.abs(step) > 0.02) == pytest.approx(0.2, abs=0.1)
    assert np.abs(step).max() < 0.2


def test_fibres_of_half_a_plate_share_the_standard_stars_lines():
    def depth(half_plate, n):
        factor = np.log(flux_calibration.draw_factor(np.random.default_rng([n, 4]), half_plate, 5400.0))
        line, blue, red = at(4862.7, 4800.0, 4925.4)
        return factor[line] - 0.5 * (factor[blue] + factor[red])

    plates = [flux_calibration.draw_half_plate(np.random.default_rng([n, 5])) for n in range(200)]
    depths = np.array([[depth(plate, 2 * n + fibre) for fibre in (0, 1)] for n, plate in enumerate(plates)])
    assert np.std(depths[:, 0]) == pytest.approx(flux_calibration.BALMER, rel=0.2)
    assert depths[:, 0] == pytest.approx(depths[:, 1], abs=2e-3)


def test_the_recorded_light_carries_the_calibration_errors():
    wheres = [recording.conditions(SEED, plate, 57_000, 1) for plate in range(4000, 4200)]
    drawn = []
    for n, where in enumerate(wheres):
        exposure = recording.expose(np.random.default_rng(n), flat(), where, lambda_eff=4000.0)
        drawn.append(exposure.model[at(3800, 5400, 9500) - (where.first - recording.FIRST)])
    blue, middle, red = np.exp(np.median(np.log(drawn), axis=0)) / 2.0
    assert (blue / middle, red / middle) == pytest.approx((1.167, 0.78), abs=0.05)
    assert 0.05 < np.std(np.log(drawn)[:, 1]) < 0.15


# --- masks ----------------------------------------------------------------------------------------------------------


def test_masks_and_lost_pixels_have_the_measured_shares():
    exposures = [recording.expose(np.random.default_rng(n), flat(), WHERE) for n in range(300)]
    bits = np.array([exposure.and_mask for exposure in exposures])
    lost = np.array([exposure.ivar == 0 for exposure in exposures])
    assert np.mean(lost) == pytest.approx(0.0015, abs=0.0003)
    assert np.mean(bits & BRIGHTSKY > 0) == pytest.approx(0.049, abs=0.005)
    assert np.mean((bits != 0) & ~lost) == pytest.approx(0.069, abs=0.02)
    either = np.array([exposure.or_mask for exposure in exposures])
    for bit, share in ((masks.LOWFLAT, 0.15), (masks.BADFLUXFACTOR, 0.25), (masks.PARTIALREJECT, 0.13)):
        assert np.mean(either & bit > 0) == pytest.approx(share, abs=0.02)
    assert (bits & ~either == 0).all()
    assert not lost[:, [0, -1]].any()


def test_lost_pixels_are_filled_with_plausible_flux_without_weight():
    exposures = [recording.expose(np.random.default_rng(n), flat(50.0), WHERE) for n in range(20)]
    filled = 0
    for n, exposure in enumerate(exposures):
        observed = exposure.read(np.random.default_rng([n, 1]))
        lost = observed.ivar == 0
        filled += lost.sum()
        assert np.isfinite(observed.flux).all()
        assert (np.abs(observed.flux[lost] - 50.0) < 50.0).all()
    assert filled > 40


# --- the same and not the same --------------------------------------------------------------------------------------


def test_observing_is_exposing_and_reading():
    rng = np.random.default_rng(8)
    apart = recording.expose(rng, flat(), WHERE, lambda_eff=4000.0).read(rng)
    together = recording.observe(np.random.default_rng(8), flat(), WHERE, lambda_eff=4000.0)
    assert all(
        np.array_equal(getattr(apart, field.name), getattr(together, field.name))
        for field in dataclasses.fields(apart)
        if field.name != "conditions"
    )


def test_reading_again_changes_the_noise_alone_and_never_the_exposure():
    exposure = recording.expose(np.random.default_rng(9), flat(), WHERE)
    before = exposure.light.copy(), exposure.ivar.copy()
    one, same, other = (exposure.read(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.flux, same.flux)
    assert np.mean(one.flux == other.flux) < 0.01
    assert np.array_equal(one.ivar, other.ivar)
    assert np.array_equal(exposure.light, before[0])
    assert np.array_equal(exposure.ivar, before[1])


def test_an_epoch_does_not_depend_on_which_others_are_observed(target):
    quasar = observing.draw_quasar(SEED, target)
    alone = observing.epoch_exposure(SEED, quasar, target, 2).read(observing.epoch_noise(SEED, target, 2))
    _, _, third = observing._observe(SEED, target).observations
    assert np.array_equal(alone.flux, third.flux)
    assert np.array_equal(alone.ivar, third.ivar)


def test_noise_of_two_epochs_is_independent(monitored):
    quasar = observing.draw_quasar(1, monitored)
    chi = []
    for n in range(6):
        exposure = observing.epoch_exposure(1, quasar, monitored, n)
        observed = exposure.read(observing.epoch_noise(1, monitored, n))
        chi.append(((observed.flux - exposure.light) / np.sqrt(exposure.variance))[100:4500])
    correlation = np.corrcoef(chi)[np.triu_indices(6, 1)]
    assert np.abs(correlation).max() < 0.07


def test_systematic_errors_of_two_epochs_are_independent(monitored):
    quasar = observing.draw_quasar(1, monitored)
    exposures = [observing.epoch_exposure(1, quasar, monitored, n) for n in range(4)]
    typical = sky.sky()[2]
    factors = [round(float(one.wdisp[0] / typical[one.first - recording.FIRST]), 3) for one in exposures]
    assert len(set(factors)) > 1
    noisier = [set(np.flatnonzero(one.variance * one.ivar > 2.5)) for one in exposures]
    assert all(len(one & other) < 0.3 * len(one) for one, other in itertools.combinations(noisier, 2))


def test_the_monitored_field_was_drilled_for_the_wavelength_of_the_standard_stars(target, monitored, monkeypatch):
    seen = []
    monkeypatch.setattr(recording, "expose", lambda *_, lambda_eff: seen.append(lambda_eff))
    for one in (target, monitored):
        observing.epoch_exposure(SEED, observing.draw_quasar(SEED, one), one, 0)
    assert seen == [4000.0, 5400.0]


def test_quasars_are_at_their_true_redshift_not_the_catalogues(target):
    drawn = [observing.draw_quasar(SEED, dataclasses.replace(target, index=n)).redshift for n in range(400)]
    velocity = (np.array(drawn) - target.z) / (1.0 + target.z) * 299_792.458
    assert 1.4826 * np.median(np.abs(velocity)) == pytest.approx(270.0, abs=50.0)


def test_masses_are_measured_on_the_epoch_that_the_record_names(target, monkeypatch):
    measure, seen = observing.virial.measure, []

    def watched(spectra, redshift, ebv):
        seen.extend(spectra)
        return measure(spectra, redshift, ebv)

    monkeypatch.setattr(observing.virial, "measure", watched)
    several = [observing._observe(SEED, dataclasses.replace(target, index=n)) for n in range(25)]
    others = sum(one.measured != one.primary for one in several)
    assert 0 < others < 10
    observing._label_all(SEED, several)
    for one, spectrum in zip(several, seen, strict=True):
        assert spectrum.spec_id == "{:04d}-{:05d}-{:04d}".format(*target.epochs[one.measured])
        assert np.array_equal(spectrum.flux, one.observations[one.measured].flux.astype(np.float32))


def test_a_spectrum_in_memory_is_the_one_its_file_holds(target, tmp_path):
    survey = Survey(tmp_path)
    record = observing.simulate_target(survey, SEED, target)
    observed = observing._observe(SEED, target)
    for epoch, observation in zip(target.epochs, observed.observations, strict=True):
        memory = observing.spectrum_of(observation, target, epoch)
        file = read_spectrum(survey.spectrum(*epoch))
        for field in dataclasses.fields(file):
            assert np.array_equal(getattr(memory, field.name), getattr(file, field.name)), field.name
    assert record.primary == observed.primary


# --- variability ----------------------------------------------------------------------------------------------------


def test_quasars_vary_little_in_days_and_by_the_structure_function_in_years(monitored):
    nights = {"days": 4, "years": 3000}
    spread = {}
    for name, days in nights.items():
        epochs = ((7338, 57_000, 1), (7338, 57_000 + days, 1))
        pairs = [dataclasses.replace(monitored, index=n, epochs=epochs) for n in range(800)]
        changes = np.array([received_flux.variations(SEED, pair, 1.65)[:, 0] for pair in pairs])
        spread[name] = np.std(changes[:, 1] - changes[:, 0])
    assert spread["years"] == pytest.approx(0.179, abs=0.02)
    assert spread["days"] < 0.03


def test_quasars_are_bluer_when_brighter():
    brighter = received_flux.variation(np.array((-0.2, 0.0)), 1.65)
    blue, red = brighter[at(4000)[0]], brighter[at(9000)[0]]
    assert blue > red > 1.05
    assert brighter[at(2500 * 2.65)[0]] == pytest.approx(10**0.08, rel=1e-3)


def test_magnitudes_are_on_the_ab_scale():
    jansky = 1e-23 * 2.99792458e18 / WAVELENGTH**2 / 1e-17  # in the pixels' unit, per wavelength
    assert received_flux.magnitudes(3631.0e-8 * jansky) == pytest.approx(20.0, abs=1e-3)


def test_the_noise_of_a_plate_falls_with_its_exposures_as_far_as_measured():
    plates = [recording.conditions(SEED, plate, 57_000, 1) for plate in range(4000, 6000)]
    noise = {n: np.median([one.noise for one in plates if one.exposures == n]) for n in (3, 4, 5, 10)}
    assert [noise[n] for n in (3, 4, 5, 10)] == pytest.approx([1.29, 1.12, 1.0, 1.0], abs=0.1)


# --- redshifts ------------------------------------------------------------------------------------------------------


def test_catalogue_redshifts_scatter_around_the_truth_with_a_core_a_tail_and_wrong_ones():
    rng = np.random.default_rng(10)
    wind = rng.standard_normal(20_000)
    truth = np.array([population.true_redshift(rng, 1.6, strength) for strength in wind])
    velocity = np.abs(truth - 1.6) / 2.6 * 299_792.458
    assert 1.4826 * np.median(velocity) == pytest.approx(270.0, abs=15.0)
    assert np.mean((velocity > 500) & (velocity < 1000)) == pytest.approx(0.094, abs=0.015)
    assert np.mean(np.abs(truth - 1.6) > 0.0435) == pytest.approx(0.0015, abs=0.001)  # beyond 5000 km/s
    assert np.abs(truth - 1.6).max() < 0.151
    strong = np.median(truth[wind > 1.0]) - np.median(truth[wind < -1.0])
    assert strong / 2.6 * 299_792.458 == pytest.approx(300.0, abs=40.0)  # the blueshifted line makes Z too small


def test_both_catalogues_redshifts_differ_as_published():
    rng = np.random.default_rng(11)
    z = rng.uniform(1.463, 1.8, 40_000)
    difference = np.array([round(one + population._zvi_offset(rng), 4) for one in z]) - z
    assert np.mean(np.abs(difference) < 5.1e-5) == pytest.approx(0.24, abs=0.02)
    assert np.std(difference) == pytest.approx(7.9e-4, abs=0.8e-4)
    assert np.percentile(np.abs(difference), (50, 90, 99)) == pytest.approx([1.64e-4, 6.7e-4, 2.85e-3], rel=0.12)
    assert 0.002 < np.abs(difference).max() <= 0.0381


# --- against real spectra -------------------------------------------------------------------------------------------


def faint_real_spectra(real_data):
    with open(real_data / "sdss" / "index.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["run2d"] in ("v5_13_0", "v5_13_2") and float(row["sn_median_all"]) < 8.0:
                plate, mjd, fiberid = (int(row[name]) for name in ("plate", "mjd", "fiberid"))
                yield real_data / "sdss" / f"{plate:04d}" / f"spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"


def test_noise_is_that_of_real_spectra_of_the_same_flux(real_data):
    edges = np.linspace(35_600, 40_100, 10).astype(int)
    ratios = []
    for number, path in enumerate(faint_real_spectra(real_data)):
        data = fits.getdata(path, 1)
        real = {name.upper(): np.asarray(data[name], float) for name in data.names}
        k = np.rint(1e4 * real["LOGLAM"]).astype(int)
        model = np.interp(np.arange(recording.FIRST, recording.LAST + 1), k, real["MODEL"])
        exposure = recording.expose(np.random.default_rng(number), model, WHERE, lambda_eff=5400.0)
        made = exposure.first + np.arange(len(exposure.light))
        ratios.append(
            [
                median_noise(made, exposure.ivar, low, high) / median_noise(k, real["IVAR"], low, high)
                for low, high in itertools.pairwise(edges)
            ]
        )
    assert len(ratios) > 10
    ratios = np.array(ratios) / WHERE.noise
    assert np.median(ratios, axis=0) == pytest.approx(1.0, abs=0.12)


def median_noise(k, ivar, low, high):
    inside = (k >= low) & (k < high) & (ivar > 0)
    return np.median(1.0 / np.sqrt(ivar[inside]))
