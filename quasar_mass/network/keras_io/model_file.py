"""The model file: a Keras `.h5` that also describes its network and carries the arrays it was calibrated with.

Plain `keras.models.load_model(path)` opens it compiled and needs nothing of this package, in Keras 3 with every backend
and in Keras 2 (`tf_keras`, TensorFlow 2.10 to 2.15). `read` opens a file once, checks it, and gives all that it holds.
"""

import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from quasar_mass.core.errors import ModelError, first_line
from quasar_mass.core.files import locked_write
from quasar_mass.network.backend import import_keras
from quasar_mass.network.keras_io import keras2_config, model_checks

ATTRIBUTE = "quasar_mass"  # of the file's root: the description, JSON text
KERAS_2 = "quasar_mass_keras_2"  # of the file's root: OPENS, or why Keras 2 does not open it
OPENS = "opens"
ARRAYS = "quasar_mass_arrays"  # group of the file's root, with one group in it for each set of arrays
# Keras 3.15 writes its optimizer's state under the first name; where it finds one there, it builds an optimizer for no
# variables at all: the state is lost, and `optimizer` fails. Under the second name, plain Keras starts a fresh
# optimizer, which works, and `ModelFile.network` restores the state.
KERAS_OPTIMIZER, OPTIMIZER = "optimizer_weights", "quasar_mass_optimizer"
MAX_JSON = 60_000  # bytes; HDF5 stores at most 64 kB in an attribute
# What h5py raises on damaged files, seen by damaging some.
DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)
ENDINGS = (".h5", ".hdf5")  # the only ones by which Keras knows the format
# Written behind the last byte that HDF5 knows of, where no reader looks; a program that edits the file cuts it off.
CHECKSUM = b"\nquasar_mass sha256 %s\n"
CHECKSUM_SIZE = len(CHECKSUM % bytes(64))
KERAS_NOTES = (
    "saving your model as an HDF5 file",
    "the compiled metrics have yet to be built",
    "Error in loading the saved optimizer state",
)


@dataclass(frozen=True)
class ModelFile:
    """A model file that has been read and checked.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the whole file, hexadecimal.
    about : dict or None
        The description; None if the file is a model from elsewhere that carries none.
    keras_2 : str or None
        ``"opens"``, or why Keras 2 does not open it; None if the file does not say.
    """

    path: Path
    sha256: str
    about: dict | None
    keras_2: str | None
    _content: bytes = field(repr=False)

    def layers(self) -> tuple[dict, list[list]]:
        """Give the network as it is stored, without Keras.

        Returns
        -------
        config : dict
            Keras's description of it, as this file has it.
        weights : list of list of ndarray
            Of each layer that has any, in Keras's order.

        Raises
        ------
        ModelError
            If it names code, or has weights that are no numbers.
        """
        with _opened(self.path, self._content) as file:
            model_checks.network(self.path, file)
            groups = [file["model_weights"][_text(name)] for name in file["model_weights"].attrs["layer_names"]]
            weights = [[group[_text(name)][()] for name in group.attrs["weight_names"]] for group in groups]
            return json.loads(file.attrs["model_config"]), [arrays for arrays in weights if arrays]

    def network(self):
        """Build the network in Keras, with loss, metrics and the optimizer in its state.

        Returns
        -------
        keras.Model

        Raises
        ------
        ModelError
            If Keras refuses the model: its safe mode, which runs no code from a file, stays on.
        """
        with _opened(self.path, self._content) as file:
            model_checks.network(self.path, file)
            keras = import_keras()
            try:
                with _without_keras_warnings():
                    model = keras.models.load_model(file)  # safe_mode is on unless switched off
                if model.compiled:
                    _restore_optimizer(model, file)
            except Exception as error:  # Keras raises every kind, depending on what in the file it cannot use
                raise ModelError(
                    self.path,
                    f"Keras {keras.__version__} cannot open it in safe mode without custom objects "
                    f"({first_line(error)}); {model_checks.SAVE_AGAIN}",
                ) from error
        return model

    def arrays(self, name: str) -> tuple[dict, dict] | None:
        """Give a set of arrays that `write_arrays` put into the file.

        Parameters
        ----------
        name : str
            Of the set.

        Returns
        -------
        (dict, dict of str to ndarray) or None
            Facts and arrays; None if the file holds no set of that name.

        Raises
        ------
        ModelError
            If the set is damaged.
        """
        with _opened(self.path, self._content) as file:
            group = file.get(f"{ARRAYS}/{name}")
            if group is None:
                return None
            try:
                facts = json.loads(group.attrs[ATTRIBUTE])
                if not isinstance(facts, dict):
                    raise ValueError("its facts are no JSON object")
                return facts, {str(key): group[key][()] for key in group.attrs["names"]}
            except (*DAMAGED, RecursionError) as error:
                raise ModelError(
                    self.path, f"has a damaged group {ARRAYS}/{name} ({first_line(error)}); calibrate the model again"
                ) from error


def read(path: str | os.PathLike) -> ModelFile:
    """Read a model file and check it, without TensorFlow.

    Parameters
    ----------
    path : path
        A `.h5` written by `save`, or any Keras model saved as `.h5`.

    Raises
    ------
    ModelError
        If the file is missing, damaged, not HDF5, not a Keras model, or its description is not one.
    """
    path = _checked_ending(path)
    if not path.is_file():
        raise ModelError(path, "no such model file; train a model or give another path")
    if not os.access(path, os.R_OK):
        raise ModelError(path, "no permission to read it")
    content = path.read_bytes()
    body, checksum = content[:-CHECKSUM_SIZE], content[-CHECKSUM_SIZE:]
    if re.fullmatch(CHECKSUM % b"[0-9a-f]{64}", checksum) and checksum != _checksum(body):
        raise ModelError(path, "is damaged: its checksum does not match; save, copy or download it again")
    with _opened(path, content) as file:
        model_checks.structure(path, file)
        if "model_config" not in file.attrs:
            raise ModelError(
                path, "holds no network (perhaps weights alone); save the whole model with keras.Model.save"
            )
        text, keras_2 = file.attrs.get(ATTRIBUTE), file.attrs.get(KERAS_2)
    about = None if text is None else model_checks.about(path, text)
    return ModelFile(path, hashlib.sha256(content).hexdigest(), about, keras_2, content)


def save(model, path: str | os.PathLike, about: dict, writer: Callable = locked_write) -> str | None:
    """Write a model with its optimizer's state and its description; whole or not at all.

    Plain Keras, 2 or 3, opens the file compiled, with a fresh optimizer; `ModelFile.network` restores the optimizer's
    state as well. A network of layers or arguments that Keras 2 does not have is written for Keras 3 alone.

    Parameters
    ----------
    model : keras.Model
        Compiled with loss and metric objects (not names such as "mse"), which Keras needs in order to load it again.
    path : path
        Ends in `.h5`.
    about : dict
        What JSON can hold; NumPy scalars and arrays become numbers and lists. The same model and `about` give the
        same bytes.
    writer : callable
        `files.locked_write`, or `files.atomic_write` where a lock is held already.

    Returns
    -------
    str or None
        Why Keras 2 will not open the file, which the file says as well; None if it will.

    Raises
    ------
    ModelError
        If `about` is not JSON or too long, or the path does not end in `.h5`.
    """
    path = _checked_ending(path)
    text = _json(path, about)
    keras = import_keras()
    with _in_memory() as source, _in_memory() as file:
        with _without_keras_warnings():
            model.save(source)
        # Copied, not renamed in place: HDF5 would keep the old names, with Keras's running numbers, as dead bytes.
        attributes = dict(source.attrs)
        refused = _rewrite_configurations(attributes, keras)
        for name, value in {**attributes, KERAS_2: refused or OPENS, ATTRIBUTE: text}.items():
            file.attrs[name] = value
        source.copy("model_weights", file)
        if KERAS_OPTIMIZER in source and int(model.optimizer.iterations) > 0:  # a fresh one has no state to keep
            state = _optimizer_state(source[KERAS_OPTIMIZER])
            names = [f"{i:04d}" for i in range(len(state))]
            file.create_group(OPTIMIZER).attrs["weight_names"] = names
            for name, value in zip(names, state, strict=True):
                file[OPTIMIZER].create_dataset(name, data=value)
        _write(file, path, writer)
    return refused


def write_arrays(path: str | os.PathLike, name: str, facts: dict, arrays: dict) -> None:
    """Put a set of arrays into a model file, beside the network; whole or not at all.

    A set of the same name is replaced, all else stays. Plain Keras does not read it.

    Parameters
    ----------
    path : path
        A `.h5`.
    name : str
        Of this set of arrays.
    facts : dict
        What JSON can hold, below `MAX_JSON` bytes.
    arrays : dict of str to ndarray
        Numbers.

    Raises
    ------
    ModelError
        As of `read`, and if `facts` are not JSON or too long.
    """
    model = read(path)
    text = _json(model.path, facts)
    with _memory_file(io.BytesIO(model._content), "r") as source, _in_memory() as file:
        # Copied, not changed in place: HDF5 would keep what is replaced as dead bytes.
        for key, value in source.attrs.items():
            file.attrs[key] = value
        for key in source:
            if key != ARRAYS:
                source.copy(key, file)
        groups = file.create_group(ARRAYS)
        for key in source.get(ARRAYS, ()):
            if key != name:
                source.copy(f"{ARRAYS}/{key}", groups)
        group = groups.create_group(name)
        group.attrs[ATTRIBUTE] = text
        group.attrs["names"] = list(arrays)
        for key, value in arrays.items():
            group.create_dataset(key, data=value)
        _write(file, model.path, locked_write)


# --- HDF5 in memory ---------------------------------------------------------------------------------------------------
_numbers = itertools.count()


def _memory_file(*arguments, **options):
    """An `h5py.File` that Keras takes for the name of an `.h5`, by which it knows the format."""
    import h5py  # not at the top: --help needs none

    class Memory(h5py.File):
        def __str__(self) -> str:
            return "memory.h5"

        __fspath__ = __str__

    return Memory(*arguments, **options)


def _in_memory():
    """Make an empty HDF5 file in memory: on a full disk, HDF5 itself prints hundreds of lines and crashes."""
    # HDF5 opens no name twice, even if nothing on the disk has it
    return _memory_file(f"memory-{next(_numbers)}.h5", "w", driver="core", backing_store=False)


@contextlib.contextmanager
def _opened(path: Path, content: bytes) -> Iterator:
    """Open a model file whose bytes have been read; ModelError where HDF5 fails on them."""
    try:
        with _memory_file(io.BytesIO(content), "r") as file:
            yield file
    except DAMAGED as error:
        raise ModelError(
            path, f"is damaged: HDF5 cannot open it ({first_line(error)}); save, copy or download it again"
        ) from error


def _write(file, path: Path, writer: Callable) -> None:
    """Put a file of `_in_memory` onto the disk, whole or not at all, with the checksum of its bytes behind them."""
    file.flush()
    image = file.id.get_file_image()
    with writer(path) as temporary:
        temporary.write_bytes(image + _checksum(image))


def _checksum(body: bytes) -> bytes:
    return CHECKSUM % hashlib.sha256(body).hexdigest().encode()


# --- parts ------------------------------------------------------------------------------------------------------------
def _checked_ending(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ModelError(path, "is no model file: its name must end in .h5")
    return path


def _json(path: Path, facts: dict) -> str:
    try:
        text = json.dumps(facts, default=_plain)
    except (TypeError, ValueError) as error:
        raise ModelError(path, f"JSON cannot hold its description ({first_line(error)})") from error
    size = len(text.encode())
    if size >= MAX_JSON:
        raise ModelError(
            path, f"its description takes {size:,} bytes of at most {MAX_JSON:,}; keep tables in a file of their own"
        )
    return text


def _text(name: str | bytes) -> str:
    """A name as Keras 3 or Keras 2 writes it."""
    return name.decode() if isinstance(name, bytes) else name


def _plain(value):
    """NumPy scalars and arrays as JSON holds them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


def _rewrite_configurations(attributes: dict, keras) -> str | None:
    """Write what Keras 3 wrote in the way of Keras 2, which both read; where that fails, leave it and say why."""
    refused = None
    for name in ("model_config", "training_config"):
        if name not in attributes:
            continue
        rewrite = getattr(keras2_config, name)
        try:
            attributes[name] = json.dumps(rewrite(json.loads(attributes[name]), keras))
        except keras2_config.NotPortable as reason:
            # An optimizer that Keras 2 does not know is no hindrance: it opens the network with compile=False.
            refused = str(reason) if name == "model_config" else refused
    return refused


def _optimizer_state(group) -> list:
    """Read the optimizer's variables, in their order."""
    return [group[name][()] for name in group.attrs.get("weight_names", [])]


def _restore_optimizer(model, file) -> None:
    """Give a loaded model the optimizer state its file holds; a fresh state where it holds none that fits."""
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    optimizer.build(model.trainable_variables)
    model.optimizer = optimizer
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
