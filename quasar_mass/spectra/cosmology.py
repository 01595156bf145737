"""Luminosity distances in the cosmology of Planck 2015, for many redshifts at once."""

import numpy as np
from numpy.typing import ArrayLike

from quasar_mass.core.constants import C_KM_S

# Planck Collaboration 2016 (A&A 594, A13), table 4, last column: flat, with one massive neutrino of 0.06 eV. Those are
# `astropy.cosmology.Planck15`'s numbers, which a test compares; importing that takes a second.
H0, MATTER = 67.74, 0.3075  # km/s/Mpc; fraction of the critical density
PHOTONS = 5.389263261651471e-05  # likewise, of 2.7255 K
# Neutrinos by the fit of Komatsu et al. 2011 (ApJS 192, 18), section 3.3: 3.046 families at (4/11)^(1/3) of the
# photons' temperature, of which one has this mass over its temperature today.
FAMILY = 7.0 / 8.0 * (4.0 / 11.0) ** (4.0 / 3.0) * 3.046 / 3.0  # density of a massless one, over the photons'
MASS_OVER_TEMPERATURE, SHAPE, POWER, INVERSE_POWER = 357.9121209673803, 0.3173, 1.83, 0.54644808743
DARK_ENERGY = (
    1.0
    - MATTER
    - PHOTONS
    - PHOTONS * FAMILY * (2.0 + (1.0 + (SHAPE * MASS_OVER_TEMPERATURE) ** POWER) ** INVERSE_POWER)
)

# in log(1 + z), in which the integrand is smooth: exact to rounding for any redshift of a galaxy
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


def luminosity_distance(redshift: ArrayLike) -> np.ndarray:
    """Luminosity distance in Mpc; shape as given.

    Parameters
    ----------
    redshift : array_like
        Positive.
    """
    redshift = np.asarray(redshift, float)
    end = np.log1p(redshift)
    stretch = np.exp(0.5 * end[..., np.newaxis] * (1.0 + _NODES))  # 1 + z at the nodes
    integral = 0.5 * end * ((stretch / _expansion(stretch)) @ _WEIGHTS)
    return (1.0 + redshift) * C_KM_S / H0 * integral


def _expansion(stretch: np.ndarray) -> np.ndarray:
    """Hubble parameter over its value today, at 1 + z."""
    massive = (1.0 + (SHAPE * MASS_OVER_TEMPERATURE / stretch) ** POWER) ** INVERSE_POWER
    radiation = PHOTONS * (1.0 + FAMILY * (2.0 + massive))
    return np.sqrt(stretch**3 * (radiation * stretch + MATTER) + DARK_ENERGY)
