"""The quasar itself: its luminosity, line widths and the spectrum it emits.

A spectrum is the sum of a curved power law, the Balmer continuum, the blended UV iron emission, the broad lines and
some narrow ones (`lines`), dimmed by the quasar's own dust and by absorption (`absorption`). A line has one of many
profile shapes (`profiles`), scaled to exactly the FWHM that was drawn; for the doublets C IV and Mg II this is the FWHM
of the whole blend, which is what is measured in practice. So the mass of the virial relation can be read from the
spectrum.

The simulation is for training and no census. Where the literature leaves a range, or gives none, the scatter is chosen
wider than the best estimate (domain randomisation), so that real quasars are one more case of what the network has
seen. The means are not free: the median of many of these spectra follows the SDSS composite of Vanden Berk et al. 2001
(AJ 122, 549), which sets the strengths of the lines and the proportions of the iron.

Left out: the Lyman-alpha forest (outside the window for z < 1.9), the host galaxy, and lines that respond to changes of
the continuum.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quasar_mass.core.constants import BALMER_EDGE, C_KM_S, HC_OVER_K, KM_S_PER_DEX
from quasar_mass.simulation.quasar import absorption, profiles
from quasar_mass.simulation.quasar.lines import LINES, NARROW, NARROW_FWHM, NARROW_SHIFT, SHAPES
from quasar_mass.spectra import iron

# --- the population: chosen here so that the labels have the means and scatters measured on the published table ------
# (Chen et al. 2019 at 1.46 < z < 1.80: Mg II masses 8.645 +- 0.395, C IV masses 8.51 +- 0.45, correlation 0.41)
LOG_L3000 = (45.18, 0.33, -0.90)  # log10 erg/s at z = 1.65: mean, scatter, skewness parameter
# Distant quasars are brighter, by the flux limit: log10 of the luminosity distance over that at 1.65 (Planck 2015), by
# redshift; the square of it would be a limit in flux, and fainter surveys look farther.
LOG_DISTANCE = ((0.3, 0.5, 0.7, 0.9, 1.2, 1.65, 2.2, 2.7), (-0.90, -0.635, -0.458, -0.324, -0.17, 0.0, 0.153, 0.261))
LOG_FWHM_MGII = (3.623, 0.195, 0.99)  # log10 km/s: mean, scatter, weight of the exponential tail of narrow lines
LOG_FWHM_CIV = (3.715, 0.14)  # log10 km/s
WIDTH_CORRELATION = 0.60  # of the C IV width with the Mg II width
FWHM_LIMITS = (1400.0, 20_000.0)  # km/s: below it a Mg II blend would show its two peaks; chosen here
MAX_EDDINGTON = 3.0  # standard deviations: the tail of narrow lines does not say more about the other properties

# --- the continuum --------------------------------------------------------------------------------------------------
# L_lambda ~ lambda^slope before dust, which reddens the mean by 0.25 to the -1.54 (alpha_nu = -0.46) of Vanden Berk et
# al. 2001; the scatter is that of Richards et al. 2003 (AJ 126, 1131), which includes dust, and so on the wide side.
SLOPE = (-1.79, 0.30)
CURVATURE = 0.9  # scatter of the bend of log10 L per dex^2: 3 % between 1350 and 3000 A; chosen here
# E(B-V) of SMC-like dust: exponential, with more of it in some; Richards et al. 2003, Hopkins et al. 2004 (AJ 128,
# 1112). BAL quasars have more, those of low ionization most: Reichard et al. 2003 (AJ 126, 2594).
REDDENING = (0.012, 0.06)  # mean of most quasars, and of the redder ones
RED_FRACTION = 0.12
BAL_REDDENING = (0.025, 0.07)  # mean of the additional dust: high, low ionization
MAX_REDDENING = 0.22
BALMER = (0.06, 0.25)  # Balmer continuum at 3000 A over the power law there, median and scatter in dex: chosen here

# Grandi 1982 (ApJ 255, 25): optically thin-to-thick emission B(T) * (1 - exp(-tau)), tau growing as wavelength cubed.
BALMER_TEMPERATURE = (15_000.0, 0.08)  # K, as is usual since that paper; scatter in dex chosen here
BALMER_TAU = (1.0, 0.20)  # at the edge: the same
BALMER_FADE = 120.0  # Angstrom beyond the edge, where high Balmer lines merge: chosen here
LN_10 = math.log(10.0)

# --- iron -----------------------------------------------------------------------------------------------------------
IRON_EW = (40.0, 0.05, 0.11)  # Angstrom over iron.BAND, median; own scatter in dex, and with the strength of all lines
# Of iron's FWHM over Mg II's: mean and scatter of its log10, range of the ratio; chosen here: fits hardly constrain it.
IRON_WIDTH = (-0.08, 0.11, 0.45, 1.5)
IRON_GROUPS = 0.07  # dex: scatter of the strengths of its groups of multiplets, each on its own; chosen here
IRON_WAVES = (0.04, 7)  # scatter (natural log) and number of the waves that modulate the template; chosen here

# --- the lines ------------------------------------------------------------------------------------------------------
EW_SCATTER = (0.03, 0.06)  # dex: common to all lines of one shape, and of each line, beside `Line.strength`
LOW_STRENGTH = (0.10, 0.11)  # dex: that Mg II and its like, and iron, have in common beside it; chosen here
EW_LIMITS = (-0.80, 0.55)  # dex: 6 to 140 A for C IV, as in the composites
BALDWIN_PIVOT = 45.3  # log10 L1350 of the equivalent widths in `lines`: about this population's mean
SHIFT_SCATTER = (650.0, 220.0)  # km/s: of the wind, for lines that follow C IV, and of each line: chosen here
CALM = 0.4  # of the shift where the wind is weaker than its mean: C IV is hardly ever redshifted; as in the composites
WIND_SKEW = 0.9  # skewness parameter of the wind: blueshifts reach thousands of km/s (Richards+ 2011)
# The wind's strength depends on the Eddington ratio, on the part of the C IV width that is independent of Mg II, and on
# luminosity (in standard deviations of each); the rest is independent. Signs: Richards et al. 2011, Coatman et al. 2016
# (MNRAS 461, 647); sizes chosen here.
WIND = (0.30, 0.60, 0.20)
# Blue displacement of the C IV wing, and of the base of Mg II and its like, in widths of the core: mean, and per unit
# of wind; as in the composites
WING = {"high": (0.20, 0.20), "helium": (0.20, 0.20), "semi": (0.0, 0.0), "low": (0.25, 0.22)}
LORENTZIAN = 0.12  # of the weight of Mg II's base per standard deviation of Eddington ratio above the mean; chosen here
WIDTH_SCATTER = {"high": 0.06, "helium": 0.10, "semi": 0.07, "low": 0.08}  # dex, lines other than C IV and Mg II
OWN_WIDTH_SCATTER = 0.03  # dex: of each line in addition
IRON_EDDINGTON = 0.05  # dex of iron's strength per standard deviation of Eddington ratio: Shen & Ho 2014
# Factor on the scatters of slope, iron and lines other than C IV and Mg II, for pre-training: a network must not depend
# on properties that follow the width of Mg II more closely here than in real quasars. Chosen here.
PRETRAINING_VARIETY = 1.5


@dataclass(frozen=True)
class Quasar:
    """The properties of one simulated quasar. Masses, luminosities and widths are its true, mean ones.

    They are what a measurement without noise would give: luminosities of the continuum as it leaves the quasar, dimmed
    by its own dust (which nobody can correct for), and widths of the broad profile alone, without narrow components and
    without absorption.

    Attributes
    ----------
    redshift : float
        Cosmological redshift.
    log_l3000, log_l1350 : float
        log10 of lambda L_lambda of the power law, own dust included, in erg/s.
    slope : float
        Mean slope of that power law between 1350 and 3000 A, own dust included.
    own_slope, curvature : float
        Of the power law before dust, and its bend in log10 L per dex^2, which leaves both luminosities unchanged.
    reddening : float
        E(B-V) of its own dust.
    balmer : tuple of float
        Balmer continuum over the power law at 3000 A, its temperature (K), and its optical depth at the edge.
    iron_equivalent_width, iron_fwhm : float
        Equivalent width of the iron over `iron.BAND` (Angstrom), before its proportions are changed; FWHM (km/s).
    iron_groups, iron_waves : ndarray
        Factors on the groups of iron multiplets, and amplitudes of the waves that modulate the iron.
    shapes : dict of str to ndarray
        For each of `SHAPES`: the Gaussians of `profiles.draw_shape`.
    fwhm, equivalent_width, shift : dict of str to float
        For each of `LINES`: FWHM (km/s), equivalent width (Angstrom), shift (km/s).
    narrow : tuple of tuple of float
        Narrow lines: wavelength, equivalent width (Angstrom), velocity and standard deviation (km/s).
    absorption : absorption.Absorption
    balnicity : float
        Balnicity index of C IV in km/s; 0 if it is no BAL quasar.
    eddington, wind : float
        Eddington ratio and strength of the wind, in standard deviations from the population's mean.
    """

    redshift: float
    log_l3000: float
    log_l1350: float
    slope: float
    own_slope: float
    curvature: float
    reddening: float
    balmer: tuple
    iron_equivalent_width: float
    iron_fwhm: float
    iron_groups: np.ndarray
    iron_waves: np.ndarray
    shapes: dict
    fwhm: dict
    equivalent_width: dict
    shift: dict
    narrow: tuple
    absorption: absorption.Absorption
    balnicity: float
    eddington: float
    wind: float


def draw(rng: np.random.Generator, redshift: float, variety: float = 1.0) -> Quasar:
    """Draw a quasar from the population.

    Parameters
    ----------
    rng : numpy.random.Generator
        The quasar's own: it depends on nothing else.
    redshift : float
        Its true redshift.
    variety : float
        Factor on the scatters of properties that do not determine the mass (`PRETRAINING_VARIETY`); 1 for a survey.
    """
    log_mgii, log_civ, log_l3000, eddington, wind = _draw_main_properties(rng, redshift)
    absorbers = absorption.draw(rng, redshift)
    reddening = REDDENING[int(rng.random() < RED_FRACTION)] * rng.exponential()
    more = rng.exponential()
    if absorbers.troughs:
        reddening += BAL_REDDENING[int(absorption.is_low_ionization(absorbers))] * more
    reddening = min(reddening, MAX_REDDENING)
    tilt, bend, balmer, temperature, tau, iron_strength, iron_width = (variety * rng.standard_normal(7)).tolist()
    strong, strong_low = (variety * rng.standard_normal(2)).tolist()
    own_slope = SLOPE[0] + SLOPE[1] * tilt
    dimming = -0.4 * reddening * float(_dust(math.log(1350.0)) - _dust(math.log(3000.0)))
    log_l1350 = luminosity_at(1350.0, log_l3000, own_slope) + dimming

    fwhm, equivalent_width, shift = _draw_lines(
        rng, variety, (log_mgii, log_civ), log_l1350, wind, eddington, strong, strong_low
    )
    log_iron = IRON_EW[1] * iron_strength + IRON_EW[2] * strong + LOW_STRENGTH[1] * strong_low
    low, high = IRON_WIDTH[2:]
    return Quasar(
        redshift=redshift,
        log_l3000=log_l3000,
        log_l1350=log_l1350,
        slope=own_slope + dimming / math.log10(1350.0 / 3000.0),
        own_slope=own_slope,
        curvature=CURVATURE * bend,
        reddening=reddening,
        balmer=tuple(
            median * 10.0 ** (scatter * size)
            for (median, scatter), size in zip(
                (BALMER, BALMER_TEMPERATURE, BALMER_TAU), (balmer, temperature, tau), strict=True
            )
        ),
        iron_equivalent_width=IRON_EW[0] * 10.0 ** (log_iron + IRON_EDDINGTON * eddington),
        iron_fwhm=float(10.0**log_mgii * np.clip(10.0 ** (IRON_WIDTH[0] + IRON_WIDTH[1] * iron_width), low, high)),
        iron_groups=10.0 ** (variety * IRON_GROUPS * rng.standard_normal(iron.GROUPS)),
        iron_waves=IRON_WAVES[0] * rng.standard_normal((2, IRON_WAVES[1])),
        shapes={
            name: profiles.draw_shape(rng, WING[name][0] + WING[name][1] * wind, _base(name, eddington))
            for name in SHAPES
        },
        fwhm=fwhm,
        equivalent_width=equivalent_width,
        shift=shift,
        narrow=_draw_narrow_lines(rng),
        absorption=absorbers,
        balnicity=absorption.balnicity(absorbers) if absorbers.troughs else 0.0,
        eddington=eddington,
        wind=wind,
    )


def _base(name: str, eddington: float) -> tuple:
    """Range of the base of a line's profile: that of narrow Mg II lines, of high Eddington ratio, is strong."""
    least, most, *others = SHAPES[name]
    return (min(least + LORENTZIAN * max(eddington, 0.0), most) if name == "low" else least, most, *others)


def _draw_main_properties(rng: np.random.Generator, redshift: float) -> tuple[float, float, float, float, float]:
    """Draw log10 FWHM of Mg II and of C IV, log L3000, and Eddington ratio and wind in standard deviations."""
    plain, own = rng.standard_normal(2).tolist()
    mean, scatter, tail = LOG_FWHM_MGII
    wide = math.sqrt(1.0 - tail**2) * plain - tail * (rng.exponential() - 1.0)  # mean 0, standard deviation 1
    log_mgii = mean + scatter * wide
    narrowness = min(max(-wide, -MAX_EDDINGTON), MAX_EDDINGTON)
    mean, scatter = LOG_FWHM_CIV
    log_civ = mean + scatter * (WIDTH_CORRELATION * wide + math.sqrt(1.0 - WIDTH_CORRELATION**2) * own)
    log_mgii, log_civ = np.clip((log_mgii, log_civ), *np.log10(FWHM_LIMITS)).tolist()
    mean, scatter, skew = LOG_L3000
    bright = _skewed(*rng.standard_normal(2).tolist(), skew)
    log_l3000 = mean + float(np.interp(redshift, *LOG_DISTANCE)) + scatter * bright
    # The mass goes with width squared and the root of luminosity, so the Eddington ratio with L^0.5 / width^2.
    eddington = (narrowness * 2.0 * LOG_FWHM_MGII[1] + 0.5 * scatter * bright) / math.hypot(
        2.0 * LOG_FWHM_MGII[1], 0.5 * scatter
    )
    wind = sum(part * value for part, value in zip(WIND, (eddington, own, bright), strict=True))
    wind += math.sqrt(1.0 - sum(part**2 for part in WIND)) * _skewed(*rng.standard_normal(2).tolist(), WIND_SKEW)
    return log_mgii, log_civ, log_l3000, eddington, wind


def _draw_lines(
    rng: np.random.Generator,
    variety: float,
    log_fwhm: tuple,
    log_l1350: float,
    wind: float,
    eddington: float,
    strong: float,
    strong_low: float,
) -> tuple[dict, dict, dict]:
    """Draw FWHM, equivalent width and shift of each broad line; `log_fwhm` is that of Mg II and of C IV."""
    log_mgii, log_civ = log_fwhm
    common = dict(zip(SHAPES, rng.standard_normal((len(SHAPES), 2)).tolist(), strict=True))
    fwhm, equivalent_width, shift = {}, {}, {}
    blown = wind if wind > 0.0 else CALM * wind
    for (name, line), (size, wide, moved) in zip(LINES.items(), rng.standard_normal((len(LINES), 3)), strict=True):
        width = (1.0 - line.civ_fraction) * log_mgii + line.civ_fraction * log_civ
        if name not in ("MgII", "CIV"):
            width += line.log_width_ratio
            width += variety * (WIDTH_SCATTER[line.shape] * common[line.shape][0] + OWN_WIDTH_SCATTER * wide)
        fwhm[name] = float(10.0**width)
        strength = line.baldwin * (log_l1350 - BALDWIN_PIVOT) + line.wind * wind + line.eddington * eddington
        strength += line.strength * strong + (LOW_STRENGTH[0] * strong_low if line.shape == "low" else 0.0)
        strength += variety * (EW_SCATTER[0] * common[line.shape][1] + EW_SCATTER[1] * size)
        equivalent_width[name] = float(line.equivalent_width * 10.0 ** min(max(strength, EW_LIMITS[0]), EW_LIMITS[1]))
        shift[name] = float(line.shift - line.civ_fraction * SHIFT_SCATTER[0] * blown + SHIFT_SCATTER[1] * moved)
    return fwhm, equivalent_width, shift


def luminosity_at(wavelength: float, log_l3000: float, slope: float) -> float:
    """Give log10 of lambda L_lambda in erg/s of a power law at a rest wavelength in Angstrom."""
    return log_l3000 + (1.0 + slope) * math.log10(wavelength / 3000.0)


def components(quasar: Quasar, log_wavelength: np.ndarray) -> dict[str, np.ndarray]:
    """Give the components of a spectrum: their sum, times the transmission of `absorption`, is the spectrum.

    Parameters
    ----------
    quasar : Quasar
        From `draw`.
    log_wavelength : ndarray, shape (n,)
        log10 of the rest wavelength in Angstrom, ascending and equidistant by any step, within 1270-8000 A.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``"power law"``, ``"balmer"``, ``"iron"``, the names of `LINES`, ``"narrow"``: luminosity densities in
        erg/s/Angstrom, dimmed by the quasar's own dust.
    """
    parts = _continuum(quasar, log_wavelength)
    parts |= {name: np.zeros_like(log_wavelength) for name in (*LINES, "narrow")}
    for name, *line in _lines(quasar, log_wavelength):
        _add_line(parts[name], log_wavelength, *line)
    dust = _transmission(quasar, log_wavelength)
    return {name: part * dust for name, part in parts.items()}


def luminosity_density(quasar: Quasar, log_wavelength: np.ndarray) -> np.ndarray:
    """Give the whole spectrum, absorption included, in erg/s/Angstrom; parameters as in `components`."""
    density, *others = _continuum(quasar, log_wavelength).values()
    for part in others:
        density += part
    for _, *line in _lines(quasar, log_wavelength):
        _add_line(density, log_wavelength, *line)
    density *= _transmission(quasar, log_wavelength)
    density *= absorption.transmission(quasar.absorption, log_wavelength)
    return density


def _continuum(quasar: Quasar, log_wavelength: np.ndarray) -> dict[str, np.ndarray]:
    """All but the lines, before dust."""
    ln_wavelength = LN_10 * log_wavelength
    at_3000 = 10.0**quasar.log_l3000 / 3000.0
    power_law = at_3000 * np.exp(_ln_power_law(quasar, ln_wavelength))
    at_iron = at_3000 * np.exp(_ln_power_law(quasar, np.log(2450.0)))  # the power law amid iron.BAND
    return {
        "power law": power_law,
        "balmer": quasar.balmer[0] * at_3000 * _balmer(ln_wavelength, *quasar.balmer[1:]),
        "iron": quasar.iron_equivalent_width * at_iron * _iron(quasar, log_wavelength),
    }


def _lines(quasar: Quasar, log_wavelength: np.ndarray) -> Iterator[tuple]:
    """Name, flux (erg/s/Angstrom times km/s, before dust) and Gaussians (weights, means, sigmas) of lines in range."""
    at_3000 = 10.0**quasar.log_l3000 / 3000.0
    first, last = LN_10 * log_wavelength[0] - 0.1, LN_10 * log_wavelength[-1] + 0.1
    shapes = {name: profiles.to_unit_width(shape) for name, shape in quasar.shapes.items()}
    for name, line in LINES.items():
        centre = math.log(line.wavelengths[0])
        if first < centre < last:
            continuum = at_3000 * math.exp(_ln_power_law(quasar, centre)) * C_KM_S / line.wavelengths[0]
            offsets = tuple([C_KM_S * (math.log(w) - centre) for w in line.wavelengths])
            weights, means, sigmas = profiles.with_fwhm(shapes[line.shape], quasar.fwhm[name], offsets)
            flux = continuum * quasar.equivalent_width[name]
            yield name, flux, weights, means + (C_KM_S * centre + quasar.shift[name]), sigmas
    pixel = KM_S_PER_DEX * (log_wavelength[-1] - log_wavelength[0]) / (len(log_wavelength) - 1)
    for wavelength, width, shift, sigma in quasar.narrow:
        centre = math.log(wavelength)
        continuum = at_3000 * math.exp(_ln_power_law(quasar, centre)) * C_KM_S / wavelength
        observed = math.sqrt(sigma**2 + absorption.INSTRUMENT_SIGMA**2 + pixel**2 / 12.0)
        yield "narrow", continuum * width, np.ones(1), np.full(1, C_KM_S * centre + shift), np.full(1, observed)


def _add_line(density: np.ndarray, log_wavelength: np.ndarray, flux: float, *gaussians: np.ndarray) -> None:
    """Add a line to a spectrum; beyond 4 standard deviations its widest Gaussian is below 1e-4 of its peak."""
    weights, means, sigmas = gaussians
    first, n = KM_S_PER_DEX * log_wavelength[0], len(log_wavelength)
    step = (KM_S_PER_DEX * log_wavelength[-1] - first) / (n - 1)
    start = max(int(((means - 4.0 * sigmas).min() - first) / step), 0)
    stop = min(int(((means + 4.0 * sigmas).max() - first) / step) + 1, n)
    if start < stop:
        u = (np.arange(start, stop) * step + first - means[:, None]) * (math.sqrt(0.5) / sigmas[:, None])
        np.multiply(u, u, out=u)
        np.negative(u, out=u)
        density[start:stop] += (flux / math.sqrt(2.0 * math.pi) * weights / sigmas) @ np.exp(u, out=u)


def _transmission(quasar: Quasar, log_wavelength: np.ndarray) -> np.ndarray:
    """Transmission of the quasar's own dust relative to 3000 A, where the luminosity is defined with dust."""
    more = _dust(LN_10 * log_wavelength) - _dust(math.log(3000.0))
    return np.exp(-0.4 * LN_10 * quasar.reddening * more)


def _ln_power_law(quasar: Quasar, ln_wavelength: np.ndarray) -> np.ndarray:
    """Natural logarithm of the power law before dust, 0 at 3000 A; the curvature is 0 at 1350 and 3000 A."""
    x = ln_wavelength - math.log(3000.0)
    return x * (quasar.own_slope + quasar.curvature / LN_10 * (x - math.log(1350.0 / 3000.0)))


def _dust(ln_wavelength: np.ndarray) -> np.ndarray:
    """A_lambda / E(B-V) of the Small Magellanic Cloud: 1.39 (lambda / micrometre)^-1.2 (Prevot+ 1984, A&A 132, 389)."""
    return 1.39 * np.exp(-1.2 * (ln_wavelength - np.log(1e4)))


def _iron(quasar: Quasar, log_wavelength: np.ndarray) -> np.ndarray:
    """Iron emission with the quasar's own proportions, per Angstrom, for an equivalent width of 1."""
    template = iron.emission(quasar.iron_fwhm, log_wavelength, quasar.iron_groups)
    nodes = np.linspace(log_wavelength[0], log_wavelength[-1], 65)  # the waves are long
    phase = np.outer(2.0 * np.pi * (nodes - 3.1) / 0.45, 1.0 + 0.5 * np.arange(IRON_WAVES[1]))
    waves = np.cos(phase) @ quasar.iron_waves[0] + np.sin(phase) @ quasar.iron_waves[1]
    return np.maximum(template, 0.0) * np.exp(np.interp(log_wavelength, nodes, waves))


def _draw_narrow_lines(rng: np.random.Generator) -> tuple:
    sigma = NARROW_FWHM[0] * (NARROW_FWHM[1] / NARROW_FWHM[0]) ** rng.random() / profiles.SIGMA_TO_FWHM
    shift = NARROW_SHIFT * rng.standard_normal()
    chances, sizes = rng.random(len(NARROW)).tolist(), rng.standard_normal(len(NARROW)).tolist()
    return tuple(
        (wavelength, width * 10.0 ** (scatter * size), shift, sigma)
        for (wavelength, width, scatter, fraction), chance, size in zip(NARROW.values(), chances, sizes, strict=True)
        if chance < fraction
    )


def _skewed(first: float, second: float, delta: float) -> float:
    """Skew-normal variable of mean 0 and standard deviation 1 out of two normal ones; `delta` in (-1, 1)."""
    value = delta * abs(first) + np.sqrt(1.0 - delta**2) * second
    return float((value - delta * np.sqrt(2.0 / np.pi)) / np.sqrt(1.0 - 2.0 * delta**2 / np.pi))


def _balmer(ln_wavelength: np.ndarray, temperature: float, tau: float) -> np.ndarray:
    """Balmer continuum, 1 at 3000 A."""

    def emission(ln_w):
        planck = np.exp(-5.0 * ln_w) / np.expm1(HC_OVER_K / temperature * np.exp(-ln_w))
        return planck * -np.expm1(-tau * np.exp(3.0 * (ln_w - np.log(BALMER_EDGE))))

    inside = np.minimum(ln_wavelength, np.log(BALMER_EDGE))
    beyond = np.exp(np.maximum(ln_wavelength, np.log(BALMER_EDGE))) - BALMER_EDGE
    return emission(inside) / emission(np.log(3000.0)) * np.exp(-beyond / BALMER_FADE)
