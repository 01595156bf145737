"""Spectra in a scratch file, read row by row: they stand where an array of spectra does and need no memory.

Parquet gives a thousand spectra at a time, so training in shuffled order cannot read it directly. Rows of a plain file
are read, not mapped: the pages of a mapping count as the process's memory.
"""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import FileError


class ScratchFile:
    """A nameless temporary file of rows of float32: it vanishes with this object, or with the process that dies.

    Parameters
    ----------
    folder : Path
        On whose disk it lies.
    pixels : int
        Per row.

    Raises
    ------
    FileError
        If it cannot be made there.
    """

    def __init__(self, folder: Path, pixels: int) -> None:
        self._folder, self._pixels, self._lock = folder, pixels, threading.Lock()
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - __del__ closes it
        except OSError as error:
            raise self._refused("a folder that can be written to", error) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def append(self, block: np.ndarray) -> None:
        """Write rows, shape (n, pixels), behind those that are there; FileError if the disk is full."""
        rest = memoryview(np.ascontiguousarray(block, dtype=np.float32).reshape(-1)).cast("B")
        try:
            self._file.seek(0, os.SEEK_END)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._refused("room for all spectra", error) from error

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Give rows by number, shape (n, pixels)."""
        found = np.empty((len(rows), self._pixels), dtype=np.float32)
        # What stands side by side in the file and in the answer is read at once.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        stops = np.append(starts[1:], len(rows))[: len(starts)]
        with self._lock:
            for start, stop in zip(starts, stops, strict=True):
                self._file.seek(int(rows[start]) * self._pixels * found.itemsize)
                rest = memoryview(found[start:stop]).cast("B")
                while rest:
                    count = self._file.readinto(rest)
                    if not count:
                        raise self._refused("the rows that were written", OSError("the file ends before them"))
                    rest = rest[count:]
        return found

    def _refused(self, expected: str, error: OSError) -> FileError:
        return FileError(
            f"a temporary file in {self._folder}",
            expected=expected,
            got=error.strerror or str(error),
            do="name another folder: dataset.stream(survey, scratch=FOLDER)",
        )


class ScratchArray:
    """Rows of a scratch file in the place of an array of spectra of shape (n, pixels, 1).

    Parameters
    ----------
    scratch : Scratch
    rows : ndarray of int
        Which of its rows, in which order.
    pixels : int
        Per row.
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, scratch: ScratchFile, rows: np.ndarray, pixels: int) -> None:
        self._scratch, self._rows = scratch, rows
        self.shape = (len(rows), pixels, 1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read rows, by slice, numbers or mask."""
        return self._scratch.read(self._rows[rows])[..., np.newaxis]

    def only(self, rows: np.ndarray) -> "ScratchArray":
        """Choose rows without reading them."""
        return ScratchArray(self._scratch, self._rows[rows], self.shape[1])
