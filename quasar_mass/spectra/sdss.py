"""SDSS spec files of every reduction, lite and full: from their bytes to a `Spectrum`."""

import io
import warnings
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import SpectrumError, first_line
from quasar_mass.core.survey import BRIGHTSKY, EXTINCTION_G, format_spec_id
from quasar_mass.spectra import fits_headers, sdss_fast
from quasar_mass.spectra.spectrum import PIXEL, Spectrum, grid_wavelength


def recognises(hdus: list[fits_headers.Hdu]) -> bool:
    """Whether these are the headers of a spec file: pixels in logarithmic wavelength in HDU 1."""
    return len(hdus) > 2 and b"'LOGLAM" in hdus[1].header.upper()


def decode(content: bytes, path: Path) -> Spectrum:
    """Decode a spec-lite or full spec file of any reduction.

    HDUs are taken by number and columns without regard to case, since the reductions differ in both. Files of the
    usual layout are decoded by `sdss_fast` and `spectrum`, with the same result.

    Parameters
    ----------
    content : bytes
        The whole file.
    path : Path
        Its name, for errors.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError, ValueError
        If this is no such file, is damaged, or its pixels contradict one another.
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
            fits_headers.walk(content)
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
                return spectrum(*_parts(hdus, content), path)
    except damaged as error:
        raise ValueError(first_line(error)) from error


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
    names = [name.upper() for name in coadd.names]
    for name in sdss_fast.PIXEL_COLUMNS:
        if names.count(name) != 1:
            raise ValueError(f"{'two columns' if name in names else 'no column'} {name.lower()} in HDU 1")
    info, second = hdus[2].fileinfo(), hdus[2].header
    if second["NAXIS2"] != 1:
        raise ValueError(f"{second['NAXIS2']} rows in HDU 2 instead of one")
    header, data = content[info["hdrLoc"] : info["datLoc"]], content[info["datLoc"] :][: second["NAXIS1"]]
    row = sdss_fast.one_row(header, data, second["TFIELDS"])
    if not row.get("RUN2D"):
        row["RUN2D"] = str(keys.get("RUN2D", "")).strip()
    return keys, {name: np.asarray(coadd[name]) for name in sdss_fast.PIXEL_COLUMNS}, row


def spectrum(keys: dict, pixels: dict, row: dict, path: Path) -> Spectrum:
    """Check the parts of a file, and bring them into this project's terms.

    Pixels that SDSS marks as BRIGHTSKY in every exposure are masked, the one bit of its masks that it advises to
    honour.

    Parameters
    ----------
    keys, pixels, row : dict
        As of `sdss_fast.find`.
    path : Path
        The file's name, for errors.

    Raises
    ------
    SpectrumError, ValueError, OverflowError
        If the pixels contradict one another.
    """

    def identity(name: str, key: str) -> int:
        number = keys.get(key, row.get(name))
        if number is None:
            raise ValueError(f"neither {key} in HDU 0 nor {name} in HDU 2")
        return int(number)

    def column(name: str, kinds: str, dtype: type) -> np.ndarray:
        values = pixels[name]
        if values.ndim != 1 or values.dtype.kind not in kinds:
            raise ValueError(
                f"{name.lower()} of shape {values.shape} and type {values.dtype} instead of one number per row"
            )
        with np.errstate(invalid="ignore"):  # a NaN may be of a kind that signals
            return values.astype(dtype)

    log_wavelength, flux, ivar = (column(name, "f", np.float64) for name in ("LOGLAM", "FLUX", "IVAR"))
    and_mask = column("AND_MASK", "iu", np.int64)
    pixel = _pixels(log_wavelength)
    _check_values(flux, ivar, path)
    simulated = keys.get("SIMULATE", False)
    if not isinstance(simulated, bool):
        raise ValueError(f"SIMULATE = {simulated!r}")
    extinction = row.get("EXTINCTION", ())
    extinction_g = float(extinction[1]) if np.size(extinction) == 5 else np.nan
    return Spectrum(
        wavelength=grid_wavelength(pixel),
        flux=flux,
        ivar=ivar,
        mask=and_mask & BRIGHTSKY != 0,
        redshift=float(row.get("Z", np.nan)),
        ebv=float(ebv_from_extinction(extinction_g)),
        spec_id=format_spec_id(identity("PLATE", "PLATEID"), identity("MJD", "MJD"), identity("FIBERID", "FIBERID")),
        kind="simulated" if simulated else "sdss",
        spectral_class=row.get("CLASS", ""),
        run2d=row.get("RUN2D", ""),
        pixel=pixel,
    )


def ebv_from_extinction(extinction_g: np.ndarray | float) -> np.ndarray:
    """E(B-V) of Schlegel, Finkbeiner & Davis 1998 from the g-band extinction of the SDSS photometry.

    Parameters
    ----------
    extinction_g : array_like
        ``EXTINCTION[1]`` in magnitudes.

    Returns
    -------
    ndarray
        E(B-V) in magnitudes; NaN where the extinction is not positive (no photometry).
    """
    extinction_g = np.asarray(extinction_g, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(extinction_g > 0, extinction_g / EXTINCTION_G, np.nan)


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


def _check_values(flux: np.ndarray, ivar: np.ndarray, path: Path) -> None:
    """Refuse values that the pipeline does not write: the file is damaged."""
    message = ""
    if not (ivar.min() >= 0 and ivar.max() < np.inf):
        wrong = int((~(ivar >= 0)).sum() + np.isinf(ivar).sum())
        message = f"has {wrong} pixels whose ivar is negative or not finite"
    elif not np.isfinite(flux).all() and (wrong := int(((ivar > 0) & ~np.isfinite(flux)).sum())):
        message = f"has {wrong} pixels whose flux is not finite although their ivar is positive"
    if message:
        raise SpectrumError(path, f"{message}; fetch the file again", reason="invalid values")
