"""Properties of spectra measured on the spectra themselves: noise, luminosity, broad absorption, shape, line offset.

Only flux on the grid is needed (the tables hold no inverse variance), for many spectra at a time. NaN, where a spectrum
has no data, is left out.
"""

from dataclasses import dataclass

import numpy as np

from quasar_mass.core.constants import C_IV, C_KM_S, LUMINOSITY_UNIT
from quasar_mass.core.survey import Grid
from quasar_mass.spectra import redshift_check
from quasar_mass.spectra.rest_frame import density_at_3000, median

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
        log10 of lambda L_lambda near 3000 Angstrom in erg/s, iron and all, by `rest_frame.density_at_3000`; NaN where
        the flux there is not positive.
    absorption : ndarray
        Broad absorption to the blue of C IV, km/s: the width of troughs below 90 % of the continuum, weighted by
        depth, as in a balnicity index; 0 where that is not seen.
    shape, shape_error : ndarray, shape (n, bins)
        The spectrum in bins of `SHAPE_STEP`, over its own median, and the noise of these bins; NaN where a bin is not
        seen whole.
    line_velocity, line_significance, line_evidence : ndarray
        Where the broad lines are, km/s from the redshift, how sure that is, and whether there are any
        (`redshift_check.line_offset`).
    """

    signal_to_noise: np.ndarray
    log_luminosity: np.ndarray
    absorption: np.ndarray
    shape: np.ndarray
    shape_error: np.ndarray
    line_velocity: np.ndarray
    line_significance: np.ndarray
    line_evidence: np.ndarray


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
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    shape, error = values["shape"], values["shape_error"]
    centres = grid.log_wavelength[: shape.shape[1] * bin_width(grid)].reshape(shape.shape[1], -1).mean(axis=1)
    ivar = np.where(np.isnan(shape) | np.isnan(error), 0.0, 1.0 / np.maximum(error, 1e-9) ** 2)
    lines = zip(
        ("line_velocity", "line_significance", "line_evidence"),
        redshift_check.line_offset(centres, shape, ivar),
        strict=True,
    )
    return SpectrumMeasures(**values, **dict(lines))


def _measure(flux: np.ndarray, redshift: np.ndarray, grid: Grid) -> dict[str, np.ndarray]:
    """All but where the lines are."""
    lag = max(1, round(LAG * 1e-4 / grid.step))
    group = bin_width(grid)
    bins = grid.size // group
    # noise follows the night sky: measured in blocks of eight bins, from neighbouring pixels
    steps = np.abs(flux[:, lag:] - flux[:, :-lag])[:, : (bins - 1) // 8 * 8 * group]
    blocks = median(steps.reshape(len(flux), -1, 8 * group)) / MEDIAN_DIFFERENCE / INTERPOLATED
    noise = np.maximum(median(blocks), np.finfo(np.float32).tiny)
    level = median(flux)
    density = density_at_3000(flux, grid)
    log_density = np.log10(np.where(density > 0, density, np.nan))
    shape = flux[:, : bins * group].reshape(len(flux), bins, group).mean(axis=2)
    floor = np.maximum(median(shape)[:, None], (noise / np.sqrt(group))[:, None])
    local = np.repeat(blocks, 8, axis=1)
    local = np.pad(local, ((0, 0), (0, bins - local.shape[1])), mode="edge")
    # the averaged pixels are correlated (coadd, interpolation): 1.4 times as noisy
    error = 1.4 * local / np.sqrt(group)
    return {
        "signal_to_noise": (level / noise).astype(float),
        "log_luminosity": log_density + np.log10(3000.0 * LUMINOSITY_UNIT) + np.log10(1.0 + redshift),
        "absorption": _absorption(flux, grid),
        "shape": (shape / floor).astype(np.float32),
        "shape_error": (error / floor).astype(np.float32),
    }


def _absorption(flux: np.ndarray, grid: Grid) -> np.ndarray:
    """Width of the broad absorption by C IV, weighted by depth, km/s; shape (n,). 0 where it is not seen."""
    log_wavelength, step = grid.log_wavelength, C_KM_S * np.log(10.0) * grid.step
    velocity = C_KM_S * np.log(10.0) * (log_wavelength - np.log10(C_IV))
    near = slice(*np.searchsorted(velocity, BAL_VELOCITIES))
    width = max(1, round(SMOOTHING / step))
    around = slice(max(near.start - width, 0), near.stop + width)  # as far as the running mean reaches
    levels = [median(flux[:, slice(*np.searchsorted(grid.wavelength, window))]).astype(float) for window in CONTINUUM]
    levels = np.array(levels).T
    # the trough and the two windows next to it must be seen, and no window may be as faint as its noise
    known = ~np.isnan(flux[:, around]).any(axis=1) & ~np.isnan(levels[:, :2]).any(axis=1) & ~(levels <= 0).any(axis=1)
    absorption = np.zeros(len(flux))
    absorption[known] = _trough_width(flux[known, around], levels[known], log_wavelength, around, near, width)
    return absorption * step


def _trough_width(
    flux: np.ndarray, levels: np.ndarray, log_wavelength: np.ndarray, around: slice, near: slice, width: int
) -> np.ndarray:
    """Width of troughs in pixels, weighted by depth, of flux in the pixels `around`; shape (n,)."""
    # a power law, for which the bluer windows count more: the trough is beyond them
    centres = np.array([np.log10(0.5 * (low + high)) for low, high in CONTINUUM])
    weights = np.where(np.isnan(levels), 0.0, (4.0, 3.0, 2.0, 1.0, 1.0))
    log_levels = np.log10(np.where(np.isnan(levels), 1.0, levels))
    x = centres - (weights @ centres / weights.sum(axis=1))[:, None]
    slope = (weights * x * log_levels).sum(axis=1) / (weights * x**2).sum(axis=1)
    level = (weights * log_levels).sum(axis=1) / weights.sum(axis=1)
    middle = (weights @ centres) / weights.sum(axis=1)
    step = log_wavelength[1] - log_wavelength[0]
    continuum = 10.0 ** (level[:, None] + slope[:, None] * (log_wavelength[near] - middle[:, None]))
    inside = slice(near.start - around.start, near.stop - around.start)
    smoothed = _running_mean(flux.astype(float), width)[:, inside] / continuum
    pixels = flux[:, inside].astype(float)
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
    wide = run * step * C_KM_S * np.log(10.0) >= MIN_WIDTH
    return np.where(below & wide, depth, 0.0).sum(axis=1)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Means of `width` pixels around each, fewer at the ends; shape as given."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    index = np.arange(values.shape[1])
    low, high = np.maximum(index - width // 2, 0), np.minimum(index + (width + 1) // 2, values.shape[1])
    return (total[:, high] - total[:, low]) / (high - low)
