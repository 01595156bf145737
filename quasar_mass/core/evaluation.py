"""How well predicted masses match the labels: the scores, and the groups of spectra that are scored separately."""

import numpy as np
import pandas as pd

from quasar_mass.core.errors import TableError

SCORES = ("n", "rmse", "sigma_NMAD", "bias", "r2", "label_sd")
MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
# Groups of objects by their number of spectra: first and last, both included.
EPOCH_GROUPS = {"1": (1, 1), "2": (2, 2), "3-59": (3, 59), "60+": (60, np.inf)}
COLUMNS = ("OBJECT", "LMBH", "PREDICTED", "N_EPOCHS", "LABEL_LINE", "LABEL_EPOCH")


def scores(label: np.ndarray, prediction: np.ndarray) -> dict:
    """Compare predictions with labels.

    Parameters
    ----------
    label, prediction : array_like, shape (n,)
        log10(M_BH / M_Sun).

    Returns
    -------
    dict
        ``n``; ``rmse`` in dex; ``sigma_NMAD`` in dex, the normalised median absolute deviation: 1.4826 times the median
        of the distances of prediction - label from their own median, which is the standard deviation of a normal
        distribution and ignores outliers; ``bias`` in dex, the mean of prediction - label; ``r2``, one minus the mean
        squared error over the variance of *these* labels (nan below two labels or without variance), so that r2 of two
        samples compare only where their ``label_sd``, in dex, is alike. All but ``n`` are nan for no labels.

    Raises
    ------
    ValueError
        If the two differ in length.
    """
    label = np.asarray(label, dtype=np.float64).reshape(-1)
    prediction = np.asarray(prediction, dtype=np.float64).reshape(-1)
    if label.shape != prediction.shape:
        raise ValueError(f"expected one prediction per label, got {prediction.size} for {label.size}")
    if label.size == 0:
        return {"n": 0} | dict.fromkeys(SCORES[1:], float("nan"))
    residual = prediction - label
    mse = float(np.mean(residual**2))
    # Of equal labels the computed variance is a rounding error, not zero.
    variance = float(np.var(label)) if np.ptp(label) > 0 else 0.0
    return {
        "n": int(label.size),
        "rmse": mse**0.5,
        "sigma_NMAD": float(MAD_TO_SIGMA * np.median(np.abs(residual - np.median(residual)))),
        "bias": float(np.mean(residual)),
        "r2": 1.0 - mse / variance if variance > 0 else float("nan"),
        "label_sd": variance**0.5,
    }


def score_table(spectra: pd.DataFrame) -> pd.DataFrame:
    """Score a set of spectra, and the groups in it that behave differently.

    A label is measured on one spectrum of its object, and its error depends on the noise of that very spectrum; so the
    label's epoch and the other epochs are scored separately. So are the lines that the labels come from and, with the
    mean of each object's predictions, objects with different numbers of spectra.

    Parameters
    ----------
    spectra : DataFrame
        One row per spectrum with the columns OBJECT, LMBH (label), PREDICTED, N_EPOCHS (spectra of the object),
        LABEL_LINE and LABEL_EPOCH (bool: is this the spectrum the label was measured on).

    Returns
    -------
    DataFrame
        Index (``group``, ``which``); columns as `scores` names them. Read ``rmse`` first: ``r2`` uses each group's
        own label variance, not the whole split's. A group without members has n = 0 and nan.
    """
    rows = {name: _scores(members) for name, members in groups(spectra).items()}
    index = pd.MultiIndex.from_tuples(list(rows), names=["group", "which"])
    return pd.DataFrame(list(rows.values()), index=index, columns=list(SCORES)).astype({"n": int})


def groups(spectra: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The groups of spectra, and of objects with the mean of their predictions, that `score_table` scores.

    Parameters
    ----------
    spectra : DataFrame
        As of `score_table`.

    Returns
    -------
    dict of (str, str) to DataFrame
        ``group``, ``which``: the rows of the group, with OBJECT, LMBH and PREDICTED.
    """
    at_label = spectra["LABEL_EPOCH"].to_numpy(dtype=bool)
    members = {("per spectrum", "all"): spectra}
    members |= {("epoch", "label epoch"): spectra[at_label], ("epoch", "other epochs"): spectra[~at_label]}
    lines = spectra["LABEL_LINE"].astype(str)
    for line in sorted(spectra["LABEL_LINE"].dropna().astype(str).unique()):
        members["label line", line] = spectra[lines == line]
    objects = spectra.groupby("OBJECT", observed=True)[["LMBH", "PREDICTED", "N_EPOCHS"]].agg(
        {"LMBH": "first", "PREDICTED": "mean", "N_EPOCHS": "first"}
    )
    objects = objects.reset_index()
    members["per object (mean)", "all"] = objects
    for name, (first, last) in EPOCH_GROUPS.items():
        members["per object (mean)", name] = objects[objects["N_EPOCHS"].between(first, last)]
    return members


def require_labels(label: pd.Series) -> None:
    """Raise TableError where there is nothing to score."""
    if label.empty:
        raise TableError("the survey", "has no test objects; use one of at least 10 objects")


def _scores(table: pd.DataFrame) -> dict:
    return scores(table["LMBH"].to_numpy(), table["PREDICTED"].to_numpy())
