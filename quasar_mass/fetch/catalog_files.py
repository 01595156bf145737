"""Fetches the two catalogues, and compares each with the published one before it gets its final name."""

import mmap
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from quasar_mass.core.errors import FetchError, FileError, QuasarMassError, SurveyError, TableError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.client import Client, discard
from quasar_mass.fetch.urls import BigFile
from quasar_mass.fetch.verify import git_blob, is_simulated, mark_kind, says_simulated
from quasar_mass.spectra import fits_headers
from quasar_mass.tables.catalogs import DR16Q_ARRAYS, DR16Q_COLUMNS, read_chen


def fetch_catalogs(survey: Survey, client: Client, *, quiet: bool = False) -> list[str]:
    """Fetch the Chen+ 2019 table and DR16Q, unless they are there.

    Returns
    -------
    list of str
        A line for each: where it is, and what the check showed.

    Raises
    ------
    FetchError, FileError, TableError
        If one cannot be fetched, or is not the catalogue it should be.
    SurveyError
        If one is simulated and the other is not, or the disk is too full.
    """
    lines = []
    for file, check in zip(urls.catalogs(survey), (check_chen, check_dr16q), strict=True):

        def accept(path: Path, check: Callable = check) -> str:
            note, simulated = check(path)
            mark_kind(survey, simulated, client.mirror)  # before the file gets its name
            return note

        how = "there already" if file.path.exists() else "fetched"
        if file.path.exists():
            discard(file.part)  # of a run that was killed just before it ended
            try:
                note = accept(file.path)
            except (FileError, TableError, FetchError) as error:
                problem = error.message.partition("; ")[0]
                message = f"is not the published catalogue ({problem}); move it away and fetch it again"
                raise FileError(file.path, message) from error
        else:
            note = download_checked(file, client, accept, quiet=quiet)
        lines.append(f"{file.name}: {file.path} ({file.path.stat().st_size / 1e6:,.1f} MB), {how}, {note}")
    return lines


def download_checked(file: BigFile, client: Client, accept: Callable[[Path], object], *, quiet: bool = False):
    """Fetch a big file, resuming an earlier download, and give it its name once it is accepted.

    Parameters
    ----------
    file : BigFile
    client : Client
    accept : callable
        Given the file under its temporary name; raises what is wrong with it, and then nothing of it is kept.
    quiet : bool
        No progress bar.

    Returns
    -------
    object
        What `accept` returned.
    """
    part = file.part
    require_space(part.parent, file.size - (part.stat().st_size if part.exists() else 0))
    with progress(None, total=file.size, what=file.name, unit="B", quiet=quiet) as bar:
        bar.unit_scale = True

        def advance(position: int, total: int | None) -> None:
            bar.total = total
            bar.update(position - bar.n)

        client.download(file.address, part, advance)
    try:
        result = accept(part)
    except QuasarMassError:
        discard(part)
        raise
    os.replace(part, file.path)
    discard(part)
    return result


def require_space(folder: Path, size: int) -> None:
    """Check that a disk has enough free space.

    Raises
    ------
    SurveyError
        If it does not.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        message = f"needs {size / 1e9:,.1f} GB of free disk and has {free / 1e9:,.1f} GB"
        raise SurveyError(folder, f"{message}; free some, or choose another --survey")


def check_chen(path: Path) -> tuple[str, bool]:
    """Check that a file is the mass table of Chen et al. 2019.

    Returns
    -------
    note : str
        How it was verified, and whether it differs from the published one.
    simulated : bool
        Whether it says that it is simulated.

    Raises
    ------
    FileError, TableError
        If it is no such table.
    FetchError
        If it has another number of rows, and does not say that it is simulated.
    """
    rows = len(read_chen(path))
    if says_simulated(path):
        return f"simulated by its own title, {rows:,} rows", True
    if git_blob(path.read_bytes()) == urls.CHEN_BLOB:
        return f"verified: the published bytes, {rows:,} rows", False
    _require_rows(path, rows, urls.CHEN_ROWS)
    return f"verified by labels and {rows:,} rows, but NOT the bytes that the reference used", False


def check_dr16q(path: Path) -> tuple[str, bool]:
    """Check that a file is DR16Q: complete, with its columns and its number of rows; returns as `check_chen`.

    Raises
    ------
    FetchError
        If it is not; only a catalogue that says that it is simulated may have another number of rows.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            headers = fits_headers.walk(content, strict=True)
            names = _column_names(headers[1].header) if len(headers) > 1 else set()
    except ValueError as error:  # mmap raises one for an empty file
        raise FetchError(path, f"is not a complete FITS file ({error}); check the address or the mirror") from error
    missing = [name for name in (*DR16Q_COLUMNS, *DR16Q_ARRAYS) if name not in names]
    if missing:
        message = f"is not DR16Q: HDU 1 has no column {', '.join(missing)}; check the address or the mirror"
        raise FetchError(path, message)
    rows = headers[1].sizes["NAXIS2"]
    if is_simulated(headers[0]):
        return f"simulated by its own header, {rows:,} rows", True
    _require_rows(path, rows, urls.DR16Q_ROWS)
    return f"verified: whole, {len(names)} columns, {rows:,} rows", False


def _column_names(header: bytes) -> set[str]:
    """Upper-case names of a table's columns."""
    return {name.strip().upper() for name in re.findall(r"TTYPE\d+ *= *'([^']*)'", header.decode("latin-1"))}


def _require_rows(path: Path, rows: int, published: int) -> None:
    if rows != published:
        message = f"has {rows:,} rows, and the published catalogue has {published:,}; check the address or the mirror"
        raise FetchError(path, message)
