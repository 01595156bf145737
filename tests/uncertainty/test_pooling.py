"""Several spectra of one object: values by hand, no order, and the right split of the variance."""

from types import SimpleNamespace

import numpy as np
import pytest

from quasar_mass.uncertainty import mixture_density, pooling
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import Epochs, Noise, Pooling, StackedSpectra, object_spectra
from quasar_mass.uncertainty.spectrum_measures import SpectrumMeasures

# Twelve spectra of three objects, in the order in which a table may have them.
NAMES = list("bacbccbabbbb")
MASS = np.array([8.1, 9.0, 7.5, 8.3, 7.7, 7.6, 8.2, 9.2, 8.0, 8.4, 8.2, 8.2])
SN = np.array([1.0, 3.0, 2.0, 2.0, 2.0, 1.0, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0])
NOISE = Noise(np.log(0.04), 2.0, 0.01)  # 0.04 dex^2 at S/N 1, and 0.01 dex^2 that all spectra share


def epochs(rng, n=5):
    return Epochs(rng.normal(8.5, 0.2, n), rng.uniform(1, 9, n), rng.normal(size=(n, 3)), 1.6, 8.6, rng.normal(size=3))


@pytest.fixture
def objects():
    """The twelve spectra, whose flux is 10 times their mass in two pixels; the "network" takes the mean of the flux."""
    n = len(NAMES)
    luminosity = np.where(np.arange(n) == 2, np.nan, np.linspace(44.0, 45.1, n))
    measures = SpectrumMeasures(SN, luminosity, np.zeros(n), np.zeros((n, 1)), np.ones((n, 1)), *np.zeros((3, n)))
    hidden = np.arange(n, dtype=float)[:, None]
    seen = np.column_stack([np.linspace(0.0, 1.0, n), np.ones((n, 2))])
    several = np.isin(NAMES, ["a", "b"])
    view = NetworkView(np.full(n, 1.6), SN, MASS, np.linspace(0.0, 0.11, n), hidden, measures, seen, several)
    flux = np.repeat(10.0 * MASS[:, None], 2, axis=1)
    stacks = StackedSpectra(2)
    stacks.add(NAMES[:5], flux[:5], SN[:5])
    stacks.add(NAMES[5:], flux[5:], SN[5:])
    return object_spectra(NAMES, view, stacks, network, lambda hidden: hidden)


def network(flux, redshift):
    assert redshift.tolist() == [1.6] * len(flux)
    return SimpleNamespace(mass=flux.mean(axis=1) / 10.0, hidden=flux[:, :1])


def test_spectra_are_grouped_by_object_and_stacked_with_the_squares_of_their_signal_to_noise(objects):
    assert list(objects.epochs) == ["a", "b", "c"]
    assert objects.counts.tolist() == [2, 7, 3]
    assert objects.epochs["c"].mass.tolist() == [7.5, 7.7, 7.6]
    assert objects.epochs["a"].stack_mass == pytest.approx((9 * 9.0 + 1 * 9.2) / 10)
    # S/N 0.1 counts as 0.3
    expected = (8.1 + 4 * 8.3 + 0.09 * 8.2 + 8.0 + 8.4 + 8.2 + 8.2) / 9.09
    assert objects.epochs["b"].stack_mass == pytest.approx(expected, abs=1e-6)
    assert objects.epochs["c"].stack_hidden == pytest.approx([10 * (4 * 7.5 + 4 * 7.7 + 7.6) / 9], abs=1e-4)


def test_typical_features_are_weighted_means_over_single_spectra(objects):
    assert objects.typical["signal_to_noise"].tolist() == [2.0, 1.0, 2.0]
    assert objects.typical["hidden"][0] == pytest.approx([(9 * 1 + 1 * 7) / 10])
    assert objects.typical["lines_seen"][0] == pytest.approx([(9 * 1 / 11 + 1 * 7 / 11) / 10, 1.0, 1.0])
    assert objects.typical["several"] == pytest.approx([1.0, 1.0, 0.0])
    assert objects.typical["ens_std"][2] == pytest.approx((4 * 0.02 + 4 * 0.04 + 0.05) / 9)
    # where the luminosity is not known, the median of all others
    known = np.delete(np.linspace(44.0, 45.1, 12), 2)
    assert objects.typical["log_luminosity"][2] == pytest.approx((4 * np.median(known) + 4 * 44.4 + 44.5) / 9)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", [9.1, (8.1 + 8.3 + 8.2 + 8.0 + 8.4 + 8.2 + 8.2) / 7, 7.6]),
        ("weighted", [(9 * 9.0 + 9.2) / 10, (8.1 + 4 * 8.3 + 0.09 * 8.2 + 32.8) / 9.09, (4 * 7.5 + 4 * 7.7 + 7.6) / 9]),
        ("stacked", [(9 * 9.0 + 9.2) / 10, (8.1 + 4 * 8.3 + 0.09 * 8.2 + 32.8) / 9.09, (4 * 7.5 + 4 * 7.7 + 7.6) / 9]),
    ],
)
def test_masses_by_every_method_are_those_by_hand(objects, method, expected):
    methods = Pooling(NOISE, None, {"any": "mean"})
    masses = [methods.mass(one, method) for one in objects.epochs.values()]
    np.testing.assert_allclose(masses, expected, atol=1e-6)


def test_weighted_mean_and_its_variance_are_those_of_least_squares_with_a_shared_part():
    signal_to_noise, mass = np.array([1.0, 2.0, 5.0]), np.array([8.0, 8.3, 8.7])
    covariance = np.diag(0.04 / signal_to_noise**2) + 0.01  # generalised least squares, by the book
    inverse, ones = np.linalg.inv(covariance), np.ones(3)
    expected = ones @ inverse @ mass / (ones @ inverse @ ones)
    assert NOISE.weighted_mean(mass, signal_to_noise) == pytest.approx(expected)
    assert NOISE.weighted_mean_variance(signal_to_noise) == pytest.approx(1.0 / (ones @ inverse @ ones))


def test_noise_and_shared_part_are_told_apart():
    rng = np.random.default_rng(4)
    groups = []
    for _ in range(400):
        signal_to_noise = 10.0 ** rng.uniform(0, 1, 6)
        mass = 8.5 + rng.normal(0, 0.15) + 0.3 / signal_to_noise**0.5 * rng.normal(size=6)
        groups.append((mass, signal_to_noise, 8.5))
    noise = pooling.fit_noise(groups)
    assert noise.power == pytest.approx(1.0, abs=0.15)
    assert noise.variance(np.array([1.0]))[0] == pytest.approx(0.09, rel=0.2)
    assert noise.shared == pytest.approx(0.0225, rel=0.25)


def test_no_method_depends_on_the_order_of_the_spectra():
    rng = np.random.default_rng(5)
    known = [epochs(rng, n) for n in rng.integers(2, 8, 150)]
    learned = mixture_density.fit(np.array([one.features() for one in known]), rng.normal(0, 0.1, 150), np.ones(150))
    methods, first = Pooling(NOISE, learned, {"any": "learned"}), known[0]
    order = rng.permutation(len(first.mass))
    own = first.mass[order], first.signal_to_noise[order], first.hidden[order]
    shuffled = Epochs(*own, first.redshift, first.stack_mass, first.stack_hidden)
    for method in methods.methods:
        assert methods.mass(first, method) == pytest.approx(methods.mass(shuffled, method), abs=1e-12)
    assert abs(methods.mass(first, "learned") - first.stack_mass) > 1e-3


def test_one_spectrum_keeps_its_mass_by_every_method():
    one = epochs(np.random.default_rng(6), 1)
    for method in pooling.METHODS:
        assert Pooling(NOISE, None, {"any": "mean"}).mass(one, method) == one.mass[0]


def test_stacks_leave_out_what_a_spectrum_does_not_show():
    """By hand: S/N 1 and 2 weigh 1 and 4."""
    none = np.nan
    flux = np.array([[1.0, 1.0, none, none], [6.0, none, 6.0, none], [5.0, none, none, 5.0]], np.float32)
    stacks = StackedSpectra(4)
    stacks.add(["a", "a", "b"], flux, np.array([1.0, 2.0, 3.0]))
    given = stacks.flux(["b", "a"])
    np.testing.assert_allclose(given, [[5.0, none, none, 5.0], [5.0, 1.0, 6.0, none]])
    assert given.dtype == np.float32
    stacks.add(["a"], np.array([[0.0, 0.0, 0.0, 7.0]]), np.array([1.0]))
    np.testing.assert_allclose(stacks.flux(["a"]), [[25 / 6, 0.5, 24 / 5, 7.0]])


def test_the_network_gets_the_redshift_of_each_stack():
    names, n = list("caabcab"), 7
    redshift = np.array([{"a": 0.7, "b": 1.6, "c": 2.5}[name] for name in names])
    measures = SpectrumMeasures(*np.ones((3, n)), np.ones((n, 1)), np.ones((n, 1)), *np.ones((3, n)))
    asked = {}

    def network(flux, redshift):
        asked.update(zip(flux[:, 0].tolist(), redshift.tolist(), strict=True))
        return SimpleNamespace(mass=flux.mean(axis=1), hidden=flux[:, :1])

    flux = np.array([{"a": 1.0, "b": 2.0, "c": 3.0}[name] for name in names])[:, None]
    view = NetworkView(
        redshift, np.ones(n), np.ones(n), np.ones(n), np.ones((n, 1)), measures, np.ones((n, 3)), np.ones(n)
    )
    stacks = StackedSpectra(1)
    stacks.add(names, flux, np.ones(n))
    object_spectra(names, view, stacks, network, lambda hidden: hidden)
    assert asked == {1.0: 0.7, 2.0: 1.6, 3.0: 2.5}
