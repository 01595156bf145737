"""Training spectra that differ in every training epoch, so that a network does not learn the noise of one observation.

Two sources of batches for `EasyAI.train`: simulated quasars with new noise (`SimulatedSource`), and a survey's own
spectra with small changes that keep their labels valid (`AugmentedSource`). `ConcatSource` joins several. The random
numbers come only from the generator that a source is given, which `EasyAI` seeds with stage, training epoch and batch:
a resumed training uses the same spectra.
"""

from collections.abc import Sequence

import numpy as np

from quasar_mass.network.batches import digest
from quasar_mass.tables.scratch_array import ScratchArray

# All of these are choices of this project: wide enough to cover the instrument's known errors, not fitted to data.
NOISE_FRACTION = 0.6  # fraction of simulated spectra whose noise differs from that of the survey's observation
NOISE_FACTOR = (-0.9, 0.25)  # log10 of the factor on it, uniform: S/N from half to eight times the survey's
# dex, standard deviation: a quasar's luminosity is changed by this, and its mass by half of it (the virial relation);
# without it, the network infers the luminosity from the noise or from the strength of the lines
BRIGHTNESS = 0.30
TILT = (0.03, 0.02)  # calibration errors: slope and curvature, dex over the window's half width, standard deviations
ADDED_NOISE = 0.5  # of a survey spectrum's own noise, at most
GAPS, GAP_LENGTH = 0.5, 40  # gaps per spectrum; their mean length in pixels; interpolated as bad pixels are


class SimulatedSource:
    """Simulated quasars, observed with new noise in every training epoch.

    Parameters
    ----------
    flux, sigma : ndarray, shape (n, groups)
        Mean flux and its standard deviation on groups of `group` pixels (`simulation.library`).
    mass : ndarray, shape (n,)
        log10(M_BH / M_Sun), the target.
    pixels : int
        Of the network's input. Every group's value is repeated `group` times; the network averages it again.
    group : int
        Pixels per group.
    """

    def __init__(self, flux: np.ndarray, sigma: np.ndarray, mass: np.ndarray, pixels: int, group: int) -> None:
        self.flux, self.sigma, self.mass = flux, sigma, np.asarray(mass, np.float32)
        self.pixels, self.group = pixels, group

    def __len__(self) -> int:
        return len(self.flux)

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Observe these quasars; spectra of shape (n, pixels, 1) and their masses."""
        flux = self.flux[rows].astype(np.float32)
        n = len(flux)
        factor = np.where(rng.random(n) < NOISE_FRACTION, 10.0 ** rng.uniform(*NOISE_FACTOR, n), 1.0)
        noise = rng.standard_normal(flux.shape, dtype=np.float32)
        noise *= self.sigma[rows]
        noise *= factor.astype(np.float32)[:, np.newaxis]
        observed = (flux + noise) * _tilts(rng, n, flux.shape[1])
        mass = _change_brightness(rng, observed, self.mass[rows])
        spectra = np.repeat(observed, self.group, axis=1)
        missing = self.pixels - spectra.shape[1]  # pixels beyond the last whole group, which the network leaves out
        if missing > 0:
            spectra = np.concatenate([spectra, np.repeat(spectra[:, -1:], missing, axis=1)], axis=1)
        return spectra[:, : self.pixels, np.newaxis], mass

    def digest(self) -> str:
        """SHA-256 of everything that its batches depend on."""
        settings = np.array([self.pixels, self.group, NOISE_FRACTION, *NOISE_FACTOR, BRIGHTNESS, *TILT])
        return digest([self.flux, self.sigma, self.mass, settings])


class AugmentedSource:
    """A survey's spectra with more noise, another luminosity, calibration and other gaps in every training epoch.

    Parameters
    ----------
    spectra : ndarray of float32, or ScratchArray, shape (n, pixels, 1)
    label : ndarray of float32, shape (n,)
        log10(M_BH / M_Sun).
    """

    def __init__(self, spectra: np.ndarray | ScratchArray, label: np.ndarray) -> None:
        self.spectra, self.label = spectra, np.asarray(label, np.float32)

    def __len__(self) -> int:
        return len(self.spectra)

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Change these spectra; shape (n, pixels, 1), and their labels."""
        spectra = self.spectra[rows][..., 0].astype(np.float32)
        n, pixels = spectra.shape
        fraction = (ADDED_NOISE * rng.random((n, 1))).astype(np.float32)
        spectra += fraction * _local_noise(spectra) * rng.standard_normal(spectra.shape, dtype=np.float32)
        for row in np.flatnonzero(rng.random(n) < GAPS):
            length = min(int(rng.geometric(1.0 / GAP_LENGTH)), pixels // 4)
            start = int(rng.integers(0, pixels - length - 1))
            ends = spectra[row, [start, start + length]]
            spectra[row, start : start + length + 1] = np.linspace(*ends, length + 1)
        spectra *= _tilts(rng, n, pixels)
        label = _change_brightness(rng, spectra, self.label[rows])
        return spectra[..., np.newaxis], label

    def digest(self) -> str:
        """SHA-256 of everything that its batches depend on."""
        return digest([self.spectra, self.label, np.array([ADDED_NOISE, GAPS, GAP_LENGTH, BRIGHTNESS, *TILT])])


class ConcatSource:
    """Several sources as one; a batch may hold rows of each."""

    def __init__(self, sources: Sequence) -> None:
        self.sources = list(sources)
        self.edges = np.concatenate([[0], np.cumsum([len(source) for source in self.sources])])

    def __len__(self) -> int:
        return int(self.edges[-1])

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Give rows, numbered through all sources."""
        rows = np.arange(len(self))[rows]
        number = np.searchsorted(self.edges, rows, side="right") - 1  # of the source of each row
        parts = [
            source.take(rows[number == n] - self.edges[n], rng)
            for n, source in enumerate(self.sources)
            if (number == n).any()
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def digest(self) -> str:
        """SHA-256 of everything that its batches depend on."""
        return " ".join(source.digest() for source in self.sources)


def _change_brightness(rng: np.random.Generator, spectra: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Make the quasars brighter or fainter, in place, and give the masses that belong to the new luminosities."""
    change = (BRIGHTNESS * rng.standard_normal(len(spectra))).astype(np.float32)
    spectra *= 10.0 ** change[:, np.newaxis]
    return mass + np.float32(0.5) * change


def _tilts(rng: np.random.Generator, n: int, pixels: int) -> np.ndarray:
    """Smooth factors around 1, shape (n, pixels): errors of the flux calibration."""
    x = np.linspace(-1.0, 1.0, pixels, dtype=np.float32)
    slope, curvature = (rng.standard_normal((2, n, 1)) * np.reshape(TILT, (2, 1, 1))).astype(np.float32)
    return np.exp(np.float32(np.log(10.0)) * (slope * x + curvature * (x**2 - np.float32(1.0 / 3.0))))


def _local_noise(spectra: np.ndarray, width: int = 128) -> np.ndarray:
    """Standard deviation of neighbouring pixels' differences over sqrt(2), in blocks of `width`; shape as given."""
    pixels = spectra.shape[1]
    squares = np.diff(spectra, axis=1, append=spectra[:, -2:-1]) ** 2
    blocks = -(-pixels // width)
    edges = np.linspace(0, pixels, blocks + 1).astype(int)
    means = np.add.reduceat(squares, edges[:-1], axis=1) / np.diff(edges)
    return np.repeat(np.sqrt(0.5 * means), np.diff(edges), axis=1)
