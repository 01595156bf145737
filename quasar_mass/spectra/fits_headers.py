"""A walk over the headers of a FITS file: whether they declare sizes that the file can have, before astropy reads it.

astropy believes every number: on a negative size it reads the same header for ever, and it makes lists as long as NAXIS
and TFIELDS say.
"""

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from quasar_mass.core.errors import first_line
from quasar_mass.spectra.fits_bytes import BLOCK, CARD, END, find_card, whole_blocks

MAX_HEADER_BYTES = 400 * BLOCK  # a thousand columns and more
MAX_AXES, MAX_COLUMNS = 999, 999  # of the FITS standard
_BITS = (8, 16, 32, 64, -32, -64)
_SIZE = re.compile(rb"(HIERARCH +)?(BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|GROUPS) *=", re.IGNORECASE)
_SIZE_KEYS = (b"BITPIX", b"NAXIS", b"PCOUNT", b"GCOUNT", b"TFIELDS", b"GROUPS", b"HIERARCH")
_NUMBER = re.compile(rb" *= *([+-]?\d{1,18}) *(?:/.*)?", re.DOTALL)


@dataclass(frozen=True)
class Hdu:
    """A header of a FITS file.

    Attributes
    ----------
    number : int
        0 for the primary one.
    header : bytes
        Its cards, without END.
    sizes : dict of str to int
        BITPIX, NAXIS and the like.
    data : int
        Where its data begin in the file, bytes.
    """

    number: int
    header: bytes
    sizes: dict[str, int]
    data: int

    @property
    def start(self) -> int:
        """Where its header begins in the file, bytes."""
        return self.data - whole_blocks(len(self.header) + CARD)

    @property
    def end(self) -> int:
        """Where its last block ends, bytes."""
        return self.data + whole_blocks(self.data_bytes)

    @property
    def data_bytes(self) -> int:
        """Size of its data, without the filling of the last block."""
        axes = [self.sizes.get(f"NAXIS{axis}", 0) for axis in range(1, self.sizes.get("NAXIS", 0) + 1)]
        pixels = self.sizes.get("PCOUNT", 0) + (math.prod(axes) if axes else 0)
        return abs(self.sizes.get("BITPIX", 8)) // 8 * self.sizes.get("GCOUNT", 1) * pixels

    def text(self, key: str) -> str | None:
        """What a card says, without quotes and comment; None where there is none."""
        position = find_card(self.header, key.ljust(8).encode(), 0, len(self.header))
        if position < 0:
            return None
        return self.header[position + 10 : position + CARD].decode("latin-1").split("/")[0].strip(" '")


def walk(content, *, strict: bool = False) -> list[Hdu]:
    """Walk over the headers of a FITS file.

    Parameters
    ----------
    content : bytes or mmap
    strict : bool
        Refuse also what astropy leaves alone: bytes behind the last HDU, and a last block that is not whole.

    Raises
    ------
    ValueError
        If a header declares sizes that no file has, or this one has not. The message begins with ``not FITS``,
        ``cut off`` or ``damaged`` and says which header.
    """
    if content[:6] != b"SIMPLE":
        begin = " ".join(bytes(content[:40]).decode("latin-1").split())
        raise ValueError(f"not FITS: begins {begin!r}" if len(content) else "not FITS: empty")
    hdus, position = [], 0
    while position < len(content):
        hdu = read_header(content, position, len(hdus))
        if hdu is None and hdus and not strict:
            break
        if hdu is None or hdu.data > len(content):
            raise ValueError(f"cut off: in header {len(hdus)}")
        size = hdu.data_bytes
        position = hdu.data + whole_blocks(size)
        end = position if strict else hdu.data + size
        if end > len(content):
            raise ValueError(f"cut off: {len(content):,} bytes, and HDU {hdu.number} ends at {end:,}")
        hdus.append(hdu)
    return hdus


def stream(file: BinaryIO) -> Iterator[Hdu]:
    """Give the headers of a FITS file one after the other, without reading more than is asked for.

    Parameters
    ----------
    file : file
        Opened for reading, also through `gzip`; the caller may move its position in between.

    Raises
    ------
    ValueError
        As `walk`.
    """
    number = position = 0
    while True:
        file.seek(position)
        content = file.read(BLOCK)
        if not content and number:
            return
        if not number and content[:6] != b"SIMPLE":
            raise ValueError("not FITS")
        while find_card(content, END, 0, len(content)) < 0 and len(content) < MAX_HEADER_BYTES:
            more = file.read(BLOCK)
            if not more:
                raise ValueError(f"cut off: in header {number}")
            content += more
        hdu = read_header(content, 0, number)
        hdu = replace(hdu, data=position + hdu.data)
        yield hdu
        if size := hdu.data_bytes:
            file.seek(hdu.data + size - 1)
            if not file.read(1):
                raise ValueError(f"cut off: in HDU {number}")
        number, position = number + 1, hdu.data + whole_blocks(size)


def read_header(content, start: int = 0, number: int = 0) -> Hdu | None:
    """Read the header that begins at a byte; None if it has no end. Raises ValueError as `walk`."""
    last = min(len(content), start + MAX_HEADER_BYTES)
    end = find_card(content, END, start, last)
    if end < 0:
        if last - start == MAX_HEADER_BYTES:
            raise ValueError(f"damaged: header {number} has more than {MAX_HEADER_BYTES:,} bytes")
        return None
    header = bytes(content[start:end])
    return Hdu(number, header, _sizes(header, number), start + whole_blocks(end + CARD - start))


def _sizes(header: bytes, number: int) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for start in range(0, len(header), CARD):
        if not header[start : start + 8].upper().startswith(_SIZE_KEYS):
            continue
        card = header[start : start + CARD]
        match = _SIZE.match(card)
        if not match:
            continue
        name, value = match[2].decode().upper(), _NUMBER.fullmatch(card, 8)
        if match[1] or not value or name in sizes:
            raise ValueError(f"damaged: header {number} with {card.decode('latin-1').strip()!r}")
        sizes[name] = int(value[1])
    axes, columns = sizes.get("NAXIS", 0), sizes.get("TFIELDS", 0)
    if not (0 <= axes <= MAX_AXES and 0 <= columns <= MAX_COLUMNS):
        raise ValueError(f"damaged: header {number} with {axes} axes and {columns} columns")
    counted = ("PCOUNT", "GCOUNT", *(f"NAXIS{axis}" for axis in range(1, axes + 1)))
    if min(sizes.get(name, 0) for name in counted) < 0 or sizes.get("BITPIX", 8) not in _BITS:
        raise ValueError(f"damaged: header {number} with negative sizes, or a BITPIX that FITS does not have")
    return sizes


@contextlib.contextmanager
def opened(content: bytes):
    """Open FITS bytes, over whose headers `walk` went, with astropy; a damaged file is a ValueError.

    Yields
    ------
    astropy.io.fits.HDUList
    """
    from astropy.io import fits  # not at the top: few files need it, and it takes half a second
    from astropy.utils.exceptions import AstropyUserWarning

    # what astropy raises on damaged files, collected by damaging real ones; anything else is a bug and must show
    damaged = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, AttributeError, MemoryError)
    damaged += (fits.VerifyError, OverflowError, Warning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # irregular header cards in the real files
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
                yield hdus
    except damaged as error:
        raise ValueError(first_line(error)) from error
