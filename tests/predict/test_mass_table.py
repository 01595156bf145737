"""Quoted masses of files, tables and surveys: intervals, flags, refusals, ensembles, one mass per object."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from quasar_mass.core.errors import ModelError
from quasar_mass.core.survey import Grid
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict import mass_table
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.inputs import SpectrumRequest, gather
from quasar_mass.predict.predictor import Predictor
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build.pipeline import build

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

STEP = 1e-3


@pytest.fixture(scope="module")
def made(_tiny_original, tmp_path_factory):
    """The tiny survey on a coarse grid, and two untrained networks for it; the first alone and both are calibrated."""
    import shutil

    from quasar_mass.core.survey import Survey

    folder = tmp_path_factory.mktemp("quoted")
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


def test_a_survey_s_masses_have_intervals_where_the_validation_set_allows_them(made):
    survey, paths, _ = made
    table = mass_table.predict_survey(survey, Predictor.load(paths[0], confidence=0.5, total=True), quiet=True)
    assert (table["LMBH_LOW"] < table["LMBH_HIGH"]).all()
    assert (table["TOTAL_LOW"] < table["LMBH_LOW"]).all()
    assert (table["TOTAL_HIGH"] > table["LMBH_HIGH"]).all()
    # two validation objects cannot promise 90 %: null, not a guess
    unable = mass_table.predict_survey(survey, Predictor.load(paths[0]), quiet=True)
    assert unable["LMBH"].notna().all()
    assert unable[["LMBH_LOW", "LMBH_HIGH"]].isna().all(axis=None)


def test_an_ensemble_gives_the_mean_and_the_spread(made):
    survey, paths, data = made
    masses = [EasyAI.load(path).predict(data.flux) for path in paths]
    table = mass_table.predict_survey(survey, Predictor.load(paths, confidence=0.5), quiet=True)
    np.testing.assert_allclose(table["LMBH"], np.mean(masses, axis=0), atol=1e-5)
    np.testing.assert_allclose(table["LMBH_ENS_STD"], np.std(masses, axis=0, ddof=1), atol=1e-5)
    assert table["LMBH_LOW"].notna().all()


def test_a_plain_network_still_predicts_and_says_what_it_does_not_know(made):
    survey, paths, _ = made
    model = EasyAI.load(paths[0])
    table = mass_table.predict_survey(survey, model, quiet=True)
    assert "LMBH_LOW" not in table
    del model.about["trained_on"]
    (flags,) = mass_table.predict_files([survey.spectrum(4001, 56001, 10)], model, quiet=True)["FLAGS"]
    assert flags == "training range unknown"


def test_one_mass_per_object_by_the_method_that_was_calibrated(made):
    survey, paths, data = made
    quoter = Predictor.load(paths[0], confidence=0.5)
    table = mass_table.predict_survey(survey, quoter, per_object=True, quiet=True).set_index("OBJECT")
    singles = mass_table.predict_survey(survey, quoter, quiet=True)
    assert table["N_EPOCHS"].equals(data.quasars["N_EPOCHS"].reindex(table.index).astype("int64"))
    mean = singles.groupby("OBJECT")["LMBH"].mean()
    np.testing.assert_allclose(table["LMBH_MEAN"], mean.loc[table.index])
    alone = table["N_EPOCHS"] == 1
    np.testing.assert_allclose(table.loc[alone, "LMBH"], mean.loc[table.index[alone]])
    seen = [(frame, flux) for frame, flux in survey_tables.iterate_spectra(survey.spectra)]
    frame, flux = pd.concat([one for one, _ in seen]), np.concatenate([one for _, one in seen])
    name = data.quasars.index[data.quasars["N_EPOCHS"] == 4][0]
    rows = (frame["OBJECT"] == name).to_numpy()
    weights = frame.loc[rows, "SN"].to_numpy(float) ** 2
    stack = np.average(flux[rows], axis=0, weights=weights).astype(np.float32)
    from quasar_mass.uncertainty.pooling import StackedSpectra

    stacks = StackedSpectra(flux.shape[1])
    look = quoter.view(flux[rows], frame.loc[rows, "Z"].to_numpy(), frame.loc[rows, "SN"].to_numpy(float))
    stacks.add(np.array([name] * 4), flux[rows], look.signal_to_noise)
    pooled = quoter.pool([name] * 4, look, stacks, "stacked")
    assert pooled["LMBH"][name] == pytest.approx(EasyAI.load(paths[0]).predict(stack[None])[0], abs=1e-5)


def test_files_and_rows_of_tables_get_the_survey_s_masses_and_the_table_s_redshift(made, tmp_path):
    survey, paths, data = made
    quoter = Predictor.load(paths[0], confidence=0.5)
    whole = mass_table.predict_survey(survey, quoter, quiet=True)
    listed = data.spectra.reset_index()[["OBJECT", "EPOCH", "Z"]]
    listed.to_parquet(tmp_path / "list.parquet")
    files, _ = gather([tmp_path / "list.parquet"], survey)
    table = mass_table.predict_files(files, quoter, quiet=True)
    np.testing.assert_allclose(table["LMBH"], whole["LMBH"], atol=1e-4)
    assert table["OBJECT"].tolist() == whole["OBJECT"].tolist()
    moved = mass_table.predict_files([SpectrumRequest(files[0].file, files[0].redshift + 0.01)], quoter, quiet=True)
    assert moved["Z"][0] == pytest.approx(files[0].redshift + 0.01)
    assert moved["LMBH"][0] != pytest.approx(table["LMBH"][0], abs=1e-6)
    by_object = mass_table.predict_files(files, quoter, per_object=True, quiet=True)
    assert by_object["N_EPOCHS"].sum() == len(files)
    _, (spectra,) = gather([survey.spectra], survey)
    np.testing.assert_allclose(mass_table.predict_table(spectra, quoter, quiet=True)["LMBH"], whole["LMBH"])


def test_mostly_bad_pixels_and_no_redshift_are_null_with_the_reason(made, make, tmp_path):
    _, paths, _ = made
    ivar = np.full(make.n_pixels, 4.0)
    ivar[1500:4200] = 0
    bad = make.spec(tmp_path / "spec-4000-56000-0001.fits", ivar=ivar)
    good = make.spec(tmp_path / "spec-4000-56000-0002.fits")
    wanted = [SpectrumRequest(bad), SpectrumRequest(good, 0.0), SpectrumRequest(good)]
    table = mass_table.predict_files(wanted, Predictor.load(paths[0], confidence=0.5), quiet=True)
    assert table["LMBH"].isna().tolist() == [True, True, False]
    assert "too many bad pixels" in table["REASON"][0]
    assert "no redshift" in table["REASON"][1]
    assert table[["LMBH_LOW", "LMBH_HIGH"]].isna().all(axis=1).tolist() == [True, True, False]
    assert table["REASON"][2] == ""


def test_an_object_without_a_usable_spectrum_has_a_row_with_the_reason(made, make, tmp_path):
    _, paths, _ = made
    good = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    far = make.spec(tmp_path / "spec-4000-56000-0002.fits", spectrum=(4000, 56000, 2), z=3.5)
    wanted = [SpectrumRequest(good), SpectrumRequest(far), SpectrumRequest(tmp_path / "none.fits")]
    quoter = Predictor.load(paths[0], confidence=0.5)
    table = mass_table.predict_files(wanted, quoter, per_object=True, quiet=True).set_index("OBJECT")
    assert table["N_EPOCHS"].to_dict() == {"4000-56000-0001": 1, "4000-56000-0002": 0, str(tmp_path / "none.fits"): 0}
    assert table["LMBH"].notna().tolist() == [True, False, False]
    assert "does not cover the window" in table["REASON"]["4000-56000-0002"]
    assert "missing file" in table["REASON"][str(tmp_path / "none.fits")]


def test_what_is_no_quasar_is_flagged_and_keeps_its_number(made, make, tmp_path):
    _, paths, _ = made
    path = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[2].data["CLASS"] = "STAR"
    table = mass_table.predict_files([path], Predictor.load(paths[0], confidence=0.5), quiet=True)
    assert "class STAR" in table["FLAGS"][0]
    assert np.isfinite(table["LMBH"][0])


@pytest.mark.parametrize("ending", ["parquet", "fits", "vot", "ecsv", "csv"])
def test_tables_say_units_and_what_the_columns_are(made, tmp_path, ending):
    survey, paths, _ = made
    table = mass_table.predict_survey(survey, Predictor.load(paths[0], confidence=0.5), quiet=True)
    mass_table.write(table, tmp_path / f"t.{ending}", {"confid": 0.5, "survkind": "sdss"})
    quiet = {"unit_parse_strict": "silent"} if ending == "fits" else {}
    read = Table.read(tmp_path / f"t.{ending}", **quiet)
    np.testing.assert_allclose(np.asarray(read["LMBH_LOW"], float), table["LMBH_LOW"])
    if ending in ("ecsv", "parquet"):
        assert str(read["LMBH_HIGH"].unit) == "dex(solMass)"
        assert "upper end" in read["LMBH_HIGH"].description
        assert read.meta["CONFID"] == "0.5"


def test_networks_that_do_not_belong_together_are_refused(made, tmp_path):
    _, paths, _ = made
    layers = backend.import_keras().layers
    EasyAI([layers.Flatten(), layers.Dense(1)], (99, 1)).save(tmp_path / "other.h5")
    with pytest.raises(ModelError, match="model 2 of 2"):
        Predictor.load([paths[0], tmp_path / "other.h5"])
