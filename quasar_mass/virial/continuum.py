"""The continuum beneath the lines: power law, Balmer continuum and blended UV iron, fitted in line-free windows."""

import functools

import numpy as np

from quasar_mass.core.constants import BALMER_EDGE, HC_OVER_K
from quasar_mass.spectra import iron
from quasar_mass.spectra.spectrum import PIXEL
from quasar_mass.virial.bins import bin_centres
from quasar_mass.virial.optimizer import Fit, Priors, least_squares

PIVOT = 2100.0  # Angstrom: in the middle of the windows, so that level and slope are nearly independent

# Rest wavelengths (Angstrom) without strong lines. After Shen et al. 2011 (ApJS 194, 45: 1445-1465, 1700-1705,
# 2200-2700, 2900-3090) and the line-free windows of Vestergaard & Wilkes 2001 (1350-1370, 1440-1470, 1970-2400,
# 2480-2675, 2925-3500), without C II] 2326 and the blue wing of Al III.
WINDOWS = (
    (1350.0, 1370.0),
    (1440.0, 1468.0),
    (1688.0, 1712.0),
    (1975.0, 2290.0),
    (2350.0, 2410.0),
    (2440.0, 2675.0),
    (2925.0, 3500.0),
)

# Balmer continuum, optically thick at the edge (Grandi 1982, ApJ 255, 25), at 15,000 K. Below 3500 A it resembles a
# change of slope. Left free, it followed whatever the template lacks, the more closely the less noise there was, so its
# ratio to the power law at 3000 A is fixed; chosen here.
BALMER_TEMPERATURE, BALMER_TAU = 15_000.0, 1.0
BALMER_RATIO = 0.08

IRON_WIDTHS = np.array([1200.0, 1800.0, 2700.0, 4000.0, 6000.0, 9000.0, 13_500.0])  # km/s, of the table

# Parameters: ln level at PIVOT, slope, ln iron equivalent width / (100 A), ln iron width / (1000 km/s), and the growth
# of the slope per e-fold of wavelength, with which the power law follows a reddened quasar. The priors, chosen here,
# are wide where the data decide.
LEVEL, SLOPE, IRON, WIDTH, CURVATURE = range(5)
PRIORS = Priors(
    mean=np.array([0.0, -1.5, np.log(0.4), np.log(4.0), 0.0]),
    sd=np.array([np.inf, 0.7, 1.0, 0.4, 0.4]),
    low=np.array([-7.0, -5.0, np.log(1e-3), np.log(1.2), -3.0]),
    high=np.array([7.0, 3.0, np.log(5.0), np.log(13.4), 3.0]),
)


@functools.cache
def balmer() -> np.ndarray:
    """Balmer continuum on the bins, 1 at 3000 Angstrom."""

    def emission(w):
        planck = w**-5.0 / np.expm1(HC_OVER_K / (w * BALMER_TEMPERATURE))
        return planck * -np.expm1(-BALMER_TAU * (w / BALMER_EDGE) ** 3)

    return emission(10.0 ** bin_centres()) / emission(3000.0)


@functools.cache
def iron_table() -> np.ndarray:
    """Iron emission per Angstrom on the bins, broadened to each of `IRON_WIDTHS`; shape (7, SIZE)."""
    centres = bin_centres()
    fine = np.arange(np.floor(centres[0] / PIXEL) - 1, np.ceil(centres[-1] / PIXEL) + 2) * PIXEL
    return np.stack([np.interp(centres, fine, iron.emission(width, fine)) for width in IRON_WIDTHS])


def model(parameters: np.ndarray, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continuum and its derivatives.

    Parameters
    ----------
    parameters : ndarray, shape (k, 5)
    bins : ndarray of int, shape (m,)
        Indices of the bins.

    Returns
    -------
    parts : ndarray, shape (3, k, m)
        Power law, iron, Balmer continuum.
    derivatives : ndarray, shape (k, 5, m)
    """
    lever = np.log(10.0) * bin_centres()[bins] - np.log(PIVOT)
    level, slope, strength, width, curvature = (parameters[:, j, None] for j in range(5))
    power_law = np.exp(level + (slope + curvature * lever) * lever)
    at_2450, at_3000 = np.log(2450.0 / PIVOT), np.log(3000.0 / PIVOT)
    table = iron_table().take(bins, axis=1)
    step = np.log(IRON_WIDTHS[1] / IRON_WIDTHS[0])
    position = (width[:, 0] - np.log(IRON_WIDTHS[0] / 1e3)) / step
    lower = np.clip(position.astype(int), 0, len(IRON_WIDTHS) - 2)
    weight = (position - lower)[:, None]
    narrow, wide = table[lower], table[lower + 1]
    unit = 100.0 * np.exp(strength + level + (slope + curvature * at_2450) * at_2450)
    iron_flux = unit * ((1.0 - weight) * narrow + weight * wide)
    balmer_flux = BALMER_RATIO * np.exp(level + (slope + curvature * at_3000) * at_3000) * balmer()[bins]
    derivatives = np.stack(
        [
            power_law + iron_flux + balmer_flux,
            power_law * lever + iron_flux * at_2450 + balmer_flux * at_3000,
            iron_flux,
            unit * (wide - narrow) / step,
            power_law * lever**2 + iron_flux * at_2450**2 + balmer_flux * at_3000**2,
        ],
        axis=1,
    )
    return np.stack([power_law, iron_flux, balmer_flux]), derivatives


@functools.cache
def window_bins() -> np.ndarray:
    """Indices of the bins within `WINDOWS`."""
    wavelength = 10.0 ** bin_centres()
    inside = [(wavelength >= low) & (wavelength <= high) for low, high in WINDOWS]
    return np.flatnonzero(np.any(inside, axis=0))


def fit(flux: np.ndarray, ivar: np.ndarray, start: np.ndarray, priors: Priors = PRIORS, iterations: int = 20) -> Fit:
    """Fit the continuum to flux on the bins of `window_bins`; shapes (n, m), start (n, 5)."""
    bins = window_bins()

    def function(parameters, rows):
        parts, derivatives = model(parameters, bins)
        return parts[0] + parts[1] + parts[2], derivatives

    return least_squares(function, start, flux, ivar, priors, iterations)


def log_power_law(parameters: np.ndarray, covariance: np.ndarray, wavelength: float) -> tuple[np.ndarray, np.ndarray]:
    """log10 of the power law at a rest wavelength (Angstrom), and its error in dex; each shape (n,)."""
    lever = np.log(wavelength / PIVOT)
    gradient = np.zeros(parameters.shape[1])
    gradient[[LEVEL, SLOPE, CURVATURE]] = 1.0, lever, lever**2
    value = (parameters * gradient).sum(axis=1)
    variance = ((covariance * gradient).sum(axis=2) * gradient).sum(axis=1)
    return value / np.log(10.0), np.sqrt(np.maximum(variance, 0.0)) / np.log(10.0)
