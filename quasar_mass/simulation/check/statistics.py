"""Tables of the same statistics of a real and a simulated sample: difference, its standard error, goal, ok or off."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

COLUMNS = ("group", "quantity", "real", "simulated", "difference", "error", "goal", "mark")
BOOTSTRAPS = 100  # resamplings of each sample: the errors are then good to 7 %, enough to judge a difference
KS_MEAN = 0.8687  # mean of the Kolmogorov distribution, sqrt(pi / 2) ln 2

Statistics = dict[tuple[str, str], float]  # (group, quantity) to value, in the order of printing


def side_by_side(
    statistics: Callable[[pd.DataFrame], Statistics],
    real: pd.DataFrame,
    simulated: pd.DataFrame,
    goals: Mapping,
    seed: int,
) -> list[dict]:
    """Compute the same statistics of two samples.

    Parameters
    ----------
    statistics : callable
        From a sample to its statistics.
    real, simulated : DataFrame
        The samples. Rows with the same index are drawn together in the bootstrap.
    goals : mapping
        Largest absolute difference that is ok, by (group, quantity) or for a whole group; a number, or a function of
        the real value. Without one, none is set.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        One per statistic, with the keys `COLUMNS`. ``error`` is the standard error of the difference, from bootstraps
        of both samples: a difference below about twice it may be chance.
    """
    values, variances = [], []
    for number, sample in enumerate((real, simulated)):
        values.append(statistics(sample))
        members = sample.index.unique()
        rng = np.random.default_rng([seed, number])
        draws = (members[rng.integers(len(members), size=len(members))] for _ in range(BOOTSTRAPS))
        variances.append(pd.DataFrame([list(statistics(sample.loc[draw]).values()) for draw in draws]).var())
    rows = []
    for key, variance in zip(values[0], variances[0] + variances[1], strict=True):
        goal = goals.get(key, goals.get(key[0], np.nan))
        value = values[0][key]
        goal = np.nan if np.isnan(value) else goal(value) if callable(goal) else goal
        rows.append(row(*key, value, values[1][key], goal, variance**0.5))
    return rows


def row(group: str, quantity: str, real: float, simulated: float, goal: float = np.nan, error: float = np.nan) -> dict:
    """One line of a table: the mark is ``ok`` or ``off``, and empty where no goal is set.

    A quantity that only one of the samples has is off.
    """
    difference = float(simulated) - float(real)
    mark = "" if np.isnan(goal) else "ok" if abs(difference) <= goal + 1e-12 else "off"
    values = (group, quantity, float(real), float(simulated), difference, float(error), float(goal), mark)
    return dict(zip(COLUMNS, values, strict=True))


def row_within(group: str, quantity: str, real: float, simulated: float, goal: tuple[float, float]) -> dict:
    """One line of a table whose goal is a range of the simulated value; the range is named with the quantity."""
    low, high = goal
    named = f"{quantity}, goal {low:g}-{high:g}"
    return row(group, named, real, simulated) | {"mark": "ok" if low <= simulated <= high else "off"}


def distance(group: str, real: np.ndarray, simulated: np.ndarray, goal: float) -> dict:
    """Kolmogorov-Smirnov distance as a line; its ``error`` is the mean distance of two samples of one population.

    Parameters
    ----------
    group : str
        What is compared.
    real, simulated : ndarray, shapes (n,), (m,)
    goal : float
        Largest distance that is ok.
    """
    n, m = len(real), len(simulated)
    if not (n and m):
        return row(group, "KS distance", 0.0, np.nan, goal)
    statistic = float(stats.ks_2samp(real, simulated, method="asymp").statistic)
    return row(group, "KS distance", 0.0, statistic, goal, KS_MEAN * ((n + m) / (n * m)) ** 0.5)


def table(rows: Sequence[dict]) -> pd.DataFrame:
    """Rows as a DataFrame with the columns `COLUMNS`."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def text(frame: pd.DataFrame) -> str:
    """Print a table, columns aligned, at most 120 wide; the name of a group is printed once."""
    digits = [_digits(line) for line in frame.to_dict("records")]
    shown = frame.assign(group=frame["group"].where(frame["group"] != frame["group"].shift(), ""))
    for name in ("real", "simulated", "difference", "error", "goal"):
        sign = "+" if name == "difference" else ""
        values = zip(frame[name], digits, strict=True)
        shown[name] = ["-" if np.isnan(value) else f"{value:{sign},.{places}f}" for value, places in values]
    for name in ("group", "quantity", "mark"):  # to the left, others to the right
        shown[name] = shown[name].str.ljust(shown[name].str.len().max())
    head = ["", "", "real", "simulated", "difference", "+-", "goal", ""]
    return "\n".join(line.rstrip() for line in shown.to_string(index=False, header=head).splitlines())


def _digits(line: dict) -> int:
    """Decimals that show a tenth of the goal; without a goal, none of counts, else four figures of the larger value."""
    if np.isfinite(line["goal"]) and line["goal"] > 0:
        return int(np.clip(1 - np.floor(np.log10(line["goal"])), 0, 6))
    values = [value for value in (line["real"], line["simulated"]) if np.isfinite(value)]
    if all(value.is_integer() for value in values):
        return 0
    return int(np.clip(3 - np.floor(np.log10(max(map(abs, values)))), 0, 6))
