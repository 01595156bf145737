"""Training spectra that differ in every training epoch, so that a network does not learn the noise of one observation.

Two sources of batches for `EasyAI.train`: simulated quasars with new noise (`SimulatedSource`), and a survey's own
spectra with small changes that keep their labels valid (`AugmentedSource`). `ConcatSource` joins several. The random
numbers come only from the generator that a source is given, which `EasyAI` seeds with stage, training epoch and batch:
a resumed training uses the same spectra.
"""

from collections.abc import Sequence

import numpy as np

from quasar_mass.core.constants import KM_S_PER_DEX
from quasar_mass.core.survey import WINDOW
from quasar_mass.network.batches import digest
from quasar_mass.spectra.network_input import MISSING
from quasar_mass.tables.scratch_array import ScratchArray

# All of these are choices of this project: wide enough to cover the instrument's known errors, not fitted to data.
NOISE_FRACTION = 0.6  # fraction of simulated spectra whose noise differs from that of the survey's observation
NOISE_FACTOR = (-0.9, 0.25)  # log10 of the factor on it, uniform: S/N from half to eight times the survey's
# dex, standard deviation: a quasar's luminosity is changed by this, and its mass by half of it (the virial relation);
# without it, the network infers the luminosity from the noise or from the strength of the lines
BRIGHTNESS = 0.30
TILT = (0.03, 0.02)  # calibration errors: slope and curvature, dex over the window's half width, standard deviations
ADDED_NOISE = 0.5  # of a survey spectrum's own noise, at most
SHIFT = 400.0  # km/s, standard deviation: errors of redshifts, which do not change a width
GAPS, GAP_LENGTH = 0.5, 40  # gaps per spectrum; their mean length in pixels; interpolated as bad pixels are
# Parts that are hidden, as surveys lose them: one or both ends (by redshift, or by another spectrograph), and in a
# fraction of spectra a stretch inside (an arm that failed), with the range of its length in dex.
HIDDEN_ENDS, HIDDEN_INSIDE, INSIDE_LENGTH = 0.35, 0.05, (0.01, 0.10)
# log10 of rest wavelengths (Angstrom) between which a spectrum keeps all, and how often where it shows both stretches
KEPT = ((np.log10((2700.0, 2900.0)), 0.7), (np.log10((1500.0, 1950.0)), 0.3))
_HIDING = (HIDDEN_INSIDE, *INSIDE_LENGTH, MISSING, *(n for limits, share in KEPT for n in (*limits, share)))


class SimulatedSource:
    """Simulated quasars, observed with new noise in every training epoch.

    Parameters
    ----------
    flux, sigma : ndarray, shape (n, groups)
        Mean flux and its standard deviation on groups of `group` pixels (`simulation.library`); NaN where a spectrum
        has no data.
    mass : ndarray, shape (n,)
        log10(M_BH / M_Sun), the target.
    pixels : int
        Of the network's input. Every group's value is repeated `group` times; the network averages it again.
    group : int
        Pixels per group.
    hidden : float
        Fraction of spectra of which one end or both are hidden.
    """

    def __init__(
        self,
        flux: np.ndarray,
        sigma: np.ndarray,
        mass: np.ndarray,
        pixels: int,
        group: int,
        hidden: float = HIDDEN_ENDS,
    ) -> None:
        self.flux, self.sigma, self.mass = flux, sigma, np.asarray(mass, np.float32)
        self.pixels, self.group, self.hidden = pixels, group, hidden

    def __len__(self) -> int:
        return len(self.flux)

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Observe these quasars; spectra of shape (n, pixels, 1), their masses, and weights of 1."""
        flux = self.flux[rows].astype(np.float32)
        n = len(flux)
        moved = _shifts(rng, n, flux.shape[1])
        flux = np.take_along_axis(flux, moved, axis=1)
        factor = np.where(rng.random(n) < NOISE_FRACTION, 10.0 ** rng.uniform(*NOISE_FACTOR, n), 1.0)
        noise = rng.standard_normal(flux.shape, dtype=np.float32)
        noise *= np.take_along_axis(self.sigma[rows], moved, axis=1)
        noise *= factor.astype(np.float32)[:, np.newaxis]
        observed = (flux + noise) * _tilts(rng, n, flux.shape[1])
        mass = _change_brightness(rng, observed, self.mass[rows])
        _hide(rng, observed, self.hidden)
        spectra = np.repeat(observed, self.group, axis=1)
        missing = self.pixels - spectra.shape[1]  # pixels beyond the last whole group, which the network leaves out
        if missing > 0:
            spectra = np.concatenate([spectra, np.repeat(spectra[:, -1:], missing, axis=1)], axis=1)
        return spectra[:, : self.pixels, np.newaxis], mass, np.ones(n, np.float32)

    def digest(self) -> str:
        """SHA-256 of everything that its batches depend on."""
        noise = NOISE_FRACTION, *NOISE_FACTOR
        settings = np.array([self.pixels, self.group, *noise, BRIGHTNESS, *TILT, SHIFT, self.hidden, *_HIDING])
        return digest([self.flux, self.sigma, self.mass, settings])


class AugmentedSource:
    """A survey's spectra with more noise, another luminosity, calibration and other gaps in every training epoch.

    Parameters
    ----------
    spectra : ndarray of float32, or ScratchArray, shape (n, pixels, 1)
        What the network takes (`spectra.network_input`); what is missing stays so, and moves with the spectrum.
    label : ndarray of float32, shape (n,)
        log10(M_BH / M_Sun).
    weight : ndarray of float32, shape (n,), optional
        Of each spectrum in the loss; 1 if left out.
    """

    def __init__(self, spectra: np.ndarray | ScratchArray, label: np.ndarray, weight: np.ndarray | None = None) -> None:
        self.spectra, self.label = spectra, np.asarray(label, np.float32)
        self.weight = np.ones_like(self.label) if weight is None else np.asarray(weight, np.float32)

    def __len__(self) -> int:
        return len(self.spectra)

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Change these spectra; shape (n, pixels, 1), with their labels and weights."""
        spectra = self.spectra[rows][..., 0].astype(np.float32)
        n, pixels = spectra.shape
        spectra = np.take_along_axis(spectra, _shifts(rng, n, pixels), axis=1)
        missing = spectra == MISSING
        spectra[missing] = np.nan  # so that nothing is measured there
        fraction = (ADDED_NOISE * rng.random((n, 1))).astype(np.float32)
        spectra += fraction * _local_noise(spectra) * rng.standard_normal(spectra.shape, dtype=np.float32)
        for row in np.flatnonzero(rng.random(n) < GAPS):
            length = min(int(rng.geometric(1.0 / GAP_LENGTH)), pixels // 4)
            start = int(rng.integers(0, pixels - length - 1))
            gap = slice(start, start + length + 1)
            if not missing[row, gap].any():
                spectra[row, gap] = np.linspace(*spectra[row, [start, start + length]], length + 1)
        spectra *= _tilts(rng, n, pixels)
        label = _change_brightness(rng, spectra, self.label[rows])
        spectra[missing] = MISSING
        return spectra[..., np.newaxis], label, self.weight[rows]

    def digest(self) -> str:
        """SHA-256 of everything that its batches depend on."""
        settings = np.array([ADDED_NOISE, GAPS, GAP_LENGTH, BRIGHTNESS, *TILT, SHIFT])
        return digest([self.spectra, self.label, self.weight, settings])


class ConcatSource:
    """Several sources as one; a batch may hold rows of each."""

    def __init__(self, sources: Sequence) -> None:
        self.sources = list(sources)
        self.edges = np.concatenate([[0], np.cumsum([len(source) for source in self.sources])])

    def __len__(self) -> int:
        return int(self.edges[-1])

    def take(self, rows: np.ndarray | slice, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Give rows, numbered through all sources."""
        rows = np.arange(len(self))[rows]
        number = np.searchsorted(self.edges, rows, side="right") - 1  # of the source of each row
        parts = [
            source.take(rows[number == n] - self.edges[n], rng)
            for n, source in enumerate(self.sources)
            if (number == n).any()
        ]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))

    def digest(self) -> str:
        """SHA-256 of everything that its batches depend on."""
        return " ".join(source.digest() for source in self.sources)


def _change_brightness(rng: np.random.Generator, spectra: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Make the quasars brighter or fainter, in place, and give the masses that belong to the new luminosities."""
    change = (BRIGHTNESS * rng.standard_normal(len(spectra))).astype(np.float32)
    spectra *= 10.0 ** change[:, np.newaxis]
    return mass + np.float32(0.5) * change


def _shifts(rng: np.random.Generator, n: int, pixels: int) -> np.ndarray:
    """Which pixel stands in each pixel of spectra moved in velocity, shape (n, pixels); ends are repeated."""
    step = KM_S_PER_DEX * (WINDOW[1] - WINDOW[0]) / pixels
    by = np.rint(SHIFT / step * rng.standard_normal((n, 1))).astype(int)
    return np.clip(np.arange(pixels) + by, 0, pixels - 1)


def _hide(rng: np.random.Generator, spectra: np.ndarray, ends: float) -> None:
    """Hide parts of some spectra, in place, and mark what they do not have (NaN) as `MISSING`.

    Parameters
    ----------
    rng : Generator
    spectra : ndarray, shape (n, pixels)
    ends : float
        Fraction of spectra of which one end or both are hidden.
    """
    n, pixels = spectra.shape
    log_wavelength = np.linspace(*WINDOW, pixels)
    missing = np.isnan(spectra)
    # what a spectrum keeps: one of the stretches that it shows
    shown = [~missing[:, slice(*np.searchsorted(log_wavelength, limits))].any(axis=1) for limits, _ in KEPT]
    chance = np.array([share for _, share in KEPT]) * np.array(shown).T
    kept = (rng.random((n, 1)) * chance.sum(axis=1, keepdims=True) > np.cumsum(chance, axis=1)).sum(axis=1)
    low, high = np.array([limits for limits, _ in KEPT])[np.minimum(kept, len(KEPT) - 1)].T
    first = WINDOW[0] + (low - WINDOW[0]) * rng.random(n)
    last = high + (WINDOW[1] - high) * rng.random(n)
    which = rng.random((3, n))
    first[(which[0] > ends) | (which[1] < 0.25)] = -np.inf  # a quarter each begins, and ends, with the window
    last[(which[0] > ends) | (which[1] > 0.75)] = np.inf
    length, start = rng.uniform(*INSIDE_LENGTH, n), rng.uniform(*WINDOW, n)
    inside = (which[2] < HIDDEN_INSIDE) & ((start > high) | (start + length < low))
    missing |= (log_wavelength < first[:, np.newaxis]) | (log_wavelength > last[:, np.newaxis])
    between = (log_wavelength > start[:, np.newaxis]) & (log_wavelength < (start + length)[:, np.newaxis])
    missing |= inside[:, np.newaxis] & between
    spectra[missing] = MISSING


def _tilts(rng: np.random.Generator, n: int, pixels: int) -> np.ndarray:
    """Smooth factors around 1, shape (n, pixels): errors of the flux calibration."""
    x = np.linspace(-1.0, 1.0, pixels, dtype=np.float32)
    slope, curvature = (rng.standard_normal((2, n, 1)) * np.reshape(TILT, (2, 1, 1))).astype(np.float32)
    return np.exp(np.float32(np.log(10.0)) * (slope * x + curvature * (x**2 - np.float32(1.0 / 3.0))))


def _local_noise(spectra: np.ndarray, width: int = 128) -> np.ndarray:
    """Standard deviation of neighbouring pixels' differences over sqrt(2), in blocks of `width`; shape as given.

    Pixels without data are NaN; in a block of nothing else, it is 0.
    """
    pixels = spectra.shape[1]
    squares = np.diff(spectra, axis=1, append=spectra[:, -2:-1]) ** 2
    blocks = -(-pixels // width)
    edges = np.linspace(0, pixels, blocks + 1).astype(int)
    known = ~np.isnan(squares)
    squares[~known] = 0.0
    number = np.add.reduceat(known, edges[:-1], axis=1, dtype=int)
    means = np.add.reduceat(squares, edges[:-1], axis=1) / np.maximum(number, 1)
    return np.repeat(np.sqrt(0.5 * means), np.diff(edges), axis=1)
