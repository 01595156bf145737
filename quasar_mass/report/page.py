"""The report's page: sections of tables, facts and pictures, put into ``template.html``."""

import base64
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd

from quasar_mass.report.comparison import readable


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    title, note : str
        Plain text; the note may be empty.
    blocks : tuple of dict
        What `table`, `facts`, `picture` and `plot` make, in order.
    """

    title: str
    note: str
    blocks: tuple[dict, ...] = ()


def render(title: str, kind: str, sections: list[Section], data: dict) -> str:
    """Put a page together.

    Parameters
    ----------
    title, kind : str
        Plain text; ``simulated`` or ``sdss``.
    sections : list of Section
    data : dict
        What the interactive plot shows, for JSON.

    Returns
    -------
    str
        HTML.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    template = environment.get_template("template.html")
    return template.render(title=title, kind=kind, sections=sections, data=data) + "\n"


def table(frame: pd.DataFrame, digits: int = 3) -> dict:
    """A table, its index first. Numbers are rounded, an unknown number is a dash."""
    frame = readable(frame).reset_index()
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
    css = ["" if number else "name" for number in numeric]

    def text(value, number: bool) -> str:
        if not number:
            return str(value)
        if value != value:
            return "-"
        return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"

    rows = [zip(map(text, row, numeric), css, strict=True) for row in frame.itertuples(index=False)]
    return {"type": "table", "head": zip(map(str, frame), css, strict=True), "rows": rows}


def facts(rows: dict) -> dict:
    """Names and values in two columns."""
    return {"type": "facts", "rows": rows.items()}


def picture(path: Path, caption: str) -> dict:
    """A PNG, which the page will contain, and what it shows in plain text."""
    return {"type": "picture", "png": base64.b64encode(path.read_bytes()).decode(), "caption": caption}


def plot() -> dict:
    """The interactive plot, whose points show their spectra."""
    return {"type": "plot"}
