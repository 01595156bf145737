"""Masses of spectra: from files or a survey's table to a table that TOPCAT and astropy open."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass import limits, table_files, tables
from quasar_mass.easyai import EasyAI
from quasar_mass.errors import SpectrumError
from quasar_mass.files import progress
from quasar_mass.parallel import ahead
from quasar_mass.quoting import Quoter
from quasar_mass.seeing import BATCH, Seen, Stacks
from quasar_mass.spec_file import read_spectrum
from quasar_mass.spectrum import quality_flags, to_rest_frame
from quasar_mass.survey import Survey
from quasar_mass.uncertainty import SYSTEMATIC
from quasar_mass.usage import DEMO_MODEL, SHIPPED_MODEL, caution, check_fit, default_model, model_kind
from quasar_mass.wanted import Wanted, expand

__all__ = ["DEMO_MODEL", "SHIPPED_MODEL", "caution", "default_model", "expand", "model_kind"]

MOST_BAD = 0.5  # share of replaced pixels above which a spectrum is mostly made up, and gets no mass; chosen here

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
    "LMBH_SPREAD": ("dex", "standard deviation over the networks of the ensemble"),
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


def predict_files(
    files: Iterable[Path | Wanted], model: EasyAI | Quoter, *, per_object: bool = False, quiet: bool = False
) -> pd.DataFrame:
    """Predict the mass of every spec file, with the extinction and, unless another is given, the redshift it carries.

    Parameters
    ----------
    files : iterable of Path or Wanted
    model : EasyAI or Quoter
        A plain network gives no intervals.
    per_object : bool
        One mass per object, named or else of the file's spectrum.
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
    quoter = Quoter.of(model)
    wanted = [one if isinstance(one, Wanted) else Wanted(Path(one)) for one in files]
    refusals: list[SpectrumError] = []
    table = _collect(_from_files(wanted, quoter, refusals, quiet), quoter, per_object)
    if len(refusals) == len(wanted):
        first = refusals[0]
        raise SpectrumError(
            wanted[0].file if len(wanted) == 1 else f"{len(wanted)} files, {wanted[0].file} the first of them",
            reason=first.reason,
            expected=first.expected,
            got=first.got,
            do="name a spectrum that can be used, nothing was written",
        )
    return table


def predict_survey(
    survey: Survey, model: EasyAI | Quoter, *, per_object: bool = False, quiet: bool = False
) -> pd.DataFrame:
    """Predict the mass of every spectrum of a survey's spectra.parquet, streamed; parameters as of `predict_files`.

    Raises
    ------
    ModelError
        If the table is not on the model's grid, or was not treated for extinction as the training set was.
    TableError
        If the survey's two tables are not of one build.
    """
    tables.check_pair(survey)
    return predict_table(survey.spectra, model, tables.read_quasars(survey.quasars), per_object=per_object, quiet=quiet)


def predict_table(
    path: Path,
    model: EasyAI | Quoter,
    quasars: pd.DataFrame | None = None,
    *,
    per_object: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Predict the mass of every spectrum of a spectra.parquet.

    Parameters
    ----------
    path : Path
    model : EasyAI or Quoter
    quasars : DataFrame, optional
        The objects, for their split and BAL probability.
    per_object, quiet : bool
        As of `predict_files`; errors as of `predict_survey`.
    """
    quoter = Quoter.of(model)
    about = tables.read_about(path)
    check_fit(quoter.ensemble.first, about, path)
    table = _collect(_from_table(path, quoter, quasars, quiet), quoter, per_object)
    return table.assign(SURVEY_KIND=about["kind"], MODEL_KIND=quoter.kind)


def _from_table(path: Path, quoter: Quoter, quasars: pd.DataFrame | None, quiet: bool) -> Iterator[tuple]:
    """Rows, fluxes, S/N and own flags, some at a time."""
    total = tables.count_spectra(path)
    with progress(None, total=total, what="masses", unit="spectra", quiet=quiet) as bar:
        for frame, flux in tables.iterate_spectra(path, BATCH):
            noise = frame["SN"].to_numpy(np.float64)
            own = [list(filter(None, flags.split("; "))) for flags in frame["FLAGS"].fillna("")]
            rows = frame[["OBJECT", "EPOCH", "Z"]].assign(SN=noise, REASON="")
            if quasars is not None:
                rows["SPLIT"] = quasars["SPLIT"].reindex(frame["OBJECT"]).to_numpy()
                if quoter.calibration is not None:
                    absorbed = quasars["BAL_PROB"].reindex(frame["OBJECT"]).to_numpy() >= limits.BAL_PROBABILITY
                    for row in np.flatnonzero(absorbed):
                        own[row].append(limits.CATALOGUED)
            bad = frame["N_BAD"].fillna(0).to_numpy(float) / (quoter.grid.size * quoter.grid.step / 1e-4)
            for row in np.flatnonzero(bad > MOST_BAD):
                rows.loc[rows.index[row], "REASON"] = _few_pixels(bad[row])
            yield rows.reset_index(drop=True), flux, own
            bar.update(len(frame))


def _from_files(wanted: list[Wanted], quoter: Quoter, refusals: list, quiet: bool) -> Iterator[tuple]:
    rows, fluxes, own = [], [], []

    def chunk() -> tuple:
        made = pd.DataFrame(rows), np.array(fluxes, np.float32), list(own)
        for part in (rows, fluxes, own):
            part.clear()
        return made

    many = progress(wanted, total=len(wanted), what="spectra", unit="files", quiet=quiet or len(wanted) < 20)
    for one in many:
        row = {"OBJECT": one.name, "EPOCH": "", "FILE": str(one.file), "Z": np.nan, "SN": np.nan, "REASON": ""}
        row |= {"SURVEY_KIND": "", "MODEL_KIND": quoter.kind}
        flux, flags = np.zeros(quoter.grid.size, np.float32), []
        try:
            spectrum = read_spectrum(one.file)
            redshift = spectrum.redshift if np.isnan(one.redshift) else one.redshift
            row |= {"EPOCH": spectrum.epoch, "Z": redshift, "SURVEY_KIND": spectrum.kind}
            placed = to_rest_frame(spectrum, redshift, quoter.grid, ebv=spectrum.ebv if quoter.corrected else None)
            row["SN"], flux = placed.signal_to_noise, placed.flux
            if spectrum.spectral_class not in ("QSO", ""):
                flags.append(f"class {spectrum.spectral_class}")
            known = not (quoter.corrected and np.isnan(spectrum.ebv))
            flags += quality_flags(placed.n_bad, placed.n_pixels, extinction_known=known)
            if placed.n_bad > MOST_BAD * placed.n_pixels:
                row["REASON"] = _few_pixels(placed.n_bad / placed.n_pixels)
        except SpectrumError as error:
            refusals.append(error)
            row["REASON"] = f"{error.reason}: expected {error.expected}, got {error.got}"
        rows.append(row)
        fluxes.append(flux)
        own.append(flags)
        if len(rows) == BATCH:
            yield chunk()
    if rows:
        yield chunk()


def _few_pixels(share: float) -> str:
    return f"too many bad pixels: expected at most {MOST_BAD:.0%} of the window, got {share:.0%}"


def _collect(chunks: Iterable[tuple], quoter: Quoter, per_object: bool) -> pd.DataFrame:
    """Masses, intervals and flags for chunk after chunk; the fluxes of one chunk are in memory at a time."""
    parts, kept, names, stacks = [], [], [], Stacks(quoter.grid.size)
    for rows, flux, own in ahead(chunks):  # reading and decoding beside the network
        use = np.flatnonzero((rows["REASON"] == "").to_numpy())
        flags = [list(words) for words in own]
        if len(use):
            noise = rows["SN"].to_numpy(float)[use]
            seen = quoter.see(flux[use], rows["Z"].to_numpy(float)[use], noise)
            for row, words in zip(use, quoter.flags(seen, noise), strict=True):
                flags[row] = words + flags[row]
            rows = rows.join(quoter.quote(seen).set_index(rows.index[use]))
            if per_object:
                object_of = rows["OBJECT"].where(rows["OBJECT"] != "", rows["EPOCH"]).to_numpy()[use]
                stacks.add(object_of, flux[use], seen.signal_to_noise)
                kept.append(seen)
                names.append(object_of)
        elif "LMBH" not in rows:
            rows = rows.assign(LMBH=np.nan)
        parts.append(rows.assign(FLAGS=["; ".join(words) for words in flags]))
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=float if unit else str) for name, (unit, _) in COLUMNS.items()})
    table = pd.concat(parts, ignore_index=True)
    if per_object:
        return _objects(table, quoter, kept, names, stacks)
    return table[[name for name in COLUMNS if name in table]]


def _objects(table: pd.DataFrame, quoter: Quoter, kept: list[Seen], names: list, stacks: Stacks) -> pd.DataFrame:
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
    pooled = quoter.pool(np.concatenate(names), Seen.joined(kept), stacks)
    groups = table[used].groupby(name[used], sort=True)
    first = groups[known].first()
    words = groups["FLAGS"].agg(lambda every: "; ".join(dict.fromkeys("; ".join(filter(None, every)).split("; "))))
    result = first.join(pooled).assign(FLAGS=words, REASON="")
    result = (pd.concat([result, refused]) if len(refused) else result).rename_axis("OBJECT").reset_index()
    return result[[column for column in COLUMNS if column in result]]


def together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Several tables of predictions as one, columns in their usual order."""
    table = pd.concat(parts, ignore_index=True)
    return table[[name for name in COLUMNS if name in table]]


def write(predictions: pd.DataFrame, path: Path, about: dict) -> None:
    """Write predictions in the format of the file's ending; parameters as of `table_files.write`."""
    table_files.write(predictions, path, COLUMNS, about)
