"""Extinction by dust in the Galaxy, of Fitzpatrick 1999 (PASP 111, 63) at R_V = 3.1."""

import functools

import numpy as np

from quasar_mass.core.survey import EXTINCTION_V, R_V
from quasar_mass.spectra.spectrum import PIXEL

# The curve is tabulated once on these pixels: 3,000-12,000 A, wider than any SDSS spectrum.
_CURVE_FIRST, _CURVE_LAST = 34771, 40792


@functools.cache
def extinction_curve() -> np.ndarray:
    """A(lambda) / A(V) on the global pixels 3,000-12,000 A, shape (n,)."""
    return _curve(1e4 * 10.0 ** (-PIXEL * np.arange(_CURVE_FIRST, _CURVE_LAST + 1)))


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
    curve = extinction_curve() if curve is None else curve
    magnitudes = EXTINCTION_V * ebv * curve.take(np.asarray(pixel) - _CURVE_FIRST, mode="clip")
    return np.exp(-0.4 * np.log(10.0) * magnitudes)  # a quarter of the time of a power of 10


def _curve(x: np.ndarray) -> np.ndarray:
    """A(lambda) / A(V) at wavenumbers `x` in 1/micron, from 0 to those of 2700 A: the optical and infrared part.

    A natural cubic spline through the anchors of tables 3 and 4, zero, and two points of the ultraviolet curve (section
    4 and appendix). In table 4, "-1.208" is a misprint of 1.208. A test compares with the package dust_extinction.
    """
    anchors = 1e4 / np.array([26500.0, 12200.0, 6000.0, 5470.0, 4670.0, 4110.0])
    infrared = np.array([0.265, 0.829]) * R_V / 3.1
    optical = np.array([-0.426, -0.050, 0.701, 1.208]) + np.array([1.0044, 1.0016, 1.0016, 1.0032]) * R_V
    optical[3] -= 0.00033 * R_V**2
    ultraviolet = 1e4 / np.array([2700.0, 2600.0])
    slope = -0.824 + 4.717 / R_V
    bump = ultraviolet**2 / ((ultraviolet**2 - 4.596**2) ** 2 + (0.99 * ultraviolet) ** 2)
    excess = 2.030 - 3.007 * slope + slope * ultraviolet + 3.23 * bump
    knots = np.concatenate([[0.0], anchors, ultraviolet])
    values = np.concatenate([[0.0], infrared / R_V, optical / R_V, 1.0 + excess / R_V])

    # a natural spline is a straight line and cubes from each knot on, whose sum is straight behind the last knot
    def terms(at: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones_like(at), at, np.maximum(at[:, None] - knots, 0.0) ** 3])

    straight = np.column_stack([np.zeros((2, 2)), [np.ones_like(knots), knots]])
    size = np.linalg.solve(np.vstack([terms(knots), straight]), np.append(values, [0.0, 0.0]))
    return terms(x) @ size
