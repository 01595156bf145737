"""The model file: plain Keras opens it, it says what it is, and a broken one says that."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from quasar_mass.core.errors import ModelError
from quasar_mass.network import backend
from quasar_mass.network.keras_io import model_file

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

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


def test_the_file_speaks_the_words_of_keras_2(model, path):
    assert model_file.read_keras_2(path) == model_file.OPENS
    with h5py.File(path) as file:
        network, training = (json.loads(file.attrs[name]) for name in ("model_config", "training_config"))
    for word in ("module", "DTypePolicy", "batch_shape", "input_axes", "quantization_config", "synchronized"):
        assert word not in json.dumps(network)
    assert network["config"]["layers"][0]["config"]["batch_input_shape"] == [None, 9, 1]
    assert not training["optimizer_config"]["config"].keys() & {"weight_decay", "use_ema", "loss_scale_factor"}
    loaded, _ = model_file.load(path)
    assert loaded.get_config() == model.get_config(), "and Keras 3 reads it as before"
    assert loaded.optimizer.get_config() == model.optimizer.get_config()


def test_the_same_model_gives_the_same_bytes(model, path, tmp_path):
    model_file.save(model, tmp_path / "again.h5", ABOUT)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()
    loaded, _ = model_file.load(path)
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
        assert model_file.read_keras_2(path) == refused
        loaded, about = model_file.load(path)
        assert about == ABOUT
        np.testing.assert_array_equal(loaded(SPECTRA), model(SPECTRA))


def test_an_optimizer_that_keras_2_cannot_have_is_kept(keras, tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
    for optimizer in (
        keras.optimizers.Lion(1e-4),
        keras.optimizers.Nadam(schedule),
        keras.optimizers.Adam(use_ema=True),
    ):
        model = keras.Sequential([keras.Input((9, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
        assert model_file.save(model, tmp_path / "model.h5", ABOUT) is None, "Keras 2 opens the network all the same"
        loaded, _ = model_file.load(tmp_path / "model.h5")
        assert loaded.optimizer.get_config() == optimizer.get_config()


def test_a_model_from_elsewhere_does_not_say_what_opens_it(model, tmp_path):
    model.save(tmp_path / "plain.h5")
    assert model_file.read_keras_2(tmp_path / "plain.h5") is None


def test_load_restores_the_optimizer(model, path):
    loaded, about = model_file.load(path)
    assert about == ABOUT
    for left, right in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        assert np.array_equal(left, right)
    assert float(loaded.optimizer._u_product) == float(model.optimizer._u_product) < 1
    loaded.fit(SPECTRA, LABEL, batch_size=8, verbose=0)
    assert int(loaded.optimizer.iterations) == 8


def test_load_without_compiling(path):
    loaded, about = model_file.load(path, compile=False)
    assert not loaded.compiled
    assert about == ABOUT


def test_about_takes_numpy_numbers(model, tmp_path):
    model_file.save(model, tmp_path / "a.h5", {"n": np.int64(3), "rmse": np.float32(0.5), "edges": np.arange(3)})
    assert model_file.read_about(tmp_path / "a.h5") == {"n": 3, "rmse": 0.5, "edges": [0, 1, 2]}


@pytest.mark.parametrize("about", [{"table": "x" * 60_000}, {"model": object()}])
def test_an_about_that_does_not_fit_leaves_the_old_file(model, path, about):
    before = path.read_bytes()
    with pytest.raises(ModelError, match="description"):
        model_file.save(model, path, about)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["model.h5"]


def test_saving_is_silent(model, tmp_path, caplog, capfd):
    model_file.save(model, tmp_path / "a.h5", {})
    model_file.load(tmp_path / "a.h5")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_a_model_from_elsewhere_has_no_about(keras, model, tmp_path):
    model.save(tmp_path / "plain.h5")
    assert model_file.read_about(tmp_path / "plain.h5") is None
    loaded, about = model_file.load(tmp_path / "plain.h5")
    assert about is None
    loaded.fit(SPECTRA, LABEL, batch_size=8, verbose=0)
    assert int(loaded.optimizer.iterations) == 8, "its optimizer goes on where it was"


def test_read_about_imports_no_tensorflow(path):
    code = (
        "import sys; from quasar_mass.network.keras_io import model_file; from quasar_mass.core import evaluation; "
        "from quasar_mass.network import architecture, easyai; "
        f"print(model_file.read_about({str(path)!r})['label']); assert not {{'keras', 'tensorflow'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ABOUT["label"]


def test_start_up_is_silent_and_real_messages_are_not():
    code = (
        "import sys, os; from quasar_mass.network import architecture\n"
        "class Loud:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'keras': os.write(2, b'a real message\\n')\n"
        "sys.meta_path.insert(0, Loud()); architecture.layers()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "a real message\n"


def _refuses(path, match):
    for read in (model_file.read_about, model_file.load):
        with pytest.raises(ModelError, match=match) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    _refuses(tmp_path / "none.h5", "no such file")
    _refuses(tmp_path / "none.keras", r"ends in \.h5")


def test_a_text_file(tmp_path):
    (tmp_path / "text.h5").write_text("version https://example.org/pointer\n")
    _refuses(tmp_path / "text.h5", "cannot open")


def test_a_truncated_file(path):
    path.write_bytes(path.read_bytes()[:-100])
    _refuses(path, "cannot open")


def test_weights_alone(model, tmp_path):
    model.save_weights(tmp_path / "some.weights.h5")
    _refuses(tmp_path / "some.weights.h5", "without a network")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_broken_description(path, text):
    with h5py.File(path, "r+") as file:
        file.attrs["quasar_mass"] = text
    _refuses(path, "JSON object")


def test_a_lambda_layer_is_refused(keras, tmp_path):
    model = keras.Sequential([keras.Input((9, 1)), keras.layers.Lambda(lambda x: x), keras.layers.Dense(1)])
    model.save(tmp_path / "lambda.h5")
    with pytest.raises(ModelError, match="safe mode") as caught:
        model_file.load(tmp_path / "lambda.h5")
    assert "\n" not in str(caught.value)
    assert "safe_mode=False" not in str(caught.value), "no advice to switch the protection off"
