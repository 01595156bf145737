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

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LOG_LUMINOSITY_PIVOT = 44.0  # log10 of 1e44 erg/s, in which the relation counts lambda L_lambda
FWHM_POWER = 2.0  # M ~ v^2 by the virial theorem, not fitted


@dataclass(frozen=True)
class Calibration:
    """The relation's constants for one line.

    Attributes
    ----------
    line : str
        ``"Hb"``, ``"Ha"``, ``"MgII"`` or ``"CIV"``, as the tables' LABEL_LINE names them.
    a, b : float
        Zero point and slope; source: Chen et al. 2019, abstract.
    continuum : float
        Rest wavelength in Angstrom at which lambda L_lambda is taken. That 5100, 3000 and 1350 are meant is inferred
        from the usage of the field (Shen et al. 2011, ApJS 194, 45).
    """

    line: str
    a: float
    b: float
    continuum: float


CALIBRATIONS = {
    calibration.line: calibration
    for calibration in (
        Calibration("Hb", a=0.91, b=0.5, continuum=5100.0),
        Calibration("Ha", a=0.96, b=0.5, continuum=5100.0),
        Calibration("MgII", a=0.82, b=0.5, continuum=3000.0),
        Calibration("CIV", a=0.77, b=0.5, continuum=1350.0),
    )
}


def mass(line: str, luminosity: ArrayLike, fwhm: ArrayLike) -> np.ndarray:
    """Virial mass of a black hole.

    Parameters
    ----------
    line : str
        One of `CALIBRATIONS`.
    luminosity : array_like
        log10 of lambda L_lambda in erg/s at the calibration's `continuum` wavelength.
    fwhm : array_like
        Full width at half maximum of the broad line in km/s, above 0.

    Returns
    -------
    ndarray
        log10(M / M_Sun), in the shape the inputs broadcast to.

    Raises
    ------
    ValueError
        If the line has no calibration.

    Examples
    --------
    >>> float(round(mass("MgII", 45.0, 4000.0), 3))
    8.524
    """
    constants = _calibration(line)
    above = np.asarray(luminosity, float) - LOG_LUMINOSITY_PIVOT
    return constants.a + constants.b * above + FWHM_POWER * np.log10(np.asarray(fwhm, float))


def fwhm(line: str, mass: ArrayLike, luminosity: ArrayLike) -> np.ndarray:
    """Line width at which the relation gives a mass: the inverse of `mass`.

    Parameters
    ----------
    line : str
        One of `CALIBRATIONS`.
    mass : array_like
        log10(M / M_Sun).
    luminosity : array_like
        log10 of lambda L_lambda in erg/s at the calibration's `continuum` wavelength.

    Returns
    -------
    ndarray
        Full width at half maximum in km/s.

    Raises
    ------
    ValueError
        If the line has no calibration.
    """
    constants = _calibration(line)
    above = np.asarray(mass, float) - constants.a - constants.b * (np.asarray(luminosity, float) - LOG_LUMINOSITY_PIVOT)
    return 10.0 ** (above / FWHM_POWER)


def _calibration(line: str) -> Calibration:
    if line not in CALIBRATIONS:
        raise ValueError(f"no calibration for the line {line!r}; choose one of {', '.join(CALIBRATIONS)}")
    return CALIBRATIONS[line]
