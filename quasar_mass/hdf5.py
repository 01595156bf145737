"""HDF5 files made in memory, then written whole: on a full disk, HDF5 itself prints hundreds of lines and crashes."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from quasar_mass.files import in_turn

_NUMBER = itertools.count()


@contextlib.contextmanager
def in_memory() -> Iterator:
    """Make an HDF5 file that is nowhere but in memory.

    Yields
    ------
    h5py.File
        Empty; Keras takes it for the name of a file.
    """
    import h5py  # not at the top: --help needs none

    class Memory(h5py.File):
        def __str__(self) -> str:  # Keras knows the format by the ending
            return "memory.h5"

    # HDF5 opens no name twice, even if nothing on the disk has it
    with Memory(f"memory-{next(_NUMBER)}.h5", "w", driver="core", backing_store=False) as file:
        yield file


def write(file, path: Path, place: Callable = in_turn) -> None:
    """Put a file of `in_memory` onto the disk, whole or not at all.

    Parameters
    ----------
    file : h5py.File
    path : Path
    place : callable
        `files.whole` or `files.in_turn`.
    """
    file.flush()
    with place(path) as temporary:
        temporary.write_bytes(file.id.get_file_image())
