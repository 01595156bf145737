"""The telescope: from the light that arrives to the pixels that the BOSS spectrographs would have recorded.

Recording has two steps. `expose` does all that one can do once: resolution, errors of the calibration and of the sky
subtraction, the noise's true and reported variance, the masks. `Exposure.read` adds the noise of the pixels, and can
be called again and again for spectra of which nothing but the noise differs. `observe` is both.

All numbers called *measured* are from 46 public BOSS spectra of DR16 and DR17, noise and masks from the 28 faint ones
(median S/N below 8 per pixel) among them.

Left out: fibres that leak into their neighbours, differences between the exposures of one spectrum, and sky lines whose
brightness varies one against another.
"""

import functools
from dataclasses import dataclass

import numpy as np

from quasar_mass.simulation.spectrograph import flux_calibration, masks
from quasar_mass.simulation.spectrograph.sky import FIRST, LAST, SKY, blur, draw_resolution, leftover, pixels, sky
from quasar_mass.spectra.spec_lite import Pixels

__all__ = ["FIRST", "LAST", "SKY", "Conditions", "Exposure", "Observation", "conditions", "expose", "observe", "pixels"]

# --- which pixels a plate has -----------------------------------------------------------------------------------------
FIRST_QUANTILES = ((0.0, 0.2, 0.45, 0.59, 0.60, 1.0), (35_515, 35_521, 35_527, 35_531, 35_565, 35_571))  # first pixels:
# from which redshift on published quasars reach the window's start, 1.463-1.50, says how plates are distributed
PIXELS = (4574, 4624)  # fewest and most pixels per file (measured)
LAST_FROM = 40_135  # smallest last pixel (measured)

# --- exposures --------------------------------------------------------------------------------------------------------
# Of 900 s each, and how often: after 11 plates of which public spectra were at hand (3-5 mostly, once 10).
EXPOSURES = ((3, 4, 5, 6, 8, 10), (0.25, 0.42, 0.18, 0.08, 0.04, 0.03))
# Exposures of SKY, 4500 s. With fewer the noise grows as the root of the time; more were taken in bad nights and do not
# lower it (noise of those plates over SKY's, measured: 1.3-1.55 at 2700 s, 1.0-1.1 at 3600 s, 1.0-1.2 at 4500 s, 1.3 at
# 9000 s).
TYPICAL_EXPOSURES = 5
NIGHT_SCATTER = 0.08  # dex: moon, clouds and seeing, from plate to plate (measured, times the root of the time: 0.09)
FIBRE_SCATTER = 0.045  # dex: from fibre to fibre (measured on one plate: 0.05 with the quasars' own photons)
NOISE_TILT = 0.03  # dex from the middle to either end, from fibre to fibre (measured: 0.02-0.03)

# --- noise of the pixels ----------------------------------------------------------------------------------------------
# Weights of a white noise's pixels -2..2, before normalization: the coadd's resampling ties neighbours, with
# correlations of +0.20 and -0.09 at one and two pixels (measured: 0.20 to 0.22 and -0.07 to -0.09 at 4500-8200 A).
CORRELATION = np.array((-0.055, 0.11, 1.0, 0.11, -0.055))
UNREPORTED_SCATTER, UNREPORTED_NOISE = (
    0.008,
    2.0,
)  # share of pixels with more noise than reported, and how much: gives about the
# measured 0.04-0.1 % of pixels beyond 4 standard deviations
COSMICS, COSMIC_HEIGHT, COSMIC_LENGTH = 0.3, (5.0, 25.0), 2.0  # spikes per spectrum that no mask tells (about 0.1-0.2
# seen; wider here), their height in standard deviations (log-uniform), and mean length in pixels
COSMIC_NEGATIVE = 0.3  # share of dips among them: hits in the sky fibres


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
class Exposure:
    """One spectrum but for the noise of its pixels; all arrays of shape (n,).

    Attributes
    ----------
    first : int
        k of the first pixel: log10(wavelength / Angstrom) = 1e-4 * k.
    light : ndarray
        Mean recorded flux density, 1e-17 erg/s/cm2/Angstrom: with all systematic errors, without noise.
    variance : ndarray
        True variance of the noise.
    ivar : ndarray
        Inverse variance as it will be reported; 0 in lost pixels.
    and_mask, or_mask : ndarray of int
        SPPIXMASK bits.
    wdisp : ndarray
        Standard deviation of the line-spread function in pixels.
    sky : ndarray
        Brightness of the sky, unit of `received_flux`.
    model : ndarray of float32
        The calibrated light without what the sky subtraction leaves.
    conditions : Conditions
        Of the half plate.
    """

    first: int
    light: np.ndarray
    variance: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    or_mask: np.ndarray
    wdisp: np.ndarray
    sky: np.ndarray
    model: np.ndarray
    conditions: Conditions

    def read(self, rng: np.random.Generator) -> Observation:
        """Read the pixels out: add noise and cosmic rays, and fill the lost pixels.

        Parameters
        ----------
        rng : numpy.random.Generator
            For this reading alone. The exposure itself stays as it is.
        """
        size = len(self.light)
        deviation = np.sqrt(self.variance)
        flux = self.light + deviation * _noise(rng, size)
        for _ in range(rng.poisson(COSMICS)):
            start = int(rng.integers(size))
            struck = slice(start, start + int(rng.geometric(1.0 / COSMIC_LENGTH)))
            height = float(np.exp(rng.uniform(*np.log(COSMIC_HEIGHT))))
            flux[struck] += (-height if rng.random() < COSMIC_NEGATIVE else height) * deviation[struck]
        lost = self.ivar == 0.0
        if lost.any():  # the pipeline's fill: finite, plausible, and of no weight
            flux[lost] = np.interp(np.flatnonzero(lost), np.flatnonzero(~lost), flux[~lost])
        return Observation(
            first=self.first,
            flux=flux,
            ivar=self.ivar,
            and_mask=self.and_mask,
            or_mask=self.or_mask,
            wdisp=self.wdisp,
            sky=self.sky,
            model=self.model,
            conditions=self.conditions,
        )


@functools.lru_cache(maxsize=4096)
def conditions(seed: int, plate: int, mjd: int, half: int) -> Conditions:
    """Draw how half a plate (its first or second spectrograph) was observed, from a generator of its own."""
    rng = np.random.default_rng([seed, plate, mjd, half])
    first = round(float(np.interp(rng.random(), *FIRST_QUANTILES)))
    shortest, longest = first + PIXELS[0] - 1, first + PIXELS[1] - 1
    last = int(rng.integers(max(LAST_FROM, shortest), min(LAST, longest) + 1))
    exposures = int(rng.choice(EXPOSURES[0], p=EXPOSURES[1]))
    noise = 10.0 ** (NIGHT_SCATTER * rng.standard_normal()) * np.sqrt(
        TYPICAL_EXPOSURES / min(exposures, TYPICAL_EXPOSURES)
    )
    lines = 10.0 ** (0.05 * rng.standard_normal())
    return Conditions(first, last, exposures, float(noise), float(lines), flux_calibration.draw_half_plate(rng))


def expose(
    rng: np.random.Generator, light: np.ndarray, where: Conditions, *, lambda_eff: float = flux_calibration.OFFSET_FROM
) -> Exposure:
    """Do everything to the light that recording it does, but for the noise of the pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
        The spectrum's own.
    light : ndarray
        Flux density on `pixels` in 1e-17 erg/s/cm2/Angstrom, Galactic extinction applied.
    where : Conditions
        Of the half plate.
    lambda_eff : float
        Wavelength that its hole was drilled for, 4000 or 5400 Angstrom.

    Returns
    -------
    Exposure
    """
    span = slice(where.first - FIRST, where.last - FIRST + 1)
    smooth, brightness, wdisp, photons, lines = (column[span] for column in sky())
    resolution = draw_resolution(rng)
    seen = blur(light * flux_calibration.draw_factor(rng, where.calibration, lambda_eff), resolution)[span]
    boost = 1.0 + where.lines * lines  # in variance
    level, tilt = np.array((FIBRE_SCATTER, NOISE_TILT)) * rng.standard_normal(2)
    noise = where.noise * smooth * np.power(10.0, level + tilt * np.linspace(-1.0, 1.0, len(seen)))
    reported = noise**2 * (boost + photons * np.maximum(seen, 0.0) / brightness)
    variance = reported / flux_calibration.draw_error_factor(rng)[span] ** 2
    untold = rng.integers(len(seen), size=rng.poisson(UNREPORTED_SCATTER * len(seen)))
    variance[untold] *= UNREPORTED_NOISE**2

    ivar = 1.0 / reported
    and_mask, or_mask, lost = masks.draw(rng, where.first, boost)
    ivar[lost] = 0.0
    return Exposure(
        first=where.first,
        light=seen + np.sqrt(reported) * leftover(rng)[span],
        variance=variance,
        ivar=ivar,
        and_mask=and_mask,
        or_mask=or_mask,
        wdisp=wdisp * resolution,
        sky=brightness * boost,
        model=seen.astype(np.float32),
        conditions=where,
    )


def observe(
    rng: np.random.Generator, light: np.ndarray, where: Conditions, *, lambda_eff: float = flux_calibration.OFFSET_FROM
) -> Observation:
    """Record one spectrum: `expose` and `Exposure.read` with the same generator."""
    return expose(rng, light, where, lambda_eff=lambda_eff).read(rng)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of unit variance, correlated between neighbours."""
    reach = len(CORRELATION) - 1
    white = rng.standard_normal(size + reach)
    return np.convolve(white, CORRELATION / np.sqrt(np.sum(CORRELATION**2)), mode="valid")
