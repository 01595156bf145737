"""The two catalogues: big files, each checked against what is known of the published one before it takes its name."""

import mmap
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quasar_mass.core.errors import FetchError, FileError, QuasarMassError, SurveyError, TableError
from quasar_mass.core.files import PARTIAL, progress
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import provenance, urls
from quasar_mass.fetch.client import Client, forget
from quasar_mass.fetch.responses import Temporary
from quasar_mass.fetch.verify import git_blob, hdus, says_simulated
from quasar_mass.tables.catalogs import DR16Q_ARRAYS, DR16Q_COLUMNS, read_chen

CHEN_LIMIT = 200_000_000  # bytes, far beyond 22 MB
DR16Q_LIMIT = 4_000_000_000  # bytes, far beyond 1.7 GB


@dataclass(frozen=True)
class Found:
    """What a catalogue proved to be.

    Attributes
    ----------
    note : str
        In what way it was verified, and whether it differs from the published one.
    simulated : bool
        Whether it says that it is no observation.
    """

    note: str
    simulated: bool


def fetch_catalogs(survey: Survey, client: Client, *, quiet: bool = False) -> list[str]:
    """Bring the Chen+ 2019 table and DR16Q, unless they are there.

    Returns
    -------
    list of str
        A line for each: where it is, and what it proved to be.

    Raises
    ------
    FetchError, FileError, TableError
        If one cannot be brought, or is not the catalogue it should be.
    SurveyError
        If one is simulated and the other is not, or the disk is too full.
    """
    chen = {"limit": CHEN_LIMIT, "about": urls.CHEN_SIZE}
    dr16q = {"limit": DR16Q_LIMIT, "about": urls.DR16Q_SIZE}
    lines = []
    for name, address, target, check, sizes in (
        ("Chen+ 2019 table", urls.CHEN, survey.chen, check_chen, chen),
        ("DR16Q catalogue", urls.DR16Q, survey.dr16q, check_dr16q, dr16q),
    ):
        found: list[Found] = []

        def accept(path: Path, check: Callable = check, found: list = found) -> None:
            found.append(check(path))
            provenance.settle(survey, found[0].simulated, client.mirror)  # before the file counts as there

        how = "there already" if target.exists() else "fetched"
        if target.exists():
            forget(partial(target))  # of a run that was killed just when it had finished
            try:
                accept(target)
            except (FileError, TableError, FetchError) as error:
                do = "move it away, and the published one is fetched"
                raise FileError(target, expected="the published catalogue", got=str(error), do=do) from error
        else:
            bring(name, address, target, client, accept, size=None, quiet=quiet, **sizes)
        lines.append(f"{name}: {target} ({target.stat().st_size / 1e6:,.1f} MB), {how}, {found[0].note}")
    return lines


def bring(
    name: str,
    address: str,
    target: Path,
    client: Client,
    accept: Callable[[Path], object],
    *,
    limit: int,
    size: int | None,
    about: int,
    quiet: bool,
) -> None:
    """Fetch a big file, going on where an earlier run was cut off, and give it its name once it is accepted.

    Parameters
    ----------
    name, address : str
        What it is called, and its public address.
    target : Path
        Its final name.
    client : Client
    accept : callable
        Given the file under its temporary name; raises what is wrong with it, and then nothing of it is kept.
    limit : int
        Most bytes.
    size : int or None
        Its exact size, where that is known.
    about : int
        Bytes it has, more or less, for the space and the progress bar.
    quiet : bool
        No progress bar.
    """
    part = partial(target)
    require_space(target.parent, about - (part.stat().st_size if part.exists() else 0))
    with progress(None, total=size, what=name, unit="B", quiet=quiet) as bar:
        bar.unit_scale = True

        def advance(position: int, total: int | None) -> None:
            bar.total = total
            bar.update(position - bar.n)

        client.download(address, part, limit=limit, size=size, advance=advance)
    try:
        accept(part)
    except (QuasarMassError, Temporary):
        forget(part)
        raise
    os.replace(part, target)
    forget(part)


def partial(target: Path) -> Path:
    """Where a big file is gathered, over as many runs as it takes."""
    return target.with_name(f".{target.stem}{PARTIAL}{target.suffix}")


def require_space(folder: Path, size: int) -> None:
    """See that a disk has room for so many bytes more.

    Raises
    ------
    SurveyError
        If it has not.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        got = f"{free / 1e9:,.1f} GB"
        raise SurveyError(
            folder, expected=f"{size / 1e9:,.1f} GB of free disk", got=got, do="make room, or choose another --survey"
        )


def check_chen(path: Path) -> Found:
    """See that a file is the mass table of Chen et al. 2019.

    Raises
    ------
    FileError, TableError
        If it is no such table.
    FetchError
        If it has another number of rows, and does not say that it is simulated.
    """
    rows = len(read_chen(path))
    content = path.read_bytes()
    if says_simulated(path):
        return Found(f"simulated by its own title, {rows:,} rows", simulated=True)
    if git_blob(content) == urls.CHEN_BLOB:
        return Found(f"verified: the published bytes, {rows:,} rows", simulated=False)
    _require_rows(path, rows, urls.CHEN_ROWS)
    return Found(f"verified by labels and {rows:,} rows, but NOT the bytes that the reference used", simulated=False)


def check_dr16q(path: Path) -> Found:
    """See that a file is DR16Q: whole, with its columns and its number of rows.

    Raises
    ------
    FetchError
        If it is not; only a catalogue that says that it is simulated may have another number of rows.
    """
    do = "nothing of it was kept; check the address, or the mirror"
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            every = hdus(content)
            names = _column_names(content) if len(every) > 1 else ()
    except (Temporary, ValueError) as error:  # mmap refuses an empty file with a ValueError
        raise FetchError(path, expected="a whole FITS file", got=str(error), do=do) from error
    missing = [name for name in (*DR16Q_COLUMNS, *DR16Q_ARRAYS) if name not in names]
    if missing:
        raise FetchError(path, expected="DR16Q's columns in HDU 1", got=f"no {', '.join(missing)}", do=do)
    rows = int(every[1]["NAXIS2"])
    if every[0].get("SIMULATE") == "T":
        return Found(f"simulated by its own header, {rows:,} rows", simulated=True)
    _require_rows(path, rows, urls.DR16Q_ROWS)
    return Found(f"verified: whole, {len(names)} columns, {rows:,} rows", simulated=False)


def _column_names(content: mmap.mmap) -> set[str]:
    """Upper-case names of the columns of HDU 1."""
    start = content.find(b"XTENSION")
    header = content[start : content.find(b"END".ljust(80), start)].decode("latin-1")
    return {name.strip().upper() for name in re.findall(r"TTYPE\d+ *= *'([^']*)'", header)}


def _require_rows(path: Path, rows: int, published: int) -> None:
    if rows != published:
        do = "it is another catalogue than the published one; check the address, or the mirror"
        raise FetchError(path, expected=f"{published:,} rows", got=f"{rows:,}", do=do)
