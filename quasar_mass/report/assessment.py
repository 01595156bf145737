"""How good a calibrated network is on a survey's test objects: tables of accuracy, coverage, flags and pooling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation
from quasar_mass.core.survey import Survey
from quasar_mass.network.architecture import recipe
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import comparison, coverage_tables
from quasar_mass.spectra.flags import joined
from quasar_mass.spectra.seen_lines import LINES
from quasar_mass.tables.dataset import Dataset
from quasar_mass.uncertainty.calibration import coverage
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import METHODS, StackedSpectra

POOLED = {"2": (2, 2), "3-59": (3, 59), "60+": (60, np.inf), "2 and more": (2, np.inf)}  # spectra of an object
NO_FLAG, ANY_FLAG = "no flag", "any flag"

TITLES = {
    "coverage": "intervals of {confidence:g}% ({kind}): fraction of masses inside, by object; width in dex",
    "by_line": "the same intervals where the line of the label is known (--line)",
    "curve": "coverage of labels against confidence, by object",
    "pooled": "one mass per object, by number of spectra and method: RMSE in dex, coverage of labels",
    "flags": "flags: spectra, and RMSE against their labels in dex; its error is from a bootstrap over objects",
}


@dataclass(frozen=True)
class Assessment:
    """The test objects' predictions and the tables made of them.

    Attributes
    ----------
    predictions : DataFrame
        One row per test spectrum: the survey's columns, PREDICTED, LMBH_LOW, LMBH_HIGH, FLAGS, LOG_L, and in a
        simulation TRUTH and TRUTH_MgII.
    scores : DataFrame
        `evaluation.score_table`.
    coverage : DataFrame or None
        `coverage_tables.coverage`; None without a calibration, as the next three.
    by_line : DataFrame or None
        The same for intervals of the label's own line: two rows for each line, all spectra and those of high S/N.
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

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables beyond the scores that have rows, by the names of `TITLES`."""
        tables = {name: getattr(self, name) for name in TITLES}
        return {name: table for name, table in tables.items() if table is not None and len(table)}


def assess(predictor: Predictor, data: Dataset, survey: Survey) -> Assessment:
    """Predict the test objects of a survey and compare with labels and, in a simulation, the truth.

    Parameters
    ----------
    predictor : Predictor
    data : Dataset
        The survey's tables.
    survey : Survey
        For its truth.

    Raises
    ------
    TableError
        If there are no test objects.
    """
    test = (data.spectra["SPLIT"] == "test").to_numpy()
    rows, flux = data.spectra[test].reset_index(), data.flux[test]
    evaluation.require_labels(rows["LMBH"])
    signal_to_noise = rows["SN"].to_numpy(float)
    seen = rows[list(LINES)].to_numpy(float)
    several = rows["N_EPOCHS"].to_numpy() > 1
    view = predictor.view(flux, rows["Z"].to_numpy(float), signal_to_noise, seen, several)
    rows["PREDICTED"], rows["LOG_L"] = view.mass, view.measures.log_luminosity
    masses = predictor.masses(view)
    for name in ("LMBH_LOW", "LMBH_HIGH", "LMBH_ENS_STD"):
        if name in masses:
            rows[name] = masses[name].to_numpy()
    catalogued = predictor.catalogue_flags(data.quasars["BAL_PROB"].reindex(rows["OBJECT"]).to_numpy())
    flags = zip(predictor.flags(view, signal_to_noise), rows["FLAGS"].fillna(""), catalogued, strict=True)
    rows["FLAGS"] = [joined([*words, *own.split("; "), *bal]) for words, own, bal in flags]
    rows = comparison.add_truth(rows, survey)
    scores = evaluation.score_table(rows)
    if predictor.calibration is None:
        return Assessment(rows, scores, None, None, None, None, flag_table(rows))
    low, high = rows["LMBH_LOW"].to_numpy(), rows["LMBH_HIGH"].to_numpy()
    return Assessment(
        rows,
        scores,
        coverage_tables.coverage(rows, low, high, comparison.known_masses(rows)),
        _by_line(predictor, rows, view),
        _curve(predictor, rows, view),
        _pooled(predictor, rows, view, flux),
        flag_table(rows),
    )


def _by_line(predictor: Predictor, rows: pd.DataFrame, view: NetworkView) -> pd.DataFrame:
    """Coverage of labels by the intervals for labels of their own line."""
    tables = []
    high_sn = rows["SN"].to_numpy(float) >= coverage_tables.HIGH_SN
    for line in predictor.calibration.intervals:
        if line == "any":
            continue
        low, high = predictor.calibration.bounds(view, predictor.confidence, line)
        of_line = (rows["LABEL_LINE"] == line).to_numpy()
        chosen = {("line known", line): of_line}
        chosen["line known", f"{line}, S/N {coverage_tables.HIGH_SN_NAME}"] = of_line & high_sn
        tables.append(coverage_tables.coverage(rows, low, high, comparison.known_masses(rows), chosen))
    return pd.concat(tables) if tables else pd.DataFrame()


def _curve(predictor: Predictor, rows: pd.DataFrame, view: NetworkView) -> pd.DataFrame:
    inside = {}
    label = rows["LMBH"].to_numpy(float)
    for confidence in coverage_tables.CONFIDENCES:
        low, high = predictor.calibration.bounds(view, confidence, predictor.line)
        inside[confidence] = (label >= low) & (label <= high)
    return coverage_tables.curve(inside, rows["OBJECT"].to_numpy())


def _pooled(predictor: Predictor, rows: pd.DataFrame, view: NetworkView, flux: np.ndarray) -> pd.DataFrame:
    """Compare all methods of pooling on the test objects with several spectra."""
    calibration = predictor.calibration
    several = (rows["N_EPOCHS"] > 1).to_numpy()
    if not several.any():
        return pd.DataFrame()
    rows, view, flux = rows[several].reset_index(drop=True), view.rows(several), flux[several]
    stacks = StackedSpectra(flux.shape[1])
    stacks.add(rows["OBJECT"].to_numpy(), flux, view.signal_to_noise)
    objects = predictor.objects(rows["OBJECT"], view, stacks)
    table = rows.drop_duplicates("OBJECT").set_index("OBJECT").loc[list(objects.epochs)].reset_index()
    counts, masses = objects.counts, comparison.known_masses(table)
    scores = {}
    for method in calibration.pooling.methods:
        mass, *ends = calibration.pooled(objects, method, predictor.confidence, predictor.line)
        for name, (first, last) in POOLED.items():
            chosen = (counts >= first) & (counts <= last)
            if chosen.any():
                scores[name, method] = pooled_row(mass, *ends, masses, chosen)
    order = [(name, method) for name in POOLED for method in METHODS if (name, method) in scores]
    index = pd.MultiIndex.from_tuples(order, names=["spectra", "method"])
    return pd.DataFrame([scores[key] for key in order], index=index)


def pooled_row(
    mass: np.ndarray, low: np.ndarray, high: np.ndarray, masses: Mapping[str, np.ndarray], chosen: np.ndarray
) -> dict:
    """Score the masses that a method of pooling gives to objects.

    Parameters
    ----------
    mass, low, high : ndarray, shape (n,)
        Pooled masses and their intervals, log10(M_BH / M_Sun).
    masses : mapping of str to ndarray, shape (n,)
        As `comparison.known_masses` gives them.
    chosen : ndarray of bool, shape (n,)
        The objects that count.

    Returns
    -------
    dict
        n; the RMSE against each of `masses` and the mean width of the intervals, in dex; the coverage of the labels.
    """
    row = {"n": int(chosen.sum())}
    for what, known in masses.items():
        use = chosen & np.isfinite(known)
        residual = (mass - known)[use]
        row[f"rmse {what}"] = float(np.sqrt(np.mean(residual**2))) if use.any() else np.nan
    label = masses["label"]
    use = chosen & np.isfinite(label)
    row["coverage"] = float(np.mean((label >= low)[use] & (label <= high)[use])) if use.any() else np.nan
    row["width"] = float(np.mean((high - low)[chosen]))
    return row


def flag_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the spectra with each flag, and score them.

    Parameters
    ----------
    rows : DataFrame
        With OBJECT, LMBH, PREDICTED, FLAGS (joined by "; ") and, of a calibrated model, LMBH_LOW and LMBH_HIGH.

    Returns
    -------
    DataFrame
        Index flag; spectra, their fraction of all, rmse and rmse_error against the label in dex; coverage of the label
        by object and mean width in dex, of a calibrated model.
    """
    flagged = rows["FLAGS"] != ""
    members = {NO_FLAG: ~flagged, ANY_FLAG: flagged}
    words = rows["FLAGS"].str.replace(
        r" by [-+][\d,]+ km/s", "", regex=True
    )  # one row for lines shifted by any velocity
    members |= {flag: chosen for flag, chosen in words.str.get_dummies("; ").items() if flag}
    label, predicted = rows["LMBH"].to_numpy(float), rows["PREDICTED"].to_numpy(float)
    table = {}
    for flag, with_flag in members.items():
        chosen = with_flag.to_numpy(bool)
        residual = (predicted - label)[chosen]
        row = {"spectra": int(chosen.sum()), "fraction": float(chosen.mean())}
        row["rmse"] = float(np.sqrt(np.mean(residual**2))) if chosen.any() else np.nan
        row["rmse_error"] = comparison.bootstrap_rmse(rows["OBJECT"].to_numpy()[chosen], residual)
        if "LMBH_LOW" in rows:
            inside = (label >= rows["LMBH_LOW"]) & (label <= rows["LMBH_HIGH"])
            row["coverage"] = coverage(inside[chosen], rows["OBJECT"][chosen])[0]
            row["width"] = float((rows["LMBH_HIGH"] - rows["LMBH_LOW"])[chosen].mean())
        table[flag] = row
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("flag")


def text(result: Assessment, predictor: Predictor, data: Dataset, survey: Survey, models: Sequence[Path]) -> str:
    """Write an assessment for people.

    Parameters
    ----------
    result : Assessment
    predictor : Predictor
    data : Dataset
    survey : Survey
    models : sequence of Path
        The files of the predictor.
    """
    lines = [
        f"model {', '.join(map(str, models))} ({predictor.kind}): {recipe(predictor.ensemble.first.about)}",
        f"survey {survey.folder} ({data.kind}), test objects; residual = prediction - label, dex",
        comparison.SIGMA_NMAD,
        "",
        _printed(result.scores.drop(columns="label_sd"), 4),
    ]
    for name, table in result.tables().items():
        title = TITLES[name].format(confidence=100 * predictor.confidence, kind=data.kind)
        lines += ["", title, _printed(table, 3)]
    return "\n".join(lines)


def _printed(table: pd.DataFrame, digits: int) -> str:
    return comparison.readable(table).to_string(float_format=lambda value: f"{value:.{digits}f}", na_rep="-")


def summary(result: Assessment, predictor: Predictor, data: Dataset, survey: Survey, models: Sequence[Path]) -> dict:
    """Put an assessment into lists and dictionaries, for JSON; parameters as of `text`."""
    return {
        "survey": str(survey.folder),
        "survey_kind": data.kind,
        "model": ", ".join(map(str, models)),
        "model_kind": predictor.kind,
        "model_recipe": recipe(predictor.ensemble.first.about),
        "split": "test",
        "results": _records(result.scores),
    } | {name: _records(table) for name, table in result.tables().items()}


def _records(table: pd.DataFrame) -> list[dict]:
    """A dictionary for each row, its index among its values, None for NaN."""
    rows = table.reset_index().to_dict("records")
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]
