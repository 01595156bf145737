"""Spikes that no mask names: cosmic rays and residuals of sky lines, told from real features by their shape.

A real feature is no sharper than the instrument: its image has a full width at half maximum of about 2.4 pixels, in
SDSS's as in DESI's spectra. A real narrow emission line has more than 300 km/s, and absorption takes no more than the
flux that is there. A few pixels are a spike where a smooth curve without them fits their surroundings better than the
same curve plus any such feature.
"""

from dataclasses import replace
from math import erf

import numpy as np

from quasar_mass.spectra.spectrum import PIXEL, Spectrum

# All numbers here were chosen on simulated spectra, with spikes, doublets and narrow lines put into them.

# --- candidates: what deviates from its surroundings by this many standard deviations ---------------------------------
REACH, QUICK_SIGMAS = 6, 3.7  # from the mean of the two pixels this far away: a test without medians
AROUND, RANK, SIGMAS = 8, 0.36, 4.2  # from this rank (from below, or above) of the pixels up to this far away
SEPARATION = 7  # pixels: candidates this close to a stronger one that is no spike belong to it

# --- the run of pixels around a candidate -----------------------------------------------------------------------------
HALF, CORE = 12, 5  # pixels to either side: of what the smooth curve is fitted to, and of what may belong to the run
# Pixels belong to it that reach this fraction of the candidate's height, but at least and at most so many standard
# deviations; and one more at either end with this many
RUN_FRACTION, RUN_SIGMAS, RUN_ENOUGH, WING_SIGMAS = 0.4, 2.5, 8.0, 1.5
MAX_RUN, MAX_TALL_RUN, TALL = 7, 10, 20.0  # longest run; that of one whose peak exceeds this many standard deviations
MODEL_ERROR = 0.01  # of the flux: what a smooth curve may miss

# --- when it is a spike -----------------------------------------------------------------------------------------------
MIN_CHI2, MIN_SINGLE = 27.0, 4.8  # chi-squared of a run, and standard deviations of a single pixel
MIN_AROUND = 8  # pixels to which the smooth curve is fitted
TOLERANCE = 0.5  # above 1, of their reduced chi-squared, before it counts as noise that the errors do not tell of
MIN_STEP = 0.5  # of its height, by which it stands out from the two pixels on either side
# How much worse than a spike the best real feature must fit, in chi-squared: this, or this fraction of the run's own
# above the third number
EXCESS, EXCESS_FRACTION, EXCESS_FROM = 0.0, 0.04, 250.0
NEGATIVE_CHI2 = 20.0  # chi-squared of the flux below zero: enough without any comparison

_OFFSET = np.arange(-HALF, HALF + 1.0)
_RIDGE = 1e-6 * np.eye(3)  # for surroundings without any pixel
_FAR = 2 * HALF + CORE + 1  # pixels to either side that count for a candidate
_BESIDE = np.abs(_OFFSET) > CORE
_CURVE = np.vstack([np.ones_like(_OFFSET), _OFFSET / HALF, (_OFFSET / HALF) ** 2])


def _features(sigma: float, widths: tuple[float, ...]) -> np.ndarray:
    """Features with edges of a normal distribution, `widths` wide (0: a normal distribution), around the centre."""

    def profile(x: float, width: float) -> float:
        if not width:
            return float(np.exp(-0.5 * (x / sigma) ** 2))
        return 0.5 * (erf((x + 0.5 * width) / sigma / 2**0.5) - erf((x - 0.5 * width) / sigma / 2**0.5))

    centres = np.arange(-1.5, 1.51, 0.5)
    return np.array([[profile(x - centre, width) for x in _OFFSET] for width in widths for centre in centres])


# What the instrument can show at its sharpest; and emission lines from 300 km/s on, as SDSS's pixels show them
_SHARPEST = _features(1.0, (0, 2, 3.5, 5, 6.5, 8.5, 10.5))
_EMISSION = np.concatenate([_features(sigma, (0,)) for sigma in (2.1, 2.6, 3.1, 3.8)])
_SHAPES = [(features, features**2) for features in (_SHARPEST, _EMISSION)]

# column of the tables: (unit, description)
COLUMN = {"N_SPIKES": ("", "pixels removed as spikes, rest frame 1445-3388 Angstrom")}


def remove_spikes(spectrum: Spectrum, between: tuple[float, float] = (0.0, np.inf)) -> tuple[Spectrum, np.ndarray]:
    """Find the spikes of a spectrum, and replace them by a smooth curve through their surroundings.

    Parameters
    ----------
    spectrum : Spectrum
        On its own pixels, before it is rebinned.
    between : (float, float)
        Wavelengths in Angstrom, observed frame, between which to look.

    Returns
    -------
    spectrum : Spectrum
        With the flux of the spikes replaced; inverse variances and mask are left as they are.
    pixel : ndarray of int, shape (m,)
        Where spikes were: indices on SDSS's global grid, ascending.
    """
    first, last = np.searchsorted(spectrum.wavelength, between)
    part = slice(max(first - HALF, 0), last + HALF)
    ivar = spectrum.ivar[part]
    good = (ivar > 0) & ~spectrum.mask[part]
    with np.errstate(all="ignore"):  # absurd numbers; they are refused elsewhere
        replaced = _replaced(spectrum.flux[part], ivar, good)
    if not replaced:
        return spectrum, np.zeros(0, np.int64)
    index, smooth = (np.concatenate(arrays) for arrays in zip(*replaced, strict=True))
    good = good[index]
    index, flux = index[good] + part.start, spectrum.flux.copy()
    flux[index] = smooth[good]
    pixel = np.rint(np.log10(spectrum.wavelength[index]) / PIXEL).astype(np.int64)
    return replace(spectrum, flux=flux), np.unique(pixel)


def _replaced(flux: np.ndarray, ivar: np.ndarray, good: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pixels of each spike and the smooth flux there."""
    usable = np.flatnonzero(good) + _FAR
    if len(usable) <= 2 * HALF:
        return []
    # margins without weight, so that every pixel has surroundings
    padded, weight = np.zeros((2, len(flux) + 2 * _FAR))
    padded[_FAR:-_FAR] = flux
    np.multiply(ivar, good, out=weight[_FAR:-_FAR])
    bad = np.flatnonzero(weight == 0)
    padded[bad] = np.interp(bad, usable, padded[usable])
    found, refused, removed = [], [], []
    for at, sign in _candidates(padded, weight):
        if weight[at] == 0 or any(abs(at - other) <= SEPARATION for other in refused):
            continue
        run = _spike(padded, weight, at, sign)
        if run is not None:
            pixels, smooth = run
            padded[pixels], weight[pixels] = smooth, 0.0
            found.append((pixels - _FAR, smooth))
            removed.append(at)
        elif not any(abs(at - other) <= 2 * HALF for other in removed):  # what may deviate for that spike alone
            refused.append(at)
    return found


def _candidates(flux: np.ndarray, weight: np.ndarray) -> list[tuple[int, float]]:
    """Pixels to look at, the most deviating ones first, with 1 or -1 where they are above or below what is around."""
    twice = 2.0 * flux[REACH:-REACH]
    twice -= flux[: -2 * REACH]
    twice -= flux[2 * REACH :]
    twice *= twice
    twice *= weight[REACH:-REACH]
    at = np.flatnonzero(twice > (2.0 * QUICK_SIGMAS) ** 2) + REACH
    if not at.size:
        return []
    near = at[:, None] + np.arange(-AROUND, AROUND + 1)
    values, known = flux[near], weight[near] > 0
    ordered = np.sort(np.where(known, values, np.inf), axis=1)
    count, row = known.sum(axis=1) - 1, np.arange(len(at))
    sign = np.where(values[:, AROUND] > ordered[row, count // 2], 1.0, -1.0)
    rank = np.rint((0.5 - sign * (0.5 - RANK)) * count).astype(np.int64)
    level = ordered[row, rank]
    scale = sign / np.sqrt(1.0 / weight[at] + (MODEL_ERROR * level) ** 2)
    height = (values[:, AROUND - 1 : AROUND + 2] - level[:, None]) * scale[:, None]
    beside = np.maximum(height[:, 0] * known[:, AROUND - 1], height[:, 2] * known[:, AROUND + 1])
    height = height[:, 1]
    high = np.flatnonzero((height > SIGMAS) & ((height > MIN_SINGLE) | (beside > RUN_SIGMAS)))
    high = high[np.argsort(-height[high])]
    return list(zip(at[high].tolist(), sign[high].tolist(), strict=True))


def _spike(flux: np.ndarray, weight: np.ndarray, at: int, sign: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The pixels of a spike and the smooth flux there, or None where there is no spike."""
    far = slice(at - _FAR, at + _FAR + 1)
    level = np.sort(flux[at - HALF : at + HALF + 1])[HALF]
    # upwards, and in standard deviations of the candidate
    weight = weight[far] / (1.0 + weight[far] * (MODEL_ERROR * level) ** 2)
    unit = sign * weight[_FAR] ** 0.5
    weight /= weight[_FAR]
    values = (flux[far] - level) * unit
    run = _run(values[_FAR - HALF : _FAR + HALF + 1], weight[_FAR - HALF : _FAR + HALF + 1])
    if run is None:
        return None
    start, stop = run[0] + _FAR - HALF, run[1] + _FAR - HALF
    smooth = _smooth_if_spike(values, weight, start, stop, sign, -level * unit)
    return None if smooth is None else (np.arange(start, stop) + at - _FAR, smooth / unit + level)


def _run(flux: np.ndarray, weight: np.ndarray) -> tuple[int, int] | None:
    """First and last but one pixel of the run around the middle, None where it has no end."""
    curve = _fit(flux, weight * _BESIDE)[0] @ _CURVE
    height = (flux - curve) * np.sqrt(weight)
    least = min(max(RUN_FRACTION * height[HALF], RUN_SIGMAS), RUN_ENOUGH)
    inside = ((height > least) | (weight == 0)).tolist()
    if not inside[HALF]:
        return None
    start, stop = HALF, HALF + 1
    while start and inside[start - 1]:
        start -= 1
    while stop < len(inside) and inside[stop]:
        stop += 1
    if start == 0 or stop == len(inside) or stop - start > 2 * CORE + 1:
        return None
    return start - int(height[start - 1] > WING_SIGMAS), stop + int(height[stop] > WING_SIGMAS)


def _smooth_if_spike(
    flux: np.ndarray, weight: np.ndarray, start: int, stop: int, sign: float, zero: float
) -> np.ndarray | None:
    """The smooth curve at the pixels of a run if it is a spike, or else None.

    Parameters
    ----------
    flux, weight : ndarray, shape (2 _FAR + 1,)
        Of the surroundings, upwards.
    start, stop : int
        First and last but one pixel of the run.
    sign : float
        -1: turned upside down.
    zero : float
        Where the flux is zero.
    """
    left = (start + stop - 1) // 2 - HALF
    window, run = slice(left, left + 2 * HALF + 1), slice(start - left, stop - left)
    near, within = flux[window], weight[window]
    outside = within.copy()
    outside[run] = 0.0
    curve = _fit(near, outside)[0] @ _CURVE
    height = (near - curve) * np.sqrt(within)
    inside, above = within[run], height[run].copy()
    used, around = np.count_nonzero(inside), np.count_nonzero(outside)
    if around < MIN_AROUND or used > (MAX_TALL_RUN if above.max() > TALL else MAX_RUN):
        return None
    height[run] = 0.0
    surroundings = float(height @ height)
    scatter = max(1.0, surroundings / (around - len(_CURVE)) - TOLERANCE)
    chi2 = float(above @ above) / scatter
    if chi2 < (MIN_CHI2 if used > 1 else MIN_SINGLE**2) or not _stands_out(flux, weight, start, stop, curve[run]):
        return None
    if sign < 0 and inside @ np.maximum(near[run] - zero, 0.0) ** 2 > NEGATIVE_CHI2:
        return curve[run]
    others = np.sort(np.concatenate([flux[left - HALF : start - 1], flux[stop + 1 : left + 3 * HALF + 1]]))
    emission = sign > 0 and bool((near[run] * (inside > 0)).max() > others[-3])
    # absorption takes no more than the flux around it
    largest = np.inf if sign > 0 else max(zero - min(curve[run].mean(), others[HALF]), 0.0)
    # the stronger a feature is, the more shows of a shape that is not among `_SHAPES`
    enough = max(EXCESS, EXCESS_FRACTION * (chi2 - EXCESS_FROM))
    excess = (_chi2_of_real(near, within, largest, emission) - surroundings) / scatter - used
    return curve[run] if excess > enough else None


def _stands_out(flux: np.ndarray, weight: np.ndarray, start: int, stop: int, curve: np.ndarray) -> bool:
    """Whether a run stands out from the two pixels on either side, and not only from the smooth curve."""
    share = weight[start:stop] / weight[start:stop].sum()
    mean = share @ flux[start:stop]
    step = MIN_STEP * (mean - share @ curve)
    for side in (slice(start - 2, start), slice(stop, stop + 2)):
        known = weight[side].sum()
        if known and mean - weight[side] @ flux[side] / known <= step:
            return False
    return True


def _chi2_of_real(flux: np.ndarray, weight: np.ndarray, largest: float, emission: bool) -> float:
    """Chi-squared of the smooth curve with that real feature, up to `largest`, which fits best."""
    features, squares = _SHAPES[emission]
    coefficients, inverse, products = _fit(flux, weight)
    weighted = weight * flux
    # features without the part that a smooth curve fits
    overlap = features @ (_CURVE * weight).T
    square = np.maximum(squares @ weight - ((overlap @ inverse) * overlap).sum(axis=1), 1e-6)
    product = features @ weighted - overlap @ coefficients
    size = np.minimum(np.maximum(product / square, 0.0), largest)
    gain = size * (2.0 * product - size * square)
    return float(weighted @ flux - products @ coefficients - gain.max())


def _fit(flux: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients of the smooth curve, shape (3,), the inverse of the normal equations' matrix, their right side."""
    weighted = _CURVE * weight
    inverse = np.linalg.inv(weighted @ _CURVE.T + _RIDGE)
    products = weighted @ flux
    return inverse @ products, inverse, products
