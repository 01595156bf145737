"""A quasar's flux above the atmosphere: distance, dust in the Galaxy, variability."""

import functools

import numpy as np

from quasar_mass.core.constants import C_KM_S, MPC
from quasar_mass.simulation.population import Target
from quasar_mass.simulation.quasar import intrinsic
from quasar_mass.simulation.spectrograph.sky import FIRST_PIXEL, LAST_PIXEL, pixels
from quasar_mass.spectra.extinction import transmission

# Variability: a damped random walk with the average parameters of MacLeod et al. 2010 (ApJ 721, 1014, equation 7 and
# table 1) for M_i = -25 and 10^8.6 solar masses, this population's mean. Quasars vary more in the blue.
STRUCTURE = 0.179  # mag: structure function at long times, at 2500 A in the rest frame
STRUCTURE_SCATTER = 0.10  # dex, from object to object: chosen here
STRUCTURE_POWER = -0.479  # of the amplitude on the rest wavelength
STRUCTURE_WAVELENGTH = 2500.0  # Angstrom
DAMPING = 166.0  # days in the rest frame
# The slope also changes a little (standard deviation; chosen here). The lines follow the continuum at once and in full,
# where those of real quasars follow partly and late: the whole spectrum is multiplied by one smooth factor.
SLOPE_CHANGE = 0.03
# Angstrom: ugriz as boxes of their full widths at half maximum, Fukugita et al. 1996 (AJ 111, 1748)
FILTERS = ((3250, 3880), (3990, 5380), (5480, 6860), (6710, 8240), (8250, 9620))
C_ANGSTROM_S = 1e13 * C_KM_S  # speed of light, Angstrom/s
BLUEST = 1270.0  # Angstrom, rest frame: the simulated spectra begin here; further to the blue the flux is constant

_VARIABILITY = 3  # with the survey's seed and an object's number: the generator of its variability


def received_flux(quasar: intrinsic.Quasar, ebv: float) -> np.ndarray:
    """Give the mean flux density above the atmosphere, without variability.

    Parameters
    ----------
    quasar : Quasar
        At a redshift of 0.25 to 2.8.
    ebv : float
        E(B-V) of Schlegel, Finkbeiner & Davis 1998, magnitudes.

    Returns
    -------
    ndarray
        On `sky.pixels`, 1e-17 erg/s/cm2/Angstrom.
    """
    log_wavelength = pixels() - np.log10(1.0 + quasar.redshift)
    start = int(np.searchsorted(log_wavelength, np.log10(BLUEST)))
    density = np.pad(intrinsic.luminosity_density(quasar, log_wavelength[start:]), (start, 0), mode="edge")
    k = np.arange(FIRST_PIXEL, LAST_PIXEL + 1)
    return density * _dilution(quasar.redshift) * transmission(k, ebv)


def draw_variations(seed: int, target: Target, redshift: float) -> np.ndarray:
    """Draw how an object differs from its mean flux at each of its epochs.

    Parameters
    ----------
    seed : int
        The survey's.
    target : Target
        With epochs in order of time.
    redshift : float
        The true one, for the time dilation.

    Returns
    -------
    ndarray, shape (epochs, 2)
        Dimming in magnitudes at `STRUCTURE_WAVELENGTH`, and the change of slope around it.
    """
    rng = np.random.default_rng([seed, target.index, _VARIABILITY])
    size = STRUCTURE / np.sqrt(2.0) * 10.0 ** (STRUCTURE_SCATTER * rng.standard_normal())
    changes = rng.standard_normal((len(target.epochs), 2)) * (size, SLOPE_CHANGE)
    for n in range(1, len(target.epochs)):
        days = (target.epochs[n][1] - target.epochs[n - 1][1]) / (1.0 + redshift)
        memory = np.exp(-max(days, 0.0) / DAMPING)
        changes[n, 0] = memory * changes[n - 1, 0] + np.sqrt(1.0 - memory**2) * changes[n, 0]
    return changes


def variability_factor(change: np.ndarray, redshift: float) -> np.ndarray:
    """Give the factor on the flux, on `sky.pixels`, for one row of `draw_variations`."""
    dimming, slope = change
    ln_wavelength = np.log(10.0) * pixels() - np.log((1.0 + redshift) * STRUCTURE_WAVELENGTH)
    # of the dimming at 2500 A; in logarithms, since powers are slow
    return np.exp(-0.4 * np.log(10.0) * dimming * np.exp(STRUCTURE_POWER * ln_wavelength) + slope * ln_wavelength)


def magnitudes(flux: np.ndarray) -> np.ndarray:
    """Give AB magnitudes, ugriz, of flux density on `sky.pixels` in 1e-17 erg/s/cm2/Angstrom; shape (5,)."""
    return -2.5 * np.log10(1e-17 * _filters() @ flux) - 48.60


@functools.cache
def _filters() -> np.ndarray:
    """Weights that turn flux densities per Angstrom into those per Hertz, shape (5, pixels); u is cut in the blue."""
    wavelength = 10.0 ** pixels()
    inside = np.array([(wavelength > low) & (wavelength < high) for low, high in FILTERS])
    return inside * wavelength**2 / (C_ANGSTROM_S * inside.sum(axis=1, keepdims=True))


def _dilution(redshift: float) -> float:
    """Flux density (1e-17 erg/s/cm2/Angstrom, observed) over luminosity density (erg/s/Angstrom, rest frame)."""
    distance = np.interp(redshift, *_distances())
    return float(1e17 / (4.0 * np.pi * distance**2 * (1.0 + redshift)))


@functools.cache
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """Redshifts and luminosity distances in cm, Planck 2015; interpolating costs less than 1e-6 of the distance."""
    from astropy.cosmology import Planck15  # not at the top: half a second

    redshifts = np.linspace(0.25, 2.8, 5101)
    return redshifts, MPC * Planck15.luminosity_distance(redshifts).value
