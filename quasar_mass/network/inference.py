"""From spectra on the grid to what one network or several say: mass, disagreement, and the last hidden layer.

Networks that differ only in their seed are a small deep ensemble (Lakshminarayanan et al. 2017, NeurIPS 30): their mean
has smaller errors than each of them, and they disagree about spectra that are unlike the training set.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from quasar_mass.core.errors import ModelError, TableError, first_line
from quasar_mass.core.parallel import cores
from quasar_mass.tables.scratch_array import ScratchArray

ROWS = 1024  # spectra whose values are checked at a time: an array on disk need not fit into memory
NAME_LENGTH = 16  # hexadecimal digits of an ensemble's name: enough that no two ever share one


@dataclass(frozen=True, repr=False)
class NetworkOutput:
    """What networks predict for spectra.

    Attributes
    ----------
    mass : ndarray of float64, shape (n,)
        log10(M_BH / M_Sun), the mean over the networks.
    ens_std : ndarray of float64, shape (n,)
        Standard deviation over the networks in dex; 0 for one network.
    hidden : ndarray of float32, shape (n, units)
        The last hidden layer of the first network.
    """

    mass: np.ndarray
    ens_std: np.ndarray
    hidden: np.ndarray


class Ensemble:
    """One network or several.

    Parameters
    ----------
    members : sequence of OnnxNetwork or EasyAI
        Networks for the same spectra.

    Raises
    ------
    ModelError
        If there is none, or they expect different spectra.
    """

    def __init__(self, members: Sequence) -> None:
        self.members = list(members)
        if not self.members:
            raise ModelError("the model", "the list of models is empty; name at least one")
        first = self.members[0]
        for number, other in enumerate(self.members[1:], 2):
            for what in ("grid", "extinction_corrected", "kind"):
                expected, given = ((member.about or {}).get(what) for member in (first, other))
                if expected != given or first.input_shape != other.input_shape:
                    raise ModelError(
                        f"model {number} of {len(self.members)}",
                        f"expects other spectra than the first one: {what} {given}, input {other.input_shape}, "
                        f"not {what} {expected}, input {first.input_shape}; "
                        "name models of one training with several seeds",
                    )

    @property
    def first(self):
        """The first network, whose description stands for all."""
        return self.members[0]

    @property
    def name(self) -> str:
        """Hexadecimal digits that depend on the weights of all members, not on their order behind the first."""
        digests = [_digest(member.weights) for member in self.members]
        text = " ".join([digests[0], *sorted(digests[1:])])
        return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]

    def outputs(self, spectra: np.ndarray) -> NetworkOutput:
        """Predict, and give the last hidden layer too; parameters and errors as of `EasyAI.predict`."""
        hidden, mass = self.first.outputs(spectra)
        masses = [mass, *(member.predict(spectra) for member in self.members[1:])]
        return NetworkOutput(np.mean(masses, axis=0), np.std(masses, axis=0, ddof=int(len(masses) > 1)), hidden)


def _digest(weights: Sequence[np.ndarray]) -> str:
    sha = hashlib.sha256()
    for weight in weights:
        sha.update(np.ascontiguousarray(weight).tobytes())
    return sha.hexdigest()


# --- running a network ------------------------------------------------------------------------------------------------
def in_batches(
    step: Callable[[np.ndarray], list[np.ndarray]], spectra: np.ndarray, batch_size: int, *, parallel: bool = True
) -> list[np.ndarray]:
    """Run a network on spectra; the same numbers for any batch size.

    Parameters
    ----------
    step : callable
        Gives the network's outputs for some spectra.
    spectra : ndarray, shape (n, ...)
        As `checked_spectra` gives them.
    batch_size : int
        Spectra per step.
    parallel : bool
        Whether as many steps run at a time as there are processors: one step alone leaves them idle, since an LSTM
        goes pixel by pixel.

    Returns
    -------
    list of ndarray
        One for each output, of shape (n, ...).
    """
    if len(spectra) == 0:  # of which no network can make outputs
        return [output[:0] for output in step(np.zeros((1, *spectra.shape[1:]), np.float32))]
    batches = [slice(start, start + batch_size) for start in range(0, len(spectra), batch_size)]
    run = _threads().map if parallel and len(batches) > 1 else map
    parts = list(run(lambda rows: step(spectra[rows]), batches))
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


def checked_set(given: tuple, shape: tuple, what: str) -> tuple:
    """Give spectra, their labels and, if there are any, their weights, checked as by `checked_spectra`.

    Raises
    ------
    TableError
        If their numbers differ or are 0, labels or weights are not finite, or weights are negative.
    """
    spectra, label, *weight = given
    spectra = checked_spectra(spectra, shape, what)
    columns = {"labels": as_float32(label, f"the labels of {what}").reshape(-1)}
    if weight:
        columns["weights"] = as_float32(weight[0], f"the weights of {what}").reshape(-1)
    for name, values in columns.items():
        if len(spectra) != len(values) or len(values) == 0:
            one = f"pass one {name[:-1]} per spectrum, at least one"
            raise TableError(what, f"there are {len(spectra)} spectra and {len(values)} {name}; {one}")
        check_finite(values, f"the {name} of {what}")
    if weight and not (columns["weights"].min() >= 0 and columns["weights"].any()):
        raise TableError(f"the weights of {what}", "must not be negative, and not all 0; correct them")
    return spectra, *columns.values()


def check_finite(values: np.ndarray | ScratchArray, what: str) -> None:
    """Raise TableError, naming the first row, where a value is not finite."""
    bad = []
    for start in range(0, len(values), ROWS):
        finite = np.isfinite(values[start : start + ROWS])
        bad += (start + np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))).tolist()
    if bad:
        raise TableError(
            what,
            f"values are NaN or infinite in {len(bad)} of {len(values)} rows (the first is row {bad[0]}); "
            "leave those rows out",
        )
