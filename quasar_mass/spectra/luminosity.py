"""Luminosity density of a spectrum in the rest frame, pixel by pixel, as one would plot it."""

import numpy as np

from quasar_mass.core.constants import LUMINOSITY_UNIT
from quasar_mass.core.errors import SpectrumError
from quasar_mass.spectra.cosmology import luminosity_distance
from quasar_mass.spectra.extinction import transmission
from quasar_mass.spectra.spectrum import PIXEL, Spectrum


def luminosity_density(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift a spectrum to the rest frame, and make its fluxes luminosity densities.

    Parameters
    ----------
    spectrum : Spectrum
        With a redshift. It is corrected for Galactic extinction if its E(B-V) is known.

    Returns
    -------
    wavelength : ndarray, shape (n,)
        Rest wavelength in Angstrom, vacuum.
    luminosity, error : ndarray, shape (n,)
        L_lambda in erg / s / Angstrom of a source that shines alike in all directions, and its standard deviation; NaN
        where the spectrum has no data.

    Raises
    ------
    SpectrumError
        If the spectrum has no redshift.

    Examples
    --------
    >>> import quasar_mass as qm
    >>> spectrum = qm.Spectrum([7000.0, 7280.0], [2.0, 3.0], [4.0, 0.0], redshift=1.6)
    >>> wavelength, luminosity, error = qm.luminosity_density(spectrum)
    >>> wavelength.round(1)
    array([2692.3, 2800. ])
    >>> luminosity.round(-41) / 1e42
    array([0.9, nan])
    """
    if not spectrum.redshift > 0:
        message = "has no redshift; give it one: redshift="
        raise SpectrumError(f"spectrum {spectrum.spec_id}".strip(), message, reason="no redshift")
    stretch = 1.0 + spectrum.redshift
    factor = LUMINOSITY_UNIT * stretch * 1e-9 * luminosity_distance(spectrum.redshift) ** 2
    if np.isfinite(spectrum.ebv):
        pixel = np.rint(np.log10(spectrum.wavelength) / PIXEL).astype(int)
        factor = factor / transmission(pixel, spectrum.ebv)
    known = spectrum.good
    luminosity = np.where(known, factor * spectrum.flux, np.nan)
    error = factor / np.sqrt(np.where(known, spectrum.ivar, np.nan))
    return spectrum.wavelength / stretch, luminosity, error
