"""Writing files whole or not at all, checksums, and progress bars."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from quasar_mass import locks

PARTIAL = ".partial"  # ending of a file that is being written; never read, replaced by the next run


@contextlib.contextmanager
def whole(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block has ended well.

    Nothing partial ever stands under a final name: the rename is atomic, and a block that fails leaves no trace.
    The temporary name keeps the ending, for writers that choose a format by it. It is the same each time, so that what
    a killed run left is replaced by the next one; whoever writes where others may write too takes `in_turn`.

    Parameters
    ----------
    path : Path
        Final name; its folder is made if it is not there.
    lasting : bool
        See to it that the content is on the disk before it gets its name, so that a loss of power does not leave an
        empty file under it. For thousands of small files that takes longer than all the rest: whoever writes those
        without it must not trust them after an interruption.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    OSError
        Of the system (disk full, no permission), naming `path`.
    """
    with together(lasting=lasting) as place, place(path) as temporary:
        yield temporary


@contextlib.contextmanager
def together(*, lasting: bool = True) -> Iterator[Callable[[Path], contextlib.AbstractContextManager[Path]]]:
    """Write several files that belong together: none gets its name before all are written.

    Then they are renamed one right after the other, in the order in which they were begun. A kill among the renames
    leaves new files beside old ones, each whole; whoever reads several must see whether they belong together.

    Yields
    ------
    callable
        To be called for each file; as `whole`.
    """
    waiting: list[tuple[Path, Path]] = []

    @contextlib.contextmanager
    def place(path: Path) -> Iterator[Path]:
        path = Path(path)
        temporary = path.with_name(f".{path.stem}{PARTIAL}{path.suffix}")
        with _naming(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            waiting.append((temporary, path))
            yield temporary
            if lasting:
                with open(temporary, "r+b") as file:  # Windows flushes only what it may write
                    os.fsync(file.fileno())

    try:
        yield place
        for temporary, path in waiting:
            with _naming(path, temporary):
                os.replace(temporary, path)
    finally:
        for temporary, _ in waiting:
            with contextlib.suppress(OSError):  # a folder that cannot be written: what is said already counts
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[Path]:
    """As `whole`, for a file that another process may write at the same moment: the two take turns."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with locks.held(lock, where=path, expected="one writer at a time", wait=True), whole(path) as temporary:
        yield temporary


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all, as `in_turn`."""
    with in_turn(path) as temporary:
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
