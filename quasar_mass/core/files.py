"""Writing files and folders whole or not at all, their names, checksums, and progress bars."""

import contextlib
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from quasar_mass.core import locks

PARTIAL = ".partial"  # ending of a file that is being written; never read, replaced by the next run


@contextlib.contextmanager
def atomic_write(path: Path, *, lasting: bool = True, over_folder: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block has ended well.

    Nothing partial ever stands under a final name: the rename is atomic, and a block that fails leaves no trace.
    The temporary name keeps the ending, for writers that choose a format by it. It is the same each time, so that what
    a killed run left is replaced by the next one; whoever writes where others may write too takes `locked_write`.

    Parameters
    ----------
    path : Path
        Final name; its folder is made if it is not there.
    lasting : bool
        See to it that the content is on the disk before it gets its name, so that a loss of power does not leave an
        empty file under it. For thousands of small files that takes longer than all the rest: whoever writes those
        without it must not trust them after an interruption.
    over_folder : bool
        Whether the file may take the place of a folder of that name; otherwise that is an OSError.

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

    Then they are renamed one right after the other, in the order in which they were begun. A kill among the renames
    leaves new files beside old ones, each whole; whoever reads several must see whether they belong together.

    Yields
    ------
    callable
        To be called for each file; as `atomic_write`. With ``folder=True`` it gives an empty folder, whose name
        differs from run to run, so that a process of a run that was killed never writes into the folder of the next;
        what stands at its final name, file or folder, stays until then.
    """
    waiting: list[tuple[Path, Path, bool]] = []

    @contextlib.contextmanager
    def place(path: Path, *, folder: bool = False, over_folder: bool = False) -> Iterator[Path]:
        path = Path(path)
        temporary = _beside(path) if folder else path.with_name(f".{path.stem}{PARTIAL}{path.suffix}")
        with _naming(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder or over_folder:
                remove_leftovers(path)
            waiting.append((temporary, path, folder or over_folder))
            if folder:
                temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*") if folder else [temporary]:
                if lasting:
                    with open(file, "r+b") as written:  # Windows flushes only what it may write
                        os.fsync(written.fileno())

    try:
        yield place
        for temporary, path, over_folder in waiting:
            in_the_way = over_folder and (
                path.is_dir() or temporary.is_dir()
            )  # a file takes a file's place in one step
            with _naming(path, temporary), out_of_the_way(path) if in_the_way else contextlib.nullcontext():
                os.replace(temporary, path)
    finally:
        for temporary, *_ in waiting:
            with contextlib.suppress(OSError):  # a folder that cannot be written: what is said already counts
                _remove(temporary)


@contextlib.contextmanager
def locked_write(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a file that another process may write at the same moment: the two take turns."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with locks.held(lock, where=path, expected="one writer at a time", wait=True), atomic_write(path) as temporary:
        yield temporary


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all, as `locked_write`."""
    with locked_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors of the system speak of the file that was meant: most writers leave the name out."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary), temporary):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


@contextlib.contextmanager
def out_of_the_way(path: Path) -> Iterator[None]:
    """Move aside what stands at `path`, and remove it once the block has put something there, or else move it back."""
    path = Path(path)
    aside = _beside(path)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
    try:
        yield
    except BaseException:
        if os.path.lexists(aside):
            os.rename(aside, path)
        raise
    _remove(aside)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary folders beside `path` that a killed run has left."""
    path = Path(path)
    for left in path.parent.glob(f".{path.stem}.*{PARTIAL}"):
        _remove(left)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{PARTIAL}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def printable(path: Path | str) -> str:
    """A file's name as a table can hold it: bytes that are no UTF-8 (Python's surrogates) are written as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def progress(items: Iterable, *, total: int, what: str, unit: str, quiet: bool = False) -> Iterable:
    """Pass `items` through with a bar on standard error: rate and remaining time.

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
    """
    from tqdm import tqdm  # not at the top: --help needs none

    # Into a log file a line every few seconds is enough; a terminal gets a live bar.
    interval = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(items, total=total, desc=what, unit=f" {unit}", disable=quiet, mininterval=interval, leave=True)
