"""One mass from several spectra of one object.

Two spectra of one quasar err together: what the network gets wrong about its lines, it gets wrong every night. Only the
part that comes from each night's noise averages out. The methods, in the order of `METHODS`:

* ``mean``: the plain mean of the spectra's masses, the reference.
* ``weighted``: their mean weighted by the inverse of the noise part of the variance, which is what minimises the error
  when all spectra share the rest (generalised least squares with a common correlated part).
* ``stacked``: the mass of the spectra's mean, each pixel weighted by the square of the signal-to-noise ratio. The
  network is no linear function: a faint spectrum pulls its mass towards the typical one, a stack is not faint.
* ``learned``: a small network over means of the spectra's masses and hidden layers, the stack's, and their number; no
  order of the spectra enters. It corrects the stack.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from quasar_mass.uncertainty.mixture_density import MixtureDensity

METHODS = ("mean", "weighted", "stacked", "learned")
MIN_SN = 0.3  # below it a spectrum counts as one of this signal-to-noise ratio: the power law ends somewhere


@dataclass(frozen=True)
class Noise:
    """How a mass's variance splits: noise of the night, and what all spectra of an object share.

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
        """The noise part for each spectrum, dex^2."""
        return np.exp(self.log_variance) * np.maximum(signal_to_noise, MIN_SN) ** -self.power

    def of_weighted(self, signal_to_noise: np.ndarray) -> float:
        """Variance of the weighted mean of these spectra of one object: the shared part, and what is left of noise."""
        return self.shared + 1.0 / float(np.sum(1.0 / self.variance(signal_to_noise)))

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name."""
        return {field.name: np.array(getattr(self, field.name)) for field in fields(self)}


def fit_noise(groups: list[tuple[np.ndarray, np.ndarray, float]]) -> Noise:
    """Estimate the noise of masses from objects with several spectra.

    Parameters
    ----------
    groups : list of (mass, signal_to_noise, residual mass)
        Of each object: two arrays of shape (n,), n at least 3, and its known mass (a label, or the truth).

    Returns
    -------
    Noise
        The noise part from the scatter of each object's masses around their mean (a straight line in logarithms), the
        shared part from what the weighted means miss beyond it.
    """
    noise, squares = [], []
    for mass, signal_to_noise, _ in groups:
        n = len(mass)
        noise.append(np.log(np.maximum(signal_to_noise, MIN_SN)))
        # the mean errs as well: E (m_i - mean)^2 = (1 - 2/n) u_i + sum(u) / n^2, and the masses' variance is sum(u) / n
        squares.append(((mass - mass.mean()) ** 2 - mass.var(ddof=1) / n) / (1.0 - 2.0 / n))
    noise, squares = np.concatenate(noise), np.concatenate(squares)
    slope, level = 0.0, float(np.log(max(squares.mean(), 1e-6)))
    edges = np.unique(np.quantile(noise, np.linspace(0.0, 1.0, 7)))
    if len(edges) > 3:
        _, of = np.unique(np.digitize(noise, edges[1:-1]), return_inverse=True)  # without empty bins
        counts = np.bincount(of)
        at, seen = np.bincount(of, noise) / counts, np.maximum(np.bincount(of, squares) / counts, 1e-6)
        steepest = np.polyfit(at, np.log(seen), 1, w=np.sqrt(counts))[0] if len(counts) > 2 else 0.0
        slope = float(np.clip(steepest, -3.0, 0.0))  # a mass gets no worse with more light
        level = float(np.average(np.log(seen) - slope * at, weights=counts))
    found = Noise(level, -slope, 0.0)
    left = [
        (weighted(mass, signal_to_noise, found) - known) ** 2 - found.of_weighted(signal_to_noise)
        for mass, signal_to_noise, known in groups
        if np.isfinite(known)
    ]
    return Noise(found.log_variance, found.power, max(float(np.mean(left)), 0.0) if left else 0.0)


def weighted(mass: np.ndarray, signal_to_noise: np.ndarray, noise: Noise) -> float:
    """Mean weighted by the inverse noise part; the shared part, alike for all spectra, has no say in the weights."""
    return float(np.average(mass, weights=1.0 / noise.variance(signal_to_noise)))


def stack_weights(signal_to_noise: np.ndarray) -> np.ndarray:
    """Weights of the spectra in a stack, adding up to 1: the squares of their signal-to-noise ratios."""
    squares = np.maximum(signal_to_noise, MIN_SN) ** 2
    return squares / squares.sum()


@dataclass(frozen=True)
class Epochs:
    """What is known of one object's spectra.

    Attributes
    ----------
    mass, signal_to_noise : ndarray, shape (n,)
    hidden : ndarray, shape (n, k)
        Components of the last hidden layer (`limits.Limits.project`).
    redshift : float
    stack_mass : float
        The network's for the stack of the spectra.
    stack_hidden : ndarray, shape (k,)
    """

    mass: np.ndarray
    signal_to_noise: np.ndarray
    hidden: np.ndarray
    redshift: float
    stack_mass: float
    stack_hidden: np.ndarray

    def features(self) -> np.ndarray:
        """What the learned pooling sees: nothing in it depends on the spectra's order; shape (d,)."""
        weights = stack_weights(self.signal_to_noise)
        squares = float(np.sum(np.maximum(self.signal_to_noise, MIN_SN) ** 2))
        mean = float(weights @ self.mass)
        scatter = float(np.sqrt(weights @ (self.mass - mean) ** 2))
        plain = [self.redshift, self.stack_mass, mean - self.stack_mass, scatter, np.log10(len(self.mass))]
        return np.concatenate([plain, [0.5 * np.log10(squares)], self.stack_hidden, weights @ self.hidden])


@dataclass(frozen=True)
class Pooling:
    """The methods with what they need.

    Attributes
    ----------
    noise : Noise
    learned : Spread or None
        Distribution of true mass minus the stack's, given `Epochs.features`.
    best : dict of str to str
        For the line whose mass is meant (``"any"``, ``"MgII"``): the one of `METHODS` that came nearest to the known
        masses it was tried on.
    """

    noise: Noise
    learned: MixtureDensity | None
    best: Mapping[str, str]

    def method(self, line: str) -> str:
        """Give the best method for masses of a line; that for any line where nothing else is known."""
        return self.best.get(line, self.best["any"])

    def mass(self, epochs: Epochs, method: str) -> float:
        """Give the object's mass by one of `METHODS`."""
        if len(epochs.mass) == 1:
            return float(epochs.mass[0])
        if method == "mean":
            return float(np.mean(epochs.mass))
        if method == "weighted":
            return weighted(epochs.mass, epochs.signal_to_noise, self.noise)
        if method == "learned" and self.learned is not None:
            return epochs.stack_mass + float(self.learned.given(epochs.features()[None]).mean()[0])
        return epochs.stack_mass
