"""The spectrograph: from the flux above the atmosphere to the pixels that BOSS would have recorded.

Recording has two steps. `expose` does what can be done once: resolution, errors of the calibration and of the sky
subtraction, true and reported variance of the noise, masks. `Exposure.read` adds the noise of the pixels, and can be
called many times for spectra that differ in nothing but their noise.

All numbers called *measured* are from 46 public BOSS spectra of DR16 and DR17, noise and masks from the 28 faint ones
(median S/N below 8 per pixel) among them.

Left out: cross-talk between neighbouring fibres, differences between the exposures of one spectrum, and sky lines whose
brightness varies independently.
"""

import functools
from dataclasses import dataclass, fields

import numpy as np

from quasar_mass.simulation.spectrograph import flux_calibration, masks, sky
from quasar_mass.spectra.spec_lite import Pixels

# --- which pixels a plate has -----------------------------------------------------------------------------------------
# First pixels. Their distribution follows from the redshift at which published quasars reach the window's start,
# 1.463-1.50.
FIRST_QUANTILES = ((0.0, 0.2, 0.45, 0.59, 0.60, 1.0), (35_515, 35_521, 35_527, 35_531, 35_565, 35_571))
PIXELS = (4574, 4624)  # fewest and most pixels per file (measured)
MIN_LAST = 40_135  # smallest last pixel (measured)

# --- exposures --------------------------------------------------------------------------------------------------------
# Number of 900 s exposures and their frequencies, after 11 plates with public spectra (mostly 3-5, once 10).
EXPOSURES = ((3, 4, 5, 6, 8, 10), (0.25, 0.42, 0.18, 0.08, 0.04, 0.03))
# The typical sky is for 4500 s. With fewer exposures the noise grows as the root of the time; more were taken in bad
# nights and do not lower it (measured relative noise: 1.3-1.55 at 2700 s, 1.0-1.1 at 3600 s, 1.0-1.2 at 4500 s, 1.3 at
# 9000 s).
TYPICAL_EXPOSURES = 5
NIGHT_SCATTER = 0.08  # dex: moon, clouds and seeing, from plate to plate (measured, times the root of the time: 0.09)
FIBRE_SCATTER = 0.045  # dex: from fibre to fibre (measured on one plate: 0.05 with the quasars' own photons)
NOISE_TILT = 0.03  # dex from the middle to either end, from fibre to fibre (measured: 0.02-0.03)

# --- noise of the pixels ----------------------------------------------------------------------------------------------
# Weights of a white noise's pixels -2..2, before normalization: the coadd's resampling correlates neighbours, by
# +0.20 and -0.09 at one and two pixels (measured: 0.20 to 0.22 and -0.07 to -0.09 at 4500-8200 A).
CORRELATION = np.array((-0.055, 0.11, 1.0, 0.11, -0.055))
# Fraction of pixels with more noise than reported, and the factor; this gives about the measured 0.04-0.1 % of pixels
# beyond 4 standard deviations.
UNREPORTED_FRACTION, UNREPORTED_FACTOR = 0.008, 2.0
# Unmasked cosmic rays per spectrum (about 0.1-0.2 measured; wider here), range of their height in standard deviations
# (log-uniform), mean length in pixels, and fraction of dips among them: hits in the sky fibres.
COSMICS, COSMIC_HEIGHT, COSMIC_LENGTH, COSMIC_NEGATIVE = 0.3, (5.0, 25.0), 2.0, 0.3


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
    calibration : HalfPlate
        Errors of the flux calibration.
    """

    first: int
    last: int
    exposures: int
    noise: float
    lines: float
    calibration: flux_calibration.HalfPlate


@dataclass(frozen=True)
class Observation(Pixels):
    """One spectrum as the columns of a published file, and how it was observed."""

    conditions: Conditions

    @functools.cached_property
    def signal_to_noise(self) -> float:
        """Median of flux over noise of the good pixels: the pipeline's SN_MEDIAN_ALL."""
        good = self.ivar > 0
        return float(np.median(self.flux[good] * np.sqrt(self.ivar[good])))


@dataclass(frozen=True)
class Exposure(Pixels):
    """One spectrum without the noise of its pixels: `flux` is the mean recorded flux, with all systematic errors.

    Attributes
    ----------
    conditions : Conditions
        Of the half plate.
    variance : ndarray, shape (n,)
        True variance of the noise; `ivar` is the inverse of the reported one, 0 in lost pixels.
    """

    conditions: Conditions
    variance: np.ndarray

    @property
    def true_ivar(self) -> np.ndarray:
        """True inverse variance of the noise, 0 in lost pixels."""
        return np.where(self.ivar > 0.0, 1.0 / self.variance, 0.0)

    def read(self, rng: np.random.Generator) -> Observation:
        """Add noise and cosmic rays, and fill the lost pixels.

        Parameters
        ----------
        rng : numpy.random.Generator
            For this reading alone. The exposure itself does not change.
        """
        size = len(self.flux)
        deviation = np.sqrt(self.variance)
        flux = self.flux + deviation * _noise(rng, size)
        for _ in range(rng.poisson(COSMICS)):
            start = int(rng.integers(size))
            hit = slice(start, start + int(rng.geometric(1.0 / COSMIC_LENGTH)))
            height = float(np.exp(rng.uniform(*np.log(COSMIC_HEIGHT))))
            flux[hit] += (-height if rng.random() < COSMIC_NEGATIVE else height) * deviation[hit]
        lost = self.ivar == 0.0
        if lost.any():  # as the pipeline does: finite, plausible, and of no weight
            flux[lost] = np.interp(np.flatnonzero(lost), np.flatnonzero(~lost), flux[~lost])
        kept = {field.name: getattr(self, field.name) for field in fields(Observation)}
        return Observation(**kept | {"flux": flux})


@functools.lru_cache(maxsize=4096)
def draw_conditions(seed: int, plate: int, mjd: int, half: int) -> Conditions:
    """Draw how half a plate (its first or second spectrograph) was observed, from a generator of its own."""
    rng = np.random.default_rng([seed, plate, mjd, half])
    first = round(float(np.interp(rng.random(), *FIRST_QUANTILES)))
    shortest, longest = first + PIXELS[0] - 1, first + PIXELS[1] - 1
    last = int(rng.integers(max(MIN_LAST, shortest), min(sky.LAST_PIXEL, longest) + 1))
    exposures = int(rng.choice(EXPOSURES[0], p=EXPOSURES[1]))
    time_factor = np.sqrt(TYPICAL_EXPOSURES / min(exposures, TYPICAL_EXPOSURES))
    noise = 10.0 ** (NIGHT_SCATTER * rng.standard_normal()) * time_factor
    lines = 10.0 ** (0.05 * rng.standard_normal())
    return Conditions(first, last, exposures, float(noise), float(lines), flux_calibration.draw_half_plate(rng))


def expose(
    rng: np.random.Generator,
    flux: np.ndarray,
    conditions: Conditions,
    *,
    lambda_eff: float = flux_calibration.LAMBDA_EFF_QUASARS,
) -> Exposure:
    """Record a flux, except for the noise of the pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
        The spectrum's own.
    flux : ndarray
        Flux density on `sky.pixels` in 1e-17 erg/s/cm2/Angstrom, Galactic extinction applied.
    conditions : Conditions
        Of the half plate.
    lambda_eff : float
        Wavelength that the fibre's hole was drilled for, 4000 or 5400 Angstrom.
    """
    span = slice(conditions.first - sky.FIRST_PIXEL, conditions.last - sky.FIRST_PIXEL + 1)
    sky_noise, brightness, wdisp, photons, lines = (column[span] for column in sky.typical_sky())
    resolution = sky.draw_resolution(rng)
    flux = sky.blur(flux * flux_calibration.draw_factor(rng, conditions.calibration, lambda_eff), resolution)[span]
    line_factor = 1.0 + conditions.lines * lines  # on the variance
    level, tilt = np.array((FIBRE_SCATTER, NOISE_TILT)) * rng.standard_normal(2)
    noise = conditions.noise * sky_noise * np.power(10.0, level + tilt * np.linspace(-1.0, 1.0, len(flux)))
    reported = noise**2 * (line_factor + photons * np.maximum(flux, 0.0) / brightness)
    variance = reported / flux_calibration.draw_error_factor(rng)[span] ** 2
    unreported = rng.integers(len(flux), size=rng.poisson(UNREPORTED_FRACTION * len(flux)))
    variance[unreported] *= UNREPORTED_FACTOR**2

    ivar = 1.0 / reported
    and_mask, or_mask, lost = masks.draw(rng, conditions.first, line_factor)
    ivar[lost] = 0.0
    return Exposure(
        first=conditions.first,
        flux=flux + np.sqrt(reported) * sky.draw_residual(rng)[span],
        variance=variance,
        ivar=ivar,
        and_mask=and_mask,
        or_mask=or_mask,
        wdisp=wdisp * resolution,
        sky=brightness * line_factor,
        model=flux.astype(np.float32),
        conditions=conditions,
    )


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of unit variance, correlated between neighbours."""
    reach = len(CORRELATION) - 1
    white = rng.standard_normal(size + reach)
    return np.convolve(white, CORRELATION / np.sqrt(np.sum(CORRELATION**2)), mode="valid")
