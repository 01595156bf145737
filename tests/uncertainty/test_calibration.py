"""Intervals of a calibration: coverage on data like the calibration's, by object, at every noise."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from quasar_mass.uncertainty import mixture_density
from quasar_mass.uncertainty.calibration import add_systematic, fit_interval, split_validation


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
    low, high = interval.density.given(features).bounds(-interval.scores.threshold(confidence))
    inside = (label >= mass + low) & (label <= mass + high)
    return pd.Series(inside).groupby(objects).mean(), high - low


def test_new_objects_are_covered_as_promised_in_all_and_at_every_noise():
    rng = np.random.default_rng(0)
    features, mass, label, objects = made_up(rng, 4000)
    roles = split_validation(pd.Series(objects).value_counts()).reindex(objects).to_numpy()
    interval = fit_interval(features, mass, label, objects, roles)
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
