"""Which spectra were asked for: files, folders, names of a survey's spectra, or tables with redshifts.

Nothing here needs Keras, so a wrong name is reported at once. `os.path` asks whether a file exists, since `Path` fails
on names that are longer than the system allows, such as a line of a binary file.
"""

import mmap
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quasar_mass.core.errors import FileError, ModelError, TableError, first_line
from quasar_mass.core.survey import HOME, MODELS, Survey, is_spectrum_id, shipped_model
from quasar_mass.spectra import column_names, fits_headers, table, table_files
from quasar_mass.spectra.desi import redshift_file, without_tables
from quasar_mass.spectra.read import SpectrumRequest, is_spectrum_file, missing
from quasar_mass.spectra.redshifts import Redshifts, Z
from quasar_mass.spectra.requests import resolve

SHIPPED_MODEL = shipped_model("final")
DEMO_MODEL = HOME / "models" / "demo" / MODELS["final"]

SPEC_ID = re.compile(r"([0-9]{3,5})-([0-9]{5})-([0-9]{1,4})")  # plate-mjd-fiber
LISTS = (".txt", ".lst")
TEXT_TABLES = (".csv", ".ecsv")
TABLES = (".parquet", *TEXT_TABLES, ".fits", ".fit")
# Names under which catalogues carry what is needed, in lower case.
NAMES = {
    "object": ("object", "sdss_name", "name"),
    "spec_id": ("epoch",),
    "plate": ("plate",),
    "mjd": ("mjd",),
    "fiberid": ("fiberid", "fiber", "fiber_id"),
    "z": Z,
    "file": ("file", "path"),
    "target": ("targetid",),
}


# --- models -----------------------------------------------------------------------------------------------------------
def default_model() -> Path:
    """The shipped model, or the demonstration's own where none is shipped."""
    return SHIPPED_MODEL if SHIPPED_MODEL.exists() or not DEMO_MODEL.exists() else DEMO_MODEL


def model_files(names: Sequence[str | Path] | None) -> list[Path]:
    """The model files that were named, or the default one.

    Parameters
    ----------
    names : sequence of str or path, optional
        Each a file, or the name of a shipped one: ``"final"`` or ``"intermediate"``.

    Raises
    ------
    ModelError
        If there is no such file.
    """
    paths = [shipped_model(name) if name in MODELS else Path(name) for name in names or [default_model()]]
    for path in paths:
        if not path.is_file():
            problem = "is a folder; name a model file in it" if path.is_dir() else "does not exist; name a model file"
            shipped = " or ".join(MODELS)
            raise ModelError(path, f"{problem}, or a shipped model ({shipped}), or train one with: make run")
    return paths


# --- spectra ----------------------------------------------------------------------------------------------------------
class Inputs(NamedTuple):
    """The spectra that a user named.

    Attributes
    ----------
    requests : list of SpectrumRequest
        Spectra in files, in order.
    tables : list of Path
        Tables that hold spectra themselves, on the grid.
    notes : list of str
        What the user should know, such as how many targets of a file are no quasars.
    """

    requests: list[SpectrumRequest]
    tables: list[Path]
    notes: list[str]


def gather(
    arguments: Iterable[str | Path],
    survey: Survey,
    *,
    redshift: float | None = None,
    redshifts: str | Path | None = None,
    ebv: float | None = None,
    quiet: bool = True,
) -> Inputs:
    """Find the spectra that a user named.

    Parameters
    ----------
    arguments : iterable of str or path
        Each a spectrum file, such as a text of numbers; a folder, of which all FITS and .npz files are taken, sorted;
        the name ``plate-mjd-fiber`` of a spectrum of the survey; a text file (.txt, .lst) with one of these per line; a
        table (.parquet, .csv, .ecsv, .fits) with the columns Z and EPOCH, or plate, mjd and fiberid, or FILE (and
        TARGETID for files of DESI); or a spectra.parquet of this project. Of a DESI file, all quasars are taken.
    survey : Survey
        Where spectra named by plate, MJD and fibre are.
    redshift : float, optional
        Of all of them, instead of their own.
    redshifts : path, optional
        A table of redshifts, which count more than the spectra's own.
    ebv : float, optional
        E(B-V) of all of them, instead of their own.
    quiet : bool
        No progress bar.

    Raises
    ------
    FileError, TableError
        If a name is empty, a folder holds no spectra, or a table cannot be read or lacks a column.
    """
    requests, tables = _named(arguments, survey, ())
    given = Redshifts.read(redshifts) if redshifts is not None and requests else None
    requests, notes = resolve(requests, redshift=redshift, redshifts=given, ebv=ebv, quiet=quiet)
    return Inputs(requests, tables, notes)


def _named(
    arguments: Iterable[str | Path], survey: Survey, within: tuple[Path, ...]
) -> tuple[list[SpectrumRequest], list[Path]]:
    """Files and tables of spectra; `within` are the lists that the arguments come from."""
    requests, tables = [], []
    for argument in arguments:
        path = _path(argument)
        spec_id = SPEC_ID.fullmatch(str(argument))
        if path.suffix.lower() in (*LISTS, *TABLES[:3]) and os.path.exists(path) and not os.access(path, os.R_OK):
            raise FileError(path, "no permission to read it")
        if os.path.isdir(path) and not (any(path.glob("*.parquet")) and _holds_spectra(path)):
            requests += [SpectrumRequest(file) for file in expand([path])]
        elif os.path.isdir(path) or (path.suffix.lower() == ".parquet" and _holds_spectra(path)):
            tables.append(path)
        elif spec_id and not os.path.exists(path):
            requests.append(SpectrumRequest(survey.spectrum(*map(int, spec_id.groups()))))
        elif path.suffix.lower() in (*LISTS, *TEXT_TABLES) and table.is_text_spectrum(path):
            requests.append(SpectrumRequest(path))
        elif path.suffix.lower() in LISTS:
            if path in within:
                raise FileError(path, "is a list that names itself; take that line out")
            for number, line in _lines(path):
                where = f"{path}, line {number}"
                if Path(line).suffix.lower() in (*LISTS, *TABLES[:3]) and not os.path.exists(line):
                    raise FileError(where, f"{line} does not exist; correct the line or leave it out")
                listed = _named([line], survey, (*within, path))
                requests += [replace(request, listed=request.listed or where) for request in listed[0]]
                tables += listed[1]
        elif path.suffix.lower() in TABLES and not _is_spectrum(path):
            requests += _rows(path, survey)
        else:
            requests.append(SpectrumRequest(path))
    return requests, tables


def expand(arguments: Iterable[str | Path]) -> list[Path]:
    """Files as given, and all spectrum files (.fits, .fit, also gzip'd, .npz) below each folder, sorted.

    In DESI's folders, the other tables are left out, and single exposures where their coadd is there.

    Raises
    ------
    FileError
        If a folder holds none, or a name is empty.
    """
    files = []
    for path in map(_path, arguments):
        if os.path.isdir(path):
            if not os.access(path, os.R_OK | os.X_OK):
                raise FileError(path, "no permission to read this folder")
            inside = without_tables(file for file in sorted(path.rglob("*")) if is_spectrum_file(file))
            if not inside:
                raise FileError(path, "holds no spectrum files (.fits, .fit, also with .gz, .npz); name another folder")
            files += inside
        else:
            files.append(path)
    return files


def count_skipped(arguments: Iterable[str | Path]) -> int:
    """How many files in the folders among the arguments `expand` leaves out."""
    folders = [path for path in map(_path, arguments) if os.path.isdir(path)]
    return sum(file.is_file() and not is_spectrum_file(file) for folder in folders for file in folder.rglob("*"))


def check_exists(requests: Sequence[SpectrumRequest]) -> None:
    """Raise FileError if a single spectrum was asked for and its file does not exist."""
    if len(requests) == 1 and not os.path.exists(requests[0].file):
        where = f"{requests[0].listed}: {requests[0].file}" if requests[0].listed else requests[0].file
        raise FileError(where, missing(requests[0].file))


def check_apart(output: Path, named: Iterable[str | Path], found: Inputs, survey: Survey) -> None:
    """Refuse an output that is a file of the inputs or of the survey, also under another name; FileError.

    Parameters
    ----------
    output : Path
    named : iterable of str or path
        What the user named: spectra, lists, a table of redshifts.
    found : Inputs
        What `gather` found.
    survey : Survey
    """
    if not os.path.exists(output):
        return
    own = os.stat(output)
    files = {*map(Path, named), *found.tables, *(request.file for request in found.requests)}
    files |= {redshift_file(request.file) for request in found.requests if request.target is not None} - {None}
    files |= {survey.dr16q, survey.quasars, survey.spectra, survey.rejects, survey.truth}
    for folder in filter(os.path.isdir, [*found.tables, survey.spectra]):
        files |= set(folder.glob("*.parquet"))
    if any(os.path.exists(file) and os.path.samestat(os.stat(file), own) for file in files):
        raise FileError(output, "is one of the inputs, and would be overwritten; choose another name")


def _path(argument: str | Path) -> Path:
    if not str(argument):  # a shell variable that is not set; as a path it would be the current folder
        raise FileError("FILES", "one of the names is empty; name spectrum files or folders")
    return Path(argument)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a list that name something, with their numbers."""
    if not os.path.isfile(path):
        raise FileError(path, "does not exist; correct the name of the list of spectra")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise FileError(
            path, f"is no text ({first_line(error)}); it should have one plate-mjd-fiber per line"
        ) from error
    named = [(n, line) for n, line in enumerate(lines, 1) if line and not line.startswith("#") and line != str(path)]
    if not named:
        raise FileError(path, "names no spectra; write one on each line")
    return named


def _holds_spectra(path: Path) -> bool:
    from quasar_mass.tables import parquet  # not at the top: lists of files need no Parquet

    return "flux" in parquet.read_schema(path, "correct the name, copy or write it again").names


def _is_spectrum(path: Path) -> bool:
    """Whether a FITS file is no table that names spectra: a spectrum, or damaged, which its reader will report."""
    if path.suffix.lower() not in (".fits", ".fit"):
        return False
    if path.name.startswith("spec-") or not os.path.isfile(path):
        return True
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            hdus = fits_headers.walk(content)
    except (OSError, ValueError):
        return True
    if len(hdus) < 2:
        return True
    names = {(hdus[1].text(f"TTYPE{n + 1}") or "").lower() for n in range(hdus[1].sizes.get("TFIELDS", 0))}
    spectrum = "loglam" in names or column_names.is_spectrum(sorted(names))
    return spectrum or not names & {alias for key in ("spec_id", "plate", "file") for alias in NAMES[key]}


# --- tables that name spectra -----------------------------------------------------------------------------------------
def _rows(path: Path, survey: Survey) -> list[SpectrumRequest]:
    """The spectra that a table names."""
    import pandas as pd

    table = table_files.read(path)
    columns = {}
    for key, aliases in NAMES.items():
        name = next((name for alias in aliases for name in table.columns if str(name).lower() == alias), None)
        if name is not None:
            columns[key] = table[name]
    named = "file" in columns or "spec_id" in columns or {"plate", "mjd", "fiberid"} <= set(columns)
    if "z" not in columns or not named:
        given = ", ".join(table.attrs["columns"][:12])[:200]
        raise TableError(
            path,
            "needs the columns Z and EPOCH (plate-mjd-fiber), or Z, plate, mjd and fiberid, or Z and FILE; "
            f"it has {given}; add or rename columns",
        )
    if table.empty:
        raise TableError(path, "has no rows; name another table")
    redshift = pd.to_numeric(columns["z"], errors="coerce").to_numpy(float, na_value=np.nan)
    redshift = np.where(np.isfinite(redshift), redshift, np.nan)  # no redshift, and not the file's own instead
    names = [_text(value) for value in columns.get("object", [""] * len(table))]
    targets = [None] * len(table)
    if "target" in columns and "file" in columns:
        targets = [int(value) if re.fullmatch(r"-?\d+", str(value)) else None for value in columns["target"]]
    return [
        SpectrumRequest(_file(columns, row, path, survey), float(redshift[row]), names[row], target=targets[row])
        for row in range(len(table))
    ]


def _file(columns: dict, row: int, path: Path, survey: Survey) -> Path:
    """The file of the spectrum that a row names."""
    if "file" in columns:
        name = _text(columns["file"].iloc[row])
        if not name:
            raise TableError(f"{path}, row {row + 1}", "names no FILE; correct the row or leave it out")
        return Path(name)
    if "spec_id" in columns:
        text = _text(columns["spec_id"].iloc[row])
        match = SPEC_ID.fullmatch(text)
        numbers = match.groups() if match else (text,)
    else:
        numbers = [columns[key].iloc[row] for key in ("plate", "mjd", "fiberid")]
    try:
        plate, mjd, fiberid = (int(number) for number in numbers)
        whole = all(not isinstance(number, float) or number == int(number) for number in numbers)
        if not (whole and is_spectrum_id(plate, mjd, fiberid)):
            raise ValueError("no spectrum has these numbers")
    except (TypeError, ValueError, OverflowError) as error:
        given = " ".join(str(number) for number in numbers)[:60]
        raise TableError(
            f"{path}, row {row + 1}",
            f"names no spectrum: {given} is no plate, MJD and fibre; correct the row or leave it out",
        ) from error
    return survey.spectrum(plate, mjd, fiberid)


def _text(value) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    return value.decode("latin-1").strip() if isinstance(value, bytes) else str(value).strip()
