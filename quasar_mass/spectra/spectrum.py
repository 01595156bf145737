"""One observed spectrum: wavelengths, flux, inverse variance and a redshift, whoever took it."""

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from quasar_mass.core.errors import SpectrumError

# SDSS samples all its spectra on one global grid, log10(wavelength / Angstrom) = PIXEL * k, k an integer. All
# computations of this package are made on it.
PIXEL = 1e-4  # dex
# Wavelengths this close to the grid lie on it: those of SDSS files are float32, and off by up to 2.4e-7 dex.
ON_GRID = 3e-7  # dex
WAVELENGTHS = (1e3, 1e5)  # Angstrom: what a spectrum may hold
OPTICAL = (3e3, 1.1e4)  # Angstrom: what most do

# An inverse variance is no data where it exceeds the spectrum's median by this factor (in SDSS's spectra, the largest
# one is six times the median), or where the typical flux would have this signal-to-noise ratio.
MAX_IVAR, MAX_SN = 1e6, 1e6

MIN_COVERED = 0.5  # fraction of a new pixel that good old pixels must cover for it to be good; chosen here
MAX_STRETCH = 1.5  # a distance to the next pixel longer than this times that on the other side is a gap; chosen here

# How notes about the file's own E(B-V) and redshift begin. They fall away where another one is used.
EBV_NOTE, REDSHIFT_NOTE = "E(B-V)", "redshift"

FLUX_UNIT, IVAR_UNIT = "1e-17 erg s-1 cm-2 AA-1", "1e34 erg-2 s2 cm4 AA2"  # as astropy reads them
_WHERE = "the spectrum"  # what errors about a spectrum without a name are about


@dataclass(frozen=True, eq=False)
class Spectrum:
    """An observed spectrum.

    Lists, arrays and astropy quantities are taken, also fluxes by frequency. Pixels whose flux or inverse variance is
    not finite, or whose inverse variance is not positive or is absurd (`MAX_IVAR`), get inverse variance 0.

    Parameters
    ----------
    wavelength : array_like, shape (n,)
        Angstrom, in vacuum, observed frame, ascending.
    flux : array_like, shape (n,)
        Flux density in 1e-17 erg / s / cm2 / Angstrom, not corrected for Galactic extinction.
    ivar : array_like, shape (n,)
        Inverse variance of `flux`; 0 where there is no data.
    mask : array_like of bool, shape (n,), optional
        True where a pixel is bad.
    redshift : float
        NaN or None where it is not known.
    ebv : float
        E(B-V) of Schlegel, Finkbeiner & Davis 1998 in magnitudes; NaN or None where it is not known.
    spec_id : str
        Which spectrum it is: SDSS's are ``plate-mjd-fiber``, those of SDSS-V ``field-mjd-catalogid``, DESI's TARGETID.
    kind : str
        ``"sdss"``, ``"desi"``, ``"simulated"``, or ``"unknown"``.
    spectral_class : str
        ``QSO``, ``GALAXY`` or ``STAR``; empty where it is not known.
    run2d : str
        The version of SDSS's reduction; empty for others.
    telescope : str
        ``"SDSS 2.5-M"``, ``"LCO Du Pont"``, ``"KPNO 4.0-m telescope"`` (DESI) or the like; empty where it is not known.
    notes : tuple of str
        What its reader had to assume or to doubt; they become flags.
    pixel : ndarray of int, shape (n,), optional
        Index of each pixel on SDSS's global grid, log10(wavelength / Angstrom) = 1e-4 * pixel. Only readers give it,
        which know it exactly and have checked their arrays. Otherwise it is found from `wavelength`, and stays None
        where that is another grid.
    information : ndarray, shape (n,), optional
        Inverse variances that may be added up: those that the pixels would have if their noise was not correlated.
        Only rebinning gives it (`rebin`); None: `ivar` itself.

    Raises
    ------
    SpectrumError
        If the arrays cannot be a spectrum in these units.

    Examples
    --------
    >>> spectrum = Spectrum([4000.0, 4001.0, 4002.0], [3.1, 2.9, 3.0], [4.0, 0.0, 4.0], redshift=1.6)
    >>> spectrum.good
    array([ True, False,  True])
    """

    wavelength: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray | None = None
    redshift: float = np.nan
    ebv: float = np.nan
    spec_id: str = ""
    kind: str = "unknown"
    spectral_class: str = ""
    run2d: str = ""
    telescope: str = ""
    notes: tuple[str, ...] = ()
    pixel: np.ndarray | None = None
    information: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self._is_on_grid():
            self._set(**_checked(self.wavelength, self.flux, self.ivar, self.mask))
            self._set(redshift=_number(self.redshift, "redshift"), ebv=_number(self.ebv, "ebv"))
            known = (self.ivar > 0) & np.isfinite(self.flux) & np.isfinite(self.ivar)
            self._set(ivar=np.where(known, self.ivar, 0.0))
            check_ebv(self.ebv)
        elif self.mask is None:
            self._set(mask=np.zeros(len(self.pixel), bool))
        self._set(ivar=_without_absurd(self.ivar, self.flux))

    def __repr__(self) -> str:
        low, high = self.wavelength[[0, -1]]
        pixels = f"{len(self.wavelength):,} pixels of {low:,.0f}-{high:,.0f} Angstrom"
        return f"<Spectrum {self.spec_id or 'without a name'}: {pixels}, redshift {self.redshift:.4g}>"

    def _is_on_grid(self) -> bool:
        """Whether `pixel` is given and belongs to `wavelength`, which `dataclasses.replace` may have exchanged."""
        if self.pixel is None or len(self.pixel) != len(self.wavelength):
            return False
        return all(self.wavelength[end] == _grid()[0][self.pixel[end] - _grid()[1]] for end in (0, -1))

    def _set(self, **values) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def good(self) -> np.ndarray:
        """Whether each pixel is to be used, shape (n,): inverse variance above 0 and not masked."""
        return (self.ivar > 0) & ~self.mask

    def on_log_grid(self) -> "Spectrum":
        """Give the spectrum on SDSS's global grid: itself where it lies on it, or else rebinned (see `rebin`)."""
        if self.pixel is not None:
            return self
        pixel, flux, ivar, information = rebin(self.wavelength, self.flux, np.where(self.mask, 0.0, self.ivar))
        wavelength = grid_wavelength(pixel)
        own = {"flux": flux, "ivar": ivar, "information": information}
        return replace(self, wavelength=wavelength, mask=None, pixel=pixel, **own)

    @property
    def weight(self) -> np.ndarray:
        """The inverse variances to add up, shape (n,): `information`, or else `ivar`.

        On the global grid, flux times its root is the signal-to-noise ratio per 1e-4 dex, whatever the pixels were.
        """
        return self.ivar if self.information is None else self.information


def _without_absurd(ivar: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Inverse variances, 0 where they are too large to be data."""
    some = slice(None, None, max(1, len(ivar) // 100))  # of all pixels, sorting would take long
    known = ivar[some] > 0
    number = np.count_nonzero(known)
    if not number:
        return ivar
    usual, level = (np.sort(values[known])[number // 2] for values in (ivar[some], np.abs(flux[some])))
    with np.errstate(all="ignore"):  # without any flux, there is no signal-to-noise ratio
        limit = min(MAX_IVAR * usual, np.square(MAX_SN / level))
    return ivar if ivar.max() <= limit else np.where(ivar > limit, 0.0, ivar)


def grid_wavelength(pixel: np.ndarray) -> np.ndarray:
    """Wavelengths in Angstrom of pixels of the global grid; consecutive ones share one table's memory.

    Parameters
    ----------
    pixel : ndarray of int, shape (n,)
        Ascending; 1,000-100,000 Angstrom.

    Returns
    -------
    ndarray, shape (n,)
        Read-only.
    """
    table, first = _grid()
    start, stop = int(pixel[0]) - first, int(pixel[-1]) - first + 1
    return table[start:stop] if stop - start == len(pixel) else table[pixel - first]


@functools.cache
def _grid() -> tuple[np.ndarray, int]:
    first, last = (round(np.log10(end) / PIXEL) for end in WAVELENGTHS)
    table = 10.0 ** (PIXEL * np.arange(first, last + 1))
    table.flags.writeable = False
    return table, first


def rebin(
    wavelength: np.ndarray, flux: np.ndarray, ivar: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rebin a spectrum onto the global grid, conserving flux.

    Pixels end half-way to their neighbours. A new pixel's flux is the mean of the good old ones, weighted by how much
    of it each covers, and its variance is that of this mean. Neighbouring new pixels that share an old one have
    correlated noise, which the inverse variance does not show.

    Parameters
    ----------
    wavelength : ndarray, shape (n,)
        Angstrom, ascending.
    flux, ivar : ndarray, shape (n,)
        Pixels with inverse variance 0 are left out.

    Returns
    -------
    pixel : ndarray of int, shape (m,)
        Consecutive indices.
    flux, ivar : ndarray, shape (m,)
        Inverse variance 0 where good old pixels cover less than `MIN_COVERED` of the new one.
    information : ndarray, shape (m,)
        The old inverse variances, divided among the new pixels as the old pixels' widths are; 0 where `ivar` is.
    """
    step = np.diff(wavelength)
    before, after = np.append(step[0], step), np.append(step, step[-1])
    low = wavelength - 0.5 * np.where(before > MAX_STRETCH * after, after, before)
    high = wavelength + 0.5 * np.where(after > MAX_STRETCH * before, before, after)
    first, last = (round(np.log10(end) / PIXEL) for end in (low[0], high[-1]))
    pixel = np.arange(first, last + 1)
    bounds = 10.0 ** (PIXEL * (np.arange(first, last + 2) - 0.5))
    # between two consecutive edges of either kind lies a piece of one old pixel and of one new pixel
    edges = np.unique(np.concatenate([low, high, bounds]))
    middle, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    old, new = np.searchsorted(low, middle) - 1, np.searchsorted(bounds, middle) - 1
    usable = (old >= 0) & (new >= 0) & (new < len(pixel)) & (middle < high[old]) & (ivar[old] > 0)
    old, new, width = old[usable], new[usable], width[usable]
    share = width / (high - low)[old]
    covered = np.bincount(new, width, len(pixel))
    known = covered >= MIN_COVERED * np.diff(bounds)
    total = np.where(known, covered, 1.0)
    variance = np.bincount(new, width**2 / ivar[old], len(pixel)) / total**2
    rebinned = np.bincount(new, width * flux[old], len(pixel)) / total
    inverse = np.divide(1.0, variance, out=np.zeros(len(pixel)), where=known)
    information = np.where(known, np.bincount(new, share * ivar[old], len(pixel)), 0.0)
    return pixel, np.where(known, rebinned, 0.0), inverse, information


# --- the checks of a user's arrays ------------------------------------------------------------------------------------


def _checked(wavelength: ArrayLike, flux: ArrayLike, ivar: ArrayLike, mask: ArrayLike | None) -> dict:
    """A user's arrays as `Spectrum` keeps them."""
    wavelength = _array(wavelength, "wavelength", "AA")
    flux = _array(flux, "flux", FLUX_UNIT, wavelength)
    ivar = _array(ivar, "ivar", IVAR_UNIT, wavelength)
    mask = np.zeros(len(flux), bool) if mask is None else np.asarray(mask).astype(bool)
    for name, values in (("flux", flux), ("ivar", ivar), ("mask", mask)):
        if values.shape != wavelength.shape:
            raise _invalid(f"{len(wavelength)} wavelengths but {name} of shape {values.shape}; give one for each")
    _check_wavelength(wavelength)
    log_wavelength = np.log10(wavelength)
    pixel = np.rint(log_wavelength / PIXEL).astype(np.int64)
    on_grid = np.abs(log_wavelength - PIXEL * pixel).max() <= ON_GRID and (np.diff(pixel) > 0).all()
    return {"wavelength": wavelength, "flux": flux, "ivar": ivar, "mask": mask, "pixel": pixel if on_grid else None}


def _array(values: ArrayLike, name: str, unit: str, wavelength: np.ndarray | None = None) -> np.ndarray:
    """Numbers in one dimension; masked ones become NaN, and quantities are converted, also from those by frequency."""
    if values is None:
        raise _invalid(f"{name} is missing; give wavelength, flux and ivar, the inverse variance of the flux")
    try:
        values = _converted(values, name, unit, wavelength) if hasattr(values, "to_value") else values
        array = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    except (ValueError, TypeError) as error:
        raise _invalid(f"{name} cannot be read as numbers in {unit} ({error})") from error
    if array.ndim != 1 or len(array) < 2:
        raise _invalid(f"{name} has the shape {array.shape}; give one-dimensional arrays of at least two numbers")
    return array


def _converted(values, name: str, unit: str, wavelength: np.ndarray | None) -> np.ndarray:
    """The numbers of a quantity in a unit; those of fluxes by frequency need the wavelengths in Angstrom."""
    from astropy import units

    if wavelength is None:
        return values.to_value(unit, units.spectral())
    own = values.unit if name == "flux" else values.unit**-0.5
    if not own.is_equivalent("Jy") or np.shape(values) != wavelength.shape:
        return values.to_value(unit)
    factors = own.to(FLUX_UNIT, np.ones(len(wavelength)), units.spectral_density(wavelength * units.AA))
    return values.value * factors if name == "flux" else values.value * factors**-2


def _number(value: float, name: str) -> float:
    try:
        return np.nan if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise _invalid(f"{name} is {value!r}; give a number") from error


def check_ebv(ebv: ArrayLike) -> None:
    """Refuse negative E(B-V), which no dust has; SpectrumError."""
    if (np.asarray(ebv) < 0).any():
        raise _invalid("ebv is negative; give E(B-V) in magnitudes, or leave it out where it is not known")


def _check_wavelength(wavelength: np.ndarray) -> None:
    if not np.isfinite(wavelength).all():
        raise _invalid("wavelengths must be finite numbers; leave out the pixels that have none")
    wrong = np.flatnonzero(np.diff(wavelength) <= 0)
    if wrong.size:
        first, second = wavelength[wrong[0]], wavelength[wrong[0] + 1]
        raise _invalid(f"wavelengths must ascend, and {second:g} follows {first:g}; sort the pixels")
    low, high = wavelength[[0, -1]]
    if low >= WAVELENGTHS[0] and high <= WAVELENGTHS[1]:
        return
    hint = "give Angstrom, in vacuum, as observed"
    if low > 3.0 and high < 5.0:
        hint = "these look like logarithms; give 10 ** wavelength"
    elif np.log(OPTICAL[0]) <= low and high <= np.log(OPTICAL[1]):
        hint = "these look like natural logarithms; give exp(wavelength)"
    for unit, factor in (("nanometres", 1e1), ("micrometres", 1e4), ("metres", 1e10)):
        if "logarithms" not in hint and low * factor >= WAVELENGTHS[0] and high * factor <= WAVELENGTHS[1]:
            hint = f"these look like {unit}; multiply them by {factor:g}"
            break
    if "logarithms" not in hint and np.log(WAVELENGTHS[0]) <= low and high <= np.log(WAVELENGTHS[1]):
        hint += ", or, if they are natural logarithms, give exp(wavelength)"
    raise _invalid(f"wavelengths of {low:g} to {high:g} are outside 1,000-100,000 Angstrom; {hint}")


def _invalid(message: str) -> SpectrumError:
    return SpectrumError(_WHERE, message, reason="invalid values")
