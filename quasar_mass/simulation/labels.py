"""The masses a simulated survey publishes: what the line fit (`virial.measure`) finds on one noisy spectrum of each.

So the errors of the labels follow the spectra, as those of the published table do: of its noise, its absorption, its
redshift, its calibration. Which lines have a mass at all is drawn beyond what the fit refuses, with the shares measured
on the published table (Chen et al. 2019, 30,920 quasars), for why that table lacks them is not known here. H-beta and
H-alpha, which no selected spectrum shows, are not fitted: their masses are drawn from the truth with an error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from quasar_mass import virial
from quasar_mass.simulation.quasar.intrinsic import Quasar

LINES = ("Hb", "Ha", "MgII", "CIV")  # in the order in which the first mass is taken as the label
CIV_FROM = 1.566  # redshift from which C IV masses exist (measured: none below, 96 % above)
NO_CIV = ((1.566, 1.80), (0.045, 0.018))  # share without C IV mass against redshift (measured)
NO_MGII = ((1.566, 1.80), (0.205, 0.43))  # share without Mg II mass; 0 below the first redshift (measured)
# Quasars without Mg II mass have low C IV masses (8.30 against 8.62 with both; measured). Why is not known here: the
# chance to lack Mg II is made to grow towards low C IV masses, with this correlation, around this mean and scatter.
NO_MGII_MASS = (0.45, 8.51, 0.447)
HB_TO, HA_TO = 0.90, 0.42  # redshifts at which H-beta and H-alpha leave the spectrum (9200 A)
BALMER_ERROR = 0.12  # dex, of the drawn H-beta and H-alpha masses: chosen here
MASSES = (5.0, 11.0)  # log10(M / M_Sun): a fit beyond these is no mass; chosen here


@dataclass(frozen=True)
class Label:
    """One row of the mass table, 0.0 standing for "not measured", and the true value behind the label.

    Attributes
    ----------
    masses : dict of str to float
        log10(M / M_Sun) by line, in the order of `LINES`.
    true_mass : float
        The noise-free virial mass in the first line that has one: what the label measures.
    """

    masses: dict
    true_mass: float


def publish(
    rng: np.random.Generator, quasar: Quasar, measured: Mapping[str, float], *, redshift: float, labelled: bool = True
) -> Label:
    """Decide which of the measured masses the table has.

    Parameters
    ----------
    rng : numpy.random.Generator
        The object's own.
    quasar : Quasar
        What it truly is.
    measured : mapping of str to float
        ``"MgII"`` and ``"CIV"``: log10(M / M_Sun) as `trusted` gives them, NaN where there is none.
    redshift : float
        The catalogue's.
    labelled : bool
        If not, no line has a mass.
    """
    noise, chance = rng.standard_normal(2), rng.standard_normal(2)
    truth = true_masses(quasar)
    found = {"Hb": truth["Hb"] + BALMER_ERROR * noise[0], "Ha": truth["Ha"] + BALMER_ERROR * noise[1], **measured}
    usable = {line: MASSES[0] < found[line] < MASSES[1] for line in LINES}  # False for NaN
    kept = [line for line in _published(redshift, found["CIV"], chance) if usable[line]] if labelled else []
    masses = {line: round(float(found[line]), 2) if line in kept else 0.0 for line in LINES}
    label_line = kept[0] if kept else "MgII"
    return Label(masses, truth[label_line])


def trusted(table: pd.DataFrame) -> list[dict[str, float]]:
    """Take the masses that such a table would publish from what `virial.measure` found.

    Fits flagged as very wide are left out: in the simulation nearly all of them took iron for the line, and the
    published masses end where they would be (99 % of those from Mg II lie below 9.36; measured).

    Returns
    -------
    list of dict of str to float
        ``"MgII"`` and ``"CIV"`` for each row: log10(M / M_Sun), NaN where there is none.
    """
    found = {
        line: table[f"LMBH_{line}"].mask(table["FLAGS"].str.contains(f"{name} very wide")).to_numpy(float)
        for line, name in (("MgII", "Mg II"), ("CIV", "C IV"))
    }
    return [dict(zip(found, masses, strict=True)) for masses in zip(*found.values(), strict=True)]


def true_masses(quasar: Quasar) -> dict[str, float]:
    """log10(M / M_Sun) by line, from the quasar's noise-free widths and mean luminosities."""
    at_5100 = quasar.log_l3000 + (1.0 + quasar.slope) * np.log10(5100.0 / 3000.0)
    luminosity = {"Hb": at_5100, "Ha": at_5100, "MgII": quasar.log_l3000, "CIV": quasar.log_l1350}
    width = {line: quasar.fwhm["CIV" if line == "CIV" else "MgII"] for line in LINES}  # Hb, Ha, Mg II: low ionization
    return {line: float(virial.mass(line, luminosity[line], width[line])) for line in LINES}


def expected_mass(quasar: Quasar, redshift: float) -> float:
    """Give the mean of the true masses that the label may come from, each with its chance: a network's best answer.

    Parameters
    ----------
    quasar : Quasar
        With a redshift at which its label is from Mg II or C IV.
    redshift : float
        The catalogue's.
    """
    truth = true_masses(quasar)
    chance = _chance_without_mgii(redshift, truth["CIV"])
    return (1.0 - chance) * truth["MgII"] + chance * truth["CIV"]


def _published(redshift: float, civ_mass: float, chance: np.ndarray) -> tuple:
    """Lines whose masses are published, if they were measured."""
    lines = []
    if redshift < HB_TO:
        lines.append("Hb")
    if redshift < HA_TO:
        lines.append("Ha")
    if redshift < CIV_FROM:
        return (*lines, "MgII")
    without_mgii = np.isfinite(civ_mass) and _normal_cdf(chance[0]) < _chance_without_mgii(redshift, civ_mass)
    # NO_CIV counts among all objects, and those without Mg II have all a C IV mass.
    share = np.interp(redshift, *NO_CIV) / (1.0 - np.interp(redshift, *NO_MGII))
    without_civ = not without_mgii and _normal_cdf(chance[1]) < share
    return (*lines, *(() if without_mgii else ("MgII",)), *(() if without_civ else ("CIV",)))


def _chance_without_mgii(redshift: float, civ_mass: float) -> float:
    if redshift < CIV_FROM:
        return 0.0
    strength, mean, scatter = NO_MGII_MASS
    threshold = NormalDist().inv_cdf(float(np.interp(redshift, *NO_MGII)))
    rank = strength * (civ_mass - mean) / scatter
    return _normal_cdf((threshold - rank) / math.sqrt(1.0 - strength**2))


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
