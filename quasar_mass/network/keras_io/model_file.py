"""The self-describing model file: a Keras `.h5` with one more attribute, which says what the network expects.

Plain `keras.models.load_model(path)` opens it compiled and needs nothing of this package, in Keras 3 with every back
end and in Keras 2 (`tf_keras`, TensorFlow 2.10 to 2.15); `load` gives the description as well.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from quasar_mass.core.errors import ModelError
from quasar_mass.core.files import locked_write
from quasar_mass.network.backend import import_keras
from quasar_mass.network.keras_io import keras2_config, model_checks, untrusted
from quasar_mass.network.keras_io.hdf5 import in_memory, unchanged, write

ATTRIBUTE = "quasar_mass"  # of the file's root: JSON text
KERAS_2 = "quasar_mass_keras_2"  # of the file's root: OPENS, or why Keras 2 does not open it
OPENS = "opens"
# Keras 3.15 writes its optimizer's state under the first name; where it finds one there, it builds an optimizer for no
# variables at all: the state is lost, and `optimizer` fails. Under the second name, plain Keras starts a fresh
# optimizer, which works, and `load` restores the state.
KERAS_OPTIMIZER, OPTIMIZER = "optimizer_weights", "quasar_mass_optimizer"
ABOUT_LIMIT = 60_000  # bytes; HDF5 stores at most 64 kB in an attribute
# What h5py raises on damaged files, seen by damaging some.
DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)
ENDINGS = (".h5", ".hdf5")  # the only ones by which Keras knows the format
KERAS_NOTES = (
    "saving your model as an HDF5 file",
    "the compiled metrics have yet to be built",
    "Error in loading the saved optimizer state",
)


def save(model, path: str | os.PathLike, about: dict, place: Callable = locked_write) -> str | None:
    """Write a model with its optimizer's state and its description; whole or not at all.

    Plain Keras, 2 or 3, opens the file compiled, with a fresh optimizer; `load` restores the optimizer's state as well.
    A network of layers or arguments that Keras 2 does not have is written for Keras 3 alone.

    Parameters
    ----------
    model : keras.Model
        Compiled with loss and metric objects (not names such as "mse"), which Keras needs in order to load it again.
    path : path
        Ends in `.h5`.
    about : dict
        What JSON can hold; NumPy scalars and arrays become numbers and lists. The same model and `about` give the
        same bytes.
    place : callable
        `files.locked_write`, or `files.atomic_write` where a lock is held already.

    Returns
    -------
    str or None
        Why Keras 2 will not open the file, which the file says as well (`read_keras_2`); None if it will.

    Raises
    ------
    ModelError
        If `about` is not JSON or too long, or the path does not end in `.h5`.
    """
    path = _checked_ending(path)
    try:
        text = json.dumps(about, default=_plain)
    except (TypeError, ValueError) as error:
        raise ModelError(path, expected="a description that JSON can hold", got=str(error), do="change it") from error
    size = len(text.encode())
    if size >= ABOUT_LIMIT:
        raise ModelError(
            path,
            expected=f"a description below {ABOUT_LIMIT:,} bytes of JSON",
            got=f"{size:,}",
            do="keep tables in a file of their own",
        )
    keras = import_keras()
    with in_memory() as source, in_memory() as file:
        with _without_keras_warnings():
            model.save(source)
        # Copied, not renamed in place: HDF5 would keep the old names, with Keras's running numbers, as dead bytes.
        attributes = dict(source.attrs)
        refused = _rewrite_configurations(attributes, keras)
        for name, value in {**attributes, KERAS_2: refused or OPENS, ATTRIBUTE: text}.items():
            file.attrs[name] = value
        source.copy("model_weights", file)
        if KERAS_OPTIMIZER in source:
            state = _optimizer_state(source[KERAS_OPTIMIZER])
            names = [f"{i:04d}" for i in range(len(state))]
            file.create_group(OPTIMIZER).attrs["weight_names"] = names
            for name, value in zip(names, state, strict=True):
                file[OPTIMIZER].create_dataset(name, data=value)
        write(file, path, place)
    return refused


def _rewrite_configurations(attributes: dict, keras) -> str | None:
    """Put what Keras 3 wrote into words that Keras 2 understands too; where that fails, leave it and say why."""
    refused = None
    for name, rewrite in (
        ("model_config", keras2_config.model_config),
        ("training_config", keras2_config.training_config),
    ):
        if name not in attributes:
            continue
        try:
            attributes[name] = json.dumps(rewrite(json.loads(attributes[name]), keras))
        except keras2_config.NotPortable as reason:
            # An optimizer that Keras 2 does not know is no hindrance: it opens the network with compile=False.
            refused = str(reason) if name == "model_config" else refused
    return refused


def read_keras_2(path: str | os.PathLike) -> str | None:
    """Read whether Keras 2 opens a model file, without TensorFlow.

    Returns
    -------
    str or None
        "opens", or why it does not; None if the file does not say.

    Raises
    ------
    ModelError
        As `read_about`.
    """
    import h5py

    read_about(path)  # refuses what is no model file
    with h5py.File(path, "r") as file:
        return file.attrs.get(KERAS_2)


def read_about(path: str | os.PathLike) -> dict | None:
    """Read the description a model file carries, and only that, without TensorFlow.

    Parameters
    ----------
    path : path
        A `.h5`.

    Returns
    -------
    dict or None
        None if the file is a model from elsewhere that carries none.

    Raises
    ------
    ModelError
        If the file is missing, truncated, not HDF5, not a Keras model, or its description is not JSON.
    """
    import h5py

    path = _checked_ending(path)
    if not path.is_file():
        raise ModelError(path, expected="a model file", got="no such file", do="train a model or give another path")
    sealed = unchanged(path)
    fault = None if sealed else "other bytes than its checksum is of"
    if sealed is None:
        model_checks.heaps(path)
        fault = untrusted.fault(path)
    if fault:
        raise ModelError(path, expected="a complete HDF5 file", got=fault, do="save, copy or download it again")
    try:
        with h5py.File(path, "r") as file:
            is_model = "model_config" in file.attrs
            text = file.attrs.get(ATTRIBUTE)
            model_checks.structure(path, file)
    except DAMAGED as error:
        raise ModelError(
            path,
            expected="a complete HDF5 file",
            got=f"one that HDF5 cannot open ({_first_line(error)})",
            do="save, copy or download it again",
        ) from error
    if not is_model:
        raise ModelError(
            path,
            expected="a Keras model",
            got="an HDF5 file without a network (perhaps weights alone)",
            do="save the whole model with model.save",
        )
    if text is None:
        return None
    try:
        about = json.loads(text)
        if not isinstance(about, dict):
            raise ValueError(f"a {type(about).__name__}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(
            path,
            expected=f"a JSON object in its attribute {ATTRIBUTE!r}",
            got=_first_line(error),
            do="save the model again",
        ) from error
    return model_checks.about(path, about)


def load(path: str | os.PathLike, compile: bool = True) -> tuple:
    """Load a model and its description.

    Parameters
    ----------
    path : path
        A `.h5` written by `save`, or any Keras 3 model saved as `.h5`.
    compile : bool
        Whether to restore loss, metrics and the optimizer with its state too.

    Returns
    -------
    model : keras.Model
    about : dict or None
        As `read_about` gives it.

    Raises
    ------
    ModelError
        As `read_about`, and if Keras refuses the model: its safe mode, which runs no code out of a file, stays on.
    """
    about = read_about(path)
    _check_network(path)
    keras = import_keras()
    try:
        with _without_keras_warnings():
            model = keras.models.load_model(path, compile=compile)  # safe_mode is on unless switched off
        if model.compiled:
            _restore_optimizer(model, path)
    except Exception as error:  # Keras raises every kind, depending on what in the file it cannot use
        raise ModelError(
            path,
            expected=f"a model that Keras {keras.__version__} opens in safe mode without custom objects",
            got=f"{type(error).__name__} ({_first_line(error)})",
            do="save it again from the Keras that made it, without Lambda or custom layers",
        ) from error
    return model, about


def _check_network(path: str | os.PathLike) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            model_checks.network(Path(path), file)
    except DAMAGED as error:
        raise ModelError(
            path,
            expected="a complete HDF5 file",
            got=f"one that HDF5 cannot read ({_first_line(error)})",
            do="save, copy or download it again",
        ) from error


def _checked_ending(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ModelError(
            path, expected="a file name that ends in .h5", got=repr(path.suffix), do="rename or convert it"
        )
    return path


def _plain(value):
    """NumPy scalars and arrays as JSON holds them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


def _first_line(error: Exception) -> str:
    """Cut a message to its first sentence, so that an error stays one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".:")[:200]


def _optimizer_state(group) -> list:
    """Read the optimizer's variables, in their order."""
    return [group[name][()] for name in group.attrs.get("weight_names", [])]


def _restore_optimizer(model, path: Path) -> None:
    """Give a loaded model the optimizer state its file holds; a fresh state where it holds none that fits."""
    import h5py

    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    optimizer.build(model.trainable_variables)
    model.optimizer = optimizer
    with h5py.File(path, "r") as file:
        group = file.get(OPTIMIZER, file.get(KERAS_OPTIMIZER))
        values = [] if group is None else _optimizer_state(group)
    if [value.shape for value in values] != [variable.shape for variable in optimizer.variables]:
        return
    for variable, value in zip(optimizer.variables, values, strict=True):
        variable.assign(value)


@contextlib.contextmanager
def _without_keras_warnings() -> Iterator[None]:
    """Drop Keras's warnings about what is meant to be so: the `.h5` format, and the optimizer restored here."""

    def concerns_the_user(record: logging.LogRecord) -> bool:
        return not any(note in record.getMessage() for note in KERAS_NOTES)

    logger = logging.getLogger("absl")
    logger.addFilter(concerns_the_user)
    try:
        yield
    finally:
        logger.removeFilter(concerns_the_user)
