"""Absorption of a quasar's flux: outflows, gas beside the quasar, and galaxies on the line of sight.

Broad absorption (BAL) is drawn as troughs in the velocity of C IV with partial covering: a trough has a depth, not an
optical depth. Frequencies and extents follow Gibson et al. 2009 (ApJ 692, 758) and Trump et al. 2006 (ApJS 165, 1).
Narrow systems have equivalent widths from the published distributions and the resolution of SDSS. All are more varied
than the best estimate, so that a network learns to ignore them.
"""

from dataclasses import dataclass

import numpy as np

from quasar_mass.core.constants import C_KM_S, KM_S_PER_DEX

INSTRUMENT_SIGMA = 65.0  # km/s: SDSS's resolution of about 2000 (Smee et al. 2013, AJ 146, 32)
FIRST, LAST = 1260.0, 4300.0  # Angstrom, rest frame of the quasar: range of the narrow lines

# --- broad troughs --------------------------------------------------------------------------------------------------
BAL_FRACTION = 0.14  # drawn; some troughs are too slow or shallow for a balnicity: 10-15 % are observed (Gibson+ 2009)
BAL_FASTEST = (3_500.0, 25_000.0)  # km/s: range of the velocity of a trough's blue edge; low ones are more frequent
BAL_WIDTH = (2_000.0, 10_000.0)  # km/s: range
BAL_DEPTH = (0.20, 0.95)
SECOND_TROUGH_FRACTION = 0.30  # of BAL quasars: chosen here
LOBAL_FRACTION = 0.10  # of BAL quasars: Trump et al. 2006
SIIV_DEPTH = (0.2, 0.9)  # of Si IV and N V over C IV: shallower (Gibson+ 2009); the range is chosen here
LOBAL_DEPTH = (0.3, 0.9)  # of Al III and Mg II over C IV, over the slower part of the trough: likewise
HIGH_IONS = ((1549.06, None), (1396.76, SIIV_DEPTH))  # Angstrom; range of the depth over C IV's
LOW_IONS = ((1857.40, LOBAL_DEPTH), (2799.10, LOBAL_DEPTH), (1671.0, LOBAL_DEPTH))

# --- narrow lines ---------------------------------------------------------------------------------------------------
# Vacuum wavelengths (Angstrom) and oscillator strengths: Morton 2003 (ApJS 149, 205).
# Per system: the doublet, then other lines that may come with it (Fe II, Mg I, Al II; Si IV, Al III). The strengths of
# Mg I (the rarer ion), Si IV and Al III are chosen here.
MGII = (
    (2796.35, 0.616), (2803.53, 0.306),
    (2344.21, 0.114), (2374.46, 0.0313), (2382.76, 0.320), (2586.65, 0.0691), (2600.17, 0.239),
    (2852.96, 0.10), (1670.79, 0.35),
)  # fmt: skip
CIV = ((1548.20, 0.190), (1550.78, 0.0952), (1393.76, 0.20), (1402.77, 0.10), (1854.72, 0.06), (1862.79, 0.03))
# dN/dz above the smallest equivalent width, that width, and the e-folding width (Angstrom).
MGII_SYSTEMS = (0.85, 0.3, 0.70)  # Nestor et al. 2005 (ApJ 628, 637)
CIV_SYSTEMS = (1.3, 0.3, 0.45)  # after Cooksey et al. 2013 (ApJ 763, 37), rounded up
ASSOCIATED_FRACTION = 0.25  # C IV within 3000 km/s: Vestergaard 2003 (ApJ 599, 116), Ganguly & Brotherton 2008
ASSOCIATED_VELOCITY = (-3000.0, 600.0)  # km/s
ASSOCIATED_STRENGTH = (0.4, 0.8)  # smallest and e-folding equivalent width, Angstrom: chosen here
ASSOCIATED_MGII = 0.2  # fraction of associated systems with Mg II: Vanden Berk et al. 2008 (ApJ 679, 239), rounded
SIGMA_RANGE = (25.0, 90.0)  # km/s: standard deviation of a weak line
SIGMA_PER_ANGSTROM = 60.0  # km/s more per Angstrom of equivalent width: chosen here


@dataclass(frozen=True)
class Trough:
    """A broad trough.

    Attributes
    ----------
    wavelength : float
        Rest wavelength of the ion in Angstrom.
    fastest, slowest : float
        Velocities of its edges in km/s, negative towards the blue.
    depth : float
        Fraction of the flux that is absorbed at its deepest.
    power : float
        Of the super-Gaussian: 2 a Gaussian, the higher the more like a box.
    ripple : (float, float, float)
        Amplitude, wavelength (in half widths) and phase of the waves on its bottom.
    """

    wavelength: float
    fastest: float
    slowest: float
    depth: float
    power: float
    ripple: tuple[float, float, float]


@dataclass(frozen=True)
class Absorption:
    """All absorption in front of a quasar.

    Attributes
    ----------
    troughs : tuple of Trough
    lines : ndarray, shape (n, 3)
        Narrow lines: wavelength in the quasar's rest frame (Angstrom), equivalent width as a velocity
        (c W / wavelength, km/s), standard deviation (km/s).
    """

    troughs: tuple[Trough, ...]
    lines: np.ndarray


def draw(rng: np.random.Generator, redshift: float) -> Absorption:
    """Draw the absorption in front of a quasar at a redshift."""
    troughs = _draw_troughs(rng) if rng.random() < BAL_FRACTION else ()
    return Absorption(troughs, np.array(_draw_narrow_lines(rng, redshift)).reshape(-1, 3))


def is_low_ionization(absorption: Absorption) -> bool:
    """Say whether it has broad troughs of low ions (LoBAL)."""
    return any(trough.wavelength > 1600.0 for trough in absorption.troughs)


def transmission(absorption: Absorption, log_wavelength: np.ndarray) -> np.ndarray:
    """Give the fraction of the flux that is transmitted.

    Parameters
    ----------
    absorption : Absorption
        From `draw`.
    log_wavelength : ndarray, shape (n,)
        log10 of the rest wavelength in Angstrom, ascending and equidistant by any step. Narrow lines have the
        resolution of SDSS and are averaged over a pixel.

    Returns
    -------
    ndarray, shape (n,)
        Within [0, 1].
    """
    transmitted = np.ones_like(log_wavelength)
    step = KM_S_PER_DEX * (log_wavelength[-1] - log_wavelength[0]) / (len(log_wavelength) - 1)
    for trough in absorption.troughs:
        velocity = KM_S_PER_DEX * (log_wavelength - np.log10(trough.wavelength))
        width = trough.slowest - trough.fastest
        near = slice(*np.searchsorted(velocity, (trough.fastest - width, trough.slowest + width)))
        transmitted[near] *= 1.0 - _depth(trough, velocity[near])
    if len(absorption.lines):
        wavelength, width, sigma = absorption.lines.T
        centres = KM_S_PER_DEX * (np.log10(wavelength) - log_wavelength[0]) / step  # pixels
        sigmas = np.sqrt(sigma**2 + INSTRUMENT_SIGMA**2 + step**2 / 12.0) / step
        depths = np.minimum(width / (np.sqrt(2.0 * np.pi) * sigmas * step), 0.97)
        for centre, sigma, depth in zip(centres.tolist(), sigmas.tolist(), depths.tolist(), strict=True):
            start, stop = max(int(centre - 4.0 * sigma), 0), min(int(centre + 4.0 * sigma) + 2, len(transmitted))
            if start < stop:
                u = (np.arange(start, stop) - centre) / sigma
                transmitted[start:stop] *= 1.0 - depth * np.exp(-0.5 * u * u)
    return transmitted


def balnicity(absorption: Absorption) -> float:
    """Give the balnicity index of C IV in km/s (Weymann et al. 1991, ApJ 373, 23); 0 for a quasar that is not BAL.

    The width of C IV absorption deeper than 10 %, weighted with its depth, between 3,000 and 25,000 km/s, without the
    first 2,000 km/s of each trough.
    """
    step = 50.0
    velocity = np.arange(-25_000.0, -3_000.0 + step, step)
    transmitted = np.ones_like(velocity)
    for trough in absorption.troughs:
        if trough.wavelength == HIGH_IONS[0][0]:
            transmitted *= 1.0 - _depth(trough, velocity)
    index, run = 0.0, 0.0
    for value in (1.0 - transmitted[::-1] / 0.9).tolist():  # from the slow end
        run = run + step if value > 0 else 0.0
        if run > 2_000.0:
            index += value * step
    return index


def _depth(trough: Trough, velocity: np.ndarray) -> np.ndarray:
    middle, half = 0.5 * (trough.fastest + trough.slowest), 0.5 * (trough.slowest - trough.fastest)
    u = (velocity - middle) / half
    shape = np.exp(-np.log(2.0) * np.abs(u) ** trough.power)  # half the depth at the edges
    amplitude, length, phase = trough.ripple
    return trough.depth * shape * (1.0 - amplitude * (0.5 + 0.5 * np.sin(2.0 * np.pi * (u / length + phase))))


def _draw_troughs(rng: np.random.Generator) -> tuple[Trough, ...]:
    ions = HIGH_IONS + (LOW_IONS if rng.random() < LOBAL_FRACTION else ())
    troughs = []
    for _ in range(2 if rng.random() < SECOND_TROUGH_FRACTION else 1):
        width = BAL_WIDTH[0] + (BAL_WIDTH[1] - BAL_WIDTH[0]) * rng.random() ** 1.5  # wide ones are rarer
        fastest = BAL_FASTEST[0] + (BAL_FASTEST[1] - BAL_FASTEST[0]) * rng.random() ** 1.4
        fastest = max(fastest, width + 500.0)
        slowest = fastest - width
        depth = rng.uniform(*BAL_DEPTH)
        power = rng.uniform(2.0, 8.0)
        ripple = (rng.uniform(0.0, 0.5), rng.uniform(0.3, 1.5), rng.random())
        for wavelength, depth_range in ions:
            ratio = 1.0 if depth_range is None else rng.uniform(*depth_range)
            reached = slowest + width * (1.0 if wavelength < 1600.0 else rng.uniform(0.3, 0.8))  # low ions are slower
            troughs.append(Trough(wavelength, -reached, -slowest, depth * ratio, power, ripple))
    return tuple(troughs)


def _draw_narrow_lines(rng: np.random.Generator, redshift: float) -> list[tuple[float, float, float]]:
    """Rows of `Absorption.lines`: intervening Mg II and C IV systems, then associated ones."""
    lines = []
    for ion, (per_z, smallest, scale) in ((MGII, MGII_SYSTEMS), (CIV, CIV_SYSTEMS)):
        nearest = (1.0 + redshift) * (1.0 - 3000.0 / C_KM_S) - 1.0
        farthest = max((1.0 + redshift) * FIRST / ion[0][0] - 1.0, 0.3)
        for _ in range(rng.poisson(per_z * max(nearest - farthest, 0.0))):
            strength = smallest + scale * rng.exponential()
            lines += _draw_system(rng, redshift, rng.uniform(farthest, nearest), ion, strength)
    if rng.random() < ASSOCIATED_FRACTION:
        smallest, scale = ASSOCIATED_STRENGTH
        for _ in range(1 + rng.poisson(0.4)):
            absorber = (1.0 + redshift) * (1.0 + rng.uniform(*ASSOCIATED_VELOCITY) / C_KM_S) - 1.0
            strength = smallest + scale * rng.exponential()
            lines += _draw_system(rng, redshift, absorber, CIV, strength)
            if rng.random() < ASSOCIATED_MGII:
                lines += _draw_system(rng, redshift, absorber, MGII, strength, weakening=0.7)
    return lines


def _draw_system(
    rng: np.random.Generator, redshift: float, absorber: float, ion: tuple, strength: float, weakening: float = 1.0
) -> list[tuple[float, float, float]]:
    """Lines of one absorber; `strength` is the rest-frame equivalent width (Angstrom) of the ion's first line."""
    sigma = rng.uniform(*SIGMA_RANGE) + SIGMA_PER_ANGSTROM * strength
    strength = weakening * strength
    shift = (1.0 + absorber) / (1.0 + redshift)
    thin = rng.random()  # 0: saturated, all lines equally strong; 1: in proportion to the oscillator strengths
    richness = min(rng.uniform(0.0, 1.2), 1.0)  # of the lines beside the doublet
    first = ion[0][0] * ion[0][1]
    lines = []
    for n, (wavelength, oscillator) in enumerate(ion):
        if FIRST < wavelength * shift < LAST:
            ratio = (wavelength * oscillator / first) ** (0.3 + 0.7 * thin)
            factor = 1.0 if n < 2 else richness
            lines.append((wavelength * shift, factor * C_KM_S * strength / ion[0][0] * ratio, sigma))
    return lines
