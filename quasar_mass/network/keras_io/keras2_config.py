"""Rewrite a Keras 3 configuration so that Keras 2 reads it too, where that is possible.

Both read a network from nested dictionaries. Keras 3 writes some entries in a new form, and arguments that Keras 2
refuses; it still reads the old form. So the old form is written, and an argument that is new in Keras 3 is left out if
it has its default value. Anything else raises `NotPortable` with the reason.

Keras 2 is no longer developed, so the lists below need no maintenance: later versions of Keras 3 can only add to them.
"""

import inspect

# An activation that is not in the list is another function in Keras 2 ("hard_sigmoid") or not there.
_ACTIVATIONS = "elu exponential gelu linear relu selu sigmoid softmax softplus softsign swish tanh"
ACTIVATIONS = set(_ACTIVATIONS.split())
# Two names of one thing in today's Keras 3. Keras 2 knows only the second activation, Keras 3.0 the second initializer.
RENAMED = {"silu": "swish", "Orthogonal": "orthogonal"}
DTYPES = ("float16", "float32", "float64", "bfloat16")

_EVERY_LAYER = "name trainable dtype batch_input_shape"
_WEIGHTS = "use_bias kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer "
_WEIGHTS += "kernel_constraint bias_constraint activation"
_CONVOLUTION = "filters kernel_size strides padding data_format dilation_rate groups"
_RECURRENT = f"units {_WEIGHTS} recurrent_initializer recurrent_regularizer recurrent_constraint dropout "
_RECURRENT += "recurrent_dropout return_sequences return_state go_backwards stateful unroll"
_NORMALIZATION = "axis epsilon center scale beta_initializer gamma_initializer beta_regularizer gamma_regularizer "
_NORMALIZATION += "beta_constraint gamma_constraint"
_POOLING = "pool_size strides padding data_format"

# Layers for spectra that compute the same in Keras 2 and 3, and the arguments that Keras accepts since TensorFlow 2.10.
LAYERS = {
    "Activation": "activation",
    "AveragePooling1D": _POOLING,
    "BatchNormalization": f"{_NORMALIZATION} momentum moving_mean_initializer moving_variance_initializer",
    "Conv1D": f"{_CONVOLUTION} {_WEIGHTS}",
    "Dense": f"units {_WEIGHTS}",
    "Dropout": "rate noise_shape seed",
    "Flatten": "data_format",
    "GRU": f"{_RECURRENT} recurrent_activation reset_after",
    "GaussianNoise": "stddev seed",
    "GlobalAveragePooling1D": "data_format",
    "GlobalMaxPooling1D": "data_format keepdims",
    "InputLayer": "sparse ragged",
    "LSTM": f"{_RECURRENT} recurrent_activation unit_forget_bias",
    "LayerNormalization": _NORMALIZATION,
    "MaxPooling1D": _POOLING,
    "ReLU": "max_value negative_slope threshold",
    "Rescaling": "scale offset",
    "Reshape": "target_shape",
}
LAYERS = {name: set(f"{_EVERY_LAYER} {arguments}".split()) for name, arguments in LAYERS.items()}

# Initializers, regularizers and constraints.
PARTS = {
    "Constant": "value",
    "GlorotNormal": "seed",
    "GlorotUniform": "seed",
    "HeNormal": "seed",
    "HeUniform": "seed",
    "L1": "l1",
    "L1L2": "l1 l2",
    "L2": "l2",
    "MaxNorm": "max_value axis",
    "Ones": "",
    "Orthogonal": "gain seed",
    "VarianceScaling": "scale mode distribution seed",
    "Zeros": "",
}
PARTS = {name: set(arguments.split()) for name, arguments in PARTS.items()}

# The optimizers' arguments in TensorFlow 2.10; later Keras 2 takes them as well.
_OPTIMIZER = (
    "name learning_rate clipnorm clipvalue global_clipnorm beta_1 beta_2 epsilon amsgrad rho momentum nesterov "
)
_OPTIMIZER += "centered initial_accumulator_value"
OPTIMIZER = set(_OPTIMIZER.split())
# What Keras 2 always does, where the signatures of Keras 3 do not say that it is the default.
ALWAYS = {"data_format": "channels_last", "rms_scaling": False}


class NotPortable(Exception):  # noqa: N818 - no error: the file is good, for Keras 3
    """The configuration has something that Keras 2 does not have; the message says what."""


def model_config(config: dict, keras) -> dict:
    """Write a network's configuration in the form of Keras 2, which Keras 3 reads as well.

    Parameters
    ----------
    config : dict
        The `model_config` that Keras 3 writes into a `.h5`.
    keras : module
        Keras 3, for the default values of its arguments.

    Returns
    -------
    dict
        A new one.

    Raises
    ------
    NotPortable
        If this is not a plain stack of layers that Keras 2 has, with arguments that it takes.
    """
    if config["class_name"] != "Sequential":
        raise NotPortable(f"a {config['class_name']} model: only Sequential ones are written alike")
    inner = config["config"]
    layers = [_layer(layer, keras) for layer in inner["layers"]]
    kept = {"name": inner["name"], "layers": layers}
    if "build_input_shape" in inner:
        kept["build_input_shape"] = inner["build_input_shape"]
    return {"class_name": "Sequential", "config": kept}


def training_config(config: dict, keras) -> dict:
    """Write how a network was compiled, without the optimizer's arguments that Keras 2 refuses.

    Parameters and errors as for `model_config`.
    """
    described = config["optimizer_config"]
    cls = getattr(keras.optimizers, described["class_name"], None)
    if cls is None:
        raise NotPortable(f"the optimizer {described['class_name']}")
    kept = _known(described["config"], OPTIMIZER, cls)
    if not all(value is None or isinstance(value, bool | int | float | str) for value in kept.values()):
        raise NotPortable("an optimizer with a schedule")
    return config | {"optimizer_config": {"class_name": described["class_name"], "config": kept}}


def _layer(layer: dict, keras) -> dict:
    name = layer["class_name"]
    if name not in LAYERS:
        raise NotPortable(f"{name}: a layer that Keras 2 does not have or computes in another way")
    config = dict(layer["config"])
    if name == "InputLayer":
        config["batch_input_shape"] = config.pop("batch_shape")
        # False is what it is set to by the default, None; the first Keras 3 did not know "ragged".
        config = {key: value for key, value in config.items() if key not in ("sparse", "ragged") or value}
    known = _known(config, LAYERS[name], getattr(keras.layers, name))
    return {"class_name": name, "config": {key: _value(key, value, name, keras) for key, value in known.items()}}


def _known(config: dict, arguments: set, cls: type) -> dict:
    """Leave out arguments that Keras 2 does not know, provided that they have their default values in Keras 3."""
    for key in config.keys() - arguments:
        if config[key] not in (_default(cls, key), ALWAYS.get(key, _default(cls, key))):
            raise NotPortable(f"{cls.__name__}({key}={config[key]!r}): an argument that Keras 2 does not know")
    return {key: value for key, value in config.items() if key in arguments}


def _default(cls: type, argument: str):
    for base in cls.__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(argument)
        if parameter is not None:
            return parameter.default
    return inspect.Parameter.empty


def _value(key: str, value, layer: str, keras):
    """Rewrite one argument of a layer."""
    if key == "dtype":
        value = value["config"]["name"] if isinstance(value, dict) and value["class_name"] == "DTypePolicy" else value
        if value not in DTYPES:
            raise NotPortable(f"{layer}(dtype={value!r})")
    elif key.endswith("activation"):
        value = RENAMED.get(value, value) if isinstance(value, str) else value
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise NotPortable(f"{layer}({key}={value!r})")
    elif isinstance(value, dict):
        name = value.get("class_name")
        if name not in PARTS:
            raise NotPortable(f"{layer}({key}={name})")
        module = keras.initializers, keras.regularizers, keras.constraints
        cls = next(getattr(place, name) for place in module if hasattr(place, name))
        config = _known(value["config"], PARTS[name], cls)
        if any(isinstance(part, dict | list) for part in config.values()):
            raise NotPortable(f"{layer}({key}={name}) with more than numbers")
        value = {"class_name": RENAMED.get(name, name), "config": config}
    return value
