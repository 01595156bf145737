"""Intervals with guaranteed coverage, flags, and one mass per object: what is learnt from a survey, and its use.

`predict.calibrate` learns a `Calibration` from a survey's training and validation objects and stores it in the model
file. The validation objects are cut in two: one half shows how errors depend on the spectrum (`mixture_density`), the
other half how far the intervals must reach (`Scores`). So their coverage is guaranteed, however good the network is.

An interval holds the mass that one would measure: the label, its measurement error included. It does not include how
far single-epoch virial masses are from true ones: `add_systematic` adds that.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError
from quasar_mass.core.evaluation import EPOCH_GROUPS
from quasar_mass.spectra.seen_lines import MIN_SHOWN
from quasar_mass.uncertainty import mixture_density, training_domain
from quasar_mass.uncertainty.mixture_density import Mixture, MixtureDensity
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import ObjectSpectra, Pooling
from quasar_mass.uncertainty.training_domain import BROAD_ABSORPTION, TrainingDomain

CONFIDENCE = 0.90
# dex: scatter of single-epoch virial masses around those of reverberation mapping, which the labels share; 0.3-0.5 in
# Shen 2013 (BASI 41, 61, section 4), 0.43 in Vestergaard & Peterson 2006 (ApJ 641, 689)
SYSTEMATIC = 0.40
# Whose mass the interval is for: the label of a survey like the training one, whatever its line, or that of one line.
LINES = ("any", "MgII", "CIV")
# What a spectrum shows, by the fractions of C IV and Mg II that are seen: both, Mg II alone, or no Mg II. Intervals are
# calibrated in each of these, and hold in each.
SEEN = ("whole", "MgII", "CIV")
STRATA = (2, 3, 60)  # spectra of an object: lower edges of the groups that are cut in two one by one
MIN_SEEN_OBJECTS = 50  # objects of one of `SEEN`: fewer make its threshold too uncertain; chosen here
MIN_OBJECTS = 9  # objects of a group: fewer cannot guarantee 90 %
WITHIN_THRESHOLD = 0.995  # fraction of the validation objects within the thresholds of the training domain


# --- conformal calibration --------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False)
class Scores:
    """Sorted scores of objects the model has not seen: how far an interval must be stretched to hold a known label.

    An interval of a new object is stretched by the (1 + 1/N)-corrected quantile of the scores of N objects. It then
    holds the new label with at least the stated probability, if the objects are exchangeable, in a finite sample and
    however good the model is (conformal calibration: Vovk et al. 2005; Lei et al. 2018, JASA 113, 1094). Several
    spectra of one object are not exchangeable with those of others, so each object counts once, and its spectra divide
    its weight (Lee, Barber & Willett 2023, arXiv 2306.06342): the guarantee is for one spectrum, taken at random, of a
    new object.

    Attributes
    ----------
    score : ndarray, shape (n,)
        Ascending.
    weight : ndarray, shape (n,)
        One over the number of spectra of the object; they add up to the number of objects.
    """

    score: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, objects: Sequence[Hashable]) -> "Scores":
        """Sort scores, and count every object once.

        Parameters
        ----------
        score : array_like, shape (n,)
        objects : sequence, length n
            Object of each.
        """
        score = np.asarray(score, float)
        order = np.argsort(score, kind="stable")
        return cls(score[order], by_object(objects)[order])

    @property
    def objects(self) -> int:
        """Number of objects."""
        return round(float(self.weight.sum()))

    def threshold(self, confidence: float) -> float:
        """The score that a new object's spectrum does not exceed with at least this probability.

        Parameters
        ----------
        confidence : float
            Between 0 and 1.

        Returns
        -------
        float
            Infinity where there are too few objects (9 are needed for 0.9).
        """
        cumulative = np.cumsum(self.weight) / (self.objects + 1)
        # the tolerance is for rounding, where the confidence is reached exactly
        index = int(np.searchsorted(cumulative, confidence - 1e-12))
        return float(self.score[index]) if index < len(self.score) else float("inf")


def seen_groups(lines_seen: np.ndarray) -> np.ndarray:
    """Which of `SEEN` each spectrum is in, by the fraction of C IV, C III] and Mg II that it shows; shape (n,)."""
    civ, _, mgii = np.asarray(lines_seen).T >= MIN_SHOWN
    return np.where(mgii, np.where(civ, "whole", "MgII"), "CIV")


def by_object(objects: Sequence[Hashable]) -> np.ndarray:
    """One over the number of times each object occurs; shape (n,)."""
    _, of = np.unique(np.asarray(objects).astype(str), return_inverse=True)
    return 1.0 / np.bincount(of)[of] if len(of) else np.empty(0)


def coverage(inside: np.ndarray, objects: Sequence[Hashable]) -> tuple[float, float, int]:
    """Fraction of labels inside their intervals, every object counting once.

    Parameters
    ----------
    inside : ndarray of bool, shape (n,)
    objects : sequence, length n

    Returns
    -------
    coverage, error : float
        `error` is the standard error: over objects, since an object's spectra have one label in common.
    n : int
        Objects.
    """
    names, of = np.unique(np.asarray(objects).astype(str), return_inverse=True)
    if not len(names):
        return float("nan"), float("nan"), 0
    fraction = np.bincount(of, np.asarray(inside, float)) / np.bincount(of)
    error = float(np.std(fraction, ddof=1) / np.sqrt(len(names))) if len(names) > 1 else float("nan")
    return float(fraction.mean()), error, len(names)


# --- a model's calibration --------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False)
class Interval:
    """The calibrated distribution of one line's labels.

    Attributes
    ----------
    density : MixtureDensity
    scores : mapping of str to Scores
        Of single spectra, by the names of `SEEN`; ``"whole"`` stands for those with too few objects.
    pooled : mapping of str to Scores
        Of pooled masses, by method and name of `EPOCH_GROUPS` (``"stacked 60+"``); only of groups with enough objects.
    """

    density: MixtureDensity
    scores: Mapping[str, Scores]
    pooled: Mapping[str, Scores]

    def threshold(self, confidence: float, group: str = "whole") -> float:
        """`Scores.threshold` of single spectra of a group."""
        return self.scores.get(group, self.scores["whole"]).threshold(confidence)


@dataclass(frozen=True, repr=False)
class Calibration:
    """What turns a network's masses into masses with intervals, flags, and one mass per object.

    Attributes
    ----------
    facts : dict
        What it was calibrated on, for people.
    domain : TrainingDomain
    intervals : mapping of str to Interval
        By the names of `LINES`; a line without enough labels is missing.
    pooling : Pooling
    """

    facts: dict
    domain: TrainingDomain
    intervals: Mapping[str, Interval]
    pooling: Pooling

    def features(self, view: NetworkView) -> np.ndarray:
        """What the widths of single spectra's intervals depend on, shape (n, d)."""
        luminosity, hidden = view.measures.log_luminosity, self.domain.project(view.hidden)
        values = view.redshift, view.signal_to_noise, view.mass, luminosity, view.ens_std, hidden, view.lines_seen
        return _features(*values, view.measures.absorption, view.several, self.civ_redshift)

    def object_features(self, objects: ObjectSpectra, mass: np.ndarray) -> np.ndarray:
        """What the widths of pooled masses' intervals depend on, shape (objects, d)."""
        typical = dict(objects.typical)
        hidden = self.domain.project(typical.pop("hidden"))
        return _features(mass=mass, hidden=hidden, **typical, civ_redshift=self.civ_redshift)

    @property
    def civ_redshift(self) -> float:
        """Lowest redshift of an object whose label comes from C IV: from there on, labels scatter more."""
        return float(self.facts.get("civ_redshift", np.inf))

    def bounds(
        self, view: NetworkView, confidence: float = CONFIDENCE, line: str = "any"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Interval of every spectrum's mass.

        Parameters
        ----------
        view : NetworkView
        confidence : float
            Between 0 and 1.
        line : str
            One of `LINES`: the line that the mass would be measured in.

        Returns
        -------
        low, high : ndarray, shape (n,)
            log10(M_BH / M_Sun); infinite where the validation set is too small for this confidence.
        """
        interval = self.interval(line)
        thresholds = self._thresholds(interval, view.lines_seen, confidence)
        return _bounds(interval.density.given(self.features(view)), view.mass, thresholds)

    @staticmethod
    def _thresholds(interval: Interval, lines_seen: np.ndarray, confidence: float) -> np.ndarray:
        """The threshold of each single spectrum, shape (n,)."""
        if not 0.0 < confidence < 1.0:
            raise ModelError("confidence", f"{confidence:g} is no probability; choose a number between 0 and 1")
        of_group = {group: interval.threshold(confidence, group) for group in SEEN}
        return np.array([of_group[group] for group in seen_groups(lines_seen)])

    def pooled(
        self, objects: ObjectSpectra, method: str, confidence: float = CONFIDENCE, line: str = "any"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One mass for each object, with its interval.

        Parameters
        ----------
        objects : ObjectSpectra
        method : str
            One of `pooling.METHODS`.
        confidence, line
            As of `bounds`.

        Returns
        -------
        mass, low, high : ndarray, shape (objects,)
            log10(M_BH / M_Sun); `low` and `high` as of `bounds`.
        """
        interval, mass, counts = self.interval(line), self.pooled_mass(objects, method), objects.counts
        mixture = interval.density.given(self.object_features(objects, mass))
        # without enough objects of a group: as for single spectra, whose intervals are wider
        seen = objects.typical["lines_seen"]
        thresholds = self._thresholds(interval, seen, confidence)
        for name, (first, last) in EPOCH_GROUPS.items():
            rows = (counts >= first) & (counts <= last) & (seen_groups(seen) == "whole")
            if f"{method} {name}" in interval.pooled:
                thresholds[rows] = interval.pooled[f"{method} {name}"].threshold(confidence)
        return mass, *_bounds(mixture, mass, thresholds)

    def pooled_mass(self, objects: ObjectSpectra, method: str) -> np.ndarray:
        """One mass for each object by one of `pooling.METHODS`; shape (objects,)."""
        return np.array([self.pooling.mass(epochs, method) for epochs in objects.epochs.values()])

    def interval(self, line: str) -> Interval:
        """The calibration for one line; ModelError where there is none."""
        if line not in self.intervals:
            known = ", ".join(self.intervals)
            raise ModelError(f"line {line}", f"this model was calibrated with too few labels of it; it has {known}")
        return self.intervals[line]


def _features(
    redshift, signal_to_noise, mass, log_luminosity, ens_std, hidden, lines_seen, absorption, several, civ_redshift
) -> np.ndarray:
    log_sn = np.log10(np.maximum(np.nan_to_num(signal_to_noise, nan=1.0), 0.1))
    luminosity = np.nan_to_num(log_luminosity, nan=44.0)  # no flux at all: fainter than the training set
    values = [log_sn, redshift, mass, luminosity, np.log10(ens_std + 1e-3), hidden, lines_seen]
    # those that models of version 0.3 do not know come last (`MixtureDensity.given`)
    return np.column_stack([*values, np.log10(1.0 + absorption / BROAD_ABSORPTION), redshift >= civ_redshift, several])


def _bounds(mixture: Mixture, mass: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.empty((2, len(mass)))
    for threshold in set(thresholds.tolist()):
        rows = thresholds == threshold
        low[rows], high[rows] = mixture.rows(rows).bounds(-threshold)
    return mass + low, mass + high


def add_systematic(
    mass: np.ndarray, low: np.ndarray, high: np.ndarray, confidence: float, systematic: float = SYSTEMATIC
) -> tuple[np.ndarray, np.ndarray]:
    """Add the virial method's own scatter to intervals, in quadrature on either side: an interval for the true mass.

    Parameters
    ----------
    mass, low, high : ndarray, shape (n,)
    confidence : float
        Of the interval.
    systematic : float
        Standard deviation in dex.

    Returns
    -------
    low, high : ndarray, shape (n,)
    """
    reach = NormalDist().inv_cdf(0.5 * (1.0 + confidence)) * systematic
    # a mass may lie outside its asymmetric interval: that side then counts as 0
    return mass - np.hypot(np.maximum(mass - low, 0.0), reach), mass + np.hypot(np.maximum(high - mass, 0.0), reach)


# --- fitting ----------------------------------------------------------------------------------------------------------
def split_validation(counts: pd.Series, seed: int = 42) -> pd.Series:
    """Cut the validation objects in two: where widths are learnt, and where intervals are calibrated.

    Objects with three spectra and more are few. Those of the first half are not used for the widths, so that they, too,
    can calibrate the pooled masses of their group.

    Parameters
    ----------
    counts : Series of int, index OBJECT
        Spectra of each object.

    Returns
    -------
    Series of str, index OBJECT
        ``"fit"``, ``"calibrate"`` or ``"pooled"``. Below twice `mixture_density.MIN_OBJECTS` objects all calibrate.
    """
    ordered = counts.sort_index()
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(ordered)), np.digitize(ordered.to_numpy(), STRATA)))
    role = np.full(len(ordered), "calibrate", dtype=object)
    if len(ordered) >= 2 * mixture_density.MIN_OBJECTS:
        half = order[::2]
        role[half] = np.where(ordered.to_numpy()[half] >= 3, "pooled", "fit")
    return pd.Series(role, index=ordered.index).reindex(counts.index)


def fit_domain(training: NetworkView, validation: NetworkView, objects: Sequence[str]) -> TrainingDomain:
    """Take the ranges from the training set, and the thresholds of the distances from the validation set.

    Parameters
    ----------
    training, validation : NetworkView
        Their spectra.
    objects : sequence of str
        Object of each validation spectrum.
    """
    domain = training_domain.fit(training)
    distances = domain.hidden_distance(validation.hidden), domain.shape_distance(validation.measures)
    thresholds = [Scores.of(distance, objects).threshold(WITHIN_THRESHOLD) for distance in distances]
    return replace(domain, thresholds=np.array(thresholds))


def fit_interval(
    features: np.ndarray,
    mass: np.ndarray,
    label: np.ndarray,
    objects: np.ndarray,
    role: np.ndarray,
    group: np.ndarray,
) -> Interval:
    """Learn widths from the spectra of roles ``"fit"`` and ``"gapped"``, and calibrate on those of ``"calibrate"``.

    So intervals widen where a line is partly missing, and those of spectra without gaps keep their guarantee.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    mass, label : ndarray, shape (n,)
    objects, role : ndarray of str, shape (n,)
    group : ndarray of str, shape (n,)
        From `seen_groups`.

    Returns
    -------
    Interval
        Of single spectra; without scores of pooled masses.
    """
    residual, fit, check = label - mass, np.isin(role, ("fit", "gapped")), role == "calibrate"
    density = mixture_density.fit(features[fit], residual[fit], by_object(objects[fit]))
    score = -density.given(features).tail(residual)
    scores = {}
    for name in SEEN:
        rows = check & (group == name)
        if name == "whole" or len(set(objects[rows])) >= MIN_SEEN_OBJECTS:
            scores[name] = Scores.of(score[rows], objects[rows])
    return Interval(density, scores, {})
