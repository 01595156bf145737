"""The report: one page about a model on a survey. `page` and ``template.html`` say how it looks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core import evaluation
from quasar_mass.core.constants import C_KM_S
from quasar_mass.core.files import progress, write_text
from quasar_mass.core.survey import SPLITS, Survey
from quasar_mass.network.architecture import recipe
from quasar_mass.predict.compatibility import check_fit
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import accuracy, attribution, comparison, coverage_tables, packing, page, plots
from quasar_mass.report.assessment import Assessment, assess
from quasar_mass.report.attribution import Attributions
from quasar_mass.report.page import Plot, Section
from quasar_mass.tables.dataset import Dataset
from quasar_mass.uncertainty.calibration import SYSTEMATIC

MAX_SHOWN = 5000  # spectra in the figures: 1 kB of the page each
MAX_WORST = 100  # of them, those with the largest residuals; the others are spread evenly
PROBES = 30  # simulated quasars that are changed to measure slopes
STEPS = 8  # of the attributions: the parts of a spectrum then add up to its mass within 0.01 dex
# Columns of the page's table and of the CSV that it saves.
COLUMNS = ("OBJECT", "EPOCH", "Z", "SN", "LOG_L", "LMBH", "LABEL_LINE", "PREDICTED", "LMBH_LOW", "LMBH_HIGH", "FLAGS")
CAVEAT = (
    "An interval holds the mass that one would measure on a spectrum by the single-epoch virial method: the label, "
    "with its measurement error. It does not hold the method's own systematic scatter of 0.3-0.5 dex (Shen 2013); "
    f"predict --total adds {SYSTEMATIC} dex for it."
)
# Yong & Ong 2023 (MNRAS 524, 3116): a network and conformal intervals for Mg II masses of observed quasars.
PUBLISHED = {"sample": "sdss, another", "rmse": 0.213, "r2": 0.78, "confidence": 0.9, "coverage": 0.888, "width": 0.667}


def write(predictor: Predictor, data: Dataset, survey: Survey, folder: Path, *, quiet: bool = False) -> Path:
    """Write the page.

    Parameters
    ----------
    predictor : Predictor
    data : Dataset
        The survey's tables.
    survey : Survey
    folder : Path
        Gets ``report.html``.
    quiet : bool
        No progress bar.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ModelError, TableError
        If model and survey do not fit, or there are no test objects.
    """
    check_fit(predictor.ensemble.first, data.about, survey.spectra)
    done = {}
    work = {
        "result": lambda: assess(predictor, data, survey),
        "baselines": lambda: _baselines(done["result"], data),
        "spectra": lambda: shown(done["result"].predictions, data),
        "attributions": lambda: _attributions(predictor, data, done["spectra"]),
        "slopes": lambda: _slopes(predictor),
    }
    for name in progress(work, total=len(work), what="report", unit="parts", quiet=quiet):
        done[name] = work[name]()
    result, spectra, attributions = done["result"], done["spectra"], done["attributions"]
    flux = data.flux[spectra["ROW"]]
    scales, arrays = packing.pack(flux, attributions.parts, spectra, data.grid)
    points = spectra.drop(columns="ROW").assign(TYPICAL=attributions.baseline_mass, **scales)
    figures = plots.Spectra(points, data.kind)
    sections = [
        _every_spectrum(figures, points, np.array(arrays["wavelength"]), result),
        _residuals(figures),
        _accuracy(result, predictor, data.kind, done["baselines"]),
        _intervals(result, predictor, data.kind),
        *_pooling(result),
        _flags(result),
        _attribution(attributions, spectra, done["slopes"], data),
        _facts(predictor, data, survey),
    ]
    arrays["scales"] = [name for name in points if name not in COLUMNS]
    title = f"Black-hole masses: survey {survey.folder.name}"
    lead = _lead(result, predictor, data)
    html = page.render(title, data.kind, lead, headline(result, predictor.confidence), sections, arrays)
    write_text(folder / "report.html", html)
    return folder / "report.html"


def shown(rows: pd.DataFrame, data: Dataset) -> pd.DataFrame:
    """Choose the spectra for the figures, and sort them by the size of their residuals.

    Parameters
    ----------
    rows : DataFrame
        `Assessment.predictions`.
    data : Dataset

    Returns
    -------
    DataFrame
        At most `MAX_SHOWN` rows: those of `COLUMNS` that there are; RESIDUAL, prediction minus label in dex; ROW, where
        the data set has the spectrum.
    """
    rows = rows.assign(RESIDUAL=rows["PREDICTED"] - rows["LMBH"], LABEL_LINE=rows["LABEL_LINE"].fillna("unknown"))
    rows["ROW"] = data.spectra.index.get_indexer(pd.MultiIndex.from_frame(rows[["OBJECT", "EPOCH"]]))
    rows = rows.iloc[np.argsort(-rows["RESIDUAL"].abs().to_numpy(), kind="stable")]
    if len(rows) > MAX_SHOWN:
        others = np.linspace(MAX_WORST, len(rows) - 1, MAX_SHOWN - MAX_WORST).round().astype(int)
        rows = rows.iloc[np.concatenate([np.arange(MAX_WORST), others])]
    return rows[[name for name in (*COLUMNS, "RESIDUAL", "ROW") if name in rows]].reset_index(drop=True)


def _attributions(predictor: Predictor, data: Dataset, spectra: pd.DataFrame) -> Attributions:
    flux = predictor.inputs(data.flux[spectra["ROW"]], spectra["Z"].to_numpy(float))
    shape = attribution.typical_shape(flux)
    return attribution.integrated_gradients(predictor.in_keras, flux, shape, steps=STEPS)


def _slopes(predictor: Predictor) -> pd.DataFrame | None:
    return attribution.slopes(predictor, number=PROBES) if predictor.kind == "simulated" else None


def headline(result: Assessment, confidence: float) -> list[tuple[str, str, str]]:
    """The numbers that matter: names, values, and what they are of.

    Every object counts once, with the mean of the predictions from its spectra.

    Parameters
    ----------
    result : Assessment
    confidence : float
        Of the intervals.
    """
    objects = evaluation.groups(result.predictions)["per object (mean)", "all"]
    label, predicted = objects["LMBH"].to_numpy(float), objects["PREDICTED"].to_numpy(float)
    scores = evaluation.scores(label, predicted)
    error = comparison.bootstrap_rmse(objects["OBJECT"].to_numpy(), predicted - label)
    spectra = result.scores.loc[("per spectrum", "all")]
    rows = [
        (
            "RMSE",
            f"{scores['rmse']:.3f} dex",
            f"\u00b1 {error:.3f}; {spectra['rmse']:.3f} if every spectrum counts once",
        ),
        ("sigma_NMAD", f"{scores['sigma_NMAD']:.3f} dex", f"{spectra['sigma_NMAD']:.3f} if every spectrum counts once"),
    ]
    if result.coverage is None:
        return [*rows, ("Coverage", "unknown", "this model has no calibration, and so no intervals")]
    inside = result.coverage.loc[("all", "all")]
    what = f"\u00b1 {inside['error']:.1%} of the labels inside intervals of {100 * confidence:g}%"
    width = f"mean width of intervals of {100 * confidence:g}%"
    return [*rows, ("Coverage", f"{inside['label']:.1%}", what), ("Width", f"{inside['width']:.2f} dex", width)]


def _lead(result: Assessment, predictor: Predictor, data: Dataset) -> str:
    rows = result.predictions
    words = f"{rows['OBJECT'].nunique():,} test quasars ({data.kind}), each counting once, with {len(rows):,} spectra; "
    words += f"a model trained on {predictor.kind} spectra. Prediction against label, the single-epoch virial mass "
    words += "that the survey publishes."
    if data.kind == "simulated":
        words += " No number here says anything about real quasars."
    tables = (predictor.ensemble.first.about or {}).get("tables")
    if tables and tables != data.about["build"]:
        words += " The model was trained on other tables: its training objects may be among these."
    return words


def _every_spectrum(
    figures: plots.Spectra, points: pd.DataFrame, wavelength: np.ndarray, result: Assessment
) -> Section:
    rmse = float(np.sqrt(np.mean(points["RESIDUAL"] ** 2)))
    ends = "{:.1f} to {:.1f}".format(*points["LMBH"].quantile([0, 1]))
    bar = " The bar is the interval of the one that is shown." if "LMBH_LOW" in points else ""
    masses = Plot(
        "masses",
        figures.masses(),
        "Each point is a spectrum; orange triangles have flags." + bar,
        f"{len(points):,} points: predicted against label log mass, {ends}, {rmse:.2f} dex around equality",
    )
    spectrum = plots.spectrum(wavelength)
    width = round(C_KM_S * np.log(wavelength[1] / wavelength[0]), -2)
    shown = Plot(
        "spectrum",
        spectrum,
        f"Luminosity density in bins of {width:,.0f} km/s. Band: one standard error, from the scatter of neighbouring "
        "pixels and the spectrum's S/N.",
        "the spectrum that is shown and its error; what it is stands above",
    )
    explained = Plot(
        "attribution",
        plots.attribution(wavelength, spectrum.x_range),
        "What each bin adds to the mass of a typical quasar as bright: blue raises, orange lowers.",
        "what each part of the spectrum that is shown adds to its mass",
    )
    note = "Tap a point, or draw a box, to choose spectra in any of the figures; the first of the table is shown."
    if len(points) < len(result.predictions):
        note += f" {len(points):,} of {len(result.predictions):,} spectra: the {MAX_WORST} with the largest residuals, "
        note += "and others evenly spread."
    return Section("Every test spectrum", note, (page.explorer(masses, shown, explained),))


def _residuals(figures: plots.Spectra) -> Section:
    drawn = []
    for column, name in {"SN": "S/N", "Z": "redshift", "LOG_L": "luminosity"}.items():
        if not np.isfinite(figures.points.data[column]).any():  # tables of the reference have no S/N
            continue
        bins = figures.bins(column)
        alt = f"residuals against {name}"
        if len(bins["P50"]):
            first, last = (f"{bins['P50'][k]:+.2f} \u00b1 {(bins['P84'] - bins['P16'])[k] / 2:.2f}" for k in (0, -1))
            alt += f": median and scatter {first} dex at the lowest, {last} dex at the highest"
        drawn.append(Plot(f"residuals-{name.replace('/', '')}", figures.residuals(column), f"Against {name}.", alt))
    note = "Line and band: median, and 16th to 84th percentile, in bins of equal numbers of spectra."
    return Section("Residuals", note, (page.figures(*drawn),))


def _accuracy(result: Assessment, predictor: Predictor, kind: str, baselines: pd.DataFrame) -> Section:
    note = (
        f"Prediction minus label, dex. {comparison.SIGMA_NMAD}. Errors of the RMSE are from a bootstrap over objects."
    )
    high = f"S/N of {coverage_tables.HIGH_SN_NAME}, by object, beside Yong & Ong 2023 (MNRAS 524, 3116): a network of "
    high += "theirs on observed spectra of SDSS DR16. Another sample: R2 and coverage depend on it."
    tables = (
        page.table(accuracy.accuracy(result.predictions), f"Test spectra ({kind})"),
        page.table(beside_published(result, predictor, kind), high),
        page.table(baselines, f"Baselines, trained on the same spectra ({kind})"),
    )
    return Section("Accuracy", note, tables)


def beside_published(result: Assessment, predictor: Predictor, kind: str) -> pd.DataFrame:
    """Score the spectra of high S/N as Yong & Ong 2023 did theirs, and give their numbers (`PUBLISHED`) beside.

    Returns
    -------
    DataFrame
        Index masses and the lines that the labels come from; sample; n, RMSE (dex) and R2, by object; confidence,
        coverage and mean width (dex) of the intervals: those for Mg II, where the labels come from it.
    """
    rows = result.predictions
    high = rows[rows["SN"] >= coverage_tables.HIGH_SN]
    table = {}
    for line, of_line in {"any": high, "MgII": high[high["LABEL_LINE"] == "MgII"]}.items():
        objects = evaluation.groups(of_line)["per object (mean)", "all"]
        scores = evaluation.scores(objects["LMBH"], objects["PREDICTED"])
        row = {"sample": kind, "n": scores["n"], "rmse": scores["rmse"], "r2": scores["r2"]}
        if result.coverage is not None:
            inside = _coverage(result, line, of_line)
            row |= {"confidence": predictor.confidence, "coverage": inside["label"], "width": inside["width"]}
        table["this model", line] = row
    table["Yong & Ong 2023", "MgII"] = PUBLISHED
    index = pd.MultiIndex.from_tuples(list(table), names=["masses", "labels"])
    return pd.DataFrame(list(table.values()), index=index).astype({"n": "Int64"})


def _coverage(result: Assessment, line: str, rows: pd.DataFrame) -> pd.Series:
    of_line = "line known", f"{line}, S/N {coverage_tables.HIGH_SN_NAME}"
    if of_line in result.by_line.index:
        return result.by_line.loc[of_line]
    ends = rows["LMBH_LOW"].to_numpy(), rows["LMBH_HIGH"].to_numpy()
    every = {("all", "all"): np.ones(len(rows), bool)}
    return coverage_tables.coverage(rows, *ends, {"label": rows["LMBH"].to_numpy(float)}, every).iloc[0]


def _baselines(result: Assessment, data: Dataset) -> pd.DataFrame:
    rows = result.predictions
    predictions = {"network": rows["PREDICTED"].to_numpy(float)} | accuracy.predict_baselines(data)
    return comparison.compare(predictions, rows["OBJECT"].to_numpy(), comparison.known_masses(rows))


def _intervals(result: Assessment, predictor: Predictor, kind: str) -> Section:
    if result.coverage is None:
        note = "This model file has no calibration; quasar_analysis.py calibrate --model FILE adds it."
        return Section("Intervals", note)
    measured = "; ".join(f"{at:.0%}: {row['coverage']:.1%}" for at, row in result.curve.iterrows())
    caption = "Labels inside the intervals, with two standard errors. On the line, intervals hold what they promise."
    drawn = Plot("coverage", plots.coverage(result.curve, kind), caption, f"coverage at confidence {measured}")
    blocks = [
        page.figures(drawn, small=True),
        page.table(result.coverage, f"Intervals of {100 * predictor.confidence:g}% ({kind})"),
    ]
    if len(result.by_line):
        caption = f"The same where the line of the label is known: --line ({kind})"
        blocks.append(page.table(result.by_line, caption))
    note = f"{CAVEAT} Coverage is the fraction of masses inside, by object; widths are in dex."
    return Section("Intervals", note, tuple(blocks))


def _pooling(result: Assessment) -> list[Section]:
    if result.pooled is None or not len(result.pooled):
        return []
    note = "One mass from all spectra of an object, by number of spectra and method; RMSE in dex."
    return [Section("Several spectra of one object", note, (page.table(result.pooled),))]


def _flags(result: Assessment) -> Section:
    note = "Flagged spectra keep their mass. RMSE against the label in dex."
    return Section("Flags", note, (page.table(result.flags),))


def _attribution(
    attributions: Attributions, spectra: pd.DataFrame, slopes: pd.DataFrame | None, data: Dataset
) -> Section:
    # one spectrum of an object, and not the one with the largest residual
    first = ~spectra.sort_values("ROW")["OBJECT"].duplicated().sort_index().to_numpy()
    fields = {name: getattr(attributions, name)[first] for name in ("parts", "mass", "baseline_mass")}
    attributions = replace(attributions, **fields)
    wavelength, parts = attribution.grouped(attributions.parts, data.grid)
    fractions = attribution.fractions(attributions, data.grid)
    caption = "What each bin adds to the mass: the mean of its sizes (blue), and its mean (orange)."
    alt = "parts of the attribution: " + ", ".join(f"{name} {part:.0%}" for name, part in fractions["fraction"].items())
    drawn = Plot("attributions", plots.mean_attribution(wavelength, parts, data.kind), caption, alt)
    blocks = [page.figures(drawn), page.table(fractions, f"Fractions of the attribution ({data.kind})")]
    if slopes is not None:
        blocks.append(page.table(slopes, "How masses follow one property alone (simulated)"))
    note = "Integrated gradients, from a typical spectrum as bright to each spectrum; one spectrum of each object."
    return Section("What moves the masses", note, tuple(blocks))


def _facts(predictor: Predictor, data: Dataset, survey: Survey) -> Section:
    about = predictor.ensemble.first.about or {}
    split = data.quasars["SPLIT"]
    facts = {
        "survey": f"{survey.folder.name} ({data.kind}): {len(data.quasars):,} objects, {len(data.spectra):,} spectra",
        "split": "by object: " + ", ".join(f"{name} {int((split == name).sum()):,}" for name in SPLITS),
        "model": recipe(about),
        "model trained on": f"{predictor.kind} spectra",
    }
    trained = about.get("trained_on")
    if trained:
        facts["training set"] = f"{trained['objects']:,} objects, {trained['spectra']:,} spectra"
        for key, name in {"redshift": "redshift", "sn": "S/N", "label": "label"}.items():
            if trained[key]:
                facts[f"{name} of the training set"] = "{:.3g} to {:.3g}".format(*trained[key])
    for name, words in (about.get("targets") or {}).items():
        facts[f"targets of stage {name}"] = words
    facts["label"] = about.get("label", "unknown")
    parameters = sum(weight.size for weight in predictor.ensemble.first.weights)
    facts["networks"] = f"{len(predictor.ensemble.members)}, {parameters:,} parameters each"
    if predictor.calibration is not None:
        counts = predictor.calibration.facts.get("validation_objects", {})
        facts["calibrated on"] = f"{sum(counts.values()):,} validation objects"
    versions = about.get("versions") or {}
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items()) or "unknown"
    return Section("Model and survey", "", (page.facts(facts),))
