"""The reference's own Parquet files: where they are, and where they are kept once their tables have taken the place."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass.core.errors import FileError, SurveyError, TableError, first_line
from quasar_mass.core.files import sha256
from quasar_mass.core.survey import Survey
from quasar_mass.tables import checks, parquet


def kept_name(table: Path) -> Path:
    """Where the downloaded file of a table is kept beside it."""
    return table.with_name(f"{table.stem}_reference{table.suffix}")


def find(path: Path, survey: Survey) -> tuple[Path, pa.Schema]:
    """Find the file that is to be converted.

    Parameters
    ----------
    path : Path
        As it was named. A file that lies where its table goes is moved away in the moment before the table takes the
        place; so if an earlier run was killed in that moment, or has finished, it is found under its other name.
    survey : Survey

    Returns
    -------
    Path
        Where it is.
    Schema
        Its columns.

    Raises
    ------
    FileError, TableError, SurveyError
        If there is none, or it is no file of the reference, or the survey is a simulation.
    """
    if survey.kind != "sdss":
        raise SurveyError(
            survey.folder,
            expected="a survey of the sky",
            got="a simulated one",
            do="name the folder of the real survey, for example --survey data",
        )
    kept = next((kept_name(table) for table in _in_place(path, survey)), None)
    if not path.exists() and kept and kept.is_file():
        return kept, _schema(kept)
    if not path.is_file():
        raise FileError(
            path, expected="the reference's quasars.parquet or spectra.parquet", got="no such file", do="check the name"
        )
    schema = _schema(path)
    about = (schema.metadata or {}).get(parquet.METADATA)
    if about is None:
        return path, schema
    if kept and kept.is_file() and json.loads(about).get("inputs") == {path.name: sha256(kept)}:
        return kept, _schema(kept)
    raise TableError(
        path, expected="a file of the reference", got="a table of this project already", do="use it as it is"
    )


def place_for(source: Path, table: Path) -> Path | None:
    """Where a downloaded file must be moved before its table takes its place; None where it is not in the way.

    Raises
    ------
    FileError
        If there is another one already.
    """
    if not (table.exists() and os.path.samefile(source, table)):
        return None
    kept = kept_name(table)
    if kept.exists():
        raise FileError(kept, expected="this name to be free for the downloaded file", got="a file", do="move it away")
    return kept


def _in_place(path: Path, survey: Survey) -> list[Path]:
    """The table whose name a path is, if any; also where no file is there."""
    return [
        table
        for table in (survey.quasars, survey.spectra)
        if path.name == table.name and path.parent.resolve() == table.parent.resolve()
    ]


def _schema(path: Path) -> pa.Schema:
    try:
        parquet.check_length(path)
        checks.size(path, parquet.footer(path).num_rows, 8)
        return pq.read_schema(path)
    except parquet.DAMAGED as error:
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise FileError(path, expected="a Parquet file", got=first_line(error), do="fetch it again") from error
