"""The night sky as a BOSS fibre sees it: its noise, its lines, what the reduction leaves of them, and the resolution.

All numbers called *measured* are medians over 28 public BOSS spectra of faint quasars (median S/N below 8 per pixel) of
DR16 and DR17, most of 4500 s exposures.
"""

import functools

import numpy as np

# --- BOSS's pixels: wavelength 10^(k * 1e-4) Angstrom, k an integer ---------------------------------------------------
FIRST, LAST = 35_515, 40_153  # the widest span of k in 81 DR16 files (measured): 3560-10359 A

# --- the sky between its lines: wavelength (A); noise without the quasar's photons (1e-17 erg/s/cm2/A, one standard
# deviation, 4500 s); brightness (same unit, per fibre); width of the line-spread function (pixels); share of photons in
# the noise's variance, the rest being read-out. Measured; noise and share by fits of the reported variance against the
# flux of 35 quasars of plate 3655: the variance is noise^2 * (1 + share * flux / brightness). -------------------------
SKY = np.array(
    (
        (3560, 2.74, 5.7, 1.41, 0.30), (3600, 2.25, 6.1, 1.35, 0.30), (3630, 2.0, 5.6, 1.32, 0.30),
        (3670, 1.44, 5.1, 1.3, 0.32), (3720, 1.14, 4.5, 1.27, 0.37), (3800, 0.816, 4.0, 1.24, 0.45),
        (3900, 0.613, 3.3, 1.19, 0.53), (4000, 0.531, 3.8, 1.15, 0.60), (4200, 0.387, 3.7, 1.09, 0.80),
        (4500, 0.321, 3.8, 1.02, 0.87), (5000, 0.257, 3.2, 0.89, 0.90), (5500, 0.242, 3.3, 0.83, 0.88),
        (5800, 0.283, 4.0, 0.84, 0.81), (5950, 0.323, 4.9, 0.91, 0.77), (6050, 0.309, 4.0, 0.96, 0.75),
        (6150, 0.293, 3.7, 0.99, 0.75), (6300, 0.247, 3.2, 1.01, 0.76), (6500, 0.204, 2.8, 0.97, 0.77),
        (7000, 0.168, 2.4, 0.89, 0.79), (7500, 0.181, 2.3, 0.86, 0.78), (8000, 0.187, 2.4, 0.82, 0.74),
        (8500, 0.182, 2.2, 0.81, 0.72), (9000, 0.179, 2.3, 0.79, 0.72), (9300, 0.177, 2.1, 0.8, 0.71),
        (9600, 0.243, 3.1, 0.81, 0.71), (9800, 0.284, 3.1, 0.83, 0.71), (9900, 0.338, 3.1, 0.84, 0.71),
        (10000, 0.444, 4.0, 0.85, 0.70), (10100, 0.617, 5.4, 0.86, 0.70), (10200, 0.838, 6.2, 0.88, 0.70),
        (10300, 1.0, 6.8, 0.89, 0.70), (10360, 1.13, 6.5, 0.87, 0.70),
    )
)  # fmt: skip
# Sky lines: k of the pixel, noise there over the noise beside it. Measured: the peaks of the median noise of 1.8 and
# more. [O I] 5577 and 6300, Na 5891 and Hg 4047, 4358 lie below 7200 A, the OH forest above.
SKY_LINES = np.array(
    (
        (36075, 1.8), (36394, 2.0), (37465, 13.8), (37702, 2.5), (37994, 3.1), (38599, 2.0), (38620, 2.5),
        (38644, 2.0), (38659, 2.0), (38675, 1.9), (38809, 2.8), (38825, 2.0), (38875, 2.2), (38894, 2.8),
        (38919, 2.0), (38934, 2.4), (38952, 2.3), (38985, 2.7), (39013, 2.4), (39028, 2.6), (39046, 2.1),
        (39185, 2.2), (39191, 2.6), (39215, 4.6), (39243, 3.5), (39251, 1.9), (39259, 4.0), (39271, 1.8),
        (39278, 3.1), (39298, 2.1), (39361, 2.0), (39376, 2.1), (39430, 3.1), (39435, 3.7), (39459, 5.7),
        (39479, 2.3), (39488, 5.2), (39496, 2.2), (39504, 4.9), (39516, 2.3), (39523, 4.1), (39538, 2.2),
        (39544, 2.7), (39567, 1.8), (39692, 6.7), (39697, 6.1), (39703, 2.4), (39721, 9.0), (39741, 2.5),
        (39751, 8.6), (39759, 3.3), (39768, 5.8), (39779, 3.0), (39787, 6.0), (39802, 2.2), (39809, 3.7),
        (39833, 2.1), (39860, 2.0), (39868, 2.2), (39878, 2.5), (39909, 4.8), (39935, 1.9), (39945, 4.7),
        (39955, 2.1), (39964, 3.9), (39977, 3.6), (40007, 3.9), (40036, 2.4), (40054, 2.9), (40075, 2.4),
        (40082, 1.9), (40091, 2.3), (40123, 4.7), (40150, 3.0),
    )
)  # fmt: skip
SKY_LINE_WIDTH = 1.2  # pixels: standard deviation of a line's image (measured on isolated lines)

# --- what the sky subtraction leaves, in reported standard deviations of a pixel --------------------------------------
# Measured: robust scatter of flux minus a smooth curve, over the reported error, in quadrature above the pixels beside:
# 0.39 in BRIGHTSKY pixels; 1.9, 1.1 and 1.1 in the flanks of 5577, 5893 and 6300 A, 2-3 pixels off their centres, where
# the lines' positions and widths matter most. Neighbouring pixels go together over a line.
LEFTOVER = 0.42
LEFTOVER_FLANKS, FLANK, FLANK_WIDTH = ((37465, 1.9), (37702, 1.1), (37994, 1.1)), 2.5, 1.0  # k and size; pixels
LEFTOVER_STEP = 6  # pixels over which a leftover keeps its sign: chosen here, about a line's width

# --- the line-spread function -----------------------------------------------------------------------------------------
RESOLUTION_SCATTER = 0.12  # relative, of `wdisp` from fibre to fibre, the same at all wavelengths (measured 0.04-0.16)
RESOLUTION_RANGE, RESOLUTION_STEP = (0.80, 1.30), 0.05  # of its factor; in steps, so that kernels can be kept
_REACH = 6  # pixels: 3.3 standard deviations of the broadest line-spread function


@functools.cache
def pixels() -> np.ndarray:
    """Give log10(wavelength / Angstrom) of all pixels that any plate has, shape (LAST - FIRST + 1,)."""
    return 1e-4 * np.arange(FIRST, LAST + 1)


@functools.cache
def sky() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give the typical sky and resolution, all on `pixels`.

    Returns
    -------
    noise, brightness : ndarray
        Of the sky between its lines, 1e-17 erg/s/cm2/Angstrom.
    wdisp : ndarray
        Standard deviation of the line-spread function in pixels.
    photons : ndarray
        Share of photons in the variance of the noise.
    lines : ndarray
        Variance of the sky lines over that of the sky between them.
    """
    nodes = np.log10(SKY[:, 0])
    noise = 10.0 ** np.interp(pixels(), nodes, np.log10(SKY[:, 1]))
    brightness, wdisp, photons = (np.interp(pixels(), nodes, SKY[:, n]) for n in (2, 3, 4))
    k = np.arange(FIRST, LAST + 1)
    lines = np.zeros(len(k))
    for centre, ratio in SKY_LINES:
        np.maximum(lines, (ratio**2 - 1.0) * np.exp(-0.5 * ((k - centre) / SKY_LINE_WIDTH) ** 2), out=lines)
    return noise, brightness, wdisp, photons, lines


@functools.cache
def leftover_size() -> np.ndarray:
    """Give the standard deviation of what the sky subtraction leaves, in reported ones of the pixel, on `pixels`."""
    lines = sky()[4]
    size = LEFTOVER * np.sqrt(lines / (1.0 + lines))
    k = np.arange(FIRST, LAST + 1)
    for centre, more in LEFTOVER_FLANKS:
        np.maximum(size, more * np.exp(-0.5 * ((np.abs(k - centre) - FLANK) / FLANK_WIDTH) ** 2), out=size)
    return size


def leftover(rng: np.random.Generator) -> np.ndarray:
    """Draw what the sky subtraction leaves in one spectrum, in reported standard deviations of a pixel, on `pixels`."""
    k, nodes, size = _leftover_nodes()
    return size * np.interp(k, nodes, rng.standard_normal(len(nodes)))


@functools.cache
def _leftover_nodes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k = np.arange(FIRST, LAST + 1)
    nodes = np.arange(FIRST, LAST + LEFTOVER_STEP, LEFTOVER_STEP)
    # between two independent nodes an interpolated value scatters less: by the root of its weights' squares
    weight = (k - FIRST) % LEFTOVER_STEP / LEFTOVER_STEP
    return k, nodes, leftover_size() / np.hypot(weight, 1.0 - weight)


def blur(light: np.ndarray, factor: float) -> np.ndarray:
    """Spread light over the line-spread function; its sum over the pixels stays the same, but for the ends.

    Parameters
    ----------
    light : ndarray
        Flux density on `pixels`.
    factor : float
        Width over the typical one; a multiple of `RESOLUTION_STEP`.

    Returns
    -------
    ndarray
        On `pixels`.
    """
    kernel = _kernel(round(factor / RESOLUTION_STEP))
    padded = np.pad(light, _REACH, mode="edge")
    size = len(light)
    total = np.zeros(size)
    for row, weights in enumerate(kernel):
        total += (padded * weights)[row : row + size]
    return total


def draw_resolution(rng: np.random.Generator) -> float:
    """Draw the width of one fibre's line-spread function over the typical one, in steps of `RESOLUTION_STEP`."""
    factor = np.clip(1.0 + RESOLUTION_SCATTER * rng.standard_normal(), *RESOLUTION_RANGE)
    return RESOLUTION_STEP * round(float(factor) / RESOLUTION_STEP)


@functools.cache
def _kernel(steps: int) -> np.ndarray:
    """Weights with which each pixel's light goes to the pixels `_REACH` above it, ..., `_REACH` below it."""
    width = np.pad(sky()[2] * steps * RESOLUTION_STEP, _REACH, mode="edge")
    offset = np.arange(-_REACH, _REACH + 1)[:, None]
    weights = np.exp(-0.5 * (offset / width) ** 2)
    return weights / weights.sum(axis=0)
