"""The reference's own Parquet files into this project's tables, in bounded memory."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quasar_mass import __version__
from quasar_mass.core import locks
from quasar_mass.core.errors import FileError, SurveyError, TableError, first_line
from quasar_mass.core.files import atomic_group, progress, sha256
from quasar_mass.core.survey import LABEL_COLUMNS, LABEL_LINES, SPLIT_SEED, WINDOW, Grid, Survey
from quasar_mass.spectra.rest_frame import FLAG_NO_EXTINCTION
from quasar_mass.tables import checks, parquet, survey_tables
from quasar_mass.tables.build import reference
from quasar_mass.tables.dataset import split_objects

# The wide file holds one column per wavelength and, as fastparquet writes it, one row group for all rows. It is read
# in blocks of rows, each gathered from groups of columns; these two bound the memory: 0.97 GB at
# the most, and 28 s, for a file of 2.46 GB on two cores.
_ROWS, _COLUMNS = 4096, 128

ORIGIN = "converted from the reference's own file"  # what the tables say of themselves


def convert(path: Path, survey: Survey, *, quiet: bool = False) -> str:
    """Turn one of the reference's Parquet files into the table of the same name of a survey.

    ``intrinsic.parquet`` must come first: the wide ``spectra.parquet`` knows neither labels nor redshifts. A file that
    lies where our own table goes is kept beside it as ``*_reference.parquet``; there the same call finds it again.

    Parameters
    ----------
    path : Path
        The reference's ``intrinsic.parquet`` or ``spectra.parquet``, under any name.
    survey : Survey
        Where the table goes; must not be a simulated one.
    quiet : bool
        No progress bar.

    Returns
    -------
    str
        One line that says what was written.

    Raises
    ------
    FileError, TableError, SurveyError
        If the file is not one of the two, or is damaged, or the survey is not the place for it.
    LockError
        If another process writes in the survey.
    """
    reference.find(Path(path), survey)  # before a folder is made in vain
    survey.folder.mkdir(parents=True, exist_ok=True)
    with locks.survey_lock(survey):
        return convert_here(path, survey, quiet=quiet)


def convert_here(path: Path, survey: Survey, *, quiet: bool = False) -> str:
    """As `convert`, for a process that holds the survey's lock already."""
    path = Path(path)
    source, schema = reference.find(path, survey)
    try:
        if set(survey_tables.REFERENCE_COLUMNS) <= set(schema.names):
            return _convert_quasars(path, source, survey)
        if len(_wavelength_columns(schema)) > 100:
            return _convert_spectra(path, source, schema, survey, quiet)
    except parquet.DAMAGED as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the machine's own trouble (disk full, no permission), not the file's
        raise FileError(path, expected="a whole Parquet file", got=first_line(error), do="fetch it again") from error
    missing = ", ".join(sorted(set(survey_tables.REFERENCE_COLUMNS) - set(schema.names)))
    raise TableError(
        path,
        expected="the reference's quasars.parquet, or its spectra.parquet with one column per log10 wavelength",
        got=f"{len(schema.names)} columns, without {missing}",
        do="check which file this is",
    )


def _text(values: pd.Series | pd.Index) -> list[str]:
    """The reference kept its names as bytes."""
    return [value.decode("ascii") if isinstance(value, bytes) else str(value) for value in values]


def _about(path: Path, source: Path, **more: object) -> dict:
    return {
        "format": 1,
        "kind": "sdss",
        "survey": {"kind": "sdss"},
        "version": __version__,
        "inputs": {path.name: sha256(source)},
        "split_seed": SPLIT_SEED,
        "rejects": {},
        "origin": ORIGIN,
        **more,
    }


def _convert_quasars(path: Path, source: Path, survey: Survey) -> str:
    needed = ["OBJECT", *survey_tables.REFERENCE_COLUMNS]
    names, expected = pq.read_schema(source).names, "index or column OBJECT, and each column once"
    checks.each_once(path, names, needed, expected, "fetch it again")
    # what pandas noted down of a table is not needed, and anyone may have noted it
    frame = pq.read_table(source, columns=needed, **parquet.READING).to_pandas(ignore_metadata=True)
    if frame[needed].isna().any(axis=None):
        raise TableError(path, expected="a value in every cell", got="none in some", do="fetch it again")
    frame["OBJECT"] = _text(frame["OBJECT"])
    frame["CHEN EPOCH"] = _text(frame["CHEN EPOCH"])
    frame = frame.set_index("OBJECT")
    if frame.index.has_duplicates:
        name = frame.index[frame.index.duplicated()][0]
        raise TableError(path, expected="one row per OBJECT", got=f"{name} more than once", do="fetch it again")
    if not (np.isfinite(frame["LMBH"]).all() and (frame["N_EPOCHS"] >= 1).all()):
        raise TableError(
            path, expected="a finite LMBH and at least one epoch in every row", got="others", do="fetch it again"
        )
    measured = (frame[list(LABEL_COLUMNS)] > 0).to_numpy()
    frame["LABEL_LINE"] = np.where(measured.any(axis=1), np.array(LABEL_LINES)[measured.argmax(axis=1)], None)
    for column in ("RA", "DEC", "EBV", "SN_MEDIAN_ALL", "BAL_PROB"):  # what the reference dropped
        frame[column] = np.nan
    frame["SPLIT"] = split_objects(frame["N_EPOCHS"])
    cuts = [{"cut": "as converted", "objects": len(frame), "spectra": int(frame["N_EPOCHS"].sum())}]
    about = _about(path, source, cuts=cuts, build=_build_name(frame))
    frame = frame.astype(
        {name: float for name in survey_tables.REFERENCE_COLUMNS if name not in ("CHEN EPOCH", "N_EPOCHS")}
    )
    checks.quasars(path, frame, survey_tables.QUASAR_COLUMNS)
    kept = reference.place_for(source, survey.quasars)
    with atomic_group() as place:
        survey_tables.write_quasars(survey.quasars, frame.sort_index(), about, place)
        if kept:
            os.rename(source, kept)  # all that can fail is behind us
    return f"{len(frame):,} quasars (sdss) in {survey.quasars}"


def _build_name(quasars: pd.DataFrame) -> str:
    """A converted pair of tables belongs together if it speaks of the same objects with the same labels."""
    text = quasars.sort_index()[["LMBH", "Z"]].to_csv()
    return hashlib.sha256(text.encode()).hexdigest()


def _wavelength_columns(schema: pa.Schema) -> list[str]:
    """Columns whose names are log10 wavelengths, ascending."""
    found = []
    for name in schema.names:
        try:
            value = float(name)
        except ValueError:
            continue
        if 3.0 < value < 4.5:
            found.append((value, name))
    return [name for _, name in sorted(found)]


def _convert_spectra(path: Path, source: Path, schema: pa.Schema, survey: Survey, quiet: bool) -> str:
    try:
        quasars = survey_tables.read_quasars(survey.quasars)
        build = survey_tables.read_about(survey.quasars)["build"]
    except FileError as error:
        raise SurveyError(
            survey.quasars,
            expected="the converted quasars.parquet before the spectra",
            got="none",
            do="convert the reference's quasars.parquet first",
        ) from error
    columns = _wavelength_columns(schema)
    found = np.array([float(name) for name in columns])
    unlike = [name for name in columns if not pa.types.is_floating(schema.field(name).type)]
    if unlike:
        raise TableError(path, expected="flux as numbers", got=f"column {unlike[0]} of others", do="fetch it again")
    step = float(np.median(np.diff(found)))
    if found[0] > WINDOW[0] + step or found[-1] < WINDOW[1] - step or not np.allclose(np.diff(found), step, rtol=0.02):
        raise TableError(
            path,
            expected=f"an even grid over log10 wavelength {WINDOW[0]}-{WINDOW[1]}",
            got=f"{found[0]}-{found[-1]} in steps of {step:.3g}",
            do="fetch it again",
        )
    grid = Grid(round(step, 7))
    if any(schema.names.count(name) != 1 for name in ("OBJECT", "EPOCH")):
        got = ", ".join(name for name in schema.names if name not in columns) or "neither"
        raise TableError(path, expected="index levels OBJECT and EPOCH", got=got, do="fetch it again")
    index = pq.read_table(source, columns=["OBJECT", "EPOCH"], **parquet.READING).to_pandas(ignore_metadata=True)
    names = pd.DataFrame({"OBJECT": _text(index["OBJECT"]), "EPOCH": _text(index["EPOCH"])})
    checks.epochs(path, names["EPOCH"])
    if names.duplicated().any():
        got = f"{names['EPOCH'][names.duplicated()].iloc[0]} twice"
        raise TableError(path, expected="every spectrum once", got=got, do="fetch it again")
    known = names["OBJECT"].isin(quasars.index)
    if not known.any():
        raise TableError(
            path,
            expected=f"spectra of the objects in {survey.quasars}",
            got=f"none among its {len(names):,} rows",
            do="convert the quasars.parquet that belongs to this file first",
        )
    rejects = [
        {"OBJECT": row.OBJECT, "EPOCH": row.EPOCH, "REASON": "no label", "DETAIL": f"not in {survey.quasars.name}"}
        for row in names[~known].itertuples()
    ]

    def stream() -> Iterator[dict]:
        with pq.ParquetFile(source, **parquet.READING) as file:
            for start in progress(
                range(0, len(names), _ROWS),
                total=-(-len(names) // _ROWS),
                what="wide table",
                unit="blocks",
                quiet=quiet,
            ):
                keep = known.to_numpy()[start : start + _ROWS]
                block = names.iloc[start : start + _ROWS][keep]
                wide = _block(file, columns, start, min(_ROWS, len(names) - start))[keep]
                if not np.isfinite(wide).all():
                    bad = block["EPOCH"].iloc[int(np.argmin(np.isfinite(wide).all(axis=1)))]
                    raise TableError(
                        f"{path}, {bad}", expected="finite flux", got="NaN or infinity", do="fetch it again"
                    )
                flux = np.empty((len(block), grid.size), dtype=np.float32)
                for row in range(len(block)):
                    flux[row] = np.interp(grid.log_wavelength, found, wide[row])
                yield {
                    "OBJECT": block["OBJECT"].tolist(),
                    "EPOCH": block["EPOCH"].tolist(),
                    "LABEL_EPOCH": (block["EPOCH"].to_numpy() == quasars["CHEN EPOCH"].loc[block["OBJECT"]].to_numpy()),
                    "Z": quasars["Z"].loc[block["OBJECT"]].to_numpy(),
                    "SN": [None] * len(block),
                    "N_BAD": [None] * len(block),
                    "EBV": [None] * len(block),
                    "RUN2D": [""] * len(block),
                    "FLAGS": [FLAG_NO_EXTINCTION] * len(block),
                    "flux": flux,
                }

    about = _about(
        path,
        source,
        grid=survey_tables.describe_grid(grid),
        flux_unit=survey_tables.FLUX_UNIT,
        cosmology="Planck15 (astropy)",
        extinction_corrected=False,
        cuts=[{"cut": "as converted", "objects": names["OBJECT"][known].nunique(), "spectra": int(known.sum())}],
        rejects={"no label": len(rejects)} if rejects else {},
        build=build,
    )
    kept = reference.place_for(source, survey.spectra)
    with atomic_group() as place:
        survey_tables.write_rejects(survey.rejects, rejects, about, place)
        n_spectra = survey_tables.write_spectra(survey.spectra, stream(), grid, lambda: about, place)
        if kept:
            os.rename(source, kept)  # all that can fail is behind us
    return f"{n_spectra:,} spectra (sdss, step {grid.step:g}) in {survey.spectra}; {len(rejects):,} without a label"


def _block(file: pq.ParquetFile, columns: list[str], start: int, count: int) -> np.ndarray:
    """A block of rows of the wide table, float32, shape (count, n_wavelengths)."""
    block = np.empty((count, len(columns)), dtype=np.float32)
    for left in range(0, len(columns), _COLUMNS):
        some = columns[left : left + _COLUMNS]
        # a Parquet column chunk can only be decoded from its start, so each block decodes the columns again; slower
        # than one pass, but the memory does not grow with the file
        piece = file.read(columns=some, use_threads=False).slice(start, count)
        for offset, name in enumerate(some):
            with np.errstate(over="ignore"):  # infinity, which is refused
                block[:, left + offset] = piece.column(name).to_numpy()
    return block
