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
    (1615.0, 2.6, 6000), (1655.0, 3.2, 5000), (1705.0, 7.5, 6000), (1745.0, 2.2, 4000),  # Fe II, unresolved
    (1787.0, 6.2, 2500),  # Fe II UV 191
    (1830.0, 5.5, 5000),
    (1895.5, 0.8, 900), (1914.1, 2.9, 900), (1926.3, 7.5, 900),  # Fe III UV 34
    (2070.0, 6.9, 6000), (2079.7, 2.4, 1500),  # Fe III UV 48 and neighbours
    (2020.0, 0.7, 6000), (2150.0, 0.3, 9000), (2200.0, 0.3, 6000),
    (2248.0, 0.3, 7000), (2280.0, 1.9, 3000),
    (2333.5, 0.9, 900), (2344.2, 1.0, 900), (2349.0, 1.3, 900), (2365.6, 2.0, 900), (2381.5, 1.1, 900),  # Fe II UV 3
    (2374.5, 1.0, 900), (2382.8, 0.5, 900), (2389.4, 1.4, 900), (2396.4, 0.9, 900), (2405.6, 1.2, 900),
    (2411.5, 1.4, 900),  # Fe II UV 2
    (2418.6, 2.1, 1500),  # Fe III UV 47
    (2439.0, 8.9, 4000), (2484.0, 16.4, 6000), (2507.0, 1.2, 2000), (2527.0, 7.4, 3000),  # Fe II UV 33-36 and blends
    (2563.0, 9.2, 3500),  # Fe II UV 64
    (2586.7, 2.0, 900), (2600.2, 1.3, 900), (2607.9, 1.5, 900), (2612.7, 0.9, 900), (2618.4, 1.3, 900),
    (2626.5, 1.7, 900),  # Fe II UV 1
    (2631.8, 2.4, 900),
    (2665.0, 3.0, 5000), (2705.0, 8.4, 5000),
    (2740.4, 4.2, 900), (2747.5, 1.3, 900), (2750.1, 1.3, 900), (2756.6, 1.7, 900),  # Fe II UV 62, 63
    (2768.0, 3.5, 1500), (2840.0, 12.5, 5000), (2880.0, 5.3, 3500),  # Fe II UV 61, and blends
    (2905.0, 2.1, 5000), (2927.4, 3.2, 1500), (2954.0, 6.3, 2500), (2984.0, 5.1, 2000),  # Fe II UV 60, 78
    (3080.0, 1.2, 6000), (3130.0, 2.7, 4000), (3155.0, 1.6, 2500), (3187.0, 3.7, 2000),
    (3211.0, 4.4, 2000), (3255.0, 3.0, 2000), (3277.0, 3.1, 2000), (3330.0, 3.4, 4000), # Fe II Opt 7, 6, 1
    (3410.0, 7.0, 7000), (3490.0, 5.0, 6000),
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
