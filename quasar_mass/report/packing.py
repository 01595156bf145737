"""Spectra for the report's page: binned, and each in one byte a bin, so that thousands fit into one file."""

import base64

import numpy as np
import pandas as pd

from quasar_mass.core.constants import LUMINOSITY_UNIT
from quasar_mass.core.survey import Grid
from quasar_mass.report.attribution import grouped

NOISE_PARTS = 33  # of the window, in which the noise is measured
UNIT = 1e42  # erg / s / Angstrom
SCALES = ("FLOOR", "TOP", "NOISE", "LARGEST_PART")


def pixel_noise(flux: np.ndarray) -> np.ndarray:
    """Measure the noise of pixels from the flux alone (DER_SNR; Stoehr et al. 2008, ASPC 394, 505).

    Parameters
    ----------
    flux : ndarray, shape (n, pixels)

    Returns
    -------
    ndarray, shape (n, NOISE_PARTS)
        Standard deviation of a pixel, in each part of the window; somewhat too small where resampling has made
        neighbouring pixels alike.
    """
    difference = np.abs(2.0 * flux[:, 2:-2] - flux[:, :-4] - flux[:, 4:])
    parts = np.array_split(difference, NOISE_PARTS, axis=1)
    return 1.482602 / np.sqrt(6.0) * np.stack([np.median(part, axis=1) for part in parts], axis=1)


def pack(flux: np.ndarray, attributions: np.ndarray, rows: pd.DataFrame, grid: Grid) -> tuple[pd.DataFrame, dict]:
    """Bin spectra and what their pixels add to their masses, and write both in bytes.

    Parameters
    ----------
    flux : ndarray, shape (n, grid.size)
        In the tables' unit.
    attributions : ndarray, shape (n, grid.size)
        `attribution.Attributions.parts`, dex.
    rows : DataFrame
        SN and Z of each spectrum. The noise is made to agree with the S/N where that is known.
    grid : Grid

    Returns
    -------
    scales : DataFrame
        As `rows`, the columns of `SCALES`: flux of byte 0 and of byte 255, error of a bin of byte 255, all in `UNIT`;
        attribution of byte 127, dex.
    arrays : dict
        ``wavelength``, a list in Angstrom; ``flux``, ``noise`` and ``parts``, base64 of bytes (the last ones signed).
    """
    wavelength, total = grouped(flux.astype(float), grid)
    width = grid.size // len(wavelength)
    unit = LUMINOSITY_UNIT / UNIT * (1.0 + rows["Z"].to_numpy(float))
    binned = total / width * unit[:, np.newaxis]
    noise = pixel_noise(flux)
    measured = np.median(flux, axis=1) / np.maximum(np.median(noise, axis=1), 1e-30)
    known = rows["SN"].to_numpy(float)
    agree = np.where(known > 0, np.maximum(measured, 0) / np.where(known > 0, known, 1.0), 1.0)
    noise *= (agree * unit)[:, np.newaxis] / np.sqrt(width)
    parts = grouped(attributions, grid)[1]
    scales = {"FLOOR": binned.min(axis=1), "TOP": binned.max(axis=1)}
    scales |= {"NOISE": noise.max(axis=1), "LARGEST_PART": np.abs(parts).max(axis=1)}
    scales = {name: np.maximum(values, 1e-9) if name != "FLOOR" else values for name, values in scales.items()}

    def relative(values: np.ndarray, low: np.ndarray | float, high: np.ndarray, steps: int) -> str:
        low, high = np.broadcast_to(low, len(values))[:, np.newaxis], high[:, np.newaxis]
        scaled = np.rint(steps * (values - low) / np.maximum(high - low, 1e-9))
        return base64.b64encode(scaled.astype(np.int16).astype(np.uint8).tobytes()).decode()

    arrays = {
        "wavelength": [round(value, 1) for value in wavelength.tolist()],
        "flux": relative(binned, scales["FLOOR"], scales["TOP"], 255),
        "noise": relative(noise, 0.0, scales["NOISE"], 255),
        "parts": relative(parts, 0.0, scales["LARGEST_PART"], 127),
    }
    return pd.DataFrame(scales, index=rows.index), arrays
