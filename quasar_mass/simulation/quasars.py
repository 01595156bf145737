"""The quasar itself: its luminosity, line widths and the light it sends out, by simple physics.

A spectrum is the sum of a power law, the Balmer continuum, the blended UV iron emission and the broad lines of the
window. A line's profile is a core on a broad base of three times its width, scaled so that the FWHM of the sum is
exactly the one drawn; for Mg II, a blend of two lines 770 km/s apart, that of the whole blend, which is what is
measured in practice. So the mass that the virial relation gives is in the spectrum, to be read there.

Left out: absorption lines (broad or narrow), the Lyman-alpha forest (outside the window for z < 1.9), dust in the
quasar, its host galaxy, narrow lines, asymmetric profiles, and lines that answer to changes of the continuum.
"""

import functools
from dataclasses import dataclass

import numpy as np

from quasar_mass import iron
from quasar_mass.iron import KM_S_PER_DEX, LIGHT

# --- the population: chosen here so that the labels have the means and scatters measured on the published table ------
# (Chen et al. 2019 at 1.46 < z < 1.80: Mg II masses 8.645 +- 0.395, C IV masses 8.51 +- 0.45, correlation 0.41)
LOG_L3000 = (45.12, 0.27, 0.96)  # log10 erg/s at z = 1.65: mean, scatter, skewness parameter (more faint than bright)
LOG_L3000_PER_Z = 0.30  # the flux limit: distant quasars are brighter
LOG_FWHM_MGII = (3.624, 0.177, -0.92)  # log10 km/s: mean, scatter, skewness parameter (a tail of narrow lines)
LOG_FWHM_CIV = (3.543, 0.195)  # log10 km/s
SHARED_WIDTH = 0.72  # how much of the C IV width follows the Gaussian part of the Mg II width
FWHM_LIMITS = (1600.0, 20_000.0)  # km/s: below it a Mg II blend would show its two peaks; chosen here

SLOPE = (-1.54, 0.30)  # L_lambda ~ lambda^slope: Vanden Berk et al. 2001 (alpha_nu = -0.46); the scatter is chosen here
BALMER = (0.10, 0.15)  # Balmer continuum at 3000 A over the power law there, median and scatter in dex: chosen here
IRON_EW = (45.0, 0.20)  # Angstrom over 2250-2650 A, median and scatter in dex: chosen here
EW_SCATTER = 0.15  # dex, of every line: chosen here
BALDWIN_PIVOT = 45.3  # log10 L1350 at which the widths below hold: about this population's mean
BASE_SHARE = (0.30, 0.10)  # share of a line's flux in its base, mean and scatter; limited to 0.05-0.60: chosen here
BASE_WIDTH = 3.0  # width of the base over that of the core: chosen here


@dataclass(frozen=True)
class Line:
    """A broad line: vacuum wavelengths (Angstrom) of its components, typical equivalent width, Baldwin slope, shift.

    Wavelengths: NIST; for Si IV/O IV], C IV and C II] the blends' centres as in Vanden Berk et al. 2001 (AJ 122, 549).
    Equivalent widths (Angstrom): Si IV, C IV, C III] and Mg II after table 2 there (8.1, 23.8, 21.2 with Si III] and
    Al III, 32.3), C IV somewhat raised for this fainter population; the weak lines are chosen here, for that table
    measures them above local blends. `shift` (km/s) is towards the blue where negative, after the same table's
    measured wavelengths (C IV -560, He II -470), rounded, and 0 where it shows little. `follows` says whose width
    the line has (0 Mg II's, 1 C IV's, 0.5 the geometric mean): chosen here, by ionization.
    """

    wavelengths: tuple[float, ...]
    width: float
    baldwin: float
    shift: float
    follows: float


LINES = {
    "SiIV": Line((1396.76,), 8.1, -0.10, -300.0, 1.0),
    "CIV": Line((1549.06,), 30.0, -0.17, -560.0, 1.0),  # Baldwin slope: Baldwin 1977 and later, -0.1 to -0.2
    "HeII": Line((1640.42,), 4.0, -0.20, -470.0, 1.0),
    "OIII]": Line((1663.48,), 3.0, -0.10, 0.0, 1.0),
    "AlIII": Line((1857.40,), 3.0, 0.0, 0.0, 0.5),
    "SiIII]": Line((1892.03,), 4.0, 0.0, 0.0, 0.5),
    "CIII]": Line((1908.73,), 16.0, -0.05, -200.0, 0.5),
    "CII]": Line((2326.44,), 2.0, 0.0, 0.0, 0.0),
    "MgII": Line((2796.35, 2803.53), 32.3, -0.09, 0.0, 0.0),  # equal parts: optically thick
}
SHIFT_SCATTER = (350.0, 100.0)  # km/s, lines that follow C IV (together) and Mg II: chosen here

# Grandi 1982 (ApJ 255, 25): optically thin-to-thick emission B(T) * (1 - exp(-tau)), tau growing as wavelength cubed.
BALMER_EDGE = 3646.0  # Angstrom
BALMER_TEMPERATURE = 15_000.0  # K: as is usual since that paper
BALMER_TAU = 1.0  # at the edge: the same
BALMER_FADE = 120.0  # Angstrom beyond the edge, where high Balmer lines merge: chosen here
_HC_OVER_K = 1.438777e8  # Angstrom K


@dataclass(frozen=True)
class Quasar:
    """What one simulated quasar is. Masses, luminosities and widths are its true, mean ones.

    Attributes
    ----------
    redshift : float
        Cosmological redshift.
    log_l3000, log_l1350 : float
        log10 of lambda L_lambda of the power law in erg/s.
    slope : float
        Of the power law.
    balmer, iron : float
        Balmer continuum over the power law at 3000 A, and equivalent width of the iron emission over `iron.BAND`.
    base_share : float
        Share of every line's flux in its broad base.
    fwhm, width, shift : dict of str to float
        For each of `LINES`: FWHM (km/s), equivalent width (Angstrom), shift (km/s).
    """

    redshift: float
    log_l3000: float
    log_l1350: float
    slope: float
    balmer: float
    iron: float
    base_share: float
    fwhm: dict
    width: dict
    shift: dict


def draw(rng: np.random.Generator, redshift: float) -> Quasar:
    """Draw a quasar from the population.

    Parameters
    ----------
    rng : numpy.random.Generator
        Its own generator: the quasar depends on nothing else.
    redshift : float
        Its true redshift.
    """
    bend, plain, own = rng.standard_normal(3)
    mean, scatter, skew = LOG_FWHM_MGII
    mgii = mean + scatter * _skewed(bend, plain, skew)
    mean, scatter = LOG_FWHM_CIV
    civ = mean + scatter * (SHARED_WIDTH * plain + np.sqrt(1.0 - SHARED_WIDTH**2) * own)
    mgii, civ = np.clip((mgii, civ), *np.log10(FWHM_LIMITS))

    mean, scatter, skew = LOG_L3000
    log_l3000 = mean + LOG_L3000_PER_Z * (redshift - 1.65) + scatter * _skewed(*rng.standard_normal(2), skew)
    slope = SLOPE[0] + SLOPE[1] * rng.standard_normal()
    log_l1350 = luminosity_at(1350.0, log_l3000, slope)

    wind, *shifts = rng.standard_normal(1 + len(LINES))
    widths = rng.standard_normal(len(LINES))
    spread = 0.05 * rng.standard_normal(len(LINES))  # dex, of the other lines' FWHM: chosen here
    fwhm, width, shift = {}, {}, {}
    for n, (name, line) in enumerate(LINES.items()):
        exact = name in ("MgII", "CIV")
        fwhm[name] = 10.0 ** ((1.0 - line.follows) * mgii + line.follows * civ + (0.0 if exact else spread[n]))
        width[name] = line.width * 10.0 ** (line.baldwin * (log_l1350 - BALDWIN_PIVOT) + EW_SCATTER * widths[n])
        shift[name] = line.shift + line.follows * SHIFT_SCATTER[0] * wind + SHIFT_SCATTER[1] * shifts[n]
    balmer, ferrum, base = rng.standard_normal(3)
    return Quasar(
        redshift=redshift,
        log_l3000=log_l3000,
        log_l1350=log_l1350,
        slope=slope,
        balmer=BALMER[0] * 10.0 ** (BALMER[1] * balmer),
        iron=IRON_EW[0] * 10.0 ** (IRON_EW[1] * ferrum),
        base_share=float(np.clip(BASE_SHARE[0] + BASE_SHARE[1] * base, 0.05, 0.60)),
        fwhm=fwhm,
        width=width,
        shift=shift,
    )


def luminosity_at(wavelength: float, log_l3000: float, slope: float) -> float:
    """Give log10 of lambda L_lambda in erg/s of a power law at a rest wavelength in Angstrom."""
    return log_l3000 + (1.0 + slope) * np.log10(wavelength / 3000.0)


def components(quasar: Quasar, log_wavelength: np.ndarray) -> dict[str, np.ndarray]:
    """Give the parts whose sum is the spectrum.

    Parameters
    ----------
    quasar : Quasar
        From `draw`.
    log_wavelength : ndarray
        log10 of the rest wavelength in Angstrom, equidistant by 1e-4, within 1270-8000 A.

    Returns
    -------
    dict of str to ndarray
        ``"power law"``, ``"balmer"``, ``"iron"`` and the names of `LINES`: luminosity densities in erg/s/Angstrom.
    """
    wavelength = 10.0**log_wavelength
    at_3000 = 10.0**quasar.log_l3000 / 3000.0
    power_law = at_3000 * (wavelength / 3000.0) ** quasar.slope
    iron_level = at_3000 * (2450.0 / 3000.0) ** quasar.slope  # the continuum amid iron.BAND
    parts = {
        "power law": power_law,
        "balmer": quasar.balmer * at_3000 * _balmer(wavelength),
        "iron": quasar.iron * iron_level * iron.emission(quasar.fwhm["MgII"], log_wavelength),
    }
    for name, line in LINES.items():
        parts[name] = np.zeros_like(wavelength)
        centre = np.log10(line.wavelengths[0])
        level = at_3000 * (line.wavelengths[0] / 3000.0) ** quasar.slope
        velocity = KM_S_PER_DEX * (log_wavelength - centre) - quasar.shift[name]
        reach = 5.0 * quasar.fwhm[name] + 4000.0  # beyond it a profile is below 1e-5 of its peak
        near = slice(*np.searchsorted(velocity, (-reach, reach)))
        profile = line_profile(name, quasar.fwhm[name], velocity[near], quasar.base_share)
        parts[name][near] = quasar.width[name] * level * profile * (LIGHT / line.wavelengths[0])
    return parts


def luminosity_density(quasar: Quasar, log_wavelength: np.ndarray) -> np.ndarray:
    """Give the whole spectrum in erg/s/Angstrom on rest wavelengths; parameters as in `components`."""
    return np.sum(list(components(quasar, log_wavelength).values()), axis=0)


def line_profile(name: str, fwhm: float, velocity: np.ndarray, base_share: float = BASE_SHARE[0]) -> np.ndarray:
    """Give the profile of a broad line, a core and a base, whose FWHM is exactly the one asked for.

    Parameters
    ----------
    name : str
        One of `LINES`; components beside the first make a blend, of which `fwhm` is the width.
    fwhm : float
        Full width at half maximum in km/s.
    velocity : ndarray
        c ln(wavelength / wavelength of the first component) in km/s.
    base_share : float
        Share of the flux in the base.

    Returns
    -------
    ndarray
        Per km/s; its integral over all velocities is 1.
    """
    offsets = _offsets(name)
    return _profile(velocity, _core_width(name, fwhm, base_share), offsets, base_share)


def _offsets(name: str) -> tuple[float, ...]:
    """Velocities of a line's components after its first one, km/s."""
    wavelengths = LINES[name].wavelengths
    return tuple(LIGHT * float(np.log(w / wavelengths[0])) for w in wavelengths)


def _profile(velocity: np.ndarray, core: float, offsets: tuple, base_share: float) -> np.ndarray:
    total = np.zeros_like(velocity)
    for offset in offsets:
        u = ((velocity - offset) / core) ** 2
        total += (1.0 - base_share) * np.exp(-0.5 * u) + base_share / BASE_WIDTH * np.exp(-0.5 / BASE_WIDTH**2 * u)
    return total / (len(offsets) * core * np.sqrt(2.0 * np.pi))


def _core_width(name: str, fwhm: float, base_share: float) -> float:
    """Give the standard deviation of the core, km/s, that makes the whole line's FWHM the one asked for."""
    offsets = _offsets(name)
    if len(offsets) == 1:
        return fwhm * _core_over_fwhm(base_share)
    return _solve_core(fwhm, offsets, base_share)


@functools.lru_cache(maxsize=16)
def _core_over_fwhm(base_share: float) -> float:
    return _solve_core(1.0, (0.0,), base_share)


def _solve_core(fwhm: float, offsets: tuple, base_share: float) -> float:
    """By bisection: the flux at the outer half-width over the maximum's grows with the core's width."""
    where = np.append(np.linspace(0.0, offsets[-1], 25 if len(offsets) > 1 else 1), 0.5 * (offsets[-1] + fwhm))
    low, high = 0.05 * fwhm, 0.43 * fwhm  # a single Gaussian has 0.4247, and everything else is wider than its core
    for _ in range(30):
        core = 0.5 * (low + high)
        *inside, edge = _profile(where, core, offsets, base_share)
        low, high = (core, high) if edge < 0.5 * max(inside) else (low, core)
    return 0.5 * (low + high)


def _skewed(bend: float, plain: float, delta: float) -> float:
    """Skew-normal variable of mean 0 and standard deviation 1 out of two normal ones; `delta` in (-1, 1)."""
    value = delta * abs(bend) + np.sqrt(1.0 - delta**2) * plain
    return (value - delta * np.sqrt(2.0 / np.pi)) / np.sqrt(1.0 - 2.0 * delta**2 / np.pi)


def _balmer(wavelength: np.ndarray) -> np.ndarray:
    """Balmer continuum, 1 at 3000 A."""

    def emission(w):
        planck = w**-5.0 / np.expm1(_HC_OVER_K / (w * BALMER_TEMPERATURE))
        return planck * -np.expm1(-BALMER_TAU * (w / BALMER_EDGE) ** 3)

    inside = np.minimum(wavelength, BALMER_EDGE)
    return emission(inside) / emission(3000.0) * np.exp(-np.maximum(wavelength - BALMER_EDGE, 0.0) / BALMER_FADE)
