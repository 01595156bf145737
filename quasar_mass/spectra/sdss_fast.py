"""A fast reader of SDSS's spec-lite files of the usual layout, with the result that astropy gives.

A survey has tens of thousands of files of one layout, whose headers differ in a few numbers. Only headers written
exactly as SDSS writes them are decoded here. Any other file is left to astropy (`sdss`), which takes forty times as
long.
"""

import re
from dataclasses import dataclass

import numpy as np

from quasar_mass.spectra.fits_bytes import BLOCK, CARD, CARDS, TYPES

PIXEL_COLUMNS = {"FLUX": ">f4", "LOGLAM": ">f4", "IVAR": ">f4", "AND_MASK": ">i4"}  # of HDU 1
_ROW_WORDS = ("RUN2D", "CLASS", "EBV_TYPE", "SPEC_FILE")  # columns of HDU 2: text
_ROW_NUMBERS = ("PLATE", "MJD", "FIBERID", "Z", "ZWARNING", "EXTINCTION", "SFD_EBV", "EBV")
_ROW_COLUMNS = (*_ROW_WORDS, *_ROW_NUMBERS, "FIELD", "CATALOGID")  # the last two: numbers or text

_SIZES = {form: np.dtype(kind).itemsize or 1 for form, kind in TYPES.items()}  # bytes; one per character of text
_SIZES |= {"C": 8, "M": 16, "P": 8, "Q": 16}  # not used, but other columns lie behind them; X has bits
_MAX_CARDS = 20 * CARDS  # of one header; the longest of SDSS's has 504


def _card(pattern: bytes) -> re.Pattern:
    """Pattern of a whole card, with or without a comment."""
    return re.compile(pattern + rb" *(?:/[ -~]*)?")


_PRIMARY = tuple(
    map(_card, (rb"SIMPLE  = {20}T", rb"BITPIX  = {19}(?:16| 8)", rb"NAXIS   = {20}0", rb"EXTEND  = {20}T"))
)
_PRIMARY_KEYS = {  # of HDU 0, with the cards that hold them
    b"PLATEID ": _card(rb"PLATEID =([ 0-9]{21})"),
    b"MJD     ": _card(rb"MJD     =([ 0-9]{21})"),
    b"FIBERID ": _card(rb"FIBERID =([ 0-9]{21})"),
    b"SIMULATE": _card(rb"SIMULATE= {20}T"),
}
# keywords that define where the data are: a second card could contradict the first
_STRUCTURE = (b"SIMPLE  ", b"XTENSION", b"BITPIX  ", b"NAXIS", b"PCOUNT  ", b"GCOUNT  ", b"TFIELDS ", b"EXTEND  ")
_NOT_TABLE = (*_STRUCTURE, b"HIERARCH")  # not allowed behind the first cards
_NOT_PRIMARY = (*_NOT_TABLE, b"BSCALE", b"BZERO", b"BLANK", b"GROUPS", b"CHECKSUM", b"DATASUM", b"EXT")
_TABLE = (  # the first eight cards of a table
    _card(rb"XTENSION= 'BINTABLE'"),
    _card(rb"BITPIX  = {20}8"),
    _card(rb"NAXIS   = {20}2"),
    _card(rb"NAXIS1  =([ 0-9]{21})"),
    _card(rb"NAXIS2  =([ 0-9]{21})"),
    _card(rb"PCOUNT  = {20}0"),
    _card(rb"GCOUNT  = {20}1"),
    _card(rb"TFIELDS =([ 0-9]{21})"),
)
_COLUMN = re.compile(r"(TTYPE|TFORM)(\d{1,3}) *= '([^']*)'(.*)")
_SCALE = re.compile(r"(?:TSCAL|TZERO)(\d{1,3}) *=")
_EXTNAME = re.compile("EXTNAME = '[A-Z]+ *' *(/.*)?")
_TABLES: dict[bytes, "Table | None"] = {}  # headers decoded before, by their first cards
_MAX_TABLES = 500  # a survey has a few hundred different headers, one for every number of pixels


@dataclass(frozen=True)
class Table:
    """The content of a binary table's header.

    Attributes
    ----------
    header : bytes
        Its bytes, whole blocks.
    width, rows : int
        Bytes of a row, and rows.
    columns : dict of str to (int, int, str, bool)
        Upper-case name to offset in a row (bytes), count, FITS type, and whether it has a scaling or a shape.
    plain : bool
        No column has a scaling, a shape or null values: the bytes are the numbers.
    """

    header: bytes
    width: int
    rows: int
    columns: dict
    plain: bool

    @property
    def span(self) -> int:
        """Size of header and data, bytes of whole blocks."""
        return len(self.header) + -(-self.width * self.rows // BLOCK) * BLOCK


def find(content: memoryview) -> tuple[dict, dict, dict] | None:
    """Decode the parts of a spec-lite file that are used.

    Parameters
    ----------
    content : memoryview of bytes
        The whole file.

    Returns
    -------
    keys : dict
        PLATEID, MJD, FIBERID and SIMULATE of HDU 0, as far as they are present.
    pixels : dict of str to ndarray
        The columns `PIXEL_COLUMNS` of HDU 1, as views of `content`.
    row : dict
        As of `one_row`.
    None
        Instead, if the file has another layout.
    """
    primary = _primary(content)
    if primary is None:
        return None
    keys, position = primary
    starts, tables = [], []
    for _ in range(3):
        table = _table(content, position) if position < len(content) else None
        if table is None:
            return None
        starts.append(position + len(table.header))
        tables.append(table)
        position += table.span
    coadd, spectrum, _ = tables
    types = {name: TYPES[form] for name, (_, count, form, _) in coadd.columns.items() if count == 1 and form != "A"}
    if position != len(content) or not coadd.plain or not coadd.rows or spectrum.rows != 1:
        return None
    if "CATALOGID" in spectrum.columns:  # SDSS-V, whose name is in keys that are not read here
        return None
    if any(types.get(name) != kind for name, kind in PIXEL_COLUMNS.items()):
        return None
    pixels = {
        name: np.ndarray(coadd.rows, kind, content, starts[0] + coadd.columns[name][0], (coadd.width,))
        for name, kind in PIXEL_COLUMNS.items()
    }
    row = _cells(spectrum.columns, bytes(content[starts[1] : starts[1] + spectrum.width]))
    # if HDU 2 has no RUN2D, HDU 0 may have it, in ways that only astropy reads
    return (keys, pixels, row) if row.get("RUN2D") else None


def one_row(header: bytes, data: bytes, columns: int) -> dict:
    """Decode the used cells of a one-row binary table, by upper-case name.

    HDU 2 has 126 or 236 columns. astropy takes 60 ms a file to describe them all, twenty times all the rest.

    Parameters
    ----------
    header, data : bytes
        Header and row.
    columns : int
        Number of columns.

    Raises
    ------
    ValueError
        If the header contradicts itself or the row, or no known column is present.
    """
    layout, _ = _columns(header, columns, len(data))
    return _cells(layout, data)


def _cells(columns: dict, data: bytes) -> dict:
    row = {}
    for name in _ROW_COLUMNS:
        if name in columns:
            offset, count, form, scaled = columns[name]
            wrong = name in (_ROW_NUMBERS if form == "A" else _ROW_WORDS) or form not in TYPES or scaled
            if wrong or (form != "A" and count != 1 and name != "EXTINCTION"):
                raise ValueError(f"column {name} of HDU 2 with format {count}{form}{', scaled' if scaled else ''}")
            cell = data[offset : offset + count * _SIZES[form]]
            if form == "A":
                row[name] = cell.decode("latin-1").strip(" \0")
            else:
                numbers = np.frombuffer(cell, TYPES[form])
                row[name] = numbers if name == "EXTINCTION" else numbers[0]
    if not row:
        raise ValueError("no known column in HDU 2")
    return row


def _columns(header: bytes, number: int, width: int) -> tuple[dict, bool]:
    """Positions and formats of a table's columns by name, and whether no card adds anything to them.

    A duplicate name is an error only if it is used.
    """
    if not header.isascii() or not (text := header.decode("ascii")).isprintable():
        raise ValueError("a table's header with other than printable characters")
    described: dict[int, dict] = {}
    scaled, plain = set(), True
    for start in range(0, len(text), CARD):
        card = text[start : start + CARD]
        if match := _COLUMN.match(card):
            if match[1] in described.setdefault(int(match[2]), {}):
                raise ValueError(f"{match[1]}{match[2]} twice in a table's header")
            described[int(match[2])][match[1]] = match[3].strip()
            plain &= re.fullmatch(" *(/.*)?", match[4]) is not None
        elif match := _SCALE.match(card):
            scaled.add(int(match[1]))
            plain = False
        elif start >= len(_TABLE) * CARD:
            plain &= card[:8] in ("COMMENT ", "EXTNAME ", "END     ", " " * 8)
    whole = all(column.get("TTYPE") and column.get("TFORM") for column in described.values())
    if sorted(described) != list(range(1, number + 1)) or not whole:
        raise ValueError(f"{len(described)} columns described in a table's header instead of {number}")
    columns, offset = {}, 0
    for index in range(1, number + 1):
        form = re.fullmatch(r"(\d*)([LXBIJKAEDCMPQ])(?:\d*|[A-Z](?:\(\d*\))?)", described[index]["TFORM"])
        if not form:
            raise ValueError(f"column {index} with format {described[index]['TFORM']!r}")
        name, count = described[index]["TTYPE"].upper(), int(form[1] or 1)
        if name in columns:
            plain = False
            if name in _ROW_COLUMNS:
                raise ValueError(f"two columns {name} in a table")
        columns[name] = offset, count, form[2], index in scaled
        offset += -(-count // 8) if form[2] == "X" else count * _SIZES[form[2]]
    if offset != width:
        raise ValueError(f"columns of {offset} bytes in rows of {width}")
    return columns, plain


def _table(content: memoryview, start: int) -> Table | None:
    """Decode the header of a table, unless the same bytes were decoded before: comparing 40 kB is much quicker."""
    first = bytes(content[start : start + len(_TABLE) * CARD])
    table = _TABLES.get(first)
    if table is None or table.header != content[start : start + len(table.header)].tobytes():
        table = _read_table(content, start)
        if len(_TABLES) >= _MAX_TABLES:
            _TABLES.clear()
        _TABLES[first] = table
    return table


def _read_table(content: memoryview, start: int) -> Table | None:
    names, end = _names(content, start)
    header = bytes(content[start:end]) if end else b""
    sizes = _cards(header, _TABLE)
    others = names[8 * len(_TABLE) :].upper()
    if not names or sizes is None or any(_find(others, name) >= 0 for name in _NOT_TABLE):
        return None
    width, rows, fields = sizes
    try:
        columns, plain = _columns(header, fields, width)
    except ValueError:
        return None
    text = header.decode("ascii")
    named = [text[at : at + CARD] for at in range(0, len(text), CARD) if text[at : at + 3].upper() == "EXT"]
    if len(named) > 1 or not all(map(_EXTNAME.fullmatch, named)):
        return None
    return Table(header, width, rows, columns, plain)


def _cards(header: bytes, patterns: tuple) -> list[int] | None:
    """The numbers in a header's first cards, or None if one does not match its pattern."""
    numbers = []
    for index, pattern in enumerate(patterns):
        match = pattern.fullmatch(header[index * CARD : (index + 1) * CARD])
        if not match:
            return None
        for text in match.groups():
            digits = text.strip()
            if not digits.isdigit() or len(digits) > 9:
                return None
            numbers.append(int(digits))
    return numbers


def _names(content: memoryview, start: int) -> tuple[bytes, int]:
    """The keywords of a header, eight bytes each, up to END, and where its last block ends; b"", 0 without an END."""
    count = min(_MAX_CARDS, (len(content) - start) // CARD)
    cards = np.frombuffer(content, np.uint8, count * CARD, start).reshape(count, CARD)
    names = cards[:, :8].tobytes()
    end = _find(names, b"END")
    if end < 0:
        return b"", 0
    card = end // 8
    last = (card // CARDS + 1) * CARDS
    # after END come blanks; anything else is left to astropy
    rest = bytes(content[start + card * CARD : start + last * CARD])
    if rest != b"END".ljust((last - card) * CARD):
        return b"", 0
    return names[:end], start + last * CARD


def _find(names: bytes, name: bytes) -> int:
    """Position of a keyword among others of eight bytes each, -1 if it is not there."""
    position = names.find(name)
    while position % 8 and position >= 0:
        position = names.find(name, position + 1)
    return position


def _primary(content: memoryview) -> tuple[dict, int] | None:
    """The keys of HDU 0, and where it ends."""
    names, end = _names(content, 0)
    if not names or _cards(bytes(content[: len(_PRIMARY) * CARD]), _PRIMARY) is None:
        return None
    names = names.upper()  # for astropy, keywords in lower case are the same
    others = names[8 * len(_PRIMARY) :]
    if any(_find(others, name) >= 0 for name in _NOT_PRIMARY):
        return None
    keys = {}
    for name, pattern in _PRIMARY_KEYS.items():
        position = _find(names, name)
        if position < 0:
            continue
        value = _cards(bytes(content[position * 10 : position * 10 + CARD]), (pattern,))
        if value is None:
            return None
        keys[name.decode().rstrip()] = value[0] if value else True
    return keys, end
