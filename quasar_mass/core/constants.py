"""Physical constants, line wavelengths and units, each once.

Wavelengths are in Angstrom, in vacuum, at rest.
"""

import math

C_KM_S = 299_792.458  # speed of light, km / s, exact (SI)
KM_S_PER_DEX = C_KM_S * math.log(10.0)  # velocity of one dex of wavelength, for small shifts
MPC = 3.0856775814913673e24  # cm (IAU 2012)
HC_OVER_K = 1.438777e8  # Angstrom K: h c / k of the Planck function (SI)
BALMER_EDGE = 3646.0  # Angstrom: limit of the Balmer series

# erg / s / Angstrom per unit of the tables (`spectra.rest_frame.to_rest_frame`) and per 1 + z, for an isotropic source:
# 4 pi (Mpc in cm)^2 * 1e-17 * 1e9, with the value 9.5214e40 for (Mpc in cm)^2 * 1e-8 that all published numbers use.
LUMINOSITY_UNIT = 4.0 * math.pi * 9.5214e40

# --- emission lines ---------------------------------------------------------------------------------------------------
# components of the doublets: NIST Atomic Spectra Database
C_IV_DOUBLET = (1548.187, 1550.772)
MG_II_DOUBLET = (2796.352, 2803.531)
# blends: laboratory wavelengths of Vanden Berk et al. 2001 (AJ 122, 549), table 2
C_IV = 1549.06
HE_II = 1640.42
O_III = 1663.48
AL_III = 1857.40
C_III = 1908.73
C_II = 2326.44
FE_II = 2500.0  # the middle of its strongest blends
MG_II = 2798.75

# --- the night sky: observed frame, in vacuum, Angstrom ---------------------------------------------------------------
# [O I], Na I D and [O I] twice (NIST); further to the red, the bands of OH are everywhere (Osterbrock et al. 1996, PASP
# 108, 277)
SKY_LINES = (5578.89, 5894.57, 6302.05, 6365.54)
SKY_OH_FROM = 7240.0
