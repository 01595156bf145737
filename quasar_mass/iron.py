"""The pseudo-continuum of blended UV iron lines: a sum of broadened bumps, all in the same proportions."""

import functools

import numpy as np

LIGHT = 299_792.458  # km/s
PIXEL = 1e-4  # dex: SDSS's own sampling of log10 wavelength
KM_S_PER_DEX = LIGHT * np.log(10.0)

# UV iron: wavelength (Angstrom), relative flux, own width (FWHM, km/s) of each bump. Wavelengths of the multiplets of
# Moore's table that Vestergaard & Wilkes 2001 (ApJS 134, 1) name in their template: Fe III UV 34, 48, 47, Fe II UV 191,
# 1, 2, 3, 33-36, 60, 61, 62-63, 64, 78, Opt 1, 6, 7; resonance multiplets by their strongest lines (Morton 2003).
# Relative fluxes and the wide, unresolved bumps are chosen here to have that template's run: a hump over
# 2200-2650 A, a gap, a bump under the blue wing of Mg II, a smaller one at 2830-3000 A, and little beyond.
BUMPS = (
    (1787.0, 4, 2500),  # Fe II UV 191
    (1895.5, 2, 900), (1914.1, 2, 900), (1926.3, 1.5, 900),  # Fe III UV 34
    (2070.0, 9, 6000), (2079.7, 2, 1500),  # Fe III UV 48 and neighbours
    (2150.0, 5, 9000),
    (2248.0, 8, 7000), (2280.0, 4, 3000),
    (2333.5, 3, 900), (2344.2, 5, 900), (2349.0, 2, 900), (2365.6, 3, 900), (2381.5, 2, 900),  # Fe II UV 3
    (2374.5, 2, 900), (2382.8, 7, 900), (2389.4, 4, 900), (2396.4, 6, 900), (2405.6, 5, 900), (2411.5, 5, 900),  # UV 2
    (2418.6, 4, 1500),  # Fe III UV 47
    (2439.0, 8, 4000), (2484.0, 15, 6000), (2507.0, 7, 2000), (2527.0, 8, 3000),  # Fe II UV 33-36 and blends
    (2563.0, 11, 3500),  # Fe II UV 64
    (2586.7, 3, 900), (2600.2, 7, 900), (2607.9, 3, 900), (2612.7, 5, 900), (2618.4, 3, 900), (2626.5, 4, 900),  # UV 1
    (2631.8, 3, 900),  # UV 1
    (2740.4, 3, 900), (2747.5, 2.5, 900), (2750.1, 2.5, 900), (2756.6, 3.5, 900),  # Fe II UV 62, 63
    (2768.0, 3, 1500), (2840.0, 9, 5000), (2880.0, 5, 3500),  # Fe II UV 61, and blends
    (2927.4, 3, 1500), (2954.0, 6, 2500), (2984.0, 5, 2000),  # Fe II UV 60, 78
    (3155.0, 2, 2500), (3187.0, 3, 2000), (3211.0, 2, 2000), (3255.0, 2, 2000), (3277.0, 3, 2000),  # Fe II Opt 7, 6, 1
)  # fmt: skip
BAND = (2250.0, 2650.0)  # Angstrom, rest frame: where quasars.IRON_EW counts
_START, _SIZE = 31_000, 8192  # the template's own grid, in pixels of log10 wavelength: 1259-8303 A


def emission(fwhm: float, log_wavelength: np.ndarray) -> np.ndarray:
    """Give the iron emission broadened to a line width.

    Parameters
    ----------
    fwhm : float
        In km/s; a bump's own width adds to it in quadrature.
    log_wavelength : ndarray
        log10 of the rest wavelength in Angstrom, equidistant by `PIXEL`, within 1270-8000 A.

    Returns
    -------
    ndarray
        Per Angstrom; its integral over `BAND` is 1 before it is broadened.
    """
    transform, frequency = _transform()
    first = log_wavelength[0] / PIXEL - _START
    whole = int(np.floor(first))
    sigma = fwhm / 2.3548 / (KM_S_PER_DEX * PIXEL)  # pixels
    # Broadening and the shift by a part of a pixel are both products in Fourier space.
    kernel = np.exp(-2.0 * (np.pi * sigma * frequency) ** 2 + 2j * np.pi * (first - whole) * frequency)
    return np.fft.irfft(transform * kernel, _SIZE)[whole : whole + len(log_wavelength)]


@functools.cache
def _transform() -> tuple[np.ndarray, np.ndarray]:
    log_wavelength = PIXEL * (_START + np.arange(_SIZE))
    total = np.zeros(_SIZE)
    for wavelength, flux, fwhm in BUMPS:
        u = KM_S_PER_DEX * (log_wavelength - np.log10(wavelength)) / (fwhm / 2.3548)
        total += flux / fwhm * np.exp(-0.5 * u**2)
    wavelength = 10.0**log_wavelength
    band = (wavelength >= BAND[0]) & (wavelength <= BAND[1])
    total /= np.sum(total[band] * wavelength[band]) * np.log(10.0) * PIXEL
    return np.fft.rfft(total), np.fft.rfftfreq(_SIZE)
