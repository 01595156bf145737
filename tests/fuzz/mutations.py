"""Ways to damage a file: each a strategy of functions from bytes to bytes, with a text that says what it does."""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from astropy.io import fits
from hypothesis import strategies as st

CARD, BLOCK = 80, 2880

NUMBERS = (0, 1, -1, 8, 32767, -32768, 65536, 10**6, 2**31, 10**12, 2**63 - 1, 2**64, -(10**30))
WORDS = ("", "é", "中文", "../../x", "/etc/passwd", "a\x00b", "x" * 500, "<script>alert(1)</script>", "&<>'\"\\")
WORDS += ("nan", "inf", "-1", "1e999", "None", "\x1b[31mred")
SHARES = st.floats(0, 1, exclude_max=True) | st.sampled_from(
    [0.0, 0.001, 0.01, 0.5, 0.99, 0.9999]
)  # of a file's length


@dataclass(frozen=True)
class Mutation:
    """One way to damage a file."""

    text: str
    apply: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return self.text


class Case:
    """A file and what is done to it; no dataclass, whose fields would be printed in full."""

    def __init__(self, content: bytes, damages: tuple[Mutation, ...]) -> None:
        self.content, self.damages = content, damages

    def __repr__(self) -> str:
        return ", then ".join(map(repr, self.damages))

    def damaged(self) -> bytes:
        content = self.content
        for damage in self.damages:
            content = damage.apply(content)
        return content


def either(*strategies: st.SearchStrategy) -> st.SearchStrategy:
    """One of them, each as often; `|` would count the branches of each."""
    return st.sampled_from(range(len(strategies))).flatmap(lambda number: strategies[number])


@st.composite
def damage(draw) -> Mutation:
    """By the byte, whatever the file."""
    kind = draw(st.sampled_from(["flip", "flip", "overwrite", "cut", "delete", "repeat", "zero", "behind", "web page"]))
    share, bit, size = draw(SHARES), draw(st.integers(0, 7)), draw(st.sampled_from([1, 4, CARD, BLOCK]))
    fill = draw(st.sampled_from([b"\0", b"\xff", b" ", b"7"]))

    def apply(content: bytes) -> bytes:
        start = min(int(share * len(content)), max(len(content) - 1, 0))
        before, some, after = content[:start], content[start : start + size], content[start + size :]
        return {
            "flip": before + bytes([content[start] ^ 1 << bit]) + content[start + 1 :] if content else b"",
            "overwrite": before + fill * len(some) + after,
            "cut": content[: start // size * size],
            "delete": before + after,
            "repeat": before + some + some + after,
            "zero": b"\0" * len(content),
            "behind": content + b"rubbish\0\xff" * 40,
            "web page": b"<html>404 Not Found</html>\n",
        }[kind]

    return Mutation(f"{kind}({share}, bit {bit}, {size} bytes, {fill!r})", apply)


# --- text ---------------------------------------------------------------------------------------------------------
@st.composite
def _text(draw) -> Mutation:
    """Words and numbers put into a text, its lines or its values exchanged."""
    kind = draw(st.sampled_from(["word", "number", "line", "value", "deep"]))
    position, other = draw(SHARES), draw(SHARES)  # fractions of the text
    word, number = draw(st.sampled_from(WORDS)), draw(st.sampled_from(NUMBERS))

    def apply(content: bytes) -> bytes:
        lines = content.split(b"\n")
        row, to = int(position * len(lines)), int(other * len(lines))
        if kind == "line":
            lines[row], lines[to] = lines[to], lines[row]
            return b"\n".join([*lines, lines[row]])
        values = list(re.finditer(rb"[^,\s:{}\[\]]+", content))
        if kind == "deep" or not values:
            return b"[" * 50_000 + content
        old, copied = values[int(position * len(values))], values[int(other * len(values))]
        new = {"word": word.encode("utf-8", "replace"), "number": str(number).encode(), "value": copied[0]}[kind]
        return content[: old.start()] + new + content[old.end() :]

    return Mutation(f"text({kind}, {position}, {other}, {word!r}, {number})", apply)


def text_damage(content: bytes) -> st.SearchStrategy[Case]:
    change = either(_text(), _text(), damage())
    return either(st.tuples(change), st.tuples(change, change)).flatmap(lambda damages: st.just(Case(content, damages)))


# --- FITS -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Hdu:
    """Where the header and the data of one HDU of an undamaged file are."""

    header: int
    data: int
    header_cards: tuple[str, ...]
    columns: tuple[tuple[str, int, str, int], ...]  # name, offset in the row, struct code of one number, numbers
    row: int
    rows: int


def layout(content: bytes) -> list[Hdu]:
    """Walk through an undamaged file, with astropy."""
    codes = {"f4": ">f", "f8": ">d", "i2": ">h", "i4": ">i", "i8": ">q"}
    found = []
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        for hdu in hdus:
            place, columns, row, rows = hdu.fileinfo(), [], 0, 0
            if isinstance(hdu, fits.BinTableHDU):
                row, rows = hdu.header["NAXIS1"], hdu.header["NAXIS2"]
                dtype = hdu.columns.dtype
                for name in dtype.names:
                    kind, at = dtype.fields[name][:2]
                    columns.append((name, at, codes.get(kind.base.str[1:], ""), kind.itemsize // kind.base.itemsize))
            cards = tuple(card.keyword for card in hdu.header.cards if card.keyword)
            found.append(Hdu(place["hdrLoc"], place["datLoc"], cards, tuple(columns), row, rows))
    return found


def with_card(content: bytes, hdu: Hdu, key: str, text: bytes, *, again: bool = False) -> bytes:
    """Replace the card of that key, or put another one before the end of the header."""
    header = content[hdu.header : hdu.data]
    cards = [header[i : i + CARD] for i in range(0, len(header), CARD)]
    end = next(i for i, card in enumerate(cards) if card.startswith(b"END     "))
    place = next((i for i, card in enumerate(cards[:end]) if card[:8] == key.ljust(8).encode()), None)
    card = text[:CARD].ljust(CARD)
    if place is None or again:
        cards.insert(end, card)
    else:
        cards[place] = card
    header = b"".join(cards).rstrip(b" ")
    return content[: hdu.header] + header + b" " * (-len(header) % BLOCK) + content[hdu.data :]


def _card(key: str, value: object) -> bytes:
    if isinstance(value, bool):
        return f"{key:8}= {'T' if value else 'F':>20}".encode()
    return (f"{key:8}= '{value}'" if isinstance(value, str) else f"{key:8}= {value!s:>20}").encode("utf-8", "replace")


FORMS = ("E", "D", "J", "K", "L", "A", "5E", "0E", "1000000E", "PE(100)", "18A", "4294967296E", "-1E", "rubbish", "")
KEYS = (
    "BITPIX",
    "NAXIS",
    "NAXIS1",
    "NAXIS2",
    "PCOUNT",
    "GCOUNT",
    "TFIELDS",
    "NAXIS999",
    "XTENSION",
    "TSCAL1",
    "TZERO2",
)
KEYS += ("TFORM1", "TFORM2", "TFORM3", "TTYPE1", "TTYPE2", "TDIM1", "THEAP", "PLATEID", "MJD", "RUN2D", "SIMULATE")
RAW = (b"HIERARCH NAXIS2 = -2880", b"naxis1  = -1", b"PLATEID = = 7", b"\xc3\xa9\xff = 1", b"END     ", b"TFORM1  = 'E")


@st.composite
def _header_card(draw, hdus: list[Hdu]) -> Mutation:
    number = draw(st.integers(0, len(hdus) - 1))
    key = draw(st.sampled_from(KEYS) | st.sampled_from(hdus[number].header_cards))
    if key.startswith("TFORM"):
        values = st.sampled_from(FORMS)
    elif key.startswith("TTYPE"):
        values = st.sampled_from(("flux", "loglam", "ivar", "and_mask", "Z", "PLATE", "MJD", *WORDS[:6]))
    else:
        values = st.sampled_from(NUMBERS) | st.sampled_from([True, False, 1.5, *WORDS]) | st.integers(-100, 10000)
    text = draw(values.map(lambda value: _card(key, value)) | st.sampled_from(RAW))
    again = draw(st.booleans()) and draw(st.booleans())
    return Mutation(
        f"card(HDU {number}, {key}: {text!r}{', again' if again else ''})",
        lambda content: with_card(content, hdus[number], key, text, again=again),
    )


@st.composite
def _cells(draw, hdus: list[Hdu]) -> Mutation:
    """Other values in a column of a table."""
    number, hdu = draw(st.sampled_from([(number, hdu) for number, hdu in enumerate(hdus) if hdu.rows]))
    name, offset, code, count = draw(st.sampled_from([column for column in hdu.columns if column[2]]))
    start, length = draw(SHARES), draw(st.sampled_from([1, 3, 1000, 10**6]))
    values = (
        (float("nan"), float("inf"), -1.0, 0.0, 1e38, 1e-45, 3.6, 1.5) if code in (">f", ">d") else (0, 1, -1, 32767)
    )
    value = draw(st.sampled_from(values))

    def apply(content: bytes) -> bytes:
        changed, first = bytearray(content), int(start * hdu.rows)
        for row in range(first, min(hdu.rows, first + length)):
            struct.pack_into(f">{count}{code[1]}", changed, hdu.data + row * hdu.row + offset, *[value] * count)
        return bytes(changed)

    return Mutation(f"cells(HDU {number}, {name}, from {start}, {length} rows, {value})", apply)


def fits_damage(content: bytes) -> st.SearchStrategy[Case]:
    """Of a FITS file: one mutation of its structure or of its bytes, seldom two."""
    hdus = layout(content)
    some = either(_header_card(hdus), _header_card(hdus), _cells(hdus), _cells(hdus), damage())
    damages = either(st.tuples(some), st.tuples(some), st.tuples(some, damage()))
    return damages.map(lambda some: Case(content, some))
