"""Executing a notebook: its parameters, what it prints, and what is left when a cell fails."""

import subprocess
import sys

import nbformat
import pytest

from quasar_mass.cli import notebook
from quasar_mass.core.errors import FileError

PARAMETERS = """\
# How many, and what it's called.
SURVEY = "data"  # it's a folder
NUMBER = 3
STEP = 1e-4  # dex
"""


def test_parameters_keep_their_types_and_comments():
    source = notebook.with_parameters(PARAMETERS, {"SURVEY": 'a "b"', "NUMBER": "12", "STEP": "5e-5"})
    values = {}
    exec(source, values)
    assert (values["SURVEY"], values["NUMBER"], values["STEP"]) == ('a "b"', 12, 5e-5)
    assert source.splitlines()[0] == PARAMETERS.splitlines()[0]
    assert source.splitlines()[1].endswith("  # it's a folder")


@pytest.mark.parametrize(
    ("values", "words"), [({"NUMBERS": "1"}, "SURVEY, NUMBER, STEP"), ({"NUMBER": "many"}, "must be like 3, not many")]
)
def test_a_wrong_parameter_is_named(values, words):
    with pytest.raises(FileError, match=words):
        notebook.with_parameters(PARAMETERS, values)


def execute(folder, cells, *values):
    """Write a notebook of these cells, execute it, and give the process."""
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    for cell in cells:
        new = nbformat.v4.new_markdown_cell if cell.startswith("#") else nbformat.v4.new_code_cell
        book.cells.append(new(cell))
    nbformat.write(book, folder / "a.ipynb")
    command = [sys.executable, "-m", "quasar_mass.cli.notebook", "execute", folder / "a.ipynb", folder / "b.ipynb"]
    return subprocess.run([*map(str, command), *values], capture_output=True, text=True, timeout=120)


def test_cells_run_in_order_and_say_where_they_are(tmp_path):
    done = execute(tmp_path, ["## Twice", "print(2 * NUMBER)", "NUMBER + 1", "## End", "print('so')"], "NUMBER=21")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["cell  2 of 4  Twice", "42", "cell  4 of 4  End", "so"]
    cells = [cell for cell in nbformat.read(tmp_path / "b.ipynb", 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]
    assert cells[2].outputs[0]["data"]["text/plain"] == "22"
    assert "NUMBER = 21\n" in cells[0].source


def test_a_failing_cell_ends_it_with_one_sentence_and_no_notebook(tmp_path):
    done = execute(tmp_path, ["## Fails", "1 / 0", "print('never')"])
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "never" not in done.stdout
    assert not (tmp_path / "b.ipynb").exists()


def fails_at_once(*arguments):
    """Run the command in this process; it must fail before a cell is executed. What it says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbclient.NotebookClient.execute", lambda *_, **__: pytest.fail("a cell was executed"))
        assert notebook.main(["execute", *map(str, arguments)]) == 1


@pytest.mark.parametrize("text", ["# A title\n", "", "{}", "[]", '{"nbformat": 4}', '{"nbformat": 99}', "\x00\xff"])
def test_a_file_that_is_no_notebook_is_said_to_be_none(tmp_path, capsys, text):
    (tmp_path / "a.md").write_text(text, encoding="latin-1")
    fails_at_once(tmp_path / "a.md", tmp_path / "b.ipynb")
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'a.md'}: is not a notebook (")
    assert said.count("\n") == 1


def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path, capsys):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    for output in (tmp_path / "a.ipynb" / "b.ipynb", tmp_path / "a.ipynb" / "deep" / "b.ipynb", tmp_path):
        fails_at_once(tmp_path / "a.ipynb", output)
        assert capsys.readouterr().err.startswith(f"error: {output}: ")


def test_the_folder_of_the_output_is_made(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    assert notebook.main(["execute", str(tmp_path / "a.ipynb"), str(tmp_path / "new" / "folder" / "b.ipynb")]) == 0
    assert nbformat.read(tmp_path / "new" / "folder" / "b.ipynb", 4).cells == []


def test_values_are_not_required(capsys):
    with pytest.raises(SystemExit):
        notebook.main(["execute"])
    assert "required: NOTEBOOK, OUTPUT\n" in capsys.readouterr().err
