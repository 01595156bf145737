"""Ways to damage a file: each a strategy of functions from bytes to bytes, with a text that says what it does."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

from astropy.io import fits
from hypothesis import strategies as st

CARD, BLOCK = 80, 2880

NUMBERS = (0, 1, -1, 2, 8, 255, 32767, -32768, 65536, 10**6, 2**31 - 1, 2**31, 10**12, 2**63 - 1, 2**64, -(10**30))
WORDS = (
    "",
    "é",
    "中文",
    "../../x",
    "/etc/passwd",
    "..\\..\\x",
    "a\x00b",
    "x" * 500,
    "<script>alert(1)</script>",
    "&<>'\"\\",
    "\u202enoitcerid",
    "nan",
    "inf",
    "-1",
    "1e999",
    "None",
    "\x1b[31mred",
)


@dataclass(frozen=True)
class Mutation:
    """One way to damage a file."""

    text: str
    apply: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return self.text

    def __call__(self, content: bytes) -> bytes:
        return self.apply(content)


class Case:
    """A file and what is done to it; no dataclass, whose fields would be printed in full."""

    def __init__(self, content: bytes, damages: tuple[Mutation, ...]) -> None:
        self.content, self.damages = content, damages

    def __repr__(self) -> str:
        return ", then ".join(map(repr, self.damages))

    def damaged(self) -> bytes:
        content = self.content
        for damage in self.damages:
            content = damage(content)
        return content


def _place(content: bytes, share: float) -> int:
    return min(int(share * len(content)), max(len(content) - 1, 0))


SHARES = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 0.001, 0.01, 0.5, 0.99, 0.9999])


@st.composite
def _flip(draw) -> Mutation:
    share, bit = draw(SHARES), draw(st.integers(0, 7))

    def apply(content: bytes) -> bytes:
        changed = bytearray(content)
        if changed:
            changed[_place(content, share)] ^= 1 << bit
        return bytes(changed)

    return Mutation(f"flip({share}, bit {bit})", apply)


@st.composite
def _overwrite(draw) -> Mutation:
    share = draw(SHARES)
    some = draw(
        st.binary(min_size=1, max_size=16) | st.sampled_from([b"\0" * 80, b"\xff" * 80, b" " * 2880, b"\0" * 2880])
    )

    def apply(content: bytes) -> bytes:
        place = _place(content, share)
        return content[:place] + some[: len(content) - place] + content[place + len(some) :]

    return Mutation(f"overwrite({share}, {len(some)} bytes {some[:16]!r})", apply)


@st.composite
def _cut(draw) -> Mutation:
    share, unit = draw(SHARES), draw(st.sampled_from([1, 80, 2880]))
    return Mutation(f"cut({share}, {unit})", lambda content: content[: _place(content, share) // unit * unit])


@st.composite
def _move(draw) -> Mutation:
    what, to = draw(SHARES), draw(SHARES)
    size, kind = draw(st.sampled_from([1, 4, 80, 2880])), draw(st.sampled_from(["delete", "repeat", "move"]))

    def apply(content: bytes) -> bytes:
        start, end = _place(content, what), _place(content, what) + size
        some, rest = content[start:end], content[:start] + content[end:]
        if kind == "delete":
            return rest
        if kind == "repeat":
            return content[:end] + some + content[end:]
        place = _place(rest, to)
        return rest[:place] + some + rest[place:]

    return Mutation(f"{kind}({what}, {size} bytes, {to})", apply)


def either(*strategies: st.SearchStrategy) -> st.SearchStrategy:
    """One of them, each as often; `|` would count the branches of each."""
    return st.sampled_from(range(len(strategies))).flatmap(lambda number: strategies[number])


def damage() -> st.SearchStrategy[Mutation]:
    """By the byte, whatever the file."""
    ends = st.sampled_from(
        [
            Mutation("nothing left", lambda _: b""),
            Mutation("as it was", lambda content: content),
            Mutation("all zero", lambda content: b"\0" * len(content)),
            Mutation("twice", lambda content: content + content),
            Mutation("rubbish behind", lambda content: content + b"rubbish\0\xff" * 40),
            Mutation("a web page", lambda _: b"<html>404 Not Found</html>\n"),
        ]
    )
    return either(_flip(), _flip(), _overwrite(), _cut(), _move(), ends)


# --- FITS -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Hdu:
    """Where the header and the data of one HDU of an undamaged file are."""

    header: int
    data: int
    end: int
    header_cards: tuple[str, ...]
    columns: tuple[tuple[str, int, str, int], ...]  # name, offset in the row, struct code of one number, numbers
    row: int
    rows: int


def layout(content: bytes) -> list[Hdu]:
    """Walk through an undamaged file, with astropy."""
    found = []
    with fits.open(io.BytesIO(content), memmap=False) as hdus:
        for hdu in hdus:
            place, columns, row, rows = hdu.fileinfo(), [], 0, 0
            if isinstance(hdu, fits.BinTableHDU):
                row, rows = hdu.header["NAXIS1"], hdu.header["NAXIS2"]
                dtype = hdu.columns.dtype
                for name in dtype.names:
                    kind, at = dtype.fields[name][:2]
                    base = kind.base if kind.subdtype else kind
                    code = {"f4": ">f", "f8": ">d", "i2": ">h", "i4": ">i", "i8": ">q"}.get(base.str[1:], "")
                    columns.append((name, at, code, kind.itemsize // base.itemsize))
            cards = tuple(card.keyword for card in hdu.header.cards)
            found.append(
                Hdu(
                    place["hdrLoc"],
                    place["datLoc"],
                    place["datLoc"] + place["datSpan"],
                    cards,
                    tuple(columns),
                    row,
                    rows,
                )
            )
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
    return content[: hdu.header] + _padded(b"".join(cards)) + content[hdu.data :]


def _padded(header: bytes) -> bytes:
    header = header.rstrip(b" ")
    header += b" " * (-len(header) % CARD)
    return header + b" " * (-len(header) % BLOCK)


def _card(key: str, value: object) -> bytes:
    if isinstance(value, bool):
        return f"{key:8}= {'T' if value else 'F':>20}".encode()
    if isinstance(value, str):
        return f"{key:8}= '{value}'".encode("utf-8", "replace")
    return f"{key:8}= {value!s:>20}".encode()


FORMS = (
    "E", "D", "J", "I", "K", "B", "L", "A", "5E", "2J", "0E", "1000000E", "PE(100)", "QD(5)", "C", "M", "X", "18A",
    "4294967296E", "-1E", "E E", "rubbish", "",
)  # fmt: skip


@st.composite
def _header_card(draw, hdus: list[Hdu]) -> Mutation:
    number = draw(st.integers(0, len(hdus) - 1))
    hdu = hdus[number]
    sizes = [
        "BITPIX",
        "NAXIS",
        "NAXIS1",
        "NAXIS2",
        "PCOUNT",
        "GCOUNT",
        "TFIELDS",
        "NAXIS999",
        "SIMPLE",
        "XTENSION",
        "EXTEND",
    ]
    keys = [
        *sizes,
        "TFORM1",
        "TFORM2",
        "TFORM3",
        "TTYPE1",
        "TTYPE2",
        "TTYPE3",
        "TSCAL1",
        "TZERO2",
        "TNULL4",
        "TDIM1",
        "THEAP",
    ]
    keys += ["PLATEID", "MJD", "FIBERID", "RUN2D", "SIMULATE", "CHECKSUM", "ZBITPIX", "ZIMAGE", "ZTABLE", "GROUPS"]
    key = draw(st.sampled_from(keys) | st.sampled_from([key for key in hdu.header_cards if key] or ["BITPIX"]))
    if key.startswith("TFORM"):
        value = draw(st.sampled_from(FORMS))
    elif key.startswith("TTYPE"):
        names = ("flux", "loglam", "ivar", "and_mask", "Z", "PLATE", "MJD", *WORDS[:6])
        value = draw(st.sampled_from(names))
    else:
        value = draw(
            st.sampled_from(NUMBERS) | st.sampled_from([True, False, 1.5, "T", *WORDS]) | st.integers(-100, 10000)
        )
    again = draw(st.booleans()) and draw(st.booleans())
    return Mutation(
        f"card(HDU {number}, {key} = {value!r}{', again' if again else ''})",
        lambda content: with_card(content, hdu, key, _card(key, value), again=again),
    )


@st.composite
def _raw_card(draw, hdus: list[Hdu]) -> Mutation:
    number = draw(st.integers(0, len(hdus) - 1))
    text = draw(
        st.sampled_from(
            [b"CONTINUE  'x&'", b"HIERARCH a b = 1", b"\xc3\xa9\xff = 1", b"=", b"END     ", b"PLATEID = = 7",
             b"HIERARCH NAXIS2 = -2880", b"naxis1  = -1", b"PLATEID =", b"COMMENT \x00\x01", b"TFORM1  = 'E",
             b"NAXIS2  =                    0 / a comment / another"]
        )
    )  # fmt: skip
    share = draw(SHARES)
    hdu = hdus[number]

    def apply(content: bytes) -> bytes:
        cards = (hdu.data - hdu.header) // CARD
        at = hdu.header + int(share * cards) * CARD
        return content[:at] + text.ljust(CARD) + content[at + CARD :]

    return Mutation(f"raw card(HDU {number}, {share}, {text!r})", apply)


@st.composite
def _many_columns(draw, hdus: list[Hdu]) -> Mutation:
    number, count = draw(st.integers(1, len(hdus) - 1)), draw(st.sampled_from([0, 999, 1000, 3000]))
    declared = draw(st.sampled_from([count, 10**6, 999]))
    hdu = hdus[number]

    def apply(content: bytes) -> bytes:
        header = content[hdu.header : hdu.data].rstrip()[:-3]
        header += b" " * (-len(header) % CARD)
        more = b"".join(
            _card(f"TTYPE{n}", f"c{n}").ljust(CARD) + _card(f"TFORM{n}", "E").ljust(CARD)
            for n in range(200, 200 + count)
        )
        changed = content[: hdu.header] + _padded(header + more + b"END".ljust(CARD)) + content[hdu.data :]
        return with_card(
            changed,
            Hdu(hdu.header, len(changed) - len(content) + hdu.data, 0, (), (), 0, 0),
            "TFIELDS",
            _card("TFIELDS", declared),
        )

    return Mutation(f"columns(HDU {number}, {count} more, TFIELDS {declared})", apply)


VALUES = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e38, -1e38, 1e-45, 3.6, 4.0, 1.5, 1e10)


@st.composite
def _cells(draw, hdus: list[Hdu]) -> Mutation:
    """Other values in a column of a table."""
    tables = [(number, hdu) for number, hdu in enumerate(hdus) if hdu.rows]
    number, hdu = draw(st.sampled_from(tables))
    name, offset, code, count = draw(st.sampled_from([column for column in hdu.columns if column[2]]))
    start, length = draw(SHARES), draw(st.sampled_from([1, 1, 3, 1000, 10**6]))
    kind = draw(st.sampled_from(["value", "value", "value", "little-endian", "negative", "shuffle"]))
    value = draw(
        st.sampled_from(VALUES) if code in (">f", ">d") else st.sampled_from([0, 1, -1, 1 << 23, -(2**31), 32767])
    )

    def apply(content: bytes) -> bytes:
        changed, first = bytearray(content), int(start * hdu.rows)
        for row in range(first, min(hdu.rows, first + length)):
            place = hdu.data + row * hdu.row + offset
            old = struct.unpack_from(f"{code[0]}{count}{code[1]}", content, place)
            new = {"negative": [-v if v != -(2**31) else 0 for v in old], "shuffle": old[::-1]}.get(
                kind, [value] * count
            )
            if kind == "little-endian":
                struct.pack_into(f"<{count}{code[1]}", changed, place, *old)
            else:
                try:
                    struct.pack_into(f"{code[0]}{count}{code[1]}", changed, place, *new)
                except (struct.error, OverflowError):
                    struct.pack_into(f"{code[0]}{count}{code[1]}", changed, place, *[0] * count)
        return bytes(changed)

    return Mutation(f"cells(HDU {number}, {name}, from {start}, {length} rows, {kind} {value})", apply)


@st.composite
def _rows(draw, hdus: list[Hdu]) -> Mutation:
    """Rows twice, reversed, left out; two columns' bytes or names exchanged."""
    number, hdu = draw(st.sampled_from([(number, hdu) for number, hdu in enumerate(hdus) if hdu.rows]))
    kind = draw(
        st.sampled_from(["reverse", "double", "drop", "none", "exchange bytes", "exchange names", "a row again"])
    )
    share, other = draw(SHARES), draw(SHARES)

    def data(content: bytes, raw: bytes, count: int) -> bytes:
        changed = content[: hdu.data] + raw + b"\0" * (-len(raw) % BLOCK) + content[hdu.end :]
        return with_card(changed, hdu, "NAXIS2", _card("NAXIS2", count))

    def apply(content: bytes) -> bytes:
        raw = content[hdu.data : hdu.data + hdu.row * hdu.rows]
        rows = [raw[i : i + hdu.row] for i in range(0, len(raw), hdu.row)]
        at, to = int(share * hdu.rows), int(other * len(hdu.columns))
        if kind == "reverse":
            return data(content, b"".join(rows[::-1]), hdu.rows)
        if kind == "double":
            return data(content, raw + raw, 2 * hdu.rows)
        if kind == "a row again":
            return data(content, b"".join([*rows[: at + 1], rows[at], *rows[at + 1 :]]), hdu.rows + 1)
        if kind == "drop":
            return data(content, b"".join(rows[:at] + rows[at + 1 :]), hdu.rows - 1)
        if kind == "none":
            return data(content, b"", 0)
        one, two = hdu.columns[0], hdu.columns[to]
        if kind == "exchange names":
            first, second = _card("TTYPE1", two[0]), _card(f"TTYPE{to + 1}", one[0])
            return with_card(with_card(content, hdu, "TTYPE1", first), hdu, f"TTYPE{to + 1}", second)
        size = {">f": 4, ">i": 4, ">d": 8, ">q": 8, ">h": 2}
        if size.get(one[2], 1) * one[3] != size.get(two[2], 2) * two[3]:
            return content
        width = size[one[2]] * one[3]
        changed = []
        for row in rows:
            row = bytearray(row)
            left, right = slice(one[1], one[1] + width), slice(two[1], two[1] + width)
            row[left], row[right] = row[right], row[left]
            changed.append(bytes(row))
        return data(content, b"".join(changed), hdu.rows)

    return Mutation(f"rows(HDU {number}, {kind}, {share}, {other})", apply)


def fits_damage(content: bytes) -> st.SearchStrategy[Case]:
    """Of a FITS file: one mutation of its structure or of its bytes, seldom two."""
    hdus = layout(content)
    cells = _cells(hdus)
    some = either(
        _header_card(hdus),
        _header_card(hdus),
        _raw_card(hdus),
        _many_columns(hdus),
        cells,
        cells,
        _rows(hdus),
        damage(),
    )
    damages = either(st.tuples(some), st.tuples(some), st.tuples(some, damage()))
    return damages.flatmap(lambda some: st.just(Case(content, some)))
