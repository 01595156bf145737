"""Calibrations: coverage on data like the calibration's, by object, and the way into a model file and out of it."""

from statistics import NormalDist

import h5py
import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.errors import ModelError
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.ensemble import Ensemble
from quasar_mass.network.keras_io import model_arrays
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.predictor import Predictor
from quasar_mass.uncertainty import calibration, mixture_density
from quasar_mass.uncertainty.calibration import Calibration, Interval, add_systematic, fit_intervals, split_validation
from quasar_mass.uncertainty.conformal import Scores
from quasar_mass.uncertainty.pooling import Noise, Pooling

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


def made_up(rng, n):
    """Objects with one to forty spectra, faint ones with larger errors, all spectra of one sharing most of it."""
    counts = np.where(rng.random(n) < 0.05, rng.integers(2, 40, n), 1)
    objects = np.repeat(np.arange(n), counts).astype(str)
    own = np.repeat(rng.normal(size=n), counts)
    x = np.repeat(rng.uniform(-1, 1, n), counts)
    mass = 8.5 + 0.3 * rng.normal(size=len(x))
    label = mass + 0.2 * 2.0**-x * (0.9 * own + 0.43 * rng.normal(size=len(x)))
    return np.column_stack([x, mass]), mass, label, objects


def held(features, mass, label, objects, width, scores, confidence=0.9):
    low, high = width.given(features).bounds(-scores.threshold(confidence))
    inside = (label >= mass + low) & (label <= mass + high)
    return pd.Series(inside).groupby(objects).mean(), high - low


def test_new_objects_are_covered_as_promised_in_all_and_at_every_noise():
    rng = np.random.default_rng(0)
    features, mass, label, objects = made_up(rng, 4000)
    roles = split_validation(pd.Series(objects).value_counts()).reindex(objects).to_numpy()
    width, scores = fit_intervals(features, mass, label, objects, roles)
    new = made_up(rng, 6000)
    inside, wide = held(*new, width, scores)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)  # 2,000 objects calibrate: one sd is 0.007
    x = pd.Series(new[0][:, 0]).groupby(new[3]).first()
    for low in (-1.0, -0.5, 0.0, 0.5):
        assert inside[(x >= low) & (x < low + 0.5)].mean() == pytest.approx(0.9, abs=0.035)
    faint, bright = wide[new[0][:, 0] < -0.8].mean(), wide[new[0][:, 0] > 0.8].mean()
    assert faint / bright == pytest.approx(2**1.8, rel=0.25)
    for confidence in (0.5, 0.8, 0.95):
        assert held(*new, width, scores, confidence)[0].mean() == pytest.approx(confidence, abs=0.03)


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


def network(seed, step=1e-3):
    from quasar_mass.core.survey import Grid

    layers = backend.import_keras().layers
    hidden = [
        layers.Flatten(name="flat"),
        layers.Dense(6, activation="tanh", name="dense"),
        layers.Dense(1, name="mass"),
    ]
    ann = EasyAI(hidden, (Grid(step).size, 1), seed=seed)
    ann.model.layers[-1].bias.assign([8.5])
    return ann


@pytest.fixture
def calibrated(tiny_survey, tmp_path):
    """A survey of twelve objects, an untrained network for it, calibrated; and a second one."""
    from quasar_mass.tables import dataset
    from quasar_mass.tables.build.pipeline import build

    build(tiny_survey, step=1e-3, quiet=True)
    data = dataset.load(tiny_survey)
    about = dataset.describe(data.about, data.quasars, data.spectra)
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for seed, path in enumerate(paths):
        network(seed).save(path, about=about)
    before = EasyAI.load(paths[0]).predict(data.flux)
    calibrate_file(paths[:1], tiny_survey, quiet=True)
    return tiny_survey, paths, data, before


def test_a_calibrated_file_is_the_same_network_and_plain_keras_opens_it(calibrated):
    import keras

    _, paths, data, before = calibrated
    np.testing.assert_array_equal(EasyAI.load(paths[0]).predict(data.flux), before)
    plain = keras.models.load_model(paths[0])
    np.testing.assert_allclose(plain.predict(data.flux[..., None], verbose=0)[:, 0], before, atol=1e-5)


def test_a_calibration_belongs_to_its_weights_and_its_ensemble(calibrated):
    survey, paths, _, _ = calibrated
    first = Calibration.load(paths[0], Ensemble.load(paths[:1]).name)
    assert first.facts["kind"] == "sdss"
    assert Predictor.load(paths[1]).calibration is None
    assert Predictor.load(paths).calibration is None
    calibrate_file(paths, survey, quiet=True)
    together = Predictor.load(paths)
    assert together.calibration.facts["models"] == 2
    assert Predictor.load(paths[0]).calibration is not None  # the one for the first alone is still there
    network(7).save(paths[0], about={"grid": {"step": 1e-3}})
    assert Predictor.load(paths[0]).calibration is None


def test_calibrating_twice_gives_the_same_bytes_and_a_failure_leaves_the_file(calibrated, tmp_path):
    survey, paths, _, _ = calibrated
    content = paths[0].read_bytes()
    calibrate_file(paths[:1], survey, quiet=True)
    assert paths[0].read_bytes() == content
    with pytest.raises(TypeError):
        model_arrays.write_arrays(paths[0], "other", {}, {"bad": object()})
    assert paths[0].read_bytes() == content
    assert not list(tmp_path.glob("*.partial*")) + list(tmp_path.glob(".*partial*"))


def test_everything_comes_back_from_the_file(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "model.h5"
    ann = network(3)
    ann.save(path)
    features, mass, label, objects = made_up(rng, 400)
    roles = split_validation(pd.Series(objects).value_counts()).reindex(objects).to_numpy()
    width, scores = fit_intervals(features, mass, label, objects, roles)
    from quasar_mass.uncertainty.training_domain import TrainingDomain

    bounds = TrainingDomain(*(rng.uniform(0.1, 2.0, shape) for shape in (2, 2, 2, 6, (3, 6), 3, 1, 9, (4, 9), 2)))
    pooled = {"stacked 60+": Scores.of(np.arange(9.0), list("abcdefghi"))}
    saved = Calibration(
        {"kind": "simulated"},
        bounds,
        {"any": Interval(width, scores, pooled)},
        Pooling(Noise(-3.0, 1.0, 0.01), width, {"any": "mean", "MgII": "learned"}),
    )
    saved.save(path, "abc")
    loaded = Calibration.load(path, "abc")
    assert (loaded.pooling.best, loaded.pooling.noise) == (saved.pooling.best, saved.pooling.noise)
    assert [loaded.pooling.method(line) for line in ("any", "MgII", "CIV")] == ["mean", "learned", "mean"]
    for name, value in bounds.arrays().items():
        np.testing.assert_array_equal(loaded.limits.arrays()[name], value)
    interval = loaded.interval("any")
    for confidence in (0.3, 0.9):
        for one, two in zip(
            held(features, mass, label, objects, width, scores, confidence),
            held(features, mass, label, objects, interval.spread, interval.scores, confidence),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)
    assert interval.pooled["stacked 60+"].threshold(0.9) == 8.0
    assert Calibration.load(path, "other") is None
    with pytest.raises(ModelError, match="--line"):
        loaded.interval("MgII")
    with h5py.File(path, "r+") as file:
        group = file[f"{model_arrays.ARRAYS}/{calibration.PREFIX}-abc"]
        group.attrs["names"] = [name for name in group.attrs["names"] if "hidden_mean" not in name]
    with pytest.raises(ModelError, match="calibrate the model again"):
        Calibration.load(path, "abc")
