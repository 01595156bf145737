"""Columns, units and descriptions of a survey's tables, and the checks of those that are read.

Any program can write a Parquet file, so everything that later steps rely on is checked once, when a table is read.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from quasar_mass import __version__
from quasar_mass.core.errors import FileError, TableError
from quasar_mass.core.survey import LABEL_COLUMNS, LABEL_LINES, SPLIT_SEED, SPLITS, WINDOW, Grid
from quasar_mass.spectra.seen_lines import LINES
from quasar_mass.tables import parquet

FLUX_UNIT = "1e-17 erg s-1 cm-2 Angstrom-1 * (D_L / Mpc)^2 * 1e-9"

# quasars.parquet: the reference's columns under its names, then further columns of the catalogues.
REFERENCE_COLUMNS = ("ZVI", *LABEL_COLUMNS, "LMBH", "CHEN EPOCH", "Z", "N_EPOCHS")
QUASAR_COLUMNS = (*REFERENCE_COLUMNS, "LABEL_LINE", "RA", "DEC", "EBV", "SN_MEDIAN_ALL", "BAL_PROB", "SPLIT")
_QUASAR_TYPES = dict.fromkeys(("OBJECT", "CHEN EPOCH", "LABEL_LINE", "SPLIT"), pa.string()) | {"N_EPOCHS": pa.int64()}
QUASAR_SCHEMA = pa.schema([(name, _QUASAR_TYPES.get(name, pa.float64())) for name in ("OBJECT", *QUASAR_COLUMNS)])

REJECT_SCHEMA = pa.schema([(name, pa.string()) for name in ("OBJECT", "EPOCH", "REASON", "DETAIL")])

# What training needs of a table's description.
TRAINING = ("cosmology", "extinction_corrected", "flux_unit", "grid", "split_seed", "survey")

ADDED = tuple(LINES)  # columns of spectra.parquet that tables of older builds lack; they are then unknown

_SPEC_ID = re.compile(r"[0-9]{4,5}-[0-9]{5}-[0-9]{4}")  # of `survey.format_spec_id`; file names are made of it


def spectra_schema(grid: Grid) -> pa.Schema:
    """Columns of spectra.parquet: one spectrum a row, its flux one fixed-size list of float32."""
    return pa.schema(
        [
            ("OBJECT", pa.string()),
            ("EPOCH", pa.string()),  # plate-mjd-fiber
            ("LABEL_EPOCH", pa.bool_()),  # the spectrum the label was measured on
            ("Z", pa.float64()),
            ("SN", pa.float32()),  # median flux / error per good pixel of the window; null where errors are unknown
            ("N_BAD", pa.int32()),  # pixels of the window replaced by interpolation; null where unknown
            *((name, pa.float32()) for name in LINES),  # fraction of the line that is seen; null where unknown
            ("EBV", pa.float32()),  # E(B-V) of SFD98 that was corrected for; null: not corrected
            ("RUN2D", pa.string()),  # the reduction
            ("FLAGS", pa.string()),  # warnings separated by "; ", or empty
            ("flux", pa.list_(pa.float32(), grid.size)),
        ]
    )


def read_about(path: Path, schema: pa.Schema) -> dict:
    """Give a table's description of itself, checked.

    Raises
    ------
    FileError
        If this project has not written the table.
    TableError
        If the description is damaged, or holds what no table of this project says.
    """
    about = parquet.description(path, schema)
    if about is None:
        raise FileError(
            path,
            "is a Parquet file of another origin; convert the reference's own files first "
            f"(python get_Chen_data.py convert {path})",
        )
    if about.get("kind") not in ("simulated", "sdss") or "build" not in about:
        raise _wrong(path, f"its description lacks a build, or has an unknown kind ({about.get('kind')!r})")
    if about.get("flux_unit", FLUX_UNIT) != FLUX_UNIT:
        raise _wrong(path, f"its flux is in {about['flux_unit']!r}, not in {FLUX_UNIT}")
    if "grid" in about and about["grid"]["start"] != WINDOW[0]:
        raise _wrong(path, f"its grid begins at {about['grid']['start']}, not at {WINDOW[0]}")
    return about


def new_about(survey_about: dict, inputs: dict, **more: object) -> dict:
    """Begin the description of a table.

    Parameters
    ----------
    survey_about : dict
        `Survey.about`.
    inputs : dict
        Name to SHA-256 of the files that the table is made from.
    **more
        Further entries.
    """
    about = {"format": 1, "kind": survey_about["kind"], "survey": survey_about, "version": __version__}
    return about | {"inputs": inputs, "split_seed": SPLIT_SEED, **more}


def describe_grid(grid: Grid) -> dict:
    """Describe a grid as tables and model files carry it."""
    return {"start": grid.start, "step": grid.step, "size": grid.size, "axis": "log10(rest wavelength / Angstrom)"}


def require(path: Path, about: dict, names: tuple[str, ...]) -> None:
    """Refuse a description that lacks one of the entries named; TableError."""
    missing = [name for name in names if name not in about]
    if missing:
        raise _wrong(path, f"its description lacks {', '.join(missing)}")


def check_columns(path: Path, names: list[str], needed: list[str], what: str, do: str = "build it again") -> None:
    """Refuse a table in which a needed column is missing or stands twice; TableError."""
    wrong = [f"{names.count(name) or 'no'} {name}" for name in needed if names.count(name) != 1]
    if wrong:
        raise TableError(path, f"needs the columns of {what}, each once, but has {', '.join(wrong)}; {do}")


def check_quasars(path: Path, quasars: pd.DataFrame, do: str = "build it again") -> None:
    """Refuse rows of quasars.parquet that are not objects with a label.

    Parameters
    ----------
    path : Path
    quasars : DataFrame
        Index OBJECT, columns of `QUASAR_COLUMNS`.
    do : str
        What to do about an unusable row, for the error message.

    Raises
    ------
    TableError
        If an object has no name or stands there twice, or its label, redshift, number of spectra or split is unusable.
    """
    check_names(path, quasars.index, do)
    for column, good in {
        "LMBH": np.isfinite(quasars["LMBH"]),
        "Z": np.isfinite(quasars["Z"]),
        "N_EPOCHS": quasars["N_EPOCHS"] >= 1,
        "SPLIT": quasars["SPLIT"].isin(SPLITS),
        "LABEL_LINE": quasars["LABEL_LINE"].isna() | quasars["LABEL_LINE"].isin(LABEL_LINES),
    }.items():
        if not good.all():
            row = int(np.argmin(good.to_numpy()))
            where, value = f"{path}, object {str(quasars.index[row])[:40]!r}", str(quasars[column].iloc[row])
            raise TableError(where, f"has no usable {column} ({value[:40]}); {do}")


def check_names(path: Path, names: pd.Index, do: str) -> None:
    """Refuse objects without a name, and names that stand there twice; TableError."""
    if names.hasnans:
        raise TableError(path, f"has an object without a name; {do}")
    if names.has_duplicates:
        repeated = str(names[names.duplicated()][0])[:40]
        raise TableError(path, f"has more than one row for object {repeated!r}; {do}")


def check_spec_ids(path: Path, names: Iterable[str]) -> None:
    """Refuse names of spectra that are not plate-mjd-fiber; TableError."""
    for name in names:
        if not _SPEC_ID.fullmatch(name):
            raise _wrong(path, f"names a spectrum {name[:40]!r}, which is not plate-mjd-fiber")


def check_spectra(path: Path, batch: pa.RecordBatch) -> None:
    """Refuse rows of spectra.parquet that lack a name, a redshift or some of their flux; TableError."""
    for name in ("OBJECT", "EPOCH", "LABEL_EPOCH", "Z", "flux"):
        if batch.column(name).null_count:
            raise _wrong(path, f"has rows without {name}")
    check_spec_ids(path, batch.column("EPOCH").to_pylist())
    if batch.column("flux").flatten().null_count:
        raise _wrong(path, "has pixels without a flux")
    redshift = batch.column("Z").to_numpy()
    if not np.isfinite(redshift).all():
        name = batch.column("EPOCH")[int(np.argmin(np.isfinite(redshift)))].as_py()
        raise _wrong(f"{path}, {name}", "has no finite redshift")


def _wrong(where: str | Path, message: str) -> TableError:
    return TableError(where, f"{message[:300]}; build it again")
