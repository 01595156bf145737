"""Conformal calibration by object: intervals with guaranteed coverage, however good the model behind them is.

A score says how far an interval has to be stretched to hold a known label. With the scores of N objects that the model
has not seen, the interval of a new one is stretched by their (1 + 1/N)-corrected quantile. It then holds the new label
with at least the stated probability, if the objects are exchangeable, in a finite sample and without any other
assumption (Vovk et al. 2005; Lei et al. 2018, JASA 113, 1094). Several spectra of one object are not exchangeable with
those of others, so each object counts once, and its spectra divide its weight (Lee, Barber & Willett 2023, arXiv
2306.06342): the guarantee is for one spectrum, taken at random, of a new object.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Sorted scores of objects the model has not seen.

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
