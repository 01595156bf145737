"""What gas takes out of a quasar's light: outflows, gas beside the quasar, and galaxies on the way.

Broad absorption (BAL) is drawn as troughs in the velocity of C IV, with partial covering: a trough has a depth, not an
optical depth. Its shares and extents follow Gibson et al. 2009 (ApJ 692, 758) and Trump et al. 2006 (ApJS 165, 1).
Narrow systems have their equivalent widths from the published distributions and are drawn as resolved by SDSS. All are
more varied than the best estimate, so that a network learns to look beside them.
"""

from dataclasses import dataclass

import numpy as np

from quasar_mass.virial.iron import C_KM_S, KM_S_PER_DEX

INSTRUMENT = 65.0  # km/s, standard deviation: SDSS's resolution of about 2000 (Smee et al. 2013, AJ 146, 32)
FIRST, LAST = 1260.0, 4300.0  # Angstrom, rest frame of the quasar: where narrow lines are kept

# --- broad troughs --------------------------------------------------------------------------------------------------
BAL_SHARE = 0.14  # drawn; a few troughs too slow or shallow for a balnicity leave the observed 10-15 % (Gibson+ 2009)
BAL_FASTEST = (3_500.0, 25_000.0)  # km/s: least and most velocity of a trough's blue edge, most at low ones
BAL_WIDTH = (2_000.0, 10_000.0)  # km/s: least and most
BAL_DEPTH = (0.20, 0.95)
BAL_SECOND = 0.30  # share with a second trough: chosen here
LOBAL_SHARE = 0.10  # of BAL quasars: Trump et al. 2006
SIIV_DEPTH = (0.2, 0.9)  # of Si IV and N V over C IV: shallower (Gibson+ 2009); the range is chosen here
LOBAL_DEPTH = (0.3, 0.9)  # of Al III and Mg II over C IV, over the slower part of the trough: the same
BAL_HIGH = ((1549.06, None), (1396.76, SIIV_DEPTH))  # Angstrom, depth over C IV's
BAL_LOW = ((1857.40, LOBAL_DEPTH), (2799.10, LOBAL_DEPTH), (1671.0, LOBAL_DEPTH))

# --- narrow lines ---------------------------------------------------------------------------------------------------
# Vacuum wavelengths (Angstrom) and oscillator strengths: Morton 2003 (ApJS 149, 205).
CIV = ((1548.20, 0.190), (1550.78, 0.0952))
MGII = ((2796.35, 0.616), (2803.53, 0.306))
MGII_COMPANIONS = (
    (2344.21, 0.114), (2374.46, 0.0313), (2382.76, 0.320), (2586.65, 0.0691), (2600.17, 0.239),  # Fe II
    (2852.96, 0.10), (1670.79, 0.35),  # Mg I (its share is chosen here: it is the rarer ion), Al II
)  # fmt: skip
CIV_COMPANIONS = ((1393.76, 0.20), (1402.77, 0.10), (1854.72, 0.06), (1862.79, 0.03))  # Si IV, Al III: chosen here
MGII_PER_Z, MGII_WEAKEST, MGII_SCALE = (
    0.85,
    0.3,
    0.70,
)  # dN/dz above 0.3 A and e-folding width: Nestor+ 2005, ApJ 628, 637
CIV_PER_Z, CIV_WEAKEST, CIV_SCALE = 1.3, 0.3, 0.45  # after Cooksey et al. 2013 (ApJ 763, 37), rounded up
ASSOCIATED_SHARE = 0.25  # C IV within 3000 km/s: Vestergaard 2003 (ApJ 599, 116), Ganguly & Brotherton 2008
ASSOCIATED = (-3000.0, 600.0)  # km/s
ASSOCIATED_WEAKEST, ASSOCIATED_SCALE = 0.4, 0.8  # Angstrom: chosen here
ASSOCIATED_MGII = 0.2  # share of associated systems with Mg II: Vanden Berk et al. 2008 (ApJ 679, 239), rounded
WIDTH_PER_ANGSTROM = 60.0  # km/s of standard deviation per Angstrom, added to: chosen here
WIDTH_LEAST = (25.0, 90.0)  # km/s


@dataclass(frozen=True)
class Trough:
    """A broad trough: rest wavelength of the ion (Angstrom), velocities of its edges (km/s, below 0), depth and shape.

    `power` is that of the super-Gaussian: 2 a Gaussian, above it more and more of a box; `ripple` holds amplitude,
    wavelength (in widths) and phase of the unevenness of its bottom.
    """

    wavelength: float
    fastest: float
    slowest: float
    depth: float
    power: float
    ripple: tuple[float, float, float]


@dataclass(frozen=True)
class Absorption:
    """All that absorbs: broad troughs, and narrow lines as rows of wavelength, equivalent width, standard deviation.

    `lines`: Angstrom in the quasar's rest frame, km/s (c W / wavelength) and km/s.
    """

    troughs: tuple[Trough, ...]
    lines: np.ndarray


def draw(rng: np.random.Generator, redshift: float) -> Absorption:
    """Draw what absorbs the light of a quasar at a redshift."""
    troughs = _troughs(rng) if rng.random() < BAL_SHARE else ()
    return Absorption(troughs, np.array(_narrow(rng, redshift)).reshape(-1, 3))


def is_low_ionization(absorption: Absorption) -> bool:
    """Say whether it has broad troughs of low ions (LoBAL)."""
    return any(trough.wavelength > 1600.0 for trough in absorption.troughs)


def transmission(absorption: Absorption, log_wavelength: np.ndarray) -> np.ndarray:
    """Give the share of the light that is let through.

    Parameters
    ----------
    absorption : Absorption
        From `draw`.
    log_wavelength : ndarray, shape (n,)
        log10 of the rest wavelength in Angstrom, ascending and equidistant by any step. Narrow lines are seen at the
        resolution of SDSS and averaged over a pixel.

    Returns
    -------
    ndarray, shape (n,)
        Within [0, 1].
    """
    through = np.ones_like(log_wavelength)
    step = KM_S_PER_DEX * (log_wavelength[-1] - log_wavelength[0]) / (len(log_wavelength) - 1)
    for trough in absorption.troughs:
        velocity = KM_S_PER_DEX * (log_wavelength - np.log10(trough.wavelength))
        width = trough.slowest - trough.fastest
        near = slice(*np.searchsorted(velocity, (trough.fastest - width, trough.slowest + width)))
        through[near] *= 1.0 - _depth(trough, velocity[near])
    if len(absorption.lines):
        wavelength, width, sigma = absorption.lines.T
        places = KM_S_PER_DEX * (np.log10(wavelength) - log_wavelength[0]) / step  # pixels
        sigmas = np.sqrt(sigma**2 + INSTRUMENT**2 + step**2 / 12.0) / step
        depths = np.minimum(width / (np.sqrt(2.0 * np.pi) * sigmas * step), 0.97)
        for place, sigma, depth in zip(places.tolist(), sigmas.tolist(), depths.tolist(), strict=True):
            start, stop = max(int(place - 4.0 * sigma), 0), min(int(place + 4.0 * sigma) + 2, len(through))
            if start < stop:
                u = (np.arange(start, stop) - place) / sigma
                through[start:stop] *= 1.0 - depth * np.exp(-0.5 * u * u)
    return through


def balnicity(absorption: Absorption) -> float:
    """Give the balnicity index of C IV in km/s (Weymann et al. 1991, ApJ 373, 23): 0 where it is no BAL quasar.

    The width of C IV absorption deeper than 10 %, weighed by its depth, between 3,000 and 25,000 km/s, counted from
    2,000 km/s into every trough on.
    """
    step = 50.0
    velocity = np.arange(-25_000.0, -3_000.0 + step, step)
    through = np.ones_like(velocity)
    for trough in absorption.troughs:
        if trough.wavelength == BAL_HIGH[0][0]:
            through *= 1.0 - _depth(trough, velocity)
    index, run = 0.0, 0.0
    for value in (1.0 - through[::-1] / 0.9).tolist():  # from the slow end
        run = run + step if value > 0 else 0.0
        if run > 2_000.0:
            index += value * step
    return index


def _depth(trough: Trough, velocity: np.ndarray) -> np.ndarray:
    middle, half = 0.5 * (trough.fastest + trough.slowest), 0.5 * (trough.slowest - trough.fastest)
    u = (velocity - middle) / half
    # ln 2: the edges are where the depth is half
    shape = np.exp(-np.log(2.0) * np.abs(u) ** trough.power)
    amplitude, length, phase = trough.ripple
    return trough.depth * shape * (1.0 - amplitude * (0.5 + 0.5 * np.sin(2.0 * np.pi * (u / length + phase))))


def _troughs(rng: np.random.Generator) -> tuple[Trough, ...]:
    low = rng.random() < LOBAL_SHARE
    found = []
    for _ in range(2 if rng.random() < BAL_SECOND else 1):
        width = BAL_WIDTH[0] + (BAL_WIDTH[1] - BAL_WIDTH[0]) * rng.random() ** 1.5  # wide ones are the rarer
        fastest = BAL_FASTEST[0] + (BAL_FASTEST[1] - BAL_FASTEST[0]) * rng.random() ** 1.4
        fastest = max(fastest, width + 500.0)
        depth = rng.uniform(*BAL_DEPTH)
        power = rng.uniform(2.0, 8.0)
        ripple = (rng.uniform(0.0, 0.5), rng.uniform(0.3, 1.5), rng.random())
        for wavelength, over in BAL_HIGH + (BAL_LOW if low else ()):
            share = 1.0 if over is None else rng.uniform(*over)
            slow = fastest - width
            reached = slow + width * (1.0 if wavelength < 1600.0 else rng.uniform(0.3, 0.8))  # low ions are slower
            found.append(Trough(wavelength, -reached, -slow, depth * share, power, ripple))
    return tuple(found)


def _narrow(rng: np.random.Generator, redshift: float) -> list:
    lines = []

    def system(absorber: float, pair: tuple, companions: tuple, strength: float, sigma: float) -> None:
        """`strength` is the rest-frame equivalent width (Angstrom) of the pair's stronger line."""
        shift = (1.0 + absorber) / (1.0 + redshift)
        thin = rng.random()  # 0: saturated, all of a system's lines alike; 1: as their oscillator strengths
        richness = rng.uniform(0.0, 1.2)
        first = pair[0][0] * pair[0][1]
        for wavelength, oscillator in (*pair, *companions):
            if FIRST < wavelength * shift < LAST:
                ratio = (wavelength * oscillator / first) ** (0.3 + 0.7 * thin)
                of = 1.0 if wavelength in (pair[0][0], pair[1][0]) else min(richness, 1.0)
                lines.append((wavelength * shift, of * C_KM_S * strength / pair[0][0] * ratio, sigma))

    def several(per_z: float, weakest: float, scale: float, bluest: float, pair: tuple, companions: tuple) -> None:
        nearest = (1.0 + redshift) * (1.0 - 3000.0 / C_KM_S) - 1.0
        farthest = max((1.0 + redshift) * bluest / pair[0][0] - 1.0, 0.3)
        for _ in range(rng.poisson(per_z * max(nearest - farthest, 0.0))):
            strength = weakest + scale * rng.exponential()
            system(rng.uniform(farthest, nearest), pair, companions, strength, width(strength))

    def width(strength: float) -> float:
        return rng.uniform(*WIDTH_LEAST) + WIDTH_PER_ANGSTROM * strength

    several(MGII_PER_Z, MGII_WEAKEST, MGII_SCALE, FIRST, MGII, MGII_COMPANIONS)
    several(CIV_PER_Z, CIV_WEAKEST, CIV_SCALE, FIRST, CIV, CIV_COMPANIONS)
    if rng.random() < ASSOCIATED_SHARE:
        for _ in range(1 + rng.poisson(0.4)):
            absorber = (1.0 + redshift) * (1.0 + rng.uniform(*ASSOCIATED) / C_KM_S) - 1.0
            strength = ASSOCIATED_WEAKEST + ASSOCIATED_SCALE * rng.exponential()
            system(absorber, CIV, CIV_COMPANIONS, strength, width(strength))
            if rng.random() < ASSOCIATED_MGII:
                system(absorber, MGII, MGII_COMPANIONS, 0.7 * strength, width(strength))
    return lines
