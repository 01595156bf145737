"""Which spectra masses are wanted of: spec files, folders, names of a survey's spectra, or tables with redshifts."""

import mmap
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import FileError, TableError, first_line
from quasar_mass.core.survey import Survey, is_spectrum_id
from quasar_mass.spectra import fits_headers

EPOCH = re.compile(r"([0-9]{3,5})-([0-9]{5})-([0-9]{1,4})")  # plate-mjd-fiber
MAX_COLUMNS = 10_000  # of a table that names spectra: DR16Q has 183
LISTS = (".txt", ".lst")
TABLES = (".parquet", ".csv", ".ecsv", ".fits", ".fit")
# Names under which catalogues carry what is needed, in lower case.
NAMES = {
    "object": ("object", "sdss_name", "name"),
    "epoch": ("epoch",),
    "plate": ("plate",),
    "mjd": ("mjd",),
    "fiberid": ("fiberid", "fiber", "fiber_id"),
    "z": ("z", "redshift", "z_qso"),
    "file": ("file", "path"),
}


@dataclass(frozen=True)
class SpectrumRequest:
    """One spectrum of which a mass is wanted.

    Attributes
    ----------
    file : Path
        Its spec file.
    redshift : float
        NaN: the file's own.
    name : str
        The object's; empty where none is known.
    """

    file: Path
    redshift: float = np.nan
    name: str = ""


def gather(
    arguments: Iterable[str | Path], survey: Survey, *, within: tuple[Path, ...] = ()
) -> tuple[list[SpectrumRequest], list[Path]]:
    """Take apart what a user named.

    Parameters
    ----------
    arguments : iterable of str or path
        Each a spec file; a folder, of which all ``*.fits`` are taken, sorted; the name ``plate-mjd-fiber`` of a
        spectrum of the survey; a text file (.txt, .lst) with one of these a line; a table (.parquet, .csv, .ecsv,
        .fits) of EPOCH, or plate, mjd and fiberid, or FILE, with a column Z; or a spectra.parquet of this project.
    survey : Survey
        Where spectra named by plate, MJD and fibre lie.
    within : tuple of Path
        The lists that these names stand in.

    Returns
    -------
    list of SpectrumRequest
        Spec files, in order.
    list of Path
        Tables that hold spectra themselves, on the grid.

    Raises
    ------
    FileError, TableError
        If a name is empty, a folder holds no spectra, or a table cannot be read or lacks what is needed.
    """
    wanted, whole_tables = [], []
    for argument in arguments:
        if not str(argument):  # a shell variable that is not set; as a path it would be the current folder
            raise FileError("FILES", expected="names of spec files or folders", got="an empty name", do="name one")
        path = Path(argument)
        name = EPOCH.fullmatch(str(argument))
        try:
            folder = path.is_dir()
        except OSError as error:  # no system has a name so long
            got = f"one of {len(str(path)):,} characters"
            raise FileError(str(path)[:60], expected="a file name", got=got, do="correct it") from error
        if folder and any(path.glob("*.parquet")) and _holds_spectra(path):
            whole_tables.append(path)
        elif folder:
            wanted += [SpectrumRequest(file) for file in expand([path])]
        elif name and not path.exists():
            wanted.append(SpectrumRequest(survey.spectrum(*map(int, name.groups()))))
        elif path.suffix.lower() in LISTS:
            if path in within:
                raise FileError(path, expected="a list of spectra", got="one that names itself", do="take the name out")
            lines, tables = gather(_lines(path), survey, within=(*within, path))
            wanted, whole_tables = wanted + lines, whole_tables + tables
        elif path.suffix.lower() == ".parquet" and _holds_spectra(path):
            whole_tables.append(path)
        elif path.suffix.lower() in TABLES and not _is_spectrum(path):
            wanted += _rows(path, survey)
        else:
            wanted.append(SpectrumRequest(path))
    return wanted, whole_tables


def expand(arguments: Iterable[str | Path]) -> list[Path]:
    """Files as given, and all ``*.fits`` below each folder, sorted.

    Raises
    ------
    FileError
        If a folder holds none, or a name is empty.
    """
    files = []
    for argument in arguments:
        if not str(argument):
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


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileError(path, expected="a list of spectra, one a line", got="no such file", do="correct the name")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise FileError(path, expected="text", got=str(error), do="give one plate-mjd-fiber a line") from error
    return [line for line in lines if line and not line.startswith("#") and line != str(path)]


def _holds_spectra(path: Path) -> bool:
    from quasar_mass.tables import parquet  # not at the top: lists of files need no Parquet

    return "flux" in parquet.read_schema(path, "correct the name, copy or write it again").names


def _is_spectrum(path: Path) -> bool:
    """Whether a FITS file is no table of spectra's names: a spec file, or damaged, which its reader will say."""
    if path.suffix.lower() not in (".fits", ".fit"):
        return False
    if path.name.startswith("spec-") or not path.is_file():
        return True
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # of a damaged file: its reader will say it
            _check_sizes(path)
            with (
                open(path, "rb") as file,
                fits.open(file) as hdus,
            ):  # not by name: astropy leaves it open where it fails
                names = {name.lower() for name in hdus[1].columns.names}
    except (OSError, IndexError, AttributeError, ValueError, KeyError, TypeError, fits.VerifyError):
        return True
    return "loglam" in names or not names & {alias for key in ("epoch", "plate", "file") for alias in NAMES[key]}


def _check_sizes(path: Path) -> None:
    """Refuse a FITS file whose header astropy must not be asked to believe; ValueError."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        fits_headers.walk(content)


def _rows(path: Path, survey: Survey) -> list[SpectrumRequest]:
    """The spectra that a table names."""
    table = _read(path)
    found = {}
    for what, aliases in NAMES.items():
        column = next((name for alias in aliases for name in table.columns if str(name).lower() == alias), None)
        if column is not None:
            found[what] = table[column]
    places = "file" in found or "epoch" in found or {"plate", "mjd", "fiberid"} <= set(found)
    if "z" not in found or not places:
        raise TableError(
            path,
            expected="columns Z and EPOCH (plate-mjd-fiber), or plate, mjd, fiberid, or FILE",
            got=f"{', '.join(map(str, table.columns[:12]))}",
            do="add or rename the columns",
        )
    redshift = pd.to_numeric(found["z"], errors="coerce").to_numpy(float)
    names = [_text(value) for value in found.get("object", [""] * len(table))]
    return [
        SpectrumRequest(
            _file(found, row, path, survey), float(redshift[row]) if np.isfinite(redshift[row]) else 0.0, names[row]
        )
        for row in range(len(table))
    ]


def _file(found: dict, row: int, path: Path, survey: Survey) -> Path:
    if "file" in found:
        name = _text(found["file"].iloc[row])
        if not name:
            raise TableError(f"{path}, row {row + 1}", expected="a FILE", got="none", do="correct or leave out the row")
        return Path(name)
    if "epoch" in found:
        text = _text(found["epoch"].iloc[row])
        match = EPOCH.fullmatch(text)
        numbers = match.groups() if match else (text,)
    else:
        numbers = [found[key].iloc[row] for key in ("plate", "mjd", "fiberid")]
    try:
        plate, mjd, fiberid = (int(number) for number in numbers)
        # 7666.7 is no plate
        whole = all(not isinstance(number, float) or number == int(number) for number in numbers)
        if not (whole and is_spectrum_id(plate, mjd, fiberid)):
            raise ValueError("no spectrum of these numbers")
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(
            f"{path}, row {row + 1}",
            expected="plate, MJD and fibre of a spectrum",
            got=" ".join(str(number) for number in numbers),
            do="correct or leave out the row",
        ) from error
    return survey.spectrum(plate, mjd, fiberid)


def _text(value) -> str:
    if value is None or value != value or value is pd.NA:
        return ""
    return value.decode("latin-1").strip() if isinstance(value, bytes) else str(value).strip()


def _read(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from astropy.io.fits import VerifyError
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyUserWarning

    from quasar_mass.tables import parquet

    if not path.is_file():
        raise FileError(path, expected="a table", got="no such file", do="correct the name")
    try:
        if path.suffix.lower() == ".parquet":
            described = parquet.footer(path)
            if described.num_columns > MAX_COLUMNS:
                raise ValueError(f"more than {MAX_COLUMNS:,} columns")
            table = pq.read_table(path, **parquet.READING)
            table.validate(full=True)  # text that is none would be found out later
            return table.to_pandas(ignore_metadata=True)
        if path.suffix.lower() == ".csv":
            with open(path, "rb") as file:
                if file.readline(1 << 20).count(b",") > MAX_COLUMNS:
                    raise ValueError(f"more than {MAX_COLUMNS:,} columns")
            return pd.read_csv(path, comment="#")
        form = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "fits"
        if form == "fits":
            _check_sizes(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # of a damaged file: the errors below say it
            with open(path, "rb") as file:  # not by name: astropy leaves it open where it fails
                table = Table.read(file if form == "fits" else path, format=form)
        return table[[name for name in table.colnames if table[name].ndim == 1]].to_pandas()
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        VerifyError,
        pa.ArrowException,
    ) as error:
        raise FileError(
            path,
            expected=f"a table as its name ({path.suffix}) says",
            got=first_line(error),
            do="correct the file or its name",
        ) from error
