"""Black-hole masses from one broad line's width and the continuum beside it: the single-epoch virial relation.

The gas of the broad-line region moves under the black hole's gravity, M ~ R v^2 / G. The width of a line (FWHM) gives
v, and the luminosity gives R through the radius-luminosity relation of reverberation mapping, so that

    log10(M / M_Sun) = a + b * log10(lambda L_lambda / 1e44 erg/s) + 2 * log10(FWHM / (km/s)).

The constants (a, b) are those that Chen et al. 2019 (ApJS 244, 36) recommend after making the lines agree with each
other. That their Equation (1) has this form is inferred, not read: its (0.91, 0.50) for H-beta is exactly the pair of
Vestergaard & Peterson 2006 in this form.

Such masses are rough. Beyond the measurement error they have a systematic scatter of 0.3-0.5 dex (Shen 2013,
BASI 41, 61): two lines of the same quasar disagree by 0.44 dex (standard deviation over the 15,377 quasars of
Chen et al. at 1.46 < z < 1.80 that have both Mg II and C IV). A network trained on them cannot be better.
"""

import numpy as np
from numpy.typing import ArrayLike

# Zero point a and slope b of each line, named as in the tables' LABEL_LINE: Chen et al. 2019, abstract. That lambda
# L_lambda is to be taken at 5100 (H-beta, H-alpha), 3000 (Mg II) and 1350 Angstrom (C IV), rest frame, is inferred from
# the usage of the field (Shen et al. 2011, ApJS 194, 45).
CALIBRATIONS = {"Hb": (0.91, 0.5), "Ha": (0.96, 0.5), "MgII": (0.82, 0.5), "CIV": (0.77, 0.5)}


def mass(line: str, luminosity: ArrayLike, fwhm: ArrayLike) -> np.ndarray:
    """Virial mass of a black hole.

    Parameters
    ----------
    line : str
        One of `CALIBRATIONS`.
    luminosity : array_like
        log10 of lambda L_lambda in erg/s, at the wavelength that belongs to the line.
    fwhm : array_like
        Full width at half maximum of the broad line in km/s, above 0.

    Returns
    -------
    ndarray
        log10(M / M_Sun), in the shape the inputs broadcast to.

    Raises
    ------
    KeyError
        If the line has no calibration.

    Examples
    --------
    >>> float(round(mass("MgII", 45.0, 4000.0), 3))
    8.524
    """
    a, b = CALIBRATIONS[line]
    return a + b * (np.asarray(luminosity, float) - 44.0) + 2.0 * np.log10(np.asarray(fwhm, float))
