"""Writing files and folders whole or not at all; file names, checksums and progress bars."""

import contextlib
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from quasar_mass.core import locks
from quasar_mass.core.errors import FileError

PARTIAL = ".partial"  # part of the name of a file that is being written; never read, replaced by the next run


def check_writable(path: Path) -> None:
    """Refuse an output that could not be written, before any work is done.

    Raises
    ------
    FileError
        If the name is that of a folder, or the folder of the file does not exist or cannot be written to.
    """
    if path.is_dir():
        raise FileError(path, "is a folder; name a file to write")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileError(path, f"there is no folder {folder}; create it, or choose another one")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(path, f"no permission to write in {folder}; choose another folder")


@contextlib.contextmanager
def atomic_write(path: Path, *, lasting: bool = True, over_folder: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block has ended without an error.

    So nothing incomplete ever has the final name, and a block that fails leaves no trace. The temporary name keeps
    the ending, for writers that choose a format by it. It is the same each time, so that the next run replaces what a
    killed run left behind; use `locked_write` where two processes may write at the same time.

    Parameters
    ----------
    path : Path
        Final name; its folder is made if it is not there.
    lasting : bool
        Wait until the content is on the disk before it gets its name, so that a loss of power does not leave an
        empty file under it. For thousands of small files that takes longer than everything else; a caller that
        does not wait must check those files after an interruption.
    over_folder : bool
        Whether the file may replace a folder of that name; otherwise that is an OSError.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    OSError
        Of the system (disk full, no permission), naming `path`.
    """
    with atomic_group(lasting=lasting) as place, place(path, over_folder=over_folder) as temporary:
        yield temporary


@contextlib.contextmanager
def atomic_group(*, lasting: bool = True) -> Iterator[Callable[..., contextlib.AbstractContextManager[Path]]]:
    """Write several files that belong together: none gets its name before all are written.

    They are renamed one right after the other, in the order in which they were begun. A kill between two renames leaves
    new files beside old ones, each complete; a reader of several must check that they belong together.

    Yields
    ------
    callable
        To be called for each file; as `atomic_write`. With ``folder=True`` it gives an empty folder instead. Its name
        differs from run to run, so that workers of a killed run never write into the folder of the next one.
    """
    written: list[tuple[Path, Path, bool]] = []

    @contextlib.contextmanager
    def place(path: Path, *, folder: bool = False, over_folder: bool = False) -> Iterator[Path]:
        path, over_folder = Path(path), folder or over_folder
        temporary = _unused_name(path) if folder else path.with_name(f".{path.stem}{PARTIAL}{path.suffix}")
        with _name_in_errors(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            if over_folder:
                for left in path.parent.glob(f".{path.stem}.*{PARTIAL}"):  # by a run that was killed
                    _remove(left)
            written.append((temporary, path, over_folder))
            if folder:
                temporary.mkdir()
            yield temporary
            if lasting:
                _flush(temporary)

    try:
        yield place
        for temporary, path, over_folder in written:
            with _name_in_errors(path, temporary):
                if over_folder and os.path.lexists(path) and (path.is_dir() or temporary.is_dir()):
                    aside = _unused_name(path)
                    os.rename(path, aside)
                    os.replace(temporary, path)
                    _remove(aside)
                else:
                    os.replace(temporary, path)
    finally:
        for temporary, *_ in written:
            with contextlib.suppress(OSError):  # in a folder that cannot be written: the first error counts
                _remove(temporary)


@contextlib.contextmanager
def locked_write(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a file that another process may write at the same moment: the two take turns."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with locks.held(lock, where=path, wait=True), atomic_write(path) as temporary:
        yield temporary


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all, as `locked_write`."""
    with locked_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _name_in_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Name the final file in errors of the system, which usually name the temporary file or none."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary), temporary):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _unused_name(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{PARTIAL}")


def _flush(path: Path) -> None:
    """Wait until a file, or every file of a folder, is on the disk."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        with open(file, "r+b") as opened:  # Windows flushes only what it may write
            os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def printable(path: Path | str) -> str:
    """Give a file's name as a table can hold it, with escapes for bytes that are not UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_previous(path: Path) -> None:
    """Copy a file that is about to be replaced into the folder ``previous`` beside it, and say so."""
    if path.exists():
        kept = path.parent / "previous" / path.name
        with locked_write(kept) as temporary:
            shutil.copyfile(path, temporary)
        print(f"{path} will be replaced; the old file is kept as {kept}")


def progress(items: Iterable, *, total: int, what: str, unit: str, quiet: bool = False, delay: float = 0.0) -> Iterable:
    """Pass `items` through, with a bar on standard error that shows the rate and the remaining time.

    Parameters
    ----------
    items : iterable
        What to pass through.
    total : int
        How many there are.
    what, unit : str
        The bar's caption and what it counts.
    quiet : bool
        No bar.
    delay : float
        Seconds before the bar appears; none appears if the work is done by then.
    """
    from tqdm import tqdm  # not at the top: --help needs none

    # Into a log file a line every few seconds is enough; a terminal gets a live bar.
    interval = 0.1 if sys.stderr.isatty() else 5.0
    shown = {"mininterval": interval, "delay": delay, "leave": True}
    return tqdm(items, total=total, desc=what, unit=f" {unit}", disable=quiet, **shown)
