"""Galactic extinction: E(B-V) of a line of sight, and how much of the flux the dust lets through."""

import functools

import numpy as np

from quasar_mass.core.survey import EXTINCTION_G, EXTINCTION_V, R_V
from quasar_mass.spectra.spectrum import PIXEL

# The extinction curve is tabulated once on these pixels: 3,000-12,000 A, wider than any SDSS spectrum.
_CURVE_FIRST, _CURVE_LAST = 34771, 40792


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


@functools.cache
def extinction_curve() -> np.ndarray:
    """A(lambda) / A(V) of Fitzpatrick 1999 at R_V = 3.1 on the global pixels 3,000-12,000 A, shape (n,)."""
    from astropy import units
    from dust_extinction.parameter_averages import F99

    wavelength = 10.0 ** (PIXEL * np.arange(_CURVE_FIRST, _CURVE_LAST + 1))
    return np.asarray(F99(Rv=R_V)(wavelength * units.AA))


def transmission(pixel: np.ndarray, ebv: float, curve: np.ndarray | None = None) -> np.ndarray:
    """Fraction of the flux that Galactic dust lets through.

    Parameters
    ----------
    pixel : ndarray of int, shape (n,)
        Index on the global grid (observed frame).
    ebv : float
        E(B-V) of Schlegel, Finkbeiner & Davis 1998, magnitudes.
    curve : ndarray, optional
        `extinction_curve`, where it has been computed already.

    Returns
    -------
    ndarray, shape (n,)
    """
    index = np.clip(np.asarray(pixel) - _CURVE_FIRST, 0, _CURVE_LAST - _CURVE_FIRST)
    curve = extinction_curve() if curve is None else curve
    return 10.0 ** (-0.4 * EXTINCTION_V * ebv * curve[index])
