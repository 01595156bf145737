"""What a network is given of a spectrum on the rest-frame grid: its luminosity density, 0 where it has no data."""

import numpy as np

# The tables' unit lacks a factor 1 + z of the luminosity density in the rest frame (`rest_frame.to_rest_frame`). The
# network gets that factor over its value at the redshift of the mass table's typical quasar.
TYPICAL_REDSHIFT = 1.65
MISSING = 0.0  # a network learns that nothing is seen there; no quasar's spectrum is exactly 0 over many pixels
INPUT = {"times": f"(1 + z) / {1.0 + TYPICAL_REDSHIFT:g}", "missing": MISSING}  # as a model file describes it


def network_input(flux: np.ndarray, redshift: np.ndarray | float) -> np.ndarray:
    """Give spectra as a network takes them.

    Parameters
    ----------
    flux : ndarray of float32, shape (n, grid.size)
        In the tables' unit; NaN where a spectrum has no data.
    redshift : array_like, shape (n,)

    Returns
    -------
    ndarray of float32, shape (n, grid.size)
        Luminosity density in the rest frame, in 2.65 times `LUMINOSITY_UNIT`; `MISSING` in place of NaN.
    """
    spectra = in_rest_frame(flux, np.reshape(redshift, (-1, 1)))
    np.copyto(spectra, np.float32(MISSING), where=np.isnan(spectra))
    return spectra


def in_rest_frame(flux: np.ndarray, redshift: np.ndarray | float) -> np.ndarray:
    """Turn the tables' unit into that of `network_input`; the type of `flux` stays."""
    return flux * ((1.0 + np.asarray(redshift, float)) / (1.0 + TYPICAL_REDSHIFT)).astype(flux.dtype)
