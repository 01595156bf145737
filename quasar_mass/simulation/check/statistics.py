"""Statistics of a real and a simulated sample side by side: difference, its standard error, goal, ok or off."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

COLUMNS = ("group", "quantity", "real", "simulated", "difference", "error", "goal", "mark")
BOOTSTRAPS = 100  # resamplings of each sample: the errors are then good to 7 %, which is enough to weigh a difference
KS_MEAN = 0.8687  # mean of the Kolmogorov distribution, sqrt(pi / 2) ln 2

Statistics = dict[tuple[str, str], float]  # (group, quantity) to value, in the order of printing
Goal = Callable[[str, str, float], float]  # group, quantity, real value to the goal; NaN: none is set


def side_by_side(
    statistics: Callable[[object], Statistics],
    take: Callable[[object, np.ndarray], object],
    samples: tuple[tuple[object, int], tuple[object, int]],
    goal: Goal,
    seed: int,
) -> list[dict]:
    """Compute the same statistics of two samples.

    Parameters
    ----------
    statistics : callable
        From a sample to its statistics.
    take : callable
        ``take(sample, index)``: the members of a sample that an array of indices names, for the bootstrap.
    samples : pair of (sample, size)
        The real one, the simulated one.
    goal : callable
        Largest absolute difference that is ok.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        One per statistic, with the keys `COLUMNS`. ``error`` is the standard error of the difference, from bootstraps
        of both samples: a difference below about twice it may be chance.
    """
    values, variances = [], []
    for number, (sample, size) in enumerate(samples):
        values.append(statistics(sample))
        rng = np.random.default_rng([seed, number])
        drawn = [statistics(take(sample, rng.integers(size, size=size))) for _ in range(BOOTSTRAPS)]
        variances.append({key: _variance([one[key] for one in drawn]) for key in values[-1]})
    real, simulated = values
    return [
        row(*key, real[key], simulated[key], goal(*key, real[key]), (variances[0][key] + variances[1][key]) ** 0.5)
        for key in real
    ]


def _variance(values: list[float]) -> float:
    """Of the numbers among them; NaN where fewer than two are."""
    finite = np.array([value for value in values if np.isfinite(value)])
    return float(finite.var(ddof=1)) if len(finite) > 1 else np.nan


def row(group: str, quantity: str, real: float, simulated: float, goal: float = np.nan, error: float = np.nan) -> dict:
    """One line of a table: the mark is ``ok`` or ``off``, and empty where no goal is set.

    A quantity that only one of the samples has is off.
    """
    difference = float(simulated) - float(real)
    mark = "" if np.isnan(goal) else "ok" if abs(difference) <= goal + 1e-12 else "off"
    values = (group, quantity, float(real), float(simulated), difference, float(error), float(goal), mark)
    return dict(zip(COLUMNS, values, strict=True))


def distance(group: str, real: np.ndarray, simulated: np.ndarray, goal: float) -> dict:
    """Kolmogorov-Smirnov distance as a line; its ``error`` is what two samples of one population give on average.

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
    found = float(stats.ks_2samp(real, simulated, method="asymp").statistic)
    return row(group, "KS distance", 0.0, found, goal, KS_MEAN * ((n + m) / (n * m)) ** 0.5)


def table(rows: Sequence[dict]) -> pd.DataFrame:
    """Rows as a DataFrame with the columns `COLUMNS`."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def text(frame: pd.DataFrame) -> str:
    """Print a table, columns aligned, at most 120 wide; a group's name stands once."""
    head = ("", "", "real", "simulated", "difference", "+-", "goal", "")
    cells = [head]
    previous = None
    for line in frame.to_dict("records"):
        digits = _digits(line)
        numbers = [_number(line[name], digits) for name in ("real", "simulated")]
        numbers += [
            _number(line["difference"], digits, sign="+"),
            *(_number(line[n], digits) for n in ("error", "goal")),
        ]
        cells.append(("" if line["group"] == previous else line["group"], line["quantity"], *numbers, line["mark"]))
        previous = line["group"]
    widths = [max(len(one[n]) for one in cells) for n in range(len(head))]
    lines = []
    for one in cells:
        left = [cell.ljust(width) for cell, width in zip(one[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(one[2:7], widths[2:7], strict=True)]
        lines.append("  ".join((*left, *right, one[7])).rstrip())
    return "\n".join(lines)


def _digits(line: dict) -> int:
    """Decimals that show a tenth of the goal; without a goal, none of counts, else four figures of the larger value."""
    if np.isfinite(line["goal"]) and line["goal"] > 0:
        return int(np.clip(1 - np.floor(np.log10(line["goal"])), 0, 6))
    values = [value for value in (line["real"], line["simulated"]) if np.isfinite(value)]
    if all(value.is_integer() for value in values):
        return 0
    return int(np.clip(3 - np.floor(np.log10(max(map(abs, values)))), 0, 6))


def _number(value: float, digits: int, sign: str = "") -> str:
    return "-" if np.isnan(value) else f"{value:{sign},.{digits}f}"
