"""Conversion of the reference's own Parquet files into this project's tables, in bounded memory."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass.core import locks
from quasar_mass.core.errors import FileError, SurveyError, TableError
from quasar_mass.core.files import atomic_group, progress, sha256
from quasar_mass.core.survey import LABEL_COLUMNS, LABEL_LINES, WINDOW, Grid, Survey
from quasar_mass.spectra.rest_frame import FLAG_NO_EXTINCTION
from quasar_mass.spectra.seen_lines import LINES
from quasar_mass.tables import parquet, schemas, survey_tables
from quasar_mass.tables.dataset import split_objects

# The wide file has one column per wavelength and, written by fastparquet, one row group for all rows. It is read in
# blocks of rows, and each block in groups of columns. These two bound the memory: at most 0.97 GB (and 28 s on two
# cores) for a file of 2.46 GB.
_ROWS, _COLUMNS = 4096, 128

_QUASAR_COLUMNS = ["OBJECT", *schemas.REFERENCE_COLUMNS]
ORIGIN = "converted from the reference's own file"  # in the description of the tables
FETCH = "fetch it again"


def convert(path: Path, survey: Survey, *, quiet: bool = False) -> str:
    """Convert one of the reference's Parquet files into the table of the same name of a survey.

    ``quasars.parquet`` must come first: the wide ``spectra.parquet`` holds neither labels nor redshifts. A file that
    stands where our own table goes is kept beside it as ``*_reference.parquet``.

    Parameters
    ----------
    path : Path
        The reference's ``quasars.parquet`` or ``spectra.parquet``, under any name.
    survey : Survey
        The survey that gets the table; must not be a simulated one.
    quiet : bool
        No progress bar.

    Returns
    -------
    str
        One line that says what was written.

    Raises
    ------
    FileError, TableError, SurveyError
        If the file is not one of the two, or is damaged, or the survey is a simulation.
    LockError
        If another process writes in the survey.
    """
    find(Path(path), survey)  # before a folder is made in vain
    survey.folder.mkdir(parents=True, exist_ok=True)
    with locks.survey_lock(survey):
        return convert_here(path, survey, quiet=quiet)


def convert_here(path: Path, survey: Survey, *, quiet: bool = False) -> str:
    """Do what `convert` does, in a process that already holds the survey's lock."""
    path = Path(path)
    source, schema = find(path, survey)
    missing = [name for name in _QUASAR_COLUMNS if name not in schema.names]
    with parquet.reading(path, FETCH):
        if not missing:
            return _convert_quasars(path, source, survey)
        if len(_wavelength_columns(schema)) > 100:
            return _convert_spectra(path, source, schema, survey, quiet)
    raise TableError(
        path,
        "is neither the reference's quasars.parquet nor its spectra.parquet with one column per log10 wavelength: it "
        f"has {len(schema.names)} columns, without {', '.join(missing)}; {FETCH}",
    )


def kept_name(table: Path) -> Path:
    """Give the name under which the downloaded file of a table is kept beside it."""
    return table.with_name(f"{table.stem}_reference{table.suffix}")


def find(path: Path, survey: Survey) -> tuple[Path, pa.Schema]:
    """Find the file that is to be converted.

    Parameters
    ----------
    path : Path
        The file as it was named. A file that stands where its table goes is renamed just before the table takes its
        place; after a conversion that was killed in that moment, it is found under its other name.
    survey : Survey

    Returns
    -------
    Path
        The file.
    Schema
        Its columns.

    Raises
    ------
    FileError, TableError, SurveyError
        If there is no such file, or it is not one of the reference, or the survey is a simulation.
    """
    if survey.kind != "sdss":
        raise SurveyError(
            survey.folder, "is a simulated survey; name the folder of the real one, for example --survey data"
        )
    source = path if path.exists() else kept_name(path)
    if not source.is_file():
        raise FileError(path, "no such file; name the reference's quasars.parquet or spectra.parquet")
    schema = parquet.read_schema(source, FETCH)
    if parquet.description(source, schema) is not None:
        raise TableError(path, "is a table of this project already; use it as it is")
    return source, schema


def _new_name(source: Path, table: Path) -> Path | None:
    """Give the name that a downloaded file must get before its table takes its place; None where it can stay."""
    if not (table.exists() and os.path.samefile(source, table)):
        return None
    kept = kept_name(table)
    if kept.exists():
        raise FileError(kept, "exists already, but the downloaded file needs this name; move it away")
    return kept


def _text(values: pd.Series | pd.Index) -> list[str]:
    """Decode names, which the reference stored as bytes."""
    return [value.decode("ascii") if isinstance(value, bytes) else str(value) for value in values]


def _about(path: Path, source: Path, **more: object) -> dict:
    return schemas.new_about({"kind": "sdss"}, {path.name: sha256(source)}, origin=ORIGIN, **more)


def _convert_quasars(path: Path, source: Path, survey: Survey) -> str:
    frame = pq.read_table(source, columns=_QUASAR_COLUMNS, **parquet.READING).to_pandas(ignore_metadata=True)
    if frame.isna().any(axis=None):
        raise TableError(path, f"has empty cells; {FETCH}")
    frame["OBJECT"] = _text(frame["OBJECT"])
    frame["CHEN EPOCH"] = _text(frame["CHEN EPOCH"])
    numbers = [name for name in schemas.REFERENCE_COLUMNS if name not in ("CHEN EPOCH", "N_EPOCHS")]
    frame = frame.set_index("OBJECT").astype(dict.fromkeys(numbers, float))
    schemas.check_names(path, frame.index, FETCH)
    measured = (frame[list(LABEL_COLUMNS)] > 0).to_numpy()
    frame["LABEL_LINE"] = np.where(measured.any(axis=1), np.array(LABEL_LINES)[measured.argmax(axis=1)], None)
    for column in ("RA", "DEC", "EBV", "SN_MEDIAN_ALL", "BAL_PROB"):  # not in the reference's file
        frame[column] = np.nan
    frame["SPLIT"] = split_objects(frame["N_EPOCHS"])
    schemas.check_quasars(path, frame, FETCH)
    cuts = [{"cut": "as converted", "objects": len(frame), "spectra": int(frame["N_EPOCHS"].sum())}]
    # a converted pair of tables belongs together if it has the same objects with the same labels
    text = frame.sort_index()[["LMBH", "Z"]].to_csv()
    about = _about(path, source, cuts=cuts, rejects={}, build=hashlib.sha256(text.encode()).hexdigest())
    kept = _new_name(source, survey.quasars)
    with atomic_group() as place:
        survey_tables.write_quasars(survey.quasars, frame.sort_index(), about, place)
        if kept:
            os.rename(source, kept)  # nothing after this can fail
    return f"{len(frame):,} quasars (sdss) in {survey.quasars}"


def _wavelength_columns(schema: pa.Schema) -> list[str]:
    """Give the columns whose names are log10 wavelengths (1000 to 10,000 Angstrom), ascending."""
    return sorted((name for name in schema.names if re.fullmatch(r"3\.\d+", name)), key=float)


def _convert_spectra(path: Path, source: Path, schema: pa.Schema, survey: Survey, quiet: bool) -> str:
    try:
        quasars = survey_tables.read_quasars(survey.quasars)
        build = survey_tables.read_about(survey.quasars)["build"]
    except FileError as error:
        raise SurveyError(
            survey.quasars, "the spectra need this table; convert the reference's quasars.parquet first"
        ) from error
    columns = _wavelength_columns(schema)
    grid = _grid(path, columns)
    names = _names(path, source, schema)
    known = names["OBJECT"].isin(quasars.index)
    if not known.any():
        raise TableError(
            path,
            f"holds {len(names):,} spectra, but none of an object in {survey.quasars}; convert the quasars.parquet "
            "that belongs to this file first",
        )
    rejects = [
        {"OBJECT": row.OBJECT, "EPOCH": row.EPOCH, "REASON": "no label", "DETAIL": f"not in {survey.quasars.name}"}
        for row in names[~known].itertuples()
    ]
    about = _about(
        path,
        source,
        grid=schemas.describe_grid(grid),
        flux_unit=schemas.FLUX_UNIT,
        cosmology="Planck15 (astropy)",
        extinction_corrected=False,
        cuts=[{"cut": "as converted", "objects": names["OBJECT"][known].nunique(), "spectra": int(known.sum())}],
        rejects={"no label": len(rejects)} if rejects else {},
        build=build,
    )

    def stream() -> Iterator[dict]:
        with pq.ParquetFile(source, **parquet.READING) as file:
            starts = range(0, len(names), _ROWS)
            for start in progress(starts, total=len(starts), what="wide table", unit="blocks", quiet=quiet):
                keep = known.to_numpy()[start : start + _ROWS]
                block = names.iloc[start : start + _ROWS][keep]
                wide = _block(file, columns, start, len(keep))[keep]
                finite = np.isfinite(wide).all(axis=1)
                if not finite.all():
                    raise TableError(
                        f"{path}, {block['EPOCH'][~finite].iloc[0]}", f"has a flux that is not finite; {FETCH}"
                    )
                yield _batch(block, quasars, columns, wide, grid)

    kept = _new_name(source, survey.spectra)
    with atomic_group() as place:
        survey_tables.write_rejects(survey.rejects, rejects, about, place)
        n_spectra = survey_tables.write_spectra(survey.spectra, stream(), grid, lambda: about, place)
        if kept:
            os.rename(source, kept)  # nothing after this can fail
    return f"{n_spectra:,} spectra (sdss, step {grid.step:g}) in {survey.spectra}; {len(rejects):,} without a label"


def _grid(path: Path, columns: list[str]) -> Grid:
    """Give the grid with the step of the wide table, after a check that its columns cover the window evenly."""
    log_wavelength = np.array([float(name) for name in columns])
    steps = np.diff(log_wavelength)
    step, first, last = float(np.median(steps)), log_wavelength[0], log_wavelength[-1]
    if first > WINDOW[0] + step or last < WINDOW[1] - step or not np.allclose(steps, step, rtol=0.02):
        raise TableError(
            path,
            f"has no even grid over log10 wavelength {WINDOW[0]}-{WINDOW[1]}, but {first:.4f}-{last:.4f} in steps of "
            f"{step:.3g}; {FETCH}",
        )
    return Grid(round(step, 7))


def _names(path: Path, source: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read OBJECT and EPOCH of every spectrum of the wide table."""
    schemas.check_columns(path, schema.names, ["OBJECT", "EPOCH"], "the reference's spectra.parquet", FETCH)
    index = pq.read_table(source, columns=["OBJECT", "EPOCH"], **parquet.READING).to_pandas(ignore_metadata=True)
    names = pd.DataFrame({"OBJECT": _text(index["OBJECT"]), "EPOCH": _text(index["EPOCH"])})
    schemas.check_spec_ids(path, names["EPOCH"])
    repeated = names.duplicated()
    if repeated.any():
        raise TableError(path, f"holds spectrum {names['EPOCH'][repeated].iloc[0]} twice; {FETCH}")
    return names


def _batch(block: pd.DataFrame, quasars: pd.DataFrame, columns: list[str], wide: np.ndarray, grid: Grid) -> dict:
    """Put a block of the wide table on the grid, as columns of spectra.parquet."""
    log_wavelength = np.array([float(name) for name in columns])
    flux = np.empty((len(block), grid.size), dtype=np.float32)
    for row, values in enumerate(wide):
        flux[row] = np.interp(grid.log_wavelength, log_wavelength, values)
    objects = quasars.loc[block["OBJECT"]]
    return dict.fromkeys(("SN", "N_BAD", *LINES, "EBV"), [None] * len(block)) | {
        "OBJECT": block["OBJECT"].tolist(),
        "EPOCH": block["EPOCH"].tolist(),
        "LABEL_EPOCH": block["EPOCH"].to_numpy() == objects["CHEN EPOCH"].to_numpy(),
        "Z": objects["Z"].to_numpy(),
        "RUN2D": [""] * len(block),
        "FLAGS": [FLAG_NO_EXTINCTION] * len(block),
        "flux": flux,
    }


def _block(file: pq.ParquetFile, columns: list[str], start: int, count: int) -> np.ndarray:
    """Read a block of rows of the wide table; float32, shape (count, n_wavelengths)."""
    block = np.empty((count, len(columns)), dtype=np.float32)
    for left in range(0, len(columns), _COLUMNS):
        names = columns[left : left + _COLUMNS]
        # a Parquet column can only be decoded from its start, so each block decodes the columns again: slower than one
        # pass, but the memory does not grow with the file
        piece = file.read(columns=names, use_threads=False).slice(start, count)
        for offset, name in enumerate(names):
            with np.errstate(over="ignore"):  # becomes infinity, which is refused
                block[:, left + offset] = piece.column(name).to_numpy()
    return block
