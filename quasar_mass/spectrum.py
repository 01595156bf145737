"""One spectrum: from an SDSS spec file to rest-frame luminosity density on the grid."""

import functools
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from quasar_mass.errors import SpectrumError
from quasar_mass.survey import BRIGHTSKY, EXTINCTION_G, EXTINCTION_V, R_V, WINDOW, Grid, epoch_name

# Every SDSS and BOSS pixel lies on one global grid: log10(wavelength / Angstrom) = PIXEL * k, k an integer. The files'
# LOGLAM is float32 and off by up to 2.4e-7 dex; the integer is exact.
PIXEL = 1e-4

# The extinction curve is tabulated once on these pixels: 3,000-12,000 A, wider than any SDSS spectrum.
_CURVE_FIRST, _CURVE_LAST = 34771, 40792

# What astropy raises on damaged files, seen by damaging real ones; anything else is a bug and should be seen.
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    EOFError,
    fits.VerifyError,
    MemoryError,
    OverflowError,
)


@dataclass(frozen=True)
class Spectrum:
    """An observed spectrum, as its file has it.

    Attributes
    ----------
    pixel : ndarray of int, shape (n,)
        Index on the global grid, ascending: log10(wavelength / Angstrom) = 1e-4 * pixel, vacuum, heliocentric.
    flux : ndarray of float, shape (n,)
        Flux density, 1e-17 erg / s / cm2 / Angstrom, not corrected for Galactic extinction.
    ivar : ndarray of float, shape (n,)
        Inverse variance of `flux`; 0 where there is no data.
    and_mask : ndarray of int, shape (n,)
        SPPIXMASK bits set in every exposure.
    plate, mjd, fiberid : int
        Which spectrum it is.
    redshift : float
        Of the SDSS pipeline (HDU 2); NaN where the file has none.
    ebv : float
        E(B-V) of Schlegel, Finkbeiner & Davis 1998 from the file's own EXTINCTION; NaN where the file has none.
    run2d : str
        The reduction.
    spectral_class : str
        ``QSO``, ``GALAXY`` or ``STAR``; empty where the file does not say.
    kind : str
        ``"simulated"`` or ``"sdss"``.
    """

    pixel: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    plate: int
    mjd: int
    fiberid: int
    redshift: float
    ebv: float
    run2d: str
    spectral_class: str
    kind: str

    @property
    def epoch(self) -> str:
        """``plate-mjd-fiber``."""
        return epoch_name(self.plate, self.mjd, self.fiberid)

    @property
    def good(self) -> np.ndarray:
        """Pixels to be trusted, shape (n,): ivar > 0 and not BRIGHTSKY in every exposure."""
        return (self.ivar > 0) & (self.and_mask & BRIGHTSKY == 0)


@dataclass(frozen=True)
class RestFrame:
    """A spectrum on the rest-frame grid.

    Attributes
    ----------
    flux : ndarray of float32, shape (grid.size,)
        Luminosity density in the tables' unit (see `to_rest_frame`).
    n_bad : int
        Pixels of the file inside the window that were replaced by interpolation.
    n_pixels : int
        Pixels of the file inside the window.
    signal_to_noise : float
        Median of flux / error per good pixel inside the window.
    """

    flux: np.ndarray
    n_bad: int
    n_pixels: int
    signal_to_noise: float


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
    if not path.is_file():
        raise SpectrumError(
            path,
            reason="missing file",
            expected="an SDSS spec file",
            got="a folder" if path.is_dir() else "no such file",
            do="fetch it (get_Chen_data.py fetch) or correct the name",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # odd header cards in the real files
            warnings.filterwarnings("error", message="File may have been truncated")
            content = path.read_bytes()
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


def _decode(hdus: fits.HDUList, path: Path, content: bytes) -> Spectrum:
    """Take the few columns and keys that count."""
    if len(hdus) < 4:
        raise ValueError(f"{len(hdus)} HDUs instead of at least 4")
    if not (isinstance(hdus[1], fits.BinTableHDU) and isinstance(hdus[2], fits.BinTableHDU)):
        raise ValueError("no tables in HDUs 1 and 2")
    coadd, header = hdus[1].data, hdus[0].header
    if coadd is None or len(coadd) == 0:
        raise ValueError("no pixels in HDU 1")
    place = hdus[2].fileinfo()
    row = _one_row(content[place["hdrLoc"] : place["datLoc"]].decode("latin-1"), content[place["datLoc"] :])

    def identity(key: str, header_key: str) -> int:
        found = header.get(header_key, row.get(key))
        if found is None:
            raise KeyError(f"{header_key} in HDU 0 or {key} in HDU 2")
        return int(found)

    log_wavelength = np.asarray(coadd["loglam"], dtype=np.float64)
    flux = np.asarray(coadd["flux"], dtype=np.float64)
    ivar = np.asarray(coadd["ivar"], dtype=np.float64)
    and_mask = np.asarray(coadd["and_mask"], dtype=np.int64)
    if flux.ndim != 1:
        raise ValueError(f"flux of shape {flux.shape} instead of one number per row")
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
        kind="simulated" if header.get("SIMULATE", False) else "sdss",
    )


# The cells of HDU 2 that are used, and the sizes of the FITS table formats in bytes.
_ROW_CELLS = ("PLATE", "MJD", "FIBERID", "Z", "EXTINCTION", "RUN2D", "CLASS")
_FORMAT_SIZES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "A": 1}
_FORMAT_TYPES = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
_COLUMN_CARD = re.compile(r"(TTYPE|TFORM)(\d+) *= '([^']*)'")


def _one_row(header: str, data: bytes) -> dict:
    """The used cells of a one-row binary table, by upper-case name.

    HDU 2 has 126 or 236 columns; letting astropy describe every one takes 60 ms a file, twenty times all the rest.
    """
    found: dict[int, dict] = {}
    for start in range(0, len(header), 80):
        match = _COLUMN_CARD.match(header[start : start + 80])
        if match:
            found.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
    row, offset = {}, 0
    for number in sorted(found):
        form = re.fullmatch(r"(\d*)([LBIJKEDA])\d*", found[number]["TFORM"])
        if not form:
            raise ValueError(f"column {number} of HDU 2 with format {found[number]['TFORM']!r}")
        name, count, code = found[number].get("TTYPE", "").upper(), int(form[1] or 1), form[2]
        size = count * _FORMAT_SIZES[code]
        if name in _ROW_CELLS:
            cell = data[offset : offset + size]
            if len(cell) < size:
                raise ValueError(f"HDU 2 that ends before its column {name}")
            if code == "A":
                row[name] = cell.decode("latin-1").strip(" \0")
            else:
                numbers = np.frombuffer(cell, _FORMAT_TYPES[code])
                row[name] = numbers if count > 1 else numbers[0]
        offset += size
    if not row:
        raise ValueError("no known column in HDU 2")
    return row


def _invalid(path: Path, expected: str, got: str) -> None:
    raise SpectrumError(path, reason="invalid values", expected=expected, got=got, do="fetch the file again")


def colour_excess(extinction_g: np.ndarray | float) -> np.ndarray:
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


@functools.cache
def extinction_curve() -> np.ndarray:
    """A(lambda) / A(V) of Fitzpatrick 1999 at R_V = 3.1 on the global pixels 3,000-12,000 A, shape (n,)."""
    from astropy import units
    from dust_extinction.parameter_averages import F99

    wavelength = 10.0 ** (PIXEL * np.arange(_CURVE_FIRST, _CURVE_LAST + 1))
    return np.asarray(F99(Rv=R_V)(wavelength * units.AA))


def transmission(pixel: np.ndarray, ebv: float) -> np.ndarray:
    """Fraction of the light that Galactic dust lets through.

    Parameters
    ----------
    pixel : ndarray of int, shape (n,)
        Index on the global grid (observed frame).
    ebv : float
        E(B-V) of Schlegel, Finkbeiner & Davis 1998, magnitudes.

    Returns
    -------
    ndarray, shape (n,)
    """
    index = np.clip(np.asarray(pixel) - _CURVE_FIRST, 0, _CURVE_LAST - _CURVE_FIRST)
    return 10.0 ** (-0.4 * EXTINCTION_V * ebv * extinction_curve()[index])


def luminosity_distance(redshift: np.ndarray | float) -> np.ndarray:
    """Luminosity distance in Mpc (Planck15), for a whole vector of redshifts at once."""
    from astropy.cosmology import Planck15

    return np.asarray(Planck15.luminosity_distance(redshift).value)


def to_rest_frame(
    spectrum: Spectrum,
    redshift: float,
    grid: Grid,
    *,
    ebv: float | None = None,
    distance: float | None = None,
) -> RestFrame:
    """Put a spectrum on the rest-frame grid.

    Bad pixels are replaced by linear interpolation between their good neighbours (at the very ends of a file: by the
    nearest good one), and the whole is interpolated linearly onto the grid; both at once, since a chain of linear
    pieces through the good pixels is the same function either way.

    Parameters
    ----------
    spectrum : Spectrum
        Observed frame.
    redshift : float
        Positive.
    grid : Grid
        The rest-frame grid.
    ebv : float, optional
        E(B-V) of Schlegel, Finkbeiner & Davis 1998 to correct for (Fitzpatrick 1999, R_V = 3.1); None or NaN: no
        correction.
    distance : float, optional
        Luminosity distance in Mpc, where it has been computed already.

    Returns
    -------
    RestFrame
        Its flux is flux * (D_L / Mpc)^2 * 1e-9, the reference's unit: times 4 pi (1 + z) * 9.5214e40 it is the
        luminosity density L_lambda in erg / s / Angstrom.

    Raises
    ------
    SpectrumError
        If the redshift is not a positive number, the file does not span the window, or no pixel in it is good.
    """
    where = f"spectrum {spectrum.epoch}"
    if not (np.isfinite(redshift) and redshift > 0):
        raise SpectrumError(
            where,
            reason="no redshift",
            expected="a positive redshift",
            got=f"{redshift:g}",
            do="give its redshift in the catalogue",
        )
    shift = np.log10(1.0 + redshift)
    first, last = PIXEL * spectrum.pixel[0] - shift, PIXEL * spectrum.pixel[-1] - shift
    # float noise, far below a pixel, must not decide over a spectrum that just reaches the edge
    if first > WINDOW[0] + 1e-9 or last < WINDOW[1] - 1e-9:
        low, high = (
            10.0 ** (PIXEL * spectrum.pixel[0] - WINDOW[0]) - 1,
            10.0 ** (PIXEL * spectrum.pixel[-1] - WINDOW[1]) - 1,
        )
        fit = (
            f"this file serves {low:.3f} <= z <= {high:.3f}"
            if low <= high
            else "this file is too short at any redshift"
        )
        raise SpectrumError(
            where,
            reason="does not cover the window",
            expected=f"rest-frame coverage of {10 ** WINDOW[0]:.0f}-{10 ** WINDOW[1]:.0f} Angstrom",
            got=f"{10**first:.0f}-{10**last:.0f} at redshift {redshift:.4f}",
            do=f"leave it out ({fit})",
        )
    good = spectrum.good
    inside = (PIXEL * spectrum.pixel >= WINDOW[0] + shift) & (PIXEL * spectrum.pixel <= WINDOW[1] + shift)
    if not (good & inside).any():
        raise SpectrumError(
            where,
            reason="no good pixels",
            expected="good pixels (ivar > 0, not BRIGHTSKY) in the window",
            got=f"none of {int(inside.sum())}",
            do="leave it out, or fetch it again",
        )
    if distance is None:
        distance = float(luminosity_distance(redshift))
    scale = distance**2 * 1e-9
    luminosity = spectrum.flux[good] * scale
    if ebv is not None and np.isfinite(ebv):
        luminosity = luminosity / transmission(spectrum.pixel[good], ebv)
    flux = np.interp(grid.log_wavelength + shift, PIXEL * spectrum.pixel[good], luminosity)
    seen = good & inside
    # pixels that a file lacks altogether within the window are bad ones too
    n_pixels = int(np.floor((WINDOW[1] + shift) / PIXEL) - np.ceil((WINDOW[0] + shift) / PIXEL)) + 1
    return RestFrame(
        flux=flux.astype(np.float32),
        n_bad=n_pixels - int(seen.sum()),
        n_pixels=n_pixels,
        signal_to_noise=float(np.median(spectrum.flux[seen] * np.sqrt(spectrum.ivar[seen]))),
    )
