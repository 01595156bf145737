"""Errors of the flux calibration and of the reported noise: smooth errors of a reduction that its files do not report.

Part of each error is common to the fibres of half a plate on one night, since they share their standard stars and the
telescope's pointing, and part belongs to one fibre alone. All calibration errors are factors on the quasar's flux, not
on the noise. They are nuisances for what is learned from the spectra; a size that is not measured is chosen wide.
"""

import functools
from typing import NamedTuple

import numpy as np

from quasar_mass.simulation.spectrograph.sky import pixels

# --- smooth errors: natural logarithm of the flux, standard deviations of the Legendre polynomials 0, 1, 2, 3 over the
# whole spectrum. BOSS's photometric accuracy is 5-6 % in g-r and r-i (Dawson et al. 2013, AJ 145, 10); in 24 quasars of
# plate 3655 the synthetic g-i scatters by 0.14 mag around the photometry, variability included (measured). ------------
HALF_PLATE = np.array((0.04, 0.04, 0.025, 0.015))
FIBRE = np.array((0.10, 0.05, 0.025, 0.015))

# --- the blue excess of quasars whose holes were drilled for 4000 A while the standard stars' were for 5400 A: on
# average +19 % at 3600 A and -24 % at 10,000 A (Margala et al. 2016, ApJ 831, 157), which is a power law -------------
LAMBDA_EFF_STARS = 5400.0  # Angstrom: the standard stars, and quasars without the excess
LAMBDA_EFF_QUASARS = 4000.0  # Angstrom: quasars with the excess
BLUE_EXCESS = -0.44  # exponent: (3600/5400)^-0.44 = 1.195, (10000/5400)^-0.44 = 0.763
# It grows with airmass, hour angle and the position on the plate. Standard deviations over the average, chosen wide,
# since it is not known how much of it the v5_13 reductions correct; plate 3655 shows 0.4 of it (measured, g-i).
EXCESS_SCATTER = (0.60, 0.30)  # of half plates, of fibres
GUIDING_SCATTER = 0.15  # the same for fibres drilled for 5400 A

# --- the dichroic: the two cameras' spectra meet at about 6000 A (SDSS caveats: steps there). Chosen here. ------------
DICHROIC, DICHROIC_WIDTH = 6050.0, 80.0  # Angstrom
STEP_FRACTION, STEP = 0.3, 0.04  # of fibres with a step, and its standard deviation

# --- residual absorption lines of the standard stars (the "Balmer problem", Lee et al. 2013, AJ 145, 69): per cent
# features that all fibres of half a plate share; and residual absorption of the air. Sizes and widths chosen here. ----
BALMER_LINES = (6564.6, 4862.7, 4341.7, 4102.9, 3971.2, 3890.2, 3836.5, 3798.9)  # Angstrom, vacuum
BALMER, BALMER_WIDTH = 0.012, 12.0  # standard deviation of the common depth, and width in Angstrom
TELLURIC = (  # bands of oxygen (A at 7600 A, B) and water: first and last wavelength (Angstrom), relative depth
    (6867, 6944, 0.5), (7160, 7340, 0.4), (7594, 7700, 1.0), (8120, 8350, 0.5), (8930, 9200, 0.4), (9280, 9800, 1.0),
)  # fmt: skip
AIR, AIR_EDGE = 0.02, 8.0  # standard deviation of the depth of the deepest band, and width of the edges (A)

# --- errors of the errors: reported over true standard deviation, natural logarithm ----------------------------------
# Average (measured: robust scatter of flux minus a smooth curve over the reported error; 0.90 in the red).
OVERESTIMATE = (
    (3600, 3900, 4150, 4600, 5000, 5400, 6000, 10_400),
    (-0.08, -0.02, 0.02, 0.02, 0.045, 0.08, 0.10, 0.10),
)
# Measured: 0.03 between spectra, 0.04 between regions of one; wider here. SDSS speaks of 10-20 % "error on the error".
ERROR_SCATTER = 0.04  # per spectrum
ERROR_WAVES = 0.055  # within a spectrum
ERROR_NODES = 9  # of the smooth curve within a spectrum: regions of 0.06 dex

_BASIS = 8  # functions in `_basis`


class HalfPlate(NamedTuple):
    """Calibration errors that the fibres of half a plate share: four Legendre coefficients and three sizes."""

    smooth: tuple[float, float, float, float]
    excess: float
    balmer: float
    air: float


def draw_half_plate(rng: np.random.Generator) -> HalfPlate:
    """Draw the calibration errors that the fibres of half a plate share."""
    smooth = HALF_PLATE * rng.standard_normal(4)
    excess, balmer, air = np.array((EXCESS_SCATTER[0], BALMER, AIR)) * rng.standard_normal(3)
    return HalfPlate(tuple(smooth.tolist()), float(1.0 + excess), float(balmer), float(air))


def draw_factor(rng: np.random.Generator, half_plate: HalfPlate, lambda_eff: float) -> np.ndarray:
    """Draw the calibration error of one spectrum: a factor on its flux.

    Parameters
    ----------
    rng : numpy.random.Generator
        The spectrum's own.
    half_plate : HalfPlate
        The part it shares with others.
    lambda_eff : float
        Wavelength (Angstrom) that its hole was drilled for, 4000 or 5400.

    Returns
    -------
    ndarray
        On `pixels`.
    """
    own = rng.standard_normal(6)
    has_step = rng.random() < STEP_FRACTION
    offset = (LAMBDA_EFF_STARS - lambda_eff) / (LAMBDA_EFF_STARS - LAMBDA_EFF_QUASARS)
    coefficients = np.empty(_BASIS)
    coefficients[:4] = np.array(half_plate.smooth) + FIBRE * own[:4]
    coefficients[4] = (
        offset * (half_plate.excess + EXCESS_SCATTER[1] * own[4]) + (1.0 - offset) * GUIDING_SCATTER * own[4]
    )
    coefficients[5] = STEP * own[5] if has_step else 0.0
    coefficients[6], coefficients[7] = half_plate.balmer, half_plate.air
    return np.exp(coefficients @ _basis())


def draw_error_factor(rng: np.random.Generator) -> np.ndarray:
    """Draw the ratio of reported to true standard deviation of one spectrum, on `pixels`."""
    nodes = ERROR_SCATTER * rng.standard_normal() + ERROR_WAVES * rng.standard_normal(ERROR_NODES)
    average, positions = _overestimate()
    return np.exp(average + np.interp(pixels(), positions, nodes))


@functools.cache
def _overestimate() -> tuple[np.ndarray, np.ndarray]:
    average = np.interp(pixels(), np.log10(OVERESTIMATE[0]), OVERESTIMATE[1])
    return average, np.linspace(pixels()[0], pixels()[-1], ERROR_NODES)


@functools.cache
def _basis() -> np.ndarray:
    """Natural logarithm of the flux for a coefficient of 1 each, shape (_BASIS, pixels)."""
    log_wavelength = pixels()
    wavelength = 10.0**log_wavelength
    x = np.interp(log_wavelength, log_wavelength[[0, -1]], (-1.0, 1.0))
    step = 0.5 * np.tanh((wavelength - DICHROIC) / DICHROIC_WIDTH)
    balmer = sum(np.exp(-0.5 * ((wavelength - line) / BALMER_WIDTH) ** 2) for line in BALMER_LINES)
    air = sum(
        0.5 * depth * (np.tanh((wavelength - low) / AIR_EDGE) - np.tanh((wavelength - high) / AIR_EDGE))
        for low, high, depth in TELLURIC
    )
    excess = BLUE_EXCESS * np.log(wavelength / LAMBDA_EFF_STARS)
    return np.array((*(np.polynomial.legendre.Legendre.basis(n)(x) for n in range(4)), excess, step, balmer, air))
