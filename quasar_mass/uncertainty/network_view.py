"""What a network, and the spectra themselves, say about spectra: the input of intervals, flags and pooling."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from quasar_mass.uncertainty.spectrum_measures import SpectrumMeasures


@dataclass(frozen=True, repr=False)
class NetworkView:
    """Spectra as a network sees them; arrays of shape (n,) or (n, k).

    Attributes
    ----------
    redshift : ndarray
    signal_to_noise : ndarray
        Of the table or file where known, else measured on the spectrum itself.
    mass : ndarray
        log10(M_BH / M_Sun), the mean over the networks.
    ens_std : ndarray
        Standard deviation over the networks of an ensemble, dex; 0 for one network.
    hidden : ndarray, shape (n, units)
        Last hidden layer of the first network.
    measures : SpectrumMeasures
    lines_seen : ndarray, shape (n, 3)
        Fraction of each of `seen_lines.LINES` that is seen; 1 where it is not known.
    several : ndarray of bool
        Whether there are other spectra of the object, on one of which its mass may have been measured.
    """

    redshift: np.ndarray
    signal_to_noise: np.ndarray
    mass: np.ndarray
    ens_std: np.ndarray
    hidden: np.ndarray
    measures: SpectrumMeasures
    lines_seen: np.ndarray
    several: np.ndarray

    def __len__(self) -> int:
        return len(self.redshift)

    def rows(self, chosen: np.ndarray) -> "NetworkView":
        """Some of the spectra; `chosen` is an index or mask of shape (n,)."""
        return _by_field(lambda parts: parts[0][chosen], [self])

    @classmethod
    def joined(cls, views: Sequence["NetworkView"]) -> "NetworkView":
        """Several views as one, in their order."""
        return views[0] if len(views) == 1 else _by_field(np.concatenate, views)


def _by_field(function, parts: Sequence):
    """Apply a function to the arrays of several dataclasses, field by field, down to nested ones."""
    kind = type(parts[0])
    columns = ([getattr(part, field.name) for part in parts] for field in fields(kind))
    return kind(*(function(c) if isinstance(c[0], np.ndarray) else _by_field(function, c) for c in columns))
