"""Quasars observed many times: simulated anew, to learn and to measure how several spectra make one mass.

A survey has a handful of objects with sixty spectra or more. Here quasars of the same population that are in no survey
are observed on the nights of the monitored field, each as often as wanted, by the same telescope. Like the library of
pre-training, and unlike a survey's own objects, they may lend their true masses to training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quasar_mass import virial
from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.simulation import labels, observing, population
from quasar_mass.simulation.quasar.received_flux import received_light, variations
from quasar_mass.spectra.rest_frame import to_rest_frame

FIRST_SEED = 2_000_003  # added to a seed: these quasars are neither a survey's nor the library's


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
    signal_to_noise, n_bad : ndarray, shape (epochs,)
        Of each spectrum.
    label : float
        log10(M_BH / M_Sun) as the survey would publish it, from one of the spectra; NaN where no line can be measured.
    label_line : str
        Of the label, or empty.
    truth, truth_mgii : float
        The noise-free mass behind the label (Mg II's where there is no label), and the Mg II one.
    bare : ndarray of float32, shape (grid.size,)
        The mean of the recorded light of all epochs, without noise.
    """

    name: str
    redshift: float
    flux: np.ndarray
    signal_to_noise: np.ndarray
    n_bad: np.ndarray
    label: float
    label_line: str
    truth: float
    truth_mgii: float
    bare: np.ndarray


def observe(
    number: int, epochs: tuple[int, int], grid: Grid, *, seed: int = 1, labelled: bool = True
) -> Iterator[Monitored]:
    """Simulate quasars of the monitored kind.

    Parameters
    ----------
    number : int
        How many; a few that do not cover the window are left out.
    epochs : (int, int)
        Least and most spectra of each, at most 75; in between evenly in the logarithm.
    grid : Grid
    seed : int
    labelled : bool
        Whether to measure a label, which takes as long as three spectra.
    """
    own = FIRST_SEED + seed
    nights = np.linspace(*population.MONITORED_MJD, population.MONITORED_EPOCHS[1]).astype(int)
    for target in population.targets(max(number, 1), own):
        if target.kind != "main":
            continue
        rng = np.random.default_rng([own, target.index, 6])
        low, high = np.log(epochs)
        count = min(round(float(np.exp(rng.uniform(low, high)))), len(nights))
        chosen = np.sort(rng.choice(len(nights), count, replace=False))
        plates = population.MONITORED_PLATES
        fibre = 1 + int(rng.integers(population.FIBRES))
        visits = tuple((plates[n % len(plates)], int(nights[n]), fibre) for n in chosen)
        found = _observe(own, replace(target, epochs=visits, monitored=True), grid, labelled)
        if found is not None:
            yield found


def _observe(seed: int, target: population.Target, grid: Grid, labelled: bool) -> Monitored | None:
    quasar = observing.draw_quasar(seed, target)
    light = received_light(quasar, target.ebv)
    changes = variations(seed, target, quasar.redshift)
    spectra, bare = [], []
    for n, epoch in enumerate(target.epochs):
        exposure = observing.epoch_exposure(seed, quasar, target, n, light=light, change=changes[n])
        spectra.append(observing.spectrum_of(exposure.read(observing.epoch_noise(seed, target, n)), target, epoch))
        if n < 8:  # the light hardly differs from night to night: a few are mean enough
            told = np.where(exposure.ivar > 0.0, 1.0 / exposure.variance, 0.0)
            bare.append(replace(spectra[-1], flux=exposure.light, ivar=told))
    try:
        placed = [to_rest_frame(one, target.z, grid, ebv=one.ebv) for one in spectra]
        noiseless = np.mean([to_rest_frame(one, target.z, grid, ebv=one.ebv).flux for one in bare], axis=0)
    except SpectrumError:  # does not cover the window
        return None
    truth = labels.true_masses(quasar)
    label, line = np.nan, ""
    if labelled:
        measured = spectra[int(np.argmax([one.signal_to_noise for one in placed]))]
        masses = labels.trusted(virial.measure([measured], target.z, measured.ebv))[0]
        published = labels.publish(np.random.default_rng([seed, target.index, 5, 2]), quasar, masses, redshift=target.z)
        line = next((name for name in labels.LINES if published.masses[name] > 0.0), "")
        label = published.masses[line] if line else np.nan
    return Monitored(
        name=target.name,
        redshift=target.z,
        flux=np.stack([one.flux for one in placed]),
        signal_to_noise=np.array([one.signal_to_noise for one in placed]),
        n_bad=np.array([one.n_bad for one in placed]),
        label=label,
        label_line=line,
        truth=truth[line or "MgII"],
        truth_mgii=truth["MgII"],
        bare=noiseless.astype(np.float32),
    )
