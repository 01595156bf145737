"""Masses of spectra, from files or a survey's table to a table that TOPCAT and astropy open."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core import errors
from quasar_mass.core.errors import FileError
from quasar_mass.core.files import printable, progress
from quasar_mass.core.parallel import map_in_threads, ordered_map
from quasar_mass.core.survey import Survey
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict.compatibility import check_fit
from quasar_mass.predict.predictor import Batch, Predictor, bad_pixels
from quasar_mass.spectra import spikes
from quasar_mass.spectra.flags import joined
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.requests import of_files
from quasar_mass.spectra.rest_frame import NOT_SHOWN
from quasar_mass.spectra.seen_lines import LINES as SEEN_LINES
from quasar_mass.spectra.spectrum import PIXEL
from quasar_mass.tables import formats, survey_tables
from quasar_mass.tables.parquet import RowRange, split_evenly
from quasar_mass.uncertainty.calibration import SYSTEMATIC
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import StackedSpectra

BATCH = 1024  # spectra of a task, from a table
FILES = 256  # files of a task: few, so that the networks of one task soon run while the files of the next one are read
NOT_COVERED = ("does not cover the window", NOT_SHOWN)
VIRIAL = "python quasar_analysis.py virial can measure single lines"
FEW_FILES = 20  # they are done before a progress bar could be read

# column: (unit, description)
COLUMNS = {
    "OBJECT": ("", "SDSS name; empty for a file that is not of a survey"),
    "EPOCH": ("", "the spectrum: plate-mjd-fiber, or DESI's TARGETID"),
    "FILE": ("", "the file, where one was given"),
    "Z": ("", "redshift used"),
    "SN": ("", "median signal-to-noise per good pixel, rest frame 1445-3388 Angstrom"),
    **spikes.COLUMN,
    **{key: ("", f"fraction of the line {name} that is seen") for key, (name, _) in SEEN_LINES.items()},
    "LMBH": ("dex(Msun)", "predicted log10(M_BH / M_Sun): the single-epoch mass one would measure"),
    "LMBH_LOW": ("dex(Msun)", "lower end of the interval of the mass one would measure"),
    "LMBH_HIGH": ("dex(Msun)", "its upper end"),
    "TOTAL_LOW": ("dex(Msun)", f"LMBH_LOW with the virial method's own scatter of {SYSTEMATIC} dex"),
    "TOTAL_HIGH": ("dex(Msun)", "LMBH_HIGH with the same"),
    "LMBH_ENS_STD": ("dex", "standard deviation over the networks of the ensemble"),
    "FLAGS": ("", "reasons for caution"),
    "REASON": ("", "why there is no mass"),
    "SPLIT": ("", "part of the training survey's split"),
    "N_EPOCHS": ("", "spectra of the object that were used"),
    "LMBH_MEAN": ("dex(Msun)", "plain mean of the masses of the object's spectra"),
    "LMBH_SD": ("dex", "standard deviation of the masses over the object's spectra"),
    "SURVEY_KIND": ("", "sdss: observed; simulated: not"),
    "MODEL_KIND": ("", "what the model was trained on: sdss or simulated"),
}
_OF_OBJECT = ("Z", "SPLIT", "SURVEY_KIND", "MODEL_KIND")  # taken from an object's first spectrum


# --- masses of files, of a survey and of a table ---------------------------------------------------------------------
def predict_files(
    files: Sequence[Path | SpectrumRequest],
    model: EasyAI | Predictor,
    *,
    per_object: bool = False,
    jobs: int | str = 1,
    quiet: bool = False,
) -> pd.DataFrame:
    """Predict the mass of every spectrum file, with the extinction and, unless another is given, the redshift in it.

    Parameters
    ----------
    files : sequence of Path or SpectrumRequest
        Of a DESI file, all quasars are taken.
    model : EasyAI or Predictor
        A plain network gives no intervals, and works in this process alone.
    per_object : bool
        One mass per object: of the files with the same name, or else of the same spectrum.
    jobs : int or str
        As of `ordered_map`: processes, or the address of a Dask scheduler whose workers see the files and the model.
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        One row per spectrum, in order; where no mass can be given LMBH is NaN and REASON says why.

    Raises
    ------
    ClusterError
        As of `ordered_map`.
    """
    predictor = Predictor.of(model)
    requests = of_files(files, quiet=quiet)
    chunks = [requests[start : start + FILES] for start in range(0, len(requests), FILES)]
    folder = Path.cwd()  # processes elsewhere have a current folder of their own
    tasks = [(predictor, chunk, folder, per_object) for chunk in chunks]
    needs = [*(path for path, _ in predictor.files), *(folder / request.file for request in requests[:1])]
    hidden = quiet or len(requests) < FEW_FILES
    bar = progress(None, total=len(requests), what="masses", unit="spectra", quiet=hidden)
    return _collect(_map(_from_files, tasks, jobs, needs, bar), predictor, per_object)


def predict_survey(
    survey: Survey, model: EasyAI | Predictor, *, per_object: bool = False, jobs: int | str = 1, quiet: bool = False
) -> pd.DataFrame:
    """Predict the mass of every spectrum in a survey's spectra.parquet; parameters as of `predict_files`.

    Raises
    ------
    ModelError
        If the table is not on the model's grid, or was not treated for extinction as the training set was.
    TableError
        If the survey's two tables are not of one build.
    ClusterError
        As of `ordered_map`.
    """
    survey_tables.check_pair(survey)
    survey_tables.read_quasars(survey.quasars)  # so that a damaged table is reported before the work begins
    return predict_table(survey.spectra, model, survey.quasars, per_object=per_object, jobs=jobs, quiet=quiet)


def predict_table(
    path: Path,
    model: EasyAI | Predictor,
    quasars: Path | None = None,
    *,
    per_object: bool = False,
    jobs: int | str = 1,
    quiet: bool = False,
) -> pd.DataFrame:
    """Predict the mass of every spectrum of a spectra.parquet, one file or a folder of parts.

    Parameters
    ----------
    path : Path
    model : EasyAI or Predictor
    quasars : Path, optional
        The quasars.parquet of the same survey, for the objects' split and BAL probability.
    per_object, jobs, quiet
        As of `predict_files`; errors as of `predict_survey`.
    """
    predictor = Predictor.of(model)
    about = survey_tables.read_about(path)
    check_fit(predictor.ensemble.first, about, path)
    files = survey_tables.partition_files(Path(path).absolute())
    quasars = quasars and Path(quasars).absolute()
    tasks = [(predictor, ranges, about.get("build"), quasars, per_object) for ranges in split_evenly(files, BATCH)]
    needs = [file for file, _ in (*predictor.files, *files[:1])] + ([quasars] if quasars else [])
    bar = progress(None, total=sum(rows for _, rows in files), what="masses", unit="spectra", quiet=quiet)
    table = _collect(_map(_from_table, tasks, jobs, needs, bar), predictor, per_object)
    return table.assign(SURVEY_KIND=about["kind"], MODEL_KIND=predictor.kind)


def _map(function: Callable, tasks: list[tuple], jobs: int | str, needs: list[Path], bar) -> Iterator[Batch]:
    """Do the tasks; in one process in threads, since a network leaves processor time for reading and measuring."""
    with bar:
        for batch in map_in_threads(function, tasks) if jobs == 1 else ordered_map(function, tasks, jobs, needs):
            yield batch
            bar.update(len(batch.rows))


# --- one task, in whatever process it runs ----------------------------------------------------------------------------
def _from_files(predictor: Predictor, requests: Sequence[SpectrumRequest], folder: Path, per_object: bool) -> Batch:
    """Masses of some files; relative names are in `folder`."""
    batch = predictor.from_spectra([replace(request, file=folder / request.file) for request in requests])
    reasons = batch.rows["REASON"].tolist()
    for n, request in enumerate(requests):
        if request.listed and reasons[n].startswith("missing file"):
            reasons[n] += f" ({request.listed})"
    rows = batch.rows.assign(
        OBJECT=[request.name for request in requests],
        EPOCH=[row or request.target_id for row, request in zip(batch.rows["EPOCH"], requests, strict=True)],
        FILE=[printable(request.file) for request in requests],
        REASON=reasons,
        MODEL_KIND=predictor.kind,
    )
    return _result(batch, rows, per_object)


def _from_table(
    predictor: Predictor, ranges: list[RowRange], build: str | None, quasars: Path | None, per_object: bool
) -> Batch:
    """Masses of some rows of a table."""
    frame, flux = survey_tables.read_rows(ranges, build)
    frame = frame.reset_index(drop=True)
    flags = [list(filter(None, text.split("; "))) for text in frame["FLAGS"].fillna("")]
    known = np.isfinite(flux)  # from the first to the last of these: what the spectrum shows of the window
    shown = predictor.grid.size - known.argmax(axis=1) - known[:, ::-1].argmax(axis=1)
    bad = frame["N_BAD"].fillna(0).to_numpy(float) / (shown * predictor.grid.step / PIXEL)
    rows = frame[["OBJECT", "EPOCH", "Z", *SEEN_LINES]].assign(
        SN=frame["SN"].to_numpy(np.float64), REASON=[bad_pixels(fraction) for fraction in bad]
    )
    if quasars is not None:
        objects = _objects_of(quasars, quasars.stat().st_mtime_ns).reindex(frame["OBJECT"])
        rows["SPLIT"] = objects["SPLIT"].to_numpy()
        rows["SEVERAL"] = objects["N_EPOCHS"].to_numpy() > 1
        bal = predictor.catalogue_flags(objects["BAL_PROB"].to_numpy())
        flags = [own + more for own, more in zip(flags, bal, strict=True)]
    batch = predictor.from_rest_frame(rows, flux, flags)
    return _result(batch, batch.rows, per_object)


@functools.lru_cache(maxsize=1)
def _objects_of(quasars: Path, _time: int) -> pd.DataFrame:
    return survey_tables.read_quasars(quasars)[["SPLIT", "BAL_PROB", "N_EPOCHS"]]


def _result(batch: Batch, rows: pd.DataFrame, per_object: bool) -> Batch:
    """What travels back from a task: the spectra themselves only where they are pooled."""
    return replace(batch, rows=rows) if per_object else Batch(rows)


# --- all tasks together -----------------------------------------------------------------------------------------------
def _collect(batches: Iterable[Batch], predictor: Predictor, per_object: bool) -> pd.DataFrame:
    """One table of all batches, in order; the fluxes of one batch are in memory at a time."""
    parts, views, names = [], [], []
    stacks = StackedSpectra(predictor.grid.size) if per_object else None
    for batch in batches:
        parts.append(batch.rows)
        if per_object and batch.view is not None:
            used = batch.rows[batch.rows["REASON"] == ""]
            names.append(_object_names(used).to_numpy())
            stacks.add(names[-1], batch.flux, batch.view.signal_to_noise)
            views.append(batch.view)
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=float if unit else str) for name, (unit, _) in COLUMNS.items()})
    table = pd.concat(parts, ignore_index=True)
    if per_object:
        pooled = predictor.pool(np.concatenate(names), NetworkView.joined(views), stacks) if views else None
        table = _per_object(table, pooled)
    return _ordered(table)


def _object_names(table: pd.DataFrame) -> pd.Series:
    """The object of each row: its name, or else the spectrum, or the file that could not be read."""
    name = table["OBJECT"].where(table["OBJECT"] != "", table["EPOCH"]).rename("OBJECT")
    return name.where(name != "", table["FILE"]) if "FILE" in table else name


def _per_object(table: pd.DataFrame, pooled: pd.DataFrame | None) -> pd.DataFrame:
    """One row per object, with the flags of all of its spectra; `pooled` is from `Predictor.pool`."""
    name, used = _object_names(table), table["REASON"] == ""
    of_object = [column for column in _OF_OBJECT if column in table]
    without = ~used & ~name.isin(name[used])
    columns = [*of_object, "LMBH", "REASON"]
    unusable = table[without].groupby(name[without], sort=True)[columns].first().assign(N_EPOCHS=0, FLAGS="")
    if pooled is None:
        return unusable.reset_index()
    groups = table[used].groupby(name[used], sort=True)
    flags = groups["FLAGS"].agg(lambda texts: joined("; ".join(texts).split("; ")))
    result = groups[of_object].first().join(pooled).assign(FLAGS=flags, REASON="")
    result = pd.concat([result, unusable]) if len(unusable) else result
    return result.rename_axis("OBJECT").reset_index()


def concatenate(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Several tables of predictions as one, columns in their usual order."""
    return _ordered(pd.concat(parts, ignore_index=True))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in COLUMNS if name in table]]


def check_usable(table: pd.DataFrame, where: str | Path) -> None:
    """Raise FileError if there is no mass in a table of predictions: with the reason, or how often there is which.

    Parameters
    ----------
    table : DataFrame
    where : str or path
        What was asked for, for the error.
    """
    if not len(table) or table["LMBH"].notna().any():
        return
    if len(table) == 1:
        reason = table["REASON"].iloc[0]
        raise FileError(where, f"{reason}; {VIRIAL}" if reason.startswith(NOT_COVERED) else reason)
    reasons = count_reasons(table)
    raise FileError(where, f"not one of the {len(table):,} spectra got a mass ({reasons}); REASON says more")


def count_reasons(table: pd.DataFrame) -> str:
    """How many rows without a mass have which reason, as words: ``missing file: 2; no redshift: 1``."""
    return errors.count_reasons(table.loc[table["LMBH"].isna(), "REASON"])


def write(predictions: pd.DataFrame, path: Path, about: dict) -> None:
    """Write predictions in the format of the file's ending; parameters as of `formats.write`."""
    formats.write(predictions, path, COLUMNS, about)
