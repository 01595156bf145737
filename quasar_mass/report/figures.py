"""Figures of spectra, populations, training and residuals, drawn from arrays; no file is read.

Every figure says ``simulated`` or ``sdss``: the parameter ``kind``.
"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quasar_mass.core import constants
from quasar_mass.core.files import locked_write

# Lines of the window, and how high to write each name so that neighbours do not overlap.
LINES = (
    ("C IV", constants.C_IV, 0),
    ("He II", constants.HE_II, 1),
    ("O III]", constants.O_III, 0),
    ("Al III", constants.AL_III, 1),
    ("C III]", constants.C_III, 0),
    ("C II]", constants.C_II, 0),
    ("Fe II", constants.FE_II, 0),
    ("Mg II", constants.MG_II, 0),
)
LABEL = r"label $\log_{10}(M_{\rm BH}/M_\odot)$"
PREDICTED = r"predicted $\log_{10}(M_{\rm BH}/M_\odot)$"
RESIDUAL = "prediction - label (dex)"
WAVELENGTH = r"rest wavelength ($\rm\AA$)"
COMPOSITES_SHOWN = 4  # in `lines_beside`
BLUE, ORANGE, GREY = "#1f4e79", "#d1661d", "#8a8a8a"
# How all figures look: a decorator of the functions that draw them.
style = matplotlib.rc_context(
    {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": 8}
)
UNIT = r"luminosity density ($10^{-26}$ erg s$^{-1}$ cm$^{-2}$ $\rm\AA^{-1}$ $D_L^2$/Mpc$^2$)"


def _new(width: float = 9.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    return figure, axes


def name_lines(axes: Axes) -> None:
    """Mark the lines of `LINES`; their names stand above the frame, on two levels."""
    for name, wavelength, level in LINES:
        axes.axvline(wavelength, color=GREY, lw=0.6, ls=":", zorder=0)
        axes.annotate(
            name,
            (wavelength, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3 + 11 * level),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color="#444444",
        )


@style
def spectrum(wavelength: np.ndarray, flux: np.ndarray, title: str, kind: str, smooth: int = 7) -> Figure:
    """One spectrum in the rest frame, and its running mean.

    Parameters
    ----------
    wavelength, flux : ndarray, shape (n,)
        Rest wavelength in Angstrom, luminosity density in the tables' unit.
    title, kind : str
        What it is, and ``simulated`` or ``sdss``.
    smooth : int
        Pixels of the running mean.
    """
    figure, axes = _new()
    axes.plot(wavelength, flux, color=GREY, lw=0.4, alpha=0.7, label="pixels")
    mean = np.convolve(flux, np.ones(smooth) / smooth, mode="same")
    inner = slice(smooth, -smooth)
    axes.plot(wavelength[inner], mean[inner], color=BLUE, lw=1.0, label=f"mean of {smooth} pixels")
    low, high = np.nanpercentile(flux, [0.3, 99.7])
    axes.set_ylim(min(0, low), high * 1.15)
    return _finish_spectrum(figure, axes, f"{title} ({kind})")


@style
def mean_spectrum(wavelength: np.ndarray, flux: np.ndarray, kind: str) -> Figure:
    """Median of many spectra, each divided by its own mean, with the range of the middle two thirds.

    Parameters
    ----------
    wavelength : ndarray, shape (n_pixels,)
    flux : ndarray, shape (n, n_pixels)
        At most 2,000 of them are used, evenly spread.
    kind : str
    """
    some = flux[:: max(1, len(flux) // 2000)]
    some = some / some.mean(axis=1, keepdims=True)
    low, middle, high = np.percentile(some, [16, 50, 84], axis=0)
    figure, axes = _new()
    axes.fill_between(wavelength, low, high, color=BLUE, alpha=0.18, lw=0, label="16-84 %, noise included")
    axes.plot(wavelength, middle, color=BLUE, lw=1.0, label="median")
    axes.set_ylim(0, None)
    figure = _finish_spectrum(figure, axes, f"Median of {len(some):,} spectra, each divided by its own mean ({kind})")
    axes.set_ylabel("luminosity density over its mean")
    return figure


def _finish_spectrum(figure: Figure, axes: Axes, title: str) -> Figure:
    name_lines(axes)
    axes.set_xlim(1440, 3395)
    axes.set_xlabel(WAVELENGTH)
    axes.set_ylabel(UNIT, fontsize=7.5)
    axes.legend(loc="upper right")
    axes.set_title(title, fontsize=11, pad=26)
    return figure


@style
def populations(quasars: pd.DataFrame, kind: str) -> Figure:
    """Redshifts and labels of the objects, by the line the label comes from."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, column, label in ((left, "Z", "redshift"), (right, "LMBH", LABEL)):
        bins = np.histogram_bin_edges(quasars[column], bins=40)
        for line, colour in zip(
            sorted(quasars["LABEL_LINE"].dropna().unique()), (ORANGE, BLUE, GREY, "k"), strict=False
        ):
            axes.hist(quasars.loc[quasars["LABEL_LINE"] == line, column], bins, color=colour, alpha=0.6, label=line)
        axes.set_xlabel(label)
    left.set_ylabel("objects")
    right.legend(title="label measured on")
    figure.suptitle(f"{len(quasars):,} quasars ({kind})", fontsize=11)
    return figure


@style
def learning_curve(history: pd.DataFrame, kind: str) -> Figure:
    """RMSE of training and validation after every training epoch of a stage, and which weights were kept.

    Parameters
    ----------
    history : DataFrame
        As `EasyAI.train` returns it: training_epoch, rmse, val_rmse, kept, stage. Training epoch 0 are the weights
        that the stage started from.
    kind : str
    """
    figure, axes = _new(7.0, 3.4)
    axes.plot(history["training_epoch"], history["rmse"], "o-", ms=3, color=GREY, label="training")
    axes.plot(history["training_epoch"], history["val_rmse"], "o-", ms=3, color=BLUE, label="validation")
    kept = history[history["kept"]].iloc[0]
    label = f"kept: training epoch {kept['training_epoch']:.0f}"
    if kept["training_epoch"] == 0:
        label = "kept: the weights the stage started from"
    axes.plot(kept["training_epoch"], kept["val_rmse"], "o", ms=9, mfc="none", color=ORANGE, label=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="training epoch (0: before the stage)", ylabel="RMSE of log mass (dex)")
    # The start of a stage and its first training epoch may be far above the others and would flatten them.
    later = history.loc[history["kept"] | (history["training_epoch"] > 1), ["rmse", "val_rmse"]].to_numpy()
    axes.set_ylim(0.9 * np.nanmin(later), 1.1 * np.nanmax(later))
    axes.legend()
    axes.set_title(f"Training, stage {history['stage'].iloc[0]} ({kind})", fontsize=11)
    return figure


@style
def residuals(label: np.ndarray, prediction: np.ndarray, kind: str) -> Figure:
    """Prediction against label, and residual against label.

    Parameters
    ----------
    label, prediction : array_like, shape (n,)
        log10(M_BH / M_Sun).
    kind : str
    """
    label, prediction = np.asarray(label), np.asarray(prediction)
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    size = 8 if len(label) < 1000 else 3
    low, high = np.percentile(np.concatenate([label, prediction]), [0, 100]) + np.array([-0.1, 0.1])
    left.plot([low, high], [low, high], color=ORANGE, lw=1)
    left.scatter(label, prediction, s=size, color=BLUE, alpha=0.4, lw=0)
    left.set(xlim=(low, high), ylim=(low, high), ylabel=PREDICTED)
    residual = prediction - label
    rmse = float(np.sqrt(np.mean(residual**2)))
    right.axhline(0, color=ORANGE, lw=1)
    right.axhspan(-rmse, rmse, color=ORANGE, alpha=0.12, lw=0, label=f"RMSE {rmse:.3f} dex")
    right.scatter(label, residual, s=size, color=BLUE, alpha=0.4, lw=0)
    right.set(xlim=(low, high), ylabel=RESIDUAL)
    right.legend()
    for axes in (left, right):
        axes.set_xlabel(LABEL)
    figure.suptitle(f"{len(label):,} test spectra ({kind})", fontsize=11)
    return figure


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


def save(figure: Figure, path: Path) -> Figure:
    """Write a figure as PNG, whole or not at all, and return it (a notebook shows the value of a cell's last line)."""
    with locked_write(path) as temporary:
        # no software version, no date: the same figure is the same bytes
        figure.savefig(temporary, dpi=150, metadata={"Software": None})
    return figure


def save_all(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as PNG and PDF, whole or not at all, the same bytes each time; the PNG's path."""
    for ending, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        with locked_write(folder / f"{name}{ending}") as temporary:
            figure.savefig(temporary, dpi=150, metadata=metadata)
    return folder / f"{name}.png"
