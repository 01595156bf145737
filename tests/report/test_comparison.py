"""Comparing predictors: scores per kind of mass, errors by object, slopes; and what baselines can do."""

import numpy as np
import pytest

from quasar_mass.report import baselines, comparison


def test_scores_and_missing_predictions():
    mass = np.linspace(8.0, 9.0, 50)
    objects = np.arange(50).astype(str)
    predictions = {"perfect": mass, "off": mass + 0.1, "half": np.where(np.arange(50) < 25, mass, np.nan)}
    table = comparison.compare(predictions, objects, {"label": mass})
    assert table.loc[("perfect", "label"), "rmse"] == 0.0
    assert table.loc[("off", "label"), "rmse"] == pytest.approx(0.1)
    assert table.loc[("off", "label"), "bias"] == pytest.approx(0.1)
    assert table.loc[("half", "label"), "n"] == 25
    assert "| off | label | 50 | 0.100" in comparison.markdown(table)


def test_bootstrap_is_by_object():
    """Spectra that are copies of one another tell nothing more: the error must not shrink with them."""
    residual = np.random.default_rng(1).standard_normal(200)
    objects = np.arange(200).astype(str)
    once = comparison.bootstrap_rmse(objects, residual)
    copies = comparison.bootstrap_rmse(np.repeat(objects, 20), np.repeat(residual, 20))
    assert once == pytest.approx(1.0 / np.sqrt(2 * 200), rel=0.25)  # normal residuals, closed form
    assert copies == pytest.approx(once, rel=1e-9)
    assert np.isnan(comparison.bootstrap_rmse(["a", "a"], [0.1, 0.2]))


def test_responses_are_the_slopes_of_the_virial_relation():
    rng = np.random.default_rng(1)
    width, light = rng.standard_normal((2, 500))
    slopes = comparison.responses(3.0 + 0.9 * width + 0.5 * light, width=width, light=light)
    assert slopes == pytest.approx({"width": 0.9, "light": 0.5})


def test_baselines_learn_what_is_there():
    rng = np.random.default_rng(1)
    strength, brightness = rng.standard_normal((2, 600))
    x = np.linspace(-1.0, 1.0, 160)
    spectra = 10.0 ** (0.2 * brightness)[:, None] * (1.0 + 0.3 * strength[:, None] * np.exp(-((x / 0.2) ** 2)))
    label = 8.5 + 0.1 * brightness + 0.2 * strength
    z = np.full(600, 1.6)
    found = dict(baselines.predictions((spectra[:500], z[:500], label[:500]), (spectra[500:], z[500:])))
    rmse = {name: float(np.sqrt(np.mean((value - label[500:]) ** 2))) for name, value in found.items()}
    constant, simple, ridge, boosting = rmse.values()
    assert constant == pytest.approx(label[500:].std(), rel=0.1)
    assert simple < 0.98 * constant
    assert ridge < 0.2 * constant
    assert boosting < 0.5 * constant
