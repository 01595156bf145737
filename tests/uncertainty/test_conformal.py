"""Intervals by object: guaranteed coverage in finite samples, and repeated spectra do not count twice."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar_mass.uncertainty.calibration import Scores, by_object, coverage

NUMBERS = st.floats(-5, 5, allow_nan=False)


@pytest.mark.parametrize("confidence", [0.5, 0.68, 0.9, 0.95])
@pytest.mark.parametrize("n", [9, 19, 20, 137])
def test_of_single_spectra_it_is_the_textbook_order_statistic(n, confidence):
    scores = np.random.default_rng(n).normal(size=n)
    rank = math.ceil((n + 1) * confidence - 1e-9)
    expected = np.sort(scores)[rank - 1] if rank <= n else np.inf
    assert Scores.of(scores, [str(i) for i in range(n)]).threshold(confidence) == expected


@settings(deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=6), min_size=2, max_size=12), st.floats(0.05, 0.95))
def test_left_out_objects_are_covered_whatever_the_scores(objects, confidence):
    """Over all choices of the object left out, the coverage is at least the confidence on average."""
    held = []
    for left_out, own in enumerate(objects):
        others = [(score, str(n)) for n, scores in enumerate(objects) if n != left_out for score in scores]
        threshold = Scores.of([score for score, _ in others], [name for _, name in others]).threshold(confidence)
        held.append(np.mean(np.array(own) <= threshold))
    assert np.mean(held) >= confidence - 1e-9


def test_a_hundred_spectra_of_one_object_count_as_one():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=30)
    names = [str(n) for n in range(30)]
    once = Scores.of(scores, names)
    again = Scores.of(np.append(scores, np.full(99, scores[0])), [*names, *["0"] * 99])
    assert once.objects == again.objects == 30
    for confidence in (0.3, 0.6, 0.9):
        assert again.threshold(confidence) == once.threshold(confidence)


def test_the_weight_of_an_object_is_divided_among_its_spectra():
    np.testing.assert_allclose(by_object(["a", "b", "a", "c", "a"]), [1 / 3, 1, 1 / 3, 1, 1 / 3])
    fraction, error, n = coverage(np.array([True, False, False, True]), ["a", "a", "a", "b"])
    assert (fraction, n) == (pytest.approx((1 / 3 + 1) / 2), 2)
    assert error == pytest.approx((1 - 1 / 3) / np.sqrt(2) / np.sqrt(2))
    assert coverage(np.empty(0, bool), [])[2] == 0
