"""Simulated quasars in which one thing alone is changed: to see what a network's masses follow."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.quasar.intrinsic import Quasar
from quasar_mass.simulation.quasar.received_flux import received_light
from quasar_mass.spectra.rest_frame import to_rest_frame

FIRST_SEED = 3_000_017  # added to a seed: these quasars are neither a survey's nor any other library's


def series(number: int, change: str, steps: Sequence[float], grid: Grid, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw quasars and change each step by step, all else alike: telescope, night, dust, redshift.

    Parameters
    ----------
    number : int
        Quasars; those that do not cover the window are replaced by others.
    change : str
        ``"width"``: the FWHM of Mg II alone, no other line's and not iron's; ``"light"``: the luminosity of all.
    steps : sequence of float
        log10 of the factors.
    grid : Grid
    seed : int

    Returns
    -------
    light : ndarray of float32, shape (number, len(steps), grid.size)
        Noise-free flux in the tables' unit.
    sigma : ndarray of float32, shape (number, 1, grid.size)
        Standard deviation of the unchanged spectrum's noise, pixel by pixel.
    """
    own = FIRST_SEED + seed
    light, sigma = [], []
    for target in population.targets(2 * number + 10, own):
        if len(light) == number:
            break
        if target.kind != "main":
            continue
        quasar = observing.draw_quasar(own, target)
        try:
            versions = [_recorded(own, changed(quasar, change, step), target, grid) for step in steps]
            light.append([version[0] for version in versions])
            sigma.append(_recorded(own, quasar, target, grid)[1][None])
        except SpectrumError:  # does not cover the window
            continue
    return np.array(light, np.float32), np.array(sigma, np.float32)


def changed(quasar: Quasar, change: str, step: float) -> Quasar:
    """Change a quasar's Mg II width or its luminosity by a factor of 10^step."""
    if change == "width":
        return replace(quasar, fwhm=quasar.fwhm | {"MgII": quasar.fwhm["MgII"] * 10.0**step})
    return replace(quasar, log_l3000=quasar.log_l3000 + step, log_l1350=quasar.log_l1350 + step)


def _recorded(seed: int, quasar: Quasar, target: population.Target, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    light = received_light(quasar, target.ebv)
    exposure = observing.epoch_exposure(seed, quasar, target, 0, light=light, change=np.zeros(2))
    told = np.where(exposure.ivar > 0.0, 1.0 / exposure.variance, 0.0)
    spectrum = observing.spectrum_of(exposure.read(observing.epoch_noise(seed, target, 0)), target, target.epochs[0])
    bare = replace(spectrum, flux=np.asarray(exposure.light, float), ivar=told)
    deviation = np.divide(1.0, np.sqrt(told), out=np.zeros_like(told), where=told > 0)
    return tuple(to_rest_frame(one, target.z, grid, ebv=one.ebv).flux for one in (bare, replace(bare, flux=deviation)))
