"""Profiles of broad lines: sums of three Gaussians whose FWHM is exactly the one drawn.

A shape is a core, an intermediate part and a very broad base with random shares, widths and displacements. Between
them they run from Gaussian-like over Lorentzian-like (narrow core, strong base) to boxy (two displaced equals), with
red or blue asymmetry: what multi-Gaussian fits of SDSS quasars find (Shen et al. 2011, ApJS 194, 45, fit up to three).
The distributions are chosen here and wider than the best estimate, so that a network learns to see through them.

Only the *shape* is random. How wide it is, is solved for: the FWHM of the sum, and for a doublet of the whole blend, as
a fit for virial masses measures it.
"""

import numpy as np

SIGMA_TO_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
_GRID = np.linspace(-1.0, 1.0, 97)  # of the search for the half maximum, in units of its reach
_OUTWARDS = np.array((-1, 1))
_SOLVE_STEPS = 12  # of the secant at most; four to six are usual
_TOLERANCE = 1e-5  # of the FWHM

# All chosen here: what the very different profiles of Shen et al. 2011 and of Fine et al. 2010 (MNRAS 409, 591) allow.
BOXY_SHARE = 0.12  # of the shapes
INTERMEDIATE = (0.10, 0.65, 1.25, 2.8)  # least and most of its share and of its width over the core's
BASE = (0.02, 0.55, 2.3, 6.0)  # the same
DISPLACED = (0.25, 0.40)  # scatter of the intermediate part's and the base's displacement, in widths of the core
BOXY_DISPLACED = (0.45, 0.85)  # least and most displacement of the two halves of a boxy core
BOXY_BASE = 0.20  # most share of a base under a boxy core


def draw_shape(rng: np.random.Generator, blue: float = 0.0, strong: float = 1.5) -> np.ndarray:
    """Draw the shape of a broad line.

    Parameters
    ----------
    rng : numpy.random.Generator
        Used for the same number of values whatever is drawn.
    blue : float
        Displacement of the intermediate part and, twice as far, of the base towards the blue, in widths of the core:
        the wing of a wind.
    strong : float
        The smaller, the stronger the bases: the power of the even random number that chooses their share.

    Returns
    -------
    ndarray, shape (3, 3)
        Rows: the shares of the flux (their sum is 1), the displacements and the standard deviations, of core,
        intermediate part and base, in units of the core's standard deviation.
    """
    kind, share, ratio, base, wide, half = rng.random(6)
    displaced = np.array(DISPLACED) * rng.standard_normal(2)
    if kind < BOXY_SHARE:
        apart = _between(half, *BOXY_DISPLACED)
        base = BOXY_BASE * base
        shares = ((1.0 - base) * (0.4 + 0.2 * share), 0.0, base)
        places = (-apart, apart - 0.5 * blue, displaced[1] - blue)
        sigmas = (1.0, 0.9 + 0.2 * ratio, _between(wide**2, *BASE[2:]))
    else:
        base = BASE[0] + (BASE[1] - BASE[0]) * base**strong
        shares = (0.0, (1.0 - base) * _between(share, *INTERMEDIATE[:2]), base)
        places = (0.0, displaced[0] - blue, displaced[1] - 2.0 * blue)
        sigmas = (1.0, _between(ratio, *INTERMEDIATE[2:]), _between(wide**2, *BASE[2:]))
    shape = np.array((shares, places, sigmas))
    shape[0, 1 if kind < BOXY_SHARE else 0] = 1.0 - sum(shares)
    return shape


def unit(shape: np.ndarray) -> np.ndarray:
    """Give a shape in units of its own FWHM instead of its core's width."""
    width = full_width(shape)
    return shape / np.array(((1.0,), (width,), (width,)))


def scaled(shape: np.ndarray, fwhm: float, offsets: tuple[float, ...] = (0.0,)) -> tuple:
    """Give the Gaussians of a line whose whole profile has a given FWHM.

    Parameters
    ----------
    shape : ndarray, shape (3, n)
        From `draw_shape`, then divided by its own FWHM (`unit`).
    fwhm : float
        Between the outermost velocities of half the maximum, km/s.
    offsets : tuple of float
        Velocities of the members of a blend of equals, km/s; one for a single line.

    Returns
    -------
    tuple of ndarray, shape (n * members,)
        Shares of the flux (their sum is 1), velocities and standard deviations (km/s).
    """
    if len(offsets) == 1:  # the FWHM goes with the scale
        return shape[0], fwhm * shape[1] + offsets[0], fwhm * shape[2]
    shares, places, sigmas = np.concatenate([shape] * len(offsets), axis=1)
    shares /= len(offsets)
    apart = np.repeat(offsets, shape.shape[1])

    def blend(scale: float) -> tuple:
        return shares, scale * places + apart, scale * sigmas

    last = fwhm
    missed_last = full_width(blend(last)) - fwhm
    scale = last * np.sqrt(max(1.0 - (1.2 * (offsets[-1] - offsets[0]) / fwhm) ** 2, 0.1))
    low, high = 0.0, last  # a blend is wider than its members
    for _ in range(_SOLVE_STEPS):
        missed = full_width(blend(scale)) - fwhm
        if abs(missed) < _TOLERANCE * fwhm:
            break
        low, high = (scale, high) if missed < 0 else (low, scale)
        step = missed * (scale - last) / (missed - missed_last) if missed != missed_last else np.inf
        last, missed_last = scale, missed
        scale = scale - step
        if not low < scale < high:
            scale = 0.5 * (low + high)
    return blend(scale)


def full_width(gaussians: tuple | np.ndarray) -> float:
    """Give the FWHM of a sum of Gaussians, in the unit of their velocities: between the outermost half maxima.

    Parameters
    ----------
    gaussians : tuple of ndarray, shape (n,)
        Shares, velocities and standard deviations.
    """
    shares, velocities, sigmas = gaussians
    amplitudes = shares / sigmas
    narrow = int(np.argmax(amplitudes))
    reach = 3.0 * sigmas[narrow] + np.abs(velocities - velocities[narrow]).max()  # refined below if too short
    for _ in range(4):
        where = velocities[narrow] + reach * _GRID
        u = (where - velocities[:, None]) / sigmas[:, None]
        height = amplitudes @ np.exp(-0.5 * u * u)
        top = int(height.argmax())
        above = (height > 0.5 * height[top]).nonzero()[0]
        if above[0] > 0 and above[-1] < len(where) - 1:
            break
        reach *= 2.0
    before, peak, after = height[top - 1 : top + 2]
    curved = before - 2.0 * peak + after
    half = 0.5 * (peak - 0.125 * (after - before) ** 2 / curved)  # of the parabola through the three
    ends = above[[0, -1]]
    steps = (height[ends] - half) / (height[ends] - height[ends + _OUTWARDS])
    edges = where[ends] + _OUTWARDS * steps * (where[1] - where[0])
    for _ in range(2):  # Newton
        value, gradient = _height(gaussians, edges)
        edges -= (value - half) / gradient
    return float(edges[1] - edges[0])


def _height(gaussians: tuple, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and derivatives, without the constant 1/sqrt(2 pi)."""
    shares, velocities, sigmas = gaussians
    u = (where - velocities[:, None]) / sigmas[:, None]
    each = np.exp(-0.5 * u * u)
    amplitudes = shares / sigmas
    return amplitudes @ each, -(amplitudes / sigmas) @ (u * each)


def _between(part: float, least: float, most: float) -> float:
    return least + (most - least) * part
