"""The notebook writes out the network and its training; both are those of `network`."""

from pathlib import Path

import nbformat
import pytest

from quasar_mass.core.survey import Grid
from quasar_mass.network import architecture
from quasar_mass.network.architecture import Stage
from quasar_mass.network.backend import import_keras

BOOK = nbformat.read(Path(__file__).resolve().parents[2] / "Quasar_mass_ML.ipynb", as_version=4)
CELLS = [cell.source for cell in BOOK.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("step", [1e-4, 5e-5])
def test_the_layers_of_the_notebook_are_those_of_the_package(step):
    keras = import_keras()
    (source,) = (source for source in CELLS if source.startswith("layers = keras.layers"))
    names = {"keras": keras, "grid": Grid(step)}
    exec(source, names)
    written, expected = names["network"], architecture.layers(step)
    assert [layer.get_config() for layer in written] == [layer.get_config() for layer in expected]
    assert [type(layer) for layer in written] == [type(layer) for layer in expected]


def test_the_stages_of_the_notebook_are_those_of_the_package():
    names = {"Stage": Stage}
    exec(next(source for source in CELLS if "SEED =" in source), names)
    begins = ("rate =", "first =", "second =")
    lines = [line for source in CELLS for line in source.splitlines() if line.startswith(begins)]
    exec("\n".join(lines).replace("qm.", ""), names)
    assert (names["first"], names["second"]) == architecture.STAGES
