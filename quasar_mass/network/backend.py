"""Keras and its backend: imported without messages, and set to give the same numbers every time."""

import contextlib
import gc
import importlib
import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

import quasar_mass
from quasar_mass.core import extras
from quasar_mass.core.errors import ModelError

BACKENDS = ("tensorflow", "jax")  # those that this project is tested with
DETERMINISTIC = "--xla_gpu_deterministic_ops"
# What TensorFlow 2.21 writes to standard error when imported, when it first looks for a GPU where there is none, and
# when it rewrites a graph, whatever TF_CPP_MIN_LOG_LEVEL says.
NOTE = re.compile(
    rb"I0000 |E0000 \S+ +\d+ cuda_platform|WARNING: All log messages before absl::InitializeLog|"
    rb"To enable the following instr"
)


def import_keras():
    """Import Keras without TensorFlow's messages; with TensorFlow, or with JAX if KERAS_BACKEND is set to it.

    Returns
    -------
    module
        `keras`.

    Raises
    ------
    ModelError
        If Keras is not installed, or KERAS_BACKEND, or Keras's own configuration file, names another backend, or one
        that is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.nullcontext() if "keras" in sys.modules else _first_import():
        _check_backend(os.environ.get("KERAS_BACKEND") or BACKENDS[0])
        try:
            import keras  # not at the top: it takes seconds, and most of this project needs none of it
        except ModuleNotFoundError as error:
            if error.name == "torch":
                _check_backend(error.name)
            if error.name not in ("keras", *BACKENDS):  # something else that Keras stands on
                raise
            where = "the network" if error.name == "keras" else "Keras's backend"
            raise ModelError(where, extras.missing(error.name)) from error
        _check_backend(keras.backend.backend())  # which ~/.keras/keras.json may have named
        if keras.backend.backend() == "jax" and DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
            # XLA reads it when JAX first looks for devices; without it, sums on a GPU differ from run to run.
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}=true".strip()
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()  # so that its messages about missing GPUs come, and are dropped, here
    # Each stage and each loaded file is a model of its own and is traced once; TensorFlow takes that for a mistake.
    logging.getLogger("tensorflow").addFilter(_not_about_retracing)
    return keras


@contextlib.contextmanager
def _first_import() -> Iterator[None]:
    """Import without garbage collection: it would take two seconds of five, and find nothing."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with without_notes():
            yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise ModelError("Keras's backend", f"{name} is not supported; set KERAS_BACKEND to {' or '.join(BACKENDS)}")


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Prevent the import of TensorFlow with another backend: Keras would import it only to seed it."""
    if "tensorflow" in sys.modules or import_keras().backend.backend() == "tensorflow":
        yield
        return
    sys.modules["tensorflow"] = None  # Python's own way to say that a module is not there
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def _not_about_retracing(record: logging.LogRecord) -> bool:
    return "retracing" not in record.getMessage()


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Hold back standard error, then pass on all but TensorFlow's messages, which come from C++."""
    try:
        sys.stderr.flush()
        original = os.dup(2)
    except (AttributeError, OSError, ValueError):  # a process without standard error
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            rest = b"".join(line for line in held if not NOTE.match(line))
            if rest:
                os.write(2, rest)


def versions() -> dict:
    """Give the versions that decide a network's numbers: Python, Keras, its backend, NumPy and this package."""
    keras = import_keras()
    backend, version = name_and_version()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: version,
        "numpy": np.__version__,
        "quasar_mass": quasar_mass.__version__,
    }


def name_and_version() -> tuple[str, str]:
    """Give the backend's name and version."""
    name = import_keras().backend.backend()
    return name, importlib.import_module(name).__version__


def deterministic_keras(seed: int):
    """Import Keras, set every seed, and allow only deterministic operations."""
    keras = import_keras()
    with without_tensorflow():
        keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    return keras
