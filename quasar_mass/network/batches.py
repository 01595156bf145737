"""Arrays that a network is trained on, served in batches in a given order."""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from quasar_mass.tables.scratch_array import ScratchArray

ROWS = 1024  # in memory at a time


class Arrays:
    """Spectra in memory or on disk, with their labels: the plain source of batches.

    Any object with these three methods can stand in its place (`augmentation` has two).

    Parameters
    ----------
    spectra : ndarray of float32, or ScratchArray, shape (n, pixels, 1)
    label : ndarray of float32, shape (n,), optional
        log10(M_BH / M_Sun).
    weight : ndarray of float32, shape (n,), optional
        Of each spectrum in the loss.
    """

    def __init__(
        self,
        spectra: np.ndarray | ScratchArray,
        label: np.ndarray | None = None,
        weight: np.ndarray | None = None,
    ) -> None:
        self._arrays = [array for array in (spectra, label, weight) if array is not None]

    def __len__(self) -> int:
        return len(self._arrays[0])

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple:
        """Give the spectra of these rows, and labels and weights if there are any; `rng` is for random sources."""
        return tuple(array[rows] for array in self._arrays)

    def digest(self) -> str:
        """SHA-256 of spectra, labels and weights."""
        return digest(self._arrays)


@functools.cache
def _batches_class(keras):
    class Batches(keras.utils.PyDataset):
        """Batches of a source in a given order, made one at a time."""

        def __init__(self, source, batch_size, order, seed):
            super().__init__()
            self.source, self.batch_size, self.order, self.seed = source, batch_size, order, seed
            self.batches = -(-len(source) // batch_size)

        def __len__(self):
            return self.batches

        @property
        def rows(self):
            return min(self.batches * self.batch_size, len(self.source))

        def __getitem__(self, i):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            if self.order is not None:
                rows = self.order[rows]
            return self.source.take(rows, np.random.default_rng([*self.seed, i]))

        def even(self, count):
            """All batches but a last one that is no multiple of `count`; and that one, if there is one."""
            rest = len(self.source) % self.batch_size % count
            whole = Batches(self.source, self.batch_size, self.order, self.seed)
            whole.batches = len(self) - bool(rest)
            return whole, self[len(self) - 1] if rest else None

    return Batches


def batches(keras, source, batch_size: int, order: np.ndarray | None = None, seed: Sequence[int] = (0,)):
    """A `keras.utils.PyDataset` of a source's rows in a given order; `seed` is for the source's random numbers."""
    # Made here, not at the top: a class of Keras's needs Keras, and importing this module should not.
    return _batches_class(keras)(source, batch_size, order, seed)


def digest(arrays: Sequence[np.ndarray | ScratchArray]) -> str:
    """SHA-256 of arrays: shapes, types and bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype}".encode())
        array = array if array.ndim else array[np.newaxis]
        for row in range(0, len(array), ROWS):  # an array on disk need not fit into memory
            sha.update(np.ascontiguousarray(array[row : row + ROWS]).data)
    return sha.hexdigest()
