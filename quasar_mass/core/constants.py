"""Physical constants, line wavelengths and units, each once.

Wavelengths are in Angstrom, in vacuum, at rest.
"""

import math

C_KM_S = 299_792.458  # speed of light, km / s, exact (SI)
KM_S_PER_DEX = C_KM_S * math.log(10.0)  # velocity of one dex of wavelength, for small shifts
