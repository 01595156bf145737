"""Finds objects of a catalogue that are the same quasar, so that no quasar is in two splits under two names."""

import numpy as np

# Diameter of a BOSS fibre in arcsec. Two objects closer than that are one quasar, images of one, or contaminate each
# other's spectra. DR16Q merges within 0.5 arcsec; the closest two of the published run's 30,920 quasars are 2.1 apart.
FIBRE = 2.0


def group_duplicates(ra: np.ndarray, dec: np.ndarray, row: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Number the quasars of a catalogue: objects that share a spectrum, or are closer than a fibre, are one quasar.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Positions in degrees; not finite where unknown.
    row, spectrum : ndarray of int, shape (m,)
        Which object lists which spectrum (`catalogs.spectrum_key`).

    Returns
    -------
    ndarray of int, shape (n,)
        A number for each object, equal for objects that are one quasar.
    """
    from scipy.sparse import coo_array  # not at the top: only who builds tables needs SciPy
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    ra, dec = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    ra, dec, size = ra[known], dec[known], len(ra)
    direction = np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    chord = 2.0 * np.sin(np.radians(FIBRE / 3600.0) / 2.0)
    near = known[cKDTree(direction).query_pairs(chord, output_type="ndarray")] if len(known) else np.empty((0, 2), int)
    # sorted by spectrum, objects that list the same one are neighbours
    order = np.argsort(spectrum, kind="stable")
    row, spectrum = np.asarray(row)[order], np.asarray(spectrum)[order]
    shared = spectrum[1:] == spectrum[:-1]
    left, right = (np.concatenate(ends) for ends in zip(near.T, (row[:-1][shared], row[1:][shared]), strict=True))
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(size, size))
    return connected_components(links, directed=False)[1]
