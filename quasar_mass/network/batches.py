"""Arrays for a network: checked, and served in batches in a given order; and a network's outputs for many spectra."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quasar_mass.core.errors import ModelError, TableError, first_line
from quasar_mass.core.parallel import cores
from quasar_mass.network.backend import import_keras
from quasar_mass.tables.scratch_array import ScratchArray


class Arrays:
    """Spectra in memory or on disk, with their labels: the plain source of batches.

    Any object with these three methods can stand in its place (`augmentation` has two).

    Parameters
    ----------
    spectra : ndarray of float32, or ScratchArray, shape (n, pixels, 1)
    label : ndarray of float32, shape (n,), optional
        log10(M_BH / M_Sun).
    """

    def __init__(self, spectra: np.ndarray | ScratchArray, label: np.ndarray | None = None) -> None:
        self.spectra, self.label = spectra, label

    def __len__(self) -> int:
        return len(self.spectra)

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple:
        """Give the spectra of these rows, and their labels if there are any; `rng` is for sources with random parts."""
        return (self.spectra[rows],) if self.label is None else (self.spectra[rows], self.label[rows])

    def digest(self) -> str:
        """SHA-256 of spectra and labels."""
        return digest([self.spectra] if self.label is None else [self.spectra, self.label])


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


def forward(model, spectra: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Run a network on spectra; the same numbers for any batch size.

    Parameters
    ----------
    model : keras.Model
    spectra : ndarray of float32, shape (n, pixels, 1)
        At least one.
    batch_size : int
        Spectra per step. With TensorFlow, as many steps run in parallel as there are processors: one step alone leaves
        them idle, since an LSTM goes pixel by pixel.

    Returns
    -------
    list of ndarray
        One for each output, of shape (n, ...).
    """

    def step(start: int) -> list[np.ndarray]:
        outputs = model.predict_on_batch(spectra[start : start + batch_size])
        return outputs if isinstance(outputs, list) else [outputs]

    model.make_predict_function()  # here: threads that make it at the same time would each trace the network
    starts = range(0, len(spectra), batch_size)
    in_parallel = import_keras().backend.backend() == "tensorflow" and len(starts) > 1
    parts = list(_threads().map(step, starts) if in_parallel else map(step, starts))
    return [np.concatenate(output) for output in zip(*parts, strict=True)]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())


def as_float32(values, what: str) -> np.ndarray | ScratchArray:
    """The values as float32, without a copy where possible; TableError where they are no numbers."""
    if isinstance(values, ScratchArray):
        return values
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TableError(what, f"is no rectangular array of numbers ({first_line(error)})") from error


def checked_spectra(spectra, shape: tuple, what: str) -> np.ndarray | ScratchArray:
    """Give spectra as a network of this input shape takes them.

    Parameters
    ----------
    spectra : array_like or ScratchArray, shape (n, pixels) or (n, pixels, 1)
    shape : tuple of int or None
        Of one spectrum.
    what : str
        What they are, for the error.

    Raises
    ------
    TableError
        If they are no numbers, or not finite.
    ModelError
        If they do not fit.
    """
    spectra = as_float32(spectra, what)
    given = spectra.shape
    if spectra.ndim == len(shape) and shape[-1] == 1:
        spectra = spectra[..., np.newaxis]
    fits = spectra.ndim == 1 + len(shape) and all(
        size in (None, length) for size, length in zip(shape, spectra.shape[1:], strict=True)
    )
    if not fits:
        raise ModelError(
            what,
            f"the shape is {given}, but the network takes (n, {', '.join(map(str, shape))}); "
            "put the spectra on the network's grid",
        )
    check_finite(spectra, what)
    return spectra


def checked_pair(pair: tuple, shape: tuple, what: str) -> tuple[np.ndarray | ScratchArray, np.ndarray]:
    """Give spectra and their labels, checked as by `checked_spectra`; TableError if their numbers differ or are 0."""
    spectra, label = pair
    spectra = checked_spectra(spectra, shape, what)
    label = as_float32(label, f"the labels of {what}").reshape(-1)
    if len(spectra) != len(label) or len(label) == 0:
        raise TableError(
            what, f"there are {len(spectra)} spectra and {len(label)} labels; pass one label per spectrum, at least one"
        )
    check_finite(label, f"the labels of {what}")
    return spectra, label


def check_finite(values: np.ndarray | ScratchArray, what: str) -> None:
    """Raise TableError, naming the first row, where a value is not finite."""
    rows = [np.isfinite(piece).reshape(len(piece), -1).all(axis=1) for piece in _pieces(values)]
    bad = np.flatnonzero(~np.concatenate(rows)) if rows else np.empty(0, dtype=int)
    if bad.size:
        raise TableError(
            what,
            f"values are NaN or infinite in {bad.size} of {len(values)} rows (the first is row {bad[0]}); "
            "leave those rows out",
        )


def digest(arrays: Sequence[np.ndarray | ScratchArray]) -> str:
    """SHA-256 of arrays: shapes, types and bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.shape} {array.dtype}".encode())
        for piece in _pieces(array if array.ndim else array[np.newaxis]):
            sha.update(np.ascontiguousarray(piece).data)
    return sha.hexdigest()


def _pieces(array: np.ndarray | ScratchArray, size: int = 1024) -> Iterator[np.ndarray]:
    """Yield some rows at a time, so that an array on disk need not fit into memory."""
    for row in range(0, len(array), size):
        yield array[row : row + size]
