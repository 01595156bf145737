"""The pseudo-continuum of blended UV iron lines: a sum of broadened bumps in fixed proportions."""

import functools
import math

import numpy as np

from quasar_mass.core.constants import KM_S_PER_DEX

# UV iron: wavelength (Angstrom), relative flux, own width (FWHM, km/s) of each bump. Wavelengths of the multiplets of
# Moore's table that Vestergaard & Wilkes 2001 (ApJS 134, 1) name in their template: Fe III UV 34, 48, 47, Fe II UV 191,
# 1, 2, 3, 33-36, 60, 61, 62-63, 64, 78, Opt 1, 6, 7; resonance multiplets by their strongest lines (Morton 2003).
# The relative fluxes, together with the strengths in simulation/quasar/lines.py and a Balmer continuum, make the mean
# of many simulated quasars follow the composite of Vanden Berk et al. 2001 (AJ 122, 549). The positions of the wide
# bumps of unresolved blends are chosen here.
BUMPS = (
    (1615.0, 1.6, 6000), (1705.0, 8.4, 6000), (1745.0, 8.7, 4000), (1787.0, 7.7, 3000), (1830.0, 8.0, 6000),
    (1875.0, 5.8, 5000), (1914.1, 4.3, 4500), (1926.3, 3.5, 5000), (1960.0, 4.5, 6000), (2020.0, 2.8, 6000),
    (2070.0, 6.2, 6000), (2079.7, 3.0, 3000), (2115.0, 2.8, 6000), (2305.0, 6.4, 5000), (2335.0, 3.7, 3000),
    (2365.0, 4.1, 3000), (2390.0, 4.0, 3000), (2418.0, 4.5, 3000), (2439.0, 6.3, 4000), (2484.0, 13.8, 6000),
    (2527.0, 7.0, 4000), (2563.0, 7.3, 4000), (2598.0, 4.2, 3000), (2628.0, 5.2, 3000), (2665.0, 2.5, 5000),
    (2705.0, 6.1, 5000), (2745.0, 7.2, 3000), (2768.0, 2.2, 3000), (2840.0, 8.5, 5000), (2880.0, 5.1, 4000),
    (2927.0, 3.4, 3000), (2954.0, 4.3, 3000), (2984.0, 4.1, 3000), (3040.0, 0.4, 6000), (3085.0, 1.4, 6000),
    (3140.0, 2.7, 5000), (3187.0, 3.1, 3500), (3211.0, 2.9, 3500), (3265.0, 4.6, 4500), (3330.0, 2.0, 5000),
    (3410.0, 2.3, 7000), (3490.0, 8.3, 6000),
)  # fmt: skip
BAND = (2250.0, 2650.0)  # Angstrom, rest frame: in which iron's equivalent width is counted
_START, _STOP = 3.1, 3.9192  # log10 of Angstrom: 1259-8303 A, the template's own grid
GROUP_EDGES = (
    1640.0, 1765.0, 1840.0, 2000.0, 2110.0, 2200.0, 2320.0, 2430.0, 2550.0, 2650.0, 2800.0, 2900.0, 3070.0, 3300.0,
)  # fmt: skip
GROUPS = len(GROUP_EDGES) + 1  # of neighbouring bumps, whose strengths may differ from quasar to quasar


def emission(fwhm: float, log_wavelength: np.ndarray, strengths: np.ndarray | None = None) -> np.ndarray:
    """Compute the iron emission broadened to a line width.

    Parameters
    ----------
    fwhm : float
        In km/s; a bump's own width adds to it in quadrature.
    log_wavelength : ndarray
        log10 of the rest wavelength in Angstrom, ascending and equidistant by any step, within 1270-8000 A.
    strengths : ndarray, shape (GROUPS,), optional
        Factors on the bumps between the wavelengths of `GROUP_EDGES`; all 1 if left out, which is the template.

    Returns
    -------
    ndarray
        Per Angstrom; its integral over `BAND` is 1 before it is broadened, with all strengths 1.
    """
    n = len(log_wavelength)
    step = round((log_wavelength[-1] - log_wavelength[0]) / (n - 1), 10)
    transform, groups, frequency, size = _transform(step)
    first = (log_wavelength[0] - _START) / step
    whole = int(np.floor(first))
    sigma = fwhm / 2.3548 / (KM_S_PER_DEX * step)  # pixels
    passed = int(np.searchsorted(np.pi * sigma * frequency, 5.0))  # less than 1e-21 remains of higher frequencies
    frequency = frequency[:passed]
    transform = transform[:passed] if strengths is None else strengths @ groups[:, :passed]
    # broadening and the shift by a fraction of a pixel are both products in Fourier space; irfft pads with zeros
    kernel = np.exp(-2.0 * (np.pi * sigma) ** 2 * frequency**2 + 2j * np.pi * (first - whole) * frequency)
    return np.fft.irfft(transform * kernel, size)[whole : whole + n]


@functools.lru_cache(maxsize=8)
def _transform(step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Fourier transforms of the template and of its groups, their frequencies, and the pixels transformed."""
    size = 2 ** math.ceil(math.log2(round((_STOP - _START) / step)))
    log_wavelength = _START + step * np.arange(size)
    groups = np.zeros((GROUPS, size))
    for wavelength, flux, fwhm in BUMPS:
        u = KM_S_PER_DEX * (log_wavelength - np.log10(wavelength)) / (fwhm / 2.3548)
        groups[np.searchsorted(GROUP_EDGES, wavelength)] += flux / fwhm * np.exp(-0.5 * u**2)
    wavelength = 10.0**log_wavelength
    band = (wavelength >= BAND[0]) & (wavelength <= BAND[1])
    groups /= np.sum(groups[:, band] * wavelength[band]) * np.log(10.0) * step
    transforms = np.fft.rfft(groups)
    return transforms.sum(axis=0), transforms, np.fft.rfftfreq(size), size
