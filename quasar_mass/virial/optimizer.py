"""Penalised least squares for many spectra at once: Levenberg-Marquardt with Gaussian priors and bounds.

Every spectrum has its own damping and stops on its own. All sums run over one spectrum's own pixels, so that its fit
does not depend on the other spectra.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-2  # of chi-square: a step that gains less moves no parameter by a tenth of its error
_DAMPING_START, _DAMPING_MAX = 1e-2, 1e8
_LOWER, _RAISE = 0.15, 6.0  # factors of the damping after a better step, and after a worse one


@dataclass(frozen=True)
class Priors:
    """Gaussian priors and hard bounds of the parameters. The fit of a noisy spectrum falls back on them.

    Attributes
    ----------
    mean, sd, low, high : ndarray, shape (p,) or (n, p)
        `sd` may be infinite: no prior.
    """

    mean: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def row(self, shape: tuple) -> "Priors":
        """Give the same priors with one row per spectrum."""
        return Priors(*(np.broadcast_to(part, shape) for part in (self.mean, self.sd, self.low, self.high)))


@dataclass(frozen=True)
class Fit:
    """The result for n spectra.

    Attributes
    ----------
    parameters : ndarray, shape (n, p)
    covariance : ndarray, shape (n, p, p)
        From the curvature at the minimum, priors included.
    model : ndarray, shape (n, m)
    """

    parameters: np.ndarray
    covariance: np.ndarray
    model: np.ndarray


def least_squares(
    function: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    start: np.ndarray,
    data: np.ndarray,
    ivar: np.ndarray,
    priors: Priors,
    iterations: int = 25,
) -> Fit:
    """Fit one model to each of many spectra.

    Parameters
    ----------
    function : callable
        ``function(parameters, rows)`` gives the model, shape (k, m), and its derivatives, shape (k, p, m), for the
        spectra with these indices.
    start : ndarray, shape (n, p)
    data, ivar : ndarray, shape (n, m)
        `ivar` is 0 where there is no data.
    priors : Priors
    iterations : int
        Maximum number of steps.

    Returns
    -------
    Fit
    """
    n, p = start.shape
    priors = priors.row((n, p))
    precision = 1.0 / priors.sd**2
    parameters = np.clip(start, priors.low, priors.high)
    model, slope = function(parameters, np.arange(n))
    cost = _cost(model, parameters, data, ivar, priors.mean, precision)
    curvature, pull = _normal(model, slope, parameters, data, ivar, priors.mean, precision)
    damping = np.full(n, _DAMPING_START)
    active = np.arange(n)
    for _ in range(iterations):
        if not active.size:
            break
        a = active
        matrix = curvature[a].copy()
        diagonal = np.arange(p)
        matrix[:, diagonal, diagonal] *= 1.0 + damping[a, None]
        step = np.linalg.solve(matrix, pull[a][:, :, None])[:, :, 0]
        # all parameters are logarithms or of order 1: no step is trusted further than that
        trial = np.clip(parameters[a] + np.clip(step, -1.0, 1.0), priors.low[a], priors.high[a])
        trial_model, trial_slope = function(trial, a)
        trial_cost = _cost(trial_model, trial, data[a], ivar[a], priors.mean[a], precision[a])
        gain = cost[a] - trial_cost
        better = gain > 0
        b = a[better]
        parameters[b], model[b], cost[b] = trial[better], trial_model[better], trial_cost[better]
        curvature[b], pull[b] = _normal(
            model[b], trial_slope[better], parameters[b], data[b], ivar[b], priors.mean[b], precision[b]
        )
        done = (better & (gain < TOLERANCE)) | (damping[a] >= _DAMPING_MAX)
        # a worse step that hardly changes the cost is at the minimum, within rounding
        done |= ~better & (gain > -1e-6)
        damping[a] = np.clip(damping[a] * np.where(better, _LOWER, _RAISE), 1e-8, _DAMPING_MAX)
        active = a[~done]
    return Fit(parameters, np.linalg.inv(curvature), model)


def _cost(model, parameters, data, ivar, mean, precision) -> np.ndarray:
    return ((data - model) ** 2 * ivar).sum(axis=1) + ((parameters - mean) ** 2 * precision).sum(axis=1)


def _normal(model, slope, parameters, data, ivar, mean, precision) -> tuple[np.ndarray, np.ndarray]:
    """Curvature matrix and right-hand side of the normal equations."""
    weighted = slope * ivar[:, None, :]
    curvature = np.matmul(weighted, slope.transpose(0, 2, 1))
    diagonal = np.arange(parameters.shape[1])
    curvature[:, diagonal, diagonal] += precision
    pull = np.matmul(weighted, (data - model)[:, :, None])[:, :, 0] + (mean - parameters) * precision
    return curvature, pull
