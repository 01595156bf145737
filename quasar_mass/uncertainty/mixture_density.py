"""The distribution of labels around a prediction, given features of the spectrum: a mixture of normal distributions.

A mixture density network (Bishop 1994): one small hidden layer gives weights, means and standard deviations of three
normal distributions of label minus prediction, fitted by maximum likelihood. So intervals may be asymmetric, and wider
for faint spectra. Their coverage does not depend on how good this fit is: `calibration` guarantees it. Everything is
NumPy, and the parameters are plain arrays, which are stored in the model file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from quasar_mass.uncertainty import normal

COMPONENTS = 3  # normal distributions: a core, wide wings, and one for labels of another line
HIDDEN = 16  # units
NETWORKS = 5  # averaged: with a few hundred objects a single fit depends much on its random start
STEPS = 200  # of Adam, on all objects at once; chosen on held-out validation objects
LEARNING_RATE = 5e-3
DECAY = 1e-3  # of the weights, per step's gradient
MIN_OBJECTS = 100  # objects: for fewer, one normal distribution for all
LOG_SIGMAS = (-4.0, -0.5)  # ln dex: 0.018 to 0.6 dex; labels scatter no wider, and are clipped beyond


@dataclass(frozen=True, repr=False)
class Mixture:
    """Normal mixtures, one per row.

    Attributes
    ----------
    weights, means, sigmas : ndarray, shape (n, k)
        Of each row's k components; the weights of a row add up to 1, means and sigmas are in dex.
    """

    weights: np.ndarray
    means: np.ndarray
    sigmas: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Mixture":
        """Some of the mixtures; `chosen` is an index or mask of shape (n,)."""
        return Mixture(self.weights[chosen], self.means[chosen], self.sigmas[chosen])

    def cdf(self, value: np.ndarray) -> np.ndarray:
        """Probability below a value of each row; shape (n,)."""
        return (self.weights * normal.cdf((np.asarray(value, float)[:, None] - self.means) / self.sigmas)).sum(axis=1)

    def sf(self, value: np.ndarray) -> np.ndarray:
        """Probability above a value of each row, exact also where it is tiny; shape (n,)."""
        return (self.weights * normal.cdf((self.means - np.asarray(value, float)[:, None]) / self.sigmas)).sum(axis=1)

    def pdf(self, value: np.ndarray) -> np.ndarray:
        """Probability density at a value of each row; shape (n,)."""
        z = (np.asarray(value, float)[:, None] - self.means) / self.sigmas
        return (self.weights * np.exp(-0.5 * z**2) / self.sigmas).sum(axis=1) / (2.0 * np.pi) ** 0.5

    def tail(self, value: np.ndarray) -> np.ndarray:
        """Probability beyond a value, on its nearer side: 0.5 at the median, towards 0 far out; shape (n,)."""
        return np.minimum(self.cdf(value), self.sf(value))

    def bounds(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        """Values that leave a probability on either side.

        Parameters
        ----------
        tail : float
            0: minus and plus infinity; 0.5: the median twice.

        Returns
        -------
        low, high : ndarray, shape (n,)
        """
        if tail <= 0:
            return np.full(len(self.means), -np.inf), np.full(len(self.means), np.inf)
        z = normal.quantile(tail)
        low = _root(self, lambda mixture, value: mixture.cdf(value) - tail, z)
        return low, _root(self, lambda mixture, value: tail - mixture.sf(value), -z)

    def mean(self) -> np.ndarray:
        """Expected value, shape (n,)."""
        return (self.weights * self.means).sum(axis=1)


def _root(mixture: Mixture, function: Callable, z: float) -> np.ndarray:
    """Where a function of each row, whose derivative is the density, is 0.

    By Newton's steps, or a bisection where one would lead out of the known bounds or is no half of the step before.

    Parameters
    ----------
    mixture : Mixture
    function : callable
        Of some mixtures and values of theirs.
    z : float
        The root of a single normal distribution, in standard deviations.
    """
    ends = mixture.means + z * mixture.sigmas  # the root is between the least and the largest of the components' own
    low, high = ends.min(axis=1) - 1e-9, ends.max(axis=1) + 1e-9
    mean = mixture.mean()
    variance = (mixture.weights * (mixture.sigmas**2 + (mixture.means - mean[:, None]) ** 2)).sum(axis=1)
    root = np.clip(mean + z * np.sqrt(variance), low, high)
    before, rows = high - low, np.arange(len(low))
    while len(rows):
        at, left = root[rows], mixture.rows(rows)
        value = function(left, at)
        low[rows], high[rows] = np.where(value < 0, at, low[rows]), np.where(value < 0, high[rows], at)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -value / left.pdf(at)
        newton = (at + step > low[rows]) & (at + step < high[rows]) & (2.0 * np.abs(step) < np.abs(before[rows]))
        step = np.where(newton, step, 0.5 * (low[rows] + high[rows]) - at)
        root[rows], before[rows] = at + step, step
        # the error after a step of Newton's is about its square over the width of a component
        rows = rows[np.abs(step) > np.where(newton, 1e-8, 1e-13) * np.maximum(1.0, np.abs(at))]
    return root


@dataclass(frozen=True, repr=False)
class MixtureDensity:
    """The fitted distribution of label minus prediction, given features of the spectrum.

    Attributes
    ----------
    centre, scale : ndarray, shape (d,)
        Mean and standard deviation, by which features are standardised.
    low, high : ndarray, shape (d,)
        Range of the standardised features in the fit; features beyond it are clipped.
    w1, b1, w2, b2 : ndarray
        Of each network: (m, d, h), (m, h), (m, h, 3 k) and (m, 3 k).
    """

    centre: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    def given(self, features: np.ndarray) -> Mixture:
        """The distributions for features of shape (n, d), or of which it was fitted to the first d alone."""
        x = np.clip((features[:, : len(self.centre)] - self.centre) / self.scale, self.low, self.high)
        parts = [_forward(x, *parameters)[1:] for parameters in zip(self.w1, self.b1, self.w2, self.b2, strict=True)]
        weights, means, sigmas = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return Mixture(weights / len(parts), means, sigmas)


def fit(features: np.ndarray, residual: np.ndarray, weight: np.ndarray, seed: int = 42) -> MixtureDensity:
    """Fit the distribution of residuals.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        Finite.
    residual : ndarray, shape (n,)
        Label minus prediction, dex.
    weight : ndarray, shape (n,)
        One over the number of spectra of the object (`calibration.by_object`). If they add up to less than
        `MIN_OBJECTS` objects, one normal distribution is fitted for all spectra.
    seed : int
    """
    features, residual = np.asarray(features, float), np.asarray(residual, float)
    centre = features.mean(axis=0) if len(features) else np.zeros(features.shape[1])
    scale = features.std(axis=0) if len(features) else np.ones(features.shape[1])
    scale = np.where(scale > 0, scale, 1.0)
    x = (features - centre) / scale
    sigma = float(np.sqrt(np.average(residual**2, weights=weight))) if len(residual) else 0.3
    sigma = max(sigma, 0.05)
    if weight.sum() < MIN_OBJECTS:
        zeros = np.zeros((x.shape[1], 1)), np.zeros(1), np.zeros((1, 3))
        networks = [[*zeros, np.array([0.0, 0.0, np.log(sigma)])]]
    else:
        rng = np.random.default_rng(seed)
        with threadpool_limits(1, "blas"):  # the arrays are small: threads would wait for one another
            networks = [_train(x, residual, weight / weight.sum(), sigma, rng) for _ in range(NETWORKS)]
    low, high = (x.min(axis=0), x.max(axis=0)) if len(x) else (np.zeros_like(centre), np.zeros_like(centre))
    return MixtureDensity(centre, scale, low, high, *(np.array(part) for part in zip(*networks, strict=True)))


def _forward(x, w1, b1, w2, b2):
    """Hidden layer, and weights, means and sigmas of the mixture."""
    hidden = np.tanh(x @ w1 + b1)
    logit, means, log_sigmas = np.split(hidden @ w2 + b2, 3, axis=1)
    weights = np.exp(logit - logit.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return hidden, weights, means, np.exp(np.clip(log_sigmas, *LOG_SIGMAS))


def _train(x: np.ndarray, residual: np.ndarray, weight: np.ndarray, sigma: float, rng: np.random.Generator) -> list:
    """Adam on the negative log-likelihood; gives w1, b1, w2 and b2."""
    d, k = x.shape[1], COMPONENTS
    parameters = [
        rng.normal(0.0, d**-0.5, (d, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0.0, 0.1, (HIDDEN, 3 * k)),
        np.concatenate([np.zeros(k), sigma * np.linspace(-0.7, 0.7, k), np.full(k, np.log(sigma))]),
    ]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    for step in range(1, STEPS + 1):
        hidden, weights, means, sigmas = _forward(x, *parameters)
        u = (residual[:, None] - means) / sigmas
        log_part = np.log(weights + 1e-12) - np.log(sigmas) - 0.5 * u**2
        part = np.exp(log_part - log_part.max(axis=1, keepdims=True))
        part /= part.sum(axis=1, keepdims=True)  # probability that each residual is of each component
        slope = np.concatenate([weights - part, -part * u / sigmas, part * (1.0 - u**2)], axis=1) * weight[:, None]
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
