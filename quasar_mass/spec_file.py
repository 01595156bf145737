"""SDSS spec files of every reduction, lite and full: from the file to a `Spectrum`."""

import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from quasar_mass import fits_sizes
from quasar_mass.errors import SpectrumError
from quasar_mass.spectrum import PIXEL, Spectrum, colour_excess

# What astropy raises on damaged files, seen by damaging real ones; anything else is a bug and should be seen.
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,  # of an HDU of no known kind
    EOFError,
    fits.VerifyError,
    MemoryError,
    OverflowError,
)

# The cells of HDU 2 that are used, and the sizes of the FITS table formats in bytes.
_ROW_CELLS = ("PLATE", "MJD", "FIBERID", "Z", "EXTINCTION", "RUN2D", "CLASS")
_ROW_WORDS = ("RUN2D", "CLASS")  # text; the others are numbers
_FORMAT_SIZES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "A": 1}
_FORMAT_TYPES = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_COLUMN_CARD = re.compile(r"(TTYPE|TFORM)(\d{1,3}) *= '([^']*)'")
_SCALE_CARD = re.compile(r"(?:TSCAL|TZERO|TDIM)(\d{1,3}) *=")
_LARGEST = 100_000_000  # bytes; a full spec file has 3 MB


def read_spectrum(path: Path) -> Spectrum:
    """Read a spec-lite or full spec file of any reduction.

    HDUs are taken by number and columns without regard to case, since the reductions differ in both.

    Parameters
    ----------
    path : Path
        A ``spec-PLATE-MJD-FIBER.fits`` file.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If the file is missing, truncated, not such a file, or its pixels contradict one another.
    """
    path = Path(path)
    if not _is_file(path):
        raise SpectrumError(
            path,
            reason="missing file",
            expected="an SDSS spec file",
            got="no such file" if not os.path.isdir(path) else "a folder",
            do="fetch it (get_Chen_data.py fetch) or correct the name",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # odd header cards in the real files
            warnings.filterwarnings("error", message="File may have been truncated")
            size = path.stat().st_size
            if size > _LARGEST:
                raise ValueError(f"{size:,} bytes, more than any spec file has")
            content = path.read_bytes()
            if not content.startswith(b"SIMPLE"):
                raise ValueError("no FITS file" if content else "an empty file")
            fits_sizes.check(content)
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
                return _decode(hdus, path, content)
    except (*_DAMAGED, Warning) as error:
        raise SpectrumError(
            path,
            reason="unreadable file",
            expected="an SDSS spec file: HDU 1 with flux, loglam, ivar and and_mask, HDU 2 with one row",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'}",
            do="fetch it again",
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def _decode(hdus: fits.HDUList, path: Path, content: bytes) -> Spectrum:
    """Take the few columns and keys that count."""
    if len(hdus) < 4:
        raise ValueError(f"{len(hdus)} HDUs instead of at least 4")
    if not (isinstance(hdus[1], fits.BinTableHDU) and isinstance(hdus[2], fits.BinTableHDU)):
        raise ValueError("no tables in HDUs 1 and 2")
    coadd, header = hdus[1].data, hdus[0].header
    if coadd is None or len(coadd) == 0:
        raise ValueError("no pixels in HDU 1")
    place, second = hdus[2].fileinfo(), hdus[2].header
    if second["NAXIS2"] != 1:
        raise ValueError(f"{second['NAXIS2']} rows in HDU 2 instead of one")
    cards = content[place["hdrLoc"] : place["datLoc"]].decode("latin-1")
    row = _one_row(cards, content[place["datLoc"] :][: second["NAXIS1"]], second["TFIELDS"])

    def identity(key: str, header_key: str) -> int:
        found = header.get(header_key, row.get(key))
        if found is None:
            raise KeyError(f"{header_key} in HDU 0 or {key} in HDU 2")
        return int(found)

    def column(name: str, kind: str, dtype: type) -> np.ndarray:
        if sum(one.lower() == name for one in coadd.names) > 1:
            raise ValueError(f"two columns {name} in HDU 1")
        values = np.asarray(coadd[name])
        if values.ndim != 1 or values.dtype.kind not in kind:
            raise ValueError(f"{name} of shape {values.shape} and type {values.dtype} instead of one number per row")
        return values.astype(dtype)

    log_wavelength, flux, ivar = (column(name, "f", np.float64) for name in ("loglam", "flux", "ivar"))
    and_mask = column("and_mask", "iu", np.int64)
    if not (np.isfinite(log_wavelength).all() and ((log_wavelength > 3) & (log_wavelength < 5)).all()):
        raise ValueError("loglam outside 1,000-100,000 Angstrom")
    pixel = np.rint(log_wavelength / PIXEL).astype(np.int64)
    if (np.diff(pixel) <= 0).any():
        raise ValueError("loglam that does not ascend by at least 1e-4 per pixel")
    if np.abs(log_wavelength - PIXEL * pixel).max() > 0.05 * PIXEL:
        raise ValueError("loglam off the SDSS pixel grid, 10^(1e-4 k) Angstrom")

    if not np.isfinite(ivar).all() or (ivar < 0).any():
        _invalid(
            path, "ivar finite and not negative", f"{int((~(ivar >= 0)).sum() + np.isinf(ivar).sum())} other pixels"
        )
    unexplained = (ivar > 0) & ~np.isfinite(flux)
    if unexplained.any():
        _invalid(
            path, "finite flux wherever ivar > 0", f"{int(unexplained.sum())} such pixels with NaN or infinite flux"
        )

    simulated = header.get("SIMULATE", False)
    if not isinstance(simulated, bool):
        raise ValueError(f"SIMULATE = {simulated!r}")
    extinction = row.get("EXTINCTION", ())
    extinction_g = float(extinction[1]) if np.size(extinction) == 5 else np.nan
    return Spectrum(
        pixel=pixel,
        flux=flux,
        ivar=ivar,
        and_mask=and_mask,
        plate=identity("PLATE", "PLATEID"),
        mjd=identity("MJD", "MJD"),
        fiberid=identity("FIBERID", "FIBERID"),
        redshift=float(row.get("Z", np.nan)),
        ebv=float(colour_excess(extinction_g)),
        run2d=row.get("RUN2D", "") or str(header.get("RUN2D", "")).strip(),
        spectral_class=row.get("CLASS", ""),
        kind="simulated" if simulated else "sdss",
    )


def _one_row(header: str, data: bytes, columns: int) -> dict:
    """The used cells of a one-row binary table, by upper-case name.

    HDU 2 has 126 or 236 columns; letting astropy describe every one takes 60 ms a file, twenty times all the rest.
    """
    found: dict[int, dict] = {}
    scaled = set()
    for start in range(0, len(header), 80):
        match = _COLUMN_CARD.match(header[start : start + 80])
        if match:
            if match[1] in found.setdefault(int(match[2]), {}):
                raise ValueError(f"{match[1]}{match[2]} twice in HDU 2")
            found[int(match[2])][match[1]] = match[3].strip()
        elif match := _SCALE_CARD.match(header[start : start + 80]):
            scaled.add(int(match[1]))
    if not header.isascii() or not header.isprintable():
        raise ValueError("a header of HDU 2 with other than printable characters")
    if sorted(found) != list(range(1, columns + 1)) or not all(
        all(one.get(key) for key in ("TTYPE", "TFORM")) for one in found.values()
    ):
        raise ValueError(f"{len(found)} columns described in HDU 2 instead of {columns}")
    row, offset = {}, 0
    for number in sorted(found):
        form = re.fullmatch(r"(\d*)([LBIJKEDA])\d*", found[number]["TFORM"])
        if not form:
            raise ValueError(f"column {number} of HDU 2 with format {found[number]['TFORM']!r}")
        name, count, code = found[number].get("TTYPE", "").upper(), int(form[1] or 1), form[2]
        size = count * _FORMAT_SIZES[code]
        if name in _ROW_CELLS:
            cell = data[offset : offset + size]
            if name in row:
                raise ValueError(f"two columns {name} in HDU 2")
            if (code == "A") != (name in _ROW_WORDS) or number in scaled:
                raise ValueError(f"column {name} of HDU 2 with format {found[number]['TFORM']!r}")
            if code == "A":
                row[name] = cell.decode("latin-1").strip(" \0")
            else:
                numbers = np.frombuffer(cell, _FORMAT_TYPES[code])
                row[name] = numbers if count > 1 else numbers[0]
        offset += size
    if offset != len(data):
        raise ValueError(f"columns of {offset} bytes in a row of {len(data)} in HDU 2")
    if not row:
        raise ValueError("no known column in HDU 2")
    return row


def _invalid(path: Path, expected: str, got: str) -> None:
    raise SpectrumError(path, reason="invalid values", expected=expected, got=got, do="fetch the file again")
