"""Virial masses of spectrum files: from the files to a table for TOPCAT and astropy."""

from pathlib import Path

import pandas as pd

from quasar_mass.core.files import printable, progress
from quasar_mass.spectra.flags import joined
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.requests import of_files
from quasar_mass.spectra.rest_frame import Prepared, prepare, spectrum_flags
from quasar_mass.tables import formats
from quasar_mass.virial.measurement import COLUMNS, measure

_BATCH = 192  # spectra in memory at a time

# column: (unit, description), before those of the measurement and after them
FIRST = {
    "EPOCH": ("", "the spectrum: plate-mjd-fiber, or DESI's TARGETID"),
    "FILE": ("", "the file"),
    "Z": ("", "redshift used"),
}
LAST = {"SURVEY_KIND": ("", "sdss: observed; simulated: not")}
FILE_COLUMNS = {**FIRST, **COLUMNS, **LAST}


def measure_files(files: list[Path | SpectrumRequest], *, quiet: bool = False) -> pd.DataFrame:
    """Measure spectrum files with the redshift and the extinction that each contains, or that its request brings.

    Parameters
    ----------
    files : list of Path or SpectrumRequest
        Of a DESI file, all quasars are measured.
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        One row per spectrum, in order, with the columns of `FILE_COLUMNS`; REASON says why something is missing.
    """
    requests = of_files(files, quiet=quiet)
    rows = []
    with progress(None, total=len(requests), what="spectra", unit="spectra", quiet=quiet or len(requests) < 20) as bar:
        for first in range(0, len(requests), _BATCH):
            batch = requests[first : first + _BATCH]
            rows += _rows(batch, [prepare(request) for request in batch])
            bar.update(len(batch))
    return pd.DataFrame(rows, columns=list(FILE_COLUMNS)).astype({"N_SPIKES": "Int64"})


def _rows(requests: list[SpectrumRequest], prepared: list[Prepared]) -> list[dict]:
    """Measure some spectra; those that could not be read get a row with the reason."""
    read = [outcome for outcome in prepared if outcome.spectrum]
    measured = measure([p.spectrum for p in read], redshift=[p.redshift for p in read], ebv=[p.ebv for p in read])
    records = measured.to_dict("records")
    unread = {"Z": float("nan"), "FLAGS": "", "SURVEY_KIND": ""}
    rows = [
        unread | {"EPOCH": request.target_id, "FILE": printable(request.file), "REASON": outcome.reason}
        for request, outcome in zip(requests, prepared, strict=True)
    ]
    for row, outcome, values in zip([row for row in rows if not row["REASON"]], read, records, strict=True):
        flags = joined([*values["FLAGS"].split("; "), *spectrum_flags(outcome.spectrum)])
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
