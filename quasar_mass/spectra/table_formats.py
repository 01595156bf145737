"""Tables of one spectrum in any format: from their bytes to columns, and to what else the file says."""

import io
import re
import warnings
import zipfile
from dataclasses import dataclass, field

import numpy as np

from quasar_mass.core.errors import first_line
from quasar_mass.spectra import fits_headers
from quasar_mass.spectra.column_names import plain, wavelength_name

_ZIP, _BOM, _XML = b"PK\x03\x04", b"\xef\xbb\xbf", re.compile(rb"<(?:\?xml|\w*:?VOTABLE|!)", re.IGNORECASE)
_ELSEWHERE = re.compile(rb"<(?:\w+:)?STREAM[^<>]*\shref", re.IGNORECASE)  # astropy would fetch what it names
_MAX_ARRAYS = 500_000_000  # bytes of a .npz, unpacked
_USUAL = ("wavelength", "flux", "error")  # the columns of a text that does not name them
_DELIMITERS = ",;\t"
_COMMENT = ("#", "%", "!")  # what a line of comment begins with
_NOTHING = ("", "nan", "null", "none", "n/a", "na", "-", "--", "---")  # cells without a number
_WORD = re.compile(r"([^\s,;|\[\]()]+)\s*(?:\[([^\]]*)\]|\(((?:[^()]|\([^()]*\))*)\))?")  # flux (erg/(s cm2 A))
_MAX_LINE = 2000  # characters of a header or a comment: longer ones are neither, and would take long
_SAID = re.compile(r"(?<![\w-])([A-Za-z][\w()-]*)\s*[=:]\s*([^\s,;]+)")  # redshift = 1.62
# what astropy raises on damaged files; anything else is a bug and must show
_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, AttributeError, MemoryError)
_DAMAGED += (OverflowError, AssertionError, Warning, SyntaxError)


@dataclass
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
    values : ndarray
        One number for each row; a vector for each row where cells hold vectors. Masked ones are NaN.
    unit : str
        As written; empty where there is none.
    about : str
        Its description, or UCD.
    """

    name: str
    values: np.ndarray
    unit: str = ""
    about: str = ""


@dataclass
class Content:
    """What a file holds.

    Attributes
    ----------
    columns : list of Column
    keys : dict of str to object
        What else it says, by `plain` name: a header, parameters, comments.
    about : str
        Comments in its own words.
    assumed : str
        What its reader had to assume about the columns.
    """

    columns: list[Column]
    keys: dict[str, object] = field(default_factory=dict)
    about: str = ""
    assumed: str = ""


def read(content: bytes) -> Content:
    """Read the columns of a table.

    Parameters
    ----------
    content : bytes
        A whole file that is not FITS: CSV, ECSV, text, VOTable or .npz.

    Raises
    ------
    ValueError
        If it is none of these, or damaged.
    """
    try:
        if content.startswith(_ZIP):
            return _npz(content)
        if _XML.match(content[:_MAX_LINE].removeprefix(_BOM).lstrip()):
            return _votable(content)
        text = _text(content)
        return _ecsv(text) if text.startswith("# %ECSV") else _plain_text(text)
    except _DAMAGED as error:
        raise ValueError(first_line(error)) from error


def read_fits(content: bytes, number: int) -> Content:
    """Read the columns and the header of a table in a FITS file; ValueError if it is damaged."""
    with fits_headers.opened(content) as hdus:
        table, header = hdus[number], hdus[number].header
        columns = [
            Column(
                column.name,
                np.asarray(table.data[column.name]),
                str(column.unit or ""),
                f"{header.get(f'TUCD{n}', '')} {header.get(f'TCOMM{n}', '')}".strip(),
            )
            for n, column in enumerate(table.columns, 1)
        ]
        keys: dict[str, object] = {}
        for card in [*header.cards, *hdus[0].header.cards]:
            keys.setdefault(plain(card.keyword), card.value)
        return Content(columns, keys)


def fits_tables(hdus: list[fits_headers.Hdu]) -> dict[int, list[str]]:
    """The names of the columns of each table in a FITS file, by the number of its HDU."""
    return {
        hdu.number: [hdu.text(f"TTYPE{column}") or "" for column in range(1, hdu.sizes.get("TFIELDS", 0) + 1)]
        for hdu in hdus
        if "TFIELDS" in hdu.sizes
    }


# --- .npz, VOTable, ECSV ----------------------------------------------------------------------------------------------
def _npz(content: bytes) -> Content:
    try:
        if sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(content)).infolist()) > _MAX_ARRAYS:
            raise ValueError(f"it unpacks to more than {_MAX_ARRAYS:,} bytes, more than any spectrum has")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            # what is not of NumPy is given as bytes
            values = {name: array for name in arrays.files if isinstance(array := arrays[name], np.ndarray)}
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError("it holds pickled objects, which are not opened; save plain arrays") from error
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(first_line(error)) from error
    if not values:
        raise ValueError("a zip archive without arrays of NumPy")
    columns = [Column(name, array) for name, array in values.items() if array.ndim]
    return Content(columns, {plain(name): array[()] for name, array in values.items() if not array.ndim})


def _votable(content: bytes) -> Content:
    from astropy.io import votable

    if _ELSEWHERE.search(content):
        raise ValueError("its table stands in another file; put it into this one")
    with warnings.catch_warnings(action="ignore"):  # of what the standard does not allow
        tree = votable.parse(io.BytesIO(content), verify="ignore")
        tables = [table for table in tree.iter_tables() if not table.is_empty()]
        if not tables:
            raise ValueError("a VOTable without a table")
        columns = [
            Column(
                entry.name or entry.ID,
                _filled(tables[0].array[entry.ID]),
                "" if entry.unit is None else entry.unit.to_string(),
                f"{entry.ucd or ''} {entry.description or ''}".strip(),
            )
            for entry in tables[0].fields
        ]
        keys: dict[str, object] = {}
        for parameter in [*tables[0].params, *(one for resource in tree.resources for one in resource.params)]:
            keys.setdefault(plain(parameter.name), parameter.value)
    return Content(columns, keys, str(tables[0].description or ""))


def _ecsv(text: str) -> Content:
    from astropy.io import ascii as astropy_ascii
    from astropy.utils.exceptions import AstropyWarning
    from yaml import YAMLError

    try:
        with warnings.catch_warnings(action="ignore", category=AstropyWarning):
            table = astropy_ascii.read(text, format="ecsv")
    except YAMLError as error:
        raise ValueError(first_line(error)) from error
    columns = [
        Column(name, _filled(table[name]), str(table[name].unit or ""), str(table[name].info.description or ""))
        for name in table.colnames
    ]
    keys = {plain(name): value for name, value in table.meta.items()}
    return Content(columns, keys, " ".join(map(str, table.meta.get("comments", []))))


def _filled(values) -> np.ndarray:
    """A column of astropy's as an array, with NaN where it is masked."""
    if hasattr(values, "to_value"):  # a quantity
        values = (values.filled(np.nan) if hasattr(values, "filled") else values).value
    if np.ma.isMaskedArray(values) and values.dtype.kind in "iufb" and np.ma.is_masked(values):
        return np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)


# --- text -------------------------------------------------------------------------------------------------------------
@dataclass
class Layout:
    """How a text holds a table.

    Attributes
    ----------
    header : list of (str, str)
        Name and unit of each column; empty where the text does not say.
    delimiter : str or None
        None: blanks.
    n_columns, first : int
        How many columns, and the index of the first line of numbers; `n_columns` is 0 where no line holds numbers.
    """

    header: list[tuple[str, str]]
    delimiter: str | None
    n_columns: int
    first: int


def layout(lines: list[str]) -> Layout:
    """Find the header and the first line of numbers among the first lines of a text."""
    above = []
    for n, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith(_COMMENT):
            continue
        delimiter = next((sign for sign in _DELIMITERS if sign in line), None)
        cells = _cells(line, delimiter)
        if _are_numbers(cells):
            return Layout(_header(above, lines[:n], delimiter, len(cells)), delimiter, len(cells), n)
        above.append(line)
        if len(above) > 3:  # a header has a line of names, of units, and a ruler
            break
    delimiter = next((sign for sign in _DELIMITERS if above and sign in above[0]), None)
    return Layout(_names(above[0], delimiter) if above else [], delimiter, 0, len(lines))


def _header(above: list[str], before: list[str], delimiter: str | None, n: int) -> list[tuple[str, str]]:
    """Names and units of columns: from the lines above the numbers, or else from the last comment that fits."""
    if above:
        names = _names(above[0], delimiter, n)
        units = [cell.strip("-=") for cell in _cells(above[1], delimiter)] if len(above) > 1 else []  # or a ruler
        units += [""] * (delimiter is not None and len(units) == len(names) - 1)  # of a last column without a unit
        if len(units) == len(names):
            names = [(name, unit or below) for (name, unit), below in zip(names, units, strict=True)]
        return names
    for line in reversed(before):
        names = _names(line.lstrip("".join(_COMMENT) + " \t"), delimiter, n)
        if len(names) == n and any(wavelength_name(name) for name, _ in names):
            return names
    return []


def _names(line: str, delimiter: str | None, n: int = 0) -> list[tuple[str, str]]:
    """The names in a line, each with the unit that stands in brackets behind it; `n` is how many there should be."""
    for sign in (delimiter, *_DELIMITERS):  # the header of columns of blanks may have commas
        cells = _cells(line[:_MAX_LINE], sign) if sign else []
        if cells and len(cells) == (n or len(cells) * (sign == delimiter)):
            return [_name_and_unit(cell) for cell in cells]
    return [(word[1], (word[2] or word[3] or "").strip()) for word in _WORD.finditer(line[:_MAX_LINE])]


def _name_and_unit(cell: str) -> tuple[str, str]:
    opening = {"]": "[", ")": "("}.get(cell[-1:])
    if opening is None or opening not in cell:
        return cell, ""
    name, _, unit = cell[:-1].partition(opening)
    return name.strip(), unit.strip()


def _cells(line: str, delimiter: str | None) -> list[str]:
    cells = [cell.strip().strip("\"'") for cell in line.strip().split(delimiter)]
    return cells[:-1] if len(cells) > 1 and not cells[-1] and delimiter else cells


def _are_numbers(cells: list[str]) -> bool:
    """Whether each cell holds a number, nothing, or true or false, and at least one a number."""
    numbers = 0
    for cell in cells:
        if cell.lower() in (*_NOTHING, "true", "false"):
            continue
        try:
            float(cell)
        except ValueError:
            return False
        numbers += 1
    return numbers > 0


def _text(content: bytes) -> str:
    if b"\0" in content:
        raise ValueError("it is neither FITS, VOTable or .npz, nor text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # as tables of last century have it: the sign of Angstrom


def _plain_text(text: str) -> Content:
    import pandas as pd

    lines = text.splitlines()
    found = layout(lines)
    if not found.n_columns:
        raise ValueError("it is neither FITS nor a text with a table of numbers" if text.strip() else "it is empty")
    comments = [line[:_MAX_LINE] for line in lines if line.lstrip().startswith(_COMMENT)]
    rows = [line for line in lines[found.first :] if line.strip() and not line.lstrip().startswith(_COMMENT)]
    table = pd.read_csv(
        io.StringIO("\n".join(rows)),
        sep=found.delimiter or r"\s+",
        header=None,
        names=range(found.n_columns + 1),  # one more, which lines that end in a delimiter fill with nothing
        index_col=False,
        comment="#",
        na_values=list(_NOTHING),
        skipinitialspace=True,
        low_memory=False,
    )
    if table[found.n_columns].notna().any():
        raise ValueError(f"lines of more than {found.n_columns} columns")
    header, assumed = found.header, ""
    if not header:
        header = [(name, "") for name in (*_USUAL, *map(str, range(4, found.n_columns + 1)))[: found.n_columns]]
        assumed = f"columns assumed: {', '.join(_USUAL)}"
    if len(header) != found.n_columns:
        raise ValueError(f"a header of {len(header)} names above {found.n_columns} columns")
    columns = [Column(name, table[n].to_numpy(), unit) for n, (name, unit) in enumerate(header)]
    keys: dict[str, object] = {}
    for line in comments:
        for name, value in _SAID.findall(line):
            keys.setdefault(plain(name), value)
    return Content(columns, keys, " ".join(comments), assumed)
