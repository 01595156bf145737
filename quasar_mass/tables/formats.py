"""Tables for other programs: Parquet, FITS, VOTable, ECSV or CSV by the file's ending, with units and descriptions."""

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import FileError
from quasar_mass.core.files import check_writable, locked_write

ENDINGS = {".parquet": "parquet", ".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}

# IVOA's words for what a column holds (Unified Content Descriptors), by its name or by its unit
_UCDS = {"OBJECT": "meta.id;meta.main", "EPOCH": "meta.id", "FILE": "meta.file", "Z": "src.redshift"}
_UCDS |= {"SN": "stat.snr", "FLAGS": "meta.code", "REASON": "meta.note", "N_EPOCHS": "meta.number"}
_UNIT_UCDS = {"dex(Msun)": "phys.mass", "dex(erg / s)": "phys.luminosity"}


def check_output(path: str | Path) -> Path:
    """Refuse an output that could not be written, before any work is done.

    Raises
    ------
    FileError
        If the ending says no format; as of `check_writable`.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        *others, last = ENDINGS
        endings = f"{', '.join(others)} or {last}"
        raise FileError(path, f"the name must end in {endings}; its ending chooses the format")
    check_writable(path)
    return path


def write(table: pd.DataFrame, path: Path, columns: Mapping[str, tuple[str, str]], about: Mapping) -> None:
    """Write a table in the format of the file's ending, whole or not at all.

    Parameters
    ----------
    table : DataFrame
    path : Path
        Ends in .parquet, .fits, .vot, .ecsv or .csv.
    columns : mapping of str to (str, str)
        Unit (astropy's name for it, or empty) and description of every column.
    about : mapping
        Short facts for the header (CSV has none).

    Raises
    ------
    FileError
        As in `check_output`.
    """
    from astropy.table import MaskedColumn, Table
    from astropy.utils.exceptions import AstropyWarning

    path = check_output(path)
    form = ENDINGS[path.suffix.lower()]
    out = Table(meta={key.upper(): _words(str(value), form) for key, value in about.items()})
    for name in table:
        values = table[name]
        number = pd.api.types.is_numeric_dtype(values)
        mask = values.isna().to_numpy() if number else np.zeros(len(values), bool)
        if number and pd.api.types.is_extension_array_dtype(values):  # whole numbers, some of which may be missing
            missing = form == "parquet" and mask.any()
            values = values.astype(float) if missing else values.fillna(0).astype(np.int64)
        data = values.to_numpy() if number else np.array([_words(str(v), form) for v in values.fillna("")], dtype=str)
        # masked only where something is missing, because FITS readers prefer plain columns; and never in Parquet, where
        # astropy would add a column of truth values for each masked one, while every reader takes NaN for missing
        out[name] = MaskedColumn(data, mask=mask) if mask.any() and form != "parquet" else data
        unit, out[name].description = columns[name]
        if form in ("fits", "votable"):
            unit, out[name].meta["ucd"] = _standard_unit(unit), _UCDS.get(name, _UNIT_UCDS.get(unit, ""))
        if unit and form != "fits":  # astropy would leave out units that it cannot read
            out[name].unit = unit
    with locked_write(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # about log(solMass), see below
        if form == "fits":
            _write_fits(out, temporary, {name: _standard_unit(columns[name][0]) for name in table})
        elif form == "votable":
            _write_votable(out, temporary)
        else:
            out.write(temporary, format=form, overwrite=True)


def _standard_unit(unit: str) -> str:
    """Spell a unit as the standards of FITS and VOTable do.

    astropy calls the unit of a log10 of solar masses dex(Msun), and FITS and VOUnits call it log(solMass). TOPCAT shows
    any text. No spelling is known to astropy's readers of FITS: they keep the text and warn of it, unless called as
    ``Table.read(path, unit_parse_strict="silent")``.
    """
    return re.sub(r"^dex\((.*)\)$", r"log(\1)", unit).replace("Msun", "solMass").replace(" / ", "/")


def _words(text: str, form: str) -> str:
    """Write characters that the format cannot hold (in FITS all but ASCII) by their numbers."""
    if form == "fits" and not text.isascii():
        text = ascii(text)[1:-1]
    if form in ("fits", "votable") and not text.isprintable():
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text


def _write_fits(out, path: Path, units: Mapping[str, str]) -> None:
    """Write FITS with the header cards from which TOPCAT takes units (TUNITn), descriptions (TCOMMn), UCDs (TUCDn)."""
    from astropy.io import fits

    content = io.BytesIO()  # a file that astropy updates in place leaves a temporary one behind if it is killed
    out.write(content, format="fits")
    content.seek(0)
    with fits.open(content) as hdus:
        header = hdus[1].header
        for number, name in enumerate(out.colnames, start=1):
            cards = {"TUNIT": units[name], "TCOMM": out[name].description, "TUCD": out[name].meta["ucd"]}
            for key, value in reversed(cards.items()):
                if value:
                    header.set(f"{key}{number}", _words(value, "fits"), after=f"TFORM{number}")
        hdus.writeto(path, overwrite=True)


def _write_votable(out, path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    votable = from_table(out)
    votable.resources[0].infos.extend(Info(name=key, value=value) for key, value in out.meta.items())
    votable.to_xml(str(path))
