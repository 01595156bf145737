"""What a table must say of itself and hold before anything is made of it.

A Parquet file keeps what a program put into it, and any program may have written this one: each thing that later rooms
rely on is looked at here, once.
"""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import TableError, first_line
from quasar_mass.core.survey import LABEL_LINES, SPLITS, Grid

MAX_ROWS = 10_000_000  # more spectra than SDSS has taken
MAX_COMPRESSION = 30_000  # bytes that one byte of a compressed file can stand for, at the most
AGAIN = "build it again"

# What the metadata say, where they say it.
_TYPES = {
    "build": str,
    "cosmology": str,
    "cuts": list,
    "extinction_corrected": bool,
    "flux_unit": str,
    "grid": dict,
    "inputs": dict,
    "origin": str,
    "split_seed": int,
    "survey": dict,
}
# What training on a survey takes from the metadata of its spectra.
TRAINING = ("cosmology", "extinction_corrected", "flux_unit", "grid", "split_seed", "survey")
_TEXTS = ("CHEN EPOCH", "SPLIT")
_EPOCH = re.compile(r"[0-9]{4,5}-[0-9]{5}-[0-9]{4}")  # `survey.format_spec_id`; figures and their files are named so


def about(path: Path, text: bytes, flux_unit: str) -> dict:
    """Read a table's own description.

    Parameters
    ----------
    path : Path
    text : bytes
        JSON.
    flux_unit : str
        The only one there is.

    Raises
    ------
    TableError
        If it is none, or says what no table of this project says.
    """
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
    except (ValueError, RecursionError) as error:
        raise _wrong(path, "a description in JSON", first_line(error)) from error
    if found.get("kind") not in ("simulated", "sdss") or "build" not in found:
        raise _wrong(path, "a description with kind and build", f"kind {found.get('kind')!r}")
    for name, kind in _TYPES.items():
        if name in found and type(found[name]) is not kind:
            raise _wrong(path, f"{name} as {kind.__name__} in its description", repr(found[name]))
    if any(not isinstance(cut, dict) for cut in found.get("cuts", ())):
        raise _wrong(path, "cuts with names and numbers in its description", "others")
    if found.get("flux_unit", flux_unit) != flux_unit:
        raise _wrong(path, f"flux in {flux_unit}", repr(found["flux_unit"]))
    if "grid" in found:
        _grid(path, found["grid"])
    return found


def _grid(path: Path, declared: dict) -> None:
    step = declared.get("step")
    if type(step) not in (int, float) or not math.isfinite(step):
        raise _wrong(path, "a grid step in its description", repr(step))
    grid = Grid(step)
    for name in ("start", "size"):
        if declared.get(name, getattr(grid, name)) != getattr(grid, name):
            raise _wrong(path, f"a grid of {name} {getattr(grid, name)} at step {step:g}", repr(declared[name]))


def needed(path: Path, found: dict, names: tuple[str, ...]) -> None:
    """Refuse a description that leaves out what is needed."""
    missing = [name for name in names if name not in found]
    if missing:
        raise _wrong(path, f"a description with {', '.join(names)}", f"no {', '.join(missing)}")


def each_once(path: Path, names: list[str], needed: list[str], expected: str, do: str) -> None:
    """Refuse a table that has a column that is needed not just once: TableError with `expected` and `do`."""
    wrong = [name for name in needed if names.count(name) != 1]
    if wrong:
        got = ", ".join(f"{names.count(name) or 'no'} {name}" for name in wrong)
        raise TableError(path, expected=expected, got=got, do=do)


def size(path: Path, rows: int, row_bytes: int) -> None:
    """Refuse a file that claims more rows than it can hold, before room is made for them."""
    packed = MAX_COMPRESSION * path.stat().st_size
    if not 0 <= rows <= MAX_ROWS or rows * row_bytes > packed:
        raise _wrong(path, f"at most {min(MAX_ROWS, packed // row_bytes):,} rows in a file of its size", f"{rows:,}")


def quasars(path: Path, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Refuse rows of quasars.parquet that are no objects with a label.

    Raises
    ------
    TableError
        If a column is of another type, an object has no name or stands there twice, or its label, redshift, number of
        spectra or split are not what they can be.
    """
    for name in columns:
        values = frame[name]
        if name == "LABEL_LINE":
            good = bool((values.isna() | values.isin(LABEL_LINES)).all())
        elif name in _TEXTS:
            good = pd.api.types.is_string_dtype(values)
        else:
            integer = name == "N_EPOCHS"
            good = pd.api.types.is_integer_dtype(values) if integer else pd.api.types.is_float_dtype(values)
        if not good:
            raise _wrong(path, f"column {name} as it is written", f"one of {values.dtype}")
    names = frame.index
    if names.hasnans or not (pd.api.types.is_string_dtype(names) or names.empty):
        raise _wrong(path, "a name for every object", f"index of {names.dtype}")
    if names.has_duplicates:
        raise _wrong(path, "one row per object", f"{str(names[names.duplicated()][0])[:40]!r} more than once")
    for name, good in {
        "LMBH": np.isfinite(frame["LMBH"]),
        "Z": np.isfinite(frame["Z"]),
        "N_EPOCHS": frame["N_EPOCHS"] >= 1,
        "SPLIT": frame["SPLIT"].isin(SPLITS),
    }.items():
        if not good.all():
            row = int(np.argmin(good.to_numpy()))
            raise _wrong(f"{path}, {str(names[row])[:40]!r}", f"a usable {name}", repr(frame[name].iloc[row]))


def epochs(path: Path, names: Iterable[str]) -> None:
    """Refuse names of spectra that are none; TableError."""
    for name in names:
        if not _EPOCH.fullmatch(name):
            raise _wrong(path, "spectra named plate-mjd-fiber", repr(name[:40]))


def spectra(path: Path, batch) -> None:
    """Refuse rows of spectra.parquet without a name, a redshift or all of their flux; `batch` as pyarrow reads it."""
    for name in ("OBJECT", "EPOCH", "LABEL_EPOCH", "Z", "flux"):
        if batch.column(name).null_count:
            raise _wrong(path, f"{name} in every row", "none in some")
    epochs(path, batch.column("EPOCH").to_pylist())
    if batch.column("flux").flatten().null_count:
        raise _wrong(path, "a flux in every pixel", "none in some")
    redshift = batch.column("Z").to_numpy()
    if not np.isfinite(redshift).all():
        epoch = batch.column("EPOCH")[int(np.argmin(np.isfinite(redshift)))].as_py()
        raise _wrong(f"{path}, {epoch[:40]!r}", "a redshift", "none")


def _wrong(where: object, expected: str, got: str) -> TableError:
    return TableError(where, expected=expected, got=got[:200], do=AGAIN)
