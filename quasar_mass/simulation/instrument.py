"""The telescope: from the light that arrives to the pixels that the BOSS spectrographs would have recorded.

Noise is drawn per pixel from the sky's and the quasar's photons and from the read-out, on BOSS's own pixels. All
numbers called *measured* are medians over 28 public BOSS spectra of faint quasars (median S/N below 8 per pixel) of
DR16 and DR17, most of 4500 s exposures.

Left out: the resolution (R about 2000, 150 km/s: a 1600 km/s line grows by 0.4 %), noise that is correlated between
neighbouring pixels, errors of the flux calibration and of the sky subtraction, cosmic rays, and fibres placed for
another wavelength than the one observed.
"""

import functools
from dataclasses import dataclass

import numpy as np

from quasar_mass.survey import BRIGHTSKY

# --- BOSS's pixels: wavelength 10^(k * 1e-4) Angstrom, k an integer ---------------------------------------------------
FIRST, LAST = 35_515, 40_153  # the widest span of k in 81 DR16 files (measured): 3560-10359 A
FIRST_QUANTILES = ((0.0, 0.2, 0.45, 0.59, 0.60, 1.0), (35_515, 35_521, 35_527, 35_531, 35_565, 35_571))  # first pixels:
# from which redshift on published quasars reach the window's start, 1.463-1.50, says how plates are distributed
PIXELS = (4574, 4624)  # fewest and most pixels per file (measured)
LAST_FROM = 40_135  # smallest last pixel (measured)

# --- the sky: wavelength (A), noise (1e-17 erg/s/cm2/A, one standard deviation), sky brightness (same unit, per fibre),
# width of the line-spread function (pixels). Measured: running 30 % quantile of the medians, so without sky lines.
SKY = np.array(
    (
        (3560, 2.54, 5.7, 1.41), (3600, 2.13, 6.1, 1.35), (3630, 1.92, 5.6, 1.32), (3670, 1.41, 5.1, 1.30),
        (3720, 1.14, 4.5, 1.27), (3800, 0.85, 4.0, 1.24), (3900, 0.67, 3.3, 1.19), (4000, 0.61, 3.8, 1.15),
        (4200, 0.46, 3.7, 1.09), (4500, 0.385, 3.8, 1.02), (5000, 0.308, 3.2, 0.89), (5500, 0.291, 3.3, 0.83),
        (5800, 0.314, 4.0, 0.84), (5950, 0.348, 4.9, 0.91), (6050, 0.326, 4.0, 0.96), (6150, 0.313, 3.7, 0.99),
        (6300, 0.269, 3.2, 1.01), (6500, 0.232, 2.8, 0.97), (7000, 0.193, 2.4, 0.89), (7500, 0.186, 2.3, 0.86),
        (8000, 0.190, 2.4, 0.82), (8500, 0.186, 2.2, 0.81), (9000, 0.191, 2.3, 0.79), (9300, 0.191, 2.1, 0.80),
        (9600, 0.257, 3.1, 0.81), (9800, 0.289, 3.1, 0.83), (9900, 0.337, 3.1, 0.84), (10000, 0.433, 4.0, 0.85),
        (10100, 0.588, 5.4, 0.86), (10200, 0.798, 6.2, 0.88), (10300, 0.953, 6.8, 0.89), (10360, 1.076, 6.5, 0.87),
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
PHOTON_SHARE = 0.5  # of the sky's variance, the rest being read-out: about what bright spectra of one plate show

# --- exposures: chosen here ------------------------------------------------------------------------------------------
EXPOSURES = ((4, 5, 6, 8), (0.40, 0.40, 0.15, 0.05))  # of 900 s each, and how often
TYPICAL_EXPOSURES = 5  # at which SKY holds: 4500 s
NIGHT_SCATTER = 0.08  # dex: moon, clouds and seeing, from plate to plate
FIBRE_SCATTER = 0.04  # dex: from fibre to fibre

# --- masks -----------------------------------------------------------------------------------------------------------
NODATA, COMBINEREJ, BADFLUXFACTOR = 1 << 24, 1 << 25, 1 << 26  # SPPIXMASK bits
BRIGHTSKY_FROM = 7200.0  # Angstrom: pixels at 5577 and 6300 A do not carry the flag (measured)
BRIGHTSKY_BOOST = 1.75  # noise over the noise beside it from which on a pixel is flagged: gives the measured 4.9 %
LOST_RUNS, LOST_LENGTH = 1.2, 6.0  # runs of pixels with ivar = 0 per spectrum, and their mean length: 0.15 % (measured)


@dataclass(frozen=True)
class Conditions:
    """How one half of a plate was observed: the same for all its fibres.

    Attributes
    ----------
    first, last : int
        k of its first and last pixel.
    exposures : int
        Number of 900 s exposures.
    noise : float
        Noise over the typical one.
    lines : float
        Brightness of the sky lines over the typical one.
    """

    first: int
    last: int
    exposures: int
    noise: float
    lines: float


@dataclass(frozen=True)
class Observation:
    """One spectrum, as the columns of a published file: all of one length, `model` being the light without noise."""

    first: int
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    or_mask: np.ndarray
    wdisp: np.ndarray
    sky: np.ndarray
    model: np.ndarray
    conditions: Conditions

    @functools.cached_property
    def signal_to_noise(self) -> float:
        """Median of flux over noise of the good pixels: the pipeline's SN_MEDIAN_ALL."""
        good = self.ivar > 0
        return float(np.median(self.flux[good] * np.sqrt(self.ivar[good])))


@functools.cache
def pixels() -> np.ndarray:
    """Give log10(wavelength / Angstrom) of all pixels that any plate has, shape (LAST - FIRST + 1,)."""
    return 1e-4 * np.arange(FIRST, LAST + 1)


@functools.lru_cache(maxsize=4096)
def conditions(seed: int, plate: int, mjd: int, half: int) -> Conditions:
    """Draw how half a plate (its first or second spectrograph) was observed, from a generator of its own."""
    rng = np.random.default_rng([seed, plate, mjd, half])
    first = round(float(np.interp(rng.random(), *FIRST_QUANTILES)))
    shortest, longest = first + PIXELS[0] - 1, first + PIXELS[1] - 1
    last = int(rng.integers(max(LAST_FROM, shortest), min(LAST, longest) + 1))
    exposures = int(rng.choice(EXPOSURES[0], p=EXPOSURES[1]))
    noise = 10.0 ** (NIGHT_SCATTER * rng.standard_normal()) * np.sqrt(TYPICAL_EXPOSURES / exposures)
    return Conditions(first, last, exposures, float(noise), float(10.0 ** (0.05 * rng.standard_normal())))


def observe(rng: np.random.Generator, light: np.ndarray, where: Conditions) -> Observation:
    """Record one spectrum.

    Parameters
    ----------
    rng : numpy.random.Generator
        The object's own.
    light : ndarray
        Flux density on `pixels` in 1e-17 erg/s/cm2/Angstrom, Galactic extinction applied.
    where : Conditions
        Of the half plate.
    """
    span = slice(where.first - FIRST, where.last - FIRST + 1)
    model = light[span].astype(np.float32)
    smooth, brightness, wdisp, lines = (column[span] for column in _sky())
    boost = 1.0 + where.lines * lines  # in variance
    fibre = 10.0 ** (FIBRE_SCATTER * rng.standard_normal())
    variance = (where.noise * fibre * smooth) ** 2 * (boost + PHOTON_SHARE * np.maximum(model, 0.0) / brightness)

    flux = model + np.sqrt(variance) * rng.standard_normal(len(model))
    ivar = 1.0 / variance
    bright = (boost > BRIGHTSKY_BOOST**2) & (pixels()[span] > np.log10(BRIGHTSKY_FROM))
    and_mask = np.where(bright, BRIGHTSKY, 0)
    lost = np.zeros(len(model), bool)
    for _ in range(rng.poisson(LOST_RUNS)):
        start = int(rng.integers(1, len(model) - 1))
        lost[start : min(start + int(rng.geometric(1.0 / LOST_LENGTH)), len(model) - 1)] = True
    if lost.any():  # the pipeline's fill: finite, plausible, and of no weight
        flux[lost] = np.interp(np.flatnonzero(lost), np.flatnonzero(~lost), flux[~lost])
        ivar[lost] = 0.0
        and_mask[lost] |= NODATA
    wider = boost > 1.3**2  # at least one exposure had the bit
    or_mask = and_mask | np.where(wider, BRIGHTSKY, 0) | np.where(rng.random(len(model)) < 0.02, COMBINEREJ, 0)
    if rng.random() < 0.26:  # share of pixels with the bit (measured); here whole spectra
        or_mask |= BADFLUXFACTOR
    return Observation(
        first=where.first,
        flux=flux,
        ivar=ivar,
        and_mask=and_mask,
        or_mask=or_mask,
        wdisp=wdisp,
        sky=brightness * boost,
        model=model,
        conditions=where,
    )


@functools.cache
def _sky() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give noise, brightness, line-spread width and the lines' variance (over the smooth one), all on `pixels`."""
    nodes = np.log10(SKY[:, 0])
    noise = 10.0 ** np.interp(pixels(), nodes, np.log10(SKY[:, 1]))
    brightness, wdisp = (np.interp(pixels(), nodes, SKY[:, n]) for n in (2, 3))
    k = np.arange(FIRST, LAST + 1)
    lines = np.zeros(len(k))
    for centre, ratio in SKY_LINES:
        np.maximum(lines, (ratio**2 - 1.0) * np.exp(-0.5 * ((k - centre) / SKY_LINE_WIDTH) ** 2), out=lines)
    return noise, brightness, wdisp, lines
