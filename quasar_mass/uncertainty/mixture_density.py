"""How far labels may lie from a prediction: their distribution given a spectrum, as a mixture of normal ones.

A mixture density network (Bishop 1994): one small hidden layer gives shares, places and widths of three normal
distributions of label minus prediction, fitted by maximum likelihood. So intervals may be lopsided, and wider for faint
spectra. Whether they cover what they promise does not rest on it: `conformal` sees to that. Everything is NumPy, and
its parameters are plain arrays, which travel in the model file.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from scipy.special import ndtr, ndtri
from threadpoolctl import threadpool_limits

COMPONENTS = 3  # normal distributions: a core, wide wings, and room for the labels of another line
HIDDEN = 16  # units
NETWORKS = 5  # averaged: a few hundred objects leave much to chance
STEPS = 200  # of Adam, on all objects at once; chosen on held-out validation objects
LEARNING_RATE = 5e-3
DECAY = 1e-3  # of the weights, per step's gradient
MIN_OBJECTS = 100  # objects: for fewer, one normal distribution for all
LOG_WIDTHS = (-4.0, -0.5)  # ln dex: 0.018 to 0.6 dex; a wider one than labels have would only be there to be clipped


@dataclass(frozen=True)
class Mixture:
    """Normal mixtures, one per row: `share`, `place` and `width` (dex), each of shape (n, k)."""

    share: np.ndarray
    place: np.ndarray
    width: np.ndarray

    def tail(self, value: np.ndarray) -> np.ndarray:
        """Probability beyond a value, on its nearer side: 0.5 in the middle, towards 0 far out; shape (n,)."""
        u = (np.asarray(value, float)[:, None] - self.place) / self.width
        return np.minimum((self.share * ndtr(u)).sum(axis=1), (self.share * ndtr(-u)).sum(axis=1))

    def bounds(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        """Values that leave a probability on either side; two arrays of shape (n,).

        Parameters
        ----------
        tail : float
            0: minus and plus infinity; 0.5: the median twice.
        """
        n = len(self.place)
        if tail <= 0:
            return np.full(n, -np.inf), np.full(n, np.inf)
        # at a bound of every component alike the mixture has the tail at most, at the next one at least
        z = ndtri(tail)
        ends = self.place + z * self.width, self.place - z * self.width
        lower = _solved(
            lambda v: (self.share * ndtr((v[:, None] - self.place) / self.width)).sum(axis=1) - tail, ends[0]
        )
        upper = _solved(
            lambda v: tail - (self.share * ndtr((self.place - v[:, None]) / self.width)).sum(axis=1), ends[1]
        )
        return lower, upper

    def mean(self) -> np.ndarray:
        """Expected value, shape (n,)."""
        return (self.share * self.place).sum(axis=1)

    def variance(self) -> np.ndarray:
        """Variance, shape (n,)."""
        return (self.share * (self.width**2 + self.place**2)).sum(axis=1) - self.mean() ** 2


def _solved(function, ends: np.ndarray) -> np.ndarray:
    """Where an increasing function of each row is 0, between the least and the largest of its row's ends."""
    low, high = ends.min(axis=1) - 1e-9, ends.max(axis=1) + 1e-9
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = function(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


@dataclass(frozen=True)
class MixtureDensity:
    """The fitted distribution of label minus prediction, given features of the spectrum.

    Attributes
    ----------
    centre, scale : ndarray, shape (d,)
        By which features are standardised; beyond the range of the fit they are held at its ends.
    low, high : ndarray, shape (d,)
        That range, standardised.
    w1, b1, w2, b2 : ndarray
        Of each network: (m, d, h), (m, h), (m, h, 3 k) and (m, 3 k).
    """

    # lengths of each, for whoever reads them from a file; all are finite, some positive
    SHAPES: ClassVar = {
        **dict.fromkeys(("centre", "scale", "low", "high"), "d"),
        **{"w1": "m d h", "b1": "m h", "w2": "m h o", "b2": "m o"},
    }
    UNKNOWN: ClassVar = ()
    POSITIVE: ClassVar = ("scale",)

    centre: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def given(self, features: np.ndarray) -> Mixture:
        """Give the distributions for features of shape (n, d)."""
        x = np.clip((features - self.centre) / self.scale, self.low, self.high)
        parts = [_forward(x, *parameters)[1:] for parameters in zip(self.w1, self.b1, self.w2, self.b2, strict=True)]
        share, place, width = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return Mixture(share / len(parts), place, width)


def fit(features: np.ndarray, residual: np.ndarray, weight: np.ndarray, seed: int = 42) -> MixtureDensity:
    """Fit the distribution of residuals.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        Finite.
    residual : ndarray, shape (n,)
        Label minus prediction, dex.
    weight : ndarray, shape (n,)
        One over the number of spectra of the object (`conformal.by_object`). Where they add up to less than
        `MIN_OBJECTS` objects, one normal distribution stands for all spectra.
    seed : int
    """
    features, residual = np.asarray(features, float), np.asarray(residual, float)
    centre = features.mean(axis=0) if len(features) else np.zeros(features.shape[1])
    scale = features.std(axis=0) if len(features) else np.ones(features.shape[1])
    scale = np.where(scale > 0, scale, 1.0)
    x = (features - centre) / scale
    spread = float(np.sqrt(np.average(residual**2, weights=weight))) if len(residual) else 0.3
    spread = max(spread, 0.05)
    rng = np.random.default_rng(seed)
    few = weight.sum() < MIN_OBJECTS
    found = []
    for _ in range(1 if few else NETWORKS):
        if few:
            zero = np.zeros((x.shape[1], 1)), np.zeros(1), np.zeros((1, 3))
            found.append([*zero, np.array([0.0, 0.0, np.log(spread)])])
        else:
            with threadpool_limits(1, "blas"):  # the arrays are small: threads would wait for one another
                found.append(_train(x, residual, weight / weight.sum(), spread, rng))
    low, high = (x.min(axis=0), x.max(axis=0)) if len(x) else (np.zeros_like(centre), np.zeros_like(centre))
    return MixtureDensity(centre, scale, low, high, *(np.array(part) for part in zip(*found, strict=True)))


def _forward(x, w1, b1, w2, b2):
    hidden = np.tanh(x @ w1 + b1)
    out = hidden @ w2 + b2
    logit, place, log_width = np.split(out, 3, axis=1)
    share = np.exp(logit - logit.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return hidden, share, place, np.exp(np.clip(log_width, *LOG_WIDTHS))


def _train(x: np.ndarray, residual: np.ndarray, weight: np.ndarray, spread: float, rng: np.random.Generator) -> list:
    """Adam on the negative log-likelihood; gives weights and biases."""
    d, k = x.shape[1], COMPONENTS
    places = spread * np.linspace(-0.7, 0.7, k)
    parameters = [
        rng.normal(0.0, d**-0.5, (d, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0.0, 0.1, (HIDDEN, 3 * k)),
        np.concatenate([np.zeros(k), places, np.full(k, np.log(spread))]),
    ]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    for step in range(1, STEPS + 1):
        hidden, share, place, width = _forward(x, *parameters)
        u = (residual[:, None] - place) / width
        log_part = np.log(share + 1e-12) - np.log(width) - 0.5 * u**2
        part = np.exp(log_part - log_part.max(axis=1, keepdims=True))
        part /= part.sum(axis=1, keepdims=True)  # whose each residual is
        slope = np.concatenate([share - part, -part * u / width, part * (1.0 - u**2)], axis=1) * weight[:, None]
        back = slope @ parameters[2].T * (1.0 - hidden**2)
        gradients = [
            x.T @ back + DECAY * parameters[0],
            back.sum(axis=0),
            hidden.T @ slope + DECAY * parameters[2],
            slope.sum(axis=0),
        ]
        for i, gradient in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            size = np.sqrt(second[i] / (1.0 - 0.999**step)) + 1e-8
            parameters[i] = parameters[i] - LEARNING_RATE * first[i] / (1.0 - 0.9**step) / size
    return parameters
