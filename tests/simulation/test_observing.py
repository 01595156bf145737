"""Objects observed epoch by epoch: independent noise, variability, redshift errors, masses of the right spectrum."""

import dataclasses
import itertools

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import Planck15
from dust_extinction.parameter_averages import F99

from quasar_mass import virial
from quasar_mass.core.constants import C_KM_S
from quasar_mass.core.survey import Survey
from quasar_mass.simulation import labels, observing, population
from quasar_mass.simulation.quasar import intrinsic, received_flux
from quasar_mass.simulation.spectrograph import sky
from quasar_mass.spectra.read import read

SEED = 5


@pytest.fixture(scope="module")
def target():
    return next(target for target in population.targets(400, SEED) if len(target.epochs) == 3)


@pytest.fixture(scope="module")
def monitored():
    return population.targets(500, 1)[0]


def exposure(seed, target, n):
    quasar = observing.draw_quasar(seed, target)
    changes = received_flux.draw_variations(seed, target, quasar.redshift)
    flux = received_flux.received_flux(quasar, target.ebv)
    return observing.epoch_exposure(seed, quasar, target, n, flux, changes[n])


# --- epochs ---------------------------------------------------------------------------------------------------------


def test_an_epoch_does_not_depend_on_which_others_are_observed(target):
    alone = exposure(SEED, target, 2).read(observing.epoch_noise(SEED, target, 2))
    _, (_, _, third) = observing.observe(SEED, target)
    assert np.array_equal(alone.flux, third.flux)
    assert np.array_equal(alone.ivar, third.ivar)


def test_noise_and_systematic_errors_of_two_epochs_are_independent(monitored):
    exposures = [exposure(1, monitored, n) for n in range(6)]
    chi = []
    for n, exposed in enumerate(exposures):
        noise = exposed.read(observing.epoch_noise(1, monitored, n)).flux - exposed.flux
        chi.append((noise / np.sqrt(exposed.variance))[100:4500])
    assert np.abs(np.corrcoef(chi)[np.triu_indices(6, 1)]).max() < 0.07
    noisier = [set(np.flatnonzero(exposed.variance * exposed.ivar > 2.5)) for exposed in exposures]
    assert all(len(one & other) < 0.3 * len(one) for one, other in itertools.combinations(noisier, 2))


def test_masses_are_measured_on_the_epoch_that_the_record_names(target):
    observed = [observing.observe(SEED, dataclasses.replace(target, index=n)) for n in range(25)]
    assert 0 < sum(record.measured != record.primary for record, _ in observed) < 10
    for (record, observations), label in zip(observed, observing.label_all(SEED, observed), strict=True):
        spectrum = observing.spectrum_of(observations[record.measured], target, target.epochs[record.measured])
        masses = labels.trusted_masses(virial.measure([spectrum], redshift=target.z))[0]
        assert label.masses["MgII"] in (0.0, round(masses["MgII"], 2))


def test_a_spectrum_in_memory_is_the_one_in_its_file(target, tmp_path):
    survey = Survey(tmp_path)
    observing.simulate_targets(survey, SEED, [target])
    _, observations = observing.observe(SEED, target)
    for epoch, observation in zip(target.epochs, observations, strict=True):
        memory = observing.spectrum_of(observation, target, epoch)
        file = read(survey.spectrum(*epoch))
        for field in dataclasses.fields(file):
            assert np.array_equal(getattr(memory, field.name), getattr(file, field.name)), field.name


# --- received flux --------------------------------------------------------------------------------------------------


def test_the_flux_is_dimmed_by_distance_and_by_the_galaxy():
    quasar = intrinsic.draw(np.random.default_rng(5), 1.7)
    density = intrinsic.luminosity_density(quasar, sky.pixels() - np.log10(2.7))
    distance = Planck15.luminosity_distance(1.7).to_value(units.cm)
    flux = 1e17 * density / (4 * np.pi * distance**2 * 2.7)
    curve = F99(Rv=3.1).extinguish(10 ** sky.pixels() * units.AA, Av=2.742 * 0.1)
    assert received_flux.received_flux(quasar, 0.1) == pytest.approx(flux * curve, rel=1e-5)


@pytest.mark.parametrize(("days", "low", "high"), [(4, 0.0, 0.03), (3000, 0.159, 0.199)])
def test_quasars_vary_little_in_days_and_by_the_structure_function_in_years(monitored, days, low, high):
    epochs = ((7338, 57_000, 1), (7338, 57_000 + days, 1))
    pairs = [dataclasses.replace(monitored, index=n, epochs=epochs) for n in range(800)]
    changes = np.array([received_flux.draw_variations(SEED, pair, 1.65)[:, 0] for pair in pairs])
    assert low < np.std(changes[:, 1] - changes[:, 0]) < high


def test_quasars_are_bluer_when_brighter():
    brighter = received_flux.variability_factor(np.array((-0.2, 0.0)), 1.65)
    blue, middle, red = brighter[np.searchsorted(10 ** sky.pixels(), (4000, 2500 * 2.65, 9000))]
    assert blue > red > 1.05
    assert middle == pytest.approx(10**0.08, rel=1e-3)


def test_magnitudes_are_on_the_ab_scale():
    jansky = 1e-23 * 2.99792458e18 / 10 ** (2 * sky.pixels()) / 1e-17  # in the pixels' unit, per wavelength
    assert received_flux.magnitudes(3631.0e-8 * jansky) == pytest.approx(20.0, abs=1e-3)


# --- redshifts ------------------------------------------------------------------------------------------------------


def test_catalogue_redshifts_scatter_around_the_truth_with_a_core_a_tail_and_wrong_ones(target):
    rng = np.random.default_rng(10)
    wind = rng.standard_normal(20_000)
    truth = np.array([population.true_redshift(rng, 1.6, strength) for strength in wind])
    velocity = np.abs(truth - 1.6) / 2.6 * C_KM_S
    assert 1.4826 * np.median(velocity) == pytest.approx(310.0, abs=15.0)
    assert np.mean((velocity > 500) & (velocity < 1000)) == pytest.approx(0.12, abs=0.015)
    assert np.mean(np.abs(truth - 1.6) > 0.0435) == pytest.approx(0.0015, abs=0.001)  # beyond 5000 km/s
    assert np.abs(truth - 1.6).max() < 0.151
    strong = np.median(truth[wind > 1.0]) - np.median(truth[wind < -1.0])
    assert strong / 2.6 * C_KM_S == pytest.approx(300.0, abs=40.0)  # the blueshifted line makes Z too small
    drawn = [observing.draw_quasar(SEED, dataclasses.replace(target, index=n)).redshift for n in range(400)]
    velocity = (np.array(drawn) - target.z) / (1.0 + target.z) * C_KM_S
    assert 1.4826 * np.median(np.abs(velocity)) == pytest.approx(310.0, abs=55.0)


def test_the_redshifts_of_both_catalogues_differ_as_published():
    rng = np.random.default_rng(11)
    z = rng.uniform(1.463, 1.8, 40_000)
    difference = np.array([round(one + population._zvi_offset(rng), 4) for one in z]) - z
    assert np.mean(np.abs(difference) < 5.1e-5) == pytest.approx(0.24, abs=0.02)
    assert np.std(difference) == pytest.approx(7.9e-4, abs=0.8e-4)
    assert np.percentile(np.abs(difference), (50, 90, 99)) == pytest.approx([1.64e-4, 6.7e-4, 2.85e-3], rel=0.12)
    assert 0.002 < np.abs(difference).max() <= 0.0381
