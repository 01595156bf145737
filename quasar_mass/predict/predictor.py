"""Masses with all that belongs to them: interval, flags, and how much an ensemble's networks disagree."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError
from quasar_mass.core.files import sha256
from quasar_mass.core.survey import Grid
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.ensemble import Ensemble
from quasar_mass.predict.compatibility import model_grid, model_kind
from quasar_mass.predict.inference import NetworkView, StackedSpectra, mean_features, object_spectra, view_spectra
from quasar_mass.uncertainty import spectrum_measures, training_domain
from quasar_mass.uncertainty.calibration import CONFIDENCE, Calibration, add_systematic

NO_CALIBRATION = "training range unknown"


@dataclass(frozen=True)
class Predictor:
    """A network, or several, with its calibration and what is asked of it.

    Attributes
    ----------
    ensemble : Ensemble
    calibration : Calibration or None
        None: masses without intervals, and flags from the file's description alone.
    confidence : float
        Of the intervals.
    line : str
        Whose masses the intervals hold: ``"any"``, ``"MgII"`` or ``"CIV"``.
    total : bool
        Whether to give intervals with the virial method's own scatter as well.
    files : tuple of (Path, str)
        The model files it was loaded from and their SHA-256; empty for a network of this process alone. It is as these
        that it travels to another process, which loads them once.
    """

    ensemble: Ensemble
    calibration: Calibration | None = None
    confidence: float = CONFIDENCE
    line: str = "any"
    total: bool = False
    files: tuple = ()

    def __reduce__(self) -> tuple:
        if not self.files:
            raise ModelError(
                "the model",
                expected="a model file, which other machines can load",
                got="a network of this process alone",
                do="save it, and load a Quoter from the file",
            )
        return _loaded, (self.files, self.confidence, self.line, self.total)

    @classmethod
    def load(cls, paths: Sequence[str | Path] | str | Path, **options) -> "Predictor":
        """Load model files and the calibration that the first of them has for all together.

        Parameters
        ----------
        paths : path or sequence of path
        **options
            `confidence`, `line`, `total`.

        Raises
        ------
        ModelError
            If a file cannot be used, or the calibration has no such line.
        """
        paths = [paths] if isinstance(paths, str | Path) else list(paths)
        ensemble = Ensemble.load(paths)
        files = tuple((Path(path).absolute(), sha256(path)) for path in paths)
        found = cls(ensemble, Calibration.load(paths[0], ensemble.name), files=files, **options)
        if found.calibration is not None:
            found.calibration.interval(found.line)
            bins = found.grid.size // spectrum_measures.bin_width(found.grid)
            needed = {"hidden units": ensemble.units, "bins": bins}
            needed |= {
                "features": 5 + training_domain.PROJECTED,
                "features of pooling": 6 + 2 * training_domain.PROJECTED,
            }
            for name, lengths in found.calibration.lengths().items():
                if lengths != {needed[name]}:
                    expected = f"a calibration for {needed[name]} {name}"
                    got = ", ".join(map(str, sorted(lengths)))
                    raise ModelError(paths[0], expected=expected, got=got, do="calibrate the model again")
        return found

    @classmethod
    def of(cls, model: "EasyAI | Predictor") -> "Predictor":
        """Take a network as it is, without calibration, or a quoter."""
        return model if isinstance(model, Predictor) else cls(Ensemble([model]))

    @property
    def grid(self) -> Grid:
        """Of the spectra."""
        return model_grid(self.ensemble.first)

    @property
    def kind(self) -> str:
        """What it was trained on."""
        return model_kind(self.ensemble.first)

    @property
    def corrected(self) -> bool:
        """Whether its spectra are to be corrected for Galactic extinction."""
        return bool((self.ensemble.first.about or {}).get("extinction_corrected", False))

    def see(self, flux: np.ndarray, redshift: np.ndarray, signal_to_noise: np.ndarray) -> NetworkView:
        """Look at spectra; parameters as of `inference.view_spectra`."""
        return view_spectra(self.ensemble, flux, redshift, signal_to_noise, self.grid)

    def quote(self, seen: NetworkView) -> pd.DataFrame:
        """Give LMBH and what belongs to it, a row for each spectrum."""
        table = pd.DataFrame({"LMBH": seen.look.mass})
        if self.calibration is not None:
            self._add_interval(table, *self.calibration.bounds(seen, self.confidence, self.line))
        if len(self.ensemble.members) > 1:
            table["LMBH_SPREAD"] = seen.look.spread
        return table

    def _add_interval(self, table: pd.DataFrame, low: np.ndarray, high: np.ndarray) -> None:
        known = np.isfinite(low) & np.isfinite(high)
        table["LMBH_LOW"], table["LMBH_HIGH"] = np.where(known, low, np.nan), np.where(known, high, np.nan)
        if self.total:
            ends = add_systematic(table["LMBH"], table["LMBH_LOW"], table["LMBH_HIGH"], self.confidence)
            table["TOTAL_LOW"], table["TOTAL_HIGH"] = ends

    def flags(self, seen: NetworkView, signal_to_noise: np.ndarray) -> list[list[str]]:
        """Say what is unusual about each spectrum.

        Parameters
        ----------
        seen : NetworkView
        signal_to_noise : ndarray, shape (n,)
            As the file or table has it, NaN where it does not say.
        """
        if self.calibration is not None:
            return self.calibration.limits.flags(seen.redshift, signal_to_noise, seen.measures, seen.look.hidden)
        trained = (self.ensemble.first.about or {}).get("trained_on")
        if not trained:
            return [[NO_CALIBRATION] for _ in range(len(seen))]
        ranges = {
            training_domain.REDSHIFT: (seen.redshift, trained["redshift"]),
            training_domain.NOISE: (signal_to_noise, trained["sn"]),
        }
        flags = [[] for _ in range(len(seen))]
        for words, (values, known) in ranges.items():
            for row in np.flatnonzero((values < known[0]) | (values > known[1])) if known else ():
                flags[row].append(words)
        return flags

    def pool(self, names: Sequence[str], seen: NetworkView, stacks: StackedSpectra, method: str = "") -> pd.DataFrame:
        """Give one mass for each object.

        Parameters
        ----------
        names : sequence of str, length n
            Whose each spectrum is.
        seen : NetworkView
        stacks : StackedSpectra
            Of the objects with several spectra.
        method : str
            One of `pooling.METHODS`; the best one for the line if left out, the plain mean without a calibration.

        Returns
        -------
        DataFrame
            Index OBJECT, sorted; N_EPOCHS, LMBH, its interval, LMBH_MEAN and LMBH_SD, the plain mean of the spectra's
            masses and their standard deviation.
        """
        groups = pd.Series(seen.look.mass).groupby(np.asarray(names, dtype=object), sort=True)
        rows_of = {name: np.asarray(rows) for name, rows in groups.indices.items()}
        counts = groups.size()
        table = pd.DataFrame({"N_EPOCHS": counts, "LMBH": groups.mean()})
        if self.calibration is not None:
            epochs = object_spectra(seen, rows_of, stacks, self.ensemble, self.calibration.limits.project)
            method = method or self.calibration.pooling.method(self.line)
            table["LMBH"] = self.calibration.pooled_mass(epochs, method)
            typical = mean_features(seen, rows_of)
            mass, number = table["LMBH"].to_numpy(), counts.to_numpy()
            ends = self.calibration.pooled_bounds(mass, typical, number, method, self.confidence, self.line)
            self._add_interval(table, *ends)
        table["LMBH_MEAN"], table["LMBH_SD"] = groups.mean(), groups.std()
        return table.rename_axis("OBJECT")


@functools.lru_cache(maxsize=1)
def _loaded(files: tuple, confidence: float, line: str, total: bool) -> Predictor:
    """Load a quoter as it was elsewhere; once, however many shares of the work a process gets."""
    for path, expected in files:
        found = sha256(path)
        if found != expected:
            raise ModelError(
                path,
                expected=f"the model file of SHA-256 {expected[:12]}...",
                got=f"{found[:12]}...",
                do="let it stay as it is until all is predicted, on a disk that all machines share",
            )
    return Predictor.load([path for path, _ in files], confidence=confidence, line=line, total=total)
