"""Several predictors of the same masses side by side: against the label and against a simulation's truth."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation

RESAMPLINGS = 500
SEED = 42


def compare(
    predictions: Mapping[str, np.ndarray], objects: np.ndarray, masses: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Score every predictor against every kind of mass.

    Parameters
    ----------
    predictions : mapping of str to ndarray, shape (n,)
        log10(M_BH / M_Sun) by predictor; NaN where one gives none, which its scores leave out and `n` shows.
    objects : ndarray of str, shape (n,)
        Whose spectra these are: errors are bootstrapped by object, since its spectra share their label.
    masses : mapping of str to ndarray, shape (n,)
        What to compare with, for example ``"label"`` and ``"truth"``.

    Returns
    -------
    DataFrame
        Index (``predictor``, ``against``); columns n, rmse and rmse_error (bootstrap standard deviation),
        robust_scatter and bias in dex, r2.
    """
    rows = {}
    for predictor, prediction in predictions.items():
        for against, mass in masses.items():
            there = np.isfinite(prediction) & np.isfinite(mass)
            scores = evaluation.scores(mass[there], prediction[there])
            error = bootstrap_rmse(objects[there], (prediction - mass)[there])
            rows[predictor, against] = {"n": scores["n"], "rmse": scores["rmse"], "rmse_error": error} | {
                name: scores[name] for name in ("robust_scatter", "bias", "r2")
            }
    index = pd.MultiIndex.from_tuples(list(rows), names=["predictor", "against"])
    return pd.DataFrame(list(rows.values()), index=index)


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
    """How strongly predictions follow physical quantities: slopes of a linear regression on all of them together.

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
        "| predictor | against | n | RMSE (dex) | robust scatter (dex) | bias (dex) | R2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for (predictor, against), row in table.iterrows():
        lines.append(
            f"| {predictor} | {against} | {row['n']:,.0f} | {row['rmse']:.3f} ± {row['rmse_error']:.3f} | "
            f"{row['robust_scatter']:.3f} | {row['bias']:+.3f} | {row['r2']:.2f} |"
        )
    return "\n".join(lines)
