"""Which rows of which files: a table that lies in several files, or in one, cut into equal shares of work."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class RowRange(NamedTuple):
    """Some rows of a file.

    Attributes
    ----------
    file : Path
    start, stop : int
        The first of them, and the one after the last.
    """

    file: Path
    start: int
    stop: int


def split_evenly(files: Iterable[tuple[Path, int]], rows: int) -> list[list[RowRange]]:
    """Cut the rows of several files, laid end to end, into shares of `rows` each; the last has what is left.

    Parameters
    ----------
    files : iterable of (Path, int)
        Each with the number of its rows, in order.
    rows : int

    Returns
    -------
    list of list of Rows
        The pieces that each share is made of.
    """
    shares, room = [], 0
    for file, count in files:
        start = 0
        while start < count:
            if not room:
                shares.append([])
                room = rows
            stop = min(count, start + room)
            shares[-1].append(RowRange(file, start, stop))
            room -= stop - start
            start = stop
    return shares
