"""The scores against numbers worked out by hand, and the groups against their definitions."""

import numpy as np
import pytest

from quasar_mass.core import evaluation


def test_scores_by_hand():
    # Residuals 0.1, -0.1, 0.3, 0.1: squares sum to 0.12; median 0.1, deviations 0, 0.2, 0.2, 0, their median 0.1.
    # Labels 8, 8, 9, 9 have variance 0.25.
    got = evaluation.scores([8, 8, 9, 9], [8.1, 7.9, 9.3, 9.1])
    assert got["n"] == 4
    assert got["rmse"] == pytest.approx(0.03**0.5)
    assert got["sigma_NMAD"] == pytest.approx(0.14826)
    assert got["bias"] == pytest.approx(0.1)
    assert got["r2"] == pytest.approx(1 - 0.03 / 0.25)
    assert got["label_sd"] == pytest.approx(0.5)


def test_sigma_NMAD_is_a_standard_deviation_that_outliers_do_not_move():
    residual = np.random.default_rng(0).normal(0, 0.2, 20_000)
    residual[:200] = 5
    label = np.full(residual.size, 8.5)
    got = evaluation.scores(label, label + residual)
    assert got["sigma_NMAD"] == pytest.approx(0.2, rel=0.03)
    assert got["rmse"] > 0.5


@pytest.mark.parametrize("label", [[8.56], [8.56, 8.56, 8.56]])
def test_r2_needs_a_label_variance(label):
    got = evaluation.scores(label, np.add(label, 0.2))
    assert np.isnan(got["r2"])
    assert got["rmse"] == pytest.approx(0.2)
    assert got["label_sd"] == 0


def test_no_labels_no_scores():
    got = evaluation.scores([], [])
    assert got.pop("n") == 0
    assert all(np.isnan(value) for value in got.values())
