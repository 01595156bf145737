"""Properties of spectra measured on the spectra themselves: noise, luminosity, broad absorption, shape, line offset.

Only flux on the grid is needed (the tables hold no inverse variance), for many spectra at a time.
"""

from dataclasses import dataclass, fields

import numpy as np

from quasar_mass.core.constants import C_IV, C_KM_S, LUMINOSITY_UNIT
from quasar_mass.core.survey import Grid
from quasar_mass.spectra import redshift_check
from quasar_mass.spectra.rest_frame import median

MEDIAN_DIFFERENCE = 0.9539  # median of |a - b| of two normal deviates, over the standard deviation of one
# Interpolation onto the grid and the coadd correlate neighbouring pixels, so pixels `LAG` apart are compared;
# interpolation still reduces their noise by a fifth.
LAG, INTERPOLATED = 3, 0.82

# --- broad absorption: after the balnicity index of Weymann et al. 1991 (ApJ 373, 23), as far as the window covers it -
BAL_VELOCITIES = (-19_500.0, -3_000.0)  # km/s: the window starts at 1445 Angstrom, 20,800 km/s to the blue of C IV
MAX_FLUX, MIN_WIDTH = 0.9, 2_000.0  # below this fraction of the continuum, without a gap over this many km/s
SMOOTHING = 1_000.0  # km/s, running mean: broad troughs stay, noise falls
MIN_SIGMAS = 1.0  # standard deviations of the smoothed spectrum by which it must lie below that; chosen here
# Nearly line-free windows (Angstrom) after Vanden Berk et al. 2001, to which the continuum is fitted; C IV does not
# absorb in them. Iron and the wings of lines raise them all a little, and the continuum with them.
CONTINUUM = ((1685.0, 1715.0), (1975.0, 2050.0), (2150.0, 2230.0), (2650.0, 2690.0), (3010.0, 3080.0))

# --- shape ------------------------------------------------------------------------------------------------------------
SHAPE_STEP = redshift_check.STEP  # dex per bin, 1,380 km/s: keeps lines and continuum, and little noise
BATCH = 128  # spectra at a time, so that intermediate arrays stay in the cache
MODEL_ERROR = 0.05  # of the flux: components that fit the training spectra better than this fit their noise


@dataclass(frozen=True, repr=False)
class SpectrumMeasures:
    """Properties of spectra; each array of shape (n,), or (n, bins).

    Attributes
    ----------
    signal_to_noise : ndarray
        Median flux over the noise, estimated from differences of neighbouring pixels.
    log_luminosity : ndarray
        log10 of lambda L_lambda near 3000 Angstrom in erg/s, iron and all; NaN where the flux there is not positive.
    absorption : ndarray
        Broad absorption to the blue of C IV, km/s: the width of troughs below 90 % of the continuum, weighted by
        depth, as in a balnicity index.
    shape, shape_error : ndarray, shape (n, bins)
        The spectrum in bins of `SHAPE_STEP`, over its own median, and the noise of these bins.
    line_velocity, line_significance : ndarray
        Where the broad lines are, km/s from the redshift, and how sure that is (`redshift_check.line_offset`).
    """

    signal_to_noise: np.ndarray
    log_luminosity: np.ndarray
    absorption: np.ndarray
    shape: np.ndarray
    shape_error: np.ndarray
    line_velocity: np.ndarray
    line_significance: np.ndarray


def bin_width(grid: Grid) -> int:
    """Pixels of the grid in each bin of a spectrum's shape."""
    return max(1, round(SHAPE_STEP / grid.step))


def measure(flux: np.ndarray, redshift: np.ndarray, grid: Grid) -> SpectrumMeasures:
    """Measure spectra.

    Parameters
    ----------
    flux : ndarray, shape (n, grid.size)
        In the tables' unit.
    redshift : ndarray, shape (n,)
    grid : Grid
    """
    flux, redshift = np.asarray(flux, np.float32).reshape(len(flux), -1), np.asarray(redshift, float)
    batches = [slice(start, start + BATCH) for start in range(0, max(len(flux), 1), BATCH)]
    parts = [_measure(flux[rows], redshift[rows], grid) for rows in batches]
    names = [field.name for field in fields(SpectrumMeasures)]
    return SpectrumMeasures(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _measure(flux: np.ndarray, redshift: np.ndarray, grid: Grid) -> SpectrumMeasures:
    wavelength = grid.wavelength
    lag = max(1, round(LAG * 1e-4 / grid.step))
    group = bin_width(grid)
    bins = grid.size // group
    # noise follows the night sky: measured in blocks of eight bins, from neighbouring pixels
    steps = np.abs(flux[:, lag:] - flux[:, :-lag])[:, : (bins - 1) // 8 * 8 * group]
    blocks = median(steps.reshape(len(flux), -1, 8 * group)) / MEDIAN_DIFFERENCE / INTERPOLATED
    noise = np.maximum(median(blocks), np.finfo(np.float32).tiny)
    level = median(flux)
    near = (wavelength > 2950.0) & (wavelength < 3050.0)
    density = median(flux[:, near]).astype(float)  # luminosity density near 3000 Angstrom
    log_density = np.log10(np.where(density > 0, density, np.nan))
    shape = flux[:, : bins * group].reshape(len(flux), bins, group).mean(axis=2)
    floor = np.maximum(median(shape)[:, None], (noise / np.sqrt(group))[:, None])
    local = np.repeat(blocks, 8, axis=1)
    local = np.pad(local, ((0, 0), (0, bins - local.shape[1])), mode="edge")
    # the averaged pixels are correlated (coadd, interpolation): 1.4 times as noisy
    error = 1.4 * local / np.sqrt(group)
    shape, error = (shape / floor).astype(np.float32), (error / floor).astype(np.float32)
    centres = grid.log_wavelength[: bins * group].reshape(bins, group).mean(axis=1)
    velocity, significance = redshift_check.line_offset(centres, shape, 1.0 / np.maximum(error, 1e-9) ** 2)
    return SpectrumMeasures(
        signal_to_noise=(level / noise).astype(float),
        log_luminosity=log_density + np.log10(3000.0 * LUMINOSITY_UNIT) + np.log10(1.0 + redshift),
        absorption=_absorption(flux, grid),
        shape=shape,
        shape_error=error,
        line_velocity=velocity,
        line_significance=significance,
    )


def _absorption(flux: np.ndarray, grid: Grid) -> np.ndarray:
    """Width of the broad absorption by C IV, weighted by depth, km/s; shape (n,)."""
    log_wavelength, step = grid.log_wavelength, C_KM_S * np.log(10.0) * grid.step
    centres = np.array([np.log10(0.5 * (low + high)) for low, high in CONTINUUM])
    levels = [median(flux[:, slice(*np.searchsorted(grid.wavelength, window))]).astype(float) for window in CONTINUUM]
    known = np.min(levels, axis=0) > 0
    log_levels = np.log10(np.where(known, np.array(levels), 1.0)).T
    # a power law, for which the bluer windows count more: the trough is beyond them
    weights = np.sqrt(np.array([4.0, 3.0, 2.0, 1.0, 1.0]))
    matrix = np.column_stack([np.ones(len(centres)), centres - centres[0]]) * weights[:, None]
    slopes = (log_levels * weights) @ np.linalg.pinv(matrix).T
    velocity = C_KM_S * np.log(10.0) * (log_wavelength - np.log10(C_IV))
    near = slice(*np.searchsorted(velocity, BAL_VELOCITIES))
    width = max(1, round(SMOOTHING / step))
    continuum = 10.0 ** (slopes[:, :1] + slopes[:, 1:] * (log_wavelength[near] - centres[0]))
    smoothed = _running_mean(flux[:, : near.stop + width].astype(float), width)[:, near] / continuum
    pixels = flux[:, near].astype(float)
    noise = median(np.abs(np.diff(pixels, axis=1))) / MEDIAN_DIFFERENCE / median(continuum)
    noise *= 2.0 / np.sqrt(width)  # correlated pixels: differences show too little noise, and means keep more
    depth = 1.0 - smoothed / MAX_FLUX
    below = depth > MIN_SIGMAS * noise[:, None] / MAX_FLUX
    # length of the run of absorbed pixels that each pixel is in
    index = np.arange(below.shape[1])
    start = np.maximum.accumulate(np.where(below, 0, index + 1), axis=1)
    reversed_below = below[:, ::-1]
    stop = np.maximum.accumulate(np.where(reversed_below, 0, index + 1), axis=1)[:, ::-1]
    run = below.shape[1] - stop - start
    absorption = np.where(below & (run * step >= MIN_WIDTH), depth, 0.0).sum(axis=1) * step
    return np.where(known, absorption, 0.0)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Means of `width` pixels around each, fewer at the ends; shape as given."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    index = np.arange(values.shape[1])
    low, high = np.maximum(index - width // 2, 0), np.minimum(index + (width + 1) // 2, values.shape[1])
    return (total[:, high] - total[:, low]) / (high - low)
