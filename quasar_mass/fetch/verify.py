"""Whether what came is what was asked for, by its structure alone: SDSS publishes no checksums of these files.

A byte that was changed on the way without changing a size cannot be seen; the connection's own checks must do.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from quasar_mass.core.survey import format_spec_id
from quasar_mass.fetch.responses import Temporary
from quasar_mass.spectra.fits_bytes import BLOCK, CARD, END, find_card, whole_blocks

MAX_HEADER_BYTES = 400 * BLOCK  # far beyond any header here
SPECTRUM_HDUS = 4
SPECTRUM_LIMIT = 5_000_000  # bytes: a lite file has 0.2 MB, a full one at most 3 MB
_SIZES = ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS")
_NAMES = ("SIMULATE", "PLATEID", "MJD", "FIBERID", "RUN2D")  # in HDU 0


@dataclass(frozen=True)
class Spec:
    """What a spec file says of itself.

    Attributes
    ----------
    run2d : str
        Of HDU 0; empty where it does not say (reductions 26, 103, 104).
    simulated : bool
        Whether it says that no photon was observed.
    """

    run2d: str
    simulated: bool


def hdus(content: bytes) -> list[dict[str, str]]:
    """Walk through a FITS file, in memory or mapped, and give a few header values of every HDU.

    Raises
    ------
    Temporary
        If it is none, or ends before it is complete.
    """
    size = len(content)
    if content[:8] != b"SIMPLE  ":
        begin = " ".join(bytes(content[:40]).decode("latin-1").split())
        raise Temporary(f"not FITS: begins {begin!r}" if size else "not FITS: empty")
    found, position = [], 0
    while position < size:
        number = len(found)
        values, position = _header(content, position, number)
        try:
            sizes = {key: int(values[key]) for key in _SIZES if key in values}
            axes = (
                [int(sizes[f"NAXIS{axis}"]) for axis in range(1, sizes["NAXIS"] + 1)] if sizes["NAXIS"] <= 2 else [-1]
            )
            points = math.prod(axes) if axes else 0
            data = abs(sizes["BITPIX"]) // 8 * sizes.get("GCOUNT", 1) * (sizes.get("PCOUNT", 0) + points)
        except (KeyError, ValueError) as error:
            raise Temporary(f"damaged: header of HDU {number}: {error}") from error
        if data < 0:
            raise Temporary(f"damaged: header of HDU {number}: {data:,} bytes")
        position += whole_blocks(data)
        if position > size:
            raise Temporary(f"cut off: HDU {number} ends at byte {position:,} of {size:,}")
        found.append(values)
    return found


def _header(content: bytes, start: int, number: int) -> tuple[dict[str, str], int]:
    """The wanted values of one header, and where its data begin."""
    end = find_card(content, END, start, min(len(content), start + MAX_HEADER_BYTES))
    data = start + whole_blocks(end + CARD - start)
    if end < 0 or data > len(content):
        raise Temporary(f"cut off: in the header of HDU {number}")
    values: dict[str, str] = {}
    for key in _SIZES if number else (*_SIZES, *_NAMES):
        card = find_card(content, key.ljust(8).encode(), start, end)
        if card >= 0:
            text = content[card + 10 : card + CARD].decode("latin-1").split("/")[0]
            values[key] = text.strip(" '")
    return values, data


def check_spectrum(content: bytes, epoch: tuple[int, int, int]) -> Spec:
    """See that a spec file is whole, and the one that was asked for.

    Raises
    ------
    Temporary
        If it is not; its text is the reason.
    """
    if len(content) % BLOCK and content.startswith(b"SIMPLE"):
        raise Temporary(f"cut off: {len(content):,} bytes are no whole blocks")
    every = hdus(content)
    if len(every) < SPECTRUM_HDUS:
        raise Temporary(f"cut off: {len(every)} HDUs instead of {SPECTRUM_HDUS}")
    if int(every[1].get("NAXIS2", 0)) < 1 or every[2].get("NAXIS2") != "1":
        raise Temporary("damaged: no rows in HDU 1, or not one in HDU 2")
    first = every[0]
    named = tuple(first.get(key) for key in ("PLATEID", "MJD", "FIBERID"))
    if None not in named and named != tuple(map(str, epoch)):
        raise Temporary(f"another spectrum: {'-'.join(named)} instead of {format_spec_id(*epoch)}")
    return Spec(first.get("RUN2D", ""), first.get("SIMULATE") == "T")


def says_simulated(path: Path) -> bool:
    """Whether a catalogue or a spec file says itself that it is no observation, in its title or its first header."""
    with open(path, "rb") as file:
        begin = file.read(MAX_HEADER_BYTES)
    if begin.startswith(b"SIMPLE"):
        try:
            return _header(begin, 0, 0)[0].get("SIMULATE") == "T"
        except Temporary:  # damaged: it says nothing, and who reads it will say that
            return False
    return b"SIMULATED" in begin.partition(b"\n")[0]


def git_blob(content: bytes) -> str:
    r"""The name that git gives a file's content, its line ends turned to LF as git keeps them.

    >>> git_blob(b"hello\r\n")
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """
    content = content.replace(b"\r\n", b"\n")
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
