"""Writing files and folders whole or not at all, checksums, and progress bars."""

import contextlib
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PARTIAL = ".partial"  # ending of a file that is being written; never read, replaced by the next run


@contextlib.contextmanager
def whole(path: Path, *, over_folder: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block has ended well.

    Nothing partial ever stands under a final name: the rename is atomic, and a block that fails leaves no trace.
    The temporary name keeps the ending, for writers that choose a format by it.

    Parameters
    ----------
    path : Path
        Final name; its folder is made if it is not there.
    over_folder : bool
        Whether the file may take the place of a folder of that name; otherwise that is an OSError.

    Yields
    ------
    Path
        Where to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}{PARTIAL}{path.suffix}")
    try:
        yield temporary
        with out_of_the_way(path) if over_folder and path.is_dir() else contextlib.nullcontext():
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`, and move it there once the block has ended well.

    Its name differs from run to run, so that a process of a run that was killed never writes into the folder of the
    next; `remove_leftovers`, called first, takes away what such a run has left.

    Parameters
    ----------
    path : Path
        Final name. A file or folder that stands there stays until the new folder is complete.

    Yields
    ------
    Path
        Where to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        with out_of_the_way(path):
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
