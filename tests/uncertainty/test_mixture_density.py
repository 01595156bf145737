"""The distribution of errors: mixtures are solved exactly, and widths follow what they depend on."""

import numpy as np
import pytest

from quasar_mass.uncertainty import mixture_density
from quasar_mass.uncertainty.mixture_density import Mixture


def test_bounds_of_one_normal_distribution_are_its_quantiles():
    mixture = Mixture(np.ones((2, 1)), np.array([[0.1], [-0.2]]), np.array([[0.1], [0.3]]))
    low, high = mixture.bounds(0.05)
    np.testing.assert_allclose(low, [0.1 - 0.164485, -0.2 - 0.493456], atol=1e-5)
    np.testing.assert_allclose(high, [0.1 + 0.164485, -0.2 + 0.493456], atol=1e-5)
    assert mixture.bounds(0.0)[0][0] == -np.inf


def test_tail_of_a_bound_is_the_probability_beyond_it():
    rng = np.random.default_rng(1)
    mixture = Mixture(rng.dirichlet([1, 1, 1], size=50), rng.normal(0, 0.3, (50, 3)), rng.uniform(0.02, 0.5, (50, 3)))
    for tail in (1e-6, 0.01, 0.05, 0.3, 0.49):
        for bound in mixture.bounds(tail):
            np.testing.assert_allclose(mixture.tail(bound), tail, rtol=1e-4, atol=1e-9)


def deviation(mixture):
    """Standard deviation of each mixture, from the variances within and between its components."""
    second_moment = (mixture.weights * (mixture.sigmas**2 + mixture.means**2)).sum(axis=1)
    return np.sqrt(second_moment - mixture.mean() ** 2)


def test_mean_of_a_mixture():
    mixture = Mixture(np.array([[0.25, 0.75]]), np.array([[1.0, -1.0]]), np.array([[0.5, 0.2]]))
    assert mixture.mean()[0] == pytest.approx(-0.5)


def test_widths_follow_the_noise_and_do_not_grow_beyond_the_range_of_the_fit():
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, (1500, 2))
    sigma = 0.1 * 3.0 ** x[:, 0]
    residual = 0.2 * x[:, 1] + sigma * rng.normal(size=1500)
    density = mixture_density.fit(x, residual, np.ones(1500))
    faint, bright = (deviation(density.given(np.array([[end, 0.0]])))[0] for end in (0.9, -0.9))
    assert faint == pytest.approx(0.1 * 3**0.9, rel=0.25)
    assert bright == pytest.approx(0.1 * 3**-0.9, rel=0.35)
    assert density.given(np.array([[0.0, 0.8]])).mean()[0] == pytest.approx(0.16, abs=0.05)
    beyond = deviation(density.given(np.array([[50.0, 0.0]])))[0]
    assert beyond < 2 * faint


def test_few_objects_get_one_width_and_the_same_data_give_the_same_fit():
    rng = np.random.default_rng(3)
    x, residual = rng.normal(size=(60, 3)), rng.normal(0, 0.2, 60)
    density = mixture_density.fit(x, residual, np.ones(60))
    np.testing.assert_allclose(deviation(density.given(rng.normal(size=(5, 3)))), residual.std(), rtol=0.1)
    x, residual = rng.normal(size=(150, 3)), rng.normal(0, 0.2, 150)
    first, second = (mixture_density.fit(x, residual, np.ones(150)) for _ in range(2))
    assert all(np.array_equal(value, vars(second)[name]) for name, value in vars(first).items())


def test_bounds_of_hard_mixtures_are_exact_and_the_same_alone():
    rng = np.random.default_rng(4)
    narrow = np.exp(rng.uniform(-4.0, -0.5, (300, 15)))  # far apart: flat stretches between steep ones
    mixture = Mixture(rng.dirichlet(np.full(15, 0.3), size=300), rng.normal(0.0, 0.6, (300, 15)), narrow)
    for tail in (1e-12, 0.05, 0.4):
        bounds = mixture.bounds(tail)
        for bound, alone in zip(bounds, mixture.rows(np.array([7])).bounds(tail), strict=True):
            slack = mixture.pdf(bound) * 1e-11
            assert (np.abs(mixture.tail(bound) - tail) <= slack + 1e-12 * tail).all()
            assert alone[0] == bound[7]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e30])
def test_absurd_numbers_of_a_damaged_file_end_somewhere(value):
    mixture = Mixture(np.full((2, 2), 0.5), np.array([[0.0, value], [0.0, 0.1]]), np.full((2, 2), 0.1))
    with np.errstate(all="ignore"):
        low, high = mixture.bounds(0.05)
    assert low[1] < high[1]
