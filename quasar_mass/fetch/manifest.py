"""What is known of every spectrum file: a Parquet table, and beside it a journal of what the running fetch adds.

A line of the journal is written once a file stands under its final name, so a kill at any moment loses no more than the
line of a file that is there, which the next run finds. At the end of a run, when all files are on the disk, the journal
becomes part of the table; a journal that is still there at the next run tells that this did not happen, and what it
lists is read again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from quasar_mass.core.errors import FileError
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Survey, is_spectrum_id
from quasar_mass.fetch.urls import REDUCTIONS

Epoch = tuple[int, int, int]  # plate, mjd, fiberid

MISSING, VERIFIED, FAILED, NOT_PUBLISHED = STATES = ("missing", "verified", "failed", "not published")
MAX_CHARACTERS = 10_000  # characters of an address or a reason
DAMAGED = "delete it: files that are there are checked again, not fetched again"


@dataclass(frozen=True, slots=True)
class Row:
    """One spectrum file.

    Attributes
    ----------
    plate, mjd, fiberid : int
        Which spectrum.
    run2d, url : str
        Of the reduction it came from, or was last asked for; empty where not known.
    bytes : int
        Its size, 0 unless verified.
    sha256 : str
        Its checksum, empty unless verified.
    state : {"missing", "verified", "failed", "not published"}
        Whether it is there.
    reason : str
        Why it is not, or what to know about it.
    """

    plate: int
    mjd: int
    fiberid: int
    run2d: str = ""
    url: str = ""
    bytes: int = 0
    sha256: str = ""
    state: str = MISSING
    reason: str = ""

    @property
    def epoch(self) -> Epoch:
        """(plate, mjd, fiberid)."""
        return self.plate, self.mjd, self.fiberid


_NUMBERS = ("plate", "mjd", "fiberid", "bytes")
NAMES = tuple(field.name for field in fields(Row))


def paths(survey: Survey) -> tuple[Path, Path]:
    """The manifest and its journal."""
    folder = survey.folder / "spectra"
    return folder / "manifest.parquet", folder / "manifest.journal"


def read(survey: Survey) -> dict[Epoch, Row]:
    """What is known of every spectrum file of a survey, whether or not a fetch is running.

    Raises
    ------
    FileError
        If the manifest or its journal is damaged, or holds what no fetch writes.
    """
    table, journal = paths(survey)
    rows = {row.epoch: row for row in _table_rows(table)}
    rows.update((row.epoch, row) for row in _journal_rows(journal))
    return rows


class Manifest:
    """The manifest of a survey while a fetch is running.

    Parameters
    ----------
    survey : Survey

    Attributes
    ----------
    rows : dict
        (plate, mjd, fiberid) to `Row`.
    unsure : set
        Those among them that an earlier run noted down without coming to an orderly end; after a loss of power, their
        files may not be what they were.

    Raises
    ------
    FileError
        As `read`.
    """

    def __init__(self, survey: Survey) -> None:
        self.table, self.journal = paths(survey)
        self.rows = read(survey)
        self.unsure = {row.epoch for row in _journal_rows(self.journal) if row.state == VERIFIED}
        self.table.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(self.journal)
        self._file = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if hasattr(os, "sync"):
                os.sync()  # the files first, then the table that vouches for them
            self._write_table(lasting=True)
        finally:
            os.close(self._file)
        self.journal.unlink(missing_ok=True)

    def want(self, epochs: Iterable[Epoch]) -> None:
        """Take in the spectra that are wanted, and drop others that never came."""
        epochs = dict.fromkeys(epochs)
        others = {epoch: row for epoch, row in self.rows.items() if epoch not in epochs and row.state == VERIFIED}
        self.rows = {epoch: self.rows.get(epoch) or Row(*epoch) for epoch in epochs} | others
        self._write_table()

    def record(self, row: Row) -> None:
        """Note down at once what is known of a file."""
        self.rows[row.epoch] = row
        os.write(self._file, json.dumps(asdict(row), separators=(",", ":")).encode() + b"\n")

    def _write_table(self, *, lasting: bool = False) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from quasar_mass.tables import parquet

        ordered = [self.rows[epoch] for epoch in sorted(self.rows)]
        schema = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in NAMES])
        columns = {name: [getattr(row, name) for row in ordered] for name in NAMES}
        with atomic_write(self.table) as temporary:
            pq.write_table(pa.table(columns, schema), temporary, **parquet.WRITING)
            if lasting:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())

    def counts(self) -> Counter:
        """State to number of files."""
        return Counter(row.state for row in self.rows.values())


def _table_rows(path: Path) -> Iterable[Row]:
    if not path.exists():
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    from quasar_mass.tables import parquet

    try:
        parquet.footer(path)
        table = pq.read_table(path, columns=list(NAMES), **parquet.READING)
        for values in zip(*(table.column(name).to_pylist() for name in NAMES), strict=True):
            yield _checked(dict(zip(NAMES, values, strict=True)))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        got = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise FileError(path, expected="the manifest of a fetch", got=got, do=DAMAGED) from error


def _journal_rows(path: Path) -> Iterable[Row]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    # a kill can tear the last line; what it was about is on the disk, and found again
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            yield _checked(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            where = f"{path}, line {number}"
            raise FileError(where, expected="a line of the journal of a fetch", got=str(error), do=DAMAGED) from error


def _end_torn_line(path: Path) -> None:
    """Cut a torn last line away, so that the next one begins a line."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _checked(values: dict) -> Row:
    """A row that says nothing but what a fetch writes: numbers make its path, and no name from a file does.

    Raises
    ------
    ValueError
        If it says anything else.
    """
    if set(values) != set(NAMES):
        raise ValueError(f"other columns than {', '.join(NAMES)}")
    for name, value in values.items():
        if type(value) is not (int if name in _NUMBERS else str) or len(str(value)) > MAX_CHARACTERS:
            raise ValueError(f"{name} {str(value)[:40]!r}")
        str(value).encode()  # what is no text cannot be written again
    row = Row(**values)
    if not (is_spectrum_id(*row.epoch) and 0 <= row.bytes < 1 << 40):
        raise ValueError(f"spectrum {row.epoch}, {row.bytes} bytes")
    if row.run2d not in ("", *REDUCTIONS) or row.state not in STATES:
        raise ValueError(f"run2d {row.run2d!r}, state {row.state!r}")
    return row
