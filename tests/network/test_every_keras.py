"""A saved network opens in every Keras: in Keras 3 with JAX, and in Keras 2; each in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import keras2_config, model_file

HOME = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted((HOME / "models" / "Best_models").glob("*.h5"))
TOLERANCE = 1e-5  # dex
PIXELS = 40
SMALL = "network_small"
# Opens every file in a folder with nothing but Keras, says how it is compiled, and writes down what it predicts.
OPEN = """
import json, sys
from pathlib import Path
import numpy as np
import {keras} as keras
said = {{}}
for path in sorted(Path(sys.argv[1]).glob("*.h5")):
    model = keras.models.load_model(path)
    spectra = np.load(path.with_suffix(".npy"))
    np.save(path.with_suffix(".there.npy"), np.asarray(model(spectra, training=False)))
    said[path.stem] = [type(model.optimizer).__name__, float(model.optimizer.learning_rate)]
    if path.stem == "network_small":
        scores = model.evaluate(spectra, np.full(len(spectra), 8.0), verbose=0, return_dict=True)
        said[path.stem].append(scores["rmse"])
print(json.dumps(said))
"""


def every_layer(k) -> dict:
    """A small stack around each layer that `keras2_config` lists, for spectra of shape (PIXELS, 1)."""
    one = {
        "Activation": [k.Activation("softsign"), k.Activation("silu"), k.Activation("gelu")],
        "AveragePooling1D": [k.AveragePooling1D(2)],
        "BatchNormalization": [k.BatchNormalization(momentum=0.9)],
        "Conv1D": [
            k.Conv1D(
                4,
                3,
                strides=2,
                kernel_regularizer="l2",
                kernel_constraint="max_norm",
                activation="selu",
                kernel_initializer="he_uniform",
            )
        ],
        "Dropout": [k.Dropout(0.2, seed=3)],
        "GRU": [k.GRU(3, return_sequences=True), k.GRU(3, reset_after=False)],
        "GaussianNoise": [k.GaussianNoise(0.1)],
        "GlobalAveragePooling1D": [k.GlobalAveragePooling1D()],
        "GlobalMaxPooling1D": [k.GlobalMaxPooling1D(keepdims=True)],
        "LSTM": [k.LSTM(3, return_sequences=True, dropout=0.1, go_backwards=True), k.LSTM(3, unroll=True)],
        "LayerNormalization": [k.LayerNormalization(axis=1)],
        "MaxPooling1D": [k.MaxPooling1D(3, strides=2, padding="same")],
        "ReLU": [k.ReLU(0.45, negative_slope=0.1, threshold=0.3)],
        "Rescaling": [k.Rescaling(2.5, offset=-0.3)],
        "Reshape": [k.Reshape((-1, 4))],
    }
    # The network of a mass in small: all the kinds of layers that this project's networks are made of.
    one[SMALL] = [
        k.Rescaling(2.5),
        k.GaussianNoise(0.1),
        k.AveragePooling1D(2),
        k.Activation("softsign"),
        k.Conv1D(4, 3, strides=2, activation="relu"),
        k.BatchNormalization(),
        k.Activation("tanh"),
        k.Dropout(0.2),
        k.LSTM(5, return_sequences=True),
        k.Reshape((-1,)),
        k.Reshape((-1, 5)),
        k.LSTM(3),
    ]
    return {name: [*layers, k.Flatten(), k.Dense(1, bias_initializer="ones")] for name, layers in one.items()}


def save_networks(folder: Path, names: list[str], shipped: list[Path]) -> dict:
    """Save networks, and shipped ones as they are and again, with spectra beside them; what each predicts here."""
    rng = np.random.default_rng(0)
    predicted = {}

    def write(name: str, ann: EasyAI) -> None:
        assert model_file.read(folder / f"{name}.h5").keras_2 == model_file.OPENS, name
        spectra = np.abs(rng.normal(0.4, 0.2, (16, *ann.model.input_shape[1:]))).astype(np.float32)
        np.save(folder / f"{name}.npy", spectra)
        assert EasyAI.load(folder / f"{name}.h5").model.get_config() == ann.model.get_config(), name
        predicted[name] = np.asarray(ann.model(spectra, training=False)).reshape(-1)  # quicker, once, than `predict`

    for path in shipped:
        ann = EasyAI.load(path)
        ann.save(folder / f"again_{path.name}")
        write(f"again_{path.stem}", ann)
        (folder / path.name).write_bytes(path.read_bytes())
        write(path.stem, ann)
    for name, layers in every_layer(backend.import_keras().layers).items():
        if name in names:
            ann = EasyAI(layers, (PIXELS, 1))
            # Weights of a trained network: no zero biases, no moving averages of zero and one.
            ann.model.set_weights([w + np.abs(rng.normal(0, 0.1, w.shape)) for w in ann.model.get_weights()])
            ann.save(folder / f"{name}.h5")
            write(name, ann)
    return predicted


def run(code: str, *arguments, **environment) -> str:
    """Run Python elsewhere and give what it prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install -r requirements-test.txt")


# Every layer that is listed takes minutes. Keras 3 reads a configuration alike with every back end.
ELSEWHERE = [
    pytest.param("tf_keras", [SMALL], id="tf_keras"),
    pytest.param("tf_keras", [*keras2_config.LAYERS, SMALL], marks=pytest.mark.slow, id="tf_keras, every layer"),
    pytest.param("keras", [SMALL], marks=pytest.mark.slow, id="jax"),
]


@pytest.mark.parametrize(("module", "names"), ELSEWHERE)
def test_every_keras_predicts_the_same_and_restores_optimizer_loss_and_metric(tmp_path, module, names):
    needs("jax" if module == "keras" else module)
    assert len(SHIPPED) == 2
    expected = save_networks(tmp_path, names, SHIPPED if len(names) > 1 else SHIPPED[:1])
    done = run(OPEN.format(keras=module), tmp_path, **({"KERAS_BACKEND": "jax"} if module == "keras" else {}))
    said = json.loads(done.splitlines()[-1])
    assert said.keys() == expected.keys()
    elsewhere = {name: np.load(tmp_path / f"{name}.there.npy").reshape(-1) for name in said}
    differences = {name: float(np.abs(values - expected[name]).max()) for name, values in elsewhere.items()}
    assert max(differences.values()) < TOLERANCE, differences
    assert min(np.ptp(values) for values in expected.values()) > 100 * TOLERANCE, "the comparison compares nothing"
    for name, (optimizer, rate, *_) in said.items():
        assert optimizer == "Nadam"
        assert rate == pytest.approx(3e-4 if "Best" in name and "final" in name else 1e-3)
    rmse = np.sqrt(np.mean((expected[SMALL] - 8.0) ** 2))
    assert said[SMALL][2:] == [pytest.approx(rmse, rel=1e-4)]


def test_all_listed_layers_are_tried():
    tried = {type(layer).__name__ for layers in every_layer(backend.import_keras().layers).values() for layer in layers}
    assert tried | {"InputLayer"} == set(keras2_config.LAYERS)
