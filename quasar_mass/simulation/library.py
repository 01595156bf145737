"""Noise-free spectra of simulated quasars, and the size of their noise: for pre-training with new noise each time.

A survey's file holds the noise of one night, and a network that sees it twenty times learns it by heart. Here each
quasar is kept as its mean recorded flux and the standard deviation of the noise, on groups of grid pixels (the network
averages over them first), so that `augmentation.SimulatedSource` can observe it as often as needed. The targets
are true masses, which a noise-free measurement would give. The quasars of a library are in no survey. Every other one
has a redshift of the wide range, uniform, and shows a part of the window.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from quasar_mass.core.errors import FileError, SpectrumError
from quasar_mass.core.files import atomic_write, progress
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import WIDE_REDSHIFT_RANGE, Grid
from quasar_mass.simulation import labels, observing, population
from quasar_mass.simulation.quasar.intrinsic import PRETRAINING_VARIETY
from quasar_mass.simulation.quasar.received_flux import draw_variations, received_flux
from quasar_mass.simulation.spectrograph.recording import CORRELATION
from quasar_mass.spectra.network_input import in_rest_frame
from quasar_mass.spectra.spectrum import PIXEL, Spectrum

PART = 2000  # quasars per file: half a minute's work
FIRST_SEED = 1_000_003  # added to a library's seed, so that its quasars are not those of a survey of the same seed
COLUMNS = ("Z", "LMBH_MgII", "LMBH_CIV", "log_L3000", "log_FWHM_MgII", "log_FWHM_CIV")


@dataclass(frozen=True)
class Library:
    """Noise-free spectra.

    Attributes
    ----------
    flux, sigma : ndarray of float16, shape (n, grid.size // group)
        Mean flux and the standard deviation of its noise in the unit of `network_input`, on groups of `group` grid
        pixels; NaN where a spectrum has no data.
    truth : ndarray of float32, shape (n, 6)
        `COLUMNS` of each quasar.
    group : int
    """

    flux: np.ndarray
    sigma: np.ndarray
    truth: np.ndarray
    group: int


_REDSHIFT = 7  # with seed and number: the generator of a redshift
_TYPES = {"flux": np.float16, "sigma": np.float16, "truth": np.float32}


def library(folder: Path, *, size: int, seed: int, group: int, jobs: int = 1, quiet: bool = False) -> Library:
    """Read a library, simulating the parts that are missing.

    Parameters
    ----------
    folder : path
        Of its parts. After an interruption the next call goes on behind the last complete one.
    size : int
        How many quasars, about: a few do not show enough. In steps of `PART`.
    seed : int
        Of all randomness.
    group : int
        Grid pixels (1e-4 dex) averaged.
    jobs : int
        Processes to work in.
    quiet : bool
        No progress bar.

    Raises
    ------
    FileError
        If a part is damaged.
    """
    folder = Path(folder)
    paths = [folder / f"wide-seed-{seed}-group-{group}-{n:04d}.npz" for n in range(-(-size // PART))]
    tasks = [(path, seed, n, group, PART) for n, path in enumerate(paths) if not path.exists()]
    made = ordered_map(_simulate_part, tasks, jobs)
    for _ in progress(made, total=len(tasks), what="Library", unit=f"x {PART} quasars", quiet=quiet or not tasks):
        pass
    parts = [_read(path) for path in paths]
    return Library(**{name: np.concatenate([part[name] for part in parts]) for name in _TYPES}, group=group)


def _read(path: Path) -> dict:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as part:
            return {name: part[name] for name in _TYPES}
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise FileError(path, f"is no part of a library ({error}); delete it and start again") from error


def _simulate_part(path: Path, seed: int, number: int, group: int, size: int) -> None:
    columns = zip(*_rows(seed, number, group, size), strict=True)
    arrays = {name: np.array(column, kind) for (name, kind), column in zip(_TYPES.items(), columns, strict=True)}
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def _rows(seed: int, number: int, group: int, size: int) -> Iterator[tuple]:
    seed = FIRST_SEED + 10_007 * seed + number
    for target in population.targets(size, seed):
        if target.kind != "main":
            continue
        target = in_wide_range(seed, target) if target.index % 2 else target
        quasar = observing.draw_quasar(seed, target, PRETRAINING_VARIETY)
        received, changes = received_flux(quasar, target.ebv), draw_variations(seed, target, quasar.redshift)
        exposure = observing.epoch_exposure(seed, quasar, target, 0, received, changes[0])
        spectrum = observing.noiseless_spectrum(exposure, target, target.epochs[0])
        try:
            flux, sigma = averages(spectrum, target.z, target.ebv, group)
        except SpectrumError:  # shows neither Mg II nor C IV: such a file is not in a training set either
            continue
        truth = labels.true_masses(quasar)
        widths = np.log10([quasar.fwhm["MgII"], quasar.fwhm["CIV"]])
        known = [target.z, truth["MgII"], truth["CIV"], quasar.log_l3000, *widths]
        yield in_rest_frame(flux, target.z), in_rest_frame(sigma, target.z), known


def in_wide_range(seed: int, target: population.Target) -> population.Target:
    """Give a target another redshift, uniform in `WIDE_REDSHIFT_RANGE`."""
    z = float(np.random.default_rng([seed, target.index, _REDSHIFT]).uniform(*WIDE_REDSHIFT_RANGE))
    return replace(target, z=z, zvi=z)


def averages(spectrum: Spectrum, redshift: float, ebv: float, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Put a noiseless spectrum on groups of grid pixels.

    Parameters
    ----------
    spectrum : Spectrum
        From `observing.noiseless_spectrum`.
    redshift : float
    ebv : float
        For the correction of Galactic extinction, magnitudes.
    group : int
        Grid pixels averaged.

    Returns
    -------
    flux, sigma : ndarray, shape (grid.size // group,)
        Mean flux in the tables' unit, and the standard deviation of the noise in the average of `group` pixels. The
        noise of neighbouring pixels is correlated by the coadd and by the interpolation onto the grid; that of
        different groups is taken as independent. In a short gap, where the table has a straight line, it is that of
        single pixels. NaN in a group of which not all is seen.

    Raises
    ------
    SpectrumError
        If the spectrum shows neither Mg II nor C IV with C III].
    """
    grid = Grid()
    both = observing.rest_frame_flux_and_noise(spectrum, redshift, grid, ebv)
    flux, sigma = (values[: grid.size // group * group].reshape(-1, group) for values in both)
    fraction = float((grid.start + np.log10(1.0 + redshift)) / PIXEL % 1.0)  # of a pixel, between the two grids
    interpolation = np.append(np.ones(group), 0.0) * (1.0 - fraction) + np.append(0.0, np.ones(group)) * fraction
    weights = np.convolve(CORRELATION / np.linalg.norm(CORRELATION), interpolation / group)
    return flux.mean(axis=1), np.sqrt(np.mean(sigma**2, axis=1)) * np.linalg.norm(weights)
