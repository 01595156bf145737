"""A benchmark of pooling on fresh simulated quasars with many spectra.

A survey's test split holds a dozen objects with sixty spectra or more: too few to tell the methods apart. Here quasars
that are in no survey are observed as often as needed; pooling was learnt on other ones. The masses that the network
predicts from the same quasars' noise-free spectra are the floor: no number of spectra averages out their errors.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quasar_mass.core.files import progress
from quasar_mass.predict import calibrate
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import comparison
from quasar_mass.report.assessment import pooled_row
from quasar_mass.simulation import monitored
from quasar_mass.uncertainty.pooling import ObjectSpectra

EPOCHS = ((2, 2), (3, 59), (60, 75))
SEED = 7_001  # far from `flux_calibration.MONITORED_SEED`: no quasar is in both
FLOOR = "no noise at all"


def measure(
    predictor: Predictor, number: int, *, epochs: Sequence[tuple[int, int]] = EPOCHS, quiet: bool = False
) -> pd.DataFrame:
    """Pool the spectra of fresh quasars by every method.

    Parameters
    ----------
    predictor : Predictor
        With a calibration.
    number : int
        Quasars for each range of epochs.
    epochs : sequence of (int, int)
        Smallest and largest number of spectra of an object, for each range.
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        Index (``spectra``, ``method``); n; RMSE against the label, the truth and the true Mg II mass in dex; coverage
        of the labels; mean width of the intervals in dex; ``shared``, the correlation of the errors of two spectra of
        one quasar (against the true Mg II mass). The row of the floor has no intervals.
    """
    rows = {}
    for low, high in epochs:
        quasars = monitored.observe(number, (low, high), predictor.grid, seed=SEED + low)
        bar = progress(quasars, total=number, what=f"{low}-{high} spectra", unit="objects", quiet=quiet)
        viewed = [_view(quasar, predictor) for quasar in bar]
        if not viewed:
            continue
        objects = ObjectSpectra.joined([spectra for spectra, _ in viewed])
        table = pd.DataFrame([known for _, known in viewed])
        masses = comparison.known_masses(table)
        pairs = zip(objects.epochs.values(), table["TRUTH_MgII"], strict=True)
        shared = _shared([spectra.mass - truth for spectra, truth in pairs])
        name = f"{low}-{high}" if low != high else f"{low}"
        everything = np.ones(len(table), bool)
        for method in predictor.calibration.pooling.methods:
            pooled = predictor.calibration.pooled(objects, method, predictor.confidence, predictor.line)
            rows[name, method] = pooled_row(*pooled, masses, everything) | {"shared": shared}
        floor = table["NOISE_FREE"].to_numpy()
        rows[name, FLOOR] = pooled_row(floor, floor, floor, masses, everything) | {"coverage": np.nan, "width": np.nan}
    index = pd.MultiIndex.from_tuples(list(rows), names=["spectra", "method"])
    return pd.DataFrame(list(rows.values()), index=index)


def _view(quasar: monitored.Monitored, predictor: Predictor) -> tuple[ObjectSpectra, dict]:
    """Keep of a quasar what pooling needs, and its known masses; not its spectra, which would fill the memory."""
    known = {"LMBH": quasar.label, "TRUTH": quasar.truth, "TRUTH_MgII": quasar.truth_mgii}
    known["NOISE_FREE"] = float(predictor.ensemble.outputs(quasar.noiseless_flux[None]).mass[0])
    return calibrate.view_object(predictor, quasar), known


def _shared(errors: list[np.ndarray]) -> float:
    """Correlation of the errors of two spectra of one object, over all pairs (intraclass correlation)."""
    mean = np.mean([each.mean() for each in errors])
    within = np.mean([each.var(ddof=1) for each in errors if len(each) > 1])
    between = np.mean([(each.mean() - mean) ** 2 - each.var(ddof=1) / len(each) for each in errors if len(each) > 1])
    return float(max(between, 0.0) / (max(between, 0.0) + within))
