"""Attributions of the spectra in files, tables or a survey: which spectra, the tables, the figures."""

from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import FileError, ModelError, TableError, count_reasons
from quasar_mass.core.survey import Survey
from quasar_mass.predict.compatibility import check_fit, model_kind
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report import attribution, figures
from quasar_mass.spectra.network_input import MISSING
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.rest_frame import prepare
from quasar_mass.tables import survey_tables
from quasar_mass.uncertainty.spectrum_measures import bin_width

MAX_DRAWN = 5  # single spectra
MIN_SPECTRA = 20  # for a typical shape of their own


def explain(
    files: list[SpectrumRequest],
    tables: list[Path],
    survey: Survey,
    model_path: Path,
    folder: Path,
    *,
    number: int = 200,
    slopes: bool = True,
    quiet: bool = False,
) -> str:
    """Explain the masses of spectra, draw figures, and return the tables as text.

    Parameters
    ----------
    files : list of SpectrumRequest
        Spectra to explain.
    tables : list of Path
        Tables of spectra, of which the first is taken if there are no files; of the survey's own, the test objects.
    survey : Survey
        Whose test objects are explained if nothing else is named.
    model_path : Path
    folder : Path
        Gets the figures.
    number : int
        At most so many spectra are explained.
    slopes : bool
        Whether to measure how masses follow width and luminosity, on simulated quasars.
    quiet : bool
        No progress bars.

    Raises
    ------
    FileError, ModelError, TableError
        If the model and the spectra do not fit, or no spectrum can be used.
    """
    predictor = Predictor.load(model_path)
    model, grid, note = predictor.in_keras, predictor.grid, ""
    if files:
        names, flux, kind, note = _from_files(files[:number], predictor)
    else:
        names, flux, kind = _from_table(tables[0], survey, predictor, number)
    enough = len(flux) >= MIN_SPECTRA
    shape = attribution.typical_shape(flux if enough else _of_training(predictor, model_path))
    attributions = attribution.integrated_gradients(model, flux, shape, quiet=quiet)
    bins, parts = attribution.grouped(attributions.parts, grid)
    if enough:
        median = _drawn(shape)
        title = f"What moves the predicted masses: {len(flux):,} spectra"
        figures.save_all(figures.attribution(grid.wavelength, median, bins, parts, title, kind), folder, "average")
    for name, one_flux, one_parts, mass, baseline in zip(
        names[:MAX_DRAWN], flux, parts, attributions.mass, attributions.baseline_mass, strict=False
    ):
        title = f"{name}: log mass {mass:.2f}; typical quasar of this luminosity: {baseline:.2f}"
        figure = figures.attribution(grid.wavelength, _drawn(one_flux), bins, one_parts, title, kind)
        figures.save_all(figure, folder, f"spectrum-{name}")
    response = attribution.slopes(predictor, quiet=quiet) if slopes else pd.DataFrame()
    fractions = attribution.fractions(attributions, grid)
    title = f"{len(flux):,} {'spectrum' if len(flux) == 1 else 'spectra'} ({kind}){note}; "
    title += f"model trained on {model_kind(model)} spectra"
    return f"{attribution.summary(title, fractions, response)}\n\nfigures in {folder} ({kind})"


def _drawn(spectrum: np.ndarray) -> np.ndarray:
    """A spectrum as it is drawn: with a gap where it has no data."""
    return np.where(spectrum == MISSING, np.nan, spectrum)


def _from_files(files: list[SpectrumRequest], predictor: Predictor) -> tuple[list[str], np.ndarray, str, str]:
    """Names, network inputs and kind of the spectra that can be used, and in words how many cannot."""
    how = {"correct_extinction": predictor.corrected, "partial": predictor.partial}
    prepared = [prepare(file, predictor.grid, **how) for file in files]
    usable = [spectrum for spectrum in prepared if not spectrum.error]
    if not usable and len(prepared) == 1:
        raise FileError(files[0].file, prepared[0].reason)
    reasons = count_reasons(spectrum.reason for spectrum in prepared if spectrum.error)
    if not usable:
        raise FileError("the spectra", f"not one of the first {len(prepared):,} can be used ({reasons}); name others")
    kinds = {spectrum.spectrum.kind for spectrum in usable}
    flux = np.stack([spectrum.rest_frame.flux for spectrum in usable])
    flux = predictor.inputs(flux, np.array([spectrum.redshift for spectrum in usable]))
    note = f", {len(prepared) - len(usable):,} left out ({reasons})" if reasons else ""
    return [spectrum.spectrum.spec_id for spectrum in usable], flux, " and ".join(sorted(kinds)), note


def _from_table(path: Path, survey: Survey, predictor: Predictor, number: int) -> tuple[list[str], np.ndarray, str]:
    """Test spectra, evenly spread over the table; of a table that is not the survey's, any spectra."""
    about = survey_tables.check_pair(survey) if path == survey.spectra else survey_tables.read_about(path)
    check_fit(predictor.ensemble.first, about, path)
    split = survey_tables.read_quasars(survey.quasars)["SPLIT"] if path == survey.spectra else None
    names, flux = [], []
    for frame, block in survey_tables.iterate_spectra(path):
        chosen = np.ones(len(frame), bool) if split is None else (split.reindex(frame["OBJECT"]) == "test").to_numpy()
        first = ~frame["OBJECT"].duplicated().to_numpy()  # one spectrum of an object
        names += frame["EPOCH"][chosen & first].tolist()
        used = chosen & first
        flux.append(predictor.inputs(block[used], frame["Z"].to_numpy()[used]))
    flux = np.concatenate(flux)
    if not len(flux):
        raise TableError(path, "has no test objects; use a survey of at least 10 objects")
    rows = np.unique(np.linspace(0, len(flux) - 1, min(number, len(flux))).round().astype(int))
    return [names[row] for row in rows], flux[rows], about["kind"]


def _of_training(predictor: Predictor, path: Path) -> np.ndarray:
    """A spectrum of the mean shape of the training set, which the calibration knows in bins; shape (1, grid.size)."""
    if predictor.calibration is None:
        message = f"has no calibration, and fewer than {MIN_SPECTRA} spectra have no typical shape of their own"
        raise ModelError(path, f"{message}; name more spectra, or add one: quasar_analysis.py calibrate --model FILE")
    shape, grid = predictor.calibration.domain.shape_mean, predictor.grid
    group = bin_width(grid)
    centres = grid.log_wavelength[: len(shape) * group].reshape(len(shape), group).mean(axis=1)
    return np.interp(grid.log_wavelength, centres, shape)[np.newaxis]
