"""Parquet files that say what they are, guarded by checksums.

A bit that rots on a disk would else be a wrong number: of 1,500 bits flipped one by one in the pages of a table, 1,455
changed a number, and nothing was said. With a checksum for every page, all are found.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass.core.errors import FileError, TableError, first_line

METADATA = b"quasar_mass"  # the schema-metadata key that holds everything about a table, as JSON
SEAL = b"quasar_mass_sha256"  # and the one that holds the SHA-256 of that text
WRITING = {"compression": "zstd", "write_page_checksum": True}
READING = {"page_checksum_verification": True}

MAX_FOOTER_BYTES = 32_000_000  # bytes that describe the columns; the reference's 7,400 take 3 MB

# What pyarrow raises on a file that is not whole.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError)


def with_metadata(schema: pa.Schema, about: dict) -> pa.Schema:
    """Add what is known about a table to its schema, beside what stands there (pandas' own notes, say)."""
    text = json.dumps(about, sort_keys=True).encode()
    return schema.with_metadata({**(schema.metadata or {}), METADATA: text, SEAL: _seal(text)})


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def description(path: Path, schema: pa.Schema) -> bytes | None:
    """What a table says of itself, JSON; None if it is of another origin.

    Raises
    ------
    TableError
        If it is not what was written.
    """
    text = (schema.metadata or {}).get(METADATA)
    if text is not None and schema.metadata.get(SEAL, _seal(text)) != _seal(text):  # earlier versions had no seal
        raise TableError(
            path, expected="a description as it was written", got="one that changed since", do="build it again"
        )
    return text


def read_schema(path: Path, hint: str) -> pa.Schema:
    """Columns and metadata of a table, one file or a folder of parts; errors as of `survey_tables.read_about`."""
    parts = files(Path(path))
    if not parts:
        got = "an empty folder" if Path(path).is_dir() else "no such file"
        raise FileError(path, expected="a table", got=got, do=hint)
    try:
        check_length(parts[0])
        return pq.read_schema(parts[0])
    except DAMAGED as error:
        raise FileError(path, expected="a Parquet file", got=first_line(error), do=hint) from error


def files(path: Path) -> list[Path]:
    """The files of a table: itself, or the parts in a folder, in order (all readers pass over `_` and `.`)."""
    if path.is_dir():
        return sorted(part for part in path.glob("*.parquet") if part.name[0] not in "._")
    return [path] if path.is_file() else []


def footer(path: Path) -> pq.FileMetaData:
    """How many rows and row groups a file has; an error of `DAMAGED` also where it counts its rows in two ways."""
    found = pq.read_metadata(path)
    _check_rows(found)
    return found


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of a file that cannot be read what it should be."""
    try:
        yield
    except DAMAGED as error:
        raise FileError(path, expected="a whole Parquet file", got=first_line(error), do="build it again") from error


def check_length(path: Path) -> None:
    """Refuse a Parquet file that describes more columns than any table has, before it is read; ValueError."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        if file.tell() < 12:
            return  # pyarrow says what it is not
        file.seek(-8, 2)
        described = int.from_bytes(file.read(4), "little")
    if described > MAX_FOOTER_BYTES:
        raise ValueError(f"a description of {described:,} bytes")


def _check_rows(footer) -> None:
    """Refuse a Parquet file whose footer (`pyarrow.parquet.FileMetaData`) counts its rows in two ways; ValueError.

    It says how many the file has, and each of its row groups. No checksum guards it. (Their columns say it again; but
    pyarrow 26 ends the process if asked for a column's description that is damaged.)
    """
    total = sum(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
    if total != footer.num_rows:
        raise ValueError(f"{footer.num_rows:,} rows in row groups of {total:,}")
