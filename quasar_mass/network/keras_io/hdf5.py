"""HDF5 files made in memory, then written whole and sealed.

On a full disk, HDF5 itself prints hundreds of lines and crashes; and it has no checksum for a bit that rots.
"""

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from quasar_mass.core.files import locked_write

# Behind the last byte that HDF5 knows of, where no reader looks; a program that edits the file cuts it off.
_SEAL = b"\nquasar_mass sha256 %s\n"
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


def write(file, path: Path, place: Callable = locked_write) -> None:
    """Put a file of `in_memory` onto the disk, whole or not at all, with the checksum of its bytes behind them.

    Parameters
    ----------
    file : h5py.File
    path : Path
    place : callable
        `files.atomic_write` or `files.locked_write`.
    """
    file.flush()
    image = file.id.get_file_image()
    with place(path) as temporary, open(temporary, "wb") as to:
        to.write(image)
        to.write(_seal(image))


def _seal(image: bytes) -> bytes:
    return _SEAL % hashlib.sha256(image).hexdigest().encode()


SEAL_SIZE = len(_seal(b""))  # bytes


def unchanged(path: Path) -> bool | None:
    """Whether a file has the bytes that were sealed; None if it has no seal."""
    with open(path, "rb") as file:
        size = max(file.seek(0, os.SEEK_END) - SEAL_SIZE, 0)
        file.seek(size)
        seal = file.read()
        if not re.fullmatch(_SEAL % b"[0-9a-f]{64}", seal):
            return None
        file.seek(0)
        return seal == _seal(file.read(size))
