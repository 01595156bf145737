"""Spectra as a calibrated network sees them: masses, hidden layer and what the spectra show, streamed from a survey."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from quasar_mass.core.files import progress
from quasar_mass.core.parallel import prefetch
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network.ensemble import Ensemble, NetworkOutput
from quasar_mass.tables import survey_tables
from quasar_mass.uncertainty import spectrum_measures
from quasar_mass.uncertainty.pooling import MIN_SN, Epochs, stack_weights

BATCH = 1024  # spectra in memory at a time


@dataclass(frozen=True)
class NetworkView:
    """Spectra after a network has looked at them; arrays of shape (n,) or (n, k).

    Attributes
    ----------
    redshift : ndarray
    signal_to_noise : ndarray
        Of the table or file where known, else measured on the spectrum itself.
    look : NetworkOutput
    measures : unusual.Measures
    """

    redshift: np.ndarray
    signal_to_noise: np.ndarray
    look: NetworkOutput
    measures: spectrum_measures.SpectrumMeasures

    def __len__(self) -> int:
        return len(self.redshift)

    def rows(self, chosen: np.ndarray) -> "NetworkView":
        """Some of them."""
        parts = {name: getattr(self, name) for name in ("look", "measures")}
        parts = {
            name: type(part)(*(getattr(part, field.name)[chosen] for field in fields(part)))
            for name, part in parts.items()
        }
        return NetworkView(self.redshift[chosen], self.signal_to_noise[chosen], **parts)

    @classmethod
    def joined(cls, parts: list["NetworkView"]) -> "NetworkView":
        """Several as one."""
        if len(parts) == 1:
            return parts[0]

        def join(name: str):
            these = [getattr(part, name) for part in parts]
            kind = type(these[0])
            return kind(*(np.concatenate([getattr(one, field.name) for one in these]) for field in fields(kind)))

        plain = (np.concatenate([getattr(part, name) for part in parts]) for name in ("redshift", "signal_to_noise"))
        return cls(*plain, join("look"), join("measures"))


def view_spectra(
    ensemble: Ensemble, flux: np.ndarray, redshift: np.ndarray, signal_to_noise: np.ndarray, grid: Grid
) -> NetworkView:
    """Look at spectra.

    Parameters
    ----------
    ensemble : Ensemble
    flux : ndarray, shape (n, grid.size)
    redshift, signal_to_noise : ndarray, shape (n,)
        `signal_to_noise` NaN where it is not known.
    grid : Grid
    """
    with ThreadPoolExecutor(1) as beside:  # both leave gaps that the other fills
        waiting = beside.submit(spectrum_measures.measure, flux, redshift, grid)
        look = ensemble.look(flux)
        measures = waiting.result()
    known = np.asarray(signal_to_noise, float)
    noise = np.where(np.isfinite(known), known, measures.signal_to_noise)
    return NetworkView(np.asarray(redshift, float), noise, look, measures)


def stream(
    survey: Survey, ensemble: Ensemble, objects: set[str], *, quiet: bool = False, what: str = "masses"
) -> Iterator[tuple[pd.DataFrame, np.ndarray, NetworkView]]:
    """Look at all spectra of some of a survey's objects, some at a time.

    Yields
    ------
    DataFrame
        The rows of spectra.parquet, without the flux.
    ndarray
        Their flux.
    NetworkView
    """
    grid = survey_tables.read_grid(survey_tables.read_about(survey.spectra))
    total = survey_tables.count_spectra(survey.spectra)
    with progress(None, total=total, what=what, unit="spectra", quiet=quiet) as bar:
        for frame, flux in prefetch(survey_tables.iterate_spectra(survey.spectra, BATCH)):
            bar.update(len(frame))
            known = frame["OBJECT"].isin(objects).to_numpy()
            frame, flux = frame[known].reset_index(drop=True), flux[known]
            noise = frame["SN"].to_numpy(np.float64)
            if len(frame):
                yield frame, flux, view_spectra(ensemble, flux, frame["Z"].to_numpy(), noise, grid)


class StackedSpectra:
    """Objects with several spectra: their stacks, summed up as the spectra pass by.

    Parameters
    ----------
    pixels : int
        Of the grid.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._sums: dict[str, np.ndarray] = {}
        self._weights: dict[str, float] = {}

    def add(self, objects: np.ndarray, flux: np.ndarray, signal_to_noise: np.ndarray) -> None:
        """Add spectra to the stacks of their objects."""
        for name, row, noise in zip(objects, flux, signal_to_noise, strict=True):
            weight = max(float(noise), MIN_SN) ** 2
            if name not in self._sums:
                self._sums[name], self._weights[name] = np.zeros(self.pixels), 0.0
            self._sums[name] += weight * row
            self._weights[name] += weight

    def flux(self, name: str) -> np.ndarray:
        """An object's stack, float32 of shape (pixels,)."""
        return (self._sums[name] / self._weights[name]).astype(np.float32)

    def names(self) -> list[str]:
        """The objects, in the order in which they came."""
        return list(self._sums)


def object_spectra(
    seen: NetworkView, rows_of: dict[str, np.ndarray], stacks: StackedSpectra, ensemble: Ensemble, project
) -> dict[str, Epochs]:
    """Bring together what is known of each object's spectra.

    Parameters
    ----------
    seen : NetworkView
        Spectra.
    rows_of : dict of str to ndarray of int
        Which of them are each object's.
    stacks : StackedSpectra
        Of the objects with several spectra.
    ensemble : Ensemble
    project : callable
        `limits.Limits.project`.
    """
    hidden = project(seen.look.hidden)
    several = [name for name, rows in rows_of.items() if len(rows) > 1]
    looks = {}
    for start in range(0, len(several), BATCH):
        part = several[start : start + BATCH]
        look = ensemble.look(np.stack([stacks.flux(name) for name in part]))
        projected = project(look.hidden)
        looks |= {name: (float(look.mass[i]), projected[i]) for i, name in enumerate(part)}
    found = {}
    for name, rows in rows_of.items():
        mass, noise = seen.look.mass[rows], seen.signal_to_noise[rows]
        stack = looks.get(name) or (float(mass[0]), hidden[rows[0]])
        found[name] = Epochs(mass, noise, hidden[rows], float(seen.redshift[rows[0]]), *stack)
    return found


def mean_features(seen: NetworkView, rows_of: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Typical features of each object's spectra, for the width of the pooled mass's interval; arrays of (objects,).

    The error of the label that one would measure is that of one spectrum; so these are means over single spectra.
    """
    weights = {name: stack_weights(seen.signal_to_noise[rows]) for name, rows in rows_of.items()}

    def mean(values: np.ndarray) -> np.ndarray:
        return np.array([weights[name] @ values[rows] for name, rows in rows_of.items()])

    return {
        "redshift": np.array([seen.redshift[rows[0]] for rows in rows_of.values()]),
        "signal_to_noise": np.array([np.median(seen.signal_to_noise[rows]) for rows in rows_of.values()]),
        "log_luminosity": mean(
            np.nan_to_num(seen.measures.log_luminosity, nan=np.nanmedian(seen.measures.log_luminosity))
        ),
        "spread": mean(seen.look.spread),
        "hidden": mean(seen.look.hidden),
    }
