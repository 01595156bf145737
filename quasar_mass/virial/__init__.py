"""Single-epoch virial masses: the relation of width, luminosity and mass, and the fit of the lines that feeds it."""

from quasar_mass.virial.measurement import COLUMNS, measure
from quasar_mass.virial.relation import CALIBRATIONS, mass

__all__ = ["CALIBRATIONS", "COLUMNS", "mass", "measure"]
