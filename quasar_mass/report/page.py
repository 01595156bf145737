"""The report's page: sections of tables, facts and interactive figures, put into ``template.html``."""

import re
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import bokeh.resources
import jinja2
import pandas as pd
from bokeh.plotting import figure

from quasar_mass.report import plots
from quasar_mass.report.comparison import readable


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    title, note : str
        Plain text; the note may be empty.
    blocks : tuple of dict
        What `table`, `facts`, `figures` and `explorer` make, in order.
    """

    title: str
    note: str
    blocks: tuple[dict, ...] = ()

    @property
    def anchor(self) -> str:
        """What links to the section end with."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Plot:
    """An interactive figure.

    Attributes
    ----------
    name : str
        Of the files that it is saved as.
    figure : bokeh figure
    caption : str
        What it shows; plain text.
    alt : str
        What one would see, for who cannot see it; plain text.
    """

    name: str
    figure: figure
    caption: str
    alt: str


def render(title: str, kind: str, lead: str, headline: list[tuple], sections: list[Section], data: dict) -> str:
    """Put a page together.

    Parameters
    ----------
    title, kind, lead : str
        Plain text; ``simulated`` or ``sdss``; a sentence on what the numbers are of.
    headline : list of (str, str, str)
        The numbers that matter: name, value, and what it is of.
    sections : list of Section
    data : dict
        What the figures of the chosen spectrum show, as `packing.pack` gives it.

    Returns
    -------
    str
        HTML.
    """
    drawn = [plot for section in sections for block in section.blocks for plot in block.get("plots", ())]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    data = data | {
        "kind": kind,
        "document": plots.document([plot.figure for plot in drawn]),
        "roots": {plot.figure.id: f"plot-{plot.name}" for plot in drawn},
    }
    bokeh_js = bokeh.resources.Resources(mode="inline", components=["bokeh"]).js_raw[0]
    about = {"title": title, "kind": kind, "lead": lead, "headline": headline, "sections": sections}
    return environment.get_template("template.html").render(about, data=data, bokeh_js=bokeh_js) + "\n"


def table(frame: pd.DataFrame, caption: str = "", digits: int = 3) -> dict:
    """A table, its index first. Numbers are rounded, an unknown number is a dash."""
    levels = frame.index.nlevels
    frame = readable(frame).reset_index()
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
    css = ["" if number else "name" for number in numeric]

    def text(value, number: bool) -> str:
        if not number:
            return str(value)
        if pd.isna(value):
            return "-"
        return f"{value:,}" if isinstance(value, Integral) else f"{value:.{digits}f}"

    rows = [list(zip(map(text, row, numeric), css, strict=True)) for row in frame.itertuples(index=False)]
    head = list(zip(map(str, frame), css, strict=True))
    return {"type": "table", "caption": caption, "head": head, "rows": rows, "levels": levels}


def facts(rows: dict) -> dict:
    """Names and values in two columns."""
    return {"type": "facts", "rows": rows.items()}


def figures(*plots: Plot, small: bool = False) -> dict:
    """Figures side by side, one below the other where the page is narrow; a small one stands beside tables."""
    return {"type": "figures", "plots": plots, "small": small}


def explorer(masses: Plot, spectrum: Plot, attribution: Plot) -> dict:
    """A figure of all spectra, the table of those that are chosen in it, and two figures of the one that is shown."""
    return {"type": "explorer", "plots": (masses, spectrum, attribution)}
