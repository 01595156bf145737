"""The label table of a simulated survey and the published one: redshifts, masses, epochs, lines."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from quasar_mass.core.errors import FileError, TableError, first_line
from quasar_mass.core.survey import EPOCH_BINS, REDSHIFT_RANGE
from quasar_mass.simulation.check import statistics

QUANTILES = (1, 5, 16, 50, 84, 95, 99)  # per cent
CIV_BINS = np.round(np.arange(1.45, REDSHIFT_RANGE[1] + 1e-6, 0.05), 2)  # redshift; none is below 1.462

# groups of lines
Z, LABEL, MGII, CIV, LINES, ZVI = "Z", "LMBH", "LMBH, Mg II label", "LMBH, C IV label", "Mg II - C IV", "ZVI - Z"
EPOCHS, CIV_FRACTION = "objects with spectra", "C IV label at z"

# Largest difference that is ok. Those beside masses and redshifts are chosen here: about what a demonstration survey of
# a few thousand objects can distinguish from chance.
MASS_GOAL = 0.05  # dex: quantiles of masses and of their difference between two lines, and scatters
KS_GOAL = 0.05
GOALS = {Z: 0.01, LABEL: MASS_GOAL, MGII: MASS_GOAL, CIV: MASS_GOAL, LINES: MASS_GOAL, ZVI: 2e-4}  # quantiles
GOALS |= {(group, "skewness"): 0.25 for group in (LABEL, MGII, CIV, LINES)} | {(LINES, "correlation"): 0.05}
GOALS |= {EPOCHS: 0.01, CIV_FRACTION: 0.05}  # fractions of objects

_COLUMNS = ["ZVI", "Z", "N_EPOCHS", "logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2", "LMBH"]


def read_published(path: Path) -> pd.DataFrame:
    """Read the published label table, or any with its columns.

    Parameters
    ----------
    path : Path
        ``quasars.parquet``.

    Raises
    ------
    FileError
        If it is not Parquet.
    TableError
        If it lacks a column or is empty.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FileError(path, f"is not a Parquet table ({first_line(error)}); fetch it again") from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing or table.empty:
        lack = f"has no column {', '.join(missing)}" if missing else "is empty"
        raise TableError(path, f"{lack}; put the published label table there")
    return table


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
    samples = [_sample(table) for table in (real, simulated)]
    lines = statistics.side_by_side(_statistics, *samples, GOALS, seed)
    distributions = [_distributions(sample) for sample in samples]
    rows = [statistics.row("objects", "number", len(real), len(simulated))]
    for group, members in itertools.groupby(lines, lambda line: line["group"]):
        rows += members
        if group in distributions[0]:
            rows.append(statistics.distance(group, *(values[group] for values in distributions), KS_GOAL))
    return statistics.table(rows)


def _sample(table: pd.DataFrame) -> pd.DataFrame:
    """Select what is compared, one row per object; NaN where a mass was not measured."""
    sample = table[["Z", "ZVI", "N_EPOCHS", "LMBH"]].reset_index(drop=True)
    for line in ("MgII", "CIV"):
        mass = table[f"logMBH-{line}-2"].reset_index(drop=True)
        sample[line] = mass.where(mass > 0)
    higher = ((table["logMBH-Hb"] > 0) | (table["logMBH-Ha-2"] > 0)).to_numpy()  # the label is from one of these
    sample["by MgII"] = ~higher & sample["MgII"].notna()
    sample["by CIV"] = ~higher & sample["MgII"].isna() & sample["CIV"].notna()
    return sample


def _distributions(sample: pd.DataFrame) -> dict[str, np.ndarray]:
    """Give the quantities whose whole distributions are compared."""
    quantities = {
        Z: sample["Z"],
        LABEL: sample["LMBH"],
        MGII: sample["LMBH"][sample["by MgII"]],
        CIV: sample["LMBH"][sample["by CIV"]],
        LINES: (sample["MgII"] - sample["CIV"]).dropna(),
        ZVI: sample["ZVI"] - sample["Z"],
    }
    return {group: values.to_numpy(float) for group, values in quantities.items()}


def _statistics(sample: pd.DataFrame) -> statistics.Statistics:
    results = {}
    both = sample["MgII"].notna() & sample["CIV"].notna()
    z, by_civ = sample["Z"].to_numpy(), sample["by CIV"].to_numpy()
    with np.errstate(all="ignore"):  # a few equal values have no correlation, an empty bin no fraction
        for group, values in _distributions(sample).items():
            levels = np.percentile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
            results |= {(group, f"{q} %"): float(level) for q, level in zip(QUANTILES, levels, strict=True)}
            if group not in (Z, ZVI):
                results[group, "skewness"] = _skewness(values)
            if group == LINES:
                results[group, "sigma_NMAD"] = float(stats.median_abs_deviation(values, scale="normal"))
                correlation = np.corrcoef(sample["MgII"][both], sample["CIV"][both])[0, 1] if both.any() else np.nan
                results[group, "correlation"] = float(correlation)
        epochs = np.histogram(sample["N_EPOCHS"], (*EPOCH_BINS, np.inf))[0] / len(sample)
        fractions = np.histogram(z[by_civ], CIV_BINS)[0] / np.histogram(z, CIV_BINS)[0]
    for (low, high), fraction in zip(itertools.pairwise((*EPOCH_BINS, np.inf)), epochs, strict=True):
        name = f"{low}+" if np.isinf(high) else f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        results[EPOCHS, name] = float(fraction)
    for (low, high), fraction in zip(itertools.pairwise(CIV_BINS), fractions, strict=True):
        results[CIV_FRACTION, f"{low:.2f}-{high:.2f}"] = float(fraction)
    results[CIV_FRACTION, "all"] = float(np.mean(by_civ))
    return results


def _skewness(values: np.ndarray) -> float:
    """Skewness, NaN for a few equal values."""
    return float(stats.skew(values)) if len(values) > 2 and np.ptp(values) > 0 else np.nan
