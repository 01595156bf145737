"""Masses of spectra: from files or a survey's table to a table that TOPCAT and astropy open."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.files import printable, progress
from quasar_mass.core.parallel import check_missing, is_cluster, map_in_threads, ordered_map
from quasar_mass.core.survey import Survey
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict.compatibility import (
    DEMO_MODEL,
    SHIPPED_MODEL,
    check_fit,
    default_model,
    model_kind,
    transfer_note,
)
from quasar_mass.predict.inputs import SpectrumRequest, expand
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.rest_frame import class_flags, luminosity_flags, prepare, raise_if_all_failed
from quasar_mass.tables import formats, survey_tables
from quasar_mass.tables.parquet import RowRange, split_evenly
from quasar_mass.uncertainty.calibration import SYSTEMATIC
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import StackedSpectra

__all__ = ["DEMO_MODEL", "SHIPPED_MODEL", "default_model", "expand", "model_kind", "transfer_note"]

BATCH = 1024  # spectra of a task
MAX_BAD_FRACTION = (
    0.5  # share of replaced pixels above which a spectrum is mostly made up, and gets no mass; chosen here
)

# column: (unit, description)
COLUMNS = {
    "OBJECT": ("", "SDSS name; empty for a file that is not of a survey"),
    "EPOCH": ("", "plate-mjd-fiber of the spectrum"),
    "FILE": ("", "the file, where one was given"),
    "Z": ("", "redshift used"),
    "SN": ("", "median signal-to-noise per good pixel, rest frame 1445-3388 Angstrom"),
    "LMBH": ("dex(Msun)", "predicted log10(M_BH / M_Sun): the single-epoch mass one would measure"),
    "LMBH_LOW": ("dex(Msun)", "lower end of the interval of the mass one would measure"),
    "LMBH_HIGH": ("dex(Msun)", "its upper end"),
    "TOTAL_LOW": ("dex(Msun)", f"LMBH_LOW with the virial method's own scatter of {SYSTEMATIC} dex"),
    "TOTAL_HIGH": ("dex(Msun)", "LMBH_HIGH with the same"),
    "LMBH_ENS_STD": ("dex", "standard deviation over the networks of the ensemble"),
    "FLAGS": ("", "what to mind"),
    "REASON": ("", "why there is no mass"),
    "SPLIT": ("", "part of the training survey's split"),
    "N_EPOCHS": ("", "spectra of the object that were used"),
    "LMBH_MEAN": ("dex(Msun)", "plain mean of the masses of the object's spectra"),
    "LMBH_SD": ("dex", "standard deviation of the masses over the object's spectra"),
    "SURVEY_KIND": ("", "sdss: observed; simulated: not"),
    "MODEL_KIND": ("", "what the model was trained on: sdss or simulated"),
}
_KEPT = ("Z", "SPLIT", "SURVEY_KIND", "MODEL_KIND")  # of an object, from its first spectrum


@dataclass(frozen=True)
class _Share:
    """What is made of some spectra, wherever that was.

    Attributes
    ----------
    rows : DataFrame
        Of the table of predictions.
    refusals : list of SpectrumError
        Of the files that could not be used.
    names : ndarray of str, shape (n,)
    flux : ndarray, shape (n, grid.size)
    seen : NetworkView or None
        Whose the spectra that were used are, and what is needed to pool them; None unless that was asked for.
    """

    rows: pd.DataFrame
    refusals: list = field(default_factory=list)
    names: np.ndarray | None = None
    flux: np.ndarray | None = None
    seen: NetworkView | None = None


def predict_files(
    files: Iterable[Path | SpectrumRequest],
    model: EasyAI | Predictor,
    *,
    per_object: bool = False,
    jobs: int | str = 1,
    quiet: bool = False,
) -> pd.DataFrame:
    """Predict the mass of every spec file, with the extinction and, unless another is given, the redshift it carries.

    Parameters
    ----------
    files : iterable of Path or Wanted
    model : EasyAI or Predictor
        A plain network gives no intervals, and works in this process alone.
    per_object : bool
        One mass per object, named or else of the file's spectrum.
    jobs : int or str
        As of `ordered_map`: processes, or the address of a Dask scheduler whose workers see the files and the model.
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
    ClusterError
        As of `ordered_map`, and if a worker does not see a file that is there.
    """
    quoter = Predictor.of(model)
    wanted = [one if isinstance(one, SpectrumRequest) else SpectrumRequest(Path(one)) for one in files]
    chunks = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
    here = Path.cwd()  # processes elsewhere have a current folder of their own
    tasks = [(quoter, chunk, here, per_object) for chunk in chunks]
    refusals: list[SpectrumError] = []

    def shares() -> Iterable[_Share]:
        made = _made(_from_files, tasks, jobs, [path for path, _ in quoter.files])
        little = quiet or len(wanted) < 20
        with progress(None, total=len(wanted), what="spectra", unit="files", quiet=little) as bar:
            for chunk, share in zip(chunks, made, strict=True):
                for error in share.refusals:
                    if is_cluster(jobs) and error.reason == "missing file":
                        check_missing(Path(error.where))
                refusals.extend(share.refusals)
                yield share
                bar.update(len(chunk))

    table = _collect(shares(), quoter, per_object)
    raise_if_all_failed(refusals, [one.file for one in wanted])
    return table


def predict_survey(
    survey: Survey, model: EasyAI | Predictor, *, per_object: bool = False, jobs: int | str = 1, quiet: bool = False
) -> pd.DataFrame:
    """Predict the mass of every spectrum of a survey's spectra.parquet, streamed; parameters as of `predict_files`.

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
    survey_tables.read_quasars(survey.quasars)  # what is wrong with it is said before the work begins
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
        The quasars.parquet beside it, for the objects' split and BAL probability.
    per_object, jobs, quiet : bool
        As of `predict_files`; errors as of `predict_survey`.
    """
    quoter = Predictor.of(model)
    about = survey_tables.read_about(path)
    check_fit(quoter.ensemble.first, about, path)
    files = survey_tables.partition_files(Path(path).absolute())
    quasars = quasars and Path(quasars).absolute()
    shares = split_evenly(files, BATCH)
    tasks = [(quoter, share, about.get("build"), quasars, per_object) for share in shares]
    needs = [path for path, _ in (*quoter.files, *files[:1])] + ([quasars] if quasars else [])

    def made() -> Iterable[_Share]:
        total = sum(rows for _, rows in files)
        with progress(None, total=total, what="masses", unit="spectra", quiet=quiet) as bar:
            for share in _made(_from_table, tasks, jobs, needs):
                yield share
                bar.update(len(share.rows))

    table = _collect(made(), quoter, per_object)
    return table.assign(SURVEY_KIND=about["kind"], MODEL_KIND=quoter.kind)


def _made(function: Callable, tasks: list[tuple], jobs: int | str, needs: list[Path]) -> Iterator[_Share]:
    """Do the tasks; in this process side by side, for a network leaves gaps that reading and counting fill."""
    return map_in_threads(function, tasks) if jobs == 1 else ordered_map(function, tasks, jobs, needs)


@functools.lru_cache(maxsize=1)
def _objects_of(quasars: Path, _time: int) -> pd.DataFrame:
    return survey_tables.read_quasars(quasars)[["SPLIT", "BAL_PROB"]]


def _from_table(
    quoter: Predictor, share: list[RowRange], build: str | None, quasars: Path | None, per_object: bool
) -> _Share:
    """Masses of some rows of a table."""
    frame, flux = survey_tables.read_rows(share, build)
    noise = frame["SN"].to_numpy(np.float64)
    own = [list(filter(None, flags.split("; "))) for flags in frame["FLAGS"].fillna("")]
    rows = frame[["OBJECT", "EPOCH", "Z"]].assign(SN=noise, REASON="")
    if quasars is not None:
        known = _objects_of(quasars, quasars.stat().st_mtime_ns)
        rows["SPLIT"] = known["SPLIT"].reindex(frame["OBJECT"]).to_numpy()
        bal = quoter.catalogue_flags(known["BAL_PROB"].reindex(frame["OBJECT"]).to_numpy())
        own = [words + more for words, more in zip(own, bal, strict=True)]
    bad = frame["N_BAD"].fillna(0).to_numpy(float) / (quoter.grid.size * quoter.grid.step / 1e-4)
    for row in np.flatnonzero(bad > MAX_BAD_FRACTION):
        rows.loc[rows.index[row], "REASON"] = _few_pixels(bad[row])
    return _quote(rows.reset_index(drop=True), flux, own, quoter, per_object)


def _from_files(quoter: Predictor, wanted: list[SpectrumRequest], here: Path, per_object: bool) -> _Share:
    """Masses of some files, whose names hold in the folder `here`."""
    rows, fluxes, own, refusals = [], [], [], []
    for one in wanted:
        row = {"OBJECT": one.name, "EPOCH": "", "FILE": printable(one.file), "Z": np.nan, "SN": np.nan, "REASON": ""}
        row |= {"SURVEY_KIND": "", "MODEL_KIND": quoter.kind}
        flux, flags = np.zeros(quoter.grid.size, np.float32), []
        prepared = prepare(here / one.file, quoter.grid, redshift=one.redshift, correct_extinction=quoter.corrected)
        if spectrum := prepared.spectrum:
            row |= {"EPOCH": spectrum.spec_id, "Z": prepared.redshift, "SURVEY_KIND": spectrum.kind}
        if prepared.error:
            refusals.append(prepared.error)
            row["REASON"] = prepared.reason
        else:
            placed = prepared.rest_frame
            row["SN"], flux = placed.signal_to_noise, placed.flux
            flags += class_flags(spectrum) + prepared.flags
            flags += luminosity_flags(flux, prepared.redshift, quoter.grid)
            if placed.n_bad > MAX_BAD_FRACTION * placed.n_pixels:
                row["REASON"] = _few_pixels(placed.n_bad / placed.n_pixels)
        rows.append(row)
        fluxes.append(flux)
        own.append(flags)
    share = _quote(pd.DataFrame(rows), np.array(fluxes, np.float32), own, quoter, per_object)
    return replace(share, refusals=refusals)


def _few_pixels(share: float) -> str:
    return f"too many bad pixels: expected at most {MAX_BAD_FRACTION:.0%} of the window, got {share:.0%}"


def _quote(rows: pd.DataFrame, flux: np.ndarray, own: list, quoter: Predictor, per_object: bool) -> _Share:
    """Masses, intervals and flags of some spectra; `own` are the flags they bring along."""
    use = np.flatnonzero((rows["REASON"] == "").to_numpy())
    flags = [list(words) for words in own]
    pooling = {}
    if len(use):
        noise = rows["SN"].to_numpy(float)[use]
        seen = quoter.view(flux[use], rows["Z"].to_numpy(float)[use], noise)
        for row, words in zip(use, quoter.flags(seen, noise), strict=True):
            flags[row] = words + flags[row]
        rows = rows.join(quoter.masses(seen).set_index(rows.index[use]))
        if per_object:
            names = rows["OBJECT"].where(rows["OBJECT"] != "", rows["EPOCH"]).to_numpy()[use]
            pooling = {"names": names, "flux": flux[use], "seen": seen}
    elif "LMBH" not in rows:
        rows = rows.assign(LMBH=np.nan)
    return _Share(rows.assign(FLAGS=["; ".join(words) for words in flags]), **pooling)


def _collect(shares: Iterable[_Share], quoter: Predictor, per_object: bool) -> pd.DataFrame:
    """One table of all shares, in order; the fluxes of one of them are in memory at a time."""
    parts, kept, names, stacks = [], [], [], StackedSpectra(quoter.grid.size)
    for share in shares:
        if share.seen is not None:
            stacks.add(share.names, share.flux, share.seen.signal_to_noise)
            kept.append(share.seen)
            names.append(share.names)
        parts.append(share.rows)
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=float if unit else str) for name, (unit, _) in COLUMNS.items()})
    table = pd.concat(parts, ignore_index=True)
    if per_object:
        return _objects(table, quoter, kept, names, stacks)
    return table[[name for name in COLUMNS if name in table]]


def _objects(
    table: pd.DataFrame, quoter: Predictor, kept: list[NetworkView], names: list, stacks: StackedSpectra
) -> pd.DataFrame:
    """One row per object, with the flags of any of its spectra."""
    name = table["OBJECT"].where(table["OBJECT"] != "", table["EPOCH"]).rename("OBJECT")
    if "FILE" in table:  # of a file that could not be read nothing else is known
        name = name.where(name != "", table["FILE"])
    used = table["REASON"] == ""
    known = [column for column in _KEPT if column in table]
    without = ~used & ~name.isin(name[used])
    refused = (
        table[without]
        .groupby(name[without], sort=True)[[*known, "LMBH", "REASON"]]
        .first()
        .assign(N_EPOCHS=0, FLAGS="")
    )
    if not kept:
        return refused.reset_index()
    pooled = quoter.pool(np.concatenate(names), NetworkView.joined(kept), stacks)
    groups = table[used].groupby(name[used], sort=True)
    first = groups[known].first()
    words = groups["FLAGS"].agg(lambda every: "; ".join(dict.fromkeys("; ".join(filter(None, every)).split("; "))))
    result = first.join(pooled).assign(FLAGS=words, REASON="")
    result = (pd.concat([result, refused]) if len(refused) else result).rename_axis("OBJECT").reset_index()
    return result[[column for column in COLUMNS if column in result]]


def concatenate(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Several tables of predictions as one, columns in their usual order."""
    table = pd.concat(parts, ignore_index=True)
    return table[[name for name in COLUMNS if name in table]]


def write(predictions: pd.DataFrame, path: Path, about: dict) -> None:
    """Write predictions in the format of the file's ending; parameters as of `formats.write`."""
    formats.write(predictions, path, COLUMNS, about)
