"""Virial masses of spectrum files: from the files to a table for TOPCAT and astropy."""

from pathlib import Path

import pandas as pd

from quasar_mass.core.files import printable, progress
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.rest_frame import Prepared, prepare, raise_if_all_failed, spectrum_flags
from quasar_mass.tables import formats
from quasar_mass.virial.measurement import COLUMNS, measure

_BATCH = 480  # spectra in memory at a time

# column: (unit, description), before those of the measurement and after them
FIRST = {
    "EPOCH": ("", "plate-mjd-fiber of the spectrum"),
    "FILE": ("", "the file"),
    "Z": ("", "redshift used: the file's own"),
}
LAST = {"SURVEY_KIND": ("", "sdss: observed; simulated: not")}
FILE_COLUMNS = {**FIRST, **COLUMNS, **LAST}


def measure_files(files: list[Path | SpectrumRequest], *, quiet: bool = False) -> pd.DataFrame:
    """Measure spectrum files with the redshift and the extinction that each contains, or that its request brings.

    Parameters
    ----------
    files : list of Path or SpectrumRequest
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        One row per file, in order, with the columns of `FILE_COLUMNS`; REASON says why something is missing.

    Raises
    ------
    SpectrumError
        If none of the files can be read; says why the first cannot.
    """
    files = [file if isinstance(file, SpectrumRequest) else SpectrumRequest(Path(file)) for file in files]
    rows, errors = [], []
    with progress(None, total=len(files), what="spectra", unit="files", quiet=quiet or len(files) < 20) as bar:
        for first in range(0, len(files), _BATCH):
            batch = files[first : first + _BATCH]
            prepared = [prepare(file) for file in batch]
            errors += [outcome.error for outcome in prepared if outcome.error]
            rows += _rows(batch, prepared)
            bar.update(len(batch))
    raise_if_all_failed(errors, [request.file for request in files])
    return pd.DataFrame(rows, columns=list(FILE_COLUMNS))


def _rows(files: list[SpectrumRequest], prepared: list[Prepared]) -> list[dict]:
    """Measure the spectra of some files; files that could not be read get a row with the reason."""
    read = [outcome for outcome in prepared if outcome.spectrum]
    measured = measure([p.spectrum for p in read], [p.redshift for p in read], [p.ebv for p in read]).to_dict("records")
    unread = {"EPOCH": "", "Z": float("nan"), "FLAGS": "", "SURVEY_KIND": ""}
    rows = [unread | {"FILE": printable(f.file), "REASON": p.reason} for f, p in zip(files, prepared, strict=True)]
    for row, outcome, values in zip([row for row in rows if not row["REASON"]], read, measured, strict=True):
        flags = "; ".join(filter(None, [values["FLAGS"], *spectrum_flags(outcome.spectrum)]))
        row |= values | {
            "EPOCH": outcome.spectrum.spec_id,
            "Z": outcome.redshift,
            "SURVEY_KIND": outcome.spectrum.kind,
            "FLAGS": flags,
        }
    return rows


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table of `measure_files` in the format of the file's ending, with units and descriptions.

    Parameters
    ----------
    table : DataFrame
    path : Path
        Ends in .parquet, .fits, .vot, .ecsv or .csv.

    Raises
    ------
    FileError
        If it ends in something else.
    """
    kinds = " and ".join(sorted(set(table["SURVEY_KIND"]) - {""}))
    about = {"survkind": kinds, "method": "single-epoch virial masses"}
    formats.write(table, path, FILE_COLUMNS, about)
