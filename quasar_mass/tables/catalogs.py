"""Readers of the two published catalogues, Chen+ 2019 and DR16Q."""

import errno
import itertools
import mmap
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from quasar_mass.core.errors import FileError, TableError, first_line
from quasar_mass.core.survey import is_spectrum_id
from quasar_mass.spectra import fits_headers
from quasar_mass.spectra.sdss import ebv_from_extinction
from quasar_mass.tables.schemas import check_columns

# The needed columns of the Chen+ 2019 table and their bytes, 1-based and inclusive.
CHEN_COLUMNS = {
    "SDSS": (1, 18),
    "Plate": (20, 24),
    "MJD": (26, 30),
    "Fiber": (32, 35),
    "ZVI": (37, 42),
    "logMBH-Hb": (91, 94),
    "logMBH-Ha-2": (108, 111),
    "logMBH-MgII-2": (113, 117),
    "logMBH-CIV-2": (119, 123),
}
_BYTE_LINE = re.compile(r"\s*(?:(\d+)\s*-)?\s*(\d+)\s+[AIFE][\d.]+\s+\S+\s+\S+")  # start - end format units label
_RULE = re.compile(r"\s*(-{6,}|={7,})\s*")  # a delimiter of the machine-readable format
_HEADER_LINES = 2000  # the header ends before this line

# The columns of DR16Q that are read; it has 170 more.
DR16Q_COLUMNS = ("SDSS_NAME", "RA", "DEC", "PLATE", "MJD", "FIBERID", "Z", "ZWARNING", "BAL_PROB", "SN_MEDIAN_ALL")
DR16Q_ARRAYS = ("PLATE_DUPLICATE", "MJD_DUPLICATE", "FIBERID_DUPLICATE", "EXTINCTION")
# What astropy raises on damaged files (tried on many); any other exception is a bug and must not be hidden.
_DAMAGED = (OSError, LookupError, ValueError, TypeError, AttributeError, OverflowError, fits.VerifyError)
_CHUNK = 25_000  # rows of DR16Q in memory at a time: 57 MB of the real file's 1.7 GB

GET = "no such file; run: python get_Chen_data.py fetch catalogs (real data) or simulate (nothing to download)"
FETCH = "move it away and fetch it again (python get_Chen_data.py fetch catalogs)"


def read_chen(path: Path) -> pd.DataFrame:
    """Read the Chen+ 2019 machine-readable table.

    The byte-by-byte header is parsed and must place the nine needed columns at their known bytes. A byte-order mark,
    CRLF line ends, and added or stripped trailing blanks are accepted.

    Parameters
    ----------
    path : Path
        ``apjsab41fet1_mrt.txt``.

    Returns
    -------
    DataFrame
        Columns SDSS (text), Plate, MJD, Fiber (int64), ZVI and the four masses (float64; 0: not measured; blanks: NaN).

    Raises
    ------
    FileError
        If the file is missing or not a machine-readable table, or a row cannot be read.
    TableError
        If a needed column is not declared at its bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(path, GET)
    with open(path, encoding="latin-1") as file:
        first = _check_header(list(itertools.islice(file, _HEADER_LINES)), path)
    cells = pd.read_fwf(
        path,
        colspecs=[(start - 1, end) for start, end in CHEN_COLUMNS.values()],
        names=list(CHEN_COLUMNS),
        skiprows=first,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,  # so that a row's number gives its line
        encoding="latin-1",  # a character for each byte
    )
    cells = cells[(cells != "").any(axis=1)]
    if cells.empty:
        raise FileError(path, f"has no data rows after its header; {FETCH}")
    last, width = path.read_bytes().rpartition(b"\n")[2], max(end for _, end in CHEN_COLUMNS.values())
    if last.strip() and len(last) < width:
        raise FileError(path, f"is cut off: its last line has {len(last)} of {width} bytes; {FETCH}")
    table = cells.copy()
    for label in list(CHEN_COLUMNS)[1:]:
        numbers = pd.to_numeric(cells[label], errors="coerce")
        bad = np.isinf(numbers) | (numbers.isna() & (cells[label] != ""))
        if label in ("Plate", "MJD", "Fiber"):
            bad |= ~((numbers > 0) & (numbers % 1 == 0))
        if bad.any():
            row = bad.idxmax()
            start, end = CHEN_COLUMNS[label]
            where = f"{path}, line {first + 1 + row}"
            raise FileError(where, f"has {cells.loc[row, label]!r} for {label} in bytes {start}-{end}; {FETCH}")
        table[label] = numbers.astype(np.int64 if label in ("Plate", "MJD", "Fiber") else np.float64)
    return table.reset_index(drop=True)


def _check_header(header: list[str], path: Path) -> int:
    """Check that the needed columns are declared at their bytes, under any label; give the number of the first row."""
    rules = [number for number, line in enumerate(header) if _RULE.fullmatch(line)]
    matches = [_BYTE_LINE.match(line) for line in header[: rules[-1]]] if rules else []
    declared = {(int(match[1] or match[2]), int(match[2])) for match in matches if match}
    if not declared:
        raise FileError(path, f"is not a machine-readable table with a byte-by-byte description; {FETCH}")
    for label, (start, end) in CHEN_COLUMNS.items():
        if (start, end) not in declared:
            raise TableError(
                path,
                f"declares no column at bytes {start}-{end}, where {label} should be; use the table as published with "
                "the article, or adapt CHEN_COLUMNS to the new layout",
            )
    return rules[-1] + 1


@dataclass
class Catalogue:
    """The part of DR16Q that a list of spectra refers to.

    Attributes
    ----------
    objects : DataFrame
        One row per DR16Q object that owns at least one of the spectra asked for: `DR16Q_COLUMNS` and EBV.
    epochs : DataFrame
        One row per spectrum of those objects, primary first: ``row`` (into `objects`), plate, mjd, fiberid.
    """

    objects: pd.DataFrame
    epochs: pd.DataFrame


def spectrum_key(plate: np.ndarray, mjd: np.ndarray, fiberid: np.ndarray) -> np.ndarray:
    """Give one int64 per (plate, mjd, fiberid), equal exactly where these are equal, to join catalogues by spectrum."""
    plate, mjd, fiberid = (np.asarray(part, dtype=np.int64) for part in (plate, mjd, fiberid))
    return (plate << 36) | (mjd << 16) | fiberid


def read_dr16q(path: Path, keys: np.ndarray) -> Catalogue:
    """Read the rows of DR16Q that own one of the given spectra, as primary or as duplicate.

    The file is memory-mapped and read once in chunks, so the real catalogue (1.7 GB) needs little memory. A duplicate
    slot counts where its plate is positive, so an object with all 74 slots in use keeps them all.

    Parameters
    ----------
    path : Path
        ``DR16Q_v4.fits``.
    keys : ndarray of int64
        The spectra (`spectrum_key`).

    Returns
    -------
    Catalogue

    Raises
    ------
    FileError
        If the file is missing, truncated or not a FITS table.
    TableError
        If a needed column is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(path, GET)
    try:
        with open(path, "rb") as file:  # not opened by astropy, which does not close it after an error
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                fits_headers.walk(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)  # on damaged files; the error below says it
                with fits.open(file, memmap=True) as hdus:
                    return _read_rows(hdus[1], path, keys)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a fault of the machine, not of the file (EINVAL: an offset far beyond the end of the file)
        reason = first_line(error)
        raise FileError(path, f"is not a FITS file with a binary table in HDU 1 ({reason}); {FETCH}") from error


def _read_rows(table: fits.BinTableHDU, path: Path, keys: np.ndarray) -> Catalogue:
    """Collect the rows that own one of the spectra, chunk by chunk."""
    spelled = [name.upper() for name in table.columns.names]
    check_columns(path, spelled, [*DR16Q_COLUMNS, *DR16Q_ARRAYS], "DR16Q", FETCH)
    names = dict(zip(spelled, table.columns.names, strict=True))
    objects, epochs, offset = [], [], 0
    for start in range(0, table.header["NAXIS2"], _CHUNK):
        owners, spectra = _owners(table.data[start : start + _CHUNK], names, keys, offset)
        objects.append(owners)
        epochs.append(spectra)
        offset += len(owners)
    if not objects:
        raise ValueError("no rows")
    return Catalogue(pd.concat(objects, ignore_index=True), pd.concat(epochs, ignore_index=True))


def _owners(rows: fits.FITS_rec, names: dict, keys: np.ndarray, offset: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the objects of a chunk of DR16Q that own one of the spectra, and all spectra of these objects."""

    def column(name: str) -> np.ndarray:
        values = np.asarray(rows.field(names[name]))
        return values.astype(values.dtype.newbyteorder("="))  # FITS is big-endian, pandas needs the machine's order

    primary = [column(name)[:, None] for name in ("PLATE", "MJD", "FIBERID")]
    others = [column(f"{name}_DUPLICATE").reshape(len(rows), -1) for name in ("PLATE", "MJD", "FIBERID")]
    plate, mjd, fiberid = (np.concatenate(pair, axis=1).astype(np.int64) for pair in zip(primary, others, strict=True))
    used = (plate > 0) & (mjd > 0) & (fiberid > 0)
    owner = (np.isin(spectrum_key(plate, mjd, fiberid), keys) & used).any(axis=1)
    plate, mjd, fiberid, used = plate[owner], mjd[owner], fiberid[owner], used[owner]
    impossible = used & ~is_spectrum_id(plate, mjd, fiberid)
    if impossible.any():
        raise ValueError("a spectrum {}-{}-{}".format(*(part[impossible][0] for part in (plate, mjd, fiberid))))

    objects = pd.DataFrame({name: column(name)[owner] for name in DR16Q_COLUMNS})
    objects["SDSS_NAME"] = np.char.strip(column("SDSS_NAME")[owner].astype(str))
    objects["EBV"] = ebv_from_extinction(column("EXTINCTION")[owner][:, 1])
    row, slot = np.nonzero(used)
    parts = (part[row, slot] for part in (plate, mjd, fiberid))
    epochs = pd.DataFrame(dict(zip(("plate", "mjd", "fiberid"), parts, strict=True)))
    epochs.insert(0, "row", row + offset)
    return objects, epochs.drop_duplicates(ignore_index=True)
