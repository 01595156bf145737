"""Which objects of a catalogue are one quasar, so that it never stands in two parts of a split under two names."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

# arcsec: the width of a BOSS fibre. Two names nearer than that are one quasar, images of one, or in each other's
# spectra. DR16Q merges within 0.5 arcsec; of the 30,920 quasars of the published run the nearest two are 2.1 apart.
FIBRE = 2.0


def group_duplicates(ra: np.ndarray, dec: np.ndarray, row: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Tell the quasars of a catalogue apart: objects that share a spectrum, or a fibre's width of sky, are one.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Positions in degrees; no finite number where unknown.
    row, spectrum : ndarray of int, shape (m,)
        Which object lists which spectrum (`catalogs.spectrum_key`).

    Returns
    -------
    ndarray of int, shape (n,)
        A number for each object, equal for those that are one quasar.
    """
    ra, dec = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    ra, dec, size = ra[known], dec[known], len(ra)
    place = np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    chord = 2.0 * np.sin(np.radians(FIBRE / 3600.0) / 2.0)
    near = known[cKDTree(place).query_pairs(chord, output_type="ndarray")] if len(known) else np.empty((0, 2), int)
    # objects that list the same spectrum stand next to each other once sorted by it
    order = np.argsort(spectrum, kind="stable")
    row, spectrum = np.asarray(row)[order], np.asarray(spectrum)[order]
    shared = spectrum[1:] == spectrum[:-1]
    one, other = (np.concatenate(ends) for ends in zip(near.T, (row[:-1][shared], row[1:][shared]), strict=True))
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(size, size))
    return connected_components(links, directed=False)[1]
