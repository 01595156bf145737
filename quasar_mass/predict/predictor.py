"""A predictor: a network with its calibration, which gives masses with intervals and flags."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError
from quasar_mass.core.files import sha256
from quasar_mass.core.survey import Grid
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.ensemble import Ensemble
from quasar_mass.predict import calibration_file
from quasar_mass.predict.compatibility import model_grid, model_kind
from quasar_mass.uncertainty import spectrum_measures, training_domain
from quasar_mass.uncertainty.calibration import CONFIDENCE, Calibration, add_systematic
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import ObjectSpectra, StackedSpectra, object_spectra

NO_CALIBRATION = "training range unknown"


@dataclass(frozen=True)
class Predictor:
    """A network, or several, with its calibration and the intervals that are wanted.

    Attributes
    ----------
    ensemble : Ensemble
    calibration : Calibration or None
        None: masses without intervals, and flags from the file's description alone.
    confidence : float
        Of the intervals.
    line : str
        The line whose masses the intervals hold: ``"any"``, ``"MgII"`` or ``"CIV"``.
    total : bool
        Whether to give intervals with the virial method's own scatter as well.
    files : tuple of (Path, str)
        The model files it was loaded from and their SHA-256; empty for a network of this process alone. Other processes
        load the same files.
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
                "the model", "exists in this process alone; save it, and load a Predictor from the file to use several"
            )
        return _loaded, (self.files, self.confidence, self.line, self.total)

    @classmethod
    def load(cls, paths: Sequence[str | Path] | str | Path, **options) -> "Predictor":
        """Load model files, and the calibration that the first of them has for all together.

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
        predictor = cls(ensemble, calibration_file.load(paths[0], ensemble.name), files=files, **options)
        if predictor.calibration is not None:
            predictor.calibration.interval(predictor.line)
            _check_lengths(predictor, paths[0])
        return predictor

    @classmethod
    def of(cls, model: "EasyAI | Predictor") -> "Predictor":
        """A network as it is, without calibration; or a predictor, unchanged."""
        return model if isinstance(model, Predictor) else cls(Ensemble([model]))

    @property
    def grid(self) -> Grid:
        """The rest-frame grid that its spectra are on."""
        return model_grid(self.ensemble.first)

    @property
    def kind(self) -> str:
        """What it was trained on: ``"sdss"``, ``"simulated"`` or ``"unknown"``."""
        return model_kind(self.ensemble.first)

    @property
    def corrected(self) -> bool:
        """Whether its spectra have to be corrected for Galactic extinction."""
        return bool((self.ensemble.first.about or {}).get("extinction_corrected", False))

    def view(self, flux: np.ndarray, redshift: np.ndarray, signal_to_noise: np.ndarray) -> NetworkView:
        """Run the network on spectra, and measure them.

        Parameters
        ----------
        flux : ndarray, shape (n, grid.size)
            In the tables' unit (`to_rest_frame`).
        redshift, signal_to_noise : ndarray, shape (n,)
            `signal_to_noise` is NaN where it is not known; it is then measured.
        """
        with ThreadPoolExecutor(1) as thread:  # network and measures each leave processor time that the other uses
            measuring = thread.submit(spectrum_measures.measure, flux, redshift, self.grid)
            output = self.ensemble.outputs(flux)
            measures = measuring.result()
        known = np.asarray(signal_to_noise, float)
        sn = np.where(np.isfinite(known), known, measures.signal_to_noise)
        return NetworkView(np.asarray(redshift, float), sn, output.mass, output.ens_std, output.hidden, measures)

    def masses(self, view: NetworkView) -> pd.DataFrame:
        """Masses with their intervals.

        Returns
        -------
        DataFrame
            One row per spectrum: LMBH; with a calibration LMBH_LOW and LMBH_HIGH (NaN where the validation set is too
            small for the confidence), and if asked for TOTAL_LOW and TOTAL_HIGH; for several networks LMBH_ENS_STD.
        """
        table = pd.DataFrame({"LMBH": view.mass})
        if self.calibration is not None:
            self._add_interval(table, *self.calibration.bounds(view, self.confidence, self.line))
        if len(self.ensemble.members) > 1:
            table["LMBH_ENS_STD"] = view.ens_std
        return table

    def _add_interval(self, table: pd.DataFrame, low: np.ndarray, high: np.ndarray) -> None:
        known = np.isfinite(low) & np.isfinite(high)
        table["LMBH_LOW"], table["LMBH_HIGH"] = np.where(known, low, np.nan), np.where(known, high, np.nan)
        if self.total:
            ends = add_systematic(table["LMBH"], table["LMBH_LOW"], table["LMBH_HIGH"], self.confidence)
            table["TOTAL_LOW"], table["TOTAL_HIGH"] = ends

    def flags(self, view: NetworkView, signal_to_noise: np.ndarray) -> list[list[str]]:
        """How each spectrum differs from those of the training set.

        Parameters
        ----------
        view : NetworkView
        signal_to_noise : ndarray, shape (n,)
            As the file or table has it, NaN where it does not say.

        Returns
        -------
        list of list of str
            The flags of each spectrum.
        """
        if self.calibration is not None:
            return self.calibration.domain.flags(view.redshift, signal_to_noise, view.measures, view.hidden)
        trained = (self.ensemble.first.about or {}).get("trained_on")
        if not trained:
            return [[NO_CALIBRATION] for _ in range(len(view))]
        ranges = {
            training_domain.FLAG_REDSHIFT: (view.redshift, trained["redshift"]),
            training_domain.FLAG_SN: (signal_to_noise, trained["sn"]),
        }
        flags = [[] for _ in range(len(view))]
        for flag, (values, known) in ranges.items():
            for row in np.flatnonzero((values < known[0]) | (values > known[1])) if known else ():
                flags[row].append(flag)
        return flags

    def catalogue_flags(self, bal_probability: np.ndarray) -> list[list[str]]:
        """Flags from DR16Q's BAL_PROB, shape (n,), beside those measured on the spectra; none without a calibration."""
        known = training_domain.catalogued_bal(bal_probability) & (self.calibration is not None)
        return [[training_domain.FLAG_CATALOGUED_BAL] if bal else [] for bal in known]

    def objects(self, names: Sequence[str], view: NetworkView, stacks: StackedSpectra) -> ObjectSpectra:
        """Group spectra by object, for pooling; needs a calibration. Parameters as of `pool`."""
        return object_spectra(names, view, stacks, self.ensemble.outputs, self.calibration.domain.project)

    def pool(self, names: Sequence[str], view: NetworkView, stacks: StackedSpectra, method: str = "") -> pd.DataFrame:
        """One mass for each object.

        Parameters
        ----------
        names : sequence of str, length n
            Object of each spectrum.
        view : NetworkView
        stacks : StackedSpectra
            Of the objects with several spectra.
        method : str
            One of `pooling.METHODS`. By default the best one for the line, or the plain mean without a calibration.

        Returns
        -------
        DataFrame
            Index OBJECT, sorted; N_EPOCHS, LMBH, its interval, LMBH_MEAN and LMBH_SD, the plain mean of the spectra's
            masses and their standard deviation.
        """
        groups = pd.Series(view.mass).groupby(np.asarray(names, dtype=object), sort=True)
        table = pd.DataFrame({"N_EPOCHS": groups.size(), "LMBH": groups.mean()})
        if self.calibration is not None:
            objects = self.objects(names, view, stacks)
            method = method or self.calibration.pooling.method(self.line)
            table["LMBH"], low, high = self.calibration.pooled(objects, method, self.confidence, self.line)
            self._add_interval(table, low, high)
        table["LMBH_MEAN"], table["LMBH_SD"] = groups.mean(), groups.std()
        return table.rename_axis("OBJECT")


def _check_lengths(predictor: Predictor, path: str | Path) -> None:
    """Refuse a calibration that was made for another network."""
    needed = {
        "hidden units": predictor.ensemble.units,
        "bins": predictor.grid.size // spectrum_measures.bin_width(predictor.grid),
        "features": 5 + training_domain.PROJECTED,
        "features of pooling": 6 + 2 * training_domain.PROJECTED,
    }
    for name, lengths in predictor.calibration.lengths().items():
        if lengths != {needed[name]}:
            got = ", ".join(map(str, sorted(lengths)))
            raise ModelError(
                path, f"holds a calibration for {got} {name}, but needs {needed[name]}; calibrate the model again"
            )


@functools.lru_cache(maxsize=1)
def _loaded(files: tuple, confidence: float, line: str, total: bool) -> Predictor:
    """Load a predictor in another process; once, for all of its tasks."""
    for path, checksum in files:
        if sha256(path) != checksum:
            raise ModelError(
                path, "is not the file that the work began with; leave it unchanged, on a disk that all machines share"
            )
    return Predictor.load([path for path, _ in files], confidence=confidence, line=line, total=total)
