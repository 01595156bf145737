"""Parquet files guarded by checksums, one file or a folder of parts.

Without checksums, a bit that flips on a disk becomes a wrong number: of 1,500 bits flipped one by one in the pages of a
table, 1,455 changed a number and no reader noticed. With a checksum for every page, all are detected.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass.core.errors import FileError, TableError, first_line

METADATA = b"quasar_mass"  # the key of the schema's metadata under which a table describes itself, as JSON
CHECKSUM = b"quasar_mass_sha256"  # the key of that text's SHA-256
WRITING = {"compression": "zstd", "write_page_checksum": True}
READING = {"page_checksum_verification": True}

# What pyarrow raises on a damaged file.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError)


class RowRange(NamedTuple):
    """Rows ``start`` to ``stop``, the latter excluded, of one file."""

    file: Path
    start: int
    stop: int


def split_evenly(files: Iterable[tuple[Path, int]], rows: int) -> list[list[RowRange]]:
    """Cut the rows of several files, laid end to end, into chunks of `rows` rows; the last chunk may be smaller.

    Parameters
    ----------
    files : iterable of (Path, int)
        Each file with its number of rows, in order.
    rows : int

    Returns
    -------
    list of list of RowRange
        For each chunk the ranges it consists of.
    """
    chunks, free = [], 0
    for file, count in files:
        start = 0
        while start < count:
            if not free:
                chunks.append([])
                free = rows
            stop = min(count, start + free)
            chunks[-1].append(RowRange(file, start, stop))
            free -= stop - start
            start = stop
    return chunks


def with_metadata(schema: pa.Schema, about: dict) -> pa.Schema:
    """Add a table's description to its schema, and leave other metadata (that of pandas, say) in place."""
    text = json.dumps(about, sort_keys=True).encode()
    return schema.with_metadata({**(schema.metadata or {}), METADATA: text, CHECKSUM: _checksum(text)})


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def description(path: Path, schema: pa.Schema) -> dict | None:
    """Give a table's description of itself, or None for a table that this project has not written.

    Raises
    ------
    TableError
        If the description has changed since it was written.
    """
    text = (schema.metadata or {}).get(METADATA)
    if text is None:
        return None
    if schema.metadata.get(CHECKSUM, _checksum(text)) != _checksum(text):  # tables of earlier versions have none
        raise TableError(path, "its description has changed since it was written; build it again")
    return json.loads(text)


def read_schema(path: Path, hint: str) -> pa.Schema:
    """Read the columns and the metadata of a table.

    Parameters
    ----------
    path : Path
        One file, or a folder of parts.
    hint : str
        What to do where the table is missing or damaged, for the error message.

    Raises
    ------
    FileError
        If there is no table, or it is not Parquet.
    """
    parts = files(Path(path))
    if not parts:
        raise FileError(path, f"{'an empty folder' if Path(path).is_dir() else 'no such file'}; {hint}")
    with reading(parts[0], hint):
        return pq.read_schema(parts[0])


def files(path: Path) -> list[Path]:
    """Give the files of a table in order: itself, or the parts in a folder (readers skip names in `_` and `.`)."""
    if path.is_dir():
        return sorted(part for part in path.glob("*.parquet") if part.name[0] not in "._")
    return [path] if path.is_file() else []


def footer(path: Path) -> pq.FileMetaData:
    """Read how many rows and row groups a file has.

    No checksum guards the footer, but it counts the rows twice, for the file and by row group. (The columns count them
    again; but pyarrow 26 ends the process if asked for the description of a damaged column.)

    Raises
    ------
    ValueError, or another one of `DAMAGED`
        If the two counts differ, or the file is damaged.
    """
    metadata = pq.read_metadata(path)
    total = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    if total != metadata.num_rows:
        raise ValueError(f"{metadata.num_rows:,} rows in row groups of {total:,}")
    return metadata


@contextlib.contextmanager
def reading(path: Path, hint: str = "build it again") -> Iterator[None]:
    """Turn the errors of pyarrow on a damaged file into a `FileError`; trouble of the machine passes."""
    try:
        yield
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise FileError(path, f"is not a whole Parquet file ({first_line(error)}); {hint}") from error
