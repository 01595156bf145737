"""Spectra for the report's page: binned, and each in one byte a bin, so that thousands fit into one file."""

import base64
import warnings

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
        NaN where a spectrum has no data.

    Returns
    -------
    ndarray, shape (n, NOISE_PARTS)
        Standard deviation of a pixel in each part of the window, NaN where nothing is seen; somewhat too small where
        resampling has made neighbouring pixels alike.
    """
    difference = np.abs(2.0 * flux[:, 2:-2] - flux[:, :-4] - flux[:, 4:])
    parts = [_median(part) for part in np.array_split(difference, NOISE_PARTS, axis=1)]
    return 1.482602 / np.sqrt(6.0) * np.stack(parts, axis=1)


def _median(values: np.ndarray) -> np.ndarray:
    """Median of every row without what is missing; NaN for a row that has nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice encountered", RuntimeWarning)
        return np.nanmedian(values, axis=1)


def pack(flux: np.ndarray, attributions: np.ndarray, rows: pd.DataFrame, grid: Grid) -> tuple[pd.DataFrame, dict]:
    """Bin spectra and what their pixels add to their masses, and write both in bytes.

    Parameters
    ----------
    flux : ndarray, shape (n, grid.size)
        In the tables' unit; NaN where a spectrum has no data.
    attributions : ndarray, shape (n, grid.size)
        `attribution.Attributions.parts`, dex.
    rows : DataFrame
        SN and Z of each spectrum. The noise is made to agree with the S/N where that is known.
    grid : Grid

    Returns
    -------
    scales : DataFrame
        As `rows`, the columns of `SCALES`: flux of byte 1 and of byte 255 (0: no data), error of a bin of byte 255, all
        in `UNIT`; attribution of byte 127, dex.
    arrays : dict
        ``wavelength``, a list in Angstrom; ``flux``, ``noise`` and ``parts``, base64 of bytes (the last ones signed).
    """
    wavelength, total = grouped(flux.astype(float), grid)
    width = grid.size // len(wavelength)
    unit = LUMINOSITY_UNIT / UNIT * (1.0 + rows["Z"].to_numpy(float))
    binned = total / width * unit[:, np.newaxis]
    noise = pixel_noise(flux)
    measured = _median(flux) / np.maximum(_median(noise), 1e-30)
    known = rows["SN"].to_numpy(float)
    agree = np.where(known > 0, np.maximum(measured, 0) / np.where(known > 0, known, 1.0), 1.0)
    noise *= (agree * unit)[:, np.newaxis] / np.sqrt(width)
    parts = grouped(attributions, grid)[1]
    noise = np.nan_to_num(noise)
    scales = {"FLOOR": np.nanmin(binned, axis=1), "TOP": np.nanmax(binned, axis=1)}
    scales |= {"NOISE": noise.max(axis=1), "LARGEST_PART": np.abs(parts).max(axis=1)}
    scales = {name: np.maximum(values, 1e-9) if name != "FLOOR" else values for name, values in scales.items()}

    def relative(values: np.ndarray, low: np.ndarray | float, high: np.ndarray) -> np.ndarray:
        low, high = np.broadcast_to(low, len(values))[:, np.newaxis], high[:, np.newaxis]
        return (values - low) / np.maximum(high - low, 1e-9)

    steps = {
        "flux": np.nan_to_num(1.0 + 254.0 * relative(binned, scales["FLOOR"], scales["TOP"])),
        "noise": 255.0 * relative(noise, 0.0, scales["NOISE"]),
        "parts": 127.0 * relative(parts, 0.0, scales["LARGEST_PART"]),
    }
    arrays = {"wavelength": [round(value, 1) for value in wavelength.tolist()]}
    for name, values in steps.items():
        written = np.rint(values).astype(np.int8 if name == "parts" else np.uint8)
        arrays[name] = base64.b64encode(written.tobytes()).decode()
    return pd.DataFrame(scales, index=rows.index), arrays
