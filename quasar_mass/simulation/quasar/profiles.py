"""Profiles of broad lines: sums of three Gaussians with exactly the FWHM that was drawn.

A profile has a core, an intermediate part and a very broad base with random weights, widths and displacements. The
shapes range from Gaussian over Lorentzian-like (narrow core, strong base) to boxy (two displaced halves), with red or
blue asymmetry, as multi-Gaussian fits of SDSS quasars find (Shen et al. 2011, ApJS 194, 45, fit up to three). The
distributions are chosen here, wider than the best estimate, so that a network learns not to depend on the shape.

Only the shape is random. The width is solved for: the FWHM of the sum or, for a doublet, of the whole blend, as a fit
for virial masses measures it.
"""

import numpy as np

SIGMA_TO_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
_GRID = np.linspace(-1.0, 1.0, 97)  # of the search for the half maximum, in units of its reach
_OUTWARDS = np.array((-1, 1))
_MAX_STEPS = 12  # of the secant method; four to six are usual
_TOLERANCE = 1e-5  # of the FWHM

# All chosen here, so as to cover the very different profiles of Shen et al. 2011 and Fine et al. 2010 (MNRAS 409, 591).
BOXY_FRACTION = 0.08  # of the shapes
INTERMEDIATE = (0.10, 0.65, 1.25, 2.8)  # ranges of its weight and of its width over the core's
DISPLACEMENT = (0.25, 0.40)  # scatter for intermediate part and base, in widths of the core
BOXY_DISPLACEMENT = (0.45, 0.85)  # range for the two halves of a boxy core
MAX_BOXY_BASE = 0.20  # weight of a base under a boxy core


def draw_shape(rng: np.random.Generator, blue: float = 0.0, base: tuple = (0.02, 0.55, 1.5, 2.3, 6.0)) -> np.ndarray:
    """Draw the shape of a broad line.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same number of values is drawn from it for every shape.
    blue : float
        Displacement of the intermediate part and, twice as far, of the base towards the blue, in widths of the core:
        the wing of a wind.
    base : tuple of float
        Smallest and largest weight of the base, the power of the uniform random number between them, and the smallest
        and largest width of the base over the core's.

    Returns
    -------
    ndarray, shape (3, 3)
        Rows: weights (they sum to 1), means and standard deviations of core, intermediate part and base. Means and
        standard deviations are in units of the core's standard deviation.
    """
    kind, weight, ratio, strong, wide, half = rng.random(6)
    displaced = np.array(DISPLACEMENT) * rng.standard_normal(2)
    if kind < BOXY_FRACTION:
        apart = _between(half, *BOXY_DISPLACEMENT)
        broad = MAX_BOXY_BASE * strong
        weights = ((1.0 - broad) * (0.4 + 0.2 * weight), 0.0, broad)
        means = (-apart, apart - 0.5 * blue, displaced[1] - blue)
        sigmas = (1.0, 0.9 + 0.2 * ratio, _between(wide**2, *base[3:]))
    else:
        broad = _between(strong ** base[2], *base[:2])
        weights = (0.0, (1.0 - broad) * _between(weight, *INTERMEDIATE[:2]), broad)
        means = (0.0, displaced[0] - blue, displaced[1] - 2.0 * blue)
        sigmas = (1.0, _between(ratio, *INTERMEDIATE[2:]), _between(wide**2, *base[3:]))
    shape = np.array((weights, means, sigmas))
    shape[0, 1 if kind < BOXY_FRACTION else 0] = 1.0 - sum(weights)
    return shape


def to_unit_width(shape: np.ndarray) -> np.ndarray:
    """Give a shape in units of its own FWHM instead of its core's width."""
    width = measure_fwhm(shape)
    return shape / np.array(((1.0,), (width,), (width,)))


def with_fwhm(shape: np.ndarray, fwhm: float, offsets: tuple[float, ...] = (0.0,)) -> tuple:
    """Give the Gaussians of a line whose whole profile has a given FWHM.

    Parameters
    ----------
    shape : ndarray, shape (3, n)
        From `to_unit_width`.
    fwhm : float
        Between the outermost velocities at half the maximum, km/s.
    offsets : tuple of float
        Velocities of the components of a blend of equally strong lines, km/s; one for a single line.

    Returns
    -------
    tuple of ndarray, shape (n * components,)
        Weights of the flux (they sum to 1), mean velocities and standard deviations (km/s).
    """
    if len(offsets) == 1:  # the FWHM is proportional to the scale
        return shape[0], fwhm * shape[1] + offsets[0], fwhm * shape[2]
    weights, means, sigmas = np.concatenate([shape] * len(offsets), axis=1)
    weights /= len(offsets)
    apart = np.repeat(offsets, shape.shape[1])

    def blend(scale: float) -> tuple:
        return weights, scale * means + apart, scale * sigmas

    # the secant method, kept between bounds
    last = fwhm
    missed_last = measure_fwhm(blend(last)) - fwhm
    scale = last * np.sqrt(max(1.0 - (1.2 * (offsets[-1] - offsets[0]) / fwhm) ** 2, 0.1))
    low, high = 0.0, last  # a blend is wider than its components
    for _ in range(_MAX_STEPS):
        missed = measure_fwhm(blend(scale)) - fwhm
        if abs(missed) < _TOLERANCE * fwhm:
            break
        low, high = (scale, high) if missed < 0 else (low, scale)
        step = missed * (scale - last) / (missed - missed_last) if missed != missed_last else np.inf
        last, missed_last = scale, missed
        scale = scale - step
        if not low < scale < high:
            scale = 0.5 * (low + high)
    return blend(scale)


def measure_fwhm(gaussians: tuple | np.ndarray) -> float:
    """Measure the FWHM of a sum of Gaussians between the outermost half maxima.

    Parameters
    ----------
    gaussians : tuple of ndarray, shape (n,)
        Weights, mean velocities and standard deviations.

    Returns
    -------
    float
        In the unit of the velocities.
    """
    weights, velocities, sigmas = gaussians
    amplitudes = weights / sigmas
    highest = int(np.argmax(amplitudes))
    reach = 3.0 * sigmas[highest] + np.abs(velocities - velocities[highest]).max()  # doubled below if too short
    for _ in range(4):
        grid = velocities[highest] + reach * _GRID
        u = (grid - velocities[:, None]) / sigmas[:, None]
        height = amplitudes @ np.exp(-0.5 * u * u)
        top = int(height.argmax())
        above = (height > 0.5 * height[top]).nonzero()[0]
        if above[0] > 0 and above[-1] < len(grid) - 1:
            break
        reach *= 2.0
    before, peak, after = height[top - 1 : top + 2]
    curvature = before - 2.0 * peak + after
    half = 0.5 * (peak - 0.125 * (after - before) ** 2 / curvature)  # of the parabola through the three points
    ends = above[[0, -1]]
    steps = (height[ends] - half) / (height[ends] - height[ends + _OUTWARDS])
    edges = grid[ends] + _OUTWARDS * steps * (grid[1] - grid[0])
    for _ in range(2):  # Newton's method
        u = (edges - velocities[:, None]) / sigmas[:, None]
        each = np.exp(-0.5 * u * u)
        edges -= (amplitudes @ each - half) / -((amplitudes / sigmas) @ (u * each))
    return float(edges[1] - edges[0])


def _between(fraction: float, low: float, high: float) -> float:
    return low + (high - low) * fraction
