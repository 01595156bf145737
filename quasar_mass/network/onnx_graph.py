"""A network as an ONNX graph, from the configuration and the weights that a model file holds; without Keras.

ONNX Runtime computes what Keras does, to some 1e-6 dex, and starts in a fraction of a second. The graph is made anew,
in milliseconds, whenever a file is loaded: the `.h5` stays the only model file. It has the layers that this project's
networks are made of; any other layer, and any argument that would change what a layer computes, is `NotConvertible`.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

INPUT, HIDDEN, MASS = "spectra", "hidden", "prediction"  # names in the graph
# The versions of the operators and of the format: old enough for every ONNX Runtime that is allowed here.
OPSET, IR_VERSION = 17, 8

# Keras's activations as ONNX's operators; none for "linear". The others differ between versions, or need several.
ACTIVATIONS = {
    "elu": "Elu", "exponential": "Exp", "linear": "", "relu": "Relu", "selu": "Selu", "sigmoid": "Sigmoid",
    "softplus": "Softplus", "softsign": "Softsign", "tanh": "Tanh",
}  # fmt: skip
# Arguments without a part in predictions: names, shapes that are known, and how the layer is trained.
TRAINING = (
    "name trainable seed noise_shape rate stddev momentum renorm_momentum dropout recurrent_dropout unroll "
    "implementation unit_forget_bias batch_input_shape batch_shape"
)
TRAINING = set(TRAINING.split())
TRAINING_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# What all layers must have that are converted.
ALWAYS = {"data_format": "channels_last", "dtype": "float32"}


class NotConvertible(Exception):  # noqa: N818 - no error: Keras can run the network
    """The network has something that is not converted; the message says what."""


class Layer(NamedTuple):
    """A layer as a model file describes it.

    Attributes
    ----------
    kind : str
        Keras's name of its class.
    arguments : dict
        Of that class.
    weights : list of ndarray
        In Keras's order.
    """

    kind: str
    arguments: dict
    weights: list[np.ndarray]


def layers(config: dict, weights: Sequence[Sequence[np.ndarray]]) -> tuple[tuple[int, ...], list[Layer]]:
    """Take a network apart.

    Parameters
    ----------
    config : dict
        Keras's, of a network: the `model_config` of a file.
    weights : sequence of sequences of ndarray
        Of each layer that has any.

    Returns
    -------
    input_shape : tuple of int
        Of one spectrum.
    layers : list of Layer
        Without that of the input; at least two.

    Raises
    ------
    NotConvertible
        If this is no plain stack of layers that are known here, or the weights are not those of such a stack.
    """
    if config["class_name"] != "Sequential":
        raise NotConvertible(f"a {config['class_name']} model")
    described, waiting, stack = config["config"]["layers"], list(weights), []
    first = described[0]["config"]
    shape = tuple(first.get("batch_input_shape") or first.get("batch_shape") or ())[1:]
    if not shape or not all(type(size) is int and size > 0 for size in shape):
        raise NotConvertible(f"an input of shape {shape}")
    for layer in described:
        kind, arguments = layer["class_name"], layer["config"]
        if kind == "InputLayer":
            continue
        if kind not in _LAYERS:
            raise NotConvertible(f"a layer {kind}")
        number = _LAYERS[kind].arrays(arguments)
        arrays = list(waiting.pop(0)) if number and waiting else []
        if len(arrays) != number or any(array.dtype != np.float32 for array in arrays):
            raise NotConvertible(f"a layer {kind} without its {number} arrays of float32")
        stack.append(Layer(kind, arguments, arrays))
    if waiting:
        raise NotConvertible("weights of more layers than it has")
    if len(stack) < 2:
        raise NotConvertible("fewer than two layers")
    return shape, stack


def build(input_shape: tuple[int, ...], stack: Sequence[Layer], *, hidden: bool = True):
    """Make the graph.

    Parameters
    ----------
    input_shape : tuple of int
        Of one spectrum.
    stack : sequence of Layer
        From `layers`.
    hidden : bool
        Whether the input of the last layer is an output, too.

    Returns
    -------
    onnx.ModelProto
        From `INPUT`, float32 of shape (n, *input_shape), to `HIDDEN`, shape (n, units), and `MASS`, shape (n, 1).

    Raises
    ------
    NotConvertible
        If a layer has arguments that are not converted, or its weights do not fit.
    """
    graph = _Graph(input_shape)
    for layer in _averaged_first(stack):
        last = layer is stack[-1]
        if last and hidden:
            graph.output(HIDDEN)
        arguments = _Arguments(layer)
        _LAYERS[layer.kind].convert(graph, arguments, layer.weights)
        arguments.check_all_used()
    if graph.shape != (1,):
        raise NotConvertible(f"an output of shape {graph.shape}")
    graph.output(MASS)
    return graph.model(input_shape)


def _averaged_first(stack: Sequence[Layer]) -> list[Layer]:
    """The layers with averages before a change of scale: the result is the same, of fewer numbers."""
    order = list(stack)
    for n, (layer, following) in enumerate(itertools.pairwise(stack)):
        if (layer.kind, following.kind) == ("Rescaling", "AveragePooling1D") and following is not stack[-1]:
            order[n : n + 2] = following, layer
    return order


class _Graph:
    """Nodes and constants of a graph that grows at its end.

    Attributes
    ----------
    shape : tuple of int
        At the end, of one spectrum.
    """

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        import onnx  # not at the top: a network in memory needs none

        self._onnx, self.shape, self._end = onnx, input_shape, INPUT
        self._nodes, self._constants, self._outputs = [], [], []

    def constant(self, values: np.ndarray) -> str:
        """Add an array, and give its name."""
        name = f"constant{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, output: int = 0, **attributes) -> None:
        """Add a node at the end; `output` is the number of the one of its outputs that goes on."""
        name = f"value{len(self._nodes)}"
        names = [""] * output + [name]
        self._nodes.append(self._onnx.helper.make_node(operator, [self._end, *inputs], names, **attributes))
        self._end = name

    def output(self, name: str) -> None:
        """Let what is at the end be an output as well, flat."""
        self._nodes.append(self._onnx.helper.make_node("Flatten", [self._end], [name], axis=1))
        self._outputs.append((name, math.prod(self.shape)))

    def model(self, input_shape: tuple[int, ...]):
        """The whole as an `onnx.ModelProto`."""
        onnx = self._onnx
        described = {INPUT: input_shape} | {name: (size,) for name, size in self._outputs}
        first, *others = (
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape])
            for name, shape in described.items()
        )
        graph = onnx.helper.make_graph(self._nodes, "network", [first], others, self._constants)
        opset = [onnx.helper.make_opsetid("", OPSET)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="quasar_mass")


class _Arguments:
    """The arguments of a layer; those that are not used must not change what it computes."""

    def __init__(self, layer: Layer) -> None:
        self._kind = layer.kind
        self._left = {
            key: value
            for key, value in layer.arguments.items()
            if key not in TRAINING and not key.endswith(TRAINING_ENDINGS)
        }
        for key, value in ALWAYS.items():
            own = self._left.pop(key, None)
            own = own.get("config", {}).get("name") if isinstance(own, dict) else own  # as Keras 3 says float32
            if own not in (value, None):
                self.refuse(key, own)

    def refuse(self, key: str, value: object) -> NoReturn:
        """Raise NotConvertible for an argument."""
        raise NotConvertible(f"a layer {self._kind} with {key}={str(value)[:60]}")

    def take(self, key: str, default: object = None) -> object:
        """Take an argument."""
        return self._left.pop(key, default)

    def require(self, key: str, value: object) -> None:
        """Take an argument that must have this value, if it is there."""
        if (own := self.take(key, value)) != value:
            self.refuse(key, own)

    def length(self, key: str, default: object = None) -> int:
        """Take a length, which Keras writes as a number or a list of one."""
        value = self.take(key, default)
        value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
        if type(value) is not int or value < 1:
            self.refuse(key, value)
        return value

    def number(self, key: str, default: float) -> float:
        """Take a number."""
        value = self.take(key, default)
        if type(value) not in (int, float) or not math.isfinite(value):
            self.refuse(key, value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Take what is true or false."""
        value = self.take(key, default)
        if type(value) is not bool:
            self.refuse(key, value)
        return value

    def activation(self, key: str = "activation", default: str = "linear") -> str:
        """Take an activation as ONNX's operator, empty for none."""
        value = self.take(key, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            self.refuse(key, value)
        return ACTIVATIONS[value]

    def check_all_used(self) -> None:
        """Refuse arguments that were not used, unless they are switched off."""
        for key, value in self._left.items():
            if value:
                self.refuse(key, value)

    def check_shapes(self, weights: list[np.ndarray], *shapes: tuple[int, ...]) -> None:
        """Refuse weights of other shapes."""
        given = [array.shape for array in weights]
        if given != list(shapes[: len(given)]):
            self.refuse("weights of shapes", given)


# --- one function for each layer --------------------------------------------------------------------------------------
def _sequence(graph: _Graph, arguments: _Arguments) -> tuple[int, int]:
    """Steps and channels of what a layer for sequences is given."""
    if len(graph.shape) != 2:
        arguments.refuse("an input of shape", graph.shape)
    return graph.shape


def _activate(graph: _Graph, operator: str) -> None:
    if operator:
        graph.add(operator)


def _activation(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    _activate(graph, arguments.activation())


def _rescaling(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    graph.add("Mul", graph.constant(np.float32(arguments.number("scale", 1.0))))
    graph.add("Add", graph.constant(np.float32(arguments.number("offset", 0.0))))


def _moving(graph: _Graph, arguments: _Arguments, operator: str, size: int, stride: int, *weights: str, **more) -> None:
    """An operator with windows of `size` steps; ONNX has the channels before the steps."""
    steps = (graph.shape[0] - size) // stride + 1
    if steps < 1:
        arguments.refuse("an input of shape", graph.shape)
    arguments.require("padding", "valid")
    graph.add("Transpose", perm=[0, 2, 1])
    graph.add(operator, *weights, strides=[stride], **more)
    _activate(graph, arguments.activation())
    graph.add("Transpose", perm=[0, 2, 1])
    graph.shape = (steps, graph.shape[1])


def _average_pooling(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    _sequence(graph, arguments)
    size = arguments.length("pool_size")
    stride = arguments.length("strides", size)
    _moving(graph, arguments, "AveragePool", size, stride, kernel_shape=[size])


def _conv1d(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    _, channels = _sequence(graph, arguments)
    filters, size, stride = (arguments.length(key) for key in ("filters", "kernel_size", "strides"))
    dilation = arguments.length("dilation_rate", 1)
    arguments.require("groups", 1)
    arguments.flag("use_bias", True)
    arguments.check_shapes(weights, (size, channels, filters), (filters,))
    kernel, *bias = weights
    constants = [graph.constant(values) for values in (kernel.transpose(2, 1, 0), *bias)]
    _moving(graph, arguments, "Conv", dilation * (size - 1) + 1, stride, *constants, dilations=[dilation])
    graph.shape = (graph.shape[0], filters)


def _batch_normalization(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    axis = arguments.take("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, len(graph.shape)):
        arguments.refuse("axis", axis)
    scaled, moved = arguments.flag("scale", True), arguments.flag("center", True)
    arguments.check_shapes(weights, *[graph.shape[-1:]] * 4)
    *trained, mean, variance = (array.astype(float) for array in weights)
    gamma = trained[0] if scaled else 1.0
    beta = trained[-1] if moved else 0.0
    factor = gamma / np.sqrt(variance + arguments.number("epsilon", 1e-3))
    graph.add("Mul", graph.constant(factor.astype(np.float32)))
    graph.add("Add", graph.constant((beta - mean * factor).astype(np.float32)))


def _lstm(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    steps, channels = _sequence(graph, arguments)
    units, sequences = arguments.length("units"), arguments.flag("return_sequences", False)
    arguments.flag("use_bias", True)
    arguments.check_shapes(weights, (channels, 4 * units), (units, 4 * units), (4 * units,))
    gates, cell = arguments.activation("recurrent_activation", "sigmoid"), arguments.activation(default="tanh")
    if not gates or not cell:
        arguments.refuse("activation", "linear")

    def reordered(values: np.ndarray) -> np.ndarray:
        """From Keras's order of the gates, input, forget, cell, output, to ONNX's: input, output, forget, cell."""
        i, f, c, o = np.split(values, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1)

    kernel, recurrent, *bias = map(reordered, weights)
    constants = [graph.constant(values.T[np.newaxis]) for values in (kernel, recurrent)]
    # Keras has one bias, ONNX another one for the state as well
    constants += [graph.constant(np.concatenate([values, np.zeros_like(values)])[np.newaxis]) for values in bias]
    graph.add("Transpose", perm=[1, 0, 2])
    # the first output is the sequence, (steps, 1, n, units), the second its end, (1, n, units)
    graph.add("LSTM", *constants, output=int(not sequences), hidden_size=units, activations=[gates, cell, cell])
    graph.add("Squeeze", graph.constant(np.array([int(sequences)])))
    if sequences:
        graph.add("Transpose", perm=[1, 0, 2])
    graph.shape = (steps, units) if sequences else (units,)


def _dense(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    units = arguments.length("units")
    arguments.flag("use_bias", True)
    arguments.check_shapes(weights, (graph.shape[-1], units), (units,))
    kernel, *bias = map(graph.constant, weights)
    graph.add("MatMul", kernel)
    for values in bias:
        graph.add("Add", values)
    _activate(graph, arguments.activation())
    graph.shape = (*graph.shape[:-1], units)


def _flatten(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    graph.add("Flatten", axis=1)
    graph.shape = (math.prod(graph.shape),)


def _nothing(graph: _Graph, arguments: _Arguments, weights: list) -> None:
    """A layer that does something in training alone."""


class _Known(NamedTuple):
    """How a class of layers is converted, and how many arrays of weights it has."""

    convert: Callable[[_Graph, _Arguments, list], None]
    arrays: Callable[[dict], int] = lambda arguments: 0


def _count(number: int, *switches: str) -> Callable[[dict], int]:
    """A number of arrays, and one more for each argument that is not switched off."""
    return lambda arguments: number + sum(bool(arguments.get(switch, True)) for switch in switches)


_LAYERS = {
    "Activation": _Known(_activation),
    "AveragePooling1D": _Known(_average_pooling),
    "BatchNormalization": _Known(_batch_normalization, _count(2, "scale", "center")),
    "Conv1D": _Known(_conv1d, _count(1, "use_bias")),
    "Dense": _Known(_dense, _count(1, "use_bias")),
    "Dropout": _Known(_nothing),
    "Flatten": _Known(_flatten),
    "GaussianNoise": _Known(_nothing),
    "LSTM": _Known(_lstm, _count(2, "use_bias")),
    "Rescaling": _Known(_rescaling),
}
