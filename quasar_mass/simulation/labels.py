"""The masses a simulated survey publishes: what a measurement on one spectrum of each object would have given.

A label is the virial mass of the object's true line width and of its luminosity on that night, plus an error that is
*drawn* - no line is fitted - with a size set by that very spectrum's signal to noise. Which lines have a mass at all is
drawn too, so that the shares come out as measured on the published table (Chen et al. 2019, 30,920 quasars).
"""

import math
from dataclasses import dataclass

import numpy as np

from quasar_mass import virial
from quasar_mass.simulation.quasars import Quasar

# Error of a mass in dex: a floor, and a part that falls with the median S/N per pixel. Chosen here.
ERRORS = {"MgII": (0.06, 0.35), "CIV": (0.08, 0.42), "Hb": (0.08, 0.40), "Ha": (0.08, 0.40)}

CIV_FROM = 1.566  # redshift from which C IV masses exist (measured: none below, 96 % above)
NO_CIV = ((1.566, 1.80), (0.045, 0.018))  # share without C IV mass against redshift (measured)
NO_MGII = ((1.566, 1.80), (0.205, 0.43))  # share without Mg II mass; 0 below the first redshift (measured)
# Quasars without Mg II mass have low C IV masses (8.30 against 8.62 with both; measured). Why is not known here: the
# chance to lack Mg II is made to grow towards low C IV masses, with this correlation, around this mean and scatter.
NO_MGII_MASS = (0.45, 8.51, 0.447)
HB_TO, HA_TO = 0.90, 0.42  # redshifts at which H-beta and H-alpha leave the spectrum (9200 A)


@dataclass(frozen=True)
class Label:
    """One row of the mass table, 0.0 standing for "not measured", and the true value behind the label.

    Attributes
    ----------
    masses : dict of str to float
        log10(M / M_Sun) by line, ``"Hb"``, ``"Ha"``, ``"MgII"``, ``"CIV"``.
    true_mass : float
        The virial mass without error and variability in the first line that has one: what the label measures.
    """

    masses: dict
    true_mass: float


def measure(
    rng: np.random.Generator,
    quasar: Quasar,
    *,
    redshift: float,
    signal_to_noise: float,
    luminosity: dict,
    labelled: bool = True,
) -> Label:
    """Draw the masses measured on one spectrum.

    Parameters
    ----------
    rng : numpy.random.Generator
        The object's own.
    quasar : Quasar
        What it truly is.
    redshift : float
        The catalogue's.
    signal_to_noise : float
        Median per pixel of the spectrum.
    luminosity : dict of str to float
        log10 of lambda L_lambda (erg/s) beside each line on that night.
    labelled : bool
        If not, no line is measured.
    """
    noise, chance = rng.standard_normal(4), rng.standard_normal(2)
    fwhm = quasar.fwhm | {"Hb": quasar.fwhm["MgII"], "Ha": quasar.fwhm["MgII"]}  # all low ionization
    drawn = {}
    for n, (line, (floor, slope)) in enumerate(ERRORS.items()):
        error = noise[n] * np.hypot(floor, slope / max(signal_to_noise, 1.0))
        drawn[line] = round(float(np.clip(virial.mass(line, luminosity[line], fwhm[line]) + error, 6.0, 9.99)), 2)
    kept = _measured(redshift, drawn["CIV"], chance) if labelled else ()
    masses = {line: drawn[line] if line in kept else 0.0 for line in ("Hb", "Ha", "MgII", "CIV")}
    label_line = next((line for line in masses if line in kept), "MgII")
    return Label(masses, float(virial.mass(label_line, mean_luminosities(quasar)[label_line], fwhm[label_line])))


def mean_luminosities(quasar: Quasar) -> dict:
    """log10 of lambda L_lambda (erg/s) that each line's mass is made with, without variability."""
    at_5100 = quasar.log_l3000 + (1.0 + quasar.slope) * np.log10(5100.0 / 3000.0)
    return {"Hb": at_5100, "Ha": at_5100, "MgII": quasar.log_l3000, "CIV": quasar.log_l1350}


def _measured(redshift: float, civ_mass: float, chance: np.ndarray) -> tuple:
    """Lines that have a mass."""
    lines = []
    if redshift < HB_TO:
        lines.append("Hb")
    if redshift < HA_TO:
        lines.append("Ha")
    if redshift < CIV_FROM:
        return (*lines, "MgII")
    strength, mean, scatter = NO_MGII_MASS
    rank = strength * (civ_mass - mean) / scatter + np.sqrt(1.0 - strength**2) * chance[0]
    without_mgii = _normal_cdf(rank) < np.interp(redshift, *NO_MGII)
    without_civ = not without_mgii and _normal_cdf(chance[1]) < np.interp(redshift, *NO_CIV)
    return (*lines, *(() if without_mgii else ("MgII",)), *(() if without_civ else ("CIV",)))


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
