"""Masses of spectra: from files or a survey's table to a table that TOPCAT and astropy open."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass import table_files, tables
from quasar_mass.easyai import EasyAI
from quasar_mass.errors import FileError, ModelError, SpectrumError
from quasar_mass.files import progress
from quasar_mass.spec_file import read_spectrum
from quasar_mass.spectrum import to_rest_frame
from quasar_mass.survey import HOME, REFERENCE_STEP, STEP, Grid, Survey

FINAL = "Best_ANN_final_stage.h5"
SHIPPED_MODEL = HOME / "models" / "Best_models" / FINAL
DEMO_MODEL = HOME / "models" / "demo" / FINAL

_BATCH = 1024  # spectra in memory at a time

# column: (unit, description)
COLUMNS = {
    "OBJECT": ("", "SDSS name; empty for a file that is not of a survey"),
    "EPOCH": ("", "plate-mjd-fiber of the spectrum"),
    "FILE": ("", "the file, where one was given"),
    "Z": ("", "redshift used"),
    "SN": ("", "median signal-to-noise per good pixel, rest frame 1445-3388 Angstrom"),
    "LMBH": ("dex(Msun)", "predicted log10(M_BH / M_Sun): the single-epoch mass one would measure"),
    "FLAGS": ("", "what to mind"),
    "REASON": ("", "why there is no mass"),
    "SPLIT": ("", "part of the training survey's split"),
    "N_EPOCHS": ("", "spectra averaged"),
    "LMBH_SD": ("dex", "standard deviation of the masses over the object's spectra"),
    "SURVEY_KIND": ("", "sdss: observed; simulated: not"),
    "MODEL_KIND": ("", "what the model was trained on: sdss or simulated"),
}


def default_model() -> Path:
    """The shipped model, or the demonstration's own where none is shipped."""
    return SHIPPED_MODEL if SHIPPED_MODEL.exists() or not DEMO_MODEL.exists() else DEMO_MODEL


def model_grid(model: EasyAI) -> Grid:
    """The grid a model expects, from its own description or, for a file from elsewhere, from its input size."""
    if model.about and "grid" in model.about:
        return Grid(model.about["grid"]["step"])
    for grid in (Grid(STEP), Grid(REFERENCE_STEP)):
        if model.model.input_shape[1] == grid.size:
            return grid
    raise ModelError(
        "the model",
        expected=f"{Grid(STEP).size} or {Grid(REFERENCE_STEP).size} input pixels, or a file that describes its grid",
        got=f"{model.model.input_shape[1]} pixels and no description",
        do="use a model of this project",
    )


def model_kind(model: EasyAI) -> str:
    """``"simulated"``, ``"sdss"``, or ``"unknown"`` for a file from elsewhere."""
    return (model.about or {}).get("kind", "unknown")


def caution(model: EasyAI, survey_kind: str) -> str:
    """One line to print with every prediction: what the model was trained on, and what it is used on."""
    kind = model_kind(model)
    if kind == "unknown":
        return "note: this model file does not say what it was trained on; take its masses with care"
    if kind == "simulated" and survey_kind == "sdss":
        return (
            "note: this model was trained on SIMULATED spectra and is applied to observed ones;"
            " how well it transfers is not established"
        )
    return f"note: model trained on {kind} spectra, applied to {survey_kind} ones"


def _flags(model: EasyAI, redshift: float, signal_to_noise: float) -> list[str]:
    """What is unusual about a spectrum, seen from the model's training set."""
    trained = (model.about or {}).get("trained_on")
    if not trained:
        return ["training range unknown"]
    flags = []
    if not trained["redshift"][0] <= redshift <= trained["redshift"][1]:
        flags.append("redshift outside training")
    if trained["sn"] and np.isfinite(signal_to_noise) and not trained["sn"][0] <= signal_to_noise <= trained["sn"][1]:
        flags.append("S/N outside training")
    return flags


def expand(arguments: Iterable[str | Path]) -> list[Path]:
    """Files as given, and all ``*.fits`` below each folder, sorted.

    Raises
    ------
    FileError
        If a folder holds none, or a name is empty.
    """
    files = []
    for argument in arguments:
        if not str(argument):  # a shell variable that is not set; as a path it would be the current folder
            raise FileError("FILES", expected="names of spec files or folders", got="an empty name", do="name one")
        argument = Path(argument)
        if argument.is_dir():
            found = sorted(argument.rglob("*.fits"))
            if not found:
                raise FileError(
                    argument, expected="spec files (*.fits) in this folder", got="none", do="name another one"
                )
            files.extend(found)
        else:
            files.append(argument)
    return files


def predict_files(files: list[Path], model: EasyAI, *, quiet: bool = False) -> pd.DataFrame:
    """Predict the mass of every spec file, with the redshift and the extinction that the file itself carries.

    Parameters
    ----------
    files : list of Path
    model : EasyAI
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        One row per file, in order; where no mass can be given LMBH is NaN and REASON says why.

    Raises
    ------
    SpectrumError
        If not one of the files can be used; says why the first cannot.
    """
    grid = model_grid(model)
    corrected = (model.about or {}).get("extinction_corrected", False)
    rows, fluxes, waiting, refusals = [], [], [], []

    def flush() -> None:
        if fluxes:
            for row, mass in zip(waiting, model.predict(np.stack(fluxes)), strict=True):
                row["LMBH"] = float(mass)
        fluxes.clear()
        waiting.clear()

    for file in progress(files, total=len(files), what="spectra", unit="files", quiet=quiet or len(files) < 20):
        row = dict.fromkeys(("OBJECT", "EPOCH", "FLAGS", "REASON"), "")
        row |= {
            "FILE": str(file),
            "Z": np.nan,
            "SN": np.nan,
            "LMBH": np.nan,
            "SURVEY_KIND": "",
            "MODEL_KIND": model_kind(model),
        }
        rows.append(row)
        try:
            spectrum = read_spectrum(file)
            row |= {"EPOCH": spectrum.epoch, "Z": spectrum.redshift, "SURVEY_KIND": spectrum.kind}
            placed = to_rest_frame(spectrum, spectrum.redshift, grid, ebv=spectrum.ebv if corrected else None)
        except SpectrumError as error:
            refusals.append(error)
            row["REASON"] = f"{error.reason}: expected {error.expected}, got {error.got}"
            continue
        flags = _flags(model, spectrum.redshift, placed.signal_to_noise)
        if spectrum.spectral_class not in ("QSO", ""):
            flags.append(f"class {spectrum.spectral_class}")
        known = not (corrected and np.isnan(spectrum.ebv))
        flags += tables.quality_flags(placed.n_bad, placed.n_pixels, extinction_known=known)
        row |= {"SN": placed.signal_to_noise, "FLAGS": "; ".join(flags)}
        fluxes.append(placed.flux)
        waiting.append(row)
        if len(fluxes) == _BATCH:
            flush()
    if len(refusals) == len(files):
        first = refusals[0]
        raise SpectrumError(
            files[0] if len(files) == 1 else f"{len(files)} files, {files[0]} the first of them",
            reason=first.reason,
            expected=first.expected,
            got=first.got,
            do="name a spectrum that can be used, nothing was written",
        )
    flush()
    return pd.DataFrame(rows)[
        ["OBJECT", "EPOCH", "FILE", "Z", "SN", "LMBH", "FLAGS", "REASON", "SURVEY_KIND", "MODEL_KIND"]
    ]


def predict_survey(survey: Survey, model: EasyAI, *, quiet: bool = False) -> pd.DataFrame:
    """Predict the mass of every spectrum of a survey's spectra.parquet, streamed.

    Raises
    ------
    ModelError
        If the table is not on the model's grid, or was not treated for extinction as the training set was.
    """
    about = tables.read_about(survey.spectra)
    check_fit(model, about, survey.spectra)
    split = tables.read_quasars(survey.quasars)["SPLIT"]
    parts = []
    total = tables.count_spectra(survey.spectra)
    with progress(None, total=total, what="masses", unit="spectra", quiet=quiet) as bar:
        for frame, flux in tables.iterate_spectra(survey.spectra, _BATCH):
            mass = model.predict(flux)
            noise = frame["SN"].astype(np.float64)
            flags = [
                "; ".join(filter(None, [*_flags(model, z, sn), own]))
                for z, sn, own in zip(frame["Z"], noise, frame["FLAGS"], strict=True)
            ]
            parts.append(
                frame[["OBJECT", "EPOCH", "Z"]].assign(
                    SN=noise, LMBH=mass, FLAGS=flags, REASON="", SPLIT=split.reindex(frame["OBJECT"]).to_numpy()
                )
            )
            bar.update(len(frame))
    return pd.concat(parts, ignore_index=True).assign(SURVEY_KIND=about["kind"], MODEL_KIND=model_kind(model))


def check_fit(model: EasyAI, about: dict, where: Path) -> None:
    """Refuse a table that the model's input would misread."""
    step = model_grid(model).step
    if about["grid"]["step"] != step:
        raise ModelError(
            where,
            expected=f"a table with the model's grid step {step:g}",
            got=f"{about['grid']['step']:g}",
            do=f"run: python get_Chen_data.py build --step {step:g}",
        )
    corrected = (model.about or {}).get("extinction_corrected")
    if corrected is not None and corrected != about["extinction_corrected"]:
        words = {True: "corrected for Galactic extinction", False: "not corrected for Galactic extinction"}
        raise ModelError(
            where,
            expected=f"spectra {words[corrected]}, as the model was trained on",
            got=f"spectra {words[about['extinction_corrected']]}",
            do=f"build the table {'without' if corrected else 'with'} --no-extinction",
        )


def per_object(predictions: pd.DataFrame) -> pd.DataFrame:
    """One mass per object: the plain mean over its spectra, as the reference has it."""
    name = predictions["OBJECT"].where(predictions["OBJECT"] != "", predictions["EPOCH"])
    groups = predictions.dropna(subset="LMBH").groupby(name.rename("OBJECT"), sort=True)
    first = [column for column in ("Z", "SPLIT", "SURVEY_KIND", "MODEL_KIND") if column in predictions]
    result = groups[first].first()
    result.insert(1, "N_EPOCHS", groups.size())
    result.insert(2, "LMBH", groups["LMBH"].mean())
    result.insert(3, "LMBH_SD", groups["LMBH"].std())
    return result.reset_index()


def write(predictions: pd.DataFrame, path: Path, about: dict) -> None:
    """Write predictions in the format of the file's ending; parameters as of `table_files.write`."""
    table_files.write(predictions, path, COLUMNS, about)
