"""Attribution: exact where the network is linear; slopes of a predictor whose slopes are known."""

import numpy as np
import pytest

from quasar_mass.core.survey import Grid
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import attribution
from quasar_mass.simulation import probes
from quasar_mass.spectra.network_input import INPUT

GRID = Grid()


def test_parts_of_a_linear_network_are_its_weights_times_the_difference():
    layers = backend.import_keras().layers
    ann = EasyAI([layers.Flatten(), layers.Dense(1)], (40, 1))
    rng = np.random.default_rng(0)
    flux = rng.uniform(0.5, 1.5, (5, 40)).astype(np.float32)
    shape = attribution.typical_shape(flux)
    result = attribution.integrated_gradients(ann, flux, shape)
    weights = ann.model.get_weights()[0][:, 0]
    baseline = np.median(flux, axis=1, keepdims=True) * shape
    np.testing.assert_allclose(result.parts, weights * (flux - baseline), atol=1e-5)
    np.testing.assert_allclose(result.parts.sum(axis=1), result.mass - result.baseline_mass, atol=1e-5)


def test_parts_of_a_bent_network_add_up_to_the_difference_of_the_masses():
    layers = backend.import_keras().layers
    ann = EasyAI([layers.Flatten(), layers.Dense(16, activation="tanh"), layers.Dense(1)], (40, 1), seed=3)
    flux = np.random.default_rng(1).uniform(0.2, 2.0, (6, 40)).astype(np.float32)
    result = attribution.integrated_gradients(ann, flux, attribution.typical_shape(flux))
    np.testing.assert_allclose(result.parts.sum(axis=1), result.mass - result.baseline_mass, atol=2e-3)


def test_a_typical_shape_is_that_of_the_spectra_that_have_a_pixel():
    """By hand: the last spectrum has nothing at the left, the second nothing at the right, and none the last pixel."""
    flux = np.array([[1, 2, 3, 2, 0], [8, 4, 4, 0, 0], [0, 0, 5, 10, 0]], np.float32)
    expected = [(0.5 + 2.0) / 2, 1.0, 1.0, (1.0 + 10 / 7.5) / 2, 0.0]
    np.testing.assert_allclose(attribution.typical_shape(flux), expected, rtol=1e-6)


def test_fractions_go_to_the_line_that_moves_the_mass():
    parts = np.zeros((4, GRID.size))
    mgii = (GRID.wavelength > 2780) & (GRID.wavelength < 2820)
    civ = (GRID.wavelength > 1540) & (GRID.wavelength < 1560)
    parts[:, mgii], parts[:, civ] = 3.0 / mgii.sum(), -1.0 / civ.sum()
    table = attribution.fractions(attribution.Attributions(parts, np.zeros(4), np.zeros(4)), GRID)
    assert table["fraction"].sum() == pytest.approx(1.0)
    assert table["fraction of the window"].sum() == pytest.approx(1.0)
    assert table["fraction"]["Mg II"] == pytest.approx(0.75, abs=0.02)
    assert table["fraction"]["C IV"] == pytest.approx(0.25, abs=0.02)


class Network:
    """A network without a last hidden layer, on the tables' flux unless its description says otherwise."""

    def __init__(self, **about):
        self.about = {"grid": {"step": GRID.step}} | about

    def outputs(self, spectra):
        return np.zeros((len(spectra), 1)), self.mass(spectra)


class Brightness(Network):
    """Its mass is 0.5 log10 of the median flux, whatever the lines."""

    def mass(self, flux):
        return 0.5 * np.log10(np.median(flux, axis=1))


class Wider(Network):
    """It measures how far Mg II spreads: 2 log10 of the line's area over its peak."""

    def mass(self, flux):
        w = GRID.wavelength
        inside = (w > 2600) & (w < 3000)
        x = np.log(w[inside] / 2799.0)
        line = flux[:, inside] - np.minimum(flux[:, inside][:, :1], flux[:, inside][:, -1:])
        peak = np.abs(x) < 0.004
        return 2 * np.log10(line.sum(axis=1) / line[:, peak].mean(axis=1))


def test_slopes_are_those_of_the_predictor_and_only_one_thing_is_changed():
    bright = attribution.slopes(Predictor.of(Brightness()), number=3)
    assert bright["slope"]["log L", "no noise"] == pytest.approx(0.5, abs=0.01)
    assert abs(bright["slope"]["2 log FWHM (Mg II)", "no noise"]) < 0.01
    wide = attribution.slopes(Predictor.of(Wider()), number=3)
    assert wide["slope"]["2 log FWHM (Mg II)", "no noise"] > 0.2
    assert abs(wide["slope"]["log L", "no noise"]) < 0.08  # residual sky light does not scale


class MeanFlux(Network):
    """Its mass is the mean of what it is given."""

    def mass(self, flux):
        return flux.mean(axis=1, dtype=float)


def test_networks_get_the_simulated_quasars_as_they_get_other_spectra():
    """The luminosity density in the rest frame of each quasar, or for models of older versions the tables' flux."""
    flux, _, redshift = probes.series(4, "luminosity", attribution.LUMINOSITIES, GRID, seed=1)
    assert np.ptp(redshift) > 0.05
    each = np.polyfit(attribution.LUMINOSITIES, flux.mean(axis=2, dtype=float).T, 1)[0]
    for network, factor in ((MeanFlux(), 1.0), (MeanFlux(input=INPUT), (1 + redshift) / 2.65)):
        slopes = attribution.slopes(Predictor.of(network), number=4)
        assert slopes["slope"]["log L", "no noise"] == pytest.approx(np.mean(each * factor), rel=1e-5)
