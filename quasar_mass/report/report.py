"""The report: one page about a model on a survey, with its figures; what is in it, not how it looks (`page`)."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.files import progress, write_text
from quasar_mass.core.survey import Survey
from quasar_mass.predict import compatibility
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import accuracy, attribution, comparison, figures
from quasar_mass.report import page as html
from quasar_mass.report import quality_figures as quality
from quasar_mass.report.assessment import Assessment, assess
from quasar_mass.tables.dataset import Dataset
from quasar_mass.uncertainty.calibration import SYSTEMATIC

WORST = 10  # spectra drawn
ATTRIBUTED = 100  # spectra explained
NAMED = ("C IV", "C III]", "Mg II", "Fe II")  # in the interactive plot, where names must not overlap on a phone
BINS = 185  # of a spectrum in the interactive plot: 1,380 km/s each
CAVEAT = (
    "An interval holds the mass that one would measure on a spectrum by the single-epoch virial method: the label, "
    "with its measurement error. It does not hold the method's own systematic scatter of 0.3-0.5 dex (Shen 2013); "
    f"predict --total adds {SYSTEMATIC} dex for it."
)


def write(quoter: Predictor, data: Dataset, survey: Survey, folder: Path, *, quiet: bool = False) -> Path:
    """Write the page and its figures.

    Parameters
    ----------
    quoter : Predictor
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
    compatibility.check_fit(quoter.ensemble.first, data.about, survey.spectra)
    kind, plots = data.kind, folder / "figures"
    steps = iter(progress(range(5), total=5, what="report", unit="parts", quiet=quiet))
    found = assess(quoter, data, survey)
    rows = found.predictions
    next(steps)
    parts = [html.section("What was trained on what, and tried on what", html.facts(_facts(quoter, data, survey)))]
    parts.append(
        html.section(
            "Accuracy",
            html.table(accuracy.accuracy(rows)),
            note=f"Prediction minus label, dex; errors by bootstrap over objects ({kind}).",
        )
    )
    parts.append(
        html.section(
            "Beside simpler ways",
            html.table(_beside(found, data)),
            note="All learn from the same training spectra as the network.",
        )
    )
    next(steps)
    parts.append(
        html.section(
            "Every test spectrum", html.interactive(), note="Point at a spectrum, or tap it. Orange ones have flags."
        )
    )
    drawn = {
        "predictions": (figures.residuals(rows["LMBH"], rows["PREDICTED"], kind), "Predictions against labels."),
        "residuals": (quality.residuals_against(rows, kind), "Residuals against S/N, redshift and luminosity."),
    }
    parts.append(html.section("Residuals", *_pictures(drawn, plots)))
    parts += _intervals(found, quoter, kind, plots)
    parts += _more(found)
    next(steps)
    parts.append(_reasons(quoter, data, kind, plots))
    next(steps)
    parts.append(_worst(rows, data, kind, plots))
    next(steps)
    title = f"Black-hole masses: survey {survey.folder.name}"
    text = html.page(title, kind, parts, interactive_data(rows, data))
    write_text(folder / "report.html", text)
    for _ in steps:
        pass
    return folder / "report.html"


def _pictures(drawn: dict, plots: Path) -> list[str]:
    return [html.picture(quality.save_all(figure, plots, name), caption) for name, (figure, caption) in drawn.items()]


def _facts(quoter: Predictor, data: Dataset, survey: Survey) -> dict:
    about = quoter.ensemble.first.about or {}
    trained = about.get("trained_on") or {}
    facts = {
        "survey": f"{survey.folder.name} ({data.kind}): {len(data.quasars):,} objects, {len(data.spectra):,} spectra",
        "split": "by object: "
        + ", ".join(
            f"{name} {int((data.quasars['SPLIT'] == name).sum()):,}" for name in ("training", "validation", "test")
        ),
        "model trained on": f"{quoter.kind} spectra",
    }
    if trained:
        facts["training set"] = f"{trained['objects']:,} objects, {trained['spectra']:,} spectra"
        facts["redshift, S/N, labels"] = "; ".join(
            f"{low:.3g} to {high:.3g}"
            for low, high in (trained[key] for key in ("redshift", "sn", "label") if trained[key])
        )
    for name, words in (about.get("targets") or {}).items():
        facts[f"stage {name} learnt"] = words
    facts["label"] = about.get("label", "unknown")
    facts["networks"] = (
        f"{len(quoter.ensemble.members)}, {quoter.ensemble.first.model.count_params():,} parameters each"
    )
    if about.get("tables") and about["tables"] != data.about["build"]:
        facts["note"] = "the model was trained on other tables: its training objects may be among the test objects here"
    if quoter.calibration is not None:
        counts = quoter.calibration.facts.get("validation_objects", {})
        facts["calibrated on"] = f"{sum(counts.values()):,} validation objects"
    versions = about.get("versions") or {}
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items()) or "unknown"
    return facts


def _beside(result: Assessment, data: Dataset) -> pd.DataFrame:
    rows = result.predictions
    predictions = {"network": rows["PREDICTED"].to_numpy(float)} | accuracy.predict_baselines(data)
    return comparison.compare(predictions, rows["OBJECT"].to_numpy(), comparison.known_masses(rows))


def _intervals(found: Assessment, quoter: Predictor, kind: str, plots: Path) -> list[str]:
    if found.coverage is None:
        note = "This model file carries no calibration; quasar_analysis.py calibrate --model FILE adds one."
        return [html.section("Intervals", note=note)]
    drawn = {
        "calibration": (quality.calibration(found.curve, kind), "Coverage against confidence, two standard errors.")
    }
    content = [*_pictures(drawn, plots), html.table(found.curve), html.table(found.coverage)]
    if len(found.by_line):
        content.append(html.table(found.by_line))
    note = f"{CAVEAT} Share of masses inside intervals of {quoter.confidence:.0%}, by object; widths in dex."
    return [html.section("Intervals", *content, note=note)]


def _more(found: Assessment) -> list[str]:
    parts = []
    if found.pooled is not None and len(found.pooled):
        note = "One mass from all spectra of an object, by number of spectra and method; RMSE in dex."
        parts.append(html.section("Several spectra of one object", html.table(found.pooled), note=note))
    note = "Flagged spectra keep their number. RMSE against the label in dex."
    parts.append(html.section("Flags", html.table(found.flags), note=note))
    return parts


def _reasons(quoter: Predictor, data: Dataset, kind: str, plots: Path) -> str:
    spectra, label = data.part("test")
    first = ~label.index.get_level_values("OBJECT").duplicated()
    flux = spectra[first][:, :, 0]
    flux = flux[np.unique(np.linspace(0, len(flux) - 1, min(ATTRIBUTED, len(flux))).round().astype(int))]
    model = quoter.ensemble.first
    reasons = attribution.integrated_gradients(model, flux, attribution.typical_shape(flux))
    bins, parts = attribution.grouped(reasons.parts, data.grid)
    mean = np.median(flux / np.median(flux, axis=1, keepdims=True), axis=0)
    figure = quality.attribution(data.grid.wavelength, mean, bins, parts, f"{len(flux):,} test spectra", kind)
    content = _pictures(
        {"attribution": (figure, "Median spectrum, and what each part of it adds to the masses.")}, plots
    )
    content.append(html.table(attribution.fractions(reasons, data.grid)))
    if quoter.kind == "simulated":
        content.append(html.table(attribution.slopes(model, data.grid, number=30)))
    note = (
        "Integrated gradients from a typical spectrum as bright; below, how masses follow one thing alone (simulated)."
    )
    return html.section("What the network looks at", *content, note=note)


def _worst(rows: pd.DataFrame, data: Dataset, kind: str, plots: Path) -> str:
    """The spectra with the largest residuals, one of an object."""
    size = (rows["PREDICTED"] - rows["LMBH"]).abs().sort_values(ascending=False, kind="stable")
    chosen = rows.loc[size.index].drop_duplicates("OBJECT").head(WORST)
    drawn = {}
    spectra = data.spectra.index.get_indexer(pd.MultiIndex.from_frame(chosen[["OBJECT", "EPOCH"]]))
    for number, (place, (_, row)) in enumerate(zip(spectra, chosen.iterrows(), strict=True), 1):
        title = f"{row['EPOCH']}: predicted {row['PREDICTED']:.2f}, label {row['LMBH']:.2f} from {row['LABEL_LINE']}"
        figure = figures.spectrum(data.grid.wavelength, data.flux[place], title, kind)
        flags = f" Flags: {row['FLAGS']}." if row["FLAGS"] else ""
        drawn[f"worst-{number:02d}"] = (
            figure,
            f"{number}. {row['OBJECT']}, S/N {row['SN']:.1f}, z {row['Z']:.3f}.{flags}",
        )
    return html.section(f"The worst {len(chosen)} spectra", *_pictures(drawn, plots))


def interactive_data(rows: pd.DataFrame, data: Dataset) -> dict:
    """What the interactive plot shows: numbers rounded, spectra in `BINS` bins of one byte each."""
    places = data.spectra.index.get_indexer(pd.MultiIndex.from_frame(rows[["OBJECT", "EPOCH"]]))
    group = max(1, data.grid.size // BINS)
    bins = data.grid.size // group
    flux = np.stack([data.flux[place, : bins * group].reshape(bins, group).mean(axis=1) for place in places])
    floor, top = flux.min(axis=1), flux.max(axis=1)
    scaled = np.rint(255.0 * (flux - floor[:, None]) / np.maximum(top - floor, 1e-12)[:, None]).astype(np.uint8)
    wavelength = data.grid.wavelength[: bins * group].reshape(bins, group).mean(axis=1)

    def numbers(values, digits: int) -> list:
        return [round(float(value), digits) if np.isfinite(value) else None for value in np.asarray(values, float)]

    found = {
        "kind": data.kind,
        "names": {
            "label": "label log10(M / M_Sun)",
            "predicted": "predicted log10(M / M_Sun)",
            "sn": "S/N per pixel",
            "z": "redshift",
            "luminosity": "log10 luminosity at 3000 Angstrom (erg/s)",
        },
        "lines": [[name, wavelength] for name, wavelength, _ in figures.LINES if name in NAMED],
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
    return found | {key: numbers(rows[name], 4) for key, name in columns.items()}
