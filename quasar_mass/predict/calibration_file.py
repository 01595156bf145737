"""A calibration inside a model file: written beside the network, and checked when it is read."""

from pathlib import Path

import numpy as np

from quasar_mass.core.errors import ModelError
from quasar_mass.network.keras_io import model_checks, model_file
from quasar_mass.network.keras_io.model_file import ModelFile
from quasar_mass.uncertainty.calibration import LINES, SEEN, Calibration, Interval, Scores
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
        seen = {f"seen {group}" if group != "whole" else "": scores for group, scores in interval.scores.items()}
        for group, scores in (seen | interval.pooled).items():
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
        lines = [line for line in LINES if f"{line}.scores." in arrays]
        parts = {"limits": TrainingDomain} | {f"{line}.spread": MixtureDensity for line in lines}
        parts |= {"learned": MixtureDensity} if "learned.w1" in arrays else {}
        scores = {key: Scores(*value) for key, value in arrays.items() if ".scores." in key}
        _check(path, arrays, parts, scores)
        made = {
            prefix: kind(**{name: arrays[f"{prefix}.{name}"] for name in SHAPES[kind]})
            for prefix, kind in parts.items()
        }
        intervals = {}
        for line in lines:
            start = f"{line}.scores."
            own = {key.removeprefix(start): value for key, value in scores.items() if key.startswith(start)}
            seen = {"whole": own.pop("")} | {
                group: own.pop(f"seen {group}") for group in SEEN if f"seen {group}" in own
            }
            intervals[line] = Interval(made[f"{line}.spread"], seen, own)
        noise = Noise(**{key: float(arrays[f"noise.{key}"]) for key in ("log_variance", "power", "shared")})
        return Calibration(facts, made["limits"], intervals, Pooling(noise, made.get("learned"), facts["pooling"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            path, f"holds a calibration that this version cannot read ({error}); calibrate the model again"
        ) from error


def _check(path: Path, arrays: dict, parts: dict[str, type], scores: dict[str, Scores]) -> None:
    """Refuse arrays that do not fit together, or not positive ones that are divided by; ModelError or ValueError."""
    expected, unknown, positive = {}, [], {key: value.weight for key, value in scores.items()}
    for prefix, kind in parts.items():
        for name, lengths in SHAPES[kind].items():
            key = f"{prefix}.{name}"
            expected[key] = " ".join(axis if axis.isdigit() else f"{prefix}:{axis}" for axis in lengths.split())
            unknown += [key] if name in UNKNOWN else []
            positive |= {key: arrays[key]} if name in POSITIVE else {}
    expected |= {key: f"2 {number}n" for number, key in enumerate(scores)}
    model_checks.shapes(path, arrays, expected, unknown=tuple(unknown))
    for key, values in positive.items():
        if not np.all(values > 0):
            raise ValueError(f"{key} is not positive")
