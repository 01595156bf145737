"""A predictor: a network with its calibration, which gives masses with intervals and flags."""

import functools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from quasar_mass.core.errors import ModelError
from quasar_mass.core.survey import Grid
from quasar_mass.network.inference import Ensemble, NetworkOutput
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.loading import load_network
from quasar_mass.predict import calibration_file
from quasar_mass.predict.compatibility import model_grid, model_kind, takes_partial, takes_rest_frame
from quasar_mass.predict.inputs import default_model, model_files
from quasar_mass.spectra import redshift_check
from quasar_mass.spectra.flags import joined
from quasar_mass.spectra.network_input import network_input
from quasar_mass.spectra.objects import as_spectra, for_each
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.rest_frame import luminosity_flags, prepare, spectrum_flags
from quasar_mass.spectra.seen_lines import LINES as SEEN_LINES
from quasar_mass.spectra.spectrum import Spectrum, check_ebv
from quasar_mass.uncertainty import spectrum_measures
from quasar_mass.uncertainty.calibration import CONFIDENCE, LINES, Calibration, add_systematic
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import ObjectSpectra, StackedSpectra, object_spectra
from quasar_mass.uncertainty.training_domain import (
    FLAG_CATALOGUED_BAL,
    FLAG_REDSHIFT,
    FLAG_SN,
    catalogued_bal,
    outside_range,
)

if TYPE_CHECKING:
    from quasar_mass.network.easyai import EasyAI

FLAG_NO_CALIBRATION = "training range unknown"
MAX_BAD_FRACTION = 0.5  # of the window: a spectrum with more replaced pixels gets no mass; chosen here
_WORDS = ("FLAGS", "REASON", "SURVEY_KIND", "MODEL_KIND")
_MASS = ("LMBH", "LMBH_LOW", "LMBH_HIGH")
ROW = ("Z", "SN", "N_SPIKES", *SEEN_LINES, *_MASS, "TOTAL_LOW", "TOTAL_HIGH", "LMBH_ENS_STD", *_WORDS)
ALWAYS = ("Z", "SN", "N_SPIKES", *SEEN_LINES, *_MASS, *_WORDS)  # columns that every result has
# Of several threads one reads spectra, which keeps Python's interpreter busy, and the networks of the others run.
_READING = threading.Lock()


@dataclass(frozen=True, repr=False)
class Batch:
    """Masses of some spectra, with what is needed to pool them.

    Attributes
    ----------
    rows : DataFrame
        One row per spectrum; where there is no mass, LMBH is NaN and REASON is not empty.
    flux : ndarray, shape (n, grid.size), or None
    view : NetworkView or None
        Of the rows with a mass, in order; None where there is none.
    """

    rows: pd.DataFrame
    flux: np.ndarray | None = None
    view: NetworkView | None = None


@dataclass(frozen=True)
class Predictor:
    """A network, or several, with its calibration: gives masses with intervals and flags.

    `load` gives the shipped one, or that of a model file.

    Attributes
    ----------
    ensemble : Ensemble
        The networks, whose mean is the mass.
    calibration : Calibration or None
        What gives intervals and flags. None: masses without intervals, and flags from the file's description alone.
    confidence : float
        Probability that an interval holds the mass, between 0 and 1.
    line : str
        The line whose masses the intervals hold: ``"any"``, ``"MgII"`` or ``"CIV"``.
    total : bool
        Whether to give intervals with the virial method's own scatter as well.
    files : tuple of (Path, str)
        The model files it was loaded from and their SHA-256; empty for a network of this process alone. Other processes
        load the same files.

    Examples
    --------
    A power law with noise, at redshift 1.6:

    >>> import numpy as np
    >>> import quasar_mass as qm
    >>> model = qm.load()
    >>> wavelength = 10 ** np.arange(3.56, 4.0, 1e-4)  # Angstrom, vacuum, observed frame
    >>> noise = np.random.default_rng(1).normal(0.0, 0.5, len(wavelength))
    >>> flux = 5.0 * (wavelength / 5000.0) ** -1.5 + noise  # 1e-17 erg / s / cm2 / Angstrom
    >>> mass = model.predict(wavelength, flux, np.full(len(flux), 4.0), redshift=1.6, ebv=0.03)
    >>> bool(mass.LMBH_LOW < mass.LMBH < mass.LMBH_HIGH)
    True
    >>> mass.MODEL_KIND  # what the model was trained on
    'simulated'
    >>> model.predict(wavelength, flux, np.zeros(len(flux)), redshift=1.6).REASON.split(":")[0]
    'no good pixels'
    """

    ensemble: Ensemble
    calibration: Calibration | None = None
    confidence: float = CONFIDENCE
    line: str = "any"
    total: bool = False
    files: tuple = ()

    def __post_init__(self) -> None:
        if self.line not in LINES:
            raise ModelError("line", f"{self.line!r} is unknown; give one of {', '.join(LINES)}")

    def __repr__(self) -> str:
        names = ", ".join(path.name for path, _ in self.files) or "network of this process"
        calibrated = "calibrated" if self.calibration is not None else "not calibrated"
        return f"<Predictor {names}: trained on {self.kind} spectra, {calibrated}, confidence {self.confidence:g}>"

    def __reduce__(self) -> tuple:
        if not self.files:
            raise ModelError(
                "the model", "exists in this process alone; save it, and predict with the file to use several processes"
            )
        return _loaded, (self.files, self.confidence, self.line, self.total)

    @classmethod
    def load(cls, paths: Sequence[str | Path] | str | Path, **options) -> "Predictor":
        """Load model files, and the calibration that the first of them has for all together.

        Parameters
        ----------
        paths : path or sequence of path
            Or names of shipped models: ``"final"``, ``"intermediate"``.
        **options
            `confidence`, `line`, `total`.

        Raises
        ------
        ModelError
            If a file cannot be used, or the calibration has no such line.
        """
        try:
            paths = model_files([paths] if isinstance(paths, str | Path) else list(paths))
        except TypeError as error:
            raise ModelError("the model", f"{paths!r} is not the name of a model file; give one, or a list") from error
        files = [model_file.read(path) for path in paths]
        ensemble = Ensemble([load_network(file) for file in files])
        calibration = calibration_file.read(files[0], ensemble.name)
        names = tuple((Path(file.path).absolute(), file.sha256) for file in files)
        predictor = cls(ensemble, calibration, files=names, **options)
        if calibration is not None:
            calibration.interval(predictor.line)  # refuses a line that it does not have
        return predictor

    @classmethod
    def of(cls, model: "EasyAI | Predictor") -> "Predictor":
        """A network as it is, without calibration; or a predictor, unchanged."""
        return model if isinstance(model, Predictor) else cls(Ensemble([model]))

    @functools.cached_property
    def in_keras(self) -> "EasyAI":
        """The first network in Keras, which takes gradients."""
        from quasar_mass.network.easyai import EasyAI

        return EasyAI.load(self.files[0][0]) if self.files else self.ensemble.first

    @functools.cached_property
    def grid(self) -> Grid:
        """The rest-frame grid that its spectra are on."""
        return model_grid(self.ensemble.first)

    @functools.cached_property
    def kind(self) -> str:
        """What it was trained on: ``"sdss"``, ``"simulated"`` or ``"unknown"``."""
        return model_kind(self.ensemble.first)

    @functools.cached_property
    def corrected(self) -> bool:
        """Whether its spectra have to be corrected for Galactic extinction."""
        return bool((self.ensemble.first.about or {}).get("extinction_corrected", False))

    @functools.cached_property
    def partial(self) -> bool:
        """Whether Mg II, or C IV and C III], are enough; otherwise spectra must span the window."""
        return takes_partial(self.ensemble.first)

    # --- the masses of spectra ----------------------------------------------------------------------------------------
    def predict(
        self,
        spectra: object,
        flux: ArrayLike | None = None,
        ivar: ArrayLike | None = None,
        *,
        redshift: ArrayLike | None = None,
        ebv: ArrayLike | None = None,
        confidence: float | None = None,
        line: str | None = None,
    ) -> pd.Series | pd.DataFrame:
        """Masses of spectra, with intervals and flags; the same numbers as `quasar_analysis.py predict` gives.

        Parameters
        ----------
        spectra : Spectrum, object of specutils, sequence of these, or array_like of shape (n,)
            One spectrum or several (see `as_spectra`); or, with `flux` and `ivar`, the wavelengths of one: Angstrom,
            vacuum, observed frame, ascending.
        flux : array_like, shape (n,), optional
            1e-17 erg / s / cm2 / Angstrom, not corrected for Galactic extinction.
        ivar : array_like, shape (n,), optional
            Inverse variance of `flux`; 0 where there is no data.
        redshift : float or array_like, optional
            Of each spectrum, instead of its own.
        ebv : float or array_like, optional
            E(B-V) of Schlegel, Finkbeiner & Davis 1998 of each spectrum in magnitudes, instead of its own. Where it is
            not known, nothing is corrected, and a model that was trained on corrected spectra flags it.
        confidence : float, optional
            Of the intervals, between 0 and 1; by default that of this predictor (0.9).
        line : str, optional
            The line whose masses the intervals hold: ``"any"``, ``"MgII"`` or ``"CIV"``; by default this predictor's.

        Returns
        -------
        Series, or DataFrame with a row for each of several spectra
            Z; SN, the median signal-to-noise ratio per pixel; N_SPIKES, the number of pixels removed as spikes;
            SEEN_CIV, SEEN_CIII and SEEN_MgII, the fraction of each line that gaps have left; LMBH,
            log10(M_BH / M_Sun), the single-epoch mass that one would measure; LMBH_LOW and LMBH_HIGH, its interval;
            FLAGS, reasons to doubt it, the most serious one first; REASON, why there is no mass, and LMBH is then NaN;
            SURVEY_KIND, what the spectrum says of itself (``"sdss"``, ``"desi"``, ``"simulated"``, or ``"unknown"``),
            and MODEL_KIND, what the model was trained on (`kind`). An ensemble adds LMBH_ENS_STD, `total` TOTAL_LOW
            and TOTAL_HIGH.

        Raises
        ------
        SpectrumError
            If the arrays cannot be a spectrum: unequal lengths, wavelengths that do not ascend, a negative E(B-V).
        ModelError
            If the model has no such line.
        """
        if flux is not None:
            spectra = Spectrum(spectra, flux, ivar)
        spectra = as_spectra(spectra)
        several = isinstance(spectra, list)
        spectra = spectra if several else [spectra]
        if ebv is not None:
            ebv = for_each(ebv, len(spectra), "ebv")
            check_ebv(ebv)
        redshift = for_each(np.nan if redshift is None else redshift, len(spectra), "redshift")
        options = {"confidence": confidence, "line": line}
        predictor = replace(self, **{key: value for key, value in options.items() if value is not None})
        table = predictor.from_spectra(spectra, redshift, ebv).rows.assign(MODEL_KIND=self.kind)
        table = table.reindex(columns=[name for name in ROW if name in table or name in ALWAYS])
        return table if several else table.iloc[0].rename(None)

    def from_spectra(
        self,
        spectra: Sequence[Spectrum | SpectrumRequest],
        redshift: Sequence[float] | None = None,
        ebv: Sequence[float] | None = None,
    ) -> Batch:
        """Masses of spectra, or of those in files.

        Parameters
        ----------
        spectra : sequence of Spectrum or SpectrumRequest, length n
        redshift : sequence of float, length n, optional
            Instead of their own; NaN: their own.
        ebv : sequence of float, length n, optional
            Instead of their own.
        """
        redshift, ebv = redshift or [np.nan] * len(spectra), ebv or [None] * len(spectra)
        rows, flags = [], []
        flux = np.zeros((len(spectra), self.grid.size), np.float32)
        with _READING:
            for n, source in enumerate(spectra):
                how = {"correct_extinction": self.corrected, "partial": self.partial}
                prepared = prepare(source, self.grid, redshift=redshift[n], ebv=ebv[n], **how)
                spec_id, kind = (prepared.spectrum.spec_id, prepared.spectrum.kind) if prepared.spectrum else ("", "")
                sn, n_spikes, seen, reason, own = np.nan, np.nan, [np.nan] * len(SEEN_LINES), prepared.reason, []
                if not prepared.error:
                    rest = prepared.rest_frame
                    sn, n_spikes, seen, flux[n] = rest.signal_to_noise, rest.n_spikes, rest.lines_seen, rest.flux
                    reason = bad_pixels(rest.n_bad / rest.n_pixels)
                    own = spectrum_flags(prepared.spectrum) + prepared.flags
                    own += luminosity_flags(rest.flux, prepared.redshift, self.grid)
                rows.append((spec_id, prepared.redshift, sn, n_spikes, *seen, reason, kind))
                flags.append(own)
        table = pd.DataFrame(rows, columns=["EPOCH", "Z", "SN", "N_SPIKES", *SEEN_LINES, "REASON", "SURVEY_KIND"])
        return self.from_rest_frame(table.astype({"N_SPIKES": "Int64"}), flux, flags)

    def from_rest_frame(self, rows: pd.DataFrame, flux: np.ndarray, flags: Sequence[Sequence[str]]) -> Batch:
        """Masses of spectra on the grid.

        Parameters
        ----------
        rows : DataFrame of n rows
            With Z, SN, the columns of `seen_lines.LINES` (NaN where they are not known) and REASON; a row with a reason
            gets no mass. If there is a column SEVERAL, as `several` of `view`.
        flux : ndarray, shape (n, grid.size)
            In the tables' unit (`to_rest_frame`).
        flags : sequence of n sequences of str
            What is known already, to which those of this predictor are added.
        """
        use = np.flatnonzero((rows["REASON"] == "").to_numpy())
        if not len(use):
            return Batch(rows.assign(LMBH=np.nan, FLAGS=[joined(words) for words in flags]))
        sn = rows["SN"].to_numpy(float)[use]
        seen = rows[list(SEEN_LINES)].to_numpy(float)[use]
        several = rows["SEVERAL"].to_numpy(bool)[use] if "SEVERAL" in rows else None
        view = self.view(flux[use], rows["Z"].to_numpy(float)[use], sn, seen, several)
        rows = rows.join(self.masses(view).set_index(rows.index[use]))
        own = dict(zip(use, self.flags(view, sn), strict=True))
        rows = rows.assign(FLAGS=[joined([*own.get(n, ()), *words]) for n, words in enumerate(flags)])
        return Batch(rows, flux=flux[use], view=view)

    # --- the steps ----------------------------------------------------------------------------------------------------
    def view(
        self,
        flux: np.ndarray,
        redshift: np.ndarray,
        signal_to_noise: np.ndarray,
        lines_seen: np.ndarray | None = None,
        several: np.ndarray | None = None,
    ) -> NetworkView:
        """Run the network on spectra, and measure them.

        Parameters
        ----------
        flux : ndarray, shape (n, grid.size)
            In the tables' unit (`to_rest_frame`).
        redshift, signal_to_noise : ndarray, shape (n,)
            `signal_to_noise` is NaN where it is not known; it is then measured.
        lines_seen : ndarray, shape (n, 3), optional
            Fraction of each of `seen_lines.LINES` that is seen; unknown (NaN) counts as all of it.
        several : ndarray of bool, shape (n,), optional
            Whether the object has other spectra, on one of which its mass may have been measured.
        """
        with ThreadPoolExecutor(1) as thread:  # network and measures each leave processor time that the other uses
            measuring = thread.submit(spectrum_measures.measure, flux, redshift, self.grid)
            output = self.outputs(flux, redshift)
            measures = measuring.result()
        known = np.asarray(signal_to_noise, float)
        sn = np.where(np.isfinite(known), known, measures.signal_to_noise)
        seen = np.full((len(flux), len(SEEN_LINES)), np.nan) if lines_seen is None else np.asarray(lines_seen, float)
        several = np.zeros(len(flux), bool) if several is None else np.asarray(several, bool)
        values = output.mass, output.ens_std, output.hidden, measures, np.nan_to_num(seen, nan=1.0), several
        return NetworkView(np.asarray(redshift, float), sn, *values)

    def outputs(self, flux: np.ndarray, redshift: np.ndarray) -> NetworkOutput:
        """Run the network on spectra in the tables' unit, shape (n, grid.size)."""
        return self.ensemble.outputs(self.inputs(flux, redshift))

    def inputs(self, flux: np.ndarray, redshift: np.ndarray) -> np.ndarray:
        """What the network takes of spectra in the tables' unit; shape (n, grid.size)."""
        return network_input(flux, redshift) if takes_rest_frame(self.ensemble.first) else flux

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
        """How each spectrum differs from those of the training set, and whether its redshift is doubtful.

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
        measures = view.measures
        shifted = redshift_check.flags(measures.line_velocity, measures.line_significance, measures.line_evidence)
        outside = self._outside_training(view, signal_to_noise)
        return [words + more for words, more in zip(outside, shifted, strict=True)]

    def _outside_training(self, view: NetworkView, signal_to_noise: np.ndarray) -> list[list[str]]:
        """Flags of the training set's ranges."""
        if self.calibration is not None:
            return self.calibration.domain.flags(view, signal_to_noise)
        trained = (self.ensemble.first.about or {}).get("trained_on")
        if not trained:
            return [[FLAG_NO_CALIBRATION] for _ in range(len(view))]
        values = {FLAG_REDSHIFT: (view.redshift, trained["redshift"]), FLAG_SN: (signal_to_noise, trained["sn"])}
        outside = {flag: outside_range(value, known) for flag, (value, known) in values.items() if known}
        return [[flag for flag, rows in outside.items() if rows[row]] for row in range(len(view))]

    def catalogue_flags(self, bal_probability: np.ndarray) -> list[list[str]]:
        """Flags from DR16Q's BAL_PROB, shape (n,), in addition to those measured; none without a calibration."""
        known = catalogued_bal(bal_probability) & (self.calibration is not None)
        return [[FLAG_CATALOGUED_BAL] if bal else [] for bal in known]

    def objects(self, names: Sequence[str], view: NetworkView, stacks: StackedSpectra) -> ObjectSpectra:
        """Group spectra by object, for pooling; needs a calibration. Parameters as of `pool`."""
        return object_spectra(names, view, stacks, self.outputs, self.calibration.domain.project)

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


def bad_pixels(fraction: float) -> str:
    """The reason to refuse a spectrum with this fraction of replaced pixels; empty where there is none."""
    if fraction <= MAX_BAD_FRACTION:
        return ""
    return f"too many bad pixels: {fraction:.0%} of the window, more than {MAX_BAD_FRACTION:.0%}"


def load(path: str | Path | Sequence[str | Path] | None = None, **options) -> Predictor:
    """Load a model.

    Parameters
    ----------
    path : path or sequence of path, optional
        A model file, or the name of a shipped model: ``"final"``, the default, predicts the mass that the Chen+ 2019
        table would have; ``"intermediate"`` predicts the mass from Mg II. Of several, the mean is taken.
    **options
        `confidence`, `line` and `total`, as of `Predictor`.

    Raises
    ------
    ModelError
        If a file does not exist or cannot be used.

    Examples
    --------
    >>> load("intermediate")
    <Predictor Best_ANN_intermediate_stage.h5: trained on simulated spectra, calibrated, confidence 0.9>
    """
    return Predictor.load(default_model() if path is None else path, **options)


@functools.lru_cache(maxsize=1)
def _loaded(files: tuple, confidence: float, line: str, total: bool) -> Predictor:
    """Load a predictor in another process; once, for all of its tasks."""
    predictor = Predictor.load([path for path, _ in files], confidence=confidence, line=line, total=total)
    for (path, checksum), (_, now) in zip(files, predictor.files, strict=True):
        if now != checksum:
            raise ModelError(
                path, "is not the file that the work began with; leave it unchanged, on a disk that all machines share"
            )
    return predictor
