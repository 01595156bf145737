"""Spectra in a temporary file that can be indexed like an array, and need no memory.

Parquet is read in row groups of a thousand spectra, so training in shuffled order cannot read it directly. The rows of
a plain file are read rather than memory-mapped, because mapped pages count as memory of the process.
"""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import FileError


class ScratchFile:
    """A temporary file of float32 rows. It has no name and disappears with this object or at the end of the process.

    Parameters
    ----------
    folder : Path
        Folder on whose disk it lies.
    pixels : int
        Numbers per row.

    Raises
    ------
    FileError
        If it cannot be created there.
    """

    def __init__(self, folder: Path, pixels: int) -> None:
        self._folder, self._pixels, self._lock = folder, pixels, threading.Lock()
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - __del__ closes it
        except OSError as error:
            raise self._error("cannot be created", error) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def append(self, block: np.ndarray) -> None:
        """Append rows, shape (n, pixels); FileError if the disk is full."""
        rest = memoryview(np.ascontiguousarray(block, dtype=np.float32).reshape(-1)).cast("B")
        try:
            self._file.seek(0, os.SEEK_END)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._error("cannot hold all spectra", error) from error

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read rows by number; shape (n, pixels)."""
        values = np.empty((len(rows), self._pixels), dtype=np.float32)
        # Rows that follow one another both in the file and in the result are read at once.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        stops = np.append(starts[1:], len(rows))[: len(starts)]
        with self._lock:
            for start, stop in zip(starts, stops, strict=True):
                self._file.seek(int(rows[start]) * self._pixels * values.itemsize)
                rest = memoryview(values[start:stop]).cast("B")
                while rest:
                    count = self._file.readinto(rest)
                    if not count:
                        raise self._error("is incomplete", OSError("it ends before the row asked for"))
                    rest = rest[count:]
        return values

    def _error(self, what: str, error: OSError) -> FileError:
        do = "name another folder with dataset.stream(survey, scratch=FOLDER)"
        return FileError(f"the temporary file in {self._folder}", f"{what} ({error.strerror or error}); {do}")


class ScratchArray:
    """Rows of a scratch file, indexed like an array of spectra of shape (n, pixels, 1).

    Parameters
    ----------
    scratch : ScratchFile
    rows : ndarray of int
        The rows of the file, in the order of the array.
    pixels : int
        Numbers per row.
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, scratch: ScratchFile, rows: np.ndarray, pixels: int) -> None:
        self._scratch, self._rows = scratch, rows
        self.shape = (len(rows), pixels, 1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read spectra by slice, numbers or mask."""
        return self._scratch.read(self._rows[rows])[..., np.newaxis]

    def only(self, rows: np.ndarray) -> "ScratchArray":
        """Select spectra without reading them."""
        return ScratchArray(self._scratch, self._rows[rows], self.shape[1])
