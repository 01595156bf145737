"""What a network has seen: ranges and distances beyond which a spectrum is flagged, from the training set.

A flagged spectrum keeps its number; the flag says why to doubt it. Thresholds of distances are such that one object in
two hundred of the validation set is flagged: these are like the training set by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from quasar_mass.uncertainty.conformal import Scores
from quasar_mass.uncertainty.spectrum_measures import MODEL_ERROR, SpectrumMeasures

RARE = 0.995  # share of validation objects within a distance's threshold
BROAD_ABSORPTION = 300.0  # km/s of `Measures.absorption`; chosen on simulated BAL quasars: few false, most found
BAL_PROBABILITY = 0.75  # DR16Q's BAL_PROB from which Lyke et al. 2020 (section 5.3) count BAL quasars
DIRECTIONS, SHAPES = 16, 16  # principal components kept of the hidden layer and of the spectra's shapes
PROJECTED = 6  # components of the hidden layer that the intervals' widths may depend on

REDSHIFT, NOISE, LUMINOSITY = "redshift outside training", "S/N outside training", "luminosity outside training"
HIDDEN, SHAPE = "unlike training (hidden layer)", "unlike training (shape)"
ABSORBED, CATALOGUED = "broad absorption", "BAL quasar of the catalogue"


@dataclass(frozen=True)
class TrainingDomain:
    """The training set's ranges, and how far from it is too far.

    Attributes
    ----------
    redshift, signal_to_noise, log_luminosity : ndarray, shape (2,)
        Least and most of the training spectra; NaN where unknown.
    hidden_mean, hidden_axes, hidden_scale, hidden_rest : ndarray
        Of the last hidden layer: mean (units,), principal directions (k, units), standard deviations along them (k,),
        and across them (1,).
    shape_mean, shape_axes : ndarray, shape (bins,) and (k, bins)
        Of the spectra's shapes.
    thresholds : ndarray, shape (2,)
        Of the distances in the hidden layer and in shape.
    """

    # lengths of each, for whoever reads them from a file, what may be unknown, and what is positive
    SHAPES: ClassVar = {
        **dict.fromkeys(("redshift", "signal_to_noise", "log_luminosity", "thresholds"), "2"),
        **{"hidden_mean": "u", "hidden_axes": "k u", "hidden_scale": "k", "hidden_rest": "1"},
        **{"shape_mean": "b", "shape_axes": "s b"},
    }
    POSITIVE: ClassVar = ("hidden_scale", "hidden_rest")
    UNKNOWN: ClassVar = ("redshift", "signal_to_noise", "log_luminosity", "thresholds")

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

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def project(self, hidden: np.ndarray) -> np.ndarray:
        """The hidden layer along its first few principal directions, in standard deviations; shape (n, `PROJECTED`)."""
        along = ((hidden - self.hidden_mean) @ self.hidden_axes.T / self.hidden_scale)[:, :PROJECTED]
        return np.pad(along, ((0, 0), (0, PROJECTED - along.shape[1]))).astype(float)

    def hidden_distance(self, hidden: np.ndarray) -> np.ndarray:
        """Distance from the training set's mean in the hidden layer, in standard deviations (Mahalanobis); (n,)."""
        centred = np.asarray(hidden, float) - self.hidden_mean
        along = centred @ self.hidden_axes.T
        across = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.sqrt(((along / self.hidden_scale) ** 2).sum(axis=1) + across / self.hidden_rest[0] ** 2)

    def shape_distance(self, measures: SpectrumMeasures) -> np.ndarray:
        """How badly the training set's shapes reproduce a spectrum: rms of what they leave, over its error; (n,)."""
        centred = measures.shape.astype(float) - self.shape_mean
        left = centred - centred @ self.shape_axes.T @ self.shape_axes
        error = np.hypot(measures.shape_error.astype(float), MODEL_ERROR * np.maximum(np.abs(measures.shape), 0.5))
        return np.sqrt(np.mean((left / error) ** 2, axis=1))

    def flags(
        self, redshift: np.ndarray, signal_to_noise: np.ndarray, measures: SpectrumMeasures, hidden: np.ndarray
    ) -> list[list[str]]:
        """Say what is unusual about each spectrum; a list of words for each."""
        outside = {
            REDSHIFT: _outside(redshift, self.redshift),
            NOISE: _outside(signal_to_noise, self.signal_to_noise),
            LUMINOSITY: _outside(measures.log_luminosity, self.log_luminosity) | ~np.isfinite(measures.log_luminosity),
            HIDDEN: self.hidden_distance(hidden) > self.thresholds[0],
            SHAPE: self.shape_distance(measures) > self.thresholds[1],
            ABSORBED: measures.absorption > BROAD_ABSORPTION,
        }
        return [[words for words, where in outside.items() if where[row]] for row in range(len(redshift))]


def _outside(value: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Where a known value is beyond known limits."""
    value = np.asarray(value, float)
    return (value < limits[0]) | (value > limits[1])


def fit(
    training: tuple[np.ndarray, np.ndarray, SpectrumMeasures, np.ndarray],
    validation: tuple[SpectrumMeasures, np.ndarray],
    objects: Sequence[str],
) -> TrainingDomain:
    """Take the limits from the training set, and the thresholds of the distances from the validation set.

    Parameters
    ----------
    training : (redshift, signal_to_noise, measures, hidden)
        Of the training spectra.
    validation : (measures, hidden)
        Of the validation spectra.
    objects : sequence of str
        Whose the validation spectra are.
    """
    redshift, signal_to_noise, measures, hidden = training
    hidden = hidden.astype(float)
    mean, axes, scale, rest = _principal(hidden, DIRECTIONS)
    shape_mean, shape_axes, _, _ = _principal(measures.shape.astype(float), SHAPES)
    limits = TrainingDomain(
        _range(redshift),
        _range(signal_to_noise),
        _range(measures.log_luminosity),
        mean,
        axes,
        scale,
        np.array([rest]),
        shape_mean,
        shape_axes,
        np.full(2, np.inf),
    )
    distances = limits.hidden_distance(validation[1]), limits.shape_distance(validation[0])
    thresholds = [Scores.of(distance, objects).threshold(RARE) for distance in distances]
    return replace(limits, thresholds=np.array(thresholds))


def _range(values: np.ndarray) -> np.ndarray:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return np.array([known.min(), known.max()]) if len(known) else np.full(2, np.nan)


def _principal(values: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean, principal directions, standard deviations along them, and the root mean square of what is across."""
    mean = values.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov((values - mean).T) if len(values) > 1 else np.eye(len(mean)))
    order = np.argsort(variances)[::-1][: min(number, len(mean))]
    axes = directions[:, order].T
    # an eigenvector's sign is anyone's choice: the largest entry is made positive, so that bytes repeat
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    scale = np.sqrt(np.maximum(variances[order], 1e-8))
    rest = max(float(variances.sum() - variances[order].sum()) / max(len(mean) - len(order), 1), 1e-8)
    return mean, axes, scale, rest**0.5
