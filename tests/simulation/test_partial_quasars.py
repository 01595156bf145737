"""Simulated quasars of all redshifts: what a library holds of them, and partial spectra with labels."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from quasar_mass.core.survey import Grid
from quasar_mass.simulation import library, observing, partial, population
from quasar_mass.simulation.quasar.intrinsic import PRETRAINING_VARIETY
from quasar_mass.simulation.quasar.received_flux import draw_variations, received_flux
from quasar_mass.spectra.rest_frame import to_rest_frame

GRID, GROUP, SEED = Grid(), 4, 5
WIDE = (0.35, 2.65)


# --- the library ------------------------------------------------------------------------------------------------------


def test_a_target_gets_one_redshift_of_the_wide_range_and_keeps_the_rest():
    targets = population.targets(2000, SEED)
    moved = [library.in_wide_range(SEED, target) for target in targets]
    z = np.array([target.z for target in moved])
    assert z.min() >= WIDE[0]
    assert z.max() <= WIDE[1]
    # uniform: each quarter of the range has a quarter
    np.testing.assert_allclose(np.histogram(z, np.linspace(*WIDE, 5))[0] / len(z), 0.25, atol=0.04)
    for before, after in zip(targets, moved, strict=True):
        assert after.z == after.zvi
        assert replace(after, z=before.z, zvi=before.zvi) == before
    assert moved[7] == library.in_wide_range(SEED, targets[7])
    assert library.in_wide_range(SEED + 1, targets[7]).z != moved[7].z


def noiseless(seed, target, variety=1.0):
    """The mean spectrum of a target and its true noise."""
    quasar = observing.draw_quasar(seed, target, variety)
    flux, changes = received_flux(quasar, target.ebv), draw_variations(seed, target, quasar.redshift)
    exposure = observing.epoch_exposure(seed, quasar, target, 0, flux, changes[0])
    return observing.noiseless_spectrum(exposure, target, target.epochs[0])


@pytest.mark.parametrize("z", [0.5, 1.6, 2.55])
def test_averages_are_of_groups_that_are_seen_whole(z):
    target = replace(population.targets(12, SEED)[0], z=z, zvi=z)
    spectrum = noiseless(SEED, target)
    mean, sigma = library.averages(spectrum, z, target.ebv, GROUP)
    flux = to_rest_frame(spectrum, z, GRID, ebv=target.ebv, partial=True).flux
    expected = flux[: 925 * GROUP].reshape(-1, GROUP).mean(axis=1)  # NaN where one pixel is
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    assert np.array_equal(np.isnan(sigma), np.isnan(mean))
    assert np.nanmin(sigma) > 0
    good = spectrum.wavelength[spectrum.ivar > 0] / (1 + z)
    group = 10 ** (3.16 + 1e-4 * (GROUP * np.arange(925) + 1.5))
    assert np.isnan(mean[group < good[0] - 2]).all()
    assert np.isnan(mean[group > good[-1] + 2]).all()
    assert np.isnan(mean).mean() < 0.9


def test_every_other_quasar_of_a_library_has_a_wide_redshift_and_flux_is_what_networks_take(tmp_path, monkeypatch):
    """The averages times (1 + z) / 2.65; NaN where a quasar shows nothing."""
    monkeypatch.setattr(library, "PART", 8)
    held = library.library(tmp_path, size=8, seed=1, group=GROUP, quiet=True)
    seed = library.FIRST_SEED + 10_007
    targets = [target for target in population.targets(8, seed) if target.kind == "main"]
    expected = [library.in_wide_range(seed, target) if target.index % 2 else target for target in targets]
    assert {target.index % 2 for target in targets} == {0, 1}
    redshift = held.truth[:, library.COLUMNS.index("Z")]
    np.testing.assert_allclose(redshift, [target.z for target in expected], rtol=1e-6)
    for row, target in enumerate(expected):
        spectrum = noiseless(seed, target, PRETRAINING_VARIETY)
        averages = library.averages(spectrum, target.z, target.ebv, GROUP)
        for given, values in zip((held.flux[row], held.sigma[row]), averages, strict=True):
            np.testing.assert_allclose(given, values * (1 + target.z) / 2.65, rtol=2e-3, atol=1e-5)  # 16 bits
    assert np.isnan(held.flux).any()


# --- partial spectra with labels --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quasars():
    (batch,) = partial.observe(24, GRID, seed=3)
    return batch


def test_partial_quasars_are_the_same_in_any_number_of_processes(monkeypatch):
    monkeypatch.setattr(partial, "PART", 3)
    alone, together = ([*partial.observe(5, GRID, seed=3, jobs=jobs)] for jobs in (1, 2))
    assert len(alone) == len(together) == 2
    for one, other in zip(*(itertools.chain(*batches) for batches in (alone, together)), strict=True):
        assert (one.name, one.redshift, one.label, one.line) == (other.name, other.redshift, other.label, other.line)
        assert np.array_equal(one.spectrum.flux, other.spectrum.flux, equal_nan=True)


def test_partial_quasars_show_enough_and_have_a_label_near_the_truth(quasars):
    assert 12 <= len(quasars) <= 24  # some show too little
    assert len({quasar.name for quasar in quasars}) == len(quasars)
    error = []
    for quasar in quasars:
        assert WIDE[0] <= quasar.redshift < WIDE[1]
        flux, (first, last) = quasar.spectrum.flux, quasar.spectrum.covered
        assert first <= np.log10(2700) or first <= np.log10(1500)
        assert np.isnan(flux[GRID.log_wavelength < first - 0.0101]).all()
        assert np.isnan(flux[GRID.log_wavelength > last + 0.0101]).all()
        assert np.isfinite(flux).mean() > 0.05
        if not 1.463 <= quasar.redshift < 1.8:
            assert quasar.line == "MgII", "beyond the mass table's redshifts"
        if quasar.line == "MgII":
            error.append(quasar.label - quasar.truth_mgii)
    assert abs(np.median(error)) < 0.15
    assert np.median(np.abs(error)) < 0.3
    assert np.ptp(error) > 0.05, "measured, with noise"


def test_labels_are_measured_before_a_part_is_lost(quasars, monkeypatch):
    """With nothing lost, the same quasars have the same labels; what is lost is beyond one of the coverages."""
    ranges, shares = zip(*partial.COVERAGES, strict=True)
    assert sum(shares) == pytest.approx(1.0)
    monkeypatch.setattr(partial, "COVERAGES", (((0.0, np.inf), 1.0),))
    (whole,) = partial.observe(24, GRID, seed=3)
    whole, cut = {quasar.name: quasar for quasar in whole}, set()
    assert len(whole) >= len(quasars)
    for quasar in quasars:
        other = whole[quasar.name]
        assert (quasar.label, quasar.line, quasar.redshift) == (other.label, other.line, other.redshift)
        for end in (0, 1):
            edge = quasar.spectrum.covered[end]
            if edge != pytest.approx(other.spectrum.covered[end], abs=1e-9):
                (known,) = {one[end] for one in ranges if abs(10**edge * (1 + quasar.redshift) - one[end]) < 5.0}
                cut.add((end, known))
    assert len(cut) >= 3


def test_what_is_beyond_a_coverage_has_no_data():
    spectrum = noiseless(SEED, population.targets(4, SEED)[0])
    cut = partial._within(spectrum, 4000.0, 6000.0)
    inside = (spectrum.wavelength >= 4000) & (spectrum.wavelength <= 6000)
    assert np.array_equal(cut.ivar, np.where(inside, spectrum.ivar, 0.0))
    assert np.array_equal(cut.flux, spectrum.flux)
    assert spectrum.ivar[~inside].any(), "the spectrum itself is as it was"
