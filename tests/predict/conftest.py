"""A tiny survey with calibrated networks, for all tests of predictions."""

import shutil

import pytest

from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.tables import dataset
from quasar_mass.tables.build.pipeline import build

STEP = 1e-3


@pytest.fixture(scope="session")
def made(_tiny_original, tmp_path_factory):
    """The tiny survey on a coarse grid, and two untrained networks for it; the first alone and both are calibrated."""
    folder = tmp_path_factory.mktemp("predict")
    survey = Survey(shutil.copytree(_tiny_original, folder / "survey"))
    build(survey, step=STEP, quiet=True)
    data = dataset.load(survey)
    about = dataset.describe(data.about, data.quasars, data.spectra)
    layers = backend.import_keras().layers
    paths = [folder / "one.h5", folder / "two.h5"]
    for seed, path in enumerate(paths):
        hidden = [layers.Flatten(), layers.Dense(6, activation="tanh"), layers.Dense(1)]
        EasyAI(hidden, (Grid(STEP).size, 1), seed=seed).save(path, about=about)
    for chosen in (paths[:1], paths):
        calibrate_file(chosen, survey, quiet=True)
    return survey, paths, data
