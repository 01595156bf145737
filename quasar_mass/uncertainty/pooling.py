"""One mass from several spectra of one object.

The errors of two spectra of one quasar are correlated: what the network gets wrong about its lines, it gets wrong in
every spectrum. Only the part that comes from each exposure's noise averages out. The methods, in the order of
`METHODS`:

* ``mean``: the plain mean of the spectra's masses, the reference.
* ``weighted``: their mean weighted by the inverse of the noise part of the variance. This minimises the error when all
  spectra share the rest (generalised least squares with a common correlated part).
* ``stacked``: the mass of the spectra's mean, each spectrum weighted by the square of its signal-to-noise ratio. The
  network is not linear: it pulls the mass of a faint spectrum towards the typical one, and a stack is not faint.
* ``learned``: a small network over means of the spectra's masses and hidden layers, those of the stack, and the number
  of spectra; their order does not matter. It corrects the mass of the stack.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quasar_mass.uncertainty.mixture_density import MixtureDensity
from quasar_mass.uncertainty.network_view import NetworkView

METHODS = ("mean", "weighted", "stacked", "learned")
MIN_SN = 0.3  # a spectrum below it counts as one of this signal-to-noise ratio: the power law ends somewhere
BATCH = 1024  # stacks in memory at a time


# --- the spectra of each object -------------------------------------------------------------------------------------
class StackedSpectra:
    """Stacks of the spectra of each object, summed up as the spectra are read.

    Parameters
    ----------
    pixels : int
        Of the grid.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._sums: dict[str, np.ndarray] = {}
        self._weights: dict[str, np.ndarray] = {}

    def add(self, objects: Sequence[str], flux: np.ndarray, signal_to_noise: np.ndarray) -> None:
        """Add spectra to the stacks of their objects.

        Parameters
        ----------
        objects : sequence of str, length n
            Name of each spectrum's object.
        flux : ndarray, shape (n, pixels)
            NaN where a spectrum has no data.
        signal_to_noise : ndarray, shape (n,)
        """
        for name, row, sn in zip(objects, flux, signal_to_noise, strict=True):
            weight = np.where(np.isnan(row), 0.0, max(float(sn), MIN_SN) ** 2)
            if name not in self._sums:
                self._sums[name], self._weights[name] = np.zeros(self.pixels), np.zeros(self.pixels)
            self._sums[name] += weight * np.nan_to_num(row)
            self._weights[name] += weight

    def flux(self, names: Sequence[str]) -> np.ndarray:
        """The stacks of some objects, float32 of shape (objects, pixels); NaN where none of their spectra has data."""
        with np.errstate(invalid="ignore"):
            return np.stack([(self._sums[name] / self._weights[name]).astype(np.float32) for name in names])


def stack_weights(signal_to_noise: np.ndarray) -> np.ndarray:
    """Weights of the spectra in a stack, adding up to 1: the squares of their signal-to-noise ratios; shape (n,)."""
    squares = np.maximum(signal_to_noise, MIN_SN) ** 2
    return squares / squares.sum()


@dataclass(frozen=True, repr=False)
class Epochs:
    """The spectra of one object, as pooling needs them.

    Attributes
    ----------
    mass, signal_to_noise : ndarray, shape (n,)
    hidden : ndarray, shape (n, k)
        Components of the last hidden layer (`TrainingDomain.project`).
    redshift : float
    stack_mass : float
        The network's mass for the stack of the spectra.
    stack_hidden : ndarray, shape (k,)
    """

    mass: np.ndarray
    signal_to_noise: np.ndarray
    hidden: np.ndarray
    redshift: float
    stack_mass: float
    stack_hidden: np.ndarray

    def features(self) -> np.ndarray:
        """Input of the learned pooling, shape (d,); it does not depend on the order of the spectra."""
        weights = stack_weights(self.signal_to_noise)
        squares = float(np.sum(np.maximum(self.signal_to_noise, MIN_SN) ** 2))
        mean = float(weights @ self.mass)
        scatter = float(np.sqrt(weights @ (self.mass - mean) ** 2))
        plain = [self.redshift, self.stack_mass, mean - self.stack_mass, scatter, np.log10(len(self.mass))]
        return np.concatenate([plain, [0.5 * np.log10(squares)], self.stack_hidden, weights @ self.hidden])


@dataclass(frozen=True, repr=False)
class ObjectSpectra:
    """Objects with all of their spectra.

    Attributes
    ----------
    epochs : mapping of str to Epochs
        By the object's name.
    typical : mapping of str to ndarray
        Means over each object's spectra that the width of its mass's interval depends on, in the order of `epochs`:
        ``redshift``, ``signal_to_noise``, ``log_luminosity``, ``ens_std``, ``absorption`` and ``several`` of shape
        (objects,), ``hidden`` of shape (objects, units), ``lines_seen`` of shape (objects, 3). The label that one would
        measure errs as that of a single spectrum does, so these are means over single spectra, not properties of the
        stack.
    """

    epochs: Mapping[str, Epochs]
    typical: Mapping[str, np.ndarray]

    @property
    def counts(self) -> np.ndarray:
        """Number of spectra of each object, shape (objects,)."""
        return np.array([len(epochs.mass) for epochs in self.epochs.values()], dtype=int)

    def chosen(self, names: Iterable[str]) -> "ObjectSpectra":
        """Some of the objects, in the order of `names`."""
        position = {name: row for row, name in enumerate(self.epochs)}
        rows = [position[name] for name in names]
        names = list(self.epochs)
        epochs = {names[row]: self.epochs[names[row]] for row in rows}
        return ObjectSpectra(epochs, {key: values[rows] for key, values in self.typical.items()})


def object_spectra(
    names: Sequence[str], view: NetworkView, stacks: StackedSpectra, network: Callable, project: Callable
) -> ObjectSpectra:
    """Group spectra by object, and run the network on the stack of each object that has several.

    Parameters
    ----------
    names : sequence of str, length n
        Object of each spectrum.
    view : NetworkView
        Of the spectra.
    stacks : StackedSpectra
        Of all objects with several spectra.
    network : callable
        Takes stacks of shape (m, pixels) and their redshifts; its result has the attributes `mass` and `hidden`.
    project : callable
        `TrainingDomain.project`.

    Returns
    -------
    ObjectSpectra
        In the order of the objects' names.
    """
    labels, of = np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(of, kind="stable")
    rows_of = dict(zip(labels.tolist(), np.split(order, np.cumsum(np.bincount(of))[:-1]), strict=True))
    several = [name for name, rows in rows_of.items() if len(rows) > 1]
    stacked = {}
    for start in range(0, len(several), BATCH):
        part = several[start : start + BATCH]
        output = network(stacks.flux(part), view.redshift[[rows_of[name][0] for name in part]])
        stacked |= dict(zip(part, zip(output.mass.tolist(), project(output.hidden), strict=True), strict=True))
    hidden, epochs = project(view.hidden), {}
    for name, rows in rows_of.items():
        stack_mass, stack_hidden = stacked.get(name) or (float(view.mass[rows[0]]), hidden[rows[0]])
        own = view.mass[rows], view.signal_to_noise[rows], hidden[rows]
        epochs[name] = Epochs(*own, float(view.redshift[rows[0]]), stack_mass, stack_hidden)
    return ObjectSpectra(epochs, _typical(view, list(rows_of.values())))


def _typical(view: NetworkView, groups: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Means over each object's spectra; `groups` holds the rows of each."""
    weights = [stack_weights(view.signal_to_noise[rows]) for rows in groups]
    luminosity = view.measures.log_luminosity
    values = {
        "log_luminosity": np.nan_to_num(luminosity, nan=np.nanmedian(luminosity)),
        "ens_std": view.ens_std,
        "hidden": view.hidden,
        "lines_seen": view.lines_seen,
        "absorption": view.measures.absorption,
        "several": view.several,
    }
    means = {
        key: np.array([w @ value[rows] for w, rows in zip(weights, groups, strict=True)])
        for key, value in values.items()
    }
    return {
        "redshift": np.array([view.redshift[rows[0]] for rows in groups]),
        "signal_to_noise": np.array([np.median(view.signal_to_noise[rows]) for rows in groups]),
    } | means


# --- the methods ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Noise:
    """How a mass's variance splits: noise of each exposure, and what all spectra of an object share.

    Attributes
    ----------
    log_variance, power : float
        The noise part is exp(log_variance) * S/N^-power, dex^2.
    shared : float
        Variance that all spectra of an object share, dex^2.
    """

    log_variance: float
    power: float
    shared: float

    def variance(self, signal_to_noise: np.ndarray) -> np.ndarray:
        """The noise part for each spectrum, dex^2; shape (n,)."""
        return np.exp(self.log_variance) * np.maximum(signal_to_noise, MIN_SN) ** -self.power

    def weighted_mean(self, mass: np.ndarray, signal_to_noise: np.ndarray) -> float:
        """Mean weighted by the inverse noise part; the shared part is the same for all, and changes no weight."""
        return float(np.average(mass, weights=1.0 / self.variance(signal_to_noise)))

    def weighted_mean_variance(self, signal_to_noise: np.ndarray) -> float:
        """Variance of the weighted mean of one object's spectra: the shared part, and what is left of the noise."""
        return self.shared + 1.0 / float(np.sum(1.0 / self.variance(signal_to_noise)))


@dataclass(frozen=True, repr=False)
class Pooling:
    """The methods with what they need.

    Attributes
    ----------
    noise : Noise
    learned : MixtureDensity or None
        Distribution of true mass minus the stack's mass, given `Epochs.features`.
    best : dict of str to str
        For the line whose mass is meant (``"any"``, ``"MgII"``): the one of `METHODS` with the smallest error on the
        known masses it was tried on.
    """

    noise: Noise
    learned: MixtureDensity | None
    best: Mapping[str, str]

    @property
    def methods(self) -> tuple[str, ...]:
        """Those of `METHODS` that can be used."""
        return tuple(method for method in METHODS if method != "learned" or self.learned is not None)

    def method(self, line: str) -> str:
        """The best method for masses of a line; that for any line where nothing else is known."""
        return self.best.get(line, self.best["any"])

    def mass(self, epochs: Epochs, method: str) -> float:
        """An object's mass by one of `METHODS`, log10(M_BH / M_Sun)."""
        if len(epochs.mass) == 1:
            return float(epochs.mass[0])
        if method == "mean":
            return float(np.mean(epochs.mass))
        if method == "weighted":
            return self.noise.weighted_mean(epochs.mass, epochs.signal_to_noise)
        if method == "learned" and self.learned is not None:
            return epochs.stack_mass + float(self.learned.given(epochs.features()[None]).mean()[0])
        return epochs.stack_mass


def fit_noise(groups: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> Noise:
    """Estimate the noise of masses from objects with several spectra.

    Parameters
    ----------
    groups : sequence of (mass, signal_to_noise, known mass)
        Of each object: two arrays of shape (n,), n at least 3, and its label or true mass (NaN where unknown).

    Returns
    -------
    Noise
        The noise part from the scatter of each object's masses around their mean (a straight line in logarithms), the
        shared part from what the errors of the weighted means have beyond it.
    """
    log_sn, squares = [], []
    for mass, signal_to_noise, _ in groups:
        n = len(mass)
        log_sn.append(np.log(np.maximum(signal_to_noise, MIN_SN)))
        # the mean errs as well: E (m_i - mean)^2 = (1 - 2/n) u_i + sum(u) / n^2, and the masses' variance is sum(u) / n
        squares.append(((mass - mass.mean()) ** 2 - mass.var(ddof=1) / n) / (1.0 - 2.0 / n))
    log_sn, squares = np.concatenate(log_sn), np.concatenate(squares)
    slope, level = 0.0, float(np.log(max(squares.mean(), 1e-6)))
    edges = np.unique(np.quantile(log_sn, np.linspace(0.0, 1.0, 7)))
    if len(edges) > 3:
        _, of = np.unique(np.digitize(log_sn, edges[1:-1]), return_inverse=True)  # without empty bins
        counts = np.bincount(of)
        centres = np.bincount(of, log_sn) / counts
        log_variances = np.log(np.maximum(np.bincount(of, squares) / counts, 1e-6))
        steepest = np.polyfit(centres, log_variances, 1, w=np.sqrt(counts))[0] if len(counts) > 2 else 0.0
        slope = float(np.clip(steepest, -3.0, 0.0))  # a mass does not get worse with more light
        level = float(np.average(log_variances - slope * centres, weights=counts))
    noise = Noise(level, -slope, 0.0)
    excess = [
        (noise.weighted_mean(mass, sn) - known) ** 2 - noise.weighted_mean_variance(sn)
        for mass, sn, known in groups
        if np.isfinite(known)
    ]
    return Noise(noise.log_variance, noise.power, max(float(np.mean(excess)), 0.0) if excess else 0.0)
