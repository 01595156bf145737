"""Figures of spectra, populations, training, residuals, coverage and attributions, drawn from arrays.

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
SHOWN = (1440, 3395)  # Angstrom: the window, with a margin
BLUE, ORANGE, GREY = "#1f4e79", "#d1661d", "#8a8a8a"
COLOUR_OF_LINE = {"MgII": BLUE, "CIV": ORANGE}
NAME_OF_LINE = {"MgII": "Mg II", "CIV": "C IV", "Hb": r"H$\beta$", "Ha": r"H$\alpha$"}
MONITORED = 5  # an object with so many test spectra is named in the figure of residuals
DPI = 150
# How all figures look: a decorator of the functions that draw them.
style = matplotlib.rc_context(
    {
        "figure.dpi": DPI,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "legend.frameon": False,
        "legend.fontsize": 8,
    }
)


def _new(width: float = 9.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


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


# --- spectra ----------------------------------------------------------------------------------------------------------
@style
def spectrum(
    wavelength: np.ndarray,
    luminosity: np.ndarray,
    error: np.ndarray | None = None,
    *,
    redshift: float,
    title: str,
    kind: str,
    smooth: int = 9,
) -> Figure:
    """One spectrum in the rest frame: its pixels, their noise, a running mean, and where the night sky has lines.

    Parameters
    ----------
    wavelength, luminosity : ndarray, shape (n,)
        Rest wavelength in Angstrom, luminosity density in erg/s/A; NaN where there is no data.
    error : ndarray, shape (n,), optional
        Standard deviation of `luminosity`.
    redshift : float
        For the wavelengths of the sky's lines.
    title, kind : str
        What it is, and ``simulated`` or ``sdss``.
    smooth : int
        Pixels of the running mean.
    """
    inside = (wavelength > SHOWN[0]) & (wavelength < SHOWN[1])
    power = int(np.floor(np.log10(np.nanmax(_running_mean(luminosity[inside], smooth)))))
    wavelength, luminosity = wavelength[inside], luminosity[inside] / 10.0**power
    mean = _running_mean(luminosity, smooth)
    figure, axes = _new()
    if error is not None:
        noise = error[inside] / 10.0**power
        how = {"color": ORANGE, "alpha": 0.35, "lw": 0, "label": "noise of a pixel, 1 sigma"}
        axes.fill_between(wavelength, mean - noise, mean + noise, **how)
    axes.plot(wavelength, luminosity, color=GREY, lw=0.3, alpha=0.45, label="pixels")
    axes.plot(wavelength, mean, color=BLUE, lw=1.0, label=f"mean of {smooth} pixels")
    top = 1.2 * np.nanmax(mean)
    axes.set_ylim(-0.08 * top, top)
    _mark_sky(axes, redshift)
    _finish_spectrum(axes, f"{title} ({kind})")
    axes.set_ylabel(rf"$L_\lambda$ ($10^{{{power}}}$ erg s$^{{-1}}$ $\rm\AA^{{-1}}$)")
    return figure


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of `width` neighbouring values, without NaN; NaN where half of them or more are."""
    known, ones = np.isfinite(values), np.ones(width)
    number = np.convolve(known, ones, mode="same")
    total = np.convolve(np.where(known, values, 0.0), ones, mode="same")
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0.5 * width)


def _mark_sky(axes: Axes, redshift: float) -> None:
    """Mark at the bottom where the sky's lines are: single ones, and the hydroxyl bands, which the red is full of."""
    low, high = axes.get_ylim()
    level = low + 0.035 * (high - low)
    shift = 1.0 + redshift
    marks = [line / shift for line in constants.SKY_LINES]
    axes.plot(marks, [level] * len(marks), "|", color="#4d7c2f", ms=7, mew=1.5, label="lines of the night sky")
    start = max(constants.SKY_OH_FROM / shift, SHOWN[0])
    if start < SHOWN[1]:
        how = {"color": "#4d7c2f", "lw": 3, "alpha": 0.5, "solid_capstyle": "butt", "label": "its bands of OH"}
        axes.plot([start, SHOWN[1]], [level] * 2, **how)


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
    axes.fill_between(wavelength, low, high, color=BLUE, alpha=0.18, lw=0, label="two thirds of them, noise included")
    axes.plot(wavelength, middle, color=BLUE, lw=1.0, label="median")
    axes.set_ylim(0, None)
    _finish_spectrum(axes, f"Median of {len(some):,} spectra, each divided by its own mean ({kind})")
    axes.set_ylabel(r"$L_\lambda$ over its mean")
    return figure


def _finish_spectrum(axes: Axes, title: str) -> None:
    name_lines(axes)
    axes.set_xlim(*SHOWN)
    axes.set_xlabel(WAVELENGTH)
    axes.legend(loc="upper right")
    axes.set_title(title, pad=26)


# --- the survey and the training --------------------------------------------------------------------------------------
@style
def populations(quasars: pd.DataFrame, kind: str) -> Figure:
    """Redshifts and labels of the objects, by the line the label comes from."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, column, label in ((left, "Z", "redshift"), (right, "LMBH", LABEL)):
        bins = np.histogram_bin_edges(quasars[column], bins=40)
        for line in sorted(quasars["LABEL_LINE"].dropna().unique(), reverse=True):
            counts, _ = np.histogram(quasars.loc[quasars["LABEL_LINE"] == line, column], bins)
            name = f"{NAME_OF_LINE.get(line, line)} ({counts.sum():,})"
            axes.stairs(counts, bins, color=COLOUR_OF_LINE.get(line, GREY), lw=1.4, label=name)
        axes.set_xlabel(label)
        axes.set_ylim(0, None)
    left.set_ylabel("objects")
    right.legend(title="label measured on", loc="upper left")
    figure.suptitle(f"{len(quasars):,} quasars ({kind})", fontsize=11)
    return figure


@style
def learning_curve(history: pd.DataFrame, kind: str) -> Figure:
    """RMSE of training and validation after every training epoch, stage after stage, and which weights were kept.

    Parameters
    ----------
    history : DataFrame
        As `EasyAI.train` returns it, of one stage or of several: training_epoch, rmse, val_rmse, kept, stage. Training
        epoch 0 are the weights that a stage started from.
    kind : str
    """
    figure, axes = _new(8.0, 3.6)
    first, ticks = 0, {}
    for stage, rows in history.groupby("stage", sort=False):
        epoch = rows["training_epoch"].to_numpy() + first
        trained = axes.plot(epoch, rows["rmse"], "o-", ms=3, color=GREY)
        validated = axes.plot(epoch, rows["val_rmse"], "o-", ms=3, color=BLUE)
        kept = rows["kept"].to_numpy()
        marked = axes.plot(epoch[kept], rows.loc[kept, "val_rmse"], "o", ms=9, mfc="none", color=ORANGE)
        at = rows.loc[kept, "training_epoch"].iloc[0]
        words = f"kept: training epoch {at:.0f}" if at else "kept: the weights it started from"
        axes.annotate(f"stage {stage}\n{words}", (first + 0.5, 0.97), xycoords=("data", "axes fraction"), va="top")
        axes.axvline(first, color=GREY, lw=0.6, ls=":")
        step = max(1, len(rows) // 5)
        ticks |= {int(number): int(number) - first for number in epoch if (number - first) % step == 0}
        first = epoch[-1] + 1
    trained[0].set_label("training, on varied spectra")
    validated[0].set_label("validation")
    marked[0].set_label("weights that were kept")
    axes.set_xticks(list(ticks), list(map(str, ticks.values())))
    axes.set(xlabel="training epoch (0: before the stage)", ylabel="RMSE of log mass (dex)")
    # A network that knows nothing yet has an RMSE far above the others, which would flatten them.
    later = history.loc[history["kept"] | (history["training_epoch"] > 0), ["rmse", "val_rmse"]].to_numpy()
    low, high = np.nanmin(later), np.nanmax(later)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
    axes.legend(loc="center right")
    axes.set_title(f"Training ({kind})")
    return figure


# --- how good the masses are ------------------------------------------------------------------------------------------
@style
def residuals(predictions: pd.DataFrame, kind: str) -> Figure:
    """Prediction and residual against label, by the line of the label; objects with many spectra are named.

    Parameters
    ----------
    predictions : DataFrame
        One row per spectrum: OBJECT, LMBH (label), PREDICTED, LABEL_LINE.
    kind : str
    """
    label, prediction = predictions["LMBH"].to_numpy(float), predictions["PREDICTED"].to_numpy(float)
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    size = 9 if len(label) < 1000 else 3
    low, high = np.percentile(np.concatenate([label, prediction]), [0, 100]) + np.array([-0.1, 0.1])
    left.plot([low, high], [low, high], color=GREY, lw=1)
    residual = prediction - label
    rmse = float(np.sqrt(np.mean(residual**2)))
    right.axhline(0, color=GREY, lw=1)
    right.axhspan(-rmse, rmse, color=GREY, alpha=0.15, lw=0, label=f"RMSE {rmse:.3f} dex")
    spectra_of = predictions["OBJECT"].map(predictions["OBJECT"].value_counts()).to_numpy()
    single = spectra_of < MONITORED
    line = predictions["LABEL_LINE"].to_numpy()
    for name in sorted(set(line[single]), reverse=True):
        chosen = single & (line == name)
        how = {"s": size, "alpha": 0.55, "lw": 0, "color": COLOUR_OF_LINE.get(name, GREY)}
        left.scatter(label[chosen], prediction[chosen], label=f"label from {NAME_OF_LINE.get(name, name)}", **how)
        right.scatter(label[chosen], residual[chosen], **how)
    for number, (name, rows) in enumerate(predictions[~single].groupby("OBJECT", observed=True)):
        how = {"s": size, "color": ("#3f7f4f", "#8a3f86")[number % 2], "alpha": 0.8, "lw": 0, "marker": "D"}
        left.scatter(rows["LMBH"], rows["PREDICTED"], **how)
        part = rows["PREDICTED"] - rows["LMBH"]
        right.scatter(rows["LMBH"], part, label=f"{name}: {len(rows)} spectra", **how)
    left.set(xlim=(low, high), ylim=(low, high), ylabel=PREDICTED)
    right.set(xlim=(low, high), ylabel=RESIDUAL)
    for axes in (left, right):
        axes.set_xlabel(LABEL)
        axes.legend(loc="upper left" if axes is left else "upper right")
    figure.suptitle(f"{len(label):,} test spectra of {predictions['OBJECT'].nunique():,} objects ({kind})", fontsize=11)
    return figure


@style
def coverage(curve: pd.DataFrame, kind: str) -> Figure:
    """Empirical against nominal coverage (`coverage_tables.curve`)."""
    figure, axes = _new(4.4, 4.2)
    axes.plot([0.4, 1.0], [0.4, 1.0], color=GREY, lw=1, label="nominal")
    errors = 2.0 * curve["error"]
    label = "empirical, 2 standard errors"
    axes.errorbar(curve.index, curve["coverage"], errors, fmt="o", ms=4, color=BLUE, label=label)
    axes.set(xlim=(0.4, 1.0), ylim=(0.4, 1.0), aspect="equal")
    axes.set(xlabel="nominal coverage", ylabel="empirical coverage: labels inside, by object")
    axes.legend(loc="lower right")
    axes.set_title(f"Coverage of the intervals ({kind})")
    return figure


@style
def attribution(
    wavelength: np.ndarray, flux: np.ndarray, bins: np.ndarray, parts: np.ndarray, title: str, kind: str
) -> Figure:
    """Draw a spectrum, and below it what each part of it adds to the mass.

    Parameters
    ----------
    wavelength, flux : ndarray, shape (pixels,)
        Rest wavelength in Angstrom, luminosity density in any unit; NaN where there is no data.
    bins : ndarray, shape (m,)
        Rest wavelengths of the parts.
    parts : ndarray, shape (m,) or (n, m)
        dex per bin, of one spectrum; of many, their mean and the mean of their sizes are drawn.
    title, kind : str
        What it is, and ``simulated`` or ``sdss``.
    """
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 1.0))
    flux = flux / np.nanmedian(flux)
    top.plot(wavelength, flux, color=GREY, lw=0.4, alpha=0.6)
    mean = _running_mean(flux, 9)
    top.plot(wavelength, mean, color=BLUE, lw=1.0)
    top.set_ylim(min(0.0, np.nanmin(mean)), 1.15 * np.nanmax(mean))
    top.set_ylabel(r"$L_\lambda$ over its median")
    bottom.axhline(0.0, color=GREY, lw=0.6)
    if parts.ndim == 1:
        bottom.fill_between(bins, parts, 0.0, where=parts > 0, color=BLUE, lw=0, step="mid", label="raises the mass")
        bottom.fill_between(bins, parts, 0.0, where=parts < 0, color=ORANGE, lw=0, step="mid", label="lowers the mass")
    else:
        edges = np.sqrt(bins[1:] * bins[:-1])
        edges = np.concatenate([[bins[0] ** 2 / edges[0]], edges, [bins[-1] ** 2 / edges[-1]]])
        bottom.stairs(np.abs(parts).mean(axis=0), edges, color=BLUE, lw=1.2, label="mean of the absolute values")
        bottom.stairs(parts.mean(axis=0), edges, color=ORANGE, lw=1.0, label="mean", baseline=None)
    bottom.set_ylabel("attribution (dex per bin)")
    bottom.legend(loc="upper left")
    bottom.set_xlabel(WAVELENGTH)
    bottom.set_xlim(*SHOWN)
    name_lines(top)
    for _, line, _ in LINES:
        bottom.axvline(line, color=GREY, lw=0.6, ls=":", zorder=0)
    top.set_title(f"{title} ({kind})", pad=26)
    return figure


def save(figure: Figure, path: Path) -> Figure:
    """Write a figure as PNG, whole or not at all, and return it (a notebook shows the value of a cell's last line)."""
    with locked_write(path) as temporary:
        # no software version, no date: the same figure is the same bytes
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
    return figure


def save_all(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as PNG and PDF, whole or not at all, the same bytes each time; the PNG's path."""
    for ending, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        with locked_write(folder / f"{name}{ending}") as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=metadata)
    return folder / f"{name}.png"
