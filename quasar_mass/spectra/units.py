"""Units that tables and other packages state: into Angstrom in vacuum and 1e-17 erg/s/cm2/Angstrom."""

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from quasar_mass.spectra.spectrum import FLUX_UNIT

if TYPE_CHECKING:
    from astropy.units import UnitBase

# how an error's column tells the error: error = values ** power, and so for its unit
POWERS = {"error": 1.0, "variance": 0.5, "ivar": -0.5}

_LOGARITHM = re.compile(r"(?:log10|log|dex)\b\s*[\[(]?\s*(.*?)\s*[\])]?", re.IGNORECASE)
# a power of a whole unit, as of inverse variances, which astropy does not read: 1/(erg/s/cm2/A)**2
_POWER = re.compile(r"(?:([\d.e+-]+)\s*)?(/\s*)?\((.+)\)\s*(?:\*\*)?\s*\(?([+-]?\d+)\)?", re.IGNORECASE)
# What people and surveys write, and how astropy reads it. A lone A is ampere to astropy, which no spectrum is in.
_SPELLINGS = (
    (r"[{}$\\]", ""),
    (r"\^", "**"),
    (r"(?<![\w.])10\s*\*\*\s*\(?\s*([+-]?\d+)\s*\)?", r"1e\1 "),
    (r"(?i)(?<![a-z])(?:[aå]ngstr[oö]e?ms?|ang|aa|[åÅ]|a)(?![a-zåÅ])", "Angstrom"),
    (r"(?i)\bergs\b", "erg"),
    (r"(?i)\bflam\b", "erg / (s cm2 Angstrom)"),
    (r"(?i)\bfnu\b", "erg / (s cm2 Hz)"),
    (r"(?i)\bmicro(?:ns?|met(?:er|re)s?)\b", "um"),
    (r"(?i)\bnanomet(?:er|re)s?\b", "nm"),
    (r"(?i)\bsec\b", "s"),
)


def parse(text: str) -> "tuple[UnitBase, bool]":
    """Read a unit as people write it.

    Parameters
    ----------
    text : str
        Such as ``10**-17 erg/(s cm2 Angstrom)``, ``1e-17 erg/s/cm^2/A``, ``W m-2 um-1``, ``mJy``, ``log(Angstrom)``.

    Returns
    -------
    unit : astropy unit
    logarithm : bool
        Whether the values are decimal logarithms of numbers in this unit.

    Raises
    ------
    ValueError
        If it is no unit.

    Examples
    --------
    >>> parse("10^-17 ergs/s/cm^2/A")[0].to_string()
    '1e-17 erg / (Angstrom s cm2)'
    """
    logarithm = _LOGARITHM.fullmatch(text.strip())
    plain = logarithm[1] if logarithm else text.strip()
    for spelling in (plain, plain.lower()):
        for pattern, written in _SPELLINGS:
            spelling = re.sub(pattern, written, spelling)
        power = _POWER.fullmatch(spelling.strip())
        unit = _unit(spelling) or (power and _power(*power.groups()))
        if unit is not None:
            return unit, bool(logarithm)
    raise ValueError(f"has the unit {text!r}, which cannot be read; write it as in '1e-17 erg/s/cm2/Angstrom'")


def _unit(text: str) -> "UnitBase | None":
    from astropy import units

    try:
        with warnings.catch_warnings(action="ignore", category=units.UnitsWarning):  # of several slashes
            return units.Unit(text)
    except (ValueError, TypeError, ArithmeticError):
        return None


def _power(scale: str | None, over: str | None, text: str, power: str) -> "UnitBase | None":
    unit = _unit(text)
    return unit and _unit(scale or "1") * unit ** (-int(power) if over else int(power))


def to_angstrom(values: np.ndarray, unit: "UnitBase") -> np.ndarray:
    """Wavelengths in Angstrom of wavelengths, frequencies, energies or wave numbers; ValueError for other units."""
    from astropy import units

    try:
        with np.errstate(divide="ignore"):
            return np.asarray(unit.to(units.AA, values, equivalencies=units.spectral()), dtype=np.float64)
    except units.UnitConversionError as error:
        raise ValueError(f"has wavelengths in {unit}, which is no unit of them") from error


def flux_factors(unit: "UnitBase", wavelength: np.ndarray) -> np.ndarray:
    """What turns fluxes in a unit into 1e-17 erg/s/cm2/Angstrom.

    Parameters
    ----------
    unit : astropy unit
        Of flux density by wavelength or by frequency.
    wavelength : ndarray, shape (n,)
        Angstrom.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        If it is no unit of flux density: counts, say.
    """
    from astropy import units

    if not (unit.is_equivalent(FLUX_UNIT) or unit.is_equivalent("Jy")):
        name = f"is in {unit}, which is no unit" if str(unit) else "has no unit"
        raise ValueError(f"{name} of flux density, such as 1e-17 erg/s/cm2/Angstrom or mJy")
    by_wavelength = units.spectral_density(wavelength * units.AA)
    return np.asarray(unit.to(FLUX_UNIT, np.ones(len(wavelength)), equivalencies=by_wavelength))


def inverse_variance(values: np.ndarray, kind: str, factors: np.ndarray) -> np.ndarray:
    """Inverse variance of fluxes in 1e-17 erg/s/cm2/Angstrom; 0 where the error is not a positive number.

    Parameters
    ----------
    values : ndarray, shape (n,)
    kind : str
        What they are: ``error``, ``variance`` or ``ivar``.
    factors : ndarray, shape (n,)
        `flux_factors` of the errors' unit.
    """
    with np.errstate(all="ignore"):
        error = np.where(values > 0, values, np.nan) ** POWERS[kind] * factors
        ivar = error**-2
    return np.where(np.isfinite(ivar), ivar, 0.0)


def vacuum(air: np.ndarray) -> np.ndarray:
    """Wavelengths in vacuum of wavelengths in air, both in Angstrom.

    The refractive index is that of dry air at 15 degrees Celsius, 101,325 Pa and 450 ppm of carbon dioxide: Ciddor
    1996, Applied Optics 35, 1566, equation 1. It is a function of the wavelength in vacuum, which is found by
    iteration; after three steps it changes by less than 1e-9 Angstrom.

    Examples
    --------
    >>> vacuum(np.array([4861.363])).round(3)  # H beta
    array([4862.721])
    """
    wavelength = np.asarray(air, dtype=np.float64)
    for _ in range(3):
        sigma2 = (1e4 / wavelength) ** 2  # square of the wave number per micrometre
        wavelength = air * (1.0 + 5.792105e-2 / (238.0185 - sigma2) + 1.67917e-3 / (57.362 - sigma2))
    return wavelength
