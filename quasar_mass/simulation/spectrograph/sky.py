"""The night sky in a BOSS fibre: its noise, its lines, the residuals of its subtraction, and the spectral resolution.

All numbers called *measured* are medians over 28 public BOSS spectra of faint quasars (median S/N below 8 per pixel) of
DR16 and DR17, most of 4500 s exposures.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

# --- BOSS's pixels: wavelength 10^(k * 1e-4) Angstrom, k an integer ---------------------------------------------------
FIRST_PIXEL, LAST_PIXEL = 35_515, 40_153  # the widest span of k in 81 DR16 files (measured): 3560-10359 A

# --- the typical sky is in `sky_continuum.txt` and `sky_lines.txt` ----------------------------------------------------
SKY_LINE_SIGMA = 1.2  # pixels: standard deviation of a line's image (measured on isolated lines)

# --- residuals of the sky subtraction, in reported standard deviations of a pixel ------------------------------------
# Measured: robust scatter of flux minus a smooth curve, over the reported error, in quadrature above the neighbouring
# pixels: 0.39 in BRIGHTSKY pixels; 1.9, 1.1 and 1.1 in the flanks of 5577, 5893 and 6300 A, 2-3 pixels off their
# centres, where the lines' positions and widths matter most. Residuals of neighbouring pixels have the same sign.
RESIDUAL = 0.42
RESIDUAL_FLANKS, FLANK, FLANK_WIDTH = ((37465, 1.9), (37702, 1.1), (37994, 1.1)), 2.5, 1.0  # k and size; pixels
RESIDUAL_STEP = 6  # pixels over which a residual keeps its sign: chosen here, about a line's width

# --- the line-spread function -----------------------------------------------------------------------------------------
RESOLUTION_SCATTER = 0.12  # relative, of `wdisp` from fibre to fibre, the same at all wavelengths (measured 0.04-0.16)
RESOLUTION_RANGE, RESOLUTION_STEP = (0.80, 1.30), 0.05  # of its factor; in steps, so that kernels can be cached
_REACH = 6  # pixels: 3.3 standard deviations of the broadest line-spread function


class Sky(NamedTuple):
    """The typical sky and resolution, on `pixels`.

    Attributes
    ----------
    noise, brightness : ndarray
        Of the sky between its lines, 1e-17 erg/s/cm2/Angstrom.
    wdisp : ndarray
        Standard deviation of the line-spread function in pixels.
    photons : ndarray
        Fraction of the noise's variance that is from photons.
    lines : ndarray
        Variance of the sky lines over that of the sky between them.
    """

    noise: np.ndarray
    brightness: np.ndarray
    wdisp: np.ndarray
    photons: np.ndarray
    lines: np.ndarray


@functools.cache
def pixels() -> np.ndarray:
    """Give log10(wavelength / Angstrom) of all pixels that any plate has, shape (LAST_PIXEL - FIRST_PIXEL + 1,)."""
    return 1e-4 * _k()


def _k() -> np.ndarray:
    return np.arange(FIRST_PIXEL, LAST_PIXEL + 1)


@functools.cache
def typical_sky() -> Sky:
    """Give the typical sky and resolution."""
    folder = Path(__file__).parent
    wavelength, noise, *others = np.loadtxt(folder / "sky_continuum.txt", unpack=True)
    nodes = np.log10(wavelength)
    noise = 10.0 ** np.interp(pixels(), nodes, np.log10(noise))
    brightness, wdisp, photons = (np.interp(pixels(), nodes, column) for column in others)
    lines = np.zeros(len(noise))
    for centre, ratio in np.loadtxt(folder / "sky_lines.txt"):
        np.maximum(lines, (ratio**2 - 1.0) * np.exp(-0.5 * ((_k() - centre) / SKY_LINE_SIGMA) ** 2), out=lines)
    return Sky(noise, brightness, wdisp, photons, lines)


def draw_residual(rng: np.random.Generator) -> np.ndarray:
    """Draw the residual of one sky subtraction, in reported standard deviations of a pixel, on `pixels`."""
    nodes, size = _residual_nodes()
    return size * np.interp(_k(), nodes, rng.standard_normal(len(nodes)))


@functools.cache
def _residual_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Pixels at which a residual is drawn, and its standard deviation on `pixels`."""
    k, lines = _k(), typical_sky().lines
    size = RESIDUAL * np.sqrt(lines / (1.0 + lines))
    for centre, more in RESIDUAL_FLANKS:
        np.maximum(size, more * np.exp(-0.5 * ((np.abs(k - centre) - FLANK) / FLANK_WIDTH) ** 2), out=size)
    # a value interpolated between two independent nodes scatters less: by the root of the sum of its squared weights
    weight = (k - FIRST_PIXEL) % RESIDUAL_STEP / RESIDUAL_STEP
    return np.arange(FIRST_PIXEL, LAST_PIXEL + RESIDUAL_STEP, RESIDUAL_STEP), size / np.hypot(weight, 1.0 - weight)


def blur(flux: np.ndarray, factor: float) -> np.ndarray:
    """Convolve a flux with the line-spread function; its sum over the pixels stays the same, except at the ends.

    Parameters
    ----------
    flux : ndarray
        Flux density on `pixels`.
    factor : float
        Width over the typical one; a multiple of `RESOLUTION_STEP`.

    Returns
    -------
    ndarray
        On `pixels`.
    """
    kernel = _kernel(round(factor / RESOLUTION_STEP))
    padded = np.pad(flux, _REACH, mode="edge")
    size = len(flux)
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
    """Weights with which each pixel's flux goes to the pixels `_REACH` above it, ..., `_REACH` below it."""
    width = np.pad(typical_sky().wdisp * steps * RESOLUTION_STEP, _REACH, mode="edge")
    offset = np.arange(-_REACH, _REACH + 1)[:, None]
    weights = np.exp(-0.5 * (offset / width) ** 2)
    return weights / weights.sum(axis=0)
