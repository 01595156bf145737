"""The tables of a survey, written and read: quasars.parquet, spectra.parquet and rejects.parquet."""

import base64
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass.core.errors import TableError
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.tables import parquet, schemas
from quasar_mass.tables.parquet import RowRange, split_evenly

ROW_GROUP = 1024  # spectra per row group: 15 MB, small enough to stream

BUILD = "run: python get_Chen_data.py build"  # what to do where a table is missing


def write_quasars(path: Path, quasars: pd.DataFrame, about: dict, place: Callable = atomic_write) -> None:
    """Write quasars.parquet (one row per object, index OBJECT) whole or not at all; `place` as in `write_spectra`."""
    _write(path, pa.Table.from_pandas(quasars[list(schemas.QUASAR_COLUMNS)]), about, place)


def write_rejects(path: Path, rejects: list[dict], about: dict, place: Callable = atomic_write) -> None:
    """Write rejects.parquet: OBJECT, EPOCH, REASON and DETAIL of every spectrum that is not in spectra.parquet."""
    _write(path, pa.Table.from_pylist(rejects, schema=schemas.REJECT_SCHEMA), about, place)


def _write(path: Path, table: pa.Table, about: dict, place: Callable) -> None:
    with place(path) as temporary:
        pq.write_table(table.cast(parquet.with_metadata(table.schema, about)), temporary, **parquet.WRITING)


def spectra_table(batch: dict, grid: Grid) -> pa.Table:
    """Turn a batch of rows, column name to list or array, into a table with the columns of spectra.parquet."""
    schema = schemas.spectra_schema(grid)
    columns = {name: batch[name] for name in schema.names if name != "flux"}
    flux = pa.array(np.ascontiguousarray(batch["flux"], dtype=np.float32).reshape(-1))
    columns["flux"] = pa.FixedSizeListArray.from_arrays(flux, grid.size)
    return pa.table(columns, schema=schema)


def write_spectra(
    path: Path, batches: Iterable[dict], grid: Grid, finish: Callable[[], dict], place: Callable = atomic_write
) -> int:
    """Write spectra.parquet as one file from a stream of batches, whole or not at all.

    Parameters
    ----------
    path : Path
        Final name. A folder of parts of that name is replaced.
    batches : iterable of dict
        Column name to list or array; ``flux`` of shape (rows, grid.size).
    grid, finish
        As in `write_file`.
    place : callable
        `files.atomic_write`, or the function that `files.atomic_group` yields.

    Returns
    -------
    int
        Rows written.
    """
    with place(path, over_folder=True) as temporary:
        return write_file(temporary, (spectra_table(batch, grid) for batch in batches), grid, finish)


def write_file(path: Path, batches: Iterable[pa.Table], grid: Grid, finish: Callable[[], dict]) -> int:
    """Write spectra into a file of the form of spectra.parquet.

    Rows are collected into row groups of `ROW_GROUP` whatever the size of the batches, so the bytes of the file do not
    depend on how the work was divided.

    Parameters
    ----------
    path : Path
        A temporary name.
    batches : iterable of Table
        Made by `spectra_table`.
    grid : Grid
        The grid of the fluxes.
    finish : callable
        Called after the last batch; gives the table's description, which may hold counts of what was written.

    Returns
    -------
    int
        Rows written.
    """
    schema, written = schemas.spectra_schema(grid), 0
    plain = [name for name in schema.names if name != "flux"]
    with pq.ParquetWriter(
        path,
        schema,
        **parquet.WRITING,
        use_dictionary=plain,
        use_byte_stream_split=["flux.list.element"],  # bytes of equal significance together: half the size, lossless
        write_statistics=plain,
    ) as writer:
        for group in _row_groups(batches, schema):
            writer.write_table(group.combine_chunks(), row_group_size=ROW_GROUP)
            written += group.num_rows
        # pyarrow fixes the schema when it opens a file, but the counts are known only now: write the schema again
        final = parquet.with_metadata(schema, finish())
        arrow_schema = base64.b64encode(final.serialize().to_pybytes())
        writer.add_key_value_metadata({**final.metadata, b"ARROW:schema": arrow_schema})
    return written


def _row_groups(batches: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    pending = schema.empty_table()
    for batch in batches:
        pending = pa.concat_tables([pending, batch])
        while pending.num_rows >= ROW_GROUP:
            yield pending.slice(0, ROW_GROUP)
            pending = pending.slice(ROW_GROUP)
    if pending.num_rows:
        yield pending


def read_about(path: Path, hint: str = BUILD) -> dict:
    """Read what one of our tables says of itself (kind, build, grid, units, ...), without reading its rows.

    Parameters
    ----------
    path : Path
    hint : str
        What to do where the table is missing, for the error message.

    Raises
    ------
    FileError
        If the table is missing, is not Parquet, or was not written by this project.
    TableError
        If its description is damaged, or holds what no table of this project says.
    """
    return schemas.read_about(path, parquet.read_schema(path, hint))


def check_pair(survey: Survey) -> dict:
    """Check that the two tables of a survey come from one build, and give the description of spectra.parquet.

    They are replaced one after the other, so a build that is killed in between leaves a new one beside an old one.

    Raises
    ------
    FileError, TableError
        As in `read_about`; TableError also if the tables come from different builds.
    """
    about, partner = read_about(survey.spectra), read_about(survey.quasars)
    if about["build"] != partner["build"]:
        raise TableError(
            survey.spectra,
            f"is not of the same build as {survey.quasars.name} ({about['build'][:8]}, not {partner['build'][:8]}); "
            "run: python get_Chen_data.py build, or convert both files",
        )
    return about


def read_quasars(path: Path) -> pd.DataFrame:
    """Read quasars.parquet.

    Returns
    -------
    DataFrame
        One row per object, index OBJECT (text), columns of `schemas.QUASAR_COLUMNS`.

    Raises
    ------
    FileError, TableError
        As in `read_about`; TableError also if a column is missing or of another type, or a row is not an object with
        a label.
    """
    read_about(path)
    quasars = _read(path, schemas.QUASAR_SCHEMA, "quasars.parquet").set_index("OBJECT")
    schemas.check_quasars(path, quasars)
    return quasars


def read_rejects(path: Path) -> pd.DataFrame:
    """Read rejects.parquet: OBJECT, EPOCH, REASON and DETAIL of every spectrum that is not in spectra.parquet."""
    return _read(path, schemas.REJECT_SCHEMA, "rejects.parquet")


def _read(path: Path, schema: pa.Schema, what: str) -> pd.DataFrame:
    schemas.check_columns(path, parquet.read_schema(path, BUILD).names, schema.names, what)
    with parquet.reading(path):
        parquet.footer(path)
        table = pq.read_table(path, columns=schema.names, **parquet.READING)
        table.validate(full=True)  # invalid UTF-8 would be noticed much later
    try:
        # the notes that pandas leaves in a file are not needed, and may say anything
        return table.select(schema.names).cast(schema).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, ValueError) as error:
        raise TableError(path, f"has a column of another type than {schema.to_string()!r}; build it again") from error


def read_grid(about: dict) -> Grid:
    """Give the grid that a table's description declares."""
    return Grid(step=about["grid"]["step"])


def partition_files(path: Path) -> list[tuple[Path, int]]:
    """Give the file, or the parts, of a spectra.parquet, in order, each with the number of its rows.

    Raises
    ------
    FileError, TableError
        If a file is missing or damaged, a part is of another build than the first, or parts are missing.
    """
    about, files = read_about(path), []
    schemas.require(path, about, ("grid",))
    for file in parquet.files(Path(path)):
        with parquet.reading(file):
            footer = parquet.footer(file)
            schema = footer.schema.to_arrow_schema()
        if schemas.read_about(file, schema) != about:
            raise TableError(file, "is a part of another build than the first part; build it again")
        files.append((file, footer.num_rows))
    total, declared = sum(rows for _, rows in files), (about.get("cuts") or [{}])[-1].get("spectra")
    if Path(path).is_dir() and declared is not None and total != declared:
        raise TableError(path, f"should hold {declared:,} spectra in its parts, but holds {total:,}; build it again")
    return files


def count_spectra(path: Path) -> int:
    """Count the rows of spectra.parquet, from its footers alone."""
    return sum(rows for _, rows in partition_files(path))


def iterate_spectra(path: Path, rows: int = ROW_GROUP) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Stream spectra.parquet.

    Parameters
    ----------
    path : Path
        One file or a folder of parts.
    rows : int
        Rows at a time.

    Yields
    ------
    DataFrame, ndarray of float32 (n, grid.size)
        All columns but the flux, and the flux.
    """
    build = read_about(path).get("build")
    for chunk in split_evenly(partition_files(path), rows):
        yield read_rows(chunk, build)


def read_rows(ranges: Iterable[RowRange], build: str | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """Read some rows of a spectra.parquet.

    Parameters
    ----------
    ranges : iterable of RowRange
        Made by `split_evenly` from `partition_files`.
    build : str, optional
        The build that the rows must come from: another process may replace the table between two calls.

    Returns
    -------
    DataFrame, ndarray of float32 (n, grid.size)
        All columns but the flux, and the flux. Those of `schemas.ADDED` are NaN in a table of an older build.
    """
    tables = []
    for file, start, stop in ranges:
        # Without pre_buffer=False pyarrow keeps what it has read until the file is closed, and so do its threads.
        with parquet.reading(file), pq.ParquetFile(file, pre_buffer=False, **parquet.READING) as opened:
            grid = _checked_grid(file, opened.schema_arrow, build)
            ends = np.cumsum([opened.metadata.row_group(n).num_rows for n in range(opened.num_row_groups)])
            first, last = np.searchsorted(ends, [start, stop - 1], side="right")
            before = ends[first - 1] if first else 0
            rows = opened.read_row_groups(range(first, last + 1), use_threads=False).slice(start - before, stop - start)
            rows.validate(full=True)  # invalid UTF-8 would be noticed much later
            for batch in rows.to_batches():
                schemas.check_spectra(file, batch)
            tables.append(rows)
    table = pa.concat_tables(tables).replace_schema_metadata(None)
    flux = table.column("flux").combine_chunks().flatten().to_numpy().reshape(-1, grid.size)
    frame = table.drop_columns(["flux"]).to_pandas()
    return frame.assign(**{name: np.float32(np.nan) for name in schemas.ADDED if name not in frame}), flux


def _checked_grid(file: Path, schema: pa.Schema, build: str | None) -> Grid:
    """Give the grid of a file of spectra, after a check of its columns and of the build it comes from."""
    about = schemas.read_about(file, schema)
    if build not in (None, about["build"]):
        raise TableError(file, f"is no longer of build {build[:8]}: another build has replaced it; run this again")
    schemas.require(file, about, ("grid",))
    grid = read_grid(about)
    expected = schemas.spectra_schema(grid)
    needed = [name for name in expected.names if name in schema.names or name not in schemas.ADDED]
    schemas.check_columns(file, schema.names, needed, "spectra.parquet")
    wrong = [name for name in needed if schema.field(name).type != expected.field(name).type]
    if wrong:
        raise TableError(file, f"has columns of other types than spectra.parquet: {', '.join(wrong)}; build it again")
    return grid
