"""The self-describing model file: a Keras `.h5` with one more attribute, which says what the network expects.

Plain `keras.models.load_model(path)` opens it compiled and needs nothing of this package; `load` gives the
description as well.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from quasar_mass.errors import ModelError
from quasar_mass.files import whole

ATTRIBUTE = "quasar_mass"  # of the file's root: JSON text
ABOUT_LIMIT = 60_000  # bytes; HDF5 stores at most 64 kB in an attribute
ENDINGS = (".h5", ".hdf5")  # the only ones by which Keras knows the format


def import_keras():
    """Import Keras with its backend, without TensorFlow's start-up notes.

    Returns
    -------
    module
        `keras`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # not at the top: it takes seconds, and `read_about` needs none of it

    return keras


def save(model, path: str | os.PathLike, about: dict) -> None:
    """Write a model with its optimizer's state and its description; whole or not at all.

    Parameters
    ----------
    model : keras.Model
        Compiled with loss and metric objects (not names such as "mse"), which Keras needs in order to load it again.
    path : path
        Ends in `.h5`.
    about : dict
        What JSON can hold; NumPy scalars and arrays become numbers and lists. The same model and `about` give the
        same bytes.

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
    import h5py

    with whole(path) as temporary:
        with _without_legacy_warning():
            model.save(temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs[ATTRIBUTE] = text


def read_about(path: str | os.PathLike) -> dict | None:
    """The description a model file carries; reads only that, without TensorFlow.

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
    try:
        with h5py.File(path, "r") as file:
            is_model = "model_config" in file.attrs
            text = file.attrs.get(ATTRIBUTE)
    except OSError as error:
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
    except (ValueError, TypeError) as error:
        raise ModelError(
            path,
            expected=f"a JSON object in its attribute {ATTRIBUTE!r}",
            got=_first_line(error),
            do="save the model again",
        ) from error
    return about


def load(path: str | os.PathLike, compile: bool = True) -> tuple:
    """A model and its description.

    Parameters
    ----------
    path : path
        A `.h5` written by `save`, or any Keras 3 model saved as `.h5`.
    compile : bool
        Whether to restore loss, metrics and optimizer too.

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
    keras = import_keras()
    try:
        model = keras.models.load_model(path, compile=compile)
    except Exception as error:  # Keras raises every kind, depending on what in the file it cannot use
        raise ModelError(
            path,
            expected=f"a model that Keras {keras.__version__} opens in safe mode without custom objects",
            got=f"{type(error).__name__} ({_first_line(error)})",
            do="save it again from the Keras that made it, without Lambda or custom layers",
        ) from error
    return model, about


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
    """The first sentence of a message, so that an error stays one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".:")[:200]


@contextlib.contextmanager
def _without_legacy_warning() -> Iterator[None]:
    """Drop the one warning that `.h5` is Keras's older format: it is the format this project promises."""

    def other(record: logging.LogRecord) -> bool:
        return "saving your model as an HDF5 file" not in record.getMessage()

    logger = logging.getLogger("absl")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
