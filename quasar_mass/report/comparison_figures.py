"""Figures of real beside simulated quasars, which `get_Chen_data.py simulate --check` draws."""

import numpy as np
from matplotlib.figure import Figure

from quasar_mass.report.figures import BLUE, GREY, LINES, ORANGE, WAVELENGTH, name_lines, style

COMPOSITES_SHOWN = 4  # in `lines_beside`


@style
def lines_beside(spectra: list, real: np.ndarray, simulated: np.ndarray) -> Figure:
    """Composites of real quasars beside means of simulated ones, and strength and blueshift of C IV of both.

    Parameters
    ----------
    spectra : list of (name, wavelength, real, simulated)
        Name, rest wavelength in Angstrom, and the two flux densities over their medians, arrays of shape (n,). Four
        are shown, from the smallest to the largest of their blueshifts.
    real, simulated : ndarray, shapes (n, 2), (m, 2)
        Blueshift of C IV in km/s and its equivalent width in Angstrom: of each of `spectra`, and of simulated quasars.
    """
    figure = Figure(figsize=(12.0, 6.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.55, 1.0))
    known = np.flatnonzero(np.isfinite(real).all(axis=1))
    order = known[np.argsort(real[known, 0], kind="stable")]
    chosen = order[np.linspace(0, len(order) - 1, min(COMPOSITES_SHOWN, len(order))).round().astype(int)]
    panels = np.atleast_1d(left.subplots(len(chosen), 1, sharex=True))
    for number, (axes, index) in enumerate(zip(panels, chosen, strict=True), 1):
        _, wavelength, one, other = spectra[index]
        axes.plot(wavelength, one, color=BLUE, lw=1.1, label="real (composite)")
        axes.plot(wavelength, other, color=ORANGE, lw=1.1, label="simulated (mean)")
        axes.set_xlim(1440, 3000)
        inside = (wavelength > 1445) & (wavelength < 2990)
        axes.set_ylim(0.0, 1.12 * max(one[inside].max(), other[inside].max()))
        text = f"{number}: C IV {real[index, 1]:.0f} $\\rm\\AA$, {real[index, 0]:.0f} km/s"
        axes.annotate(text, (0.985, 0.9), xycoords="axes fraction", ha="right", va="top", fontsize=9)
    name_lines(panels[0])
    panels[0].legend(loc="upper center")
    panels[-1].set_xlabel(WAVELENGTH)
    left.supylabel("flux density over its median", fontsize=9)
    axes = right.subplots()
    axes.scatter(*simulated.T, s=7, color=ORANGE, alpha=0.45, lw=0, label=f"simulated: {len(simulated):,} quasars")
    axes.scatter(*real[known].T, s=34, color=BLUE, label=f"real: {len(known)} composites of SDSS quasars")
    for number, index in enumerate(chosen, 1):
        axes.annotate(str(number), real[index], xytext=(6, 4), textcoords="offset points", color=BLUE, fontsize=10)
    axes.set_yscale("log")
    axes.set_xlim(-1500, 4200)
    axes.set_ylim(6, 200)
    axes.set_xlabel("blueshift of the peak of C IV (km/s)")
    axes.set_ylabel("equivalent width of C IV, 1500-1600 $\\rm\\AA$")
    axes.legend(loc="upper right")
    return figure


def spectra_beside(pairs: list, smooth: int = 9) -> Figure:
    """Real and simulated spectra side by side, one pair a row.

    Parameters
    ----------
    pairs : list of (real, simulated)
        Each a tuple (wavelength, flux, ivar, title): rest wavelength in Angstrom, flux density in any unit and its
        inverse variance, 0 for bad pixels, arrays of shape (n,); text. Each spectrum is divided by its
        median inside the window.
    smooth : int
        Pixels of the running mean, weighted by the inverse variance.
    """
    figure = Figure(figsize=(12.0, 1.75 * len(pairs) + 1.1), layout="constrained")
    grid = figure.subplots(len(pairs), 2, sharex=True, squeeze=False)
    for row, pair in zip(grid, pairs, strict=True):
        for axes, (wavelength, flux, ivar, title), colour in zip(row, pair, (BLUE, ORANGE), strict=True):
            use = (ivar > 0) & (wavelength > 1440) & (wavelength < 3395)
            scaled = np.where(use, flux, np.nan) / np.median(flux[use])
            weight = np.where(use, ivar, 0.0)
            total = np.convolve(weight, np.ones(smooth), mode="same")
            summed = np.convolve(weight * np.nan_to_num(scaled), np.ones(smooth), mode="same")
            mean = np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0)
            axes.plot(wavelength, scaled, color=GREY, lw=0.3, alpha=0.6, rasterized=True)
            axes.plot(wavelength, mean, color=colour, lw=0.9)
            # a scale of its own: a red quasar beside a blue one would be flat
            top = np.nanpercentile(mean, 99.7)
            axes.set_ylim(-0.15 * top, 1.35 * top)
            axes.annotate(
                title,
                (0.985, 0.93),
                xycoords="axes fraction",
                ha="right",
                va="top",
                fontsize=8.5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            )
            for _, line, _ in LINES:
                axes.axvline(line, color=GREY, lw=0.6, ls=":", zorder=0)
    for axes, name in zip(grid[0], ("real (sdss)", "simulated"), strict=True):
        name_lines(axes)
        axes.set_title(name, fontsize=11, pad=26)
    for axes in grid[-1]:
        axes.set_xlim(1440, 3395)
        axes.set_xlabel(WAVELENGTH)
    figure.supylabel(f"flux density over its median (grey: pixels; coloured: mean of {smooth} pixels)", fontsize=9)
    return figure
