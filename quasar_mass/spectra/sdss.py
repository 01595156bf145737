"""SDSS spec files of every reduction, lite and full: from the file to a `Spectrum`."""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import SpectrumError
from quasar_mass.spectra import fits_headers, sdss_fast
from quasar_mass.spectra.spectrum import PIXEL, Spectrum, ebv_from_extinction

_BUFFER = 1 << 20  # bytes; lite files have 170-260 kB. Memory that is used again saves most of the time of reading
_LARGEST = 100_000_000  # bytes; a full spec file has 3 MB
_local = threading.local()


def read_spectrum(path: Path) -> Spectrum:
    """Read a spec-lite or full spec file of any reduction.

    HDUs are taken by number and columns without regard to case, since the reductions differ in both. Files of the
    usual layout are decoded by `sdss_fast`, all others by astropy, with the same result.

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
    if not os.path.isfile(path):
        raise _missing(Path(path))
    try:
        content = _content(path)
        found = sdss_fast.find(content)
        return _spectrum(*found, path) if found else _by_astropy(bytes(content), path)
    except FileNotFoundError as error:  # gone since the line above
        raise _missing(Path(path)) from error
    except (OSError, ValueError, KeyError, OverflowError) as error:
        raise _unreadable(path, error) from error


def _content(path: Path) -> memoryview:
    """The file's bytes, in memory that this thread's next call uses again."""
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_BUFFER))
    with open(path, "rb", buffering=0) as file:
        size = 0
        while size < _BUFFER and (more := file.readinto(_local.buffer[size:])):  # a disk far away may give it piecemeal
            size += more
        if size == _BUFFER and os.fstat(file.fileno()).st_size > _LARGEST:
            raise ValueError(f"{os.fstat(file.fileno()).st_size:,} bytes, more than any spec file has")
        return _local.buffer[:size] if size < _BUFFER else memoryview(_local.buffer.tobytes() + file.read())


def _by_astropy(content: bytes, path: Path) -> Spectrum:
    """Decode a file of any layout."""
    from astropy.io import fits  # not at the top: few files need it, and it takes half a second
    from astropy.utils.exceptions import AstropyUserWarning

    # What astropy raises on damaged files, seen by damaging real ones; anything else is a bug and should be seen.
    damaged = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, AttributeError, MemoryError)
    damaged += (fits.VerifyError, OverflowError, Warning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # odd header cards in the real files
            warnings.filterwarnings("error", message="File may have been truncated")
            if not content.startswith(b"SIMPLE"):
                raise ValueError("no FITS file" if content else "an empty file")
            fits_headers.check_header(content)
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
                return _spectrum(*_parts(hdus, content), path)
    except damaged as error:
        raise _unreadable(path, error) from error


def _missing(path: Path) -> SpectrumError:
    there = "a folder" if os.path.isdir(path) else "a pipe or a device"
    return SpectrumError(
        path,
        reason="missing file",
        expected="an SDSS spec file",
        got=there if os.path.exists(path) else "no such file",
        do="fetch it (get_Chen_data.py fetch) or correct the name",
    )


def _unreadable(path: Path, error: Exception) -> SpectrumError:
    return SpectrumError(
        path,
        reason="unreadable file",
        expected="an SDSS spec file: HDU 1 with flux, loglam, ivar and and_mask, HDU 2 with one row",
        got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'}",
        do="fetch it again",
    )


def _parts(hdus, content: bytes) -> tuple[dict, dict, dict]:
    """Take the few columns and keys that count, as `sdss_fast.find` gives them."""
    from astropy.io import fits

    if len(hdus) < 4:
        raise ValueError(f"{len(hdus)} HDUs instead of at least 4")
    if not (isinstance(hdus[1], fits.BinTableHDU) and isinstance(hdus[2], fits.BinTableHDU)):
        raise ValueError("no tables in HDUs 1 and 2")
    coadd, keys = hdus[1].data, hdus[0].header
    if coadd is None or len(coadd) == 0:
        raise ValueError("no pixels in HDU 1")
    for name in sdss_fast.PIXEL_COLUMNS:
        if sum(one.upper() == name for one in coadd.names) > 1:
            raise ValueError(f"two columns {name.lower()} in HDU 1")
    place, second = hdus[2].fileinfo(), hdus[2].header
    if second["NAXIS2"] != 1:
        raise ValueError(f"{second['NAXIS2']} rows in HDU 2 instead of one")
    header, data = content[place["hdrLoc"] : place["datLoc"]], content[place["datLoc"] :][: second["NAXIS1"]]
    row = sdss_fast.one_row(header, data, second["TFIELDS"])
    if not row.get("RUN2D"):
        row["RUN2D"] = str(keys.get("RUN2D", "")).strip()
    return keys, {name: np.asarray(coadd[name]) for name in sdss_fast.PIXEL_COLUMNS}, row


def _spectrum(keys: dict, pixels: dict, row: dict, path: Path) -> Spectrum:
    """Check what was found, and bring it into this project's terms."""

    def identity(name: str, key: str) -> int:
        found = keys.get(key, row.get(name))
        if found is None:
            raise KeyError(f"{key} in HDU 0 or {name} in HDU 2")
        return int(found)

    def column(name: str, kind: str, dtype: type) -> np.ndarray:
        values = pixels[name]
        if values.ndim != 1 or values.dtype.kind not in kind:
            raise ValueError(f"{name} of shape {values.shape} and type {values.dtype} instead of one number per row")
        with np.errstate(invalid="ignore"):  # a NaN may be of a kind that signals
            return values.astype(dtype)

    log_wavelength, flux, ivar = (column(name, "f", np.float64) for name in ("LOGLAM", "FLUX", "IVAR"))
    and_mask = column("AND_MASK", "iu", np.int64)
    pixel = _pixels(log_wavelength)
    if not (ivar.min() >= 0 and ivar.max() < np.inf):
        _invalid(
            path, "ivar finite and not negative", f"{int((~(ivar >= 0)).sum() + np.isinf(ivar).sum())} other pixels"
        )
    finite = np.isfinite(flux)
    if not finite.all():
        unexplained = int(((ivar > 0) & ~finite).sum())
        if unexplained:
            _invalid(path, "finite flux wherever ivar > 0", f"{unexplained} such pixels with NaN or infinite flux")

    simulated = keys.get("SIMULATE", False)
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
        ebv=float(ebv_from_extinction(extinction_g)),
        run2d=row.get("RUN2D", ""),
        spectral_class=row.get("CLASS", ""),
        kind="simulated" if simulated else "sdss",
    )


def _pixels(log_wavelength: np.ndarray) -> np.ndarray:
    """Index of each pixel on the global grid; ValueError where the wavelengths are not on it, one after the other."""
    if not (log_wavelength.min() > 3 and log_wavelength.max() < 5):  # of NaN neither is true
        raise ValueError("loglam outside 1,000-100,000 Angstrom")
    pixel = round(log_wavelength[0] / PIXEL) + np.arange(len(log_wavelength))  # nearly all files have every pixel
    if np.abs(log_wavelength - PIXEL * pixel).max() > 0.05 * PIXEL:
        pixel = np.rint(log_wavelength / PIXEL).astype(np.int64)
        if (pixel[1:] <= pixel[:-1]).any():
            raise ValueError("loglam that does not ascend by at least 1e-4 per pixel")
        if np.abs(log_wavelength - PIXEL * pixel).max() > 0.05 * PIXEL:
            raise ValueError("loglam off the SDSS pixel grid, 10^(1e-4 k) Angstrom")
    return pixel


def _invalid(path: Path, expected: str, got: str) -> None:
    raise SpectrumError(path, reason="invalid values", expected=expected, got=got, do="fetch the file again")
