"""The label table of a simulated survey beside the published one: redshifts, masses, epochs, lines."""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.core.survey import EPOCH_BINS, REDSHIFT_RANGE, WINDOW, Survey
from quasar_mass.simulation.check import statistics
from quasar_mass.tables import catalogs, survey_tables
from quasar_mass.tables.build import selection

QUANTILES = (1, 5, 16, 50, 84, 95, 99)  # per cent
CIV_BINS = np.round(np.arange(1.45, REDSHIFT_RANGE[1] + 1e-6, 0.05), 2)  # redshift; none is nearer than 1.462

# --- the goals: largest difference that is ok -----------------------------------------------------------------------
MASS_GOAL = 0.05  # dex: quantiles of masses and of their difference between two lines, and scatters
REDSHIFT_GOAL = 0.01  # quantiles of Z
# the rest is chosen here: what a demonstration survey of a few thousand objects can tell from chance, about
ZVI_GOAL = 2e-4  # quantiles of ZVI - Z
EPOCH_GOAL = 0.01  # shares of objects with so many spectra
CIV_GOAL = 0.05  # share labelled by C IV in a redshift bin
CORRELATION_GOAL = 0.05
SKEWNESS_GOAL = 0.25
KS_GOAL = 0.05

# groups of lines, and what is taken of each
Z, LABEL, MGII, CIV, LINES, ZVI = "Z", "LMBH", "LMBH, Mg II label", "LMBH, C IV label", "Mg II - C IV", "ZVI - Z"
_QUANTILE_GOALS = {Z: REDSHIFT_GOAL, LABEL: MASS_GOAL, MGII: MASS_GOAL, CIV: MASS_GOAL, LINES: MASS_GOAL, ZVI: ZVI_GOAL}
_OTHER_GOALS = {"skewness": SKEWNESS_GOAL, "robust scatter": MASS_GOAL, "correlation": CORRELATION_GOAL}
EPOCHS, CIV_SHARE = "objects with spectra", "C IV label at z"

_COLUMNS = ("ZVI", "Z", "N_EPOCHS", "logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2", "LMBH")
_FIRST_PIXEL = re.compile(rb"COEFF0  = *([0-9.Ee+-]+)")
# Below this redshift it depends on the plate whether a spectrum reaches the window's start (3560-3630 A observed);
# the window's end, 9488 A at most, is in every BOSS spectrum.
_DOUBTFUL_BELOW = 1.55


def read_published(path: Path) -> pd.DataFrame:
    """Read the published label table, or any with its columns.

    Parameters
    ----------
    path : Path
        ``intrinsic.parquet``.

    Raises
    ------
    FileError
        If it is missing or not Parquet.
    TableError
        If it lacks a column or is empty.
    """
    if not Path(path).is_file():
        raise FileError(path, expected="the published label table", got="no such file", do="put it there")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FileError(
            path, expected="a Parquet table", got=str(error).splitlines()[0], do="fetch it again"
        ) from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise TableError(path, expected="the columns of quasars.parquet", got=f"no {', '.join(missing)}", do="fetch it")
    if table.empty:
        raise TableError(path, expected="objects", got="an empty table", do="fetch it again")
    return table


def read_simulated(survey: Survey) -> pd.DataFrame:
    """Give the objects of a survey that the selection keeps: of its table where that is built, else of its catalogues.

    Parameters
    ----------
    survey : Survey

    Returns
    -------
    DataFrame
        Index OBJECT; at least ZVI, Z, N_EPOCHS (spectra that cover the window) and the masses.
    """
    if survey.quasars.exists():
        return survey_tables.read_quasars(survey.quasars)
    selected = selection.select(catalogs.read_chen(survey.chen), survey.dr16q)
    epochs, quasars = selected.epochs, selected.quasars
    start = 10.0 ** WINDOW[0] * (1.0 + quasars["Z"].loc[epochs["OBJECT"]].to_numpy())
    places = zip(epochs["plate"], epochs["mjd"], epochs["fiberid"], strict=True)
    covers = [
        z_start > 10.0 ** WINDOW[0] * (1.0 + _DOUBTFUL_BELOW) or _first_wavelength(survey.spectrum(*place)) <= z_start
        for z_start, place in zip(start, places, strict=True)
    ]
    counts = epochs.loc[covers, "OBJECT"].value_counts()
    quasars = quasars[quasars.index.isin(counts.index)]
    return quasars.assign(N_EPOCHS=counts.loc[quasars.index].to_numpy())


def _first_wavelength(path: Path) -> float:
    """Angstrom, from the primary header alone; infinite where there is no such file."""
    if not path.exists():
        return np.inf
    with path.open("rb") as file:
        found = _FIRST_PIXEL.search(file.read(20 * 2880))
    return 10.0 ** float(found[1]) if found else np.inf


def compare(real: pd.DataFrame, simulated: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """Compare two label tables.

    Parameters
    ----------
    real, simulated : DataFrame
        With the columns of quasars.parquet.
    seed : int
        Of the errors' bootstrap.

    Returns
    -------
    DataFrame
        Columns `statistics.COLUMNS`; one line per statistic.
    """
    samples = [_arrays(table) for table in (real, simulated)]
    found = [statistics.row("objects", "number", len(real), len(simulated))]
    compared = statistics.side_by_side(
        _statistics, _take, tuple((sample, len(sample["Z"])) for sample in samples), _goal, seed
    )
    groups = [_groups(sample) for sample in samples]
    previous = None
    for line in compared:
        if previous in groups[0] and line["group"] != previous:
            found.append(statistics.distance(previous, groups[0][previous], groups[1][previous], KS_GOAL))
        found.append(line)
        previous = line["group"]
    return statistics.table(found)


def _arrays(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Take what is compared, one entry per object; NaN where a mass was not measured."""
    masses = {name: table[f"logMBH-{name}"].to_numpy(np.float64) for name in ("Hb", "Ha-2", "MgII-2", "CIV-2")}
    higher = (masses["Hb"] > 0) | (masses["Ha-2"] > 0)
    mgii, civ = (np.where(masses[name] > 0, masses[name], np.nan) for name in ("MgII-2", "CIV-2"))
    by_mgii = ~higher & np.isfinite(mgii)
    return {
        "Z": table["Z"].to_numpy(np.float64),
        "ZVI": table["ZVI"].to_numpy(np.float64),
        "N_EPOCHS": table["N_EPOCHS"].to_numpy(),
        "LMBH": table["LMBH"].to_numpy(np.float64),
        "MgII": mgii,
        "CIV": civ,
        "by MgII": by_mgii,
        "by CIV": ~higher & ~by_mgii & np.isfinite(civ),
    }


def _take(sample: dict, index: np.ndarray) -> dict:
    return {name: values[index] for name, values in sample.items()}


def _groups(sample: dict) -> dict[str, np.ndarray]:
    """Give the quantities whose whole distributions are compared."""
    difference = sample["MgII"] - sample["CIV"]
    return {
        Z: sample["Z"],
        LABEL: sample["LMBH"],
        MGII: sample["LMBH"][sample["by MgII"]],
        CIV: sample["LMBH"][sample["by CIV"]],
        LINES: difference[np.isfinite(difference)],
        ZVI: sample["ZVI"] - sample["Z"],
    }


def _statistics(sample: dict) -> statistics.Statistics:
    found = {}
    for group, values in _groups(sample).items():
        levels = np.percentile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
        found |= {(group, f"{q} %"): float(level) for q, level in zip(QUANTILES, levels, strict=True)}
        if group not in (Z, ZVI):
            # a few equal values have no skewness
            varied = len(values) > 2 and np.ptp(values) > 0
            found[group, "skewness"] = float(stats.skew(values)) if varied else np.nan
        if group == LINES:
            found[group, "robust scatter"] = float(stats.median_abs_deviation(values, scale="normal"))
            found[group, "correlation"] = _correlation(sample["MgII"], sample["CIV"])
    edges = (*EPOCH_BINS, np.inf)
    for low, high in itertools.pairwise(edges):
        name = f"{low}+" if np.isinf(high) else f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        found[EPOCHS, name] = float(np.mean((sample["N_EPOCHS"] >= low) & (sample["N_EPOCHS"] < high)))
    for low, high in itertools.pairwise(CIV_BINS):
        inside = (sample["Z"] >= low) & (sample["Z"] < high)
        share = float(np.mean(sample["by CIV"][inside])) if inside.any() else np.nan
        found[CIV_SHARE, f"{low:.2f}-{high:.2f}"] = share
    found[CIV_SHARE, "all"] = float(np.mean(sample["by CIV"]))
    return found


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    both = np.isfinite(x) & np.isfinite(y)
    varied = both.sum() > 2 and np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0
    return float(np.corrcoef(x[both], y[both])[0, 1]) if varied else np.nan


def _goal(group: str, quantity: str, real: float) -> float:
    if np.isnan(real):
        return np.nan
    if quantity in _OTHER_GOALS:
        return _OTHER_GOALS[quantity]
    return {EPOCHS: EPOCH_GOAL, CIV_SHARE: CIV_GOAL}.get(group, _QUANTILE_GOALS.get(group, np.nan))
