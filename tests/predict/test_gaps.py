"""Intervals where a line is partly hidden: wider, and holding the labels; for a network that reads Mg II alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import random_tables

from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file
from quasar_mass.predict import calibration_file
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.calibration_spectra import with_gaps
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.seen_lines import LINES, hidden_fractions, interpolate
from quasar_mass.tables import dataset, survey_tables

GRID = Grid(1e-3)
PROFILE = np.exp(-0.5 * ((GRID.log_wavelength - np.log10(2798.75)) / 3e-3) ** 2)


def spectra(n, rng):
    """Spectra whose Mg II is the stronger the heavier the black hole is, and their labels."""
    mass = rng.normal(8.5, 0.4, n)
    flux = 1.0 + (mass[:, None] - 7.0) * PROFILE + rng.normal(0.0, 0.05, (n, GRID.size))
    return flux.astype(np.float32), mass + rng.normal(0.0, 0.1, n)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A model file, calibrated on a survey of such spectra."""
    folder = tmp_path_factory.mktemp("gaps")
    survey, n = Survey(folder / "survey"), 2000
    flux, label = spectra(n, np.random.default_rng(1))
    rows = random_tables.rows(n, GRID) | {"flux": flux, "Z": [1.5] * n, "SN": [20.0] * n}
    quasars, about = random_tables.quasars(rows).assign(LMBH=label), random_tables.about(GRID)
    survey_tables.write_quasars(survey.quasars, quasars, about)
    survey_tables.write_spectra(survey.spectra, [rows], GRID, lambda: about)
    layers = backend.import_keras().layers
    network = [layers.Flatten(), layers.Dense(2, name="hidden"), layers.Dense(1, name="mass")]
    model, data = EasyAI(network, (GRID.size, 1), seed=1), dataset.load(survey)
    reads = (PROFILE - PROFILE.mean()) / np.sum((PROFILE - PROFILE.mean()) * PROFILE)  # the line above the continuum
    model.model.get_layer("hidden").set_weights(
        [np.column_stack([reads, np.ones(GRID.size) / GRID.size]), np.array([7.0, 0.0])]
    )
    model.model.get_layer("mass").set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    model.save(folder / "model.h5", about=dataset.describe(data.about, data.quasars, data.spectra))
    calibrate_file([folder / "model.h5"], survey, quiet=True)
    return folder / "model.h5"


def predicted(predictor, flux, seen):
    rows = pd.DataFrame({"Z": 1.5, "SN": 20.0, "REASON": ""}, index=range(len(flux)))
    rows[list(LINES)] = seen
    return predictor.from_rest_frame(rows, flux, [[]] * len(flux)).rows


def intervals(predictor, flux, seen, label):
    """Fraction of labels held, and mean width."""
    table = predicted(predictor, flux, seen)
    inside = (table["LMBH_LOW"] <= label) & (label <= table["LMBH_HIGH"])
    return inside.mean(), (table["LMBH_HIGH"] - table["LMBH_LOW"]).mean()


def gap(flux, middle, width):
    ends = np.log10([middle - 0.5 * width, middle + 0.5 * width])
    return interpolate(flux, GRID, *ends), 1.0 - np.array(hidden_fractions(*ends))


def test_intervals_widen_with_what_is_hidden_of_the_line_that_counts(calibrated):
    predictor = Predictor.load(calibrated)
    flux, label = spectra(2000, np.random.default_rng(2))
    held, plain = intervals(predictor, flux, 1.0, label)
    assert held == pytest.approx(0.9, abs=0.04)
    wide = [intervals(predictor, *gap(flux, 2798.75, width), label) for width in (10.0, 20.0, 40.0)]
    assert plain < wide[0][1] < wide[1][1] < wide[2][1]
    assert wide[2][1] > 2.0 * plain
    assert min(held for held, _ in wide) > 0.85
    for middle in (1549.0, 1909.0, 2200.0):  # where this network reads nothing
        assert intervals(predictor, *gap(flux, middle, 40.0), label)[1] == pytest.approx(plain, rel=0.1)


def test_what_is_not_known_to_be_hidden_counts_as_seen(calibrated):
    predictor = Predictor.load(calibrated)
    flux, _ = spectra(20, np.random.default_rng(3))
    columns = ["LMBH", "LMBH_LOW", "LMBH_HIGH"]
    pd.testing.assert_frame_equal(
        predicted(predictor, flux, np.nan)[columns], predicted(predictor, flux, 1.0)[columns], check_exact=True
    )


def test_a_calibration_of_an_older_version_knows_nothing_of_gaps_and_works(calibrated, tmp_path):
    predictor = Predictor.load(calibrated)
    calibration, older = predictor.calibration, {}
    for line, interval in calibration.intervals.items():
        density = interval.density
        fewer = {name: getattr(density, name)[:-6] for name in ("centre", "scale", "low", "high")}
        older[line] = replace(interval, density=replace(density, w1=density.w1[:, :-6], **fewer))
    path = tmp_path / "older.h5"
    path.write_bytes(calibrated.read_bytes())
    calibration_file.save(replace(calibration, intervals=older), path, predictor.ensemble.name)
    assert calibration_file.read(model_file.read(path), predictor.ensemble.name) is not None
    flux, _ = spectra(20, np.random.default_rng(4))
    whole, hidden = (predicted(Predictor.load(path), flux, seen) for seen in (1.0, 0.1))
    assert (whole["LMBH_LOW"] < whole["LMBH_HIGH"]).all()
    pd.testing.assert_frame_equal(whole.drop(columns=list(LINES)), hidden.drop(columns=list(LINES)))


def test_every_copy_has_one_gap_and_what_is_left_of_the_lines_is_said():
    flux, _ = spectra(300, np.random.default_rng(5))
    gapped, left = with_gaps(np.random.default_rng(6), flux, GRID)
    changed = gapped != flux
    assert changed.any(axis=1).mean() > 0.8  # the narrowest lie between two pixels of this coarse grid
    runs = np.diff(changed.astype(int), axis=1, prepend=0) == 1
    assert (runs.sum(axis=1) <= 1).all()
    middle = changed[:, np.abs(GRID.wavelength - 2798.75) < 5].all(axis=1)
    assert (left[middle, 2] < 0.9).all()
    far = ~changed[:, np.abs(GRID.wavelength - 2798.75) < 90].any(axis=1)
    assert (left[far, 2] > 0.99).all()
