"""How much of the broad lines a spectrum shows: a straight line over a gap in one of them erases what was there."""

import math

import numpy as np

from quasar_mass.core.constants import C_III, C_IV, KM_S_PER_DEX, MG_II
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.spectrum import PIXEL

# column of the tables: name and rest wavelength (Angstrom) of the line
LINES = {"SEEN_CIV": ("C IV", C_IV), "SEEN_CIII": ("C III]", C_III), "SEEN_MgII": ("Mg II", MG_II)}
# A line of which less is seen is flagged. The shipped model's masses shift by 0.1 dex rms where a sixth of Mg II is
# hidden, and by 0.06 and 0.03 where half of C IV or C III] is (docs/spikes_gaps_redshifts.md).
MIN_SEEN = {"SEEN_CIV": 0.5, "SEEN_CIII": 0.5, "SEEN_MgII": 0.85}
MIN_SHOWN = 0.5  # of a line that a mass is to come from: chosen here
# km/s, full width at half maximum of the normal distribution that weights a line's pixels; chosen so that masses shift
# as much for a gap in the wings of Mg II as for one at its core that hides the same fraction
FWHM = 6_000.0
BRIDGED = 4  # bad pixels in a row that count as seen: interpolation replaces so few well; chosen on mass shifts

_CENTRES = [math.log10(wavelength) for _, wavelength in LINES.values()]
_SCALE = FWHM / KM_S_PER_DEX / (2.0 * math.sqrt(math.log(2.0)))  # dex, of the error function


def hidden_fractions(low: float, high: float) -> list[float]:
    """Fraction of each of `LINES` between two wavelengths.

    Parameters
    ----------
    low, high : float
        log10(rest wavelength / Angstrom); may be infinite.
    """
    return [0.5 * (math.erf((high - c) / _SCALE) - math.erf((low - c) / _SCALE)) for c in _CENTRES]


def seen_fractions(log_wavelength: np.ndarray) -> list[float]:
    """Fraction of each of `LINES` that the good pixels of a spectrum show, to three decimals.

    Parameters
    ----------
    log_wavelength : ndarray, shape (n,)
        log10(rest wavelength / Angstrom) of the good pixels on SDSS's grid, ascending. Up to `BRIDGED` missing ones in
        a row count as seen.
    """
    before = np.flatnonzero(np.diff(log_wavelength) > (BRIDGED + 1.5) * PIXEL)
    # Python's own floats, with which the error function is five times as fast
    first, last = log_wavelength[[0, -1]].tolist()
    low = [-math.inf, *(log_wavelength[before] + 0.5 * PIXEL).tolist(), last + 0.5 * PIXEL]
    high = [first - 0.5 * PIXEL, *(log_wavelength[before + 1] - 0.5 * PIXEL).tolist(), math.inf]
    hidden = [hidden_fractions(*gap) for gap in zip(low, high, strict=True)]
    return [max(round(1.0 - sum(of_line), 3), 0.0) for of_line in zip(*hidden, strict=True)]


def line_flags(seen: list[float], covered: tuple[float, float]) -> list[str]:
    """Flag the lines of which a gap leaves less than `MIN_SEEN`; a line beyond the spectrum's ends is no gap.

    Parameters
    ----------
    seen : list of float
        From `seen_fractions`.
    covered : tuple of float
        log10(rest wavelength / Angstrom) of the first and last good pixels.
    """
    low, high = covered[0] + 0.5 * FWHM / KM_S_PER_DEX, covered[1] - 0.5 * FWHM / KM_S_PER_DEX
    hidden = [fraction < least for fraction, least in zip(seen, MIN_SEEN.values(), strict=True)]
    names = [name for name, _ in LINES.values()]
    return [
        f"gap at {name}"
        for name, centre, gap in zip(names, _CENTRES, hidden, strict=True)
        if gap and low <= centre <= high
    ]


def interpolate(flux: np.ndarray, grid: Grid, low: float, high: float) -> np.ndarray:
    """Replace a stretch of spectra on the grid as `to_rest_frame` replaces bad pixels.

    Parameters
    ----------
    flux : ndarray, shape (n, grid.size)
    grid : Grid
    low, high : float
        Ends of the stretch, log10(rest wavelength / Angstrom); at least one pixel remains on either side.

    Returns
    -------
    ndarray, shape (n, grid.size)
    """
    first = min(max(int(np.searchsorted(grid.log_wavelength, low)), 1), grid.size - 1)
    last = min(max(int(np.searchsorted(grid.log_wavelength, high)), first), grid.size - 1)
    weight = np.linspace(0.0, 1.0, last - first + 2)[1:-1]
    result = flux.copy()
    result[:, first:last] = flux[:, [first - 1]] * (1.0 - weight) + flux[:, [last]] * weight
    return result
