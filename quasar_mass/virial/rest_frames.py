"""Many spectra side by side in the rest frame, on bins of whole SDSS pixels: nothing is interpolated.

A redshift shifts SDSS's logarithmic grid by a number of pixels that is not whole. The whole part moves the pixels;
the rest, below half a pixel (35 km/s), is kept as a number and taken off the measured line shifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quasar_mass.core.survey import WINDOW
from quasar_mass.spectra.extinction import transmission
from quasar_mass.spectra.spectrum import PIXEL, Spectrum

BIN = 2  # pixels: 138 km/s, well below the narrowest broad line (1200 km/s), and half the work
FIRST, SIZE = 31_040, 2208  # rest pixel (log10 wavelength / 1e-4) of the first bin, and bins: 1271-3514 Angstrom


# A spike, a cosmic ray or what is left of a sky line, stands above the median of the bins around it (1500 km/s) by so
# many standard deviations and so large a share of that median; a line of 1200 km/s does by a third at its very top.
SPIKE_BINS, SPIKE_SIGMAS, SPIKE_SHARE = 11, 6.0, 0.6


def bin_centres() -> np.ndarray:
    """log10(rest wavelength / Angstrom) of the bins' centres, shape (SIZE,)."""
    return PIXEL * (FIRST + BIN * np.arange(SIZE) + 0.5 * (BIN - 1))


@dataclass(frozen=True)
class RestFrames:
    """Spectra on the bins.

    Attributes
    ----------
    flux, ivar : ndarray, shape (n, SIZE)
        As observed per observed Angstrom (1e-17 erg / s / cm2 / A), corrected for Galactic extinction where known;
        `ivar` 0 where there is no data.
    offset : ndarray, shape (n,)
        Part of a pixel by which the true rest wavelengths lie below the bins' own.
    n_bad, n_pixels : ndarray, shape (n,)
        Pixels of the file within `survey.WINDOW` that cannot be used, and all of them.
    signal_to_noise : ndarray, shape (n,)
        Median of flux / error per good pixel within `survey.WINDOW`, NaN where there is none.
    usable : ndarray of bool, shape (n,)
        False where the redshift is not a positive number.
    """

    flux: np.ndarray
    ivar: np.ndarray
    offset: np.ndarray
    n_bad: np.ndarray
    n_pixels: np.ndarray
    signal_to_noise: np.ndarray
    usable: np.ndarray


def rest_frames(spectra: Sequence[Spectrum], redshift: np.ndarray, ebv: np.ndarray) -> RestFrames:
    """Shift and bin spectra.

    Parameters
    ----------
    spectra : sequence of Spectrum, length n
    redshift, ebv : ndarray, shape (n,)
        `ebv` NaN: no correction for Galactic extinction.

    Returns
    -------
    RestFrames
    """
    n = len(spectra)
    usable = np.isfinite(redshift) & (redshift > 0)
    shift = np.log10(1.0 + np.where(usable, redshift, 1.0)) / PIXEL
    whole = np.rint(shift).astype(np.int64)
    flux, ivar = np.zeros((2, n, SIZE))
    n_bad, n_pixels = np.zeros((2, n), dtype=np.int64)
    signal_to_noise = np.full(n, np.nan)
    for i, spectrum in enumerate(spectra):
        if not usable[i]:
            continue
        spectrum = spectrum.on_log_grid()
        place = spectrum.pixel - whole[i] - FIRST
        near = (place >= 0) & (place < BIN * SIZE)
        place, pixel, good = place[near], spectrum.pixel[near], spectrum.good[near]
        values, weights = spectrum.flux[near], spectrum.ivar[near]
        log_wavelength = PIXEL * (place + FIRST)
        inside = (log_wavelength >= WINDOW[0]) & (log_wavelength <= WINDOW[1])
        n_pixels[i], n_bad[i] = inside.sum(), (inside & ~good).sum()
        seen = inside & good
        if seen.any():
            signal_to_noise[i] = np.median(values[seen] * np.sqrt(weights[seen]))
        if not good.any():
            continue
        place, values, weights = place[good], values[good], weights[good]
        if np.isfinite(ebv[i]):
            through = transmission(pixel[good], ebv[i])
            values, weights = values / through, weights * through**2
        total = np.bincount(place // BIN, weights, SIZE)
        ivar[i] = total
        flux[i] = np.bincount(place // BIN, values * weights, SIZE) / np.where(total > 0, total, 1.0)
        ivar[i, spikes(flux[i], ivar[i])] = 0.0
    return RestFrames(flux, ivar, shift - whole, n_bad, n_pixels, signal_to_noise, usable)


def spikes(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """Bins of one spectrum that stand out of all around them.

    They have to go before anything is fitted: a spike on a line would draw the line's core to itself.

    Parameters
    ----------
    flux, ivar : ndarray, shape (m,)

    Returns
    -------
    ndarray of int
        Indices.
    """
    half = SPIKE_BINS // 2
    padded = np.pad(np.where(ivar > 0, flux, np.nan), half + 1, constant_values=np.nan)
    error = np.divide(1.0, np.sqrt(ivar), out=np.full_like(flux, np.inf), where=ivar > 0)
    sides = 0.5 * (padded[: -2 * half - 2] + padded[2 * half + 2 :])
    # a first look that takes no medians, and lets all through of which it cannot tell
    found = np.flatnonzero((ivar > 0) & ~(flux - sides <= 0.5 * SPIKE_SIGMAS * error))
    if not found.size:
        return found
    around = np.nanmedian(padded[found[:, None] + np.arange(1, SPIKE_BINS + 1)], axis=1)
    excess = flux[found] - around
    return found[(excess > SPIKE_SIGMAS * error[found]) & (excess > SPIKE_SHARE * np.abs(around))]
