"""From a file to a `Spectrum`: which reader serves it is decided here, by its content."""

import gzip
import io
import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import SpectrumError, first_line
from quasar_mass.spectra import fits_headers, refused, sdss, sdss_fast, spspec, table
from quasar_mass.spectra.spectrum import Spectrum

# of the files that are taken from a folder, which often holds texts and tables of other things; others are named
SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".npz")

_BUFFER = 1 << 20  # bytes; lite files have 170-260 kB. Memory that is used again saves most of the time of reading
_MAX_BYTES = 100_000_000  # a full spec file has 3 MB
_GZIP = b"\x1f\x8b"  # the first bytes of a gzip'd file
# Each has `recognises(hdus)`, which looks at the headers of a FITS file, and `decode(content, path)`. The first counts.
_FITS_READERS = (refused, sdss, spspec, table)
_local = threading.local()


@dataclass(frozen=True)
class SpectrumRequest:
    """A spectrum in a file, and what is to be used instead of what the file says.

    Attributes
    ----------
    file : Path
    target : int, optional
        Which of the spectra in a file that holds many: DESI's TARGETID.
    redshift : float
        NaN: the file's own.
    ebv : float, optional
        E(B-V) in magnitudes; None: the file's own.
    name : str
        The object's; empty where it is not known.
    listed : str
        The text list and the line that name it; empty where none does.
    """

    file: Path
    redshift: float = np.nan
    name: str = ""
    listed: str = ""
    target: int | None = None
    ebv: float | None = None


def is_spectrum_file(path: str | Path) -> bool:
    """Whether a file of this name may hold a spectrum: for listing folders. `read` decides by the content."""
    return str(path).lower().endswith(SUFFIXES)


def read_one(source: SpectrumRequest | str | Path) -> Spectrum:
    """Read the spectrum of a request, or of a file that holds one; errors as of `read`."""
    return read(source.file if isinstance(source, SpectrumRequest) else source)


def read(path: str | Path) -> Spectrum:
    """Read a spectrum.

    Parameters
    ----------
    path : path
        An SDSS spec file, lite or full, of any reduction from SDSS-I to SDSS-V, or an spSpec file; also gzip'd.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If the file is missing, truncated, not such a file, or its pixels contradict one another.
    """
    try:
        path = Path(path)
    except TypeError as error:
        raise SpectrumError(repr(path), "is not the name of a file; give one", reason="missing file") from error
    if not os.path.isfile(path):
        message = "does not exist; fetch it (get_Chen_data.py fetch) or correct the name"
        if os.path.exists(path):
            message = f"is a {'folder' if os.path.isdir(path) else 'pipe or a device'}; name a spectrum file"
        raise SpectrumError(path, message, reason="missing file")
    try:
        content = _content(path)
        if content[:2] == _GZIP:
            content = _decompressed(content)
        return _decode(content, path)
    except PermissionError as error:
        raise SpectrumError(path, "no permission to read it", reason="unreadable file") from error
    except (OSError, EOFError, zlib.error, ValueError, KeyError, OverflowError) as error:
        message = f"cannot be read as a spectrum ({first_line(error)}); fetch it again or name another file"
        raise SpectrumError(path, message, reason="unreadable file") from error


def _decode(content: memoryview, path: Path) -> Spectrum:
    """Decode a file's bytes by the reader that recognises them; errors as the readers raise them."""
    if content[:6] != b"SIMPLE":
        return table.decode(bytes(content), path)
    parts = sdss_fast.find(content)
    if parts:
        return sdss.spectrum(*parts, path)
    whole = bytes(content)
    hdus = fits_headers.walk(whole)
    for reader in _FITS_READERS:
        if reader.recognises(hdus):
            return reader.decode(whole, path)
    names = ", ".join(hdu.text("EXTNAME") or f"HDU {hdu.number}" for hdu in hdus[:12])
    raise ValueError(f"a FITS file with {names}, none of which holds a spectrum in a known format")


def _content(path: Path) -> memoryview:
    """The file's bytes, in memory that this thread's next call uses again."""
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_BUFFER))
    with open(path, "rb", buffering=0) as file:
        size = 0
        while size < _BUFFER and (more := file.readinto(_local.buffer[size:])):  # a disk far away may give it piecemeal
            size += more
        if size == _BUFFER and os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise ValueError(f"it has {os.fstat(file.fileno()).st_size:,} bytes, more than any spectrum")
        return _local.buffer[:size] if size < _BUFFER else memoryview(_local.buffer.tobytes() + file.read())


def _decompressed(content: memoryview) -> memoryview:
    plain = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_MAX_BYTES + 1)
    if len(plain) > _MAX_BYTES:
        raise ValueError(f"it unpacks to more than {_MAX_BYTES:,} bytes, more than any spectrum has")
    return memoryview(plain)
