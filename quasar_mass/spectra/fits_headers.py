"""Whether a FITS file's headers declare sizes that a file can have, seen before astropy is asked to read it.

astropy believes every number: on a negative size it walks back over the same header for ever, and it makes lists as
long as NAXIS and TFIELDS say.
"""

import math
import re

from quasar_mass.spectra.fits_bytes import BLOCK, CARD, END, find_card, whole_blocks

MAX_HEADER_BYTES = 400 * BLOCK  # bytes: a thousand columns with room to spare
MAX_AXES, MAX_COLUMNS = 999, 999  # of the FITS standard
_BITS = (8, 16, 32, 64, -32, -64)
_SIZE = re.compile(rb"(HIERARCH +)?(BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|GROUPS) *=", re.IGNORECASE)
_BEGIN = (b"BITPIX", b"NAXIS", b"PCOUNT", b"GCOUNT", b"TFIELDS", b"GROUPS", b"HIERARCH")
_NUMBER = re.compile(rb" *= *([+-]?\d{1,18}) *(?:/.*)?", re.DOTALL)


def check_header(content) -> None:
    """Refuse a file whose headers declare sizes that no file has, or this one has not.

    Parameters
    ----------
    content : bytes or mmap

    Raises
    ------
    ValueError
        Says which header.
    """
    position = number = 0
    while position < len(content):
        end = _end(content, position)
        if end is None:
            if number:
                return  # rubbish behind the last one, which astropy leaves alone
            raise ValueError("no end of the first header")
        sizes = _sizes(content[position:end], number)
        position += whole_blocks(end + CARD - position)
        data = _data(sizes, number)
        if position + data > len(content):
            raise ValueError(f"cut off: HDU {number} ends at byte {position + data:,} of {len(content):,}")
        position += whole_blocks(data)
        number += 1


def _end(content, start: int) -> int | None:
    """Where the END card stands."""
    last = min(len(content), start + MAX_HEADER_BYTES)
    place = find_card(content, END, start, last)
    if place < 0 and last - start == MAX_HEADER_BYTES:
        raise ValueError(f"a header of more than {MAX_HEADER_BYTES:,} bytes")
    return place if place >= 0 else None


def _sizes(header: bytes, number: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(header), CARD):
        if not header[start : start + 8].upper().startswith(_BEGIN):
            continue
        card = header[start : start + CARD]
        match = _SIZE.match(card)
        if not match:
            continue
        name, value = match[2].decode().upper(), _NUMBER.fullmatch(card, 8)
        if match[1] or not value or name in found:
            raise ValueError(f"header {number} with {card.decode('latin-1').strip()!r}")
        found[name] = int(value[1])
    return found


def _data(sizes: dict[str, int], number: int) -> int:
    """Bytes of the data that follow a header."""
    axes, columns = sizes.get("NAXIS", 0), sizes.get("TFIELDS", 0)
    if not (0 <= axes <= MAX_AXES and 0 <= columns <= MAX_COLUMNS):
        raise ValueError(f"header {number} with {axes} axes and {columns} columns")
    lengths = [sizes.get(f"NAXIS{axis}", 0) for axis in range(1, axes + 1)]
    more, times = sizes.get("PCOUNT", 0), sizes.get("GCOUNT", 1)
    if min([*lengths, more, times]) < 0 or sizes.get("BITPIX", 8) not in _BITS:
        raise ValueError(f"header {number} with negative or odd sizes")
    return abs(sizes.get("BITPIX", 8)) // 8 * times * (more + (math.prod(lengths) if lengths else 0))
