"""Networks run by ONNX Runtime: the numbers of Keras for every layer that is converted, and Keras for the others."""

import importlib.util
import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_every_keras import run

from quasar_mass.core.errors import ModelError, TableError
from quasar_mass.core.survey import MODELS, shipped_model
from quasar_mass.network import architecture, backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.inference import Ensemble
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.loading import load_network
from quasar_mass.network.onnx_graph import NotConvertible
from quasar_mass.network.onnx_network import BATCH, OnnxNetwork
from quasar_mass.predict.inputs import SHIPPED_MODEL

TOLERANCE = 1e-5  # dex
PIXELS = 40
SHIPPED = [shipped_model(name) for name in MODELS]


def k():
    return backend.import_keras().layers


def spectra(shape, number=9, seed=1):
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.normal(-0.4, 0.3, (number, 1, 1))
    return (level * np.abs(rng.normal(1.0, 0.5, (number, *shape)))).astype(np.float32)


def trained(layers, shape=(PIXELS, 1), seed=0) -> EasyAI:
    """A network with weights as a trained one has them: no zero biases, no moving averages of zero and one."""
    ann, rng = EasyAI(layers, shape), np.random.default_rng(seed)
    # vectors are biases and moving averages, variances among these
    moved = [w + (np.abs(rng.normal(0, 0.1, w.shape)) if w.ndim == 1 else 0.0) for w in ann.model.get_weights()]
    ann.model.set_weights(moved)
    return ann


def assert_like_keras(path, ann, given) -> None:
    network = OnnxNetwork.load(model_file.read(path))
    hidden, mass = network.outputs(given)
    expected_hidden, expected = ann.outputs(given)
    np.testing.assert_allclose(mass, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(hidden, expected_hidden, rtol=1e-4, atol=TOLERANCE)
    assert np.ptp(expected) > 10 * TOLERANCE, "the comparison compares nothing"
    assert network.input_shape == ann.input_shape
    assert Ensemble([network]).name == Ensemble([ann]).name


# --- this project's networks ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_models(path):
    ann = EasyAI.load(path)
    assert_like_keras(path, ann, spectra(ann.input_shape, 70))


@pytest.mark.parametrize("layers", [architecture.layers, architecture.published_layers])
@pytest.mark.parametrize("step", [1e-4, 5e-5])
def test_the_architectures_of_this_project(tmp_path, layers, step):
    ann = trained(layers(step), (round(0.37 / step) + 1, 1))
    ann.save(tmp_path / "model.h5")
    assert_like_keras(tmp_path / "model.h5", ann, spectra(ann.input_shape))


@pytest.mark.parametrize("number", [0, 1, BATCH, 2 * BATCH + 5])
def test_any_number_of_spectra_gives_each_the_same_mass_to_the_bit(number):
    network = load_network(model_file.read(SHIPPED_MODEL))
    many = spectra(network.input_shape, 3 * BATCH)
    hidden, mass = network.outputs(many[:number, :, 0])
    assert hidden.shape == (number, 128)
    assert mass.dtype == np.float64
    np.testing.assert_array_equal(mass, network.predict(many)[:number])


def test_spectra_that_do_not_fit_are_refused_as_by_keras():
    network, ann = load_network(model_file.read(SHIPPED_MODEL)), EasyAI.load(SHIPPED_MODEL)
    good = spectra(network.input_shape, 3)
    bad = good.copy()
    bad[1, 7] = np.nan
    for wrong, error in ((good[:, 1:], ModelError), (bad, TableError), ("text", TableError)):
        said = []
        for one in (network, ann):
            with pytest.raises(error) as caught:
                one.predict(wrong)
            said.append(str(caught.value))
        assert said[0] == said[1]


# --- single layers ----------------------------------------------------------------------------------------------------
LAYERS = {
    "activations": lambda: [k().Activation(name) for name in ("softsign", "tanh", "elu", "selu", "softplus", "relu")],
    "exponential": lambda: [k().Activation("exponential"), k().Activation("sigmoid"), k().Activation("linear")],
    "average": lambda: [k().AveragePooling1D(3), k().AveragePooling1D(4, strides=2)],
    "average of a change of scale": lambda: [k().Rescaling(2.5, offset=-0.3), k().AveragePooling1D(3)],
    "normalization": lambda: [k().Conv1D(3, 2), k().BatchNormalization(epsilon=0.1)],
    "normalization without a scale": lambda: [k().Conv1D(3, 2), k().BatchNormalization(scale=False)],
    "normalization without a centre": lambda: [k().Conv1D(3, 2), k().BatchNormalization(center=False, axis=2)],
    "normalization of features": lambda: [k().Flatten(), k().BatchNormalization(scale=False, center=False)],
    "convolutions": lambda: [k().Conv1D(3, 5, strides=2, activation="relu"), k().Conv1D(2, 3, use_bias=False)],
    "wide convolution": lambda: [k().Conv1D(3, 4, dilation_rate=3, activation="tanh")],
    "features of each step": lambda: [k().Dense(3, activation="tanh"), k().Dense(2, use_bias=False)],
    "sequences": lambda: [k().LSTM(3, return_sequences=True), k().LSTM(5, return_sequences=True)],
    "end of a sequence": lambda: [k().LSTM(4, use_bias=False)],
    "unusual LSTM": lambda: [k().LSTM(4, activation="softsign", recurrent_activation="tanh", unit_forget_bias=False)],
    "training alone": lambda: [k().GaussianNoise(0.3), k().Dropout(0.5, seed=3), k().Conv1D(2, 3), k().Dropout(0.2)],
    "regularized": lambda: [k().Conv1D(2, 3, kernel_regularizer="l2", kernel_constraint="max_norm")],
    "frozen": lambda: [k().Conv1D(3, 2, trainable=False), k().BatchNormalization(trainable=False)],
}


@pytest.mark.parametrize("what", LAYERS)
def test_every_layer_computes_what_keras_computes(tmp_path, what):
    ann = trained([*LAYERS[what](), k().Flatten(), k().Dense(1)])
    ann.save(tmp_path / "model.h5")
    assert_like_keras(tmp_path / "model.h5", ann, spectra((PIXELS, 1)))


@pytest.mark.parametrize("last", ["Flatten", "LSTM", "Dense"])
def test_the_last_hidden_layer_is_flat_whatever_comes_last(tmp_path, last):
    ends = {"Flatten": [k().Dense(1), k().Flatten()], "LSTM": [k().LSTM(1)], "Dense": [k().Flatten(), k().Dense(1)]}
    layers = [k().Conv1D(2, 3, strides=PIXELS), *ends[last]]
    if last == "LSTM":
        layers[0] = k().Conv1D(2, 3, strides=2)
    ann = trained(layers)
    ann.save(tmp_path / "model.h5")
    assert_like_keras(tmp_path / "model.h5", ann, spectra((PIXELS, 1)))


@st.composite
def architectures(draw):
    """Small stacks of layers, as lists of a name and arguments, and the seed of their weights."""
    activations = st.sampled_from(["relu", "tanh", "softsign", "sigmoid", "linear"])
    steps, layers = PIXELS, []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["Conv1D", "LSTM", "AveragePooling1D", "BatchNormalization", "Rescaling", "Dense"]))
        options = {}
        if kind == "Conv1D":
            size, stride = draw(st.integers(1, min(5, steps))), draw(st.integers(1, 3))
            options = {"filters": draw(st.integers(1, 4)), "kernel_size": size, "strides": stride}
            steps = (steps - size) // stride + 1
        elif kind == "AveragePooling1D":
            size = draw(st.integers(1, min(3, steps)))
            options, steps = {"pool_size": size}, steps // size
        elif kind in ("LSTM", "Dense"):
            options = {"units": draw(st.integers(1, 4))} | ({"return_sequences": True} if kind == "LSTM" else {})
        elif kind == "Rescaling":
            options = {"scale": draw(st.floats(-2, 2)), "offset": draw(st.floats(-1, 1))}
        elif kind == "BatchNormalization":
            options = {"center": draw(st.booleans()), "scale": draw(st.booleans())}
        if kind in ("Conv1D", "Dense"):
            options |= {"activation": draw(activations), "use_bias": draw(st.booleans())}
        layers.append((kind, options))
    end = [("LSTM", {"units": 3})] if draw(st.booleans()) else [("Flatten", {})]
    return [*layers, *end, ("Dense", {"units": 1})], draw(st.integers(0, 2**16))


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(architectures())
def test_random_architectures_predict_what_keras_predicts(tmp_path_factory, architecture_and_seed):
    described, seed = architecture_and_seed
    ann = trained([getattr(k(), kind)(**options) for kind, options in described], seed=seed)
    path = tmp_path_factory.mktemp("random") / "model.h5"
    ann.save(path)
    network = OnnxNetwork.load(model_file.read(path))
    many = spectra((PIXELS, 1), seed=seed)
    for ours, keras in zip(network.outputs(many), ann.outputs(many), strict=True):
        np.testing.assert_allclose(ours, keras, rtol=1e-5, atol=TOLERANCE)
    assert Ensemble([network]).name == Ensemble([ann]).name


# --- what is not converted --------------------------------------------------------------------------------------------
OTHERS = {
    "a layer GRU": lambda: [k().GRU(3)],
    "a layer MaxPooling1D": lambda: [k().MaxPooling1D(2)],
    "a layer LSTM with go_backwards=True": lambda: [k().LSTM(3, go_backwards=True)],
    "a layer LSTM with activation=linear": lambda: [k().LSTM(3, activation="linear")],
    "a layer Conv1D with padding=same": lambda: [k().Conv1D(3, 3, padding="same")],
    "a layer Conv1D with data_format=channels_first": lambda: [k().Conv1D(3, 1, data_format="channels_first")],
    "a layer AveragePooling1D with padding=same": lambda: [k().AveragePooling1D(3, padding="same")],
    "a layer Activation with activation=gelu": lambda: [k().Activation("gelu")],
    "a layer BatchNormalization with axis=1": lambda: [k().BatchNormalization(axis=1)],
    "a layer Dense with dtype=float64": lambda: [k().Dense(2, dtype="float64", activation="tanh")],
    "a layer Rescaling with scale=": lambda: [k().Rescaling([2.0])],
}


@pytest.mark.parametrize("reason", OTHERS)
def test_other_layers_and_arguments_are_left_to_keras(tmp_path, reason):
    ann = trained([*OTHERS[reason](), k().Flatten(), k().Dense(1)])
    ann.save(tmp_path / "model.h5")
    file = model_file.read(tmp_path / "model.h5")
    with pytest.raises(NotConvertible) as caught:
        OnnxNetwork.load(file)
    assert str(caught.value).startswith(reason) or "arrays of float32" in str(caught.value)
    network = load_network(file)
    assert isinstance(network, EasyAI)
    many = spectra((PIXELS, 1))
    np.testing.assert_array_equal(network.predict(many), ann.predict(many))


def test_a_network_that_is_no_stack_is_left_to_keras(tmp_path):
    keras = backend.import_keras()
    given = keras.Input((PIXELS, 1))
    flat = k().Flatten()(given)
    keras.Model(given, k().Dense(1)(k().Concatenate()([flat, flat]))).save(tmp_path / "branched.h5")
    keras.Sequential([keras.Input((None, 1)), k().LSTM(2), k().Dense(1)]).save(tmp_path / "any_length.h5")
    for name, reason in {"branched": "a Functional model", "any_length": "an input of shape"}.items():
        file = model_file.read(tmp_path / f"{name}.h5")
        with pytest.raises(NotConvertible, match=reason):
            OnnxNetwork.load(file)
        assert isinstance(load_network(file), EasyAI)


# --- files of others --------------------------------------------------------------------------------------------------
def test_a_file_of_plain_keras(tmp_path):
    keras = backend.import_keras()
    layers = [k().Rescaling(2.5), k().Conv1D(3, 5, activation="relu"), k().LSTM(4), k().Dense(3), k().Dense(1)]
    keras.Sequential([keras.Input((PIXELS, 1)), *layers]).save(tmp_path / "model.h5")
    assert_like_keras(tmp_path / "model.h5", EasyAI.load(tmp_path / "model.h5"), spectra((PIXELS, 1)))


KERAS_2 = """
import sys
import numpy as np
import tf_keras as keras
k = keras.layers
first = k.Rescaling(2.5, input_shape=(40, 1))  # and so without an InputLayer
layers = [first, k.AveragePooling1D(2), k.Conv1D(3, 3, strides=2, activation="relu"), k.BatchNormalization()]
layers += [k.Dropout(0.1), k.LSTM(3, return_sequences=True), k.LSTM(4), k.Dense(3), k.Dense(1)]
model, rng = keras.Sequential(layers), np.random.default_rng(0)
model.set_weights([w + np.abs(rng.normal(0, 0.1, w.shape)) for w in model.get_weights()])
model.save(sys.argv[1] + "/model.h5")
np.save(sys.argv[1] + "/masses.npy", model.predict(np.load(sys.argv[1] + "/spectra.npy"), verbose=0))
"""


def test_a_file_of_keras_2(tmp_path):
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("tf_keras is not installed: pip install -r requirements-test.txt")
    many = spectra((PIXELS, 1))
    np.save(tmp_path / "spectra.npy", many)
    run(KERAS_2, tmp_path)
    network = load_network(model_file.read(tmp_path / "model.h5"))
    assert isinstance(network, OnnxNetwork)
    np.testing.assert_allclose(network.predict(many), np.load(tmp_path / "masses.npy")[:, 0], atol=TOLERANCE)


# --- damaged and dangerous files --------------------------------------------------------------------------------------
@pytest.fixture
def path(tmp_path):
    layers = [k().Flatten(), k().Dense(2, activation="tanh", name="dense"), k().Dense(1, name="mass")]
    EasyAI(layers, (9, 1)).save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


KERNEL = "model_weights/dense/easyai/dense/kernel"


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        (np.full((9, 2), np.nan, np.float32), "has weights that are NaN or infinite"),
        (np.ones((8, 2), np.float32), "cannot open it"),
        (np.ones((2, 9), np.float32), "cannot open it"),
        (np.ones((9, 2, 1), np.float32), "cannot open it"),
    ],
)
def test_weights_that_do_not_fit_are_refused(path, kernel, sentence):
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        file[KERNEL] = kernel
    with pytest.raises(ModelError, match=sentence):
        load_network(model_file.read(path))


def test_code_in_a_file_is_refused_here_too(path):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][2]["config"]["kernel_initializer"] = {"module": "os", "class_name": "system"}
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match="names code"):
        OnnxNetwork.load(model_file.read(path))


@pytest.mark.parametrize("attribute", ["layer_names", "weight_names"])
@pytest.mark.parametrize("value", [None, 3, np.array([b"\xff\xfe"]), ["nothing"]])
def test_names_that_are_damaged_are_one_sentence(path, attribute, value):
    with h5py.File(path, "r+") as file:
        part = file["model_weights"] if attribute == "layer_names" else file["model_weights/dense"]
        del part.attrs[attribute]
        if value is not None:
            part.attrs[attribute] = value
    with pytest.raises(ModelError) as caught:
        load_network(model_file.read(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, [], {}, "", 3, [None], [{}], {"layers": None}])
def test_a_configuration_of_another_form_is_one_sentence(path, value):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"] = value
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match="cannot open it"):
        load_network(model_file.read(path))
