"""Training spectra that differ in every training epoch, so that a network learns quasars and not one night's noise.

Two sources of batches for `EasyAI.train`: simulated quasars with fresh noise (`SimulatedSource`), and a survey's own
spectra with small changes that leave their labels true (`AugmentedSource`); `ConcatSource` deals out several
together. What a source draws depends on the generator it is given alone, which `EasyAI` seeds with stage, training
epoch and batch: a resumed training sees the same spectra.
"""

from collections.abc import Sequence

import numpy as np

from quasar_mass.network.batches import digest
from quasar_mass.tables.scratch_array import ScratchArray

# All of these are chosen here: wide enough to cover what the instrument is known to do, without evidence beyond that.
NOISE_SHARE = 0.6  # share of fresh spectra that get another noise than their quasar's night and brightness gave them
NOISE_FACTOR = (-0.9, 0.25)  # log10 of the factor on it, uniform: S/N from half to eight times the survey's
# dex, by which a quasar is moved in luminosity, and its mass with half of that (the virial relation): without it, the
# network takes the noise, or how strong the lines are, for the luminosity
BRIGHTNESS = 0.30
TILT = (0.03, 0.02)  # calibration errors: slope and curvature, dex over the window's half width, standard deviations
ADDED_NOISE = 0.5  # of a survey spectrum's own noise, at most
GAPS, GAP_LENGTH = 0.5, 40  # gaps per spectrum, and their mean length in pixels, bridged by a line as bad pixels are


class SimulatedSource:
    """Simulated quasars seen by the telescope anew in every training epoch.

    Parameters
    ----------
    light, sigma : ndarray, shape (n, coarse)
        Mean flux and its standard deviation on groups of `group` pixels (`simulation.library`).
    mass : ndarray, shape (n,)
        log10(M_BH / M_Sun), the target.
    pixels : int
        Of the network's input. Every group's value is repeated: the network averages over groups first, and the mean
        of equal values is the value.
    group : int
        Pixels per group.
    """

    def __init__(self, light: np.ndarray, sigma: np.ndarray, mass: np.ndarray, pixels: int, group: int) -> None:
        self.light, self.sigma, self.mass = light, sigma, np.asarray(mass, np.float32)
        self.pixels, self.group = pixels, group

    def __len__(self) -> int:
        return len(self.light)

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Observe these quasars; spectra of shape (n, pixels, 1) and their masses."""
        light = self.light[rows].astype(np.float32)
        n = len(light)
        factor = np.where(rng.random(n) < NOISE_SHARE, 10.0 ** rng.uniform(*NOISE_FACTOR, n), 1.0)
        noise = rng.standard_normal(light.shape, dtype=np.float32)
        noise *= self.sigma[rows]
        noise *= factor.astype(np.float32)[:, np.newaxis]
        seen = (light + noise) * _tilts(rng, n, light.shape[1])
        mass = _moved(rng, seen, self.mass[rows])
        spread = np.repeat(seen, self.group, axis=1)
        missing = self.pixels - spread.shape[1]  # pixels beyond the last whole group, which the network leaves out
        if missing > 0:
            spread = np.concatenate([spread, np.repeat(spread[:, -1:], missing, axis=1)], axis=1)
        return spread[:, : self.pixels, np.newaxis], mass

    def digest(self) -> str:
        """SHA-256 of all that decides what comes out of it."""
        settings = np.array([self.pixels, self.group, NOISE_SHARE, *NOISE_FACTOR, BRIGHTNESS, *TILT])
        return digest([self.light, self.sigma, self.mass, settings])


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
        """Vary these spectra; shape (n, pixels, 1), and their labels."""
        spectra = self.spectra[rows][..., 0].astype(np.float32)
        n, pixels = spectra.shape
        share = (ADDED_NOISE * rng.random((n, 1))).astype(np.float32)
        spectra += share * _local_noise(spectra) * rng.standard_normal(spectra.shape, dtype=np.float32)
        for row in np.flatnonzero(rng.random(n) < GAPS):
            length = min(int(rng.geometric(1.0 / GAP_LENGTH)), pixels // 4)
            start = int(rng.integers(0, pixels - length - 1))
            ends = spectra[row, [start, start + length]]
            spectra[row, start : start + length + 1] = np.linspace(*ends, length + 1)
        spectra *= _tilts(rng, n, pixels)
        label = _moved(rng, spectra, self.label[rows])
        return spectra[..., np.newaxis], label

    def digest(self) -> str:
        """SHA-256 of all that decides what comes out of it."""
        return digest([self.spectra, self.label, np.array([ADDED_NOISE, GAPS, GAP_LENGTH, BRIGHTNESS, *TILT])])


class ConcatSource:
    """Several sources as one; a batch may hold rows of all."""

    def __init__(self, sources: Sequence) -> None:
        self.sources = list(sources)
        self.edges = np.concatenate([[0], np.cumsum([len(source) for source in self.sources])])

    def __len__(self) -> int:
        return int(self.edges[-1])

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Give rows counted through all sources."""
        rows = np.arange(len(self))[rows]
        of = np.searchsorted(self.edges, rows, side="right") - 1
        parts = [
            source.take(rows[of == n] - self.edges[n], rng) for n, source in enumerate(self.sources) if (of == n).any()
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def digest(self) -> str:
        """SHA-256 of all that decides what comes out of it."""
        return " ".join(source.digest() for source in self.sources)


def _moved(rng: np.random.Generator, spectra: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Make spectra, in place, those of brighter or fainter quasars, and give their masses."""
    moved = (BRIGHTNESS * rng.standard_normal(len(spectra))).astype(np.float32)
    spectra *= 10.0 ** moved[:, np.newaxis]
    return mass + np.float32(0.5) * moved


def _tilts(rng: np.random.Generator, n: int, pixels: int) -> np.ndarray:
    """Smooth factors around 1, shape (n, pixels): errors of the flux calibration."""
    x = np.linspace(-1.0, 1.0, pixels, dtype=np.float32)
    slope, bend = (rng.standard_normal((2, n, 1)) * np.reshape(TILT, (2, 1, 1))).astype(np.float32)
    return np.exp(np.float32(np.log(10.0)) * (slope * x + bend * (x**2 - np.float32(1.0 / 3.0))))


def _local_noise(spectra: np.ndarray, width: int = 128) -> np.ndarray:
    """Standard deviation of neighbouring pixels' differences over sqrt(2), in blocks of `width`; shape as given."""
    pixels = spectra.shape[1]
    squares = np.diff(spectra, axis=1, append=spectra[:, -2:-1]) ** 2
    blocks = -(-pixels // width)
    edges = np.linspace(0, pixels, blocks + 1).astype(int)
    means = np.add.reduceat(squares, edges[:-1], axis=1) / np.diff(edges)
    return np.repeat(np.sqrt(0.5 * means), np.diff(edges), axis=1)
