"""Tables of masses of files, tables and surveys: intervals, flags, reasons, ensembles, one mass per object."""

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from quasar_mass.core.errors import FileError
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict import mass_table
from quasar_mass.predict.inputs import gather
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.network_input import network_input
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.uncertainty.pooling import StackedSpectra


def test_masses_of_a_survey_have_intervals_where_the_validation_set_allows_them(made):
    survey, paths, _ = made
    table = mass_table.predict_survey(survey, Predictor.load(paths[0], confidence=0.5, total=True), quiet=True)
    assert (table["LMBH_LOW"] < table["LMBH_HIGH"]).all()
    assert (table["TOTAL_LOW"] < table["LMBH_LOW"]).all()
    assert (table["TOTAL_HIGH"] > table["LMBH_HIGH"]).all()
    # two validation objects cannot promise 90 %: null, not a guess
    unable = mass_table.predict_survey(survey, Predictor.load(paths[0]), quiet=True)
    assert unable["LMBH"].notna().all()
    assert unable[["LMBH_LOW", "LMBH_HIGH"]].isna().all(axis=None)


def test_an_ensemble_gives_mean_and_standard_deviation(made):
    survey, paths, data = made
    spectra = network_input(data.flux, data.spectra["Z"].to_numpy())
    masses = [EasyAI.load(path).predict(spectra) for path in paths]
    table = mass_table.predict_survey(survey, Predictor.load(paths, confidence=0.5), quiet=True)
    np.testing.assert_allclose(table["LMBH"], np.mean(masses, axis=0), atol=1e-5)
    np.testing.assert_allclose(table["LMBH_ENS_STD"], np.std(masses, axis=0, ddof=1), atol=1e-5)
    assert table["LMBH_LOW"].notna().all()


def test_a_plain_network_gives_masses_without_intervals_and_says_so(made):
    survey, paths, _ = made
    model = EasyAI.load(paths[0])
    table = mass_table.predict_survey(survey, model, quiet=True)
    assert "LMBH_LOW" not in table
    del model.about["trained_on"]
    (flags,) = mass_table.predict_files([survey.spectrum(4001, 56001, 10)], model, quiet=True)["FLAGS"]
    assert flags == "training range unknown"


def test_one_mass_per_object_by_the_method_that_was_calibrated(made):
    survey, paths, data = made
    predictor = Predictor.load(paths[0], confidence=0.5)
    table = mass_table.predict_survey(survey, predictor, per_object=True, quiet=True).set_index("OBJECT")
    singles = mass_table.predict_survey(survey, predictor, quiet=True)
    assert table["N_EPOCHS"].equals(data.quasars["N_EPOCHS"].reindex(table.index).astype("int64"))
    mean = singles.groupby("OBJECT")["LMBH"].mean()
    np.testing.assert_allclose(table["LMBH_MEAN"], mean.loc[table.index])
    alone = table["N_EPOCHS"] == 1
    np.testing.assert_allclose(table.loc[alone, "LMBH"], mean.loc[table.index[alone]])
    name = data.quasars.index[data.quasars["N_EPOCHS"] == 4][0]
    rows = (data.spectra.index.get_level_values(0) == name).nonzero()[0]
    sn = data.spectra["SN"].to_numpy(float)[rows]
    stack = network_input(np.average(data.flux[rows], axis=0, weights=sn**2)[None], data.quasars["Z"][name])
    view, stacks = (
        predictor.view(data.flux[rows], data.spectra["Z"].to_numpy()[rows], sn),
        StackedSpectra(data.grid.size),
    )
    stacks.add([name] * 4, data.flux[rows], view.signal_to_noise)
    pooled = predictor.pool([name] * 4, view, stacks, "stacked")
    assert pooled["LMBH"][name] == pytest.approx(EasyAI.load(paths[0]).predict(stack)[0], abs=1e-5)


def test_files_and_rows_of_tables_get_the_survey_s_masses_and_the_table_s_redshift(made, tmp_path):
    survey, paths, data = made
    predictor = Predictor.load(paths[0], confidence=0.5)
    whole = mass_table.predict_survey(survey, predictor, quiet=True)
    listed = data.spectra.reset_index()[["OBJECT", "EPOCH", "Z"]]
    listed.to_parquet(tmp_path / "list.parquet")
    files, *_ = gather([tmp_path / "list.parquet"], survey)
    table = mass_table.predict_files(files, predictor, quiet=True)
    np.testing.assert_allclose(table["LMBH"], whole["LMBH"], atol=1e-4)
    seen = ["SEEN_CIV", "SEEN_CIII", "SEEN_MgII"]
    np.testing.assert_allclose(table[seen], whole[seen], rtol=1e-6)
    assert (whole["SEEN_CIV"] < 0.5).any()  # the tiny survey has gaps
    for given in (table, whole):
        assert (given["FLAGS"].str.contains("gap at C IV") == (whole["SEEN_CIV"] < 0.5)).all()
    assert table["OBJECT"].tolist() == whole["OBJECT"].tolist()
    moved = mass_table.predict_files([SpectrumRequest(files[0].file, files[0].redshift + 0.01)], predictor, quiet=True)
    assert moved["Z"][0] == pytest.approx(files[0].redshift + 0.01)
    assert moved["LMBH"][0] != pytest.approx(table["LMBH"][0], abs=1e-6)
    by_object = mass_table.predict_files(files, predictor, per_object=True, quiet=True)
    assert by_object["N_EPOCHS"].sum() == len(files)
    _, (spectra,), _ = gather([survey.spectra], survey)
    np.testing.assert_allclose(mass_table.predict_table(spectra, predictor, quiet=True)["LMBH"], whole["LMBH"])


def test_files_of_several_tasks_get_the_same_masses_in_the_same_order(made, monkeypatch):
    survey, paths, _ = made
    predictor = Predictor.load(paths[0], confidence=0.5)
    files = sorted(survey.folder.glob("spectra/*/*.fits"))
    whole = mass_table.predict_files(files, predictor, quiet=True)
    monkeypatch.setattr(mass_table, "FILES", 3)
    pd.testing.assert_frame_equal(mass_table.predict_files(files, predictor, quiet=True), whole, rtol=1e-6)


def test_mostly_bad_pixels_and_no_redshift_are_null_with_the_reason(made, make, tmp_path):
    _, paths, _ = made
    ivar = np.full(make.n_pixels, 4.0)
    ivar[1500:4200] = 0
    bad = make.spec(tmp_path / "spec-4000-56000-0001.fits", ivar=ivar)
    good = make.spec(tmp_path / "spec-4000-56000-0002.fits")
    requests = [SpectrumRequest(bad), SpectrumRequest(good, np.nan), SpectrumRequest(good)]
    table = mass_table.predict_files(requests, Predictor.load(paths[0], confidence=0.5), quiet=True)
    assert table["LMBH"].isna().tolist() == [True, True, False]
    assert "too many bad pixels" in table["REASON"][0]
    assert "no redshift" in table["REASON"][1]
    assert table[["LMBH_LOW", "LMBH_HIGH"]].isna().all(axis=1).tolist() == [True, True, False]
    assert table["REASON"][2] == ""


def test_an_object_without_a_usable_spectrum_has_a_row_with_the_reason(made, make, tmp_path):
    _, paths, _ = made
    good = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    far = make.spec(tmp_path / "spec-4000-56000-0002.fits", spectrum=(4000, 56000, 2), z=3.5)
    requests = [SpectrumRequest(good), SpectrumRequest(far), SpectrumRequest(tmp_path / "none.fits")]
    predictor = Predictor.load(paths[0], confidence=0.5)
    table = mass_table.predict_files(requests, predictor, per_object=True, quiet=True).set_index("OBJECT")
    assert table["N_EPOCHS"].to_dict() == {"4000-56000-0001": 1, "4000-56000-0002": 0, str(tmp_path / "none.fits"): 0}
    assert table["LMBH"].notna().tolist() == [True, False, False]
    assert "does not cover the window" in table["REASON"]["4000-56000-0002"]
    assert "missing file" in table["REASON"][str(tmp_path / "none.fits")]


def test_tables_say_units_and_what_the_columns_are(made, tmp_path):
    survey, paths, _ = made
    table = mass_table.predict_survey(survey, Predictor.load(paths[0], confidence=0.5), quiet=True)
    mass_table.write(table, tmp_path / "t.ecsv", {"confid": 0.5, "survkind": "sdss"})
    read = Table.read(tmp_path / "t.ecsv")
    np.testing.assert_allclose(np.asarray(read["LMBH_LOW"], float), table["LMBH_LOW"])
    assert str(read["LMBH_HIGH"].unit) == "dex(solMass)"
    assert "upper end" in read["LMBH_HIGH"].description
    assert read.meta["CONFID"] == "0.5"


def test_where_no_file_can_be_used_every_reason_is_in_the_table_and_counted(made, make, tmp_path):
    far = make.spec(tmp_path / "spec-4000-56000-0002.fits", spectrum=(4000, 56000, 2), z=3.5)
    requests = [far, tmp_path / "none.fits", tmp_path / "no.fits"]
    table = mass_table.predict_files(requests, Predictor.load(made[1][0]), quiet=True)
    assert table["REASON"].str.split(":").str[0].tolist() == ["does not cover the window", *["missing file"] * 2]
    with pytest.raises(FileError, match=r"3 spectra got a mass \(missing file: 2; does not cover the window: 1\)"):
        mass_table.check_usable(table, "the spectra")
    with pytest.raises(FileError, match=r"^far\.fits: does not cover the window: .* virial can measure single lines"):
        mass_table.check_usable(table[:1], "far.fits")
    mass_table.check_usable(table.assign(LMBH=[np.nan, 8.0, np.nan]), "the spectra")


def test_a_bal_quasar_of_the_catalogue_is_flagged(made):
    flags = Predictor.load(made[1][0]).catalogue_flags(np.array([np.nan, 0.0, 0.74, 0.75, 1.0]))
    assert flags == [[], [], [], ["BAL quasar of the catalogue"], ["BAL quasar of the catalogue"]]
