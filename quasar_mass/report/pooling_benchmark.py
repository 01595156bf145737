"""How pooling does on objects with many spectra: a benchmark on fresh simulated quasars, with the floor it stands on.

A survey's test split holds a dozen objects with sixty spectra or more: too few to tell methods apart. Here quasars that
are in no survey are observed as often as wanted; pooling was learnt on others. The mass that the network gives the same
quasars' spectra without any noise is the floor: what it gets wrong there, no number of spectra averages out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quasar_mass.core.files import progress
from quasar_mass.predict import calibrate
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report.assessment import pooled_row
from quasar_mass.simulation import monitored
from quasar_mass.uncertainty.pooling import ObjectSpectra

EPOCHS = ((2, 2), (3, 59), (60, 75))
SEED = 7_001  # far from `flux_calibration.MONITORED_SEED`: no quasar is in both
FLOOR = "no noise at all"


def measure(quoter: Predictor, number: int, *, epochs: Sequence[tuple[int, int]] = EPOCHS, quiet: bool = False):
    """Pool the spectra of fresh quasars by every method.

    Parameters
    ----------
    quoter : Predictor
        With a calibration.
    number : int
        Quasars for each range of epochs.
    epochs : sequence of (int, int)
        Least and most spectra of each.
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        Index (``spectra``, ``method``); n, RMSE against label, truth (of the label's line) and true Mg II mass,
        coverage of labels, mean width of the intervals; for the floor RMSE alone. Then, per range, ``shared``: the
        correlation of the errors of two spectra of one quasar (against the true Mg II mass).
    """
    rows = {}
    for low, high in epochs:
        objects = monitored.observe(number, (low, high), quoter.grid, seed=SEED + low)
        found = [
            _one(one, quoter)
            for one in progress(objects, total=number, what=f"{low}-{high} spectra", unit="objects", quiet=quiet)
        ]
        if not found:
            continue
        masses = {
            "label": np.array([one["label"] for one in found]),
            "truth": np.array([one["truth"] for one in found]),
            "true Mg II": np.array([one["truth_mgii"] for one in found]),
        }
        every = np.ones(len(found), bool)
        name = f"{low}-{high}" if low != high else f"{low}"
        objects = ObjectSpectra.joined([one["objects"] for one in found])
        pairs = zip(objects.epochs.values(), masses["true Mg II"], strict=True)
        shared = _shared([epochs.mass - truth for epochs, truth in pairs])
        for method in quoter.calibration.pooling.methods:
            mass, *ends = quoter.calibration.pooled(objects, method, quoter.confidence, quoter.line)
            rows[name, method] = pooled_row(mass, *ends, masses, every) | {"shared": shared}
        bare = np.array([one["bare"] for one in found])
        rows[name, FLOOR] = pooled_row(bare, bare, bare, masses, every) | {"coverage": np.nan, "width": np.nan}
    index = pd.MultiIndex.from_tuples(list(rows), names=["spectra", "method"])
    return pd.DataFrame(list(rows.values()), index=index)


def _one(one: monitored.Monitored, quoter: Predictor) -> dict:
    """What is kept of a quasar: not its spectra."""
    return {
        "objects": calibrate.view_object(quoter, one),
        "bare": float(quoter.ensemble.outputs(one.bare[None]).mass[0]),
        "label": one.label,
        "truth": one.truth,
        "truth_mgii": one.truth_mgii,
    }


def _shared(errors: list[np.ndarray]) -> float:
    """Correlation of the errors of two spectra of one object, over all pairs (intraclass correlation)."""
    mean = np.mean([each.mean() for each in errors])
    within = np.mean([each.var(ddof=1) for each in errors if len(each) > 1])
    between = np.mean([(each.mean() - mean) ** 2 - each.var(ddof=1) / len(each) for each in errors if len(each) > 1])
    return float(max(between, 0.0) / (max(between, 0.0) + within))
