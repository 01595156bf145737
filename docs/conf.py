"""Sphinx configuration: pages in Markdown, the API from the docstrings, the command line from `--help`."""

import contextlib
import io
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parent
sys.path.insert(0, str(HOME))

import quasar_mass  # noqa: E402

project = "Quasar mass ML"
author = "The Quasar mass ML developers"
copyright = author
version = release = quasar_mass.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
html_theme = "furo"
html_title = "Quasar mass ML"
exclude_patterns = ["_build", "requirements.txt"]
nb_execution_mode = "off"  # the notebook is committed executed
suppress_warnings = ["mystnb.unknown_mime_type", "myst.xref_missing"]  # links to files of the repository
numpydoc_show_class_members = False
autodoc_typehints = "none"  # numpydoc's own lines say the types
autosummary_generate = True
default_role = "code"  # single backticks in docstrings are names
myst_heading_anchors = 3

COMMANDS = {
    "get_Chen_data.py": ("quasar_mass.cli.get_chen_data", "fetch, simulate and build surveys"),
    "quasar_analysis.py": ("quasar_mass.cli.quasar_analysis", "predict masses, evaluate and explain networks"),
}


def _help(module: str, *arguments: str) -> str:
    """What a command prints for `--help`."""
    import importlib

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module(module).main([*arguments, "--help"])
    return text.getvalue()


def _verbs(text: str) -> list[str]:
    """The verbs that a command's own help lists, each at the beginning of an indented line."""
    return re.findall(r"^    ([a-z]+)\b", text, re.MULTILINE)


def _write_command_line() -> None:
    """One page with the help of every verb, made anew for each build of the site."""
    lines = ["# Command line", "", "Every verb with its options, as `--help` prints them.", ""]
    for script, (module, purpose) in COMMANDS.items():
        top = _help(module)
        lines += [f"## {script}: {purpose}", "", "```text", top.rstrip(), "```", ""]
        for verb in _verbs(top):
            lines += [f"### {script} {verb}", "", "```text", _help(module, verb).rstrip(), "```", ""]
    (HERE / "command_line.md").write_text("\n".join(lines), encoding="utf-8")


_write_command_line()
shutil.copyfile(HOME / "Quasar_mass_ML.ipynb", HERE / "notebook.ipynb")
shutil.copyfile(HOME / "models" / "README.md", HERE / "model_card.md")
