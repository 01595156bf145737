"""Whether intervals hold what they promise: coverage and width, in all and in groups, by object."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quasar_mass.uncertainty import conformal

CONFIDENCES = (0.5, 0.6827, 0.8, 0.9, 0.95)  # of the calibration curve; the second is one standard deviation
WIDTH_FROM = 10.0  # S/N from which the mean width is reported apart, as Yong & Ong 2023 selected
# Bins: lower edges, the last one open.
SN_EDGES = (0.0, 2.0, 4.0, 7.0, 10.0)
REDSHIFT_EDGES = (1.46, 1.55, 1.60, 1.65, 1.70, 1.75)
MASS_EDGES = (0.0, 8.2, 8.5, 8.8)


def groups(table: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Cut a table of predictions into the groups for which coverage is told apart.

    Parameters
    ----------
    table : DataFrame
        With SN, Z, PREDICTED, LABEL_LINE and LABEL_EPOCH; columns that are not there make no groups.

    Returns
    -------
    dict of (str, str) to ndarray of bool
        Kind of group and which, in order.
    """
    found = {("all", "all"): np.ones(len(table), bool)}
    for kind, column, edges in (
        ("S/N", "SN", SN_EDGES),
        ("redshift", "Z", REDSHIFT_EDGES),
        ("predicted mass", "PREDICTED", MASS_EDGES),
    ):
        if column not in table:
            continue
        values = table[column].to_numpy(float)
        for low, high in zip(edges, (*edges[1:], np.inf), strict=True):
            name = f"from {low:g}" if np.isinf(high) else f"{low:g}-{high:g}"
            found[kind, name.replace("0-", "below ") if low == 0 else name] = (values >= low) & (values < high)
    if "SN" in table:
        found["S/N", f"{WIDTH_FROM:g} and more"] = table["SN"].to_numpy(float) >= WIDTH_FROM
        del found["S/N", f"from {WIDTH_FROM:g}"]
    for line in sorted(table["LABEL_LINE"].dropna().astype(str).unique()) if "LABEL_LINE" in table else ():
        found["label line", line] = (table["LABEL_LINE"].astype(str) == line).to_numpy()
    if "LABEL_EPOCH" in table:
        at_label = table["LABEL_EPOCH"].to_numpy(bool)
        found |= {("epoch", "label epoch"): at_label, ("epoch", "other epochs"): ~at_label}
    return found


def coverage(
    table: pd.DataFrame,
    low: np.ndarray,
    high: np.ndarray,
    masses: Mapping[str, np.ndarray],
    chosen: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Tell how often intervals hold masses, and how wide they are.

    Every object counts once, its spectra sharing that weight: a hundred spectra of one object are one test.

    Parameters
    ----------
    table : DataFrame
        One row per spectrum (or object), with OBJECT and what `groups` needs.
    low, high : ndarray, shape (n,)
    masses : mapping of str to ndarray, shape (n,)
        What ought to be inside: ``"label"``, and ``"truth"`` for a simulation.
    chosen : mapping, optional
        Of the groups; those of `groups` if left out.

    Returns
    -------
    DataFrame
        Index (``group``, ``which``); n (objects), for each of `masses` its coverage and, for the first, its standard
        error; width, the mean in dex.
    """
    objects = table["OBJECT"].to_numpy()
    rows = {}
    for name, where in (chosen or groups(table)).items():
        row = {"n": len(set(objects[where]))}
        for number, (what, mass) in enumerate(masses.items()):
            known = where & np.isfinite(mass)
            inside = (mass >= low) & (mass <= high)
            share, error, _ = conformal.coverage(inside[known], objects[known])
            row[what] = share
            if not number:
                row["error"] = error
        weight = conformal.by_object(objects[where])
        row["width"] = float(np.average((high - low)[where], weights=weight)) if len(weight) else np.nan
        rows[name] = row
    index = pd.MultiIndex.from_tuples(list(rows), names=["group", "which"])
    return pd.DataFrame(list(rows.values()), index=index)


def curve(inside: Mapping[float, np.ndarray], objects: Sequence[str]) -> pd.DataFrame:
    """Coverage against confidence; index confidence, columns coverage and error."""
    rows = {confidence: conformal.coverage(values, objects)[:2] for confidence, values in inside.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["coverage", "error"]).rename_axis("confidence")
