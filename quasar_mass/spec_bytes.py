"""SDSS's spec-lite files by the byte: just what astropy would find in them, or nothing.

A survey is tens of thousands of files of one layout, whose headers differ in a few numbers. Headers are read here only
where they say what such files say, in the way they say it; whatever differs, however little, is left to astropy
(`spec_file`), which takes forty times as long.
"""

import re
from dataclasses import dataclass

import numpy as np

from quasar_mass.fitsbytes import BLOCK, CARDS

PIXEL_COLUMNS = {"FLUX": ">f4", "LOGLAM": ">f4", "IVAR": ">f4", "AND_MASK": ">i4"}  # of HDU 1
_ROW_COLUMNS = ("PLATE", "MJD", "FIBERID", "Z", "EXTINCTION", "RUN2D", "CLASS")  # of HDU 2

_SIZES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "A": 1}  # bytes of a FITS table format
_TYPES = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}

_CARD = 80  # bytes
_MOST_CARDS = 20 * CARDS  # of one header; the longest of SDSS's has 504


def _card(pattern: bytes) -> re.Pattern:
    """What a card must be, with or without a comment."""
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
_NOT_PRIMARY = (b"HIERARCH", b"BSCALE", b"BZERO", b"BLANK", b"GROUPS", b"CHECKSUM", b"DATASUM", b"EXT")  # astropy minds
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
_COLUMN = re.compile(r"(TTYPE|TFORM)(\d+) *= '([^']*)'(.*)")
_EXTNAME = re.compile("EXTNAME = '[A-Z]+ *' *(/.*)?")
_MET: dict[bytes, "Table | None"] = {}  # headers read before, by all their bytes but for the search by the first ones
_MOST_MET = 500  # a survey has some hundreds: one for every number of pixels


@dataclass(frozen=True)
class Table:
    """What the header of a binary table says.

    Attributes
    ----------
    header : bytes
        All of it, whole blocks.
    width, rows : int
        Bytes of a row, and rows.
    columns : dict of str to (int, int, str)
        Upper-case name to offset in a row (bytes), count and FITS type.
    plain : bool
        No scaling, shapes or null values: the bytes are the numbers.
    """

    header: bytes
    width: int
    rows: int
    columns: dict
    plain: bool

    @property
    def span(self) -> int:
        """Bytes of header and data, whole blocks."""
        return len(self.header) + -(-self.width * self.rows // BLOCK) * BLOCK


def find(content: memoryview) -> tuple[dict, dict, dict] | None:
    """Find what counts in a spec-lite file.

    Parameters
    ----------
    content : memoryview of bytes
        The whole file.

    Returns
    -------
    keys : dict
        PLATEID, MJD, FIBERID and SIMULATE of HDU 0, as far as they are there.
    pixels : dict of str to ndarray
        The columns `PIXEL_COLUMNS` of HDU 1; they point into `content`.
    row : dict
        As of `one_row`.
    None
        In place of all, if the file is not just such a one.
    """
    primary = _primary(content)
    if primary is None:
        return None
    keys, place = primary
    starts, found = [], []
    for _ in range(3):
        table = _table(content, place)
        if table is None:
            return None
        starts.append(place + len(table.header))
        found.append(table)
        place += table.span
    coadd, spectrum, _ = found
    types = {name: _TYPES[form] for name, (_, count, form) in coadd.columns.items() if count == 1 and form != "A"}
    if place != len(content) or not coadd.plain or not coadd.rows or spectrum.rows != 1:
        return None
    if any(types.get(name) != kind for name, kind in PIXEL_COLUMNS.items()):
        return None
    pixels = {
        name: np.ndarray(coadd.rows, kind, content, starts[0] + coadd.columns[name][0], (coadd.width,))
        for name, kind in PIXEL_COLUMNS.items()
    }
    row = _cells(spectrum.columns, bytes(content[starts[1] : starts[1] + spectrum.width]))
    # where the file names no reduction in HDU 2, HDU 0 may, in more ways than are known here
    return (keys, pixels, row) if row.get("RUN2D") else None


def one_row(header: bytes, data: bytes) -> dict:
    """The used cells of a one-row binary table, by upper-case name.

    HDU 2 has 126 or 236 columns; letting astropy describe every one takes 60 ms a file, twenty times all the rest.

    Raises
    ------
    ValueError
        If a column has no known format, no known column is there, or the data end before one.
    """
    columns = _columns(header.decode("latin-1"))[0]
    if not columns.keys() & set(_ROW_COLUMNS):
        raise ValueError("no known column in HDU 2")
    return _cells(columns, data)


def _cells(columns: dict, data: bytes) -> dict:
    row = {}
    for name in _ROW_COLUMNS:
        if name in columns:
            offset, count, form = columns[name]
            cell = data[offset : offset + count * _SIZES[form]]
            if len(cell) < count * _SIZES[form]:
                raise ValueError(f"HDU 2 that ends before its column {name}")
            if form == "A":
                row[name] = cell.decode("latin-1").strip(" \0")
            else:
                numbers = np.frombuffer(cell, _TYPES[form])
                row[name] = numbers if count > 1 else numbers[0]
    return row


def _columns(header: str) -> tuple[dict, bool]:
    """Names, places and formats of a table's columns, and whether the cards say nothing else of them."""
    said: dict[int, dict] = {}
    plain = True
    for start in range(0, len(header), _CARD):
        card = header[start : start + _CARD]
        match = _COLUMN.match(card)
        if match:
            twice = match[1] in said.setdefault(int(match[2]), {})
            plain &= not twice and re.fullmatch(" *(/.*)?", match[4]) is not None
            said[int(match[2])][match[1]] = match[3].strip()
        elif start >= len(_TABLE) * _CARD:
            plain &= card[:8] in ("COMMENT ", "EXTNAME ", "END     ", " " * 8)
    columns, offset = {}, 0
    for number in sorted(said):
        text = said[number].get("TFORM", "")
        form = re.fullmatch(r"(\d*)([LBIJKEDA])\d*", text)
        if not form:
            raise ValueError(f"column {number} with format {text!r}")
        name, count = said[number].get("TTYPE", "").upper(), int(form[1] or 1)
        plain &= name not in columns
        columns[name] = offset, count, form[2]
        offset += count * _SIZES[form[2]]
    return columns, plain and list(said) == list(range(1, len(said) + 1))


def _table(content: memoryview, start: int) -> Table | None:
    """Read the header of a table, or remember it: comparing 40 kB is quicker than reading 500 cards."""
    first = bytes(content[start : start + len(_TABLE) * _CARD])
    met = _MET.get(first)
    if met is None or met.header != content[start : start + len(met.header)].tobytes():
        met = _read_table(content, start)
        if len(_MET) >= _MOST_MET:
            _MET.clear()
        _MET[first] = met
    return met


def _read_table(content: memoryview, start: int) -> Table | None:
    names, end = _names(content, start)
    header = bytes(content[start:end]) if end else b""
    sizes = _cards(header, _TABLE)
    if not names or sizes is None or not header.isascii():
        return None
    width, rows, fields = sizes
    text = header.decode("ascii")
    named = [text[at : at + _CARD] for at in range(0, len(text), _CARD) if text[at : at + 3].upper() == "EXT"]
    if len(named) > 1 or not all(map(_EXTNAME.fullmatch, named)):
        return None
    try:
        columns, plain = _columns(text)
    except ValueError:
        return None
    whole = sum(count * _SIZES[form] for _, count, form in columns.values()) == width
    return Table(header, width, rows, columns, plain) if whole and len(columns) == fields else None


def _cards(header: bytes, patterns: tuple) -> list[int] | None:
    """Match a header's first cards; give the numbers in them, None if one differs."""
    numbers = []
    for index, pattern in enumerate(patterns):
        match = pattern.fullmatch(header[index * _CARD : (index + 1) * _CARD])
        if not match:
            return None
        for text in match.groups():
            digits = text.strip()
            if not digits.isdigit() or len(digits) > 9:
                return None
            numbers.append(int(digits))
    return numbers


def _names(content: memoryview, start: int) -> tuple[bytes, int]:
    """The keywords of a header, eight bytes each, up to END, and where its last block ends; nothing without an END."""
    count = min(_MOST_CARDS, (len(content) - start) // _CARD)
    cards = np.frombuffer(content, np.uint8, count * _CARD, start).reshape(count, _CARD)
    names = cards[:, :8].tobytes()
    place = _place(names, b"END")
    if place < 0:
        return b"", 0
    card = place // 8
    last = (card // CARDS + 1) * CARDS
    # after END come blanks; anything else is for astropy to judge
    rest = bytes(content[start + card * _CARD : start + last * _CARD])
    if rest != b"END".ljust((last - card) * _CARD):
        return b"", 0
    return names[:place], start + last * _CARD


def _place(names: bytes, name: bytes) -> int:
    """Where a keyword stands among others of eight bytes each, -1 if it does not."""
    place = names.find(name)
    while place % 8 and place >= 0:
        place = names.find(name, place + 1)
    return place


def _primary(content: memoryview) -> tuple[dict, int] | None:
    """The keys of HDU 0, and where it ends."""
    names, end = _names(content, 0)
    if not names or _cards(bytes(content[: len(_PRIMARY) * _CARD]), _PRIMARY) is None:
        return None
    names = names.upper()  # astropy takes a keyword in small letters for the same
    others = names[8 * len(_PRIMARY) :]
    for name in _NOT_PRIMARY:
        if _place(others, name) >= 0:
            return None
    keys = {}
    for name, pattern in _PRIMARY_KEYS.items():
        place = _place(names, name)
        if place < 0:
            continue
        value = _cards(bytes(content[place * 10 : place * 10 + _CARD]), (pattern,))
        if value is None:
            return None
        keys[name.decode().rstrip()] = value[0] if value else True
    return keys, end
