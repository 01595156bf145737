"""Model files, damaged in every way: what is loaded is what Keras and h5py read of the same bytes, or nothing."""

import shutil

import h5py
import numpy as np
import pytest
import watch
from hdf5_mutations import hdf5_damage, without_checksum
from mutations import Case

from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.keras_io.model_file import ARRAYS
from quasar_mass.predict import calibration_file
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.predictor import Predictor, check_fit, transfer_note
from quasar_mass.tables import dataset
from quasar_mass.tables.build.pipeline import build
from quasar_mass.uncertainty.pooling import StackedSpectra

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

STEP = 1e-3


@pytest.fixture(scope="module")
def original(_tiny_original, tmp_path_factory) -> tuple[bytes, str, dataset.Dataset]:
    """A calibrated network, the name of its calibration, and the survey of it."""
    folder = tmp_path_factory.mktemp("models")
    survey = Survey(shutil.copytree(_tiny_original, folder / "survey"))
    build(survey, step=STEP, quiet=True)
    data, path = dataset.load(survey), folder / "model.h5"
    layers = backend.import_keras().layers
    network = [layers.Flatten(), layers.Dense(4, activation="tanh"), layers.Dense(1)]
    about = dataset.describe(data.about, data.quasars, data.spectra)
    EasyAI(network, (Grid(STEP).size, 1)).save(path, about=about)
    calibrate_file([path], survey, fresh=0, quiet=True)
    with h5py.File(path) as file:
        (name,) = file[ARRAYS]
    return without_checksum(path.read_bytes()), name.removeprefix("quote-"), data


@pytest.mark.parametrize("examples", [80, pytest.param(900, marks=pytest.mark.slow)])
def test_a_damaged_calibration_is_read_as_it_is_or_refused(original, tmp_path, examples):
    content, name, _ = original
    path = tmp_path / "model.h5"

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        found = watch.attempt(
            "calibrations", lambda: (model_file.read_about(path), calibration_file.read(model_file.read(path), name))
        )
        if found is None:
            return
        watch.note("calibrations", "unchanged" if changed == content else "as h5py" if found[1] else "none in the file")
        if found[1] is None:
            return
        with h5py.File(path) as file:
            stored = {key: value[()] for key, value in file[f"{ARRAYS}/quote-{name}"].items()}
        for key, value in found[1].domain.arrays().items():
            np.testing.assert_array_equal(value, stored[f"limits.{key}"])
        for line, interval in found[1].intervals.items():
            np.testing.assert_array_equal(interval.scores.score, stored[f"{line}.scores."][0])
            for key, value in interval.density.arrays().items():
                np.testing.assert_array_equal(value, stored[f"{line}.spread.{key}"])
                assert np.isfinite(value).all()

    watch.fuzz(check, hdf5_damage(content), examples)


@pytest.mark.parametrize("examples", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_a_damaged_network_predicts_what_keras_predicts_or_is_refused(original, tmp_path, examples):
    content, _, data = original
    path, keras = tmp_path / "model.h5", backend.import_keras()
    noise, redshift = data.spectra["SN"].to_numpy(float), data.spectra["Z"].to_numpy(float)

    def use() -> tuple:
        quoter = Predictor.load(path, confidence=0.5)
        check_fit(quoter.ensemble.first, data.about, path)
        seen = quoter.view(data.flux, redshift, noise)
        transfer_note(quoter.ensemble.first, "sdss")
        return (
            quoter.masses(seen),
            quoter.flags(seen, noise),
            quoter.pool(data.spectra.index.get_level_values(0), seen, stacks(data, seen)),
        )

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        found = watch.attempt("networks", use)
        if found is None:
            return
        masses = found[0]["LMBH"].to_numpy()
        plain = keras.models.load_model(path, compile=False).predict(data.flux[..., None], verbose=0)[:, 0]
        np.testing.assert_allclose(masses, plain, rtol=1e-5)
        assert np.isfinite(masses).all()
        if "LMBH_LOW" in found[0]:
            assert not (found[0]["LMBH_LOW"] > found[0]["LMBH_HIGH"]).any()
        watch.note("networks", "unchanged" if changed == content else "as Keras")

    watch.fuzz(check, hdf5_damage(content), examples)


def stacks(data: dataset.Dataset, seen) -> StackedSpectra:
    found = StackedSpectra(data.grid.size)
    found.add(data.spectra.index.get_level_values(0).to_numpy(), data.flux, seen.signal_to_noise)
    return found
