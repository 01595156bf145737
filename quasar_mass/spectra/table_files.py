"""Tables of any common format as pandas tables: those that list spectra, and those that hold their redshifts."""

import gzip
import io
import mmap
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quasar_mass.core.errors import FileError, first_line
from quasar_mass.spectra import fits_headers

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv", ".ecsv", ".vot", ".fits", ".fit", ".fits.gz", ".fit.gz")


def read(path: Path, names: Collection[str] | None = None) -> "pd.DataFrame":
    """Read a table in the format that its name says.

    Parameters
    ----------
    path : Path
        Ends in one of `SUFFIXES`.
    names : collection of str, optional
        Lower-case names of the columns that are wanted, whatever their case in the file. Of a FITS file, the table with
        most of them is taken. Left out: all columns of the first table.

    Returns
    -------
    DataFrame
        Columns of one value a row; whole numbers keep all their digits. ``attrs["columns"]`` has the names of all.

    Raises
    ------
    FileError
        If the file is missing, damaged, or not such a table.
    """
    import pandas as pd
    import pyarrow as pa
    from astropy.io import fits

    path = Path(path)
    if not os.path.isfile(path):
        what = (
            "is a folder; name a table in it"
            if os.path.isdir(path)
            else "does not exist; correct the name of the table"
        )
        raise FileError(path, what)
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise FileError(path, f"is no table; its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    readers = {".parquet": _read_parquet, ".csv": _read_csv, ".ecsv": _read_text, ".vot": _read_text}
    # what pandas, pyarrow and astropy raise on damaged files
    damaged = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, RecursionError, AttributeError)
    try:
        table = readers.get(suffix, _read_fits)(path, names)
    except PermissionError as error:
        raise FileError(path, "no permission to read it") from error
    except (*damaged, EOFError, fits.VerifyError, pd.errors.ParserError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        message = f"is not a table as its name ({path.suffix}) says ({first_line(error)}); correct the file or its name"
        raise FileError(path, message) from error
    return table


def _chosen(given: list, names: Collection[str] | None) -> list:
    return [name for name in given if names is None or str(name).lower() in names]


def _read_csv(path: Path, names: Collection[str] | None) -> "pd.DataFrame":
    import pandas as pd

    # nullable types, since an empty field would turn whole numbers into float64, which has no room for 17 digits
    table = pd.read_csv(path, comment="#", dtype_backend="numpy_nullable")
    return _with_columns(table[_chosen(list(table.columns), names)], table.columns)


def _read_parquet(path: Path, names: Collection[str] | None) -> "pd.DataFrame":
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        metadata = file.metadata
        total = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        if total != metadata.num_rows:  # no checksum guards the footer, but it counts the rows twice
            raise ValueError(f"{metadata.num_rows:,} rows in row groups of {total:,}")
        given = file.schema_arrow.names
        table = file.read(None if names is None else _chosen(given, names))
    table.validate(full=True)  # otherwise text that is not UTF-8 would fail later
    table = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    return _with_columns(table, given)


def _read_text(path: Path, names: Collection[str] | None) -> "pd.DataFrame":
    from astropy.table import Table

    with _without_astropy_warnings():
        table = Table.read(path, format="votable" if path.suffix.lower() == ".vot" else "ascii.ecsv")
    flat = [name for name in table.colnames if table[name].ndim == 1]
    return _with_columns(table[_chosen(flat, names)].to_pandas(), table.colnames)


def _read_fits(path: Path, names: Collection[str] | None) -> "pd.DataFrame":
    """Read columns of a FITS table one by one: a catalogue of gigabytes has hundreds of others."""
    import pandas as pd
    from astropy.io import fits

    check_headers(path)
    # opened by Python: astropy leaves a file that it opened itself open where it fails
    with _without_astropy_warnings(), open_plain(path) as file, fits.open(file) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise ValueError("it has no table")
        hdu = tables[0] if names is None else max(tables, key=lambda hdu: len(_chosen(hdu.columns.names, names)))
        columns, data = {}, hdu.data
        for name in _chosen(hdu.columns.names, names):
            values = np.array(data[name])  # a copy, since the file will be closed
            if values.ndim == 1:
                columns[name] = _native(values)
        return _with_columns(pd.DataFrame(columns), hdu.columns.names)


def _native(values: np.ndarray) -> np.ndarray:
    """A column of a FITS table as pandas takes it."""
    if values.dtype.kind in "SU":
        return np.char.strip(np.char.decode(values, "latin-1") if values.dtype.kind == "S" else values)
    return values.astype(values.dtype.newbyteorder("="))


def _with_columns(table: "pd.DataFrame", given) -> "pd.DataFrame":
    table.attrs["columns"] = [str(name) for name in given]
    return table


# --- FITS files -------------------------------------------------------------------------------------------------------
def open_plain(path: Path):
    """Open a file for reading, through `gzip` where it is compressed."""
    file = open(path, "rb")  # noqa: SIM115 - closed by the caller
    begin = file.read(2)
    file.seek(0)
    if begin != b"\x1f\x8b":
        return file
    with file:
        return io.BytesIO(gzip.decompress(file.read()))


def check_headers(path: Path) -> None:
    """Refuse a FITS file whose header claims absurd sizes, on which astropy would not end; ValueError."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:2] != b"\x1f\x8b":
            fits_headers.walk(content)


def _without_astropy_warnings() -> warnings.catch_warnings:
    """Drop astropy's warnings about damaged files: they end in an error of this module."""
    from astropy.utils.exceptions import AstropyWarning

    return warnings.catch_warnings(action="ignore", category=AstropyWarning)
