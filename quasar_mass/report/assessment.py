"""How good a calibrated network is on a survey's test objects: tables of accuracy, coverage, flags and pooling."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation
from quasar_mass.core.survey import Survey
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import comparison, coverage_tables
from quasar_mass.tables.dataset import Dataset
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import StackedSpectra

POOLED = {"2": (2, 2), "3-59": (3, 59), "60+": (60, np.inf), "2 and more": (2, np.inf)}
NO_FLAG, ANY_FLAG = "no flag", "any flag"

TITLES = {
    "coverage": "intervals of {confidence:.0%} ({kind}): share of masses inside, by object; width in dex",
    "by_line": "the same, told the line of the label (--line)",
    "curve": "coverage of labels against confidence, by object",
    "pooled": "one mass per object, by number of spectra and method: RMSE in dex, coverage of labels",
    "flags": "flags: spectra, and RMSE against their labels in dex",
}


@dataclass(frozen=True)
class Assessment:
    """The test objects' predictions and the tables made of them.

    Attributes
    ----------
    predictions : DataFrame
        One row per test spectrum: the survey's columns, PREDICTED, LMBH_LOW, LMBH_HIGH, FLAGS, and in a simulation
        TRUTH and TRUTH_MgII.
    scores : DataFrame
        `evaluation.score_table`.
    coverage : DataFrame or None
        `coverage_tables.coverage`; None without a calibration, as the next three.
    by_line : DataFrame or None
        The same where the interval is told the line of the label, a row for each line and one for S/N from 10.
    curve : DataFrame or None
        Coverage against confidence.
    pooled : DataFrame or None
        Methods of pooling by number of spectra: RMSE against label and truth, coverage, width.
    flags : DataFrame
        Spectra with each flag, their RMSE against the label and their coverage.
    """

    predictions: pd.DataFrame
    scores: pd.DataFrame
    coverage: pd.DataFrame | None
    by_line: pd.DataFrame | None
    curve: pd.DataFrame | None
    pooled: pd.DataFrame | None
    flags: pd.DataFrame


def assess(quoter: Predictor, data: Dataset, survey: Survey) -> Assessment:
    """Predict the test objects of a survey and compare with labels and, in a simulation, the truth.

    Parameters
    ----------
    quoter : Predictor
    data : Dataset
        The survey's tables.
    survey : Survey
        For its truth.

    Raises
    ------
    TableError
        If there are no test objects.
    """
    spectra, label = data.part("test")
    evaluation.require_labels(label)
    rows = data.spectra.loc[label.index].reset_index()
    noise = rows["SN"].to_numpy(float)
    seen = quoter.view(spectra[..., 0], rows["Z"].to_numpy(float), noise)
    rows["PREDICTED"] = seen.mass
    quoted = quoter.masses(seen)
    for name in ("LMBH_LOW", "LMBH_HIGH", "LMBH_ENS_STD"):
        if name in quoted:
            rows[name] = quoted[name].to_numpy()
    catalogued = quoter.catalogue_flags(data.quasars["BAL_PROB"].reindex(rows["OBJECT"]).to_numpy())
    parts = zip(quoter.flags(seen, noise), rows["FLAGS"].fillna(""), catalogued, strict=True)
    rows["FLAGS"] = ["; ".join(filter(None, [*words, own, *bal])) for words, own, bal in parts]
    rows["LOG_L"] = seen.measures.log_luminosity
    if survey.truth.exists():
        truth = pd.read_parquet(survey.truth).set_index("OBJECT").reindex(rows["OBJECT"])
        rows["TRUTH"], rows["TRUTH_MgII"] = truth["LMBH"].to_numpy(), truth["LMBH_MgII"].to_numpy()
    scores = evaluation.score_table(rows)
    if quoter.calibration is None:
        return Assessment(rows, scores, None, None, None, None, _flag_table(rows))
    return Assessment(
        rows,
        scores,
        coverage_tables.coverage(rows, rows["LMBH_LOW"].to_numpy(), rows["LMBH_HIGH"].to_numpy(), _masses(rows)),
        _by_line(quoter, rows, seen),
        _curve(quoter, rows, seen),
        _pooled(quoter, rows, seen, spectra[..., 0]),
        _flag_table(rows),
    )


def _masses(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    known = {"label": "LMBH", "truth": "TRUTH", "true Mg II": "TRUTH_MgII"}
    return {what: rows[column].to_numpy(float) for what, column in known.items() if column in rows}


def _by_line(quoter: Predictor, rows: pd.DataFrame, seen: NetworkView) -> pd.DataFrame:
    """Coverage of labels by the intervals for labels of their own line."""
    tables = []
    for line in quoter.calibration.intervals:
        if line == "any":
            continue
        low, high = quoter.calibration.bounds(seen, quoter.confidence, line)
        mine = (rows["LABEL_LINE"] == line).to_numpy()
        chosen = {("told the line", line): mine}
        bright = mine & (rows["SN"].to_numpy(float) >= coverage_tables.WIDTH_FROM)
        chosen["told the line", f"{line}, S/N {coverage_tables.WIDTH_FROM:g} and more"] = bright
        tables.append(coverage_tables.coverage(rows, low, high, _masses(rows), chosen))
    return pd.concat(tables) if tables else pd.DataFrame()


def _curve(quoter: Predictor, rows: pd.DataFrame, seen: NetworkView) -> pd.DataFrame:
    inside = {}
    label = rows["LMBH"].to_numpy(float)
    for confidence in coverage_tables.CONFIDENCES:
        low, high = quoter.calibration.bounds(seen, confidence, quoter.line)
        inside[confidence] = (label >= low) & (label <= high)
    return coverage_tables.curve(inside, rows["OBJECT"].to_numpy())


def _pooled(quoter: Predictor, rows: pd.DataFrame, seen: NetworkView, flux: np.ndarray) -> pd.DataFrame:
    """All methods of pooling on the test objects with several spectra."""
    calibration = quoter.calibration
    several = (rows["N_EPOCHS"] > 1).to_numpy()
    if not several.any():
        return pd.DataFrame()
    rows, seen, flux = rows[several].reset_index(drop=True), seen.rows(several), flux[several]
    stacks = StackedSpectra(flux.shape[1])
    stacks.add(rows["OBJECT"].to_numpy(), flux, seen.signal_to_noise)
    objects = quoter.objects(rows["OBJECT"], seen, stacks)
    table = rows.drop_duplicates("OBJECT").set_index("OBJECT").loc[list(objects.epochs)].reset_index()
    counts, masses = objects.counts, _masses(table)
    found = {}
    for method in calibration.pooling.methods:
        mass, *ends = calibration.pooled(objects, method, quoter.confidence, quoter.line)
        for name, (first, last) in POOLED.items():
            chosen = (counts >= first) & (counts <= last)
            if chosen.any():
                found[name, method] = pooled_row(mass, *ends, masses, chosen)
    index = pd.MultiIndex.from_tuples(list(found), names=["spectra", "method"])
    return pd.DataFrame(list(found.values()), index=index).sort_index(level=0, sort_remaining=False)


def pooled_row(
    mass: np.ndarray, low: np.ndarray, high: np.ndarray, masses: Mapping[str, np.ndarray], chosen: np.ndarray
) -> dict:
    """Scores of one method on some objects: RMSE against each of `masses`, coverage of the first, mean width."""
    row = {"n": int(chosen.sum())}
    for what, known in masses.items():
        there = chosen & np.isfinite(known)
        residual = (mass - known)[there]
        row[f"rmse {what}"] = float(np.sqrt(np.mean(residual**2))) if there.any() else np.nan
    label = masses["label"]
    there = chosen & np.isfinite(label)
    row["coverage"] = float(np.mean((label >= low)[there] & (label <= high)[there])) if there.any() else np.nan
    row["width"] = float(np.mean((high - low)[chosen]))
    return row


def _flag_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Count every flag, and score the spectra that have it."""
    words = rows["FLAGS"].str.split("; ")
    flagged = rows["FLAGS"] != ""
    which = {NO_FLAG: ~flagged, ANY_FLAG: flagged}
    for name in sorted({word for every in words for word in every} - {""}):
        which[name] = words.map(lambda every, name=name: name in every)
    label, predicted = rows["LMBH"].to_numpy(float), rows["PREDICTED"].to_numpy(float)
    found = {}
    for name, where in which.items():
        chosen = where.to_numpy(bool)
        residual = (predicted - label)[chosen]
        row = {"spectra": int(chosen.sum()), "share": float(chosen.mean())}
        row["rmse"] = float(np.sqrt(np.mean(residual**2))) if chosen.any() else np.nan
        row["rmse_error"] = comparison.bootstrap_rmse(rows["OBJECT"].to_numpy()[chosen], residual)
        if "LMBH_LOW" in rows:
            inside = (label >= rows["LMBH_LOW"]) & (label <= rows["LMBH_HIGH"])
            row["coverage"] = coverage_tables.conformal.coverage(inside[chosen], rows["OBJECT"][chosen])[0]
            row["width"] = float((rows["LMBH_HIGH"] - rows["LMBH_LOW"])[chosen].mean())
        found[name] = row
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("flag")


def more(found: Assessment) -> dict[str, pd.DataFrame]:
    """The tables beyond the scores, by the names of `TITLES`; those that there are."""
    tables = {key: getattr(found, key) for key in TITLES}
    return {key: table for key, table in tables.items() if table is not None and len(table)}


def records(table: pd.DataFrame) -> list[dict]:
    """A table for JSON: a dict for each row, its index among its values, null for what is not known."""
    rows = table.reset_index().to_dict("records")
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]
