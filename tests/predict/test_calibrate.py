"""Calibrating a model file: what is stored in it, whose it is, and that it comes back."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

from quasar_mass.cli import quasar_analysis
from quasar_mass.core.errors import ModelError, SurveyError
from quasar_mass.core.survey import Grid
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.inference import Ensemble
from quasar_mass.network.keras_io import model_file
from quasar_mass.predict import calibration_file
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.predictor import Predictor
from quasar_mass.tables import dataset
from quasar_mass.uncertainty import mixture_density
from quasar_mass.uncertainty.calibration import Calibration, Interval, Scores
from quasar_mass.uncertainty.pooling import Noise, Pooling
from quasar_mass.uncertainty.training_domain import TrainingDomain


def network(seed, step=1e-3):
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
def calibrated(made, tmp_path):
    """A survey, the files of a calibrated network and of another one that is not, the survey's tables."""
    survey, (first, _), data = made
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    shutil.copyfile(first, paths[0])
    network(5).save(paths[1], about=dataset.describe(data.about, data.quasars, data.spectra))
    return survey, paths, data


def test_a_calibrated_file_is_the_same_network_and_plain_keras_opens_it(calibrated):
    import keras

    survey, (_, path), data = calibrated
    before = EasyAI.load(path).predict(data.flux)
    calibrate_file([path], survey, quiet=True)
    np.testing.assert_array_equal(EasyAI.load(path).predict(data.flux), before)
    plain = keras.models.load_model(path)
    np.testing.assert_allclose(plain.predict(data.flux[..., None], verbose=0)[:, 0], before, atol=1e-5)


def test_a_calibration_belongs_to_its_weights_and_its_ensemble(calibrated):
    survey, paths, _ = calibrated
    first = calibration_file.read(model_file.read(paths[0]), Ensemble([EasyAI.load(paths[0])]).name)
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
    survey, (_, path), _ = calibrated
    calibrate_file([path], survey, quiet=True)
    content = path.read_bytes()
    calibrate_file([path], survey, quiet=True)
    assert path.read_bytes() == content
    with pytest.raises(TypeError):
        model_file.write_arrays(path, "other", {}, {"bad": object()})
    assert path.read_bytes() == content
    assert not list(tmp_path.glob("*.partial*")) + list(tmp_path.glob(".*partial*"))


def test_too_few_objects_for_the_widths_are_a_caution(calibrated, capsys):
    survey, (_, path), _ = calibrated
    arguments = ["calibrate", "--survey", survey.folder, "--model", path, "--fresh", "0", "--quiet"]
    assert quasar_analysis.main(list(map(str, arguments))) == 0
    assert "caution: too few validation objects to learn widths" in capsys.readouterr().out


def test_a_calibration_is_not_replaced_by_one_from_too_few_objects(calibrated):
    survey, (path, _), _ = calibrated
    name = Ensemble([EasyAI.load(path)]).name
    good = calibration_file.read(model_file.read(path), name)
    facts = good.facts | {"validation_objects": {"fit": 100, "calibrate": 100, "pooled": 0}}
    calibration_file.save(replace(good, facts=facts), path, name)
    content = path.read_bytes()
    with pytest.raises(SurveyError, match=r"has 2 validation objects, too few .* has a calibration from 200"):
        calibrate_file([path], survey, quiet=True)
    assert path.read_bytes() == content


def test_everything_comes_back_from_the_file(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "model.h5"
    network(3).save(path)
    density = mixture_density.fit(rng.normal(size=(150, 2)), rng.normal(0, 0.2, 150), np.ones(150))
    scores = Scores.of(rng.normal(size=30), [str(n // 2) for n in range(30)])
    civ = Scores.of(rng.normal(size=12), list("abcdefghijkl"))
    domain = TrainingDomain(*(rng.uniform(0.1, 2.0, shape) for shape in (2, 2, 2, 6, (3, 6), 3, 1, 9, (4, 9), 2)))
    pooled = {"stacked 60+": Scores.of(np.arange(9.0), list("abcdefghi"))}
    saved = Calibration(
        {"kind": "simulated"},
        domain,
        {"any": Interval(density, {"whole": scores, "CIV": civ}, pooled)},
        Pooling(Noise(-3.0, 1.0, 0.01), density, {"any": "mean", "MgII": "learned"}),
    )
    calibration_file.save(saved, path, "abc")
    loaded = calibration_file.read(model_file.read(path), "abc")
    assert loaded.facts["kind"] == "simulated"
    assert (loaded.pooling.best, loaded.pooling.noise) == (saved.pooling.best, saved.pooling.noise)
    assert [loaded.pooling.method(line) for line in ("any", "MgII", "CIV")] == ["mean", "learned", "mean"]
    interval = loaded.interval("any")
    for expected, given in ((domain, loaded.domain), (density, interval.density), (density, loaded.pooling.learned)):
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(vars(given)[name], value)
    assert set(interval.scores) == {"whole", "CIV"}
    for expected, given in ((scores, interval.scores["whole"]), (civ, interval.scores["CIV"])):
        np.testing.assert_array_equal(given.score, expected.score)
        np.testing.assert_array_equal(given.weight, expected.weight)
    assert interval.pooled["stacked 60+"].threshold(0.9) == 8.0
    assert calibration_file.read(model_file.read(path), "other") is None
    with pytest.raises(ModelError, match="line MgII: "):
        loaded.interval("MgII")
    with h5py.File(path, "r+") as file:
        group = file[f"{model_file.ARRAYS}/{calibration_file.PREFIX}-abc"]
        group.attrs["names"] = [name for name in group.attrs["names"] if "hidden_mean" not in name]
    with pytest.raises(ModelError, match="calibrate the model again"):
        calibration_file.read(model_file.read(path), "abc")
