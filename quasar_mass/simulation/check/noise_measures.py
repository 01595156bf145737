"""Measures of one spec file, to compare it with others: noise, residuals of the smooth continuum, masks."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from scipy import stats

from quasar_mass.spectra.read import read
from quasar_mass.spectra.spectrum import PIXEL, Spectrum

NOISE_EDGES = 10.0 ** np.linspace(np.log10(3600.0), np.log10(10_300.0), 17)  # Angstrom, observed: 16 bins
# Rest wavelengths (Angstrom) of smooth continuum, or of blended iron lines that are smooth over STRETCH pixels: between
# the broad lines of Vanden Berk et al. 2001, table 2, redward of the Lyman-alpha forest.
SMOOTH = (
    (1425, 1500), (1690, 1830), (1970, 2290), (2430, 2700), (2900, 3300), (3500, 3700), (4150, 4290), (5100, 5700),
    (6050, 6250),
)  # fmt: skip
STRETCH = 100  # pixels: 6900 km/s
MIN_GOOD = 80  # pixels of a stretch
DEGREE = 2  # of the polynomial that is subtracted from a stretch
OUTLIER, FITS = 4.0, 3  # sigma: pixels beyond it are left out of the next fit; number of fits


@dataclass(frozen=True)
class Measured:
    """A spectrum and its measures.

    Attributes
    ----------
    spectrum : Spectrum
    redshift : float
        Of the catalogue (simulated) or of the pipeline (real).
    and_mask, or_mask : ndarray of int, shape (n,)
        SPPIXMASK bits set in every exposure, and in any.
    lambda_eff : float
        Angstrom: the wavelength for which the fibre was placed; NaN where the file does not have it.
    signal_to_noise : float
        Median flux / sigma per pixel with ivar > 0, as SN_MEDIAN_ALL.
    noise : ndarray, shape (16,)
        Median reported sigma of the good pixels in each bin of `NOISE_EDGES`, 1e-17 erg/s/cm2/A; NaN without any.
    chi : ndarray, shape (n_stretches, STRETCH)
        See `residuals`.
    """

    spectrum: Spectrum
    redshift: float
    and_mask: np.ndarray
    or_mask: np.ndarray
    lambda_eff: float
    signal_to_noise: float
    noise: np.ndarray
    chi: np.ndarray

    @property
    def plate(self) -> int:
        """Its SDSS plate."""
        return int(self.spectrum.spec_id.split("-")[0])


def measure(path: Path, redshift: float) -> Measured:
    """Read one spec file and measure it.

    Raises
    ------
    SpectrumError
        If the file cannot be used.
    """
    spectrum = read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # non-standard header cards in the real files
        with fits.open(path, memmap=False) as hdus:
            and_mask, or_mask = (np.asarray(hdus[1].data[name], dtype=np.int64) for name in ("and_mask", "or_mask"))
            known = "LAMBDA_EFF" in map(str.upper, hdus[2].columns.names)
            lambda_eff = float(hdus[2].data["lambda_eff"][0]) if known else np.nan
    used, good = spectrum.ivar > 0, spectrum.good
    wavelength, sigma = 10.0 ** (PIXEL * spectrum.pixel[good]), spectrum.ivar[good] ** -0.5
    return Measured(
        spectrum=spectrum,
        redshift=redshift,
        and_mask=and_mask,
        or_mask=or_mask,
        lambda_eff=lambda_eff,
        signal_to_noise=float(np.median(spectrum.flux[used] * np.sqrt(spectrum.ivar[used]))),
        noise=stats.binned_statistic(wavelength, sigma, "median", NOISE_EDGES).statistic,
        chi=residuals(spectrum, redshift),
    )


def residuals(spectrum: Spectrum, redshift: float) -> np.ndarray:
    """Residuals over the reported error where the spectrum is smooth.

    From each stretch of `STRETCH` pixels within `SMOOTH` a polynomial of degree `DEGREE` is subtracted. It is fitted
    with the reported weights `FITS` times, after the first time without pixels more than `OUTLIER` sigma off. The
    scatter that the fit removes is compensated: independent errors of the right size have a standard deviation of 1.

    Parameters
    ----------
    spectrum : Spectrum
    redshift : float

    Returns
    -------
    ndarray, shape (n_stretches, STRETCH)
        NaN in pixels that are not good. Stretches with fewer than `MIN_GOOD` good pixels are left out.
    """
    rest_wavelength = 10.0 ** (PIXEL * spectrum.pixel) / (1.0 + redshift)
    root = np.sqrt(np.where(spectrum.good, spectrum.ivar, 0.0))
    stretches = []
    for low, high in SMOOTH:
        first, last = np.searchsorted(rest_wavelength, (low, high))
        for start in range(first, last - STRETCH + 1, STRETCH):
            part = slice(start, start + STRETCH)
            without_gap = spectrum.pixel[part][-1] - spectrum.pixel[part][0] == STRETCH - 1
            if without_gap and (root[part] > 0).sum() >= MIN_GOOD:
                stretches.append(_stretch_residuals(spectrum.flux[part], root[part]))
    return np.array(stretches).reshape(-1, STRETCH)


def _stretch_residuals(flux: np.ndarray, weight: np.ndarray) -> np.ndarray:
    basis = np.linspace(-1.0, 1.0, STRETCH)[:, None] ** np.arange(DEGREE + 1)
    good = weight > 0
    flux = np.where(good, flux, 0.0)
    fitted = good
    for _ in range(FITS):
        used = np.where(fitted, weight, 0.0)
        fit = np.linalg.lstsq(basis * used[:, None], flux * used, rcond=None)[0]
        chi = (flux - basis @ fit) * weight
        # from their own median and scatter: strong outliers pull the first fit away from all other pixels
        off = np.abs(chi - np.median(chi[good]))
        fitted = good & (off < OUTLIER * max(1.0, 1.4826 * np.median(off[good])))
    n = int(good.sum())
    return np.where(good, chi * (n / (n - DEGREE - 1)) ** 0.5, np.nan)
