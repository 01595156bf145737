"""Virial masses of spec files: from the files to a table that TOPCAT and astropy open."""

from pathlib import Path

import pandas as pd

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.files import printable, progress
from quasar_mass.spectra.sdss import read_spectrum
from quasar_mass.spectra.spectrum import Spectrum
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


def measure_files(files: list[Path], *, quiet: bool = False) -> pd.DataFrame:
    """Measure spec files with the redshift and the extinction that each carries.

    Parameters
    ----------
    files : list of Path
    quiet : bool
        No progress bar.

    Returns
    -------
    DataFrame
        One row per file, in order, with the columns of `FILE_COLUMNS`; REASON says why something is missing.

    Raises
    ------
    SpectrumError
        If not one of the files can be read; says why the first cannot.
    """
    parts: list[pd.DataFrame] = []
    waiting: list[tuple[int, Spectrum]] = []
    heads, refusals = [], []

    def flush() -> None:
        if waiting:
            numbers, spectra = zip(*waiting, strict=True)
            table = measure(spectra, [s.redshift for s in spectra], [s.ebv for s in spectra])
            for number, spectrum in waiting:
                if spectrum.spectral_class not in ("QSO", ""):
                    flags = table.loc[numbers.index(number), "FLAGS"]
                    words = f"class {spectrum.spectral_class}"
                    table.loc[numbers.index(number), "FLAGS"] = f"{flags}; {words}" if flags else words
            parts.append(table.set_index(pd.Index(numbers)))
        waiting.clear()

    for number, file in enumerate(
        progress(files, total=len(files), what="spectra", unit="files", quiet=quiet or len(files) < 20)
    ):
        head = {"EPOCH": "", "FILE": printable(file), "Z": float("nan"), "REASON": "", "SURVEY_KIND": ""}
        heads.append(head)
        try:
            spectrum = read_spectrum(file)
        except SpectrumError as error:
            refusals.append(error)
            head["REASON"] = f"{error.reason}: expected {error.expected}, got {error.got}"
            continue
        head |= {"EPOCH": spectrum.epoch, "Z": spectrum.redshift, "SURVEY_KIND": spectrum.kind}
        waiting.append((number, spectrum))
        if len(waiting) == _BATCH:
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
    head = pd.DataFrame(heads)
    table = pd.concat(parts).reindex(head.index)
    table["FLAGS"] = table["FLAGS"].fillna("")
    table["REASON"] = table["REASON"].fillna(head["REASON"])
    return head.drop(columns="REASON").join(table)[list(FILE_COLUMNS)]


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table of `measure_files` in the format of the file's ending, with units and descriptions.

    Parameters
    ----------
    table : DataFrame
    path : Path
        Ends in .parquet, .fits, .ecsv or .csv.

    Raises
    ------
    FileError
        If it ends in something else.
    """
    kinds = " and ".join(sorted(set(table["SURVEY_KIND"]) - {""}))
    about = {"survkind": kinds, "method": "single-epoch virial masses"}
    formats.write(table, path, FILE_COLUMNS, about)
