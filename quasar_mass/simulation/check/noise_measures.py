"""What is measured of one spec file to compare it with others: noise, residuals where it is smooth, masks."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from quasar_mass.core.errors import SpectrumError
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
LEAST_GOOD = 80  # pixels of a stretch
DEGREE = 2  # of the polynomial taken out of a stretch
OUTLIER, FITS = 4.0, 3  # sigma: beyond it a pixel does not guide the next of so many fits


@dataclass(frozen=True)
class Measured:
    """One spectrum's numbers.

    Attributes
    ----------
    spectrum : Spectrum
        Itself.
    redshift : float
        Of the catalogue (simulated) or of the pipeline (real).
    and_mask, or_mask : ndarray of int, shape (n,)
        SPPIXMASK bits set in every exposure, and in any.
    lambda_eff : float
        Angstrom: for which wavelength the fibre was placed; NaN where the file does not say.
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
        """The SDSS plate it was observed with."""
        return int(self.spectrum.spec_id.split("-")[0])


def measure(path: Path, redshift: float) -> Measured:
    """Read one spec file and take its numbers.

    Raises
    ------
    SpectrumError
        If the file cannot be used, has no OR_MASK, or no pixel with data.
    """
    spectrum = read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # odd header cards in the real files
        with fits.open(path, memmap=False) as hdus:
            if "or_mask" not in map(str.lower, hdus[1].columns.names):
                raise SpectrumError(
                    path,
                    reason="unreadable file",
                    expected="a column or_mask in HDU 1",
                    got="none",
                    do="fetch the file again, or leave it out",
                )
            and_mask, or_mask = (np.asarray(hdus[1].data[name], dtype=np.int64) for name in ("and_mask", "or_mask"))
            names = {name.upper(): name for name in hdus[2].columns.names}
            known = "LAMBDA_EFF" in names
            lambda_eff = float(hdus[2].data[names["LAMBDA_EFF"]][0]) if known else np.nan
    used = spectrum.ivar > 0
    if not used.any():
        raise SpectrumError(
            path, reason="no good pixels", expected="pixels with ivar > 0", got="none", do="leave the file out"
        )
    return Measured(
        spectrum=spectrum,
        redshift=redshift,
        and_mask=and_mask,
        or_mask=or_mask,
        lambda_eff=lambda_eff,
        signal_to_noise=float(np.median(spectrum.flux[used] * np.sqrt(spectrum.ivar[used]))),
        noise=noise(spectrum),
        chi=residuals(spectrum, redshift),
    )


def noise(spectrum: Spectrum) -> np.ndarray:
    """Median reported sigma of the good pixels in each bin of `NOISE_EDGES`, shape (16,); NaN without any."""
    good = spectrum.good
    bins = np.digitize(10.0 ** (PIXEL * spectrum.pixel[good]), NOISE_EDGES) - 1
    sigma = spectrum.ivar[good] ** -0.5
    inside = (sigma[bins == n] for n in range(len(NOISE_EDGES) - 1))
    return np.array([np.median(values) if len(values) else np.nan for values in inside])


def residuals(spectrum: Spectrum, redshift: float) -> np.ndarray:
    """Residuals over the reported error where the spectrum is smooth.

    From each stretch of `STRETCH` pixels within `SMOOTH` a polynomial of degree `DEGREE` is taken, fitted with the
    reported weights `FITS` times, after the first time without pixels more than `OUTLIER` sigma off. What the fit
    takes out of the scatter is given back: independent errors of the right size have a standard deviation of 1.

    Parameters
    ----------
    spectrum : Spectrum
    redshift : float

    Returns
    -------
    ndarray, shape (n_stretches, STRETCH)
        NaN in pixels that are not good. Stretches with fewer than `LEAST_GOOD` good pixels are left out.
    """
    rest = 10.0 ** (PIXEL * spectrum.pixel) / (1.0 + redshift)
    root = np.sqrt(np.where(spectrum.good, spectrum.ivar, 0.0))
    basis = np.linspace(-1.0, 1.0, STRETCH)[:, None] ** np.arange(DEGREE + 1)
    found = []
    for low, high in SMOOTH:
        first, last = np.searchsorted(rest, (low, high))
        for start in range(first, last - STRETCH + 1, STRETCH):
            part = slice(start, start + STRETCH)
            if spectrum.pixel[part][-1] - spectrum.pixel[part][0] != STRETCH - 1:
                continue  # a gap in the file
            weight, flux = root[part], np.where(root[part] > 0, spectrum.flux[part], 0.0)
            if (weight > 0).sum() < LEAST_GOOD:
                continue
            guiding = weight > 0
            for _ in range(FITS):
                used = np.where(guiding, weight, 0.0)
                fit = np.linalg.lstsq(basis * used[:, None], flux * used, rcond=None)[0]
                chi = (flux - basis @ fit) * weight
                # about their own middle and scatter: strong outliers pull the first fit away from all other pixels
                off = np.abs(chi - np.median(chi[weight > 0]))
                guiding = (weight > 0) & (off < OUTLIER * max(1.0, 1.4826 * np.median(off[weight > 0])))
            n = int((weight > 0).sum())
            found.append(np.where(weight > 0, chi * (n / (n - DEGREE - 1)) ** 0.5, np.nan))
    return np.array(found).reshape(-1, STRETCH)
