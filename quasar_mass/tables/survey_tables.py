"""The tables of a survey: their columns and what they say of themselves, written and read."""

import base64
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.tables import checks, parquet
from quasar_mass.tables.row_ranges import RowRange, split_evenly

ROW_GROUP = 1024  # spectra per row group: 15 MB, small enough to stream

BUILD = "run: python get_Chen_data.py build"  # what to do where a table is missing
FLUX_UNIT = "1e-17 erg s-1 cm-2 Angstrom-1 * (D_L / Mpc)^2 * 1e-9"

# quasars.parquet: the reference's columns under its names, then what its selection knew and dropped.
REFERENCE_COLUMNS = (
    "ZVI",
    "logMBH-Hb",
    "logMBH-Ha-2",
    "logMBH-MgII-2",
    "logMBH-CIV-2",
    "LMBH",
    "CHEN EPOCH",
    "Z",
    "N_EPOCHS",
)
QUASAR_COLUMNS = (*REFERENCE_COLUMNS, "LABEL_LINE", "RA", "DEC", "EBV", "SN_MEDIAN_ALL", "BAL_PROB", "SPLIT")

REJECT_SCHEMA = pa.schema(
    [("OBJECT", pa.string()), ("EPOCH", pa.string()), ("REASON", pa.string()), ("DETAIL", pa.string())]
)


def spectra_schema(grid: Grid) -> pa.Schema:
    """Columns of spectra.parquet; one spectrum a row, its flux one fixed-size list of float32."""
    return pa.schema(
        [
            ("OBJECT", pa.string()),
            ("EPOCH", pa.string()),  # plate-mjd-fiber
            ("LABEL_EPOCH", pa.bool_()),  # the spectrum the label was measured on
            ("Z", pa.float64()),
            ("SN", pa.float32()),  # median flux / error per good pixel of the window; null where errors are unknown
            ("N_BAD", pa.int32()),  # pixels of the window replaced by interpolation; null where unknown
            ("EBV", pa.float32()),  # E(B-V) of SFD98 that was corrected for; null: not corrected
            ("RUN2D", pa.string()),  # the reduction
            ("FLAGS", pa.string()),  # empty, or what to mind, separated by "; "
            ("flux", pa.list_(pa.float32(), grid.size)),
        ]
    )


def write_quasars(path: Path, quasars: pd.DataFrame, about: dict, place: Callable = atomic_write) -> None:
    """Write quasars.parquet (one row per object, index OBJECT) whole or not at all; `place` as of `write_spectra`."""
    table = pa.Table.from_pandas(quasars[list(QUASAR_COLUMNS)])
    with place(path) as temporary:
        pq.write_table(table.cast(parquet.with_metadata(table.schema, about)), temporary, **parquet.WRITING)


def write_rejects(path: Path, rejects: list[dict], about: dict, place: Callable = atomic_write) -> None:
    """Write rejects.parquet: OBJECT, EPOCH, REASON, DETAIL of every spectrum that is not in spectra.parquet."""
    table = pa.Table.from_pylist(rejects, schema=REJECT_SCHEMA)
    with place(path) as temporary:
        pq.write_table(table.cast(parquet.with_metadata(table.schema, about)), temporary, **parquet.WRITING)


def spectra_table(batch: dict, grid: Grid) -> pa.Table:
    """A batch of rows, column name to list or array, as a table of the columns of spectra.parquet."""
    schema = spectra_schema(grid)
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
        Final name. A folder of parts that stands there is replaced.
    batches : iterable of dict
        Column name to list or array; ``flux`` of shape (rows, grid.size).
    grid, finish
        As of `write_file`.
    place : callable
        `files.atomic_write`, or what `files.atomic_group` gives.

    Returns
    -------
    int
        Rows written.
    """
    with place(path, over_folder=True) as temporary:
        return write_file(temporary, (spectra_table(batch, grid) for batch in batches), grid, finish)


def write_file(path: Path, batches: Iterable[pa.Table], grid: Grid, finish: Callable[[], dict]) -> int:
    """Write spectra into a file of the form of spectra.parquet.

    Rows are gathered into row groups of `ROW_GROUP` whatever the size of the batches, so the file does not depend on
    how the work was cut up.

    Parameters
    ----------
    path : Path
        A temporary name.
    batches : iterable of Table
        As `spectra_table` makes them.
    grid : Grid
        The grid of the fluxes.
    finish : callable
        Called once the stream has ended; gives the schema metadata, which may hold counts of what went through.

    Returns
    -------
    int
        Rows written.
    """
    schema = spectra_schema(grid)
    plain = [name for name in schema.names if name != "flux"]
    written, pending = 0, []
    with pq.ParquetWriter(
        path,
        schema,
        **parquet.WRITING,
        use_dictionary=plain,
        use_byte_stream_split=["flux.list.element"],  # the bytes of like weight together: half the size, lossless
        write_statistics=plain,
    ) as writer:

        def flush(everything: bool) -> None:
            nonlocal pending, written
            table = pa.concat_tables(pending) if pending else schema.empty_table()
            while table.num_rows >= ROW_GROUP or (everything and table.num_rows):
                group = table.slice(0, ROW_GROUP)
                writer.write_table(group.combine_chunks(), row_group_size=ROW_GROUP)
                written += group.num_rows
                table = table.slice(ROW_GROUP)
            pending = [table] if table.num_rows else []

        for batch in batches:
            pending.append(batch)
            if sum(part.num_rows for part in pending) >= ROW_GROUP:
                flush(everything=False)
        flush(everything=True)
        # pyarrow fixes the schema when it opens a file; the counts are known only now, so it is put there anew
        final = parquet.with_metadata(schema, finish())
        arrow_schema = base64.b64encode(final.serialize().to_pybytes())
        writer.add_key_value_metadata({**final.metadata, b"ARROW:schema": arrow_schema})
    return written


def read_about(path: Path, hint: str = BUILD) -> dict:
    """Metadata of one of our tables, without reading its rows.

    Raises
    ------
    FileError
        If it is missing, not Parquet, or not one of our tables.
    TableError
        If its metadata are not what a table of this project says of itself.
    """
    return _about(path, parquet.read_schema(path, hint))


def _about(path: Path, schema: pa.Schema) -> dict:
    about = parquet.description(path, schema)
    if about is None:
        raise FileError(
            path,
            expected="a table of this project",
            got="a Parquet file of another origin",
            do=f"convert the reference's own files first (python get_Chen_data.py convert {path})",
        )
    return checks.about(path, about, FLUX_UNIT)


def check_pair(survey: Survey) -> dict:
    """See that a survey's two tables are of one build; the metadata of spectra.parquet.

    They are replaced one after the other: a kill in between, or a build at work, leaves a new one beside an old one.

    Raises
    ------
    FileError
        As `read_about`.
    TableError
        If they are not of one build.
    """
    about, partner = read_about(survey.spectra), read_about(survey.quasars)
    if about["build"] != partner["build"]:
        raise TableError(
            survey.spectra,
            expected=f"the same build as {survey.quasars.name} ({partner['build'][:8]})",
            got=about["build"][:8],
            do="run: python get_Chen_data.py build, or convert both files",
        )
    return about


def read_quasars(path: Path) -> pd.DataFrame:
    """Read quasars.parquet of this project; index OBJECT (text)."""
    schema, needed = parquet.read_schema(path, BUILD), ["OBJECT", *QUASAR_COLUMNS]
    _about(path, schema)
    expected = "the columns of quasars.parquet, index OBJECT"
    checks.each_once(path, schema.names, needed, expected, "build it again")
    frame = _rows(path, needed).set_index("OBJECT")
    checks.quasars(path, frame, QUASAR_COLUMNS)
    return frame


def read_rejects(path: Path) -> pd.DataFrame:
    """Read rejects.parquet."""
    frame = _rows(path, REJECT_SCHEMA.names)
    for name in frame:
        if not (pd.api.types.is_string_dtype(frame[name]) or frame.empty):
            raise TableError(path, expected=f"{name} as text", got=str(frame[name].dtype), do="build it again")
    return frame


def _rows(path: Path, columns: list[str]) -> pd.DataFrame:
    with parquet.reading(path):
        footer = parquet.footer(path)
        checks.size(path, footer.num_rows, 8)
        # what pandas noted down of a table is not needed, and anyone may have noted it
        table = pq.read_table(path, columns=columns, **parquet.READING)
        table.validate(full=True)  # text that is none would be found out later
        return table.to_pandas(ignore_metadata=True)


def read_grid(about: dict) -> Grid:
    """The grid a table's metadata declares."""
    checks.needed(Path("the table"), about, ("grid",))
    return Grid(step=about["grid"]["step"])


def describe_grid(grid: Grid) -> dict:
    """The grid as tables and model files carry it."""
    return {"start": grid.start, "step": grid.step, "size": grid.size, "axis": "log10(rest wavelength / Angstrom)"}


def partition_files(path: Path) -> list[tuple[Path, int]]:
    """The file, or the parts, of a spectra.parquet, in order, each with the number of its rows.

    Raises
    ------
    FileError, TableError
        If a file is missing or damaged, a part is not of the same build as the first, or parts are missing.
    """
    about, found = read_about(path), []
    checks.needed(path, about, ("grid",))
    for file in parquet.files(Path(path)):
        with parquet.reading(file):
            footer = parquet.footer(file)
            schema = footer.schema.to_arrow_schema()
        if _about(file, schema) != about:
            raise TableError(
                file, expected="a part of the same build as the others", got="another", do="build it again"
            )
        checks.size(file, footer.num_rows, 4 * read_grid(about).size)
        found.append((file, footer.num_rows))
    total, said = sum(rows for _, rows in found), (about.get("cuts") or [{}])[-1].get("spectra")
    if Path(path).is_dir() and said is not None and total != said:
        expected = f"{said:,} spectra in its parts, as each of them says"
        raise TableError(path, expected=expected, got=f"{total:,}", do="build it again")
    return found


def iterate_spectra(path: Path, rows: int = ROW_GROUP) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Stream spectra.parquet.

    Parameters
    ----------
    path : Path
        A spectra.parquet of this project, one file or a folder of parts.
    rows : int
        Rows at a time.

    Yields
    ------
    DataFrame, ndarray of float32 (n, grid.size)
        All columns but the flux, and the flux.
    """
    build = read_about(path).get("build")
    for share in split_evenly(partition_files(path), rows):
        yield read_rows(share, build)


def read_rows(pieces: Iterable[RowRange], build: str | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """Read some rows of a spectra.parquet.

    Parameters
    ----------
    pieces : iterable of Rows
        As `split_evenly` makes them of `partition_files`.
    build : str, optional
        That the rows must be of: a build at work may replace the table between two pieces.

    Returns
    -------
    DataFrame, ndarray of float32 (n, grid.size)
        All columns but the flux, and the flux.
    """
    read = []
    for file, start, stop in pieces:
        # Without pre_buffer=False pyarrow keeps what it has read until the file is closed; and its threads keep some:
        # whoever wants several at work reads several shares.
        with parquet.reading(file), pq.ParquetFile(file, pre_buffer=False, **parquet.READING) as opened:
            grid = _checked_grid(file, opened.schema_arrow, build)
            ends = np.cumsum([opened.metadata.row_group(n).num_rows for n in range(opened.num_row_groups)])
            first, last = np.searchsorted(ends, [start, stop - 1], side="right")
            before = ends[first - 1] if first else 0
            rows = opened.read_row_groups(range(first, last + 1), use_threads=False).slice(start - before, stop - start)
            rows.validate(full=True)  # text that is none would be found out later
            for batch in rows.to_batches():
                checks.spectra(file, batch)
            read.append(rows)
    table = pa.concat_tables(read).replace_schema_metadata(None)
    flux = table.column("flux").combine_chunks().flatten().to_numpy().reshape(-1, grid.size)
    return table.drop_columns(["flux"]).to_pandas(), flux


def _checked_grid(file: Path, found: pa.Schema, build: str | None) -> Grid:
    """The grid of a file of spectra, whose columns must be those of spectra.parquet, and its build the one named."""
    about = _about(file, found)
    checks.needed(file, about, ("grid",))
    if build not in (None, about.get("build")):
        raise TableError(
            file, expected=f"the build {build[:8]} to the end", got="another one in its place", do="run this again"
        )
    grid = read_grid(about)
    expected = spectra_schema(grid)
    wrong = [
        name
        for name in expected.names
        if found.names.count(name) != 1 or found.field(name).type != expected.field(name).type
    ]
    if wrong:
        raise TableError(
            file, expected="the columns of spectra.parquet", got=f"wrong {', '.join(wrong)}", do="build it again"
        )
    return grid


def count_spectra(path: Path) -> int:
    """Rows of spectra.parquet, from its footers alone."""
    return sum(rows for _, rows in partition_files(path))
