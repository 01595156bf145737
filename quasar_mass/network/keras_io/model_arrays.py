"""Arrays that travel in a model file beside the network: what its intervals, flags and pooling were calibrated with.

They stand in HDF5 groups of their own, at which plain Keras does not look. Numbers and JSON alone: reading them runs no
code.
"""

import json
import os
from pathlib import Path

from quasar_mass.core.errors import ModelError
from quasar_mass.network.keras_io.hdf5 import in_memory, write
from quasar_mass.network.keras_io.model_file import ABOUT_LIMIT, ATTRIBUTE, DAMAGED, read_about

ARRAYS = "quasar_mass_arrays"  # group of the file's root, with one group in it for each set of arrays


def read_arrays(path: str | os.PathLike, name: str) -> tuple[dict, dict] | None:
    """Read what `write_arrays` put into a model file, without TensorFlow.

    Parameters
    ----------
    path : path
        A `.h5`.
    name : str
        Under which it stands.

    Returns
    -------
    (dict, dict of str to ndarray) or None
        Facts and arrays; None if the file holds nothing of that name.

    Raises
    ------
    ModelError
        As `read_about`, and if the facts are not JSON.
    """
    import h5py  # not at the top: --help needs none

    read_about(path)  # refuses what is no model file
    try:
        with h5py.File(path, "r") as file:
            group = file.get(f"{ARRAYS}/{name}")
            if group is None:
                return None
            facts = json.loads(group.attrs[ATTRIBUTE])
            if not isinstance(facts, dict):
                raise ValueError(f"facts of {type(facts).__name__}")
            return facts, {str(key): group[key][()] for key in group.attrs["names"]}
    except (*DAMAGED, RecursionError) as error:
        got = f"{type(error).__name__} {error}"
        raise ModelError(
            path, expected=f"a whole group {ARRAYS}/{name}", got=got, do="calibrate the model again"
        ) from error


def write_arrays(path: str | os.PathLike, name: str, facts: dict, arrays: dict) -> None:
    """Put arrays into a model file, beside the network; whole or not at all.

    What stood under the same name is replaced, all else stays. Plain Keras does not look at it.

    Parameters
    ----------
    path : path
        A `.h5`.
    name : str
        Of this set of arrays.
    facts : dict
        What JSON can hold, below `ABOUT_LIMIT` bytes.
    arrays : dict of str to ndarray
        Numbers.
    """
    import h5py

    read_about(path)
    path, text = Path(path), json.dumps(facts)
    if len(text.encode()) >= ABOUT_LIMIT:
        raise ModelError(path, expected=f"facts below {ABOUT_LIMIT:,} bytes", got=f"{len(text):,}", do="shorten them")
    with h5py.File(path, "r") as source, in_memory() as file:
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
        write(file, path)
