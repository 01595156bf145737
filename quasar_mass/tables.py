"""The Parquet tables of a survey: their columns, their metadata, how they are written and read."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass import table_checks
from quasar_mass.errors import FileError, TableError
from quasar_mass.files import whole
from quasar_mass.survey import Grid

METADATA = b"quasar_mass"  # the schema-metadata key that holds everything about a table, as JSON
ROW_GROUP = 1024  # spectra per row group: 15 MB, small enough to stream

# What pyarrow raises on a file that is not whole.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError)

FLUX_UNIT = "1e-17 erg s-1 cm-2 Angstrom-1 * (D_L / Mpc)^2 * 1e-9"
MANY_BAD = 0.10  # share of replaced pixels above which a spectrum is flagged; chosen here
FLAG_NO_EXTINCTION = "no extinction known"
FLAG_MANY_BAD = "many bad pixels"

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


def quality_flags(n_bad: int, n_pixels: int, extinction_known: bool) -> list[str]:
    """What to mind about a spectrum on the grid, for the column FLAGS.

    Parameters
    ----------
    n_bad, n_pixels : int
        Pixels of the window replaced by interpolation, and all of them.
    extinction_known : bool
        False where the correction for Galactic extinction could not be made.
    """
    flags = [] if extinction_known else [FLAG_NO_EXTINCTION]
    return [*flags, FLAG_MANY_BAD] if n_bad > MANY_BAD * n_pixels else flags


def with_metadata(schema: pa.Schema, about: dict) -> pa.Schema:
    """Add what is known about a table to its schema, beside what stands there (pandas' own notes, say)."""
    text = json.dumps(about, sort_keys=True).encode()
    return schema.with_metadata({**(schema.metadata or {}), METADATA: text})


def write_quasars(path: Path, quasars: pd.DataFrame, about: dict) -> None:
    """Write quasars.parquet (one row per object, index OBJECT) whole or not at all."""
    table = pa.Table.from_pandas(quasars[list(QUASAR_COLUMNS)])
    with whole(path) as temporary:
        pq.write_table(table.cast(with_metadata(table.schema, about)), temporary, compression="zstd")


def write_rejects(path: Path, rejects: list[dict], about: dict) -> None:
    """Write rejects.parquet: OBJECT, EPOCH, REASON, DETAIL of every spectrum that is not in spectra.parquet."""
    table = pa.Table.from_pylist(rejects, schema=REJECT_SCHEMA)
    with whole(path) as temporary:
        pq.write_table(table.cast(with_metadata(table.schema, about)), temporary, compression="zstd")


def write_spectra(path: Path, batches: Iterable[dict], grid: Grid, finish: Callable[[], dict]) -> int:
    """Write spectra.parquet from a stream of batches, whole or not at all.

    Rows are gathered into row groups of `ROW_GROUP` whatever the size of the batches, so the file does not depend on
    how the work was cut up.

    Parameters
    ----------
    path : Path
        Final name.
    batches : iterable of dict
        Column name to list or array; ``flux`` of shape (rows, grid.size).
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
    with (
        whole(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=plain,
            use_byte_stream_split=["flux.list.element"],  # the bytes of like weight together: half the size, lossless
            write_statistics=plain,
        ) as writer,
    ):

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
            columns = {name: batch[name] for name in plain}
            flux = pa.array(np.ascontiguousarray(batch["flux"], dtype=np.float32).reshape(-1))
            columns["flux"] = pa.FixedSizeListArray.from_arrays(flux, grid.size)
            pending.append(pa.table(columns, schema=schema))
            if sum(part.num_rows for part in pending) >= ROW_GROUP:
                flush(everything=False)
        flush(everything=True)
        # pyarrow fixes the schema when it opens a file; the counts are known only now, so it is put there anew
        final = with_metadata(schema, finish())
        arrow_schema = base64.b64encode(final.serialize().to_pybytes())
        writer.add_key_value_metadata({**final.metadata, b"ARROW:schema": arrow_schema})
    return written


def read_about(path: Path, hint: str = "run: python get_Chen_data.py build") -> dict:
    """Metadata of one of our tables, without reading its rows.

    Raises
    ------
    FileError
        If it is missing, not Parquet, or not one of our tables.
    TableError
        If its metadata are not what a table of this project says of itself.
    """
    schema = _schema(path, hint)
    about = (schema.metadata or {}).get(METADATA)
    if about is None:
        raise FileError(
            path,
            expected="a table of this project",
            got="a Parquet file of another origin",
            do=f"convert the reference's own files first (python get_Chen_data.py convert {path})",
        )
    return table_checks.about(path, about, FLUX_UNIT)


def first_line(error: Exception) -> str:
    """What an error of pyarrow says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _schema(path: Path, hint: str) -> pa.Schema:
    if not Path(path).is_file():
        raise FileError(path, expected="a table", got="no such file", do=hint)
    try:
        table_checks.footer(path)
        return pq.read_schema(path)
    except DAMAGED as error:
        raise FileError(path, expected="a Parquet file", got=first_line(error), do=hint) from error


def read_quasars(path: Path) -> pd.DataFrame:
    """Read quasars.parquet of this project; index OBJECT (text)."""
    read_about(path)
    names = _schema(path, "build it again").names
    wrong = [name for name in ("OBJECT", *QUASAR_COLUMNS) if names.count(name) != 1]
    if wrong:
        got = ", ".join(f"{names.count(name) or 'no'} {name}" for name in wrong)
        raise TableError(path, expected="the columns of quasars.parquet, index OBJECT", got=got, do="build it again")
    frame = _rows(path, ["OBJECT", *QUASAR_COLUMNS]).set_index("OBJECT")
    table_checks.quasars(path, frame, QUASAR_COLUMNS)
    return frame


def read_rejects(path: Path) -> pd.DataFrame:
    """Read rejects.parquet."""
    return _rows(path, REJECT_SCHEMA.names)


def _rows(path: Path, columns: list[str]) -> pd.DataFrame:
    _schema(path, "build it again")
    try:
        table_checks.size(path, pq.read_metadata(path).num_rows, 8)
        # what pandas noted down of a table is not needed, and anyone may have noted it
        table = pq.read_table(path, columns=columns)
        table.validate(full=True)  # text that is none would be found out later
        return table.to_pandas(ignore_metadata=True)
    except DAMAGED as error:
        raise FileError(path, expected="a whole Parquet file", got=first_line(error), do="build it again") from error


def read_grid(about: dict) -> Grid:
    """The grid a table's metadata declares."""
    table_checks.needed(Path("the table"), about, ("grid",))
    return Grid(step=about["grid"]["step"])


def describe_grid(grid: Grid) -> dict:
    """The grid as tables and model files carry it."""
    return {"start": grid.start, "step": grid.step, "size": grid.size, "axis": "log10(rest wavelength / Angstrom)"}


def iterate_spectra(path: Path, rows: int = ROW_GROUP) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Stream spectra.parquet.

    Parameters
    ----------
    path : Path
        A spectra.parquet of this project.
    rows : int
        Rows at a time.

    Yields
    ------
    DataFrame, ndarray of float32 (n, grid.size)
        All columns but the flux, and the flux.
    """
    about = read_about(path)
    table_checks.needed(path, about, ("grid",))
    grid = read_grid(about)
    expected = spectra_schema(grid)
    found = pq.read_schema(path)
    wrong = [
        name
        for name in expected.names
        if found.names.count(name) != 1 or found.field(name).type != expected.field(name).type
    ]
    if wrong:
        raise TableError(
            path, expected="the columns of spectra.parquet", got=f"wrong {', '.join(wrong)}", do="build it again"
        )
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows):
                batch.validate(full=True)  # text that is none would be found out later
                table_checks.spectra(path, batch)
                flux = batch.column("flux").flatten().to_numpy().reshape(-1, grid.size)
                frame = batch.drop_columns(["flux"]).replace_schema_metadata(None).to_pandas()
                yield frame, flux
    except DAMAGED as error:
        raise FileError(path, expected="a whole Parquet file", got=first_line(error), do="build it again") from error


def count_spectra(path: Path) -> int:
    """Rows of spectra.parquet, from its footer alone; TableError for more than the file can hold."""
    about = read_about(path)
    rows = pq.read_metadata(path).num_rows
    table_checks.size(path, rows, 4 * read_grid(about).size)
    return rows
