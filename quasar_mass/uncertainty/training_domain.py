"""The training set's ranges, and distances from it, beyond which a spectrum is flagged.

A flagged spectrum keeps its mass; the flag says why to doubt it. Thresholds of the distances are such that one object
in two hundred of the validation set is flagged, which is like the training set by construction.
"""

from dataclasses import dataclass

import numpy as np

from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.spectrum_measures import MODEL_ERROR, SpectrumMeasures

BROAD_ABSORPTION = 300.0  # km/s of `SpectrumMeasures.absorption`; chosen on simulated BAL quasars: few false positives
BAL_PROBABILITY = 0.75  # DR16Q's BAL_PROB from which Lyke et al. 2020 (section 5.3) count BAL quasars
HIDDEN_AXES, SHAPE_AXES = 16, 16  # principal components kept of the hidden layer and of the spectra's shapes
PROJECTED = 6  # components of the hidden layer that the intervals' widths may depend on

FLAG_REDSHIFT = "redshift outside training"
FLAG_SN = "S/N outside training"
FLAG_LUMINOSITY = "luminosity outside training"
FLAG_HIDDEN = "unlike training (hidden layer)"
FLAG_SHAPE = "unlike training (shape)"
FLAG_BAL = "broad absorption"
FLAG_CATALOGUED_BAL = "BAL quasar of the catalogue"


@dataclass(frozen=True, repr=False)
class TrainingDomain:
    """The training set's ranges, and how far from it a spectrum is flagged.

    Attributes
    ----------
    redshift, signal_to_noise, log_luminosity : ndarray, shape (2,)
        Smallest and largest of the training spectra; NaN where unknown.
    hidden_mean, hidden_axes, hidden_scale, hidden_rest : ndarray
        Of the last hidden layer: mean (units,), principal directions (k, units), standard deviations along them (k,),
        and across them (1,).
    shape_mean, shape_axes : ndarray, shape (bins,) and (k, bins)
        Of the spectra's shapes.
    thresholds : ndarray, shape (2,)
        Of the distances in the hidden layer and in shape.
    """

    redshift: np.ndarray
    signal_to_noise: np.ndarray
    log_luminosity: np.ndarray
    hidden_mean: np.ndarray
    hidden_axes: np.ndarray
    hidden_scale: np.ndarray
    hidden_rest: np.ndarray
    shape_mean: np.ndarray
    shape_axes: np.ndarray
    thresholds: np.ndarray

    def project(self, hidden: np.ndarray) -> np.ndarray:
        """The hidden layer along its first principal directions, in standard deviations; shape (n, `PROJECTED`)."""
        along = ((hidden - self.hidden_mean) @ self.hidden_axes.T / self.hidden_scale)[:, :PROJECTED]
        return np.pad(along, ((0, 0), (0, PROJECTED - along.shape[1]))).astype(float)

    def hidden_distance(self, hidden: np.ndarray) -> np.ndarray:
        """Distance from the training set's mean in the hidden layer, in standard deviations (Mahalanobis); (n,)."""
        centred = np.asarray(hidden, float) - self.hidden_mean
        along = centred @ self.hidden_axes.T
        across = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.sqrt(((along / self.hidden_scale) ** 2).sum(axis=1) + across / self.hidden_rest[0] ** 2)

    def shape_distance(self, measures: SpectrumMeasures) -> np.ndarray:
        """Misfit of a spectrum by the training set's shapes: rms residual over its error, of seen bins; (n,)."""
        shape = measures.shape.astype(float)
        error = np.hypot(measures.shape_error.astype(float), MODEL_ERROR * np.maximum(np.abs(shape), 0.5))
        centred = shape - self.shape_mean
        residual = centred - centred @ self.shape_axes.T @ self.shape_axes
        # the components are orthogonal over all bins alone, and a partial spectrum has a median of its own
        basis = np.vstack([self.shape_mean, self.shape_axes])
        for row in np.flatnonzero(np.isnan(residual).any(axis=1)):
            seen = np.isfinite(shape[row]) & np.isfinite(error[row])
            residual[row] = np.nan
            if seen.sum() > len(basis):
                size = np.linalg.lstsq(basis[:, seen].T, shape[row, seen], rcond=1e-6)[0]
                residual[row, seen] = shape[row, seen] - size @ basis[:, seen]
        squares = (residual / error) ** 2
        return np.sqrt(np.nansum(squares, axis=1) / np.maximum(np.isfinite(squares).sum(axis=1), 1))

    def flags(self, view: NetworkView, signal_to_noise: np.ndarray) -> list[list[str]]:
        """How each spectrum differs from those of the training set.

        Parameters
        ----------
        view : NetworkView
        signal_to_noise : ndarray, shape (n,)
            As the file or table has it; NaN where it does not say, which is not flagged.

        Returns
        -------
        list of n lists of str
        """
        luminosity = view.measures.log_luminosity
        outside = {
            FLAG_REDSHIFT: outside_range(view.redshift, self.redshift),
            FLAG_SN: outside_range(signal_to_noise, self.signal_to_noise),
            FLAG_LUMINOSITY: outside_range(luminosity, self.log_luminosity) | ~np.isfinite(luminosity),
            FLAG_HIDDEN: self.hidden_distance(view.hidden) > self.thresholds[0],
            FLAG_SHAPE: self.shape_distance(view.measures) > self.thresholds[1],
            FLAG_BAL: view.measures.absorption > BROAD_ABSORPTION,
        }
        return [[flag for flag, rows in outside.items() if rows[row]] for row in range(len(luminosity))]


def catalogued_bal(bal_probability: np.ndarray) -> np.ndarray:
    """Which objects DR16Q counts as BAL quasars, by its BAL_PROB (NaN: not); bool of shape (n,)."""
    return np.asarray(bal_probability, float) >= BAL_PROBABILITY


def outside_range(value: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Where a known value is beyond known limits."""
    value = np.asarray(value, float)
    return (value < limits[0]) | (value > limits[1])


def fit(training: NetworkView) -> TrainingDomain:
    """Take the ranges from the training set; the thresholds, which `calibration.fit_domain` sets, are infinite."""
    hidden_mean, hidden_axes, hidden_scale, hidden_rest = _principal(training.hidden.astype(float), HIDDEN_AXES)
    whole = np.isfinite(training.measures.shape).all(axis=1)
    shape_mean, shape_axes, _, _ = _principal(training.measures.shape[whole].astype(float), SHAPE_AXES)
    return TrainingDomain(
        redshift=_range(training.redshift),
        signal_to_noise=_range(training.signal_to_noise),
        log_luminosity=_range(training.measures.log_luminosity),
        hidden_mean=hidden_mean,
        hidden_axes=hidden_axes,
        hidden_scale=hidden_scale,
        hidden_rest=np.array([hidden_rest]),
        shape_mean=shape_mean,
        shape_axes=shape_axes,
        thresholds=np.full(2, np.inf),
    )


def _range(values: np.ndarray) -> np.ndarray:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return np.array([known.min(), known.max()]) if len(known) else np.full(2, np.nan)


def _principal(values: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean, principal directions, standard deviations along them, and the root mean square across."""
    mean = values.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov((values - mean).T) if len(values) > 1 else np.eye(len(mean)))
    order = np.argsort(variances)[::-1][: min(number, len(mean))]
    axes = directions[:, order].T
    # the sign of an eigenvector is arbitrary: its largest entry is made positive, so that bytes repeat
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    scale = np.sqrt(np.maximum(variances[order], 1e-8))
    rest = max(float(variances.sum() - variances[order].sum()) / max(len(mean) - len(order), 1), 1e-8)
    return mean, axes, scale, rest**0.5
