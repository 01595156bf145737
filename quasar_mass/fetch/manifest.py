"""The state of every spectrum file: a Parquet table, and a journal of what the running fetch adds to it.

A line is added to the journal as soon as a file has its final name. A kill loses at most the line of a file that is
complete, and the next run checks that file. At the end of a run, when all files are on the disk, the journal becomes
part of the table. If the journal still exists at the next run, this did not happen, and the files it lists are read
again.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from quasar_mass.core.errors import FileError, first_line
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Survey, is_spectrum_id

SpecId = tuple[int, int, int]  # plate, mjd, fiberid

MISSING, VERIFIED, FAILED, NOT_PUBLISHED = STATES = ("missing", "verified", "failed", "not published")


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
        Its size when it was verified last, 0 if it never was.
    sha256 : str
        Its checksum then; empty if it never was.
    state : {"missing", "verified", "failed", "not published"}
        Whether the file is there.
    reason : str
        Why it is not there, or a remark about it.
    mtime_ns : int
        The file's time of modification when its content was compared with the checksum last, in nanoseconds.
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
    mtime_ns: int = 0

    @property
    def spec_id(self) -> SpecId:
        """(plate, mjd, fiberid)."""
        return self.plate, self.mjd, self.fiberid


_NUMBERS = ("plate", "mjd", "fiberid", "bytes", "mtime_ns")
NAMES = tuple(field.name for field in fields(Row))


def paths(survey: Survey) -> tuple[Path, Path]:
    """The manifest and its journal."""
    folder = survey.folder / "spectra"
    return folder / "manifest.parquet", folder / "manifest.journal"


def read(survey: Survey) -> dict[SpecId, Row]:
    """What is known of every spectrum file of a survey, also while a fetch is running.

    Raises
    ------
    FileError
        If the manifest or its journal is damaged, or holds what no fetch writes.
    """
    table, journal = paths(survey)
    return {row.spec_id: row for rows in (_table_rows(table), _journal_rows(journal)) for row in rows}


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
        The verified spectra in the journal of a run that was interrupted. After a loss of power their
        files may be damaged.

    Raises
    ------
    FileError
        As `read`.
    """

    def __init__(self, survey: Survey) -> None:
        self.table, self.journal = paths(survey)
        self.rows = read(survey)
        self.unsure = {row.spec_id for row in _journal_rows(self.journal) if row.state == VERIFIED}
        self.table.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(self.journal)
        self._file = open(self.journal, "ab", buffering=0)  # noqa: SIM115 - until the run ends

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if hasattr(os, "sync"):
                os.sync()  # the files first, then the table that lists them as verified
            self._write_table()
        finally:
            self._file.close()
        self.journal.unlink(missing_ok=True)

    def select(self, spec_ids: Iterable[SpecId]) -> None:
        """Add the selected spectra, and drop others that were never fetched."""
        selected = dict.fromkeys(spec_ids)
        others = {key: row for key, row in self.rows.items() if key not in selected and row.state == VERIFIED}
        self.rows = {key: self.rows.get(key) or Row(*key) for key in selected} | others
        self._write_table()

    def record(self, row: Row) -> None:
        """Write the state of a file to the journal at once."""
        self.rows[row.spec_id] = row
        self._file.write(json.dumps(asdict(row), separators=(",", ":")).encode() + b"\n")

    def _write_table(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from quasar_mass.tables import parquet

        ordered = [self.rows[key] for key in sorted(self.rows)]
        schema = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in NAMES])
        columns = {name: [getattr(row, name) for row in ordered] for name in NAMES}
        with atomic_write(self.table) as temporary:
            pq.write_table(pa.table(columns, schema), temporary, **parquet.WRITING)


def _table_rows(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    from quasar_mass.tables import parquet

    try:
        parquet.footer(path)
        table = pq.read_table(path, **parquet.READING)
        for values in table.select([name for name in NAMES if name in table.schema.names]).to_pylist():
            yield _checked(values)  # version 0.2.0 wrote no mtime_ns
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _damaged(path, error) from error


def _journal_rows(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    # a kill can cut the last line; its file is on the disk and will be checked
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            yield _checked(json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise _damaged(f"{path}, line {number}", error) from error


def _damaged(where: Path | str, error: Exception) -> FileError:
    message = "is damaged, or was not written by a fetch"
    advice = "delete the file, and what was fetched is checked again, not fetched again"
    return FileError(where, f"{message} ({first_line(error)}); {advice}")


def _end_torn_line(path: Path) -> None:
    """Remove an incomplete last line."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _checked(values: dict) -> Row:
    """A row that a fetch may have written; ValueError or TypeError if it is not, since its numbers name a file."""
    row = Row(**values)
    for name in NAMES:
        value = getattr(row, name)
        if type(value) is not (int if name in _NUMBERS else str):
            raise TypeError(f"{name} {value!r:.40}")
        if name in _NUMBERS and not 0 <= value < 1 << 63:  # the table's are int64
            raise ValueError(f"{name} {value!s:.40}")
    if not is_spectrum_id(*row.spec_id) or row.state not in STATES:
        raise ValueError(f"spectrum {row.spec_id}, state {row.state!r}")
    return row
