"""Emission lines of the simulated quasars: wavelengths, strengths, and the quasar properties they depend on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A broad emission line.

    Attributes
    ----------
    wavelengths : tuple of float
        Vacuum wavelengths of its components in Angstrom (NIST; for blends the centres of Vanden Berk et al. 2001,
        table 2).
    equivalent_width : float
        Mean rest-frame equivalent width in Angstrom over the power law alone. Fitted, together with the proportions of
        the iron emission, to the composite of Vanden Berk et al. 2001. Below 1440 A, outside the window of the masses,
        it is the rounded value of their table. C IV, C III] and Mg II are 5-15 % stronger than that, since the
        composite is of brighter quasars.
    baldwin : float
        Power of the luminosity that the equivalent width follows (Baldwin 1977; steeper for higher ionization:
        Dietrich et al. 2002, ApJ 581, 912).
    shift : float
        Mean velocity shift in km/s, negative towards the blue (wavelengths measured by Vanden Berk et al. 2001).
    civ_fraction : float
        Whose width the line has: 0 that of Mg II, 1 that of C IV, in between a mean of the two in the logarithm.
    shape : str
        Family of the profile, a key of `SHAPES`.
    strength : float
        Change of log10 equivalent width per standard deviation of the strength that all lines have in common.
    wind, eddington : float
        The same of the wind's strength and of the Eddington ratio.
    log_width_ratio : float
        log10 of its FWHM over that of the lines it follows.
    """

    wavelengths: tuple[float, ...]
    equivalent_width: float
    baldwin: float
    shift: float
    civ_fraction: float
    shape: str
    strength: float = 0.0
    wind: float = 0.0
    eddington: float = 0.0
    log_width_ratio: float = 0.0


# How strengths and winds go together is that of composites of SDSS quasars by blueshift and equivalent width of C IV
# (`simulate --check` measures them): at equal blueshift, log10 equivalent widths grow with that of C IV by 0.53 (C III]
# and its neighbours), 0.77 (He II), 0.25 (Al III), 0.56 (Mg II), 0.35 (Fe II) and 0.49 (Fe III).
LINES = {
    "NV": Line((1240.15,), 12.0, -0.05, -300.0, 1.0, "high", 0.10),
    "SiII": Line((1262.59,), 1.0, 0.0, 0.0, 0.5, "semi", 0.10),
    "OI": Line((1305.42,), 1.7, -0.05, 0.0, 0.5, "semi", 0.10),
    "CII": Line((1335.30,), 0.7, -0.05, 0.0, 0.5, "semi", 0.10),
    "SiIV": Line((1399.80,), 7.0, -0.10, -300.0, 1.0, "high", 0.10, log_width_ratio=0.0),
    "NIV]": Line((1486.50,), 0.2, -0.10, 0.0, 1.0, "semi", 0.10),
    "CIV": Line((1548.20, 1550.77), 39.5, -0.17, -620.0, 1.0, "high", 0.20, wind=-0.13),
    # unidentified: Laor et al. 1994, ApJ 420, 110
    "1600": Line((1602.0,), 6.6, -0.10, 0.0, 0.3, "semi", 0.16, log_width_ratio=0.30),
    "HeII": Line((1640.42,), 6.4, -0.20, -470.0, 1.0, "helium", 0.15, wind=-0.11, log_width_ratio=0.10),
    "OIII]": Line((1663.48,), 2.8, -0.10, 0.0, 0.5, "semi", 0.14, log_width_ratio=0.06),
    "AlII": Line((1670.79,), 0.4, 0.0, 0.0, 0.5, "semi", 0.10),
    "NIII]": Line((1750.26,), 1.4, -0.05, 0.0, 0.5, "semi", 0.10),
    "AlIII": Line((1857.40,), 3.1, 0.0, 0.0, 0.5, "semi", 0.06, wind=0.05),
    "SiIII]": Line((1892.03,), 5.1, 0.0, 0.0, 0.7, "semi", 0.12, wind=0.03, log_width_ratio=0.0),
    "CIII]": Line((1908.73,), 16.8, -0.05, -200.0, 0.7, "semi", 0.14, wind=-0.03, log_width_ratio=0.02),
    "CII]": Line((2326.44,), 1.75, 0.0, 0.0, 0.0, "low", 0.10),
    "[NeIV]": Line((2423.83,), 0.8, -0.05, 0.0, 0.0, "low", 0.10, log_width_ratio=-0.10),
    # equal parts: optically thick
    "MgII": Line((2796.35, 2803.53), 34.5, -0.09, 0.0, 0.0, "low", 0.135, wind=-0.03, eddington=-0.07),
    "OIII": Line((3133.70,), 1.9, -0.05, 0.0, 0.0, "low", 0.10),
    "HeI": Line((3188.67,), 0.4, 0.0, 0.0, 0.0, "low", 0.10),
    "Hd": Line((4102.89,), 2.3, 0.0, 0.0, 0.0, "low", 0.10),
    "Hg": Line((4341.68,), 10.4, 0.0, 0.0, 0.0, "low", 0.10),
}
# Families of profile shapes (`profiles.draw_shape`): smallest and largest weight of the base, power of the uniform
# random number between them, smallest and largest width of the base over the core's. C IV has the strongest base: its
# width at a quarter of the peak is 3.15 times that at three quarters (composites, `simulate --check`).
SHAPES = {
    "high": (0.55, 0.80, 1.0, 2.8, 5.0),
    "helium": (0.02, 0.55, 1.0, 2.3, 6.0),
    "semi": (0.15, 0.60, 1.0, 2.3, 5.0),
    "low": (0.02, 0.55, 1.2, 2.3, 6.0),
}

# Narrow lines: wavelength, median equivalent width (Angstrom), scatter (dex), and fraction of quasars that have it.
# Forbidden lines follow Vanden Berk et al. 2001, table 2; narrow parts of broad lines are chosen here.
NARROW = {
    "CIV": (1549.06, 0.6, 0.3, 0.20),
    "HeII": (1640.42, 0.3, 0.3, 0.20),
    "CIII]": (1908.73, 0.5, 0.3, 0.20),
    "[NeIV]": (2423.83, 0.25, 0.3, 0.40),
    "MgII": (2799.10, 0.6, 0.3, 0.15),
    "[NeV] 3346": (3346.82, 0.35, 0.25, 0.80),
    "[NeV] 3426": (3426.84, 1.0, 0.25, 0.90),
    "[OII]": (3728.48, 1.5, 0.30, 0.90),
    "[NeIII]": (3869.85, 1.5, 0.25, 0.90),
}
NARROW_FWHM = (300.0, 1000.0)  # km/s: range, uniform in the logarithm
NARROW_SHIFT = 120.0  # km/s: scatter
