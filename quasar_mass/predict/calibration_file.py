"""A calibration inside a model file: written beside the network, and checked when it is read."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import ModelError
from quasar_mass.network.keras_io import model_checks, model_file
from quasar_mass.network.keras_io.model_file import ModelFile
from quasar_mass.uncertainty.calibration import LINES, Calibration, Interval
from quasar_mass.uncertainty.conformal import Scores
from quasar_mass.uncertainty.mixture_density import MixtureDensity
from quasar_mass.uncertainty.pooling import METHODS, Noise, Pooling
from quasar_mass.uncertainty.training_domain import TrainingDomain

PREFIX = "quote"  # of the name of a calibration in the model file


def save(calibration: Calibration, path: str | Path, name: str) -> None:
    """Put a calibration into a model file, whole or not at all.

    Parameters
    ----------
    calibration : Calibration
    path : path
        The model file of the ensemble's first network.
    name : str
        Of the ensemble (`Ensemble.name`).
    """
    arrays = {f"limits.{key}": value for key, value in calibration.domain.arrays().items()}
    arrays |= {f"noise.{key}": value for key, value in calibration.pooling.noise.arrays().items()}
    if calibration.pooling.learned is not None:
        arrays |= {f"learned.{key}": value for key, value in calibration.pooling.learned.arrays().items()}
    for line, interval in calibration.intervals.items():
        arrays |= {f"{line}.spread.{key}": value for key, value in interval.density.arrays().items()}
        for group, scores in {"": interval.scores, **interval.pooled}.items():
            arrays[f"{line}.scores.{group}"] = np.stack([scores.score, scores.weight])
    facts = calibration.facts | {"pooling": dict(calibration.pooling.best)}
    model_file.write_arrays(path, f"{PREFIX}-{name}", facts, arrays)


def read(file: ModelFile, name: str) -> Calibration | None:
    """Take the calibration of an ensemble from the model file of its first network.

    Parameters
    ----------
    file : ModelFile
        From `model_file.read`.
    name : str
        Of the ensemble (`Ensemble.name`).

    Returns
    -------
    Calibration or None
        None where the file has none for the ensemble of this name.

    Raises
    ------
    ModelError
        If the calibration is damaged, or of another version.
    """
    path, stored = file.path, file.arrays(f"{PREFIX}-{name}")
    if stored is None:
        return None
    facts, arrays = stored
    try:
        _check(path, facts, arrays)
        intervals = {}
        for line in LINES:
            start = f"{line}.scores."
            scores = {key.removeprefix(start): Scores(*value) for key, value in arrays.items() if key.startswith(start)}
            if scores:
                density = _read(MixtureDensity, path, arrays, f"{line}.spread")
                intervals[line] = Interval(density, scores.pop(""), scores)
        noise = Noise(**{key: float(arrays[f"noise.{key}"]) for key in ("log_variance", "power", "shared")})
        learned = _read(MixtureDensity, path, arrays, "learned") if "learned.w1" in arrays else None
        limits = _read(TrainingDomain, path, arrays, "limits")
        return Calibration(facts, limits, intervals, Pooling(noise, learned, facts["pooling"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            path, f"holds a calibration that this version cannot read ({error}); calibrate the model again"
        ) from error


def _read(kind: type, path: str | Path, arrays: dict, prefix: str):
    """A dataclass of arrays from those whose names begin with `prefix`; KeyError or ValueError where they do not do."""
    model_checks.shapes(
        path,
        arrays,
        {f"{prefix}.{key}": lengths for key, lengths in kind.SHAPES.items()},
        unknown=tuple(f"{prefix}.{field}" for field in kind.UNKNOWN),
    )
    for name in kind.POSITIVE:
        if (arrays[f"{prefix}.{name}"] <= 0).any():
            raise ValueError(f"{prefix}.{name} is not positive")
    return kind(**{field.name: arrays[f"{prefix}.{field.name}"] for field in fields(kind)})


def _check(path: str | Path, facts: dict, arrays: dict) -> None:
    """Refuse facts, scores and noise that are not what they should be; KeyError, ValueError or ModelError."""
    best, objects = facts["pooling"], facts.get("validation_objects", {})
    if not isinstance(best, dict) or "any" not in best or not set(map(str, best.values())) <= set(METHODS):
        raise ValueError(f"its method of pooling is none of {', '.join(METHODS)}")
    if not isinstance(objects, dict) or not all(type(number) is int for number in objects.values()):
        raise ValueError("its numbers of validation objects are no numbers")
    for key, value in arrays.items():
        if ".scores." in key:
            model_checks.shapes(path, arrays, {key: "2 n"})
            if not (np.diff(value[0]) >= 0).all() or not (value[1] > 0).all():
                raise ValueError(f"{key} does not ascend")
        elif key.startswith("noise."):
            model_checks.shapes(path, arrays, {key: ""})
