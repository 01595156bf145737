"""Execute a notebook with parameters, saying which cell is at work: what `make run` and `make train` do."""

import argparse
import ast
import json
import re
import sys
from pathlib import Path

from quasar_mass.cli import common
from quasar_mass.core.errors import FileError, first_line
from quasar_mass.core.files import check_writable, write_text

TAG = "parameters"  # of the cell that holds them, one assignment a line


def with_parameters(source: str, values: dict[str, str]) -> str:
    """Replace the values that a cell assigns.

    Parameters
    ----------
    source : str
        Lines such as ``SEED = 42  # a comment``.
    values : dict of str to str
        New values; each becomes what the old one is, text or number.

    Raises
    ------
    FileError
        If the cell assigns no such name, or the text is no such number.
    """
    for name, text in values.items():
        found = re.search(rf"^{re.escape(name)} = (.*?)(\s*#.*)?$", source, re.MULTILINE)
        if not found:
            names = re.findall(r"^(\w+) = ", source, re.MULTILINE)
            raise FileError("the notebook", f"has no parameter {name}; it has {', '.join(names)}")
        kind = type(ast.literal_eval(found[1]))
        try:
            value = kind(text)
        except ValueError as error:
            raise FileError("the notebook", f"its {name} must be like {found[1]}, not {text}") from error
        written = json.dumps(value) if kind is str else repr(value)
        source = source[: found.start(1)] + written + source[found.end(1) :]
    return source


def execute(options) -> None:
    """Execute a notebook, print what its cells print, and write it with all their outputs."""
    import nbformat  # not at the top, as below: of the extra "notebook"
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class Client(NotebookClient):
        """Shows what is printed while a cell runs."""

        def output(self, outs, msg, display_id, cell_index):
            out = super().output(outs, msg, display_id, cell_index)
            if out is not None and out.output_type == "stream" and not options.quiet:
                print(out.text, end="", flush=True)
            return out

    book = _read(options.notebook)
    code, sections, heading = [], {}, ""
    for index, cell in enumerate(book.cells):
        if TAG in cell.metadata.get("tags", ()):
            cell.source = with_parameters(cell.source, dict(value.split("=", 1) for value in options.values))
        if cell.cell_type == "markdown" and (found := re.search("^##? (.+)$", cell.source, re.MULTILINE)):
            heading = re.sub("<.*?>", "", found[1])
        elif cell.cell_type == "code":
            cell.outputs = []
            code.append(index)
            if heading:  # the first cell of a section announces it
                sections[index], heading = heading, ""

    def say(cell, cell_index: int) -> None:
        if cell_index in sections and not options.quiet:
            print(f"cell {code.index(cell_index) + 1:2} of {len(code)}  {sections[cell_index]}", flush=True)

    _make_folder(options.output)
    quiet = {"extra_arguments": ["--IPKernelApp.log_level=ERROR"], "record_timing": False}
    client = Client(book, timeout=None, kernel_name="python3", on_cell_start=say, **quiet)
    try:
        client.execute(cwd=str(Path.cwd()))
    except CellExecutionError as error:
        raise FileError(options.notebook, f"stopped with {error.ename}: {error.evalue.rstrip('.')}") from error
    write_text(options.output, nbformat.writes(book))


def _read(path: Path):
    """Read a notebook; FileError for a file that is none."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    # what nbformat raises on other files, collected by trying some
    except (ValueError, nbformat.ValidationError, AttributeError, TypeError, AssertionError) as error:
        raise FileError(
            path, f"is not a notebook ({first_line(error)}); name one, such as Quasar_mass_ML.ipynb"
        ) from error


def _make_folder(output: Path) -> None:
    """Make the folder of the executed notebook; FileError, before an hour's work, where that cannot be."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise FileError(output, "cannot be written, since part of its path is a file; choose another folder") from error
    check_writable(output)


def _value(text: str) -> str:
    """Check an assignment of the command line."""
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    top, add = common.parser(__doc__.splitlines()[0], "python -m quasar_mass.cli.notebook")
    example = "Quasar_mass_ML.ipynb executed.ipynb SURVEY=data CREATING=Load"
    verb = add(execute, example=example, survey=False, interrupted=common.GOES_ON)
    verb.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    verb.add_argument("output", type=Path, metavar="OUTPUT", help="where the executed notebook goes")
    help_ = "optional: instead of the values in the notebook's cell of parameters"
    verb.add_argument("values", type=_value, nargs="*", default=[], metavar="NAME=VALUE", help=help_)
    return common.run(top, arguments)


if __name__ == "__main__":
    sys.exit(main())
