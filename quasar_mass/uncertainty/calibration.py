"""Masses one can quote: intervals that cover what they promise, flags, and one mass per object.

`predict.calibrate` learns all that from a survey's training and validation objects and puts it into the model file;
`Calibration` applies it. The objects of the validation set are cut in two: on one half it is learnt how errors depend
on the spectrum (`mixture_density`), on the other how far the intervals must reach (`conformal`).

What an interval holds is the mass that one would measure: the label, its measurement error included. It says nothing
of how far single-epoch virial masses are off altogether: `SYSTEMATIC` does, and `add_systematic` adds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError
from quasar_mass.network.keras_io import model_arrays, model_checks
from quasar_mass.predict.inference import NetworkView
from quasar_mass.uncertainty import conformal, mixture_density
from quasar_mass.uncertainty.conformal import Scores
from quasar_mass.uncertainty.mixture_density import Mixture, MixtureDensity
from quasar_mass.uncertainty.pooling import METHODS, Epochs, Noise, Pooling
from quasar_mass.uncertainty.training_domain import PROJECTED, TrainingDomain

CONFIDENCE = 0.90
# dex: scatter of single-epoch virial masses around those of reverberation mapping, which the labels share; 0.3-0.5 in
# Shen 2013 (BASI 41, 61, section 4), 0.43 in Vestergaard & Peterson 2006 (ApJ 641, 689)
SYSTEMATIC = 0.40
# Whose mass the interval is for: the label of a survey like the training one, whatever its line, or that of one line.
LINES = ("any", "MgII", "CIV")
EPOCH_GROUPS = (("1", 1, 1), ("2", 2, 2), ("3-59", 3, 59), ("60+", 60, 10**9))
STRATA = (2, 3, 60)  # spectra of an object: lower edges of the groups that are cut in two one by one
MIN_OBJECTS = 9  # objects of a group: fewer cannot promise 90 %
PREFIX = "quote"  # of the name of a calibration in the model file


@dataclass(frozen=True)
class Interval:
    """The calibrated distribution of one line's labels.

    Attributes
    ----------
    spread : Spread
    scores : Scores
        Of single spectra.
    pooled : dict of str to Scores
        Of pooled masses, by method and name of `EPOCH_GROUPS` (``"stacked 60+"``); only of groups with enough objects.
    """

    spread: MixtureDensity
    scores: Scores
    pooled: Mapping[str, Scores]


@dataclass(frozen=True)
class Calibration:
    """All that makes a network's masses quotable.

    Attributes
    ----------
    facts : dict
        What it was calibrated on, for people.
    limits : TrainingDomain
    intervals : dict of str to Interval
        By the names of `LINES`; a line without enough labels is missing.
    pooling : Pooling
    """

    facts: dict
    limits: TrainingDomain
    intervals: Mapping[str, Interval]
    pooling: Pooling

    # --- intervals ------------------------------------------------------------------------------------------------
    def features(self, seen: NetworkView) -> np.ndarray:
        """What the widths of single spectra's intervals depend on, shape (n, d)."""
        return _features(
            seen.redshift,
            seen.signal_to_noise,
            seen.look.mass,
            seen.measures.log_luminosity,
            seen.look.spread,
            self.limits.project(seen.look.hidden),
        )

    def bounds(
        self, seen: NetworkView, confidence: float = CONFIDENCE, line: str = "any"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the interval of every spectrum's mass.

        Parameters
        ----------
        seen : NetworkView
        confidence : float
            Between 0 and 1.
        line : str
            One of `LINES`: the line that the mass would be measured in.

        Returns
        -------
        low, high : ndarray, shape (n,)
            log10(M_BH / M_Sun); infinite where the validation set is too small to promise so much.
        """
        interval = self.interval(line)
        return _bounds(interval.spread.given(self.features(seen)), seen.look.mass, interval.scores, confidence)

    def interval(self, line: str) -> Interval:
        """The calibration for one line; ModelError where there is none."""
        if line not in self.intervals:
            raise ModelError(
                "--line",
                expected=f"one of {', '.join(self.intervals)}, of which this model knows enough labels",
                got=line,
                do="choose one of them",
            )
        return self.intervals[line]

    def lengths(self) -> dict[str, set[int]]:
        """What its arrays were made for: hidden units, bins of a spectrum's shape, features of widths and pooling."""
        learned = self.pooling.learned
        return {
            "hidden units": {len(self.limits.hidden_mean)},
            "bins": {len(self.limits.shape_mean)},
            "features": {len(interval.spread.centre) for interval in self.intervals.values()} or {5 + PROJECTED},
            "features of pooling": {6 + 2 * PROJECTED if learned is None else len(learned.centre)},
        }

    # --- pooling --------------------------------------------------------------------------------------------------
    def pooled_mass(self, epochs: Mapping[str, Epochs], method: str) -> np.ndarray:
        """One mass for each object, by one of `pooling.METHODS`; shape (objects,)."""
        return np.array([self.pooling.mass(one, method) for one in epochs.values()])

    def pooled_bounds(
        self,
        mass: np.ndarray,
        typical: Mapping[str, np.ndarray],
        counts: np.ndarray,
        method: str,
        confidence: float = CONFIDENCE,
        line: str = "any",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the interval of every object's pooled mass; results as of `bounds`.

        Parameters
        ----------
        mass : ndarray, shape (objects,)
            From `pooled_mass`.
        typical : mapping
            From `inference.mean_features`.
        counts : ndarray of int, shape (objects,)
            Spectra of each.
        method : str
            That `mass` was pooled by.
        confidence, line
            As of `bounds`.
        """
        interval = self.interval(line)
        mixture = interval.spread.given(self.pooled_features(mass, typical))
        low, high = np.empty((2, len(mass)))
        for name, first, last in EPOCH_GROUPS:
            rows = (counts >= first) & (counts <= last)
            scores = interval.pooled.get(
                f"{method} {name}", interval.scores
            )  # too few of them: single spectra's are wider
            part = Mixture(mixture.share[rows], mixture.place[rows], mixture.width[rows])
            low[rows], high[rows] = _bounds(part, mass[rows], scores, confidence)
        return low, high

    def pooled_features(self, mass: np.ndarray, typical: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the widths of pooled masses' intervals depend on, shape (objects, d)."""
        return _features(
            typical["redshift"],
            typical["signal_to_noise"],
            mass,
            typical["log_luminosity"],
            typical["spread"],
            self.limits.project(typical["hidden"]),
        )

    # --- files ----------------------------------------------------------------------------------------------------
    def save(self, path: str | Path, name: str) -> None:
        """Put it into a model file; `name` is that of the ensemble whose first network the file holds."""
        arrays = {f"limits.{key}": value for key, value in self.limits.arrays().items()}
        arrays |= {f"noise.{key}": value for key, value in self.pooling.noise.arrays().items()}
        if self.pooling.learned is not None:
            arrays |= {f"learned.{key}": value for key, value in self.pooling.learned.arrays().items()}
        for line, interval in self.intervals.items():
            arrays |= {f"{line}.spread.{key}": value for key, value in interval.spread.arrays().items()}
            for group, scores in {"": interval.scores, **interval.pooled}.items():
                arrays[f"{line}.scores.{group}"] = np.stack([scores.score, scores.weight])
        facts = self.facts | {"pooling": dict(self.pooling.best)}
        model_arrays.write_arrays(path, f"{PREFIX}-{name}", facts, arrays)

    @classmethod
    def load(cls, path: str | Path, name: str) -> "Calibration | None":
        """Read it from a model file; None where the file has none for this ensemble."""
        found = model_arrays.read_arrays(path, f"{PREFIX}-{name}")
        if found is None:
            return None
        facts, arrays = found

        def part(kind: type, prefix: str):
            model_checks.shapes(
                path,
                arrays,
                {f"{prefix}.{key}": lengths for key, lengths in kind.SHAPES.items()},
                unknown=tuple(f"{prefix}.{field}" for field in kind.UNKNOWN),
            )
            if any((arrays[f"{prefix}.{name}"] <= 0).any() for name in kind.POSITIVE):
                raise ValueError(f"positive {' and '.join(kind.POSITIVE)} in {prefix}")
            return kind(**{field.name: arrays[f"{prefix}.{field.name}"] for field in fields(kind)})

        try:
            _check_facts(facts)
            for key in arrays:
                if ".scores." in key:
                    model_checks.shapes(path, arrays, {key: "2 n"})
                    if not (np.diff(arrays[key][0]) >= 0).all() or not (arrays[key][1] > 0).all():
                        raise ValueError(f"ascending scores in {key}")
                elif key.startswith("noise."):
                    model_checks.shapes(path, arrays, {key: ""})
            intervals = {}
            for line in LINES:
                start = f"{line}.scores."
                scores = {
                    key.removeprefix(start): Scores(*value) for key, value in arrays.items() if key.startswith(start)
                }
                if scores:
                    intervals[line] = Interval(part(MixtureDensity, f"{line}.spread"), scores.pop(""), scores)
            bounds = part(TrainingDomain, "limits")
            noise = Noise(**{key: float(arrays[f"noise.{key}"]) for key in ("log_variance", "power", "shared")})
            learned = part(MixtureDensity, "learned") if "learned.w1" in arrays else None
            return cls(facts, bounds, intervals, Pooling(noise, learned, facts["pooling"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                path, expected="a calibration of this version", got=f"no {error}", do="calibrate the model again"
            ) from error


def _check_facts(facts: dict) -> None:
    """Refuse facts that later rooms would take for what they are not; KeyError or ValueError."""
    best, objects = facts["pooling"], facts.get("validation_objects", {})
    if not isinstance(best, dict) or "any" not in best or not set(map(str, best.values())) <= set(METHODS):
        raise ValueError(f"method of pooling among {', '.join(METHODS)}")
    if not isinstance(objects, dict) or not all(type(number) is int for number in objects.values()):
        raise ValueError("numbers of validation objects")


def _features(redshift, signal_to_noise, mass, log_luminosity, between, hidden) -> np.ndarray:
    noise = np.log10(np.maximum(np.nan_to_num(signal_to_noise, nan=1.0), 0.1))
    light = np.nan_to_num(log_luminosity, nan=44.0)  # no light at all: as faint as none of the training set
    return np.column_stack([noise, redshift, mass, light, np.log10(between + 1e-3), hidden])


def _bounds(mixture: Mixture, mass: np.ndarray, scores: Scores, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    if not 0.0 < confidence < 1.0:
        raise ModelError("--confidence", expected="a number between 0 and 1", got=f"{confidence:g}", do="change it")
    low, high = mixture.bounds(-scores.threshold(confidence))
    return mass + low, mass + high


def add_systematic(
    mass: np.ndarray, low: np.ndarray, high: np.ndarray, confidence: float, systematic: float = SYSTEMATIC
) -> tuple[np.ndarray, np.ndarray]:
    """Add the virial method's own scatter to intervals, in quadrature on either side: an interval for the true mass.

    Parameters
    ----------
    mass, low, high : ndarray, shape (n,)
    confidence : float
        Of the interval.
    systematic : float
        Standard deviation in dex.
    """
    reach = NormalDist().inv_cdf(0.5 * (1.0 + confidence)) * systematic
    # a mass may lie outside its lopsided interval: the sides are then none
    return mass - np.hypot(np.maximum(mass - low, 0.0), reach), mass + np.hypot(np.maximum(high - mass, 0.0), reach)


# --- fitting ----------------------------------------------------------------------------------------------------------
def split_validation(objects: pd.Series, seed: int = 42) -> pd.Series:
    """Cut the validation objects in two: where widths are learnt, and where intervals are calibrated.

    Objects with three spectra and more are few; those of the first half teach no widths, so that they, too, may
    calibrate the pooled masses of their kind.

    Parameters
    ----------
    objects : Series of int, index OBJECT
        Spectra of each.

    Returns
    -------
    Series of str, index OBJECT
        ``"fit"``, ``"calibrate"`` or ``"pooled"``. Below twice `mixture_density.MIN_OBJECTS` objects all calibrate.
    """
    ordered = objects.sort_index()
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(ordered)), np.digitize(ordered.to_numpy(), STRATA)))
    role = np.full(len(ordered), "calibrate", dtype=object)
    if len(ordered) >= 2 * mixture_density.MIN_OBJECTS:
        first = order[::2]
        role[first] = np.where(ordered.to_numpy()[first] >= 3, "pooled", "fit")
    return pd.Series(role, index=ordered.index).reindex(objects.index)


def fit_intervals(
    features: np.ndarray, mass: np.ndarray, label: np.ndarray, objects: np.ndarray, role: np.ndarray
) -> tuple[MixtureDensity, Scores]:
    """Learn widths on the spectra whose role is ``"fit"``, and calibrate them on those of role ``"calibrate"``.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    mass, label : ndarray, shape (n,)
    objects, role : ndarray of str, shape (n,)
    """
    learn, check = role == "fit", role == "calibrate"
    found = mixture_density.fit(features[learn], (label - mass)[learn], conformal.by_object(objects[learn]))
    return found, Scores.of(-found.given(features[check]).tail((label - mass)[check]), objects[check])
