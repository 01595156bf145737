"""Masses without Keras: what is installed by default is enough, gives Keras's numbers, and names what is missing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import golden_sample
import numpy as np
import pandas as pd
import pytest

from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.inference import Ensemble
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.onnx_network import OnnxNetwork
from quasar_mass.predict import calibration_file, mass_table
from quasar_mass.predict.inputs import SHIPPED_MODEL
from quasar_mass.predict.predictor import Predictor

HOME = Path(__file__).resolve().parents[2]
# what the extras bring, as if it were not installed
WITHOUT = ("bokeh", "dask", "dust_extinction", "jax", "jinja2", "keras", "matplotlib", "scipy", "sklearn", "tensorflow")
# runs a command there, and says on the last line which other modules it imported
COMMAND = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from quasar_mass.cli import {script}
status = {script}.main(sys.argv[2:])
print(json.dumps(sorted({{name.split(".")[0] for name, module in sys.modules.items() if module is not None}})))
sys.exit(status)
"""


def run(*words, script="quasar_analysis", without=WITHOUT, status=0) -> tuple[list[str], str, set]:
    """What a command prints, on standard error too, and the modules that it imports."""
    command = [sys.executable, "-W", "error", "-c", COMMAND.format(script=script), json.dumps(without)]
    done = subprocess.run([*command, *map(str, words)], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    *printed, modules = done.stdout.splitlines()
    return printed, done.stderr, set(json.loads(modules))


def test_masses_of_files_and_tables_import_neither_keras_nor_what_takes_as_long(make, tmp_path):
    spectrum = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    predicted, error, modules = run("predict", spectrum)
    assert "4000-56000-0001" in predicted[1]
    assert not modules & {*WITHOUT, "astropy", "requests"}
    predicted, error, modules = run("predict", golden_sample.SPECTRA, "--quiet")
    assert error == ""
    assert len(predicted) > 10
    assert not modules & {*WITHOUT, "astropy", "requests"}


def test_what_is_installed_by_default_is_enough(made, make, tmp_path):
    spectrum = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    survey = made[0].folder
    run("virial", spectrum, "--output", tmp_path / "fits.vot")
    run("predict", "--survey", survey, "--model", made[1][0], "--per-object", "--output", tmp_path / "objects.fits")
    run("evaluate", "--survey", survey, "--model", made[1][0])
    run("fetch", "all", "--dry-run", "--survey", tmp_path, script="get_chen_data")


@pytest.mark.parametrize(
    ("words", "script", "sentence"),
    [
        (
            ("report", "--survey", "SURVEY"),
            "quasar_analysis",
            r"(bokeh|matplotlib) is not installed; run: pip install .q.*report]",
        ),
        (
            ("explain", "SPECTRUM"),
            "quasar_analysis",
            r"(bokeh|matplotlib) is not installed; run: pip install .q.*report]",
        ),
        (
            ("export", "--output", "FOLDER/a.onnx"),
            "quasar_analysis",
            "keras is not installed; run: pip install 'q.*train]",
        ),
        (("predict", "SPECTRUM", "--model", "OTHER"), "quasar_analysis", "keras is not installed; run: .*train]"),
        (("build", "--survey", "SURVEY"), "get_chen_data", "scipy is not installed; run: pip install 'q.*train]"),
        (("predict", "SPECTRUM", "--scheduler", "a:1"), "quasar_analysis", "distributed is not .*cluster]"),
    ],
)
def test_what_needs_an_extra_says_so_in_one_sentence(made, make, tmp_path, words, script, sentence):
    other = tmp_path / "other.h5"
    layers = backend.import_keras().layers
    EasyAI([layers.GRU(2), layers.Dense(1)], (371, 1)).save(other, about={"grid": {"step": 1e-3}})
    spectrum = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    named = {"SURVEY": made[0].folder, "SPECTRUM": spectrum, "OTHER": other}
    words = [str(named.get(word, word)).replace("FOLDER", str(tmp_path)) for word in words]
    _, error, _ = run(*words, script=script, without=(*WITHOUT, "distributed"), status=1)
    (line,) = [line for line in error.splitlines() if not line.endswith("...")]
    assert re.search(sentence, line), line


def test_the_other_interface_says_so_too():
    code = """
import sys
sys.modules.update(keras=None, tensorflow=None)
import quasar_mass as qm
qm.EasyAI([], (9, 1))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("keras is not installed; run: pip install 'quasar-mass-ml[train]'.")


def test_intervals_and_flags_are_those_of_keras():
    file = model_file.read(SHIPPED_MODEL)
    in_keras = Ensemble([EasyAI.load(file)])
    keras = Predictor(in_keras, calibration_file.read(file, in_keras.name))
    ours = Predictor.load(SHIPPED_MODEL)
    assert isinstance(ours.ensemble.first, OnnxNetwork)
    assert keras.calibration is not None
    tables = [mass_table.predict_table(golden_sample.SPECTRA, one, quiet=True) for one in (ours, keras)]
    for name in ("LMBH", "LMBH_LOW", "LMBH_HIGH"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=0, atol=1e-5)
    columns = ["FLAGS", "REASON", "EPOCH"]
    pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns])
    assert (tables[0]["FLAGS"] != "").any()


def test_gradients_are_taken_in_keras(made):
    predictor = Predictor.load(made[1][0])
    assert isinstance(predictor.in_keras, EasyAI)
    plain = EasyAI.load(made[1][0])
    assert Predictor.of(plain).in_keras is plain
