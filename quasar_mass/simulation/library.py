"""Simulated quasars without their noise, and how large it would be: spectra for pre-training, observed anew each time.

A survey's file holds one night's noise, and a network that sees it twenty times learns it by heart. Here each quasar is
kept as its mean recorded flux and the standard deviation of the noise, on groups of grid pixels (the network averages
over them first), so that `augmentation.SimulatedSource` can observe it as often as needed. The target is the truth:
the mass that a noise-free measurement would have given. A library is its own simulation, of other quasars than any
survey's, and never stands for the sky.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from quasar_mass.core.errors import FileError, SpectrumError
from quasar_mass.core.files import atomic_write, progress
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import Grid
from quasar_mass.simulation import labels, observing, population
from quasar_mass.simulation.spectrograph import recording
from quasar_mass.spectra.rest_frame import to_rest_frame
from quasar_mass.spectra.spectrum import PIXEL, Spectrum

PART = 2000  # quasars per file: half a minute's work
FIRST_SEED = 1_000_003  # added to a library's seed, so that its quasars are not those of a survey of the same seed


@dataclass(frozen=True)
class Library:
    """Noise-free spectra.

    Attributes
    ----------
    light, sigma : ndarray of float16, shape (n, grid.size // group)
        Mean flux in the tables' unit and the standard deviation of its noise, on groups of `group` grid pixels.
    mass : ndarray of float32, shape (n,)
        log10(M_BH / M_Sun): `labels.expected_mass`.
    truth : ndarray of float32, shape (n, 6)
        `COLUMNS` of each quasar.
    group : int
    """

    light: np.ndarray
    sigma: np.ndarray
    mass: np.ndarray
    truth: np.ndarray
    group: int


COLUMNS = ("Z", "LMBH_MgII", "LMBH_CIV", "log_L3000", "log_FWHM_MgII", "log_FWHM_CIV")


def library(folder: Path, *, size: int, seed: int, group: int, jobs: int = 1, quiet: bool = False) -> Library:
    """Read a library, simulating what is not there yet.

    Parameters
    ----------
    folder : path
        Where its parts lie; interrupted, the next call goes on after the last whole one.
    size : int
        How many quasars, about: a few per cent do not cover the window. In steps of `PART`.
    seed : int
        Of all randomness.
    group : int
        Grid pixels (1e-4 dex) averaged.
    jobs : int
        Processes to work in.
    quiet : bool
        No progress bar.
    """
    folder = Path(folder)
    paths = [folder / f"seed-{seed}-group-{group}-{n:04d}.npz" for n in range(-(-size // PART))]
    tasks = [(path, seed, n, group, PART) for n, path in enumerate(paths) if not path.exists()]
    made = ordered_map(_simulate_part, tasks, jobs)
    for _ in progress(made, total=len(tasks), what="Library", unit=f"x {PART} quasars", quiet=quiet or not tasks):
        pass
    parts = [_read(path) for path in paths]
    return Library(*(np.concatenate([part[name] for part in parts]) for name in _NAMES), group=group)


_NAMES = ("light", "sigma", "mass", "truth")


def _read(path: Path) -> dict:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as part:
            return {name: part[name] for name in _NAMES}
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise FileError(
            path, expected="a part of a library", got=f"{type(error).__name__}: {error}", do="delete it and start again"
        ) from error


def _simulate_part(path: Path, seed: int, number: int, group: int, size: int) -> None:
    rows = list(_rows(seed, number, group, size))
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            light=np.array([row[0] for row in rows], np.float16),
            sigma=np.array([row[1] for row in rows], np.float16),
            mass=np.array([row[2] for row in rows], np.float32),
            truth=np.array([row[3] for row in rows], np.float32),
        )


def _rows(seed: int, number: int, group: int, size: int) -> Iterator[tuple]:
    own = FIRST_SEED + 10_007 * seed + number
    for target in population.targets(size, own):
        if target.kind != "main":
            continue
        quasar, _exposure, spectrum = observing.library_exposure(own, target)
        try:
            light, sigma = averages(spectrum, target.z, target.ebv, group)
        except SpectrumError:  # does not cover the window: as such a file, it is none of the training set
            continue
        truth = labels.true_masses(quasar)
        widths = np.log10([quasar.fwhm["MgII"], quasar.fwhm["CIV"]])
        known = [target.z, truth["MgII"], truth["CIV"], quasar.log_l3000, *widths]
        yield light, sigma, labels.expected_mass(quasar, target.z), known


def averages(spectrum: Spectrum, redshift: float, ebv: float, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Put a noise-free spectrum on groups of grid pixels.

    Parameters
    ----------
    spectrum : Spectrum
        `flux` is the mean recorded flux, `ivar` the true inverse variance of the noise, 0 in lost pixels.
    redshift : float
    ebv : float
        To correct the Galaxy's extinction with, magnitudes.
    group : int
        Grid pixels averaged.

    Returns
    -------
    light, sigma : ndarray, shape (grid.size // group,)
        Mean flux in the tables' unit, and the standard deviation of the noise that the average of `group` pixels has,
        neighbouring pixels being correlated by the coadd and by the interpolation onto the grid. (Between groups the
        noise is taken as independent; and in a gap, where the table has a straight line, as that of single pixels.)

    Raises
    ------
    SpectrumError
        If the spectrum does not cover the window.
    """
    grid = Grid()
    deviation = np.zeros_like(spectrum.flux)
    np.divide(1.0, np.sqrt(spectrum.ivar), out=deviation, where=spectrum.ivar > 0)
    light = to_rest_frame(spectrum, redshift, grid, ebv=ebv).flux
    sigma = to_rest_frame(replace(spectrum, flux=deviation), redshift, grid, ebv=ebv).flux
    fraction = float((grid.start + np.log10(1.0 + redshift)) / PIXEL % 1.0)  # of a pixel, between the two grids
    interpolation = np.append(np.ones(group), 0.0) * (1.0 - fraction) + np.append(0.0, np.ones(group)) * fraction
    weights = np.convolve(recording.CORRELATION / np.linalg.norm(recording.CORRELATION), interpolation / group)
    whole_groups = grid.size // group * group
    grouped = (values[:whole_groups].reshape(-1, group) for values in (light, sigma))
    return (next(grouped).mean(axis=1), np.sqrt(np.mean(next(grouped) ** 2, axis=1)) * np.linalg.norm(weights))
