"""Intervals of a calibration: coverage on data like the calibration's, by object, at every noise."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.errors import ModelError
from quasar_mass.uncertainty import mixture_density
from quasar_mass.uncertainty.calibration import (
    Calibration,
    Interval,
    Scores,
    add_systematic,
    fit_interval,
    seen_groups,
    split_validation,
)
from quasar_mass.uncertainty.mixture_density import MixtureDensity
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import Epochs, Noise, ObjectSpectra, Pooling
from quasar_mass.uncertainty.spectrum_measures import SpectrumMeasures
from quasar_mass.uncertainty.training_domain import TrainingDomain


def made_up(rng, n):
    """Objects with one to forty spectra, faint ones with larger errors, all spectra of one sharing most of it."""
    counts = np.where(rng.random(n) < 0.05, rng.integers(2, 40, n), 1)
    objects = np.repeat(np.arange(n), counts).astype(str)
    own = np.repeat(rng.normal(size=n), counts)
    x = np.repeat(rng.uniform(-1, 1, n), counts)
    mass = 8.5 + 0.3 * rng.normal(size=len(x))
    label = mass + 0.2 * 2.0**-x * (0.9 * own + 0.43 * rng.normal(size=len(x)))
    return np.column_stack([x, mass]), mass, label, objects


def held(features, mass, label, objects, interval, confidence=0.9):
    low, high = interval.density.given(features).bounds(-interval.threshold(confidence))
    inside = (label >= mass + low) & (label <= mass + high)
    return pd.Series(inside).groupby(objects).mean(), high - low


def test_new_objects_are_covered_as_promised_in_all_and_at_every_noise():
    rng = np.random.default_rng(0)
    features, mass, label, objects = made_up(rng, 4000)
    roles = split_validation(pd.Series(objects).value_counts()).reindex(objects).to_numpy()
    interval = fit_interval(features, mass, label, objects, roles, np.full(len(mass), "whole"))
    new = made_up(rng, 6000)
    inside, wide = held(*new, interval)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)  # 2,000 objects calibrate: one sd is 0.007
    x = pd.Series(new[0][:, 0]).groupby(new[3]).first()
    for low in (-1.0, -0.5, 0.0, 0.5):
        assert inside[(x >= low) & (x < low + 0.5)].mean() == pytest.approx(0.9, abs=0.035)
    faint, bright = wide[new[0][:, 0] < -0.8].mean(), wide[new[0][:, 0] > 0.8].mean()
    assert faint / bright == pytest.approx(2**1.8, rel=0.25)
    for confidence in (0.5, 0.8, 0.95):
        assert held(*new, interval, confidence)[0].mean() == pytest.approx(confidence, abs=0.03)


def test_each_kind_of_partial_spectrum_is_covered_as_promised():
    """Those without Mg II err by twice as much, which the widths do not know; of those without C IV there are few."""
    rng = np.random.default_rng(1)

    def sample(n):
        features, mass, label, objects = made_up(rng, n)
        group = np.array(["whole", "CIV", "MgII"])[np.digitize(rng.random(len(mass)), (0.5, 0.99))]
        group = group[np.unique(objects, return_index=True)[1][np.unique(objects, return_inverse=True)[1]]]
        return features, mass, np.where(group == "CIV", mass + 2 * (label - mass), label), objects, group

    features, mass, label, objects, group = sample(3000)
    roles = split_validation(pd.Series(objects).value_counts()).reindex(objects).to_numpy()
    interval = fit_interval(features, mass, label, objects, roles, group)
    assert set(interval.scores) == {"whole", "CIV"}
    assert interval.threshold(0.9, "MgII") == interval.threshold(0.9, "whole")
    features, mass, label, objects, group = sample(4000)
    for name in ("whole", "CIV"):
        low, high = interval.density.given(features).bounds(-interval.threshold(0.9, name))
        rows = group == name
        inside = ((label >= mass + low) & (label <= mass + high))[rows]
        assert pd.Series(inside).groupby(objects[rows]).mean().mean() == pytest.approx(0.9, abs=0.03)


def test_widths_and_thresholds_are_learnt_on_different_objects():
    counts = pd.Series({f"{n:04d}": 1 if n < 900 else 2 if n < 960 else 5 if n < 990 else 70 for n in range(1000)})
    role = split_validation(counts)
    assert {"fit", "calibrate", "pooled"} == set(role)
    assert abs((role == "calibrate").sum() - 500) <= 1
    for spectra in (1, 2, 5, 70):
        assert (role[counts == spectra] == "calibrate").sum() == pytest.approx((counts == spectra).sum() / 2, abs=1)
    assert set(role[counts >= 3]) == {"calibrate", "pooled"}
    assert split_validation(counts.sample(frac=1.0, random_state=1)).sort_index().equals(role.sort_index())
    assert set(split_validation(counts.head(2 * mixture_density.MIN_OBJECTS - 1))) == {"calibrate"}


def test_the_virial_scatter_is_added_in_quadrature():
    z = NormalDist().inv_cdf(0.95)
    low, high = add_systematic(np.array([8.0]), np.array([7.7]), np.array([8.4]), 0.9, systematic=0.4)
    assert low[0] == pytest.approx(8.0 - np.hypot(0.3, 0.4 * z))
    assert high[0] == pytest.approx(8.0 + np.hypot(0.4, 0.4 * z))


# --- by hand --------------------------------------------------------------------------------------------------------
@pytest.fixture
def calibration():
    """Labels lie N(0.1, 0.2) dex around every mass; nineteen objects of every group have tails of 0.01 to 0.19."""
    zeros = [np.zeros((1, 11, 1)), np.zeros((1, 1)), np.zeros((1, 1, 3)), np.array([[0.0, 0.1, np.log(0.2)]])]
    density = MixtureDensity(np.zeros(11), np.ones(11), np.full(11, -9.0), np.full(11, 9.0), *zeros)
    domain = TrainingDomain(*np.zeros((3, 2)), np.zeros(6), np.eye(6), np.ones(6), np.ones(1), *[None] * 3)
    names = list("abcdefghijklmnopqrs")
    pooled = {"mean 2": Scores.of(np.full(19, -0.25), names), "mean 60+": Scores.of(np.full(8, -0.25), names[:8])}
    intervals = {"any": Interval(density, {"whole": Scores.of(-0.01 * np.arange(1, 20), names)}, pooled)}
    return Calibration({}, domain, intervals, Pooling(Noise(0.0, 0.0, 0.0), None, {"any": "mean"}))


def view(mass):
    n = len(mass)
    measures = SpectrumMeasures(
        np.ones(n), np.full(n, np.nan), np.zeros(n), np.zeros((n, 1)), np.ones((n, 1)), *np.zeros((3, n))
    )
    return NetworkView(
        np.full(n, 1.6), np.ones(n), mass, np.zeros(n), np.zeros((n, 6)), measures, np.ones((n, 3)), np.zeros(n)
    )


@pytest.mark.parametrize(("confidence", "tail"), [(0.5, 0.10), (0.9, 0.02), (0.95, 0.01)])
def test_intervals_of_spectra_are_those_by_hand(calibration, confidence, tail):
    """Of 19 objects, the (confidence x 20)-th largest tail; beyond it lies that probability on either side."""
    mass = np.linspace(7.5, 9.5, 12)
    low, high = calibration.bounds(view(mass), confidence)
    reach = 0.2 * NormalDist().inv_cdf(1.0 - tail)
    np.testing.assert_allclose(low, mass + 0.1 - reach, atol=1e-8)
    np.testing.assert_allclose(high, mass + 0.1 + reach, atol=1e-8)


def test_what_is_seen_decides_whose_scores_count(calibration):
    """Whole, by a hair; Mg II alone; C IV alone; neither is as C IV alone. Scores of a kind with few objects: whole."""
    seen = np.array([[0.5, 0.0, 0.5], [0.49, 1.0, 1.0], [1.0, 1.0, 0.49], [0.0, 0.0, 0.0]])
    assert seen_groups(seen).tolist() == ["whole", "MgII", "CIV", "CIV"]
    interval = calibration.interval("any")
    civ = Scores.of(np.full(19, -0.3), list("abcdefghijklmnopqrs"))
    intervals = {"any": replace(interval, scores={**interval.scores, "CIV": civ})}
    mass = np.full(4, 8.0)
    low, high = replace(calibration, intervals=intervals).bounds(replace(view(mass), lines_seen=seen), 0.9)
    reach = 0.2 * np.array([NormalDist().inv_cdf(1.0 - tail) for tail in (0.02, 0.02, 0.3, 0.3)])
    np.testing.assert_allclose(low, mass + 0.1 - reach, atol=1e-8)
    np.testing.assert_allclose(high, mass + 0.1 + reach, atol=1e-8)


def test_nineteen_objects_are_too_few_for_ninety_six_per_cent(calibration):
    low, high = calibration.bounds(view(np.array([8.0])), 0.96)
    assert (low[0], high[0]) == (-np.inf, np.inf)
    for confidence in (0.0, 1.0):
        with pytest.raises(ModelError, match="confidence: "):
            calibration.bounds(view(np.array([8.0])), confidence)


def test_pooled_intervals_use_the_scores_of_their_group_or_else_of_single_spectra(calibration):
    counts = [1, 2, 2, 3, 60]
    epochs = {
        str(n): Epochs(np.full(count, 8.0 + n), np.ones(count), np.zeros((count, 6)), 1.6, 0.0, np.zeros(6))
        for n, count in enumerate(counts)
    }
    typical = dict.fromkeys(
        ("redshift", "signal_to_noise", "log_luminosity", "ens_std", "absorption", "several"), np.ones(5)
    )
    typical |= {"hidden": np.zeros((5, 6)), "lines_seen": np.ones((5, 3))}
    mass, low, high = calibration.pooled(ObjectSpectra(epochs, typical), "mean", 0.9)
    assert mass.tolist() == [8.0, 9.0, 10.0, 11.0, 12.0]
    reach = 0.2 * np.array([NormalDist().inv_cdf(1.0 - tail) for tail in (0.02, 0.25, 0.25, 0.02)])
    np.testing.assert_allclose(low[:4], mass[:4] + 0.1 - reach, atol=1e-8)
    np.testing.assert_allclose(high[:4], mass[:4] + 0.1 + reach, atol=1e-8)
    assert np.isinf([low[4], high[4]]).all()  # eight objects of its group cannot guarantee 90 %
