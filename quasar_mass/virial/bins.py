"""Many spectra side by side in the rest frame, in bins of whole SDSS pixels. Nothing is interpolated.

A redshift shifts SDSS's logarithmic grid by a number of pixels that is not an integer. The pixels are moved by the
nearest integer. The rest, at most half a pixel (35 km/s), is kept and subtracted from the measured line shifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quasar_mass.core.survey import WINDOW
from quasar_mass.spectra import redshift_check
from quasar_mass.spectra.extinction import transmission
from quasar_mass.spectra.spectrum import PIXEL, Spectrum
from quasar_mass.spectra.spikes import remove_spikes

BIN = 2  # pixels: 138 km/s, well below the narrowest broad line (1200 km/s), and half the work
FIRST, SIZE = 31_040, 2208  # rest pixel (log10 wavelength / 1e-4) of the first bin, and bins: 1271-3514 Angstrom


def bin_centres() -> np.ndarray:
    """log10(rest wavelength / Angstrom) of the bins' centres, shape (SIZE,)."""
    return PIXEL * (FIRST + BIN * np.arange(SIZE) + 0.5 * (BIN - 1))


@dataclass(frozen=True)
class BinnedSpectra:
    """Spectra in bins.

    Attributes
    ----------
    flux, ivar : ndarray, shape (n, SIZE)
        Per observed Angstrom (1e-17 erg / s / cm2 / A), corrected for Galactic extinction where it is known; `ivar` is
        0 where there is no data.
    offset : ndarray, shape (n,)
        Fraction of a pixel by which the true rest wavelengths are shorter than those of the bins.
    n_bad, n_spikes, n_pixels : ndarray of int, shape (n,)
        Pixels within `survey.WINDOW` that cannot be used; those of them that were removed as spikes; and all.
    signal_to_noise : ndarray, shape (n,)
        Median of flux / error per good pixel within `survey.WINDOW`, NaN where there is none.
    usable : ndarray of bool, shape (n,)
        False where the redshift is not a positive number.
    """

    flux: np.ndarray
    ivar: np.ndarray
    offset: np.ndarray
    n_bad: np.ndarray
    n_spikes: np.ndarray
    n_pixels: np.ndarray
    signal_to_noise: np.ndarray
    usable: np.ndarray


def bin_spectra(spectra: Sequence[Spectrum], redshift: np.ndarray, ebv: np.ndarray) -> BinnedSpectra:
    """Shift and bin spectra.

    Parameters
    ----------
    spectra : sequence of Spectrum, length n
    redshift, ebv : ndarray, shape (n,)
        `ebv` NaN: no correction for Galactic extinction.

    Returns
    -------
    BinnedSpectra
    """
    n = len(spectra)
    usable = np.isfinite(redshift) & (redshift > 0)
    shift = np.log10(1.0 + np.where(usable, redshift, 1.0)) / PIXEL
    whole = np.rint(shift).astype(np.int64)
    flux, ivar = np.zeros((2, n, SIZE))
    n_bad, n_spikes, n_pixels = np.zeros((3, n), dtype=np.int64)
    signal_to_noise = np.full(n, np.nan)
    for i, spectrum in enumerate(spectra):
        if not usable[i]:
            continue
        ends = 10.0 ** (PIXEL * (whole[i] + np.array([FIRST, FIRST + BIN * SIZE])))
        spectrum, spikes = remove_spikes(spectrum, tuple(ends))
        spectrum = spectrum.on_log_grid()
        rest_pixel = spectrum.pixel - whole[i]
        near = (rest_pixel >= FIRST) & (rest_pixel < FIRST + BIN * SIZE)
        rest_pixel, pixel, good = rest_pixel[near], spectrum.pixel[near], spectrum.good[near]
        values, weights = spectrum.flux[near], spectrum.weight[near]
        good &= ~np.isin(pixel, spikes)
        log_wavelength = PIXEL * rest_pixel
        inside = (log_wavelength >= WINDOW[0]) & (log_wavelength <= WINDOW[1])
        n_pixels[i], n_bad[i] = inside.sum(), (inside & ~good).sum()
        n_spikes[i] = np.isin(spikes, pixel[inside]).sum()
        usable_inside = inside & good
        if usable_inside.any():
            signal_to_noise[i] = np.median(values[usable_inside] * np.sqrt(weights[usable_inside]))
        if not good.any():
            continue
        index, values, weights = (rest_pixel[good] - FIRST) // BIN, values[good], weights[good]
        if np.isfinite(ebv[i]):
            through = transmission(pixel[good], ebv[i])
            values, weights = values / through, weights * through**2
        total = np.bincount(index, weights, SIZE)
        ivar[i] = total
        flux[i] = np.bincount(index, values * weights, SIZE) / np.where(total > 0, total, 1.0)
    return BinnedSpectra(flux, ivar, shift - whole, n_bad, n_spikes, n_pixels, signal_to_noise, usable)


def coarse(binned: BinnedSpectra) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins of `redshift_check.STEP`.

    Returns
    -------
    log_wavelength : ndarray, shape (m,)
        log10 of the rest wavelength in Angstrom at their centres.
    flux, ivar : ndarray, shape (n, m)
    """
    group = round(redshift_check.STEP / (BIN * PIXEL))
    rest = -SIZE % group  # bins missing to complete the last one
    flux, ivar = (
        np.pad(part, ((0, 0), (0, rest))).reshape(len(part), -1, group) for part in (binned.flux, binned.ivar)
    )
    total = ivar.sum(axis=2)
    first = bin_centres()[:group].mean()
    log_wavelength = first + redshift_check.STEP * np.arange(total.shape[1])
    return log_wavelength, (flux * ivar).sum(axis=2) / np.where(total > 0, total, 1.0), total
