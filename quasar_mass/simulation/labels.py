"""The masses that a simulated survey publishes: what the line fit (`virial.measure`) gives for one noisy spectrum each.

So the errors of the labels depend on the spectra, as in the published table: on noise, absorption, redshift error and
calibration. Which lines have a mass is partly drawn at random, beyond what the fit rejects, with the fractions measured
on the published table (Chen et al. 2019, 30,920 quasars), since it is not known why that table lacks them. H-beta and
H-alpha, which no selected spectrum contains, are not fitted: their masses are drawn around the truth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri  # the normal distribution and its inverse

from quasar_mass import virial
from quasar_mass.core.survey import LABEL_LINES
from quasar_mass.simulation.quasar.intrinsic import Quasar

MIN_CIV_REDSHIFT = 1.566  # from which C IV masses exist (measured: none below, 96 % above)
NO_CIV = ((1.566, 1.80), (0.045, 0.018))  # fraction without C IV mass against redshift (measured)
NO_MGII = ((1.566, 1.80), (0.205, 0.43))  # fraction without Mg II mass; 0 below the first redshift (measured)
# Quasars without Mg II mass have low C IV masses (8.30 against 8.62 with both; measured), for unknown reasons. So the
# probability to lack Mg II grows towards low C IV masses, with this correlation, around this mean and scatter.
NO_MGII_MASS = (0.58, 8.51, 0.38)
MAX_HB_REDSHIFT, MAX_HA_REDSHIFT = 0.90, 0.42  # at which H-beta and H-alpha leave the spectrum (9200 A)
BALMER_ERROR = 0.12  # dex, of the drawn H-beta and H-alpha masses: chosen here
# dex: what the published C IV masses have beside those of this package's fit: mean; scatter, exponential on either side
# and longer towards low masses; and its least value in that unit. Real C IV lines give
# masses 0.2 dex above those of Mg II, the published ones lie 0.13 dex below, and scatter more than widths and
# luminosities do (measured on real spectra, and on the published table).
CIV_OFFSET, CIV_SCATTER, MIN_CIV_SCATTER = -0.41, 0.22, -2.5
MASS_RANGE = (5.0, 11.0)  # log10(M / M_Sun): a fit beyond these gives no mass; chosen here


@dataclass(frozen=True)
class Label:
    """One row of the mass table, and the true value behind the label.

    Attributes
    ----------
    masses : dict of str to float
        log10(M / M_Sun) by line, in the order of `LABEL_LINES`; 0.0 where it was not measured.
    true_mass : float
        The noise-free virial mass in the first line that has one: what the label measures.
    """

    masses: dict
    true_mass: float


def publish(
    rng: np.random.Generator, quasar: Quasar, measured: Mapping[str, float], *, redshift: float, labelled: bool = True
) -> Label:
    """Decide which of the measured masses the table contains.

    Parameters
    ----------
    rng : numpy.random.Generator
        The object's own.
    quasar : Quasar
        Its true properties.
    measured : mapping of str to float
        ``"MgII"`` and ``"CIV"``: log10(M / M_Sun) from `trusted_masses`, NaN where there is none.
    redshift : float
        The catalogue's.
    labelled : bool
        If not, no line has a mass.
    """
    noise, chance = rng.standard_normal(2), rng.standard_normal(2)
    above, below = rng.exponential(size=2)
    more = max(0.6 * (above - 1.0) - (below - 1.0), MIN_CIV_SCATTER)
    truth = true_masses(quasar)
    balmer = {line: truth[line] + BALMER_ERROR * size for line, size in zip(("Hb", "Ha"), noise, strict=True)}
    expected = measured["CIV"] + CIV_OFFSET
    masses = balmer | {"MgII": measured["MgII"], "CIV": expected + CIV_SCATTER * more}
    usable = {line for line in LABEL_LINES if MASS_RANGE[0] < masses[line] < MASS_RANGE[1]}  # without NaN
    published = [line for line in _published(redshift, expected, chance) if line in usable] if labelled else []
    return Label(
        masses={line: round(float(masses[line]), 2) if line in published else 0.0 for line in LABEL_LINES},
        true_mass=truth[published[0] if published else "MgII"],
    )


def trusted_masses(table: pd.DataFrame) -> list[dict[str, float]]:
    """Select the masses that a published table would contain from those of `virial.measure`.

    Fits flagged as very wide are left out: in the simulation nearly all of them fitted iron instead of the line, and
    the published masses do not reach that far (99 % of those from Mg II lie below 9.36; measured).

    Returns
    -------
    list of dict of str to float
        ``"MgII"`` and ``"CIV"`` for each row: log10(M / M_Sun), NaN where there is none.
    """
    names = {"MgII": "Mg II", "CIV": "C IV"}
    masses = {
        line: table[f"LMBH_{line}"].mask(table["FLAGS"].str.contains(f"{name} very wide"))
        for line, name in names.items()
    }
    return pd.DataFrame(masses).astype(float).to_dict("records")


def true_masses(quasar: Quasar) -> dict[str, float]:
    """log10(M / M_Sun) by line, from the quasar's noise-free widths and mean luminosities; C IV as it is published."""
    at_5100 = quasar.log_l3000 + (1.0 + quasar.slope) * np.log10(5100.0 / 3000.0)
    luminosity = {"Hb": at_5100, "Ha": at_5100, "MgII": quasar.log_l3000, "CIV": quasar.log_l1350}
    # Hb and Ha are taken to be as wide as Mg II: low ionization
    width = {line: quasar.fwhm["CIV" if line == "CIV" else "MgII"] for line in LABEL_LINES}
    masses = {line: float(virial.mass(line, luminosity[line], width[line])) for line in LABEL_LINES}
    return masses | {"CIV": masses["CIV"] + CIV_OFFSET}


def _published(redshift: float, civ_mass: float, chance: np.ndarray) -> list[str]:
    """Lines whose masses are published, if they were measured."""
    lines = [line for line, limit in (("Hb", MAX_HB_REDSHIFT), ("Ha", MAX_HA_REDSHIFT)) if redshift < limit]
    if redshift < MIN_CIV_REDSHIFT:
        return [*lines, "MgII"]
    without_mgii = np.isfinite(civ_mass) and ndtr(chance[0]) < _probability_without_mgii(redshift, civ_mass)
    if without_mgii:
        return [*lines, "CIV"]
    # NO_CIV counts among all objects, and those without Mg II all have a C IV mass.
    without_civ = np.interp(redshift, *NO_CIV) / (1.0 - np.interp(redshift, *NO_MGII))
    return [*lines, "MgII"] + ([] if ndtr(chance[1]) < without_civ else ["CIV"])


def _probability_without_mgii(redshift: float, civ_mass: float) -> float:
    if redshift < MIN_CIV_REDSHIFT:
        return 0.0
    correlation, mean, scatter = NO_MGII_MASS
    threshold = ndtri(np.interp(redshift, *NO_MGII))
    rank = correlation * (civ_mass - mean) / scatter
    return ndtr((threshold - rank) / math.sqrt(1.0 - correlation**2))
