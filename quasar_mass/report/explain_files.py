"""The verb `attribution`: which spectra, the tables, the figures."""

from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import FileError, SpectrumError, TableError
from quasar_mass.core.survey import Survey
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict import compatibility, inputs
from quasar_mass.report import attribution as reasons
from quasar_mass.report import quality_figures as figures
from quasar_mass.spectra.sdss import read_spectrum
from quasar_mass.spectra.spectrum import to_rest_frame
from quasar_mass.tables import survey_tables

DRAWN = 5  # single spectra drawn at most


def explain(options, paths: list[Path]) -> str:
    """Explain spectra named or a survey's, draw them, and say the tables; `options` as of the command line."""
    files, whole_tables = inputs.gather(options.files, options.survey)
    model = EasyAI.load(paths[0])
    grid = compatibility.model_grid(model)
    if files:
        names, flux, kind = _from_files(files[: options.spectra], model)
    else:
        table = whole_tables[0] if whole_tables else options.survey.spectra
        names, flux, kind = _from_table(table, options.survey, model, options.spectra)
    # few spectra have no typical shape of their own: then the survey's, where there is one
    shape = reasons.typical_shape(flux if len(flux) >= 20 else _backdrop(options.survey, model, flux))
    found = reasons.integrated_gradients(model, flux, shape)
    bins, parts = reasons.grouped(found.parts, grid)
    folder = Path(options.output)
    if len(flux) >= 20:
        mean = np.median(flux / np.median(flux, axis=1, keepdims=True), axis=0)
        title = f"what the network looks at: {len(flux):,} spectra"
        figures.save_all(figures.attribution(grid.wavelength, mean, bins, parts, title, kind), folder, "average")
    for row in range(min(len(flux), DRAWN)):
        title = f"{names[row]}: {found.mass[row]:.2f}, typical at its brightness {found.baseline_mass[row]:.2f}"
        figure = figures.attribution(grid.wavelength, flux[row], bins, parts[row], title, kind)
        figures.save_all(figure, folder, f"spectrum-{names[row]}")
    slopes = pd.DataFrame() if options.no_slopes else reasons.slopes(model, grid)
    about = {"spectra": len(flux), "kind": kind, "model_kind": compatibility.model_kind(model)}
    return f"{reasons.summary(reasons.shares(found, grid), slopes, about)}\n\nfigures in {folder} ({kind})"


def _from_files(files: list, model: EasyAI) -> tuple[list[str], np.ndarray, str]:
    grid = compatibility.model_grid(model)
    corrected = (model.about or {}).get("extinction_corrected", False)
    names, flux, kinds, refusals = [], [], set(), []
    for one in files:
        try:
            spectrum = read_spectrum(one.file)
            redshift = spectrum.redshift if np.isnan(one.redshift) else one.redshift
            flux.append(to_rest_frame(spectrum, redshift, grid, ebv=spectrum.ebv if corrected else None).flux)
        except SpectrumError as error:
            refusals.append(error)
            continue
        names.append(spectrum.epoch)
        kinds.add(spectrum.kind)
    if not flux:
        raise refusals[0]
    return names, np.stack(flux), " and ".join(sorted(kinds))


def _from_table(path: Path, survey: Survey, model: EasyAI, number: int) -> tuple[list[str], np.ndarray, str]:
    """Test spectra, evenly spread over the table; all kinds of spectra of a table that is not the survey's."""
    about = survey_tables.check_pair(survey) if path == survey.spectra else survey_tables.read_about(path)
    compatibility.check_fit(model, about, path)
    split = survey_tables.read_quasars(survey.quasars)["SPLIT"] if path == survey.spectra else None
    names, flux = [], []
    for frame, block in survey_tables.iterate_spectra(path):
        chosen = np.ones(len(frame), bool) if split is None else (split.reindex(frame["OBJECT"]) == "test").to_numpy()
        first = ~frame["OBJECT"].duplicated().to_numpy()  # one of an object: a hundred of one are one example
        names += frame["EPOCH"][chosen & first].tolist()
        flux.append(block[chosen & first])
    flux = np.concatenate(flux)
    if not len(flux):
        raise TableError(path, expected="test objects", got="none", do="use a survey of at least 10 objects")
    rows = np.unique(np.linspace(0, len(flux) - 1, min(number, len(flux))).round().astype(int))
    return [names[row] for row in rows], flux[rows], about["kind"]


def _backdrop(survey: Survey, model: EasyAI, flux: np.ndarray) -> np.ndarray:
    """Spectra of the survey on the model's grid, or else the ones that are there."""
    try:
        if survey_tables.read_about(survey.spectra)["grid"]["step"] == compatibility.model_grid(model).step:
            return next(iter(survey_tables.iterate_spectra(survey.spectra)))[1]
    except (FileError, TableError, StopIteration):
        pass
    return flux
