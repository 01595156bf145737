"""Quasars observed many times, to learn and to test how several spectra combine into one mass.

A survey has few objects with sixty spectra or more. Here quasars of the same population that are in no survey are
observed on the nights of the monitored field by the same spectrograph, as often as needed. Like those of the library,
and unlike a survey's own objects, their true masses may be used in training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quasar_mass import virial
from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import LABEL_LINES, Grid
from quasar_mass.simulation import labels, observing, population
from quasar_mass.simulation.quasar.received_flux import draw_variations, received_flux
from quasar_mass.spectra.rest_frame import to_rest_frame

FIRST_SEED = 2_000_003  # added to a seed: these quasars are in no survey and in no library


@dataclass(frozen=True)
class Monitored:
    """One quasar and its spectra.

    Attributes
    ----------
    name : str
        Its designation.
    redshift : float
        The catalogue's.
    flux : ndarray of float32, shape (epochs, grid.size)
        In the tables' unit.
    signal_to_noise : ndarray, shape (epochs,)
        Of each spectrum.
    truth, truth_mgii : float
        log10(M_BH / M_Sun) without noise: of the line that the survey's label would come from (Mg II if none can be
        measured), and of Mg II.
    """

    name: str
    redshift: float
    flux: np.ndarray
    signal_to_noise: np.ndarray
    truth: float
    truth_mgii: float


def observe(number: int, epochs: tuple[int, int], grid: Grid, *, seed: int = 1) -> Iterator[Monitored]:
    """Simulate quasars of the monitored field.

    Parameters
    ----------
    number : int
        How many; a few that do not cover the window are left out.
    epochs : (int, int)
        Fewest and most spectra of each, at most 75; uniform in the logarithm.
    grid : Grid
    seed : int
    """
    seed = FIRST_SEED + seed
    nights = np.linspace(*population.MONITORED_MJD, population.MONITORED_EPOCHS[1]).astype(int)
    plates = population.MONITORED_PLATES
    for target in population.targets(max(number, 1), seed):
        if target.kind != "main":
            continue
        rng = np.random.default_rng([seed, target.index, 6])
        low, high = np.log(epochs)
        count = min(round(float(np.exp(rng.uniform(low, high)))), len(nights))
        chosen = np.sort(rng.choice(len(nights), count, replace=False))
        fibre = 1 + int(rng.integers(population.FIBRES))
        visits = tuple((plates[n % len(plates)], int(nights[n]), fibre) for n in chosen)
        quasar = _observe(seed, replace(target, epochs=visits, monitored=True), grid)
        if quasar is not None:
            yield quasar


def _observe(seed: int, target: population.Target, grid: Grid) -> Monitored | None:
    """Observe one quasar; None if its spectra do not cover the window."""
    quasar = observing.draw_quasar(seed, target)
    flux = received_flux(quasar, target.ebv)
    changes = draw_variations(seed, target, quasar.redshift)
    spectra = []
    for n, epoch in enumerate(target.epochs):
        exposure = observing.epoch_exposure(seed, quasar, target, n, flux, changes[n])
        spectra.append(observing.spectrum_of(exposure.read(observing.epoch_noise(seed, target, n)), target, epoch))
    try:
        regridded = [to_rest_frame(spectrum, target.z, grid, ebv=spectrum.ebv) for spectrum in spectra]
    except SpectrumError:  # does not cover the window
        return None
    signal_to_noise = np.array([spectrum.signal_to_noise for spectrum in regridded])
    truth = labels.true_masses(quasar)
    measured = spectra[int(np.argmax(signal_to_noise))]
    masses = labels.trusted_masses(virial.measure([measured], redshift=target.z, ebv=measured.ebv))[0]
    published = labels.publish(np.random.default_rng([seed, target.index, 5, 2]), quasar, masses, redshift=target.z)
    line = next((name for name in LABEL_LINES if published.masses[name] > 0.0), "MgII")
    return Monitored(
        name=target.name,
        redshift=target.z,
        flux=np.stack([spectrum.flux for spectrum in regridded]),
        signal_to_noise=signal_to_noise,
        truth=truth[line],
        truth_mgii=truth["MgII"],
    )
