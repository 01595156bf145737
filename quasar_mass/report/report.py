"""The report: one page about a model on a survey, with its figures. `page` and ``template.html`` say how it looks."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quasar_mass.core.files import progress, write_text
from quasar_mass.core.survey import SPLITS, Survey
from quasar_mass.network.architecture import recipe
from quasar_mass.predict.compatibility import check_fit
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import accuracy, attribution, comparison, figures, page
from quasar_mass.report import quality_figures as quality
from quasar_mass.report.assessment import Assessment, assess
from quasar_mass.report.page import Section
from quasar_mass.tables.dataset import Dataset
from quasar_mass.uncertainty.calibration import SYSTEMATIC

MAX_WORST = 10  # spectra drawn
MAX_ATTRIBUTED = 100  # spectra explained
PROBES = 30  # simulated quasars that are changed to measure slopes
# Lines named in the interactive plot, where names must not overlap on a phone.
NAMED_LINES = ("C IV", "C III]", "Mg II", "Fe II")
BINS = 185  # of a spectrum in the interactive plot: 1,380 km/s each
CAVEAT = (
    "An interval holds the mass that one would measure on a spectrum by the single-epoch virial method: the label, "
    "with its measurement error. It does not hold the method's own systematic scatter of 0.3-0.5 dex (Shen 2013); "
    f"predict --total adds {SYSTEMATIC} dex for it."
)


def write(predictor: Predictor, data: Dataset, survey: Survey, folder: Path, *, quiet: bool = False) -> Path:
    """Write the page and its figures.

    Parameters
    ----------
    predictor : Predictor
    data : Dataset
        The survey's tables.
    survey : Survey
    folder : Path
        Gets ``report.html`` and ``figures/`` with PNG and PDF.
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
    plots = folder / "figures"
    result = None

    def predictions() -> list[Section]:
        nonlocal result
        result = assess(predictor, data, survey)
        return [_facts(predictor, data, survey), _accuracy(result, data.kind)]

    parts = (
        predictions,
        lambda: [_baselines(result, data)],
        lambda: [_interactive(), _residuals(result, data.kind, plots)],
        lambda: [_intervals(result, predictor, data.kind, plots), *_pooling(result), _flags(result)],
        lambda: [_attribution(predictor, data, plots)],
        lambda: [_worst(result.predictions, data, plots)],
    )
    sections = []
    for part in progress(parts, total=len(parts), what="report", unit="parts", quiet=quiet):
        sections += part()
    title = f"Black-hole masses: survey {survey.folder.name}"
    plotted = interactive_data(result.predictions, data)
    write_text(folder / "report.html", page.render(title, data.kind, sections, plotted))
    return folder / "report.html"


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
    first = predictor.ensemble.first.model
    facts["networks"] = f"{len(predictor.ensemble.members)}, {first.count_params():,} parameters each"
    if about.get("tables") and about["tables"] != data.about["build"]:
        facts["note"] = "the model was trained on other tables: its training objects may be among the test objects here"
    if predictor.calibration is not None:
        counts = predictor.calibration.facts.get("validation_objects", {})
        facts["calibrated on"] = f"{sum(counts.values()):,} validation objects"
    versions = about.get("versions") or {}
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items()) or "unknown"
    return Section("Model and survey", "", (page.facts(facts),))


def _accuracy(result: Assessment, kind: str) -> Section:
    note = f"Prediction minus label of the test objects, dex ({kind}). {comparison.SIGMA_NMAD}. Errors of the RMSE are "
    note += "from a bootstrap over objects."
    return Section("Accuracy", note, (page.table(accuracy.accuracy(result.predictions)),))


def _baselines(result: Assessment, data: Dataset) -> Section:
    rows = result.predictions
    predictions = {"network": rows["PREDICTED"].to_numpy(float)} | accuracy.predict_baselines(data)
    table = comparison.compare(predictions, rows["OBJECT"].to_numpy(), comparison.known_masses(rows))
    note = "All are trained on the same spectra as the network."
    return Section("Comparison with baselines", note, (page.table(table),))


def _interactive() -> Section:
    note = "Point at a spectrum, or tap it. Orange ones have flags."
    return Section("Every test spectrum", note, (page.plot(),))


def _residuals(result: Assessment, kind: str, plots: Path) -> Section:
    rows = result.predictions
    masses = figures.residuals(rows["LMBH"], rows["PREDICTED"], kind)
    others = quality.residuals_against(rows, kind)
    return Section(
        "Residuals",
        "",
        (
            _picture(masses, plots, "predictions", "Predictions against labels."),
            _picture(others, plots, "residuals", "Residuals against S/N, redshift and luminosity."),
        ),
    )


def _intervals(result: Assessment, predictor: Predictor, kind: str, plots: Path) -> Section:
    if result.coverage is None:
        note = "This model file has no calibration; quasar_analysis.py calibrate --model FILE adds it."
        return Section("Intervals", note)
    figure = quality.calibration(result.curve, kind)
    blocks = [_picture(figure, plots, "calibration", "Coverage against confidence, with two standard errors.")]
    tables = (result.curve, result.coverage, result.by_line)
    blocks += [page.table(table) for table in tables if len(table)]
    note = f"{CAVEAT} Fraction of masses inside intervals of {predictor.confidence:.0%}, by object; widths in dex."
    return Section("Intervals", note, tuple(blocks))


def _pooling(result: Assessment) -> list[Section]:
    if result.pooled is None or not len(result.pooled):
        return []
    note = "One mass from all spectra of an object, by number of spectra and method; RMSE in dex."
    return [Section("Several spectra of one object", note, (page.table(result.pooled),))]


def _flags(result: Assessment) -> Section:
    note = "Flagged spectra keep their mass. RMSE against the label in dex."
    return Section("Flags", note, (page.table(result.flags),))


def _attribution(predictor: Predictor, data: Dataset, plots: Path) -> Section:
    spectra, label = data.part("test")
    first = ~label.index.get_level_values("OBJECT").duplicated()  # one spectrum of an object
    flux = spectra[first][:, :, 0]
    flux = flux[np.unique(np.linspace(0, len(flux) - 1, min(MAX_ATTRIBUTED, len(flux))).round().astype(int))]
    model = predictor.ensemble.first
    attributions = attribution.integrated_gradients(model, flux, attribution.typical_shape(flux))
    bins, parts = attribution.grouped(attributions.parts, data.grid)
    median = np.median(flux / np.median(flux, axis=1, keepdims=True), axis=0)
    title = f"What moves the predicted masses: {len(flux):,} test spectra"
    figure = quality.attribution(data.grid.wavelength, median, bins, parts, title, data.kind)
    caption = "Median spectrum, and what each part of it adds to the masses."
    blocks = [_picture(figure, plots, "attribution", caption)]
    blocks.append(page.table(attribution.fractions(attributions, data.grid)))
    note = "Integrated gradients, from a typical spectrum as bright to each spectrum."
    if predictor.kind == "simulated":
        blocks.append(page.table(attribution.slopes(model, data.grid, number=PROBES)))
        note += " Below, how masses follow one property alone (simulated)."
    return Section("What moves the masses", note, tuple(blocks))


def _worst(rows: pd.DataFrame, data: Dataset, plots: Path) -> Section:
    """The spectra with the largest residuals, one of an object."""
    size = (rows["PREDICTED"] - rows["LMBH"]).abs().sort_values(ascending=False, kind="stable")
    chosen = rows.loc[size.index].drop_duplicates("OBJECT").head(MAX_WORST)
    pictures = []
    spectra = data.spectra.index.get_indexer(pd.MultiIndex.from_frame(chosen[["OBJECT", "EPOCH"]]))
    for number, (spectrum, (_, row)) in enumerate(zip(spectra, chosen.iterrows(), strict=True), 1):
        title = f"{row['EPOCH']}: predicted {row['PREDICTED']:.2f}, label {row['LMBH']:.2f} from {row['LABEL_LINE']}"
        figure = figures.spectrum(data.grid.wavelength, data.flux[spectrum], title, data.kind)
        flags = f" Flags: {row['FLAGS']}." if row["FLAGS"] else ""
        caption = f"{number}. {row['OBJECT']}, S/N {row['SN']:.1f}, z {row['Z']:.3f}.{flags}"
        pictures.append(_picture(figure, plots, f"worst-{number:02d}", caption))
    return Section(f"The {len(chosen)} spectra with the largest residuals", "", tuple(pictures))


def _picture(figure: Figure, plots: Path, name: str, caption: str) -> dict:
    return page.picture(figures.save_all(figure, plots, name), caption)


def interactive_data(rows: pd.DataFrame, data: Dataset) -> dict:
    """Collect what the interactive plot shows: numbers rounded, spectra in `BINS` bins of one byte each.

    Parameters
    ----------
    rows : DataFrame
        `Assessment.predictions`.
    data : Dataset

    Returns
    -------
    dict
        Lists with an entry for each spectrum, and names and lines; for JSON.
    """
    spectra = data.spectra.index.get_indexer(pd.MultiIndex.from_frame(rows[["OBJECT", "EPOCH"]]))
    group = max(1, data.grid.size // BINS)
    bins = data.grid.size // group
    flux = np.stack([data.flux[row, : bins * group].reshape(bins, group).mean(axis=1) for row in spectra])
    floor, top = flux.min(axis=1), flux.max(axis=1)
    scaled = np.rint(255.0 * (flux - floor[:, None]) / np.maximum(top - floor, 1e-12)[:, None]).astype(np.uint8)
    wavelength = data.grid.wavelength[: bins * group].reshape(bins, group).mean(axis=1)

    def numbers(values, digits: int) -> list:
        return [round(float(value), digits) if np.isfinite(value) else None for value in np.asarray(values, float)]

    shown = {
        "kind": data.kind,
        "names": {
            "label": "label log10(M / M_Sun)",
            "predicted": "predicted log10(M / M_Sun)",
            "sn": "S/N per pixel",
            "z": "redshift",
            "luminosity": "log10 luminosity at 3000 Angstrom (erg/s)",
        },
        "lines": [[name, wavelength] for name, wavelength, _ in figures.LINES if name in NAMED_LINES],
        "wavelength": numbers(wavelength, 1),
        "spectra": base64.b64encode(scaled.tobytes()).decode(),
        "floor": numbers(floor, 4),
        "top": numbers(top, 4),
        "epoch": [str(name) for name in rows["EPOCH"]],
        "line": [str(name) for name in rows["LABEL_LINE"]],
        "flags": [str(words) for words in rows["FLAGS"]],
    }
    columns = {"label": "LMBH", "predicted": "PREDICTED", "sn": "SN", "z": "Z", "luminosity": "LOG_L"}
    columns |= {key: name for key, name in {"low": "LMBH_LOW", "high": "LMBH_HIGH"}.items() if name in rows}
    return shown | {key: numbers(rows[name], 4) for key, name in columns.items()}
