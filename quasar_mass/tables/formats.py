"""Tables for other programs: Parquet, FITS, ECSV or CSV by the file's ending, with units and descriptions."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import FileError
from quasar_mass.core.files import locked_write

ENDINGS = {".parquet": "parquet", ".fits": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}


def check_output(path: str | Path) -> Path:
    """Refuse an output that could not be written, before any work is done.

    Raises
    ------
    FileError
        If the ending says no format, or the name is that of a folder or in one that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise FileError(
            path, expected=f"a name ending in {', '.join(ENDINGS)}", got=repr(path.suffix), do="choose one of them"
        )
    if path.is_dir():
        raise FileError(path, expected="a file to write", got="a folder of that name", do="choose another name")
    folder = next(parent for parent in path.absolute().parents if parent.exists())  # the others can be made
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        got = "no permission" if folder.is_dir() else f"a file of the name {folder}"
        raise FileError(path, expected="a folder that can be written", got=got, do="choose another one")
    return path


def write(table: pd.DataFrame, path: Path, columns: Mapping[str, tuple[str, str]], about: Mapping) -> None:
    """Write a table in the format of the file's ending, whole or not at all.

    Parameters
    ----------
    table : DataFrame
    path : Path
        Ends in .parquet, .fits, .ecsv or .csv.
    columns : mapping of str to (str, str)
        Unit (astropy's name for it, or empty) and description of every column.
    about : mapping
        Short facts for the header (CSV has none).

    Raises
    ------
    FileError
        If the path ends in something else.
    """
    from astropy.table import MaskedColumn, Table

    path = check_output(path)
    fits = path.suffix.lower() == ".fits"

    def words(value: str) -> str:
        # FITS has ASCII alone; a name in other letters is written with their numbers, \xe9
        return ascii(value)[1:-1] if fits and not (value.isascii() and value.isprintable()) else value

    out = Table(meta={key.upper(): words(str(value)) for key, value in about.items()})
    for name in table:
        values = table[name]
        unit, description = columns[name]
        number = pd.api.types.is_numeric_dtype(values)
        data = values.to_numpy() if number else np.array([words(str(value)) for value in values.fillna("")], dtype=str)
        mask = values.isna().to_numpy() if number else np.zeros(len(values), bool)
        # masked only where something is: FITS readers are happier with plain columns; and not in Parquet, where astropy
        # would add a column of truth values for each that is masked, while NaN is missing for every reader
        out[name] = MaskedColumn(data, mask=mask) if mask.any() and path.suffix.lower() != ".parquet" else data
        out[name].description = description
        # dex(Msun) is astropy's name for a log10 of solar masses; FITS has no such unit, and astropy warns of it
        if unit and not (fits and unit.startswith("dex")):
            out[name].unit = unit
    with locked_write(path) as temporary:
        out.write(temporary, format=ENDINGS[path.suffix.lower()], overwrite=True)
