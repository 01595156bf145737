"""The model file: plain Keras opens it, it describes itself, and a damaged one is refused with a reason."""

import hashlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from quasar_mass.core.errors import ModelError
from quasar_mass.network import backend
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.keras_io.model_checks import shapes

SPECTRA = np.random.default_rng(0).normal(0.4, 0.1, (32, 9, 1)).astype(np.float32)
LABEL = 8.5 + SPECTRA.mean(axis=(1, 2))
ABOUT = {"grid": {"start": 3.16, "step": 1e-4, "size": 9}, "label": "log10(M_BH / M_Sun)", "note": "é"}


@pytest.fixture(scope="module")
def keras():
    return backend.import_keras()


@pytest.fixture(scope="module")
def model(keras):
    model = keras.Sequential(
        [
            keras.Input((9, 1)),
            keras.layers.Rescaling(2.5),
            keras.layers.Conv1D(3, 3),
            keras.layers.BatchNormalization(),
            keras.layers.LSTM(3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Nadam(learning_rate=1e-3),
        loss=keras.losses.MeanSquaredError(),
        metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
    )
    model.fit(SPECTRA, LABEL, batch_size=8, verbose=0)
    return model


@pytest.fixture
def path(model, tmp_path):
    model_file.save(model, tmp_path / "model.h5", ABOUT)
    return tmp_path / "model.h5"


def test_plain_keras_opens_it_compiled(keras, model, path):
    plain = keras.models.load_model(path)
    assert plain.compiled
    np.testing.assert_allclose(plain.predict(SPECTRA, verbose=0), model.predict(SPECTRA, verbose=0), atol=1e-6)
    assert plain.evaluate(SPECTRA, LABEL, verbose=0, return_dict=True).keys() == {"loss", "rmse"}
    assert float(plain.optimizer.learning_rate) == pytest.approx(1e-3)
    plain.fit(SPECTRA, LABEL, verbose=0)


def test_the_file_is_written_as_keras_2_reads_it(model, path):
    assert model_file.read(path).keras_2 == model_file.OPENS
    with h5py.File(path) as file:
        network, training = (json.loads(file.attrs[name]) for name in ("model_config", "training_config"))
    for word in ("module", "DTypePolicy", "batch_shape", "input_axes", "quantization_config", "synchronized"):
        assert word not in json.dumps(network)
    assert network["config"]["layers"][0]["config"]["batch_input_shape"] == [None, 9, 1]
    assert not training["optimizer_config"]["config"].keys() & {"weight_decay", "use_ema", "loss_scale_factor"}
    loaded = model_file.read(path).network()
    assert loaded.get_config() == model.get_config(), "and Keras 3 reads it as before"
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_the_same_model_gives_the_same_bytes(model, path, tmp_path):
    model_file.save(model, tmp_path / "again.h5", ABOUT)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()
    loaded = model_file.read(path).network()
    model_file.save(loaded, tmp_path / "loaded.h5", ABOUT)
    assert (tmp_path / "loaded.h5").read_bytes() == path.read_bytes()


def for_keras_3_alone(keras) -> dict:
    k = keras.layers
    spectrum = keras.Input((9, 1))
    layers = {
        "LeakyReLU": [k.LeakyReLU()],
        "Bidirectional": [k.Bidirectional(k.LSTM(2))],
        "Activation(activation='hard_sigmoid')": [k.Activation("hard_sigmoid")],
        "LSTM(seed=3)": [k.LSTM(2, seed=3)],
        "GlobalAveragePooling1D(keepdims=True)": [k.GlobalAveragePooling1D(keepdims=True)],
        "Dense(dtype='mixed_float16')": [k.Dense(2, dtype="mixed_float16")],
        "Sequential": [keras.Sequential([keras.Input((9, 1)), k.Dense(2)])],
    }
    models = {
        reason: keras.Sequential([keras.Input((9, 1)), *some, k.Flatten(), k.Dense(1)])
        for reason, some in layers.items()
    }
    return models | {"a Functional model": keras.Model(spectrum, k.Dense(1)(k.Flatten()(spectrum)))}


def test_a_network_that_keras_2_cannot_have_is_saved_for_keras_3(keras, tmp_path):
    path = tmp_path / "model.h5"
    for reason, model in for_keras_3_alone(keras).items():
        refused = model_file.save(model, path, ABOUT)
        assert refused.startswith(reason)
        assert model_file.read(path).keras_2 == refused
        loaded = model_file.read(path).network()
        np.testing.assert_array_equal(loaded(SPECTRA), model(SPECTRA))


def test_load_restores_the_optimizer(model, path):
    file = model_file.read(path)
    assert file.about == ABOUT
    loaded = file.network()
    for left, right in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        assert np.array_equal(left, right)
    assert float(loaded.optimizer._u_product) == float(model.optimizer._u_product) < 1
    loaded.fit(SPECTRA, LABEL, batch_size=8, verbose=0)
    assert int(loaded.optimizer.iterations) == 8


@pytest.mark.parametrize("about", [{"table": "x" * 60_000}, {"model": object()}])
def test_an_about_that_does_not_fit_leaves_the_old_file(model, path, about):
    before = path.read_bytes()
    with pytest.raises(ModelError, match="description"):
        model_file.save(model, path, about)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["model.h5"]


def test_a_model_from_elsewhere_has_no_about(keras, model, tmp_path):
    model.save(tmp_path / "plain.h5")
    assert model_file.read(tmp_path / "plain.h5").about is None
    assert model_file.read(tmp_path / "plain.h5").keras_2 is None
    loaded = model_file.read(tmp_path / "plain.h5").network()
    loaded.fit(SPECTRA, LABEL, batch_size=8, verbose=0)
    assert int(loaded.optimizer.iterations) == 8, "its optimizer goes on where it was"


def test_read_about_imports_no_tensorflow(path):
    code = (
        "import sys; from quasar_mass.network.keras_io import model_file; from quasar_mass.core import evaluation; "
        "from quasar_mass.network import architecture, easyai; "
        f"print(model_file.read({str(path)!r}).about['label']); assert not {{'keras', 'tensorflow'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ABOUT["label"]


# --- one opening ------------------------------------------------------------------------------------------------------
def test_a_file_is_opened_once_for_all_that_it_holds(path, monkeypatch):
    model_file.write_arrays(path, "set", {"n": 3}, {"ends": np.arange(3.0)})
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    file = model_file.read(path)
    path.unlink()
    assert file.sha256 == expected
    assert file.network().predict(SPECTRA, verbose=0).shape == (32, 1)
    facts, arrays = file.arrays("set")
    assert facts == {"n": 3}
    assert arrays["ends"].tolist() == [0, 1, 2]
    assert file.arrays("another") is None


# --- damaged files ----------------------------------------------------------------------------------------------------
def _refuses(path, match):
    with pytest.raises(ModelError, match=match) as caught:
        model_file.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_misnamed_files_are_refused(tmp_path):
    _refuses(tmp_path / "none.h5", "no such model file")
    _refuses(tmp_path / "none.keras", r"must end in \.h5")


def test_a_changed_byte_is_detected(path):
    content = path.read_bytes()
    for place in np.linspace(0, len(content) - 100, 20).astype(int):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        _refuses(path, "checksum")


def test_a_file_that_another_program_has_edited_has_no_checksum_and_is_read(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["quasar_mass"]
    assert model_file.read(path).about is None


def test_calibration_arrays_that_do_not_fit_together_are_refused(tmp_path):
    arrays = {"a": np.zeros((2, 3)), "b": np.zeros(3), "c": np.array([np.nan, 1.0])}
    shapes(tmp_path, arrays, {"a": "k d", "b": "d", "c": "2"}, unknown=("c",))
    for wrong in ({"a": "k d", "b": "k"}, {"a": "d"}, {"c": "2"}, {"b": "4"}):
        with pytest.raises(ModelError):
            shapes(tmp_path, arrays, wrong)
