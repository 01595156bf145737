"""The model file: plain Keras opens it, it says what it is, and a broken one says that."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from quasar_mass import model_file
from quasar_mass.errors import ModelError

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

SPECTRA = np.random.default_rng(0).normal(0.4, 0.1, (32, 9, 1)).astype(np.float32)
LABEL = 8.5 + SPECTRA.mean(axis=(1, 2))
ABOUT = {"grid": {"start": 3.16, "step": 1e-4, "size": 9}, "label": "log10(M_BH / M_Sun)", "note": "é"}


@pytest.fixture(scope="module")
def keras():
    return model_file.import_keras()


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
        "import sys; from quasar_mass import model_file, easyai, network, evaluation; "
        f"print(model_file.read_about({str(path)!r})['label']); assert not {{'keras', 'tensorflow'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ABOUT["label"]


def test_start_up_is_silent_and_real_messages_are_not():
    code = (
        "import sys, os; from quasar_mass import network\n"
        "class Loud:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'keras': os.write(2, b'a real message\\n')\n"
        "sys.meta_path.insert(0, Loud()); network.layers()"
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
