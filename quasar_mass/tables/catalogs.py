"""Readers of the two published catalogues, Chen+ 2019 and DR16Q."""

import errno
import mmap
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.core.survey import is_spectrum_id
from quasar_mass.spectra import fits_headers
from quasar_mass.spectra.extinction import ebv_from_extinction

# The labels this project needs and the bytes they are known to stand at, 1-based and inclusive.
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
_BYTE_LINE = re.compile(r"\s*(?:(\d+)\s*-)?\s*(\d+)\s+([AIFE][\d.]+)\s+(\S+)\s+(\S+)")  # start - end format units label
_RULE = re.compile(r"\s*(-{6,}|={7,})\s*")  # a delimiter of the machine-readable format

# The columns of DR16Q that are used; the other 170 are never touched.
DR16Q_COLUMNS = ("SDSS_NAME", "RA", "DEC", "PLATE", "MJD", "FIBERID", "Z", "ZWARNING", "BAL_PROB", "SN_MEDIAN_ALL")
DR16Q_ARRAYS = ("PLATE_DUPLICATE", "MJD_DUPLICATE", "FIBERID_DUPLICATE", "EXTINCTION")
# Kinds of NumPy's types; the other columns are of floating point.
_KINDS = dict.fromkeys(("PLATE", "MJD", "FIBERID", "ZWARNING"), "iu") | {"SDSS_NAME": "SU"}
_KINDS |= {f"{name}_DUPLICATE": "iu" for name in ("PLATE", "MJD", "FIBERID")}
# What astropy raises on damaged files, seen by damaging some; anything else is a bug and should be seen.
_DAMAGED = (OSError, LookupError, ValueError, TypeError, AttributeError, OverflowError, fits.VerifyError)
_CHUNK = 25_000  # rows of DR16Q in memory at a time: 57 MB of the real file's 1.7 GB

GET = "run: python get_Chen_data.py fetch catalogs (the sky) or simulate (nothing to download)"
FETCH = "fetch it again (python get_Chen_data.py fetch catalogs)"


def read_chen(path: Path) -> pd.DataFrame:
    """Read the Chen+ 2019 machine-readable table.

    The byte-by-byte header is parsed at run time and must put the nine needed columns where they are known to be; a
    byte-order mark, CRLF line ends, trailing blanks and lines that lost theirs are all survived.

    Parameters
    ----------
    path : Path
        ``apjsab41fet1_mrt.txt``.

    Returns
    -------
    DataFrame
        Columns SDSS (text), Plate, MJD, Fiber (int64), ZVI and the four masses (float64; 0 = not measured, blanks NaN).

    Raises
    ------
    FileError
        If the file is missing, not a machine-readable table, or a row cannot be read.
    TableError
        If a needed column is not declared at its bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(path, expected="the Chen+ 2019 table", got="no such file", do=GET)
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    # the header is short; decoding the data rows one by one would be most of the work
    rules = [number for number, line in enumerate(lines[:2000]) if line[:10].strip()[:6] in (b"------", b"======")]
    rules = [number for number in rules if _RULE.fullmatch(lines[number].decode("latin-1"))]
    title = next((n for n, line in enumerate(lines[:2000]) if b"byte-by-byte description" in line.lower()), None)
    if title is None or not rules or rules[-1] < title:
        raise FileError(
            path,
            expected="an AAS machine-readable table with a byte-by-byte description",
            got=f"{len(lines):,} lines that begin {lines[0][:40].decode('latin-1')!r}",
            do=FETCH,
        )
    _check_header([line.decode("utf-8", "replace") for line in lines[title : rules[-1]]], path)

    first = rules[-1] + 1
    rows = [line for line in lines[first:] if line.strip()]
    numbers = [number for number, line in enumerate(lines[first:], start=first + 1) if line.strip()]
    if not rows:
        raise FileError(path, expected="data rows after the header", got="none", do=FETCH)
    width = max(end for _, end in CHEN_COLUMNS.values())
    if lines[-1].strip() and len(lines[-1]) < width:
        where, got = f"{path}, line {len(lines)}", f"{len(lines[-1])} bytes and no line end"
        raise FileError(where, expected=f"a whole last line, {width} bytes", got=got, do=FETCH)
    text = np.array([row[:width].ljust(width) for row in rows], dtype=f"S{width}").view("S1").reshape(len(rows), width)

    def cells(label: str) -> np.ndarray:
        start, end = CHEN_COLUMNS[label]
        return np.char.strip(np.ascontiguousarray(text[:, start - 1 : end]).view(f"S{end - start + 1}")[:, 0])

    table = {}
    for label in CHEN_COLUMNS:
        raw = cells(label)
        try:
            if label == "SDSS":
                table[label] = np.char.decode(raw, "ascii")
            elif label in ("Plate", "MJD", "Fiber"):
                table[label] = raw.astype(np.int64)
            else:
                table[label] = np.where(raw == b"", b"nan", raw).astype(np.float64)
            if label != "SDSS" and not _sound(raw, table[label]):
                raise ValueError(label)
        except ValueError:
            bad = next(n for n, cell in enumerate(raw) if not _readable(cell, label))
            raise FileError(
                f"{path}, line {numbers[bad]}",
                expected=f"{label} in bytes {CHEN_COLUMNS[label][0]}-{CHEN_COLUMNS[label][1]}",
                got=repr(raw[bad].decode("latin-1")),
                do=FETCH,
            ) from None
    return pd.DataFrame(table)


def _sound(raw: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether numbers are what a table may hold: Python reads nan, inf and 1_000 as well; no spectrum has number 0."""
    plain = not raw.tobytes().translate(None, b"0123456789+-.eE \0")
    return plain and not np.isinf(numbers).any() and not (numbers.dtype == np.int64 and (numbers <= 0).any())


def _readable(cell: bytes, label: str) -> bool:
    """Whether one cell can be what its column should hold."""
    try:
        if label == "SDSS":
            cell.decode("ascii")
            return True
        number = int(cell) if label in ("Plate", "MJD", "Fiber") else float(cell or b"nan")
    except ValueError:
        return False
    return _sound(np.array([cell]), np.array([number]))


def _check_header(header: list[str], path: Path) -> None:
    """Assert that the nine columns stand at their bytes; a label spelled otherwise at the same bytes is accepted."""
    declared = {}
    for line in header:
        match = _BYTE_LINE.match(line)
        if match:
            start, end, _, _, label = match.groups()
            declared[int(start or end), int(end)] = label
    for label, (start, end) in CHEN_COLUMNS.items():
        if (start, end) not in declared:
            elsewhere = next((f"{s}-{e}" for (s, e), name in declared.items() if name == label), "nowhere")
            raise TableError(
                path,
                expected=f"column {label} declared at bytes {start}-{end}",
                got=f"{label} {elsewhere}",
                do="use the table as published with the article, or adapt CHEN_COLUMNS to the new layout",
            )


@dataclass
class Catalogue:
    """The part of DR16Q that a list of spectra touches.

    Attributes
    ----------
    objects : DataFrame
        One row per DR16Q object that owns at least one of the spectra asked for: `DR16Q_COLUMNS` and EBV.
    epochs : DataFrame
        One row per spectrum of those objects, primary first: ``row`` (into `objects`), plate, mjd, fiberid.
    n_rows : int
        Rows of the whole catalogue.
    """

    objects: pd.DataFrame
    epochs: pd.DataFrame
    n_rows: int


def spectrum_key(plate: np.ndarray, mjd: np.ndarray, fiberid: np.ndarray) -> np.ndarray:
    """One int64 per (plate, mjd, fiberid): two catalogues name the same spectrum exactly where these are equal."""
    plate, mjd, fiberid = (np.asarray(part, dtype=np.int64) for part in (plate, mjd, fiberid))
    return (plate << 36) | (mjd << 16) | fiberid


def read_dr16q(path: Path, wanted: np.ndarray) -> Catalogue:
    """Read the rows of DR16Q that own one of the wanted spectra, among primary and duplicates.

    The file is memory-mapped and walked once in pieces, so the real one (1.7 GB) needs no such memory. A duplicate slot
    counts where its plate is positive, so an object with all 74 slots used keeps them all.

    Parameters
    ----------
    path : Path
        ``DR16Q_v4.fits``.
    wanted : ndarray of int64
        Keys of spectra (`spectrum_key`).

    Returns
    -------
    Catalogue

    Raises
    ------
    FileError
        If the file is missing, truncated or not a FITS table.
    TableError
        If a needed column is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(path, expected="the DR16Q catalogue", got="no such file", do=GET)
    try:
        with open(path, "rb") as file:  # not by astropy, which leaves it open where it fails
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                fits_headers.check_header(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)  # of a damaged file: the errors below say it
                with fits.open(file, memmap=True) as hdus:
                    return _walk(hdus[1], path, wanted)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the machine's own trouble, not the file's: a place far behind its end is the file's
        got = f"{type(error).__name__}: {(str(error).splitlines() or ['no detail'])[0]}"
        raise FileError(path, expected="a FITS file with a binary table in HDU 1", got=got, do=FETCH) from error


def _walk(table: fits.BinTableHDU, path: Path, wanted: np.ndarray) -> Catalogue:
    """Take the wanted rows out of the catalogue's table, piece by piece."""
    n_rows, begin = table.header["NAXIS2"], table.fileinfo()["datLoc"]
    needed, size = table.header["NAXIS1"] * n_rows + begin, path.stat().st_size
    if size < needed:
        raise FileError(path, expected=f"{needed:,} bytes for its {n_rows:,} rows", got=f"{size:,}", do=FETCH)
    spelled = [name.upper() for name in table.columns.names]
    missing = [name for name in (*DR16Q_COLUMNS, *DR16Q_ARRAYS) if spelled.count(name) != 1]
    if missing:
        got = ", ".join(f"{spelled.count(name) or 'no'} {name}" for name in missing)
        raise TableError(path, expected="DR16Q's columns", got=got, do=FETCH)
    names = dict(zip(spelled, table.columns.names, strict=True))
    objects, epochs, offset = [], [], 0
    for start in range(0, n_rows, _CHUNK):
        rows = table.data[start : start + _CHUNK]
        found = _owners(rows, names, wanted, offset)
        objects.append(found[0])
        epochs.append(found[1])
        offset += len(found[0])
    if not objects:
        raise ValueError("no rows")
    return Catalogue(pd.concat(objects, ignore_index=True), pd.concat(epochs, ignore_index=True), n_rows)


def _owners(rows: fits.FITS_rec, names: dict, wanted: np.ndarray, offset: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of one piece of DR16Q, the objects that own a wanted spectrum, and all their spectra."""

    def column(name: str) -> np.ndarray:
        values = np.asarray(rows.field(names[name]))
        if values.dtype.kind not in _KINDS.get(name, "f"):
            raise ValueError(f"column {name} of {values.dtype}")
        return values.astype(values.dtype.newbyteorder("="))  # FITS is big-endian, pandas wants the machine's order

    primary = [column(name)[:, None] for name in ("PLATE", "MJD", "FIBERID")]
    others = [column(f"{name}_DUPLICATE").reshape(len(rows), -1) for name in ("PLATE", "MJD", "FIBERID")]
    plate, mjd, fiberid = (np.concatenate(pair, axis=1).astype(np.int64) for pair in zip(primary, others, strict=True))
    used = (plate > 0) & (mjd > 0) & (fiberid > 0)
    keys = spectrum_key(plate, mjd, fiberid)
    owner = (np.isin(keys, wanted) & used).any(axis=1)
    plate, mjd, fiberid, used = plate[owner], mjd[owner], fiberid[owner], used[owner]
    impossible = used & ~is_spectrum_id(plate, mjd, fiberid)
    if impossible.any():
        raise ValueError("a spectrum {}-{}-{}".format(*(part[impossible][0] for part in (plate, mjd, fiberid))))

    if column("EXTINCTION").shape != (len(rows), 5):
        raise ValueError("EXTINCTION in other than five bands")
    objects = pd.DataFrame({name: column(name)[owner] for name in DR16Q_COLUMNS})
    objects["SDSS_NAME"] = objects["SDSS_NAME"].map(lambda name: _text(name).strip())
    objects["EBV"] = ebv_from_extinction(column("EXTINCTION")[owner][:, 1])
    row, slot = np.nonzero(used)
    parts = (part[row, slot] for part in (plate, mjd, fiberid))
    epochs = pd.DataFrame(dict(zip(("plate", "mjd", "fiberid"), parts, strict=True)))
    epochs.insert(0, "row", row + offset)
    return objects, epochs.drop_duplicates(ignore_index=True)


def _text(name: bytes | str) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)
