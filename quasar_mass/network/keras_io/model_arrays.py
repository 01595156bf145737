"""Arrays in a model file by path, until every caller reads its file with `model_file.read`."""

import os

from quasar_mass.network.keras_io.model_file import ARRAYS, read, write_arrays

__all__ = ["ARRAYS", "read_arrays", "write_arrays"]


def read_arrays(path: str | os.PathLike, name: str) -> tuple[dict, dict] | None:
    """As `ModelFile.arrays`."""
    return read(path).arrays(name)
