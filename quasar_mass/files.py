"""Writing files whole or not at all, checksums, and progress bars."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PARTIAL = ".partial"  # ending of a file that is being written; never read, replaced by the next run


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block has ended well.

    Nothing partial ever stands under a final name: the rename is atomic, and a block that fails leaves no trace.
    The temporary name keeps the ending, for writers that choose a format by it.

    Parameters
    ----------
    path : Path
        Final name; its folder is made if it is not there.

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
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
