"""Simulated quasars in which only one property is changed, to test what a network's masses depend on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.simulation import observing, population
from quasar_mass.simulation.quasar.intrinsic import Quasar
from quasar_mass.simulation.quasar.received_flux import received_flux

FIRST_SEED = 3_000_017  # added to a seed: these quasars are in no survey and in no library


def series(
    number: int, change: str, steps: Sequence[float], grid: Grid, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw quasars and change each step by step, with the same spectrograph, night, dust and redshift.

    Parameters
    ----------
    number : int
        Quasars; those that do not cover the window are replaced by others.
    change : str
        ``"width"``: the FWHM of Mg II, of no other line and not of the iron; ``"luminosity"``: that of the whole
        spectrum.
    steps : sequence of float
        log10 of the factors.
    grid : Grid
    seed : int

    Returns
    -------
    flux : ndarray of float32, shape (number, len(steps), grid.size)
        Noise-free flux in the tables' unit.
    sigma : ndarray of float32, shape (number, 1, grid.size)
        Standard deviation of the noise of the unchanged spectrum.
    redshift : ndarray, shape (number,)
    """
    seed = FIRST_SEED + seed
    flux, sigma, redshift = [], [], []
    for target in population.targets(2 * number + 10, seed):
        if len(flux) == number:
            break
        if target.kind != "main":
            continue
        quasar = observing.draw_quasar(seed, target)
        try:
            flux.append([_recorded(seed, changed(quasar, change, step), target, grid)[0] for step in steps])
            sigma.append(_recorded(seed, quasar, target, grid)[1][None])
        except SpectrumError:  # does not cover the window
            continue
        redshift.append(target.z)
    return np.array(flux, np.float32), np.array(sigma, np.float32), np.array(redshift)


def changed(quasar: Quasar, change: str, step: float) -> Quasar:
    """Change a quasar's Mg II width or its luminosity by a factor of 10^step."""
    if change == "width":
        return replace(quasar, fwhm=quasar.fwhm | {"MgII": quasar.fwhm["MgII"] * 10.0**step})
    return replace(quasar, log_l3000=quasar.log_l3000 + step, log_l1350=quasar.log_l1350 + step)


def _recorded(seed: int, quasar: Quasar, target: population.Target, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    exposure = observing.epoch_exposure(seed, quasar, target, 0, received_flux(quasar, target.ebv), np.zeros(2))
    spectrum = observing.noiseless_spectrum(exposure, target, target.epochs[0])
    return observing.rest_frame_flux_and_noise(spectrum, target.z, grid, spectrum.ebv)
