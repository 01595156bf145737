"""From a file to a `Spectrum`: which reader serves it is decided here, by its content."""

import gzip
import io
import os
import re
import threading
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from quasar_mass.core.errors import SpectrumError, first_line
from quasar_mass.spectra import desi, fits_headers, refused, sdss, sdss_fast, spspec, table
from quasar_mass.spectra.redshifts import Redshifts
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
    redshift : float, optional
        NaN where it is not known; None: the file's own.
    ebv : float, optional
        E(B-V) in magnitudes; None: the file's own.
    notes : tuple of str
        Doubts about that redshift; they become flags.
    name : str
        The object's; empty where it is not known.
    listed : str
        The text list and the line that name it; empty where none does.
    """

    file: Path
    redshift: float | None = None
    name: str = ""
    listed: str = ""
    target: int | None = None
    ebv: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def target_id(self) -> str:
        """`target` as text; empty where there is none."""
        return "" if self.target is None else str(self.target)


def is_spectrum_file(path: str | Path) -> bool:
    """Whether a file of this name may hold a spectrum: for listing folders. `read` decides by the content."""
    return str(path).lower().endswith(SUFFIXES)


def read_one(source: SpectrumRequest | str | Path) -> Spectrum:
    """Read the spectrum of a request, or of a file that holds one; errors as of `read`."""
    if not isinstance(source, SpectrumRequest):
        source = SpectrumRequest(source)
    spectrum = read(source.file, target=source.target)
    if isinstance(spectrum, list):
        message = f"holds {len(spectrum):,} quasars; say which one (target=)"
        raise SpectrumError(source.file, message, reason="not the spectrum named")
    return replace(spectrum, notes=(*spectrum.notes, *source.notes)) if source.notes else spectrum


def read(
    path: str | Path, *, redshifts: str | Path | None = None, target: int | None = None
) -> Spectrum | list[Spectrum]:
    """Read a spectrum, or the quasars of a DESI file.

    Parameters
    ----------
    path : path
        An SDSS spec file, lite or full, of any reduction from SDSS-I to SDSS-V, an spSpec file, or a coadd or spectra
        file of DESI; also gzip'd.
    redshifts : path, optional
        For a DESI file: the table with the redshifts of its targets (TARGETID and Z), instead of the ``redrock`` file
        beside it.
    target : int, optional
        Of a DESI file: the one with this TARGETID.

    Returns
    -------
    Spectrum, or list of Spectrum
        A list for a file of several targets: those that are quasars by the table of redshifts, and whose fiber can be
        used.

    Raises
    ------
    SpectrumError
        If the file is missing, truncated, not such a file, or its pixels contradict one another; or if a DESI file has
        no redshifts.
    FileError, TableError
        If `redshifts` cannot be read.

    Examples
    --------
    >>> read("coadd-main-dark-23040.fits")  # doctest: +SKIP
    [<Spectrum 39627...: 7,781 pixels of 3,600-9,824 Angstrom, redshift 1.6>, ...]
    """
    try:
        path = Path(path)
    except TypeError as error:
        raise SpectrumError(repr(path), "is not the name of a file; give one", reason="missing file") from error
    if not os.path.isfile(path):
        message = missing(path)
        if os.path.exists(path):
            message = f"is a {'folder' if os.path.isdir(path) else 'pipe or a device'}; name a spectrum file"
        raise SpectrumError(path, message, reason="missing file")
    try:
        if target is not None:
            return desi.load(path).spectrum(target)
        if os.path.getsize(path) >= _BUFFER and desi.is_desi(path):  # too large to be read whole
            return _quasars(path, redshifts)
        content = _content(path)
        if content[:2] == _GZIP:
            content = _decompressed(content)
        return _decode(content, path, redshifts)
    except PermissionError as error:
        raise SpectrumError(path, "no permission to read it", reason="unreadable file") from error
    except (OSError, EOFError, zlib.error, ValueError, KeyError, OverflowError) as error:
        message = f"cannot be read as a spectrum ({first_line(error)}); fetch it again or name another file"
        raise SpectrumError(path, message, reason="unreadable file") from error


def missing(path: Path) -> str:
    """What to do about a file that does not exist: those of a survey's folder (`Survey.spectrum`) can be fetched."""
    fetched = re.fullmatch(r"spectra/\d{4,5}/spec-[\d-]+\.fits", "/".join(path.parts[-3:]))
    fetch = "fetch it (python get_Chen_data.py fetch spectra) or " if fetched else ""
    return f"does not exist; {fetch}correct the name"


def _decode(content: memoryview, path: Path, redshifts: str | Path | None) -> Spectrum | list[Spectrum]:
    """Decode a file's bytes by the reader that recognises them; errors as the readers raise them."""
    if content[:6] != b"SIMPLE":
        return table.decode(bytes(content), path)
    parts = sdss_fast.find(content)
    if parts:
        return sdss.spectrum(*parts, path)
    whole = bytes(content)
    hdus = fits_headers.walk(whole)
    if desi.recognises(hdus):
        return _quasars(path, redshifts)
    for reader in _FITS_READERS:
        if reader.recognises(hdus):
            return reader.decode(whole, path)
    names = ", ".join(hdu.text("EXTNAME") or f"HDU {hdu.number}" for hdu in hdus[:12])
    raise ValueError(f"a FITS file with {names}, none of which holds a spectrum in a known format")


def _quasars(path: Path, redshifts: str | Path | None) -> Spectrum | list[Spectrum]:
    """The quasars of a DESI file; the only one of a file of one target."""
    file = desi.load(path)
    targets, _ = desi.quasars(path, None if redshifts is None else Redshifts.read(redshifts))
    alone = len(targets) == 1 and (file.targets == targets[0].number).all()
    spectra = []
    for target in targets:
        try:
            spectrum = file.spectrum(target.number)
        except SpectrumError:
            if alone:
                raise
        else:
            spectra.append(replace(spectrum, redshift=target.redshift, notes=target.notes))
    return spectra[0] if alone else spectra


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
