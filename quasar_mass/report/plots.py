"""The report's interactive figures, drawn by Bokeh; ``template.html`` fills those of the chosen spectrum.

All figures of spectra share `Spectra`: what is chosen in one of them is chosen in all.
"""

import itertools

import numpy as np
import pandas as pd
from bokeh.document import Document
from bokeh.models import BoxSelectTool, ColumnDataSource, HoverTool, Label, Range1d, Span, Whisker
from bokeh.plotting import figure
from bokeh.themes import Theme
from bokeh.transform import factor_cmap, factor_mark

from quasar_mass.report.figures import BLUE, GREY, LINES, ORANGE

FLAGGED = ("no", "yes")
INK, SOFT, GRID = "#1c2733", "#5d6b7a", "#e3e8ed"
NAMED_LINES = ("C IV", "C III]", "Fe II", "Mg II")  # names must not overlap on a phone
AXES = {
    "LMBH": "label log\u2081\u2080 M/M\u2609",
    "PREDICTED": "predicted log\u2081\u2080 M/M\u2609",
    "RESIDUAL": "prediction - label (dex)",
    "SN": "S/N per pixel",
    "Z": "redshift",
    "LOG_L": "log\u2081\u2080 \u03bbL(3000 \u00c5) (erg/s)",
}
WAVELENGTH = "rest wavelength (\u00c5)"
LEFT = 76  # pixels beside the figures of the chosen spectrum, whose wavelengths stand one above the other
ZOOM = "pan,wheel_zoom,zoom_in,zoom_out"
FONT = "Helvetica, Arial, sans-serif"
THEME = Theme(
    json={
        "attrs": {
            "Plot": {"toolbar_location": "above", "outline_line_color": None, "sizing_mode": "stretch_width"},
            "Toolbar": {"logo": None},
            "Axis": {
                "axis_label_text_color": INK,
                "axis_label_text_font": FONT,
                "axis_label_text_font_size": "13px",
                "axis_label_text_font_style": "normal",
                "axis_line_color": SOFT,
                "major_label_text_color": SOFT,
                "major_label_text_font": FONT,
                "major_label_text_font_size": "12px",
                "major_tick_in": 0,
                "major_tick_line_color": SOFT,
                "minor_tick_line_color": None,
            },
            "Grid": {"grid_line_color": GRID},
            "Label": {"text_color": SOFT, "text_font": FONT, "text_font_size": "12px"},
        }
    }
)


class Spectra:
    """Figures with a point for each spectrum, which share the choice of spectra.

    Parameters
    ----------
    table : DataFrame
        One row per spectrum, with the columns of `AXES`, OBJECT, EPOCH and FLAGS, and of a calibrated model LMBH_LOW
        and LMBH_HIGH.
    kind : str
        ``simulated`` or ``sdss``.
    """

    def __init__(self, table: pd.DataFrame, kind: str) -> None:
        self.kind = kind
        flagged = np.where(table["FLAGS"] != "", "yes", "no")
        columns = {name: table[name].to_numpy() for name in table} | {"FLAGGED": flagged}
        # 32 bits are enough for a plot, and half the page
        columns = {
            name: values.astype(np.float32 if values.dtype.kind == "f" else str) for name, values in columns.items()
        }
        self.points = ColumnDataSource(columns, name="points")
        self.shown = ColumnDataSource({name: values[:0] for name, values in columns.items()}, name="shown")

    def masses(self) -> figure:
        """Predictions against labels, with the interval of the spectrum that is shown."""
        table = self.points.data
        values = np.concatenate([table["LMBH"], table["PREDICTED"]])
        low, high = float(values.min()) - 0.1, float(values.max()) + 0.1
        plot = self._plot("LMBH", "PREDICTED", f"{ZOOM},box_zoom,lasso_select,tap,reset", aspect_ratio=1)
        plot.sizing_mode = "scale_width"
        plot.x_range, plot.y_range = Range1d(low, high), Range1d(low, high)
        plot.line([low, high], [low, high], color=GREY, line_width=1.5)
        self._points(plot, "LMBH", "PREDICTED")
        if "LMBH_LOW" in table:
            ends = {"base": "LMBH", "lower": "LMBH_LOW", "upper": "LMBH_HIGH"}
            plot.add_layout(Whisker(source=self.shown, **ends, line_color=INK, line_width=2, level="annotation"))
        return plot

    def residuals(self, column: str) -> figure:
        """Residuals against another quantity, with their median and scatter in bins of equal numbers."""
        values = self.points.data[column]
        scale = "log" if column == "SN" else "linear"
        plot = self._plot(column, "RESIDUAL", "box_zoom,tap,reset", height=300, x_axis_type=scale)
        plot.line([np.nanmin(values), np.nanmax(values)], [0, 0], color=GREY, line_width=1.5)
        if column == "SN":
            plot.xaxis.ticker = [0.5, 1, 2, 5, 10, 20, 50]
        self._points(plot, column, "RESIDUAL")
        bins = self.bins(column)
        plot.quad(
            "LOW", "HIGH", "P16", "P84", source=bins, fill_color=INK, fill_alpha=0.12, line_color=INK, line_alpha=0.6
        )
        for color, width in (("white", 4.5), (INK, 2.5)):  # a black line with a white rim, on dark points
            plot.segment("LOW", "P50", "HIGH", "P50", source=bins, color=color, line_width=width)
        return plot

    def bins(self, column: str) -> dict[str, np.ndarray]:
        """`binned` residuals against another quantity."""
        return binned(self.points.data[column], self.points.data["RESIDUAL"])

    def _plot(self, x: str, y: str, tools: str, **options) -> figure:
        choose = BoxSelectTool()
        plot = figure(tools=tools, title=None, x_axis_label=f"{AXES[x]} ({self.kind})", y_axis_label=AXES[y], **options)
        plot.add_tools(choose)
        plot.toolbar.active_drag = choose
        plot.toolbar.active_scroll = None  # the wheel scrolls the page until somebody asks for the zoom
        return plot

    def _points(self, plot: figure, x: str, y: str) -> None:
        dots = plot.scatter(
            x,
            y,
            source=self.points,
            size=5 if len(self.points.data[x]) < 1000 else 3.5,
            color=factor_cmap("FLAGGED", (BLUE, ORANGE), FLAGGED),
            marker=factor_mark("FLAGGED", ("circle", "triangle"), FLAGGED),
            alpha=0.5,
            line_color=None,
            selection_alpha=0.9,
            nonselection_alpha=0.3,
        )
        ring = plot.scatter(x, y, source=self.shown, size=15, line_color=INK, line_width=2.5, fill_color=None)
        ring.level = "overlay"
        tips = [("", "@EPOCH"), ("z, S/N", "@Z{0.000}, @SN{0.0}"), ("predicted", "@PREDICTED{0.00}")]
        tips += [("label", "@LMBH{0.00} (@LABEL_LINE)"), ("flags", "@FLAGS")]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tips, visible=False, limit=1))


def binned(x: np.ndarray, y: np.ndarray, number: int = 8, least: int = 6) -> dict[str, np.ndarray]:
    """Median and middle 68 % of y in bins of x.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Values that are not finite are left out.
    number : int
        Bins, of equal numbers of values.
    least : int
        Values, below which a bin is left out.

    Returns
    -------
    dict of str to ndarray
        LOW and HIGH, the edges of the bins in x; P16, P50 and P84, the percentiles of y.
    """
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    edges = np.unique(np.quantile(x, np.linspace(0, 1, number + 1))) if len(x) else []
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = y[(x >= low) & (x <= high)]
        if len(inside) >= least:
            rows.append((low, high, *np.percentile(inside, [16, 50, 84])))
    names = ("LOW", "HIGH", "P16", "P50", "P84")
    return dict(zip(names, np.reshape(rows, (-1, len(names))).T, strict=True))


def spectrum(wavelength: np.ndarray) -> figure:
    """The spectrum that is shown, with its error as a band; the page fills it.

    Parameters
    ----------
    wavelength : ndarray, shape (bins,)
        Rest wavelength in Angstrom.
    """
    source = ColumnDataSource({"wavelength": wavelength, **dict.fromkeys(("flux", "low", "high"), 0 * wavelength)})
    source.name = "spectrum"
    plot = figure(
        tools=f"{ZOOM},box_zoom,reset",
        title=None,
        min_border_left=LEFT,
        height=270,
        x_axis_label=WAVELENGTH,
        name="flux",
    )
    plot.yaxis.axis_label = "L\u03bb (10\u2074\u00b2 erg/s/\u00c5)"
    plot.toolbar.active_scroll, plot.toolbar.active_drag = None, "auto"
    plot.line(wavelength, 0 * wavelength, color=GREY)
    plot.varea("wavelength", "low", "high", source=source, color=BLUE, fill_alpha=0.25)
    plot.line("wavelength", "flux", source=source, color=BLUE, line_width=1.2)
    _lines(plot, wavelength)
    return plot


def attribution(wavelength: np.ndarray, x_range: Range1d) -> figure:
    """What each part of the spectrum that is shown adds to its mass; the page fills it.

    Parameters
    ----------
    wavelength : ndarray, shape (bins,)
        Rest wavelength in Angstrom.
    x_range : Range1d
        That of `spectrum`, so that both move together.
    """
    nothing = 0 * wavelength
    source = ColumnDataSource({"wavelength": wavelength, "raises": nothing, "lowers": nothing}, name="attribution")
    plot = figure(
        tools="",
        toolbar_location=None,
        title=None,
        min_border_left=LEFT,
        height=190,
        x_range=x_range,
        x_axis_label=WAVELENGTH,
    )
    plot.yaxis.axis_label = "dex per bin"
    for name, color in (("raises", BLUE), ("lowers", ORANGE)):
        plot.vbar("wavelength", np.diff(wavelength).mean(), name, source=source, color=color)
    _lines(plot, wavelength, named=False)
    return plot


def mean_attribution(wavelength: np.ndarray, parts: np.ndarray, kind: str) -> figure:
    """What the parts of many spectra add to their masses: the mean, and the mean of the sizes.

    Parameters
    ----------
    wavelength : ndarray, shape (bins,)
        Rest wavelength in Angstrom.
    parts : ndarray, shape (n, bins)
        dex.
    kind : str
    """
    label = f"{WAVELENGTH}, {len(parts):,} test spectra ({kind})"
    plot = figure(tools="", toolbar_location=None, title=None, height=280, x_axis_label=label)
    plot.yaxis.axis_label = "dex per bin"
    plot.varea(wavelength, 0 * wavelength, np.abs(parts).mean(axis=0), color=BLUE, fill_alpha=0.35)
    plot.line(wavelength, parts.mean(axis=0), color=ORANGE, line_width=1.5)
    _lines(plot, wavelength)
    return plot


def _lines(plot: figure, wavelength: np.ndarray, *, named: bool = True) -> None:
    plot.x_range = Range1d(wavelength[0], wavelength[-1]) if named else plot.x_range
    for name, position, _ in LINES:
        plot.add_layout(Span(location=position, dimension="height", line_color=GREY, line_dash="dotted"))
        if named and name in NAMED_LINES:
            at = {"x": position, "y": 2, "y_units": "screen", "x_offset": 3}
            plot.add_layout(Label(text=name, **at))


def coverage(curve: pd.DataFrame, kind: str) -> figure:
    """Coverage against confidence, with two standard errors.

    Parameters
    ----------
    curve : DataFrame
        `coverage_tables.curve`.
    kind : str
    """
    plot = figure(tools="", toolbar_location=None, title=None, aspect_ratio=1, sizing_mode="scale_width")
    plot.xaxis.axis_label, plot.yaxis.axis_label = f"confidence ({kind})", "labels inside, by object"
    plot.x_range = plot.y_range = Range1d(0.4, 1.0)
    plot.line([0, 1], [0, 1], color=GREY, line_width=1.5)
    error = 2.0 * curve["error"]
    points = {"x": curve.index, "y": curve["coverage"], "low": curve["coverage"] - error}
    source = ColumnDataSource(points | {"high": curve["coverage"] + error})
    plot.add_layout(Whisker(source=source, base="x", lower="low", upper="high", line_color=BLUE))
    plot.scatter("x", "y", source=source, size=8, color=BLUE)
    return plot


def document(plots: list[figure]) -> dict:
    """Put figures into one Bokeh document, for JSON."""
    together = Document(theme=THEME)
    for plot in plots:
        together.add_root(plot)
    return together.to_json(deferred=False)
