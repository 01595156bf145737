"""Exports: `.keras` and ONNX predict the same masses, carry the description, and are refused where they would not."""

import json
import zipfile

import numpy as np
import pytest

import quasar_analysis
from quasar_mass.core.errors import ModelError
from quasar_mass.network import backend, export
from quasar_mass.network.easyai import EasyAI

ABOUT = {"kind": "simulated", "label": "log10(M_BH / M_Sun)", "note": "é"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A network of all the kinds of layers that this project's networks are made of."""
    k = backend.import_keras().layers
    layers = [
        k.Rescaling(2.5),
        k.GaussianNoise(0.1),
        k.AveragePooling1D(2),
        k.Activation("softsign"),
        k.Conv1D(4, 3, strides=2, activation="relu"),
        k.BatchNormalization(),
        k.Dropout(0.2),
        k.LSTM(5, return_sequences=True),
        k.LSTM(3),
        k.Dense(4, activation="tanh"),
        k.Dense(1),
    ]
    ann = EasyAI(layers, (40, 1))
    rng = np.random.default_rng(0)
    # Weights of a trained network: no zero biases, no moving averages of zero and one.
    ann.model.set_weights([w + np.abs(rng.normal(0, 0.1, w.shape)) for w in ann.model.get_weights()])
    path = tmp_path_factory.mktemp("model") / "model.h5"
    ann.save(path, ABOUT)
    return path


@pytest.fixture(scope="module")
def ann(path):
    return EasyAI.load(path)


SPECTRA = np.abs(np.random.default_rng(1).normal(0.4, 0.2, (7, 40, 1))).astype(np.float32)


def test_onnx_predicts_the_same_and_says_what_it_is(ann, tmp_path):
    import onnxruntime

    assert export.export(ann, tmp_path / "model.onnx") < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(value.name, value.shape) for value in session.get_inputs()] == [("spectra", ["n", 40, 1])]
    found = session.run(["prediction"], {"spectra": SPECTRA})[0]
    assert found.reshape(-1) == pytest.approx(ann.predict(SPECTRA), abs=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["quasar_mass"]) == ann.about
    assert ann.about.items() >= ABOUT.items()


def test_keras_opens_the_other_format(ann, tmp_path):
    assert export.export(ann, tmp_path / "model.keras") == 0
    model = backend.import_keras().models.load_model(tmp_path / "model.keras")
    assert model.compiled
    assert model.predict(SPECTRA, verbose=0).reshape(-1) == pytest.approx(ann.predict(SPECTRA), abs=1e-5)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert json.loads(archive.read("quasar_mass.json")) == ann.about


@pytest.mark.parametrize("ending", [".keras", ".onnx"])
@pytest.mark.parametrize("wrong", [1.0, pytest.param(np.nan, marks=pytest.mark.slow)])
def test_a_file_that_predicts_something_else_is_not_left(ann, tmp_path, monkeypatch, ending, wrong):
    predict = getattr(export, f"_predict_{ending[1:]}")
    monkeypatch.setattr(export, f"_predict_{ending[1:]}", lambda *given: predict(*given) + wrong)
    (tmp_path / f"model{ending}").write_text("the old one")
    with pytest.raises(ModelError, match="no file was written"):
        export.export(ann, tmp_path / f"model{ending}")
    assert [file.name for file in tmp_path.iterdir()] == [f"model{ending}"]
    assert (tmp_path / f"model{ending}").read_text() == "the old one"


def test_a_layer_that_onnx_does_not_have(tmp_path, capfd, caplog):
    k = backend.import_keras().layers
    ann = EasyAI([k.Flatten(), k.Dense(3, activation="gelu"), k.Dense(1)], (40, 1))
    with pytest.raises(
        ModelError, match=r"as ONNX \(a layer Dense with activation=gelu\); export to \.keras"
    ) as caught:
        export.export(ann, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


# --- the command ------------------------------------------------------------------------------------------------------
def test_the_shipped_model_is_exported(tmp_path, capsys):
    assert quasar_analysis.main(["export", "--output", str(tmp_path / "a.onnx")]) == 0
    done = capsys.readouterr()
    assert done.err == ""
    assert "made-up spectra" in done.out
    assert (tmp_path / "a.onnx").stat().st_size < 5e6
