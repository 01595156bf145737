"""Compare predicted masses with the masses that are known: labels and, in a simulation, true masses."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation
from quasar_mass.core.survey import Survey

RESAMPLINGS = 500
SEED = 42
# The masses that predictions are compared with, and the columns that hold them. The label is what the survey publishes;
# the truth is the virial mass without noise, of the line that the label comes from.
MASSES = {"label": "LMBH", "truth": "TRUTH", "true Mg II mass": "TRUTH_MgII"}
# Names of columns as people know them.
HEADINGS = {"rmse": "RMSE", "rmse_error": "RMSE error", "r2": "R2"}
SIGMA_NMAD = "sigma_NMAD is 1.4826 times the median absolute deviation of the residuals from their median"


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Give a table with headings for people."""
    return table.rename(columns=lambda name: HEADINGS.get(name, name.replace("rmse ", "RMSE ")))


def add_truth(rows: pd.DataFrame, survey: Survey) -> pd.DataFrame:
    """Add the columns TRUTH and TRUTH_MgII, log10(M_BH / M_Sun), where the survey is simulated.

    Parameters
    ----------
    rows : DataFrame
        With a column OBJECT.
    survey : Survey
    """
    if not survey.truth.exists():
        return rows
    truth = pd.read_parquet(survey.truth).set_index("OBJECT").reindex(rows["OBJECT"])
    return rows.assign(TRUTH=truth["LMBH"].to_numpy(), TRUTH_MgII=truth["LMBH_MgII"].to_numpy())


def known_masses(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The masses of `MASSES` that a table has, each of shape (n,); the label comes first."""
    return {name: rows[column].to_numpy(float) for name, column in MASSES.items() if column in rows}


def compare(
    predictions: Mapping[str, np.ndarray], objects: np.ndarray, masses: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Score every predictor against every known mass.

    Parameters
    ----------
    predictions : mapping of str to ndarray, shape (n,)
        log10(M_BH / M_Sun) by predictor; NaN where it has none. These are not scored, as `n` shows.
    objects : ndarray of str, shape (n,)
        The object of each spectrum: errors are bootstrapped by object, since its spectra share their label.
    masses : mapping of str to ndarray, shape (n,)
        What to compare with, as `known_masses` gives it.

    Returns
    -------
    DataFrame
        Index (``predictor``, ``against``); columns n, rmse and rmse_error (bootstrap standard deviation),
        sigma_NMAD and bias in dex, r2.
    """
    rows = {}
    for predictor, prediction in predictions.items():
        for against, mass in masses.items():
            there = np.isfinite(prediction) & np.isfinite(mass)
            scores = evaluation.scores(mass[there], prediction[there])
            error = bootstrap_rmse(objects[there], (prediction - mass)[there])
            rows[predictor, against] = {"n": scores["n"], "rmse": scores["rmse"], "rmse_error": error} | {
                name: scores[name] for name in ("sigma_NMAD", "bias", "r2")
            }
    index = pd.MultiIndex.from_tuples(list(rows), names=["predictor", "against"])
    return pd.DataFrame(list(rows.values()), index=index)


def labels_by_line(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The labels from Mg II and those from C IV, NaN in the other rows; `rows` has LMBH and LABEL_LINE."""
    names = {"label from Mg II": "MgII", "label from C IV": "CIV"}
    return {title: rows["LMBH"].where(rows["LABEL_LINE"] == line).to_numpy(float) for title, line in names.items()}


def bootstrap_rmse(objects: np.ndarray, residual: np.ndarray) -> float:
    """Standard deviation of the RMSE over resamplings of whole objects; NaN for fewer than two."""
    names, of = np.unique(np.asarray(objects).astype(str), return_inverse=True)
    if len(names) < 2:
        return float("nan")
    squares = np.bincount(of, np.asarray(residual, float) ** 2)
    counts = np.bincount(of)
    drawn = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1.0 / len(names)), RESAMPLINGS)
    return float(np.std(np.sqrt(drawn @ squares / (drawn @ counts))))


def responses(prediction: np.ndarray, **properties: np.ndarray) -> dict[str, float]:
    """Measure how predictions follow physical quantities: slopes of a linear regression on all of them together.

    Parameters
    ----------
    prediction : ndarray, shape (n,)
        log10(M_BH / M_Sun).
    **properties : ndarray, shape (n,)
        For example ``log_width=2 * log10(FWHM)`` and ``log_luminosity``; the virial relation has slopes 1 and 0.5.
    """
    there = np.isfinite(prediction) & np.all([np.isfinite(values) for values in properties.values()], axis=0)
    matrix = np.column_stack([np.ones(there.sum()), *(values[there] for values in properties.values())])
    slopes = np.linalg.lstsq(matrix, prediction[there], rcond=None)[0][1:]
    return dict(zip(properties, map(float, slopes), strict=True))


def markdown(table: pd.DataFrame) -> str:
    """Print `compare`'s result as a Markdown table."""
    lines = [
        "| predictor | against | n | RMSE (dex) | sigma_NMAD (dex) | bias (dex) | R2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for (predictor, against), row in table.iterrows():
        lines.append(
            f"| {predictor} | {against} | {row['n']:,.0f} | {row['rmse']:.3f} ± {row['rmse_error']:.3f} | "
            f"{row['sigma_NMAD']:.3f} | {row['bias']:+.3f} | {row['r2']:.2f} |"
        )
    return "\n".join(lines)
