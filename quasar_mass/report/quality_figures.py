"""Figures of how good masses are and why: attributions and coverage."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quasar_mass.report.figures import BLUE, GREY, ORANGE, UNIT, WAVELENGTH, name_lines, style


@style
def attribution(
    wavelength: np.ndarray, flux: np.ndarray, bins: np.ndarray, parts: np.ndarray, title: str, kind: str
) -> Figure:
    """Draw a spectrum, and below it what each part of it adds to the mass.

    Parameters
    ----------
    wavelength, flux : ndarray, shape (pixels,)
        Rest wavelength in Angstrom, luminosity density in the tables' unit (or relative).
    bins : ndarray, shape (m,)
        Rest wavelengths of the parts.
    parts : ndarray, shape (m,) or (n, m)
        dex per bin, of one spectrum; of many, their mean and the mean of their sizes are drawn.
    title, kind : str
        What it is, and ``simulated`` or ``sdss``.
    """
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1.0))
    smooth = np.convolve(flux, np.ones(9) / 9, mode="same")
    top.plot(wavelength, flux, color=GREY, lw=0.4, alpha=0.6)
    top.plot(wavelength[9:-9], smooth[9:-9], color=BLUE, lw=1.0)
    low, high = np.nanpercentile(flux, [0.3, 99.7])
    top.set_ylim(min(0.0, low), high * 1.15)
    top.set_ylabel(UNIT if parts.ndim == 1 else "luminosity density over its median", fontsize=7.5)
    bottom.axhline(0.0, color=GREY, lw=0.6)
    if parts.ndim == 1:
        bottom.fill_between(bins, parts, 0.0, where=parts > 0, color=BLUE, lw=0, step="mid", label="raises the mass")
        bottom.fill_between(bins, parts, 0.0, where=parts < 0, color=ORANGE, lw=0, step="mid", label="lowers the mass")
        bottom.set_ylabel("part of log mass (dex per bin)", fontsize=8)
    else:
        bottom.fill_between(bins, np.abs(parts).mean(axis=0), 0.0, color=BLUE, alpha=0.4, lw=0, label="mean of sizes")
        bottom.plot(bins, parts.mean(axis=0), color=ORANGE, lw=1.0, label="mean")
        bottom.set_ylabel("part of log mass (dex per bin)", fontsize=8)
    bottom.legend()
    bottom.set_xlabel(WAVELENGTH)
    bottom.set_xlim(1440, 3395)
    name_lines(top)
    for line in top.lines[2:]:
        bottom.axvline(line.get_xdata()[0], color=GREY, lw=0.6, ls=":", zorder=0)
    top.set_title(f"{title} ({kind})", fontsize=11, pad=26)
    return figure


@style
def calibration(curve: pd.DataFrame, kind: str) -> Figure:
    """Draw coverage against confidence (`coverage_tables.curve`)."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0.4, 1.0], [0.4, 1.0], color=ORANGE, lw=1, label="promised")
    errors = 2.0 * curve["error"]
    label = "measured, 2 standard errors"
    axes.errorbar(curve.index, curve["coverage"], errors, fmt="o", ms=4, color=BLUE, label=label)
    axes.set(xlim=(0.4, 1.0), ylim=(0.4, 1.0))
    axes.set(xlabel="confidence of the intervals", ylabel="fraction of labels inside, by object")
    axes.legend(loc="lower right")
    axes.set_title(f"Coverage of the intervals ({kind})", fontsize=11)
    return figure
