"""The mask bits of a spectrum and its pixels without data, as measured on 46 public BOSS spectra.

Only ``ivar = 0`` and BRIGHTSKY in every exposure mean that a pixel should not be used. The other bits are set because
published files have them: most of those in OR_MASK mark where one camera's spectrum ends within the other's.
"""

import numpy as np

from quasar_mass.core.survey import BRIGHTSKY
from quasar_mass.simulation.spectrograph.sky import FIRST_PIXEL, LAST_PIXEL, pixels

# SPPIXMASK bits
BADFLAT, NEARBADPIXEL, LOWFLAT, FULLREJECT, PARTIALREJECT = 1 << 2, 1 << 16, 1 << 17, 1 << 18, 1 << 19
NOSKY, NODATA, COMBINEREJ, BADFLUXFACTOR = 1 << 22, 1 << 24, 1 << 25, 1 << 26

BRIGHTSKY_FROM = 7200.0  # Angstrom: pixels at 5577 and 6300 A do not carry the flag (measured)
BRIGHTSKY_RATIO = 1.80  # noise over that next to a line from which on a pixel is flagged: gives the measured 4.8-4.9 %
BRIGHTSKY_ONCE = 1.10  # the same in at least one exposure
LOST_RUNS, LOST_LENGTH = 4.4, 1.5  # runs of pixels with ivar = 0 per spectrum, and their mean length: 0.15 % (measured)
# Where the runs begin (Angstrom), and fraction of them (measured): the blue end, 5577 A, the red end, and anywhere.
LOST_REGIONS = ((3560, 3700), (5570, 5590), (9000, 10_359), (3700, 9000))
LOST_FRACTIONS = (0.10, 0.18, 0.50, 0.22)

BADFLAT_FRACTION = 0.044  # of spectra, one camera's half in every exposure: 2.2 % of the pixels (measured)
CAMERAS_MEET = 6000.0  # Angstrom
# Bits of OR_MASK between two wavelengths (Angstrom), in all spectra (measured, +-30 A): the cameras' ends.
ENDS = (
    (5130, 5170, NODATA | BADFLUXFACTOR),
    (5170, 5850, LOWFLAT | NOSKY | BADFLUXFACTOR),
    (6310, 6552, LOWFLAT | NOSKY | BADFLUXFACTOR),
    (6552, 7216, NODATA | BADFLUXFACTOR),
)
ENDS_SCATTER = 20.0  # pixels, from fibre to fibre
# Bits of OR_MASK in short runs anywhere: runs per spectrum and mean length (measured).
RUNS = ((NEARBADPIXEL, 50, 6.8), (FULLREJECT, 38, 4.2), (PARTIALREJECT, 158, 3.9), (COMBINEREJ, 104, 2.8))


def draw(rng: np.random.Generator, first: int, line_factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the masks of one spectrum.

    Parameters
    ----------
    rng : numpy.random.Generator
        The spectrum's own.
    first : int
        k of its first pixel.
    line_factor : ndarray, shape (n,)
        Variance of the sky with its lines over that without them.

    Returns
    -------
    and_mask, or_mask : ndarray of int, shape (n,)
    lost : ndarray of bool, shape (n,)
        Pixels without data; never the first or the last one, since files end there.
    """
    size = len(line_factor)
    red = pixels()[first - FIRST_PIXEL : first - FIRST_PIXEL + size] > np.log10(BRIGHTSKY_FROM)
    and_mask = np.where(red & (line_factor > BRIGHTSKY_RATIO**2), BRIGHTSKY, 0)
    if rng.random() < BADFLAT_FRACTION:
        middle = round(1e4 * np.log10(CAMERAS_MEET)) - first
        and_mask[slice(middle) if rng.random() < 0.5 else slice(middle, None)] |= BADFLAT
    or_mask = and_mask | np.where(line_factor > BRIGHTSKY_ONCE**2, BRIGHTSKY, 0)
    shift = first - round(ENDS_SCATTER * rng.standard_normal())
    for low, high, bits in ENDS:
        or_mask[_pixel(low) - shift : _pixel(high) - shift] |= bits
    for bit, runs, length in RUNS:
        starts = rng.integers(size, size=rng.poisson(runs))
        lengths = rng.geometric(1.0 / length, size=len(starts))
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        or_mask[np.minimum(np.repeat(starts, lengths) + within, size - 1)] |= bit
    lost = np.zeros(size, bool)
    for _ in range(rng.poisson(LOST_RUNS)):
        low, high = LOST_REGIONS[int(np.searchsorted(np.cumsum(LOST_FRACTIONS)[:-1], rng.random(), side="right"))]
        start = min(max(_pixel(rng.uniform(low, high)) - first, 1), size - 2)
        lost[start : min(start + int(rng.geometric(1.0 / LOST_LENGTH)), size - 1)] = True
    or_mask[lost] |= NODATA
    return and_mask, or_mask, lost


def _pixel(wavelength: float) -> int:
    """Give k of a wavelength in Angstrom, within `FIRST_PIXEL` and `LAST_PIXEL`."""
    return min(max(round(1e4 * float(np.log10(wavelength))), FIRST_PIXEL), LAST_PIXEL)
