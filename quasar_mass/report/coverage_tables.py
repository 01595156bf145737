"""Coverage and width of intervals, of all spectra and in groups, with equal weight for every object."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quasar_mass.uncertainty import calibration
from quasar_mass.uncertainty.training_domain import FLAG_BAL, FLAG_CATALOGUED_BAL

CONFIDENCES = (0.5, 0.6827, 0.8, 0.9, 0.95)  # of the calibration curve; the second is one standard deviation
HIGH_SN = 10.0  # the mean width is reported apart from this S/N on, as Yong & Ong 2023 selected their sample
# Bins: lower edges, the last one open.
SN_EDGES = (0.0, 2.0, 4.0, 7.0, HIGH_SN)
REDSHIFT_EDGES = (1.46, 1.54, 1.56, 1.58, 1.60, 1.62, 1.65, 1.70, 1.75)  # narrow where labels from C IV begin, 1.566
EPOCH_EDGES = (1, 2, 3)
MASS_EDGES = (0.0, 8.2, 8.5, 8.8)
HIGH_SN_NAME = f"{HIGH_SN:g} and more"


def groups(table: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Cut a table of predictions into the groups whose coverage is reported.

    Parameters
    ----------
    table : DataFrame
        With SN, Z, PREDICTED, N_EPOCHS, FLAGS, LABEL_LINE and LABEL_EPOCH; a column that is missing makes no groups.

    Returns
    -------
    dict of (str, str) to ndarray of bool
        Kind of group and its name, in the order in which they are printed.
    """
    chosen = {("all", "all"): np.ones(len(table), bool)}
    for kind, column, edges in (
        ("S/N", "SN", SN_EDGES),
        ("redshift", "Z", REDSHIFT_EDGES),
        ("predicted mass", "PREDICTED", MASS_EDGES),
        ("spectra of the object", "N_EPOCHS", EPOCH_EDGES),
    ):
        if column not in table:
            continue
        values = table[column].to_numpy(float)
        for low, high in zip(edges, (*edges[1:], np.inf), strict=True):
            name = f"{low:g}" if column == "N_EPOCHS" else f"{low:g}-{high:g}"
            if np.isinf(high):
                name = f"{low:g} and more"
            elif low == 0:
                name = f"below {high:g}"
            chosen[kind, name] = (values >= low) & (values < high)
    if "FLAGS" in table:
        bal = table["FLAGS"].str.contains(f"{FLAG_BAL}|{FLAG_CATALOGUED_BAL}").to_numpy(bool)
        chosen |= {("absorption", "BAL"): bal, ("absorption", "none"): ~bal}
    if "LABEL_LINE" in table:
        lines = table["LABEL_LINE"].dropna().astype(str)
        chosen |= {("label line", line): (table["LABEL_LINE"] == line).to_numpy() for line in sorted(lines.unique())}
    if "LABEL_EPOCH" in table:
        at_label = table["LABEL_EPOCH"].to_numpy(bool)
        chosen |= {("epoch", "label epoch"): at_label, ("epoch", "other epochs"): ~at_label}
    return chosen


def coverage(
    table: pd.DataFrame,
    low: np.ndarray,
    high: np.ndarray,
    masses: Mapping[str, np.ndarray],
    chosen: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Count how often intervals hold masses, and how wide they are.

    Every object counts once, and its spectra share that weight: a hundred spectra of one object are one test.

    Parameters
    ----------
    table : DataFrame
        One row per spectrum (or object), with OBJECT and what `groups` needs.
    low, high : ndarray, shape (n,)
        Ends of the intervals, log10(M_BH / M_Sun).
    masses : mapping of str to ndarray, shape (n,)
        The masses that should be inside, as `comparison.known_masses` gives them.
    chosen : mapping, optional
        Which spectra are in each group; `groups` if left out.

    Returns
    -------
    DataFrame
        Index (``group``, ``which``); n (objects), for each of `masses` its coverage and, for the first, its standard
        error; width, the mean in dex.
    """
    objects = table["OBJECT"].to_numpy()
    rows = {}
    for name, members in (chosen or groups(table)).items():
        row = {"n": len(set(objects[members]))}
        for number, (what, mass) in enumerate(masses.items()):
            known = members & np.isfinite(mass)
            inside = (mass >= low) & (mass <= high)
            row[what], error, _ = calibration.coverage(inside[known], objects[known])
            if not number:
                row["error"] = error
        weight = calibration.by_object(objects[members])
        row["width"] = float(np.average((high - low)[members], weights=weight)) if len(weight) else np.nan
        rows[name] = row
    index = pd.MultiIndex.from_tuples(list(rows), names=["group", "which"])
    return pd.DataFrame(list(rows.values()), index=index)


def curve(inside: Mapping[float, np.ndarray], objects: Sequence[str]) -> pd.DataFrame:
    """Tabulate coverage against confidence.

    Parameters
    ----------
    inside : mapping of float to ndarray of bool, shape (n,)
        For each confidence, which labels are inside their intervals.
    objects : sequence of str, length n

    Returns
    -------
    DataFrame
        Index confidence; coverage and its standard error.
    """
    rows = {confidence: calibration.coverage(values, objects)[:2] for confidence, values in inside.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["coverage", "error"]).rename_axis("confidence")
