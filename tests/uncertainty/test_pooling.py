"""Several spectra of one object: closed forms of the weights, no order, and the right split of the variance."""

import numpy as np
import pytest

from quasar_mass.uncertainty import mixture_density, pooling
from quasar_mass.uncertainty.pooling import Epochs, Noise, Pooling


def epochs(rng, n=5):
    return Epochs(rng.normal(8.5, 0.2, n), rng.uniform(1, 9, n), rng.normal(size=(n, 3)), 1.6, 8.6, rng.normal(size=3))


def test_weighted_mean_and_its_variance_are_those_of_least_squares_with_a_shared_part():
    noise = Noise(np.log(0.09), 2.0, 0.01)
    signal_to_noise = np.array([1.0, 2.0, 5.0])
    mass = np.array([8.0, 8.3, 8.7])
    covariance = np.diag(0.09 / signal_to_noise**2) + 0.01  # generalised least squares, by the book
    inverse = np.linalg.inv(covariance)
    one = np.ones(3)
    assert noise.weighted_mean(mass, signal_to_noise) == pytest.approx(one @ inverse @ mass / (one @ inverse @ one))
    assert noise.weighted_mean_variance(signal_to_noise) == pytest.approx(1.0 / (one @ inverse @ one))


def test_many_spectra_leave_the_shared_part():
    noise = Noise(np.log(0.04), 0.0, 0.02)
    assert noise.weighted_mean_variance(np.ones(1)) == pytest.approx(0.06)
    assert noise.weighted_mean_variance(np.ones(10_000)) == pytest.approx(0.02, abs=1e-5)


def test_noise_and_shared_part_are_told_apart():
    rng = np.random.default_rng(4)
    groups = []
    for _ in range(400):
        signal_to_noise = 10.0 ** rng.uniform(0, 1, 6)
        own = rng.normal(0, 0.15)
        mass = 8.5 + own + 0.3 / signal_to_noise**0.5 * rng.normal(size=6)
        groups.append((mass, signal_to_noise, 8.5))
    found = pooling.fit_noise(groups)
    assert found.power == pytest.approx(1.0, abs=0.15)
    assert found.variance(np.array([1.0]))[0] == pytest.approx(0.09, rel=0.2)
    assert found.shared == pytest.approx(0.0225, rel=0.25)


def test_no_method_minds_the_order_of_the_spectra():
    rng = np.random.default_rng(5)
    known = [epochs(rng, n) for n in rng.integers(2, 8, 150)]
    learned = mixture_density.fit(np.array([one.features() for one in known]), rng.normal(0, 0.1, 150), np.ones(150))
    methods = Pooling(Noise(-3.0, 1.0, 0.01), learned, {"any": "learned"})
    one = known[0]
    order = rng.permutation(len(one.mass))
    shuffled = Epochs(one.mass[order], one.signal_to_noise[order], one.hidden[order], 1.6, 8.6, one.stack_hidden)
    for method in pooling.METHODS:
        assert methods.mass(one, method) == pytest.approx(methods.mass(shuffled, method), abs=1e-12)
    assert methods.mass(one, "mean") == pytest.approx(one.mass.mean())
    assert methods.mass(one, "stacked") == 8.6


def test_one_spectrum_keeps_its_mass_by_every_method():
    one = epochs(np.random.default_rng(6), 1)
    for method in pooling.METHODS:
        assert Pooling(Noise(-3.0, 1.0, 0.01), None, {"any": "mean"}).mass(one, method) == one.mass[0]
