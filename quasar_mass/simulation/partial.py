"""Labelled quasars of all redshifts that show a part of the window, to calibrate and to test a network's reach.

A survey of the reference's selection has none of them. Here quasars of the same population are observed by the same
spectrograph at redshifts of the wide range, with the wavelengths of SDSS, BOSS or DESI, and sometimes without an arm.
Where the mass table has labels, at the redshifts of a survey, a quasar has one as the table gives it; elsewhere, it is
what the fit of Mg II gives, on the whole spectrum before a part of it is lost. They are in no survey.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quasar_mass import virial
from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import LABEL_LINES, Grid
from quasar_mass.simulation import labels, observing, population
from quasar_mass.simulation.library import FIRST_SEED, in_wide_range
from quasar_mass.spectra.rest_frame import RestFrame, to_rest_frame
from quasar_mass.spectra.spectrum import Spectrum

# Observed wavelengths in Angstrom, and how often each is drawn: BOSS as simulated, SDSS-I and II, DESI; their blue or
# red arm alone. The shares are chosen here.
COVERAGES = (
    ((0.0, np.inf), 0.40),
    ((3800.0, 9200.0), 0.25),
    ((3600.0, 9824.0), 0.15),
    ((0.0, 6000.0), 0.10),
    ((6000.0, np.inf), 0.10),
)
PART = 250  # quasars per task
_COVERAGE = 8  # with seed and number: the generator of the coverage


@dataclass(frozen=True, repr=False)
class PartialQuasar:
    """A quasar with one partial spectrum.

    Attributes
    ----------
    name : str
    redshift : float
    spectrum : RestFrame
    label : float
        log10(M_BH / M_Sun).
    line : str
        The label's line, one of `LABEL_LINES`.
    truth_mgii : float
        Noise-free virial mass in Mg II.
    """

    name: str
    redshift: float
    spectrum: RestFrame
    label: float
    line: str
    truth_mgii: float


def observe(number: int, grid: Grid, *, seed: int, jobs: int = 1) -> Iterator[list[PartialQuasar]]:
    """Simulate partial spectra, in batches.

    Parameters
    ----------
    number : int
        How many quasars, about: those that show too little, or whose label cannot be measured, are left out.
    grid : Grid
    seed : int
    jobs : int
        Processes to work in.
    """
    sizes = [min(PART, number - start) for start in range(0, number, PART)]
    return ordered_map(_observe, [(FIRST_SEED + 10_007 * seed + n, size, grid) for n, size in enumerate(sizes)], jobs)


def _observe(seed: int, number: int, grid: Grid) -> list[PartialQuasar]:
    targets = [in_wide_range(seed, t) for t in population.targets(number, seed) if t.kind == "main"]
    targets = [replace(target, epochs=target.epochs[:1]) for target in targets]
    observed = [observing.observe(seed, target) for target in targets]
    spectra = [observing.spectrum_of(reading[0], one.target, one.target.epochs[0]) for one, reading in observed]
    redshifts = [record.target.z for record, _ in observed]
    masses = labels.trusted_masses(virial.measure(spectra, redshift=redshifts))
    quasars = []
    for (record, _), spectrum, measured in zip(observed, spectra, masses, strict=True):
        target = record.target
        rng = np.random.default_rng([seed, target.index, _COVERAGE])
        label, line = measured["MgII"], "MgII"
        if population.REDSHIFT_EDGES[0] <= target.z < population.REDSHIFT_EDGES[-1]:
            published = labels.publish(rng, record.quasar, measured, redshift=target.z)
            line = next((name for name in LABEL_LINES if published.masses[name] > 0.0), "")
            label = published.masses.get(line, np.nan)
        ranges, shares = zip(*COVERAGES, strict=True)
        seen = ranges[rng.choice(len(ranges), p=shares)]
        try:
            rest = to_rest_frame(_within(spectrum, *seen), target.z, grid, ebv=spectrum.ebv, partial=True)
        except SpectrumError:  # shows too little
            continue
        if np.isfinite(label):
            truth = labels.true_masses(record.quasar)["MgII"]
            quasars.append(PartialQuasar(target.name, target.z, rest, float(label), line, truth))
    return quasars


def _within(spectrum: Spectrum, low: float, high: float) -> Spectrum:
    """A spectrum without data beyond two observed wavelengths (Angstrom)."""
    inside = (spectrum.wavelength >= low) & (spectrum.wavelength <= high)
    return replace(spectrum, ivar=np.where(inside, spectrum.ivar, 0.0))
