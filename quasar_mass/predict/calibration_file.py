"""A calibration inside a model file: written beside the network, and checked when it is read."""

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
# The arrays of each part with their lengths: the same letter is the same length.
SHAPES = {
    MixtureDensity: {
        **dict.fromkeys(("centre", "scale", "low", "high"), "d"),
        **{"w1": "m d h", "b1": "m h", "w2": "m h o", "b2": "m o"},
    },
    TrainingDomain: {
        **dict.fromkeys(("redshift", "signal_to_noise", "log_luminosity", "thresholds"), "2"),
        **{"hidden_mean": "u", "hidden_axes": "k u", "hidden_scale": "k", "hidden_rest": "1"},
        **{"shape_mean": "b", "shape_axes": "s b"},
    },
}
POSITIVE = ("scale", "hidden_scale", "hidden_rest")  # they are divided by
UNKNOWN = ("redshift", "signal_to_noise", "log_luminosity", "thresholds")  # may hold NaN or infinity


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
    parts = {"limits": calibration.domain, "noise": calibration.pooling.noise}
    if calibration.pooling.learned is not None:
        parts["learned"] = calibration.pooling.learned
    parts |= {f"{line}.spread": interval.density for line, interval in calibration.intervals.items()}
    arrays = {f"{prefix}.{name}": value for prefix, part in parts.items() for name, value in vars(part).items()}
    for line, interval in calibration.intervals.items():
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
        if not {facts["pooling"]["any"], *facts["pooling"].values()} <= set(METHODS):
            raise ValueError("its method of pooling is unknown")
        intervals = {}
        for line in LINES:
            start = f"{line}.scores."
            own = [key for key in arrays if key.startswith(start)]
            for key in own:
                model_checks.shapes(path, arrays, {key: "2 n"})
                _check_positive(key, arrays[key][1])
            scores = {key.removeprefix(start): Scores(*arrays[key]) for key in own}
            if scores:
                density = _part(MixtureDensity, path, arrays, f"{line}.spread")
                intervals[line] = Interval(density, scores.pop(""), scores)
        noise = Noise(**{key: float(arrays[f"noise.{key}"]) for key in ("log_variance", "power", "shared")})
        learned = _part(MixtureDensity, path, arrays, "learned") if "learned.w1" in arrays else None
        limits = _part(TrainingDomain, path, arrays, "limits")
        return Calibration(facts, limits, intervals, Pooling(noise, learned, facts["pooling"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            path, f"holds a calibration that this version cannot read ({error}); calibrate the model again"
        ) from error


def _part(kind: type, path: Path, arrays: dict, prefix: str):
    """A dataclass of arrays, made of those whose names begin with `prefix`; KeyError or ModelError where it cannot."""
    model_checks.shapes(
        path,
        arrays,
        {f"{prefix}.{name}": lengths for name, lengths in SHAPES[kind].items()},
        unknown=tuple(f"{prefix}.{name}" for name in UNKNOWN),
    )
    for name in POSITIVE:
        _check_positive(f"{prefix}.{name}", arrays.get(f"{prefix}.{name}", 1.0))
    return kind(**{name: arrays[f"{prefix}.{name}"] for name in SHAPES[kind]})


def _check_positive(name: str, values: np.ndarray) -> None:
    if not np.all(values > 0):
        raise ValueError(f"{name} is not positive")
