"""Strengths, widths, shifts and shapes of the broad lines of a spectrum, measured above local continua.

No model of lines or of iron is fitted, so the same code serves real and simulated spectra, and no template favours
either. It is made for spectra with little noise: composites, and simulated quasars before they are observed.
"""

import numpy as np

from quasar_mass.core import constants

# Angstrom, rest frame. Windows of the continuum on either side of a line or group of lines, and its range.
CONTINUA = {
    "C IV": ((1445.0, 1465.0), (1690.0, 1710.0)),
    "C III]": ((1800.0, 1825.0), (1975.0, 2000.0)),
    "Mg II": ((2670.0, 2700.0), (2900.0, 2920.0)),
    "Fe II": ((2190.0, 2220.0), (2660.0, 2690.0)),
}
RANGES = {  # of equivalent widths: the continuum that they refer to, and from where to where
    "C IV": ("C IV", 1500.0, 1600.0),
    "He II": ("C IV", 1620.0, 1650.0),
    "1585-1680 A": ("C IV", 1585.0, 1680.0),
    "C III]": ("C III]", 1840.0, 1950.0),
    "Mg II": ("Mg II", 2720.0, 2880.0),
    "Fe II": ("Fe II", 2240.0, 2650.0),
}
CENTRES = {"C IV": float(np.mean(constants.C_IV_DOUBLET)), "Mg II": float(np.mean(constants.MG_II_DOUBLET))}
SEARCHED = {"C IV": (1480.0, 1590.0), "Mg II": (2740.0, 2860.0)}  # where the peak and the flanks are looked for
SMOOTHING = 500.0  # km/s, FWHM: narrow lines and noise must not make the peak
STEP = 50.0  # km/s
BASE = (1.0, 2.0)  # of half the FWHM, from the middle of the top: from where to where the base is


def measure(wavelength: np.ndarray, flux: np.ndarray) -> dict[str, float]:
    """Measure the lines of a spectrum.

    Parameters
    ----------
    wavelength : ndarray, shape (n,)
        Angstrom, in vacuum, rest frame, ascending.
    flux : ndarray, shape (n,)
        Flux density per Angstrom, in any unit.

    Returns
    -------
    dict of str to float
        ``"EW "`` and a name of `RANGES`: equivalent width, Angstrom. For C IV and Mg II moreover what `profile` gives.
        NaN where the spectrum does not reach from one window of the continuum to the other.
    """
    excess = {name: above_continuum(wavelength, flux, windows) for name, windows in CONTINUA.items()}
    widths = {f"EW {name}": _integral(wavelength, excess[line], *ends) for name, (line, *ends) in RANGES.items()}
    profiles = (profile(wavelength, excess[name], CENTRES[name], SEARCHED[name]) for name in CENTRES)
    named = zip(CENTRES, profiles, strict=True)
    return widths | {f"{key} {name}": value for name, values in named for key, value in values.items()}


def profile(wavelength: np.ndarray, excess: np.ndarray, centre: float, ends: tuple[float, float]) -> dict[str, float]:
    """Measure the profile of one line.

    Parameters
    ----------
    wavelength, excess : ndarray, shape (n,)
        Angstrom, and flux above the continuum.
    centre : float
        Wavelength of velocity 0, Angstrom.
    ends : (float, float)
        Angstrom: where the peak and the flanks are looked for.

    Returns
    -------
    dict of str to float
        ``"FWHM"``, km/s; ``"shift"`` of the peak, km/s, negative towards the blue; ``"wings"``, the width at a quarter
        of the peak over that at three quarters; ``"base"``, the flux of its blue base less that of the red one over
        both (`BASE`). NaN where the line does not fall to half or a quarter of its peak between the ends.
    """
    if not (wavelength[0] <= ends[0] and ends[1] <= wavelength[-1] and np.isfinite(excess).all()):
        return dict.fromkeys(("FWHM", "shift", "wings", "base"), np.nan)
    first, last = constants.C_KM_S * np.log(np.array(ends) / centre)
    velocity = np.arange(first, last, STEP)
    height = _smooth(np.interp(centre * np.exp(velocity / constants.C_KM_S), wavelength, excess))
    top = int(np.argmax(height))
    flanks = {level: _flanks(velocity, height, level * height[top], top) for level in (0.25, 0.5, 0.75)}
    widths = {level: red - blue for level, (blue, red) in flanks.items()}
    middle, half = np.mean(flanks[0.75]), 0.5 * widths[0.5]
    apart = half * np.linspace(*BASE, 50)
    blue, red = (np.interp(middle + side * apart, velocity, height).sum() for side in (-1.0, 1.0))
    return {
        "FWHM": float(max(widths[0.5] ** 2 - SMOOTHING**2, 0.0) ** 0.5),  # the smoothing adds in quadrature
        "shift": float(velocity[top]) if np.isfinite(half) else np.nan,
        "wings": float(widths[0.25] / widths[0.75]),
        "base": float((blue - red) / (blue + red)) if np.isfinite(half) else np.nan,
    }


def above_continuum(wavelength: np.ndarray, flux: np.ndarray, windows: tuple) -> np.ndarray:
    """Flux over the power law through the medians of two windows (Angstrom), minus 1; NaN where one is not covered."""
    x, y = [], []
    for low, high in windows:
        level = np.nan
        if wavelength[0] <= low and high <= wavelength[-1]:
            level = np.median(flux[(wavelength >= low) & (wavelength <= high)])
        x.append(np.log(0.5 * (low + high)))
        y.append(np.log(level) if level > 0 else np.nan)
    slope = (y[1] - y[0]) / (x[1] - x[0])
    return flux / np.exp(y[0] + slope * (np.log(wavelength) - x[0])) - 1.0


def _integral(wavelength: np.ndarray, excess: np.ndarray, low: float, high: float) -> float:
    inside = (wavelength >= low) & (wavelength <= high)
    return float(np.trapezoid(excess[inside], wavelength[inside])) if inside.any() else np.nan


def _smooth(height: np.ndarray) -> np.ndarray:
    sigma = SMOOTHING / 2.3548 / STEP  # pixels
    reach = int(4.0 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(height, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _flanks(velocity: np.ndarray, height: np.ndarray, level: float, top: int) -> tuple[float, float]:
    """Velocities on both sides of the peak where the line first falls below a level; NaN where it does not."""
    flanks = []
    for step in (-1, 1):
        side = height[top::step]
        below = int(np.argmax(side < level))  # 0 where it does not: the peak itself is above
        inner, outer = side[below - 1], side[below]
        fraction = (inner - level) / (inner - outer) if below else np.nan
        flanks.append(float(velocity[top] + step * STEP * (below - 1 + fraction)))
    return tuple(flanks)
