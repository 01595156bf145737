"""`build --reach`: all redshifts, partial spectra, and the data sets of such tables."""

import numpy as np
import pandas as pd
import pytest
import reach_survey

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.fetch.run import selected_spectra
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import FLAG_NO_MGII, NOT_SHOWN, to_rest_frame
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build.pipeline import build

STEP = 1e-3
GRID = Grid(STEP)


@pytest.fixture(scope="module")
def survey(tmp_path_factory, make) -> Survey:
    """Without tables."""
    return reach_survey.write(tmp_path_factory.mktemp("reach") / "survey", make)


@pytest.fixture(scope="module")
def built(tmp_path_factory, make) -> Survey:
    survey = reach_survey.write(tmp_path_factory.mktemp("built") / "survey", make)
    build(survey, step=STEP, reach=True, quiet=True)
    return survey


def read(survey) -> pd.DataFrame:
    """Spectra, with the flux as a column, by number."""
    frames, blocks = zip(*survey_tables.iterate_spectra(survey.spectra), strict=True)
    spectra = pd.concat(frames, ignore_index=True).assign(flux=list(np.concatenate(blocks)))
    return spectra.set_index(spectra["EPOCH"].str[:4].astype(int) - 4000)


def test_all_redshifts_and_partial_spectra_are_taken_and_the_others_rejected_with_the_reason(built):
    spectra, rejects = read(built), survey_tables.read_rejects(built.rejects)
    assert spectra.index.tolist() == sorted(reach_survey.TAKEN)
    assert spectra["Z"].tolist() == [reach_survey.REDSHIFTS[number] for number in spectra.index]
    assert rejects["EPOCH"].tolist() == [reach_survey.name(4)]
    assert rejects["REASON"].tolist() == [NOT_SHOWN]
    assert "1188-1666 Angstrom" in rejects["DETAIL"][0] or "1445-1666 Angstrom" in rejects["DETAIL"][0]
    about = survey_tables.read_about(built.spectra)
    assert about["partial"] is True
    assert about["cuts"][-4]["cut"] == "0.35 <= Z < 2.65"
    assert about["cuts"][-1] == {"cut": "read, and showing Mg II, or C IV and C III]", "objects": 9, "spectra": 9}


def test_each_row_is_the_partial_spectrum_of_its_file(built, make):
    for number, row in read(built).iterrows():
        z = reach_survey.REDSHIFTS[number]
        file = read_spectrum(make.spec_path(built.folder, reach_survey.spectrum(number)))
        expected = to_rest_frame(file, z, GRID, ebv=0.02, partial=True)
        np.testing.assert_allclose(row["flux"], expected.flux, rtol=1e-6)
        observed = GRID.log_wavelength + np.log10(1 + z)
        assert np.array_equal(np.isnan(row["flux"]), (observed < 3.552) | (observed > 4.0019))
        assert np.isnan(row["flux"]).any() == (number not in reach_survey.REFERENCE)
        assert (FLAG_NO_MGII in row["FLAGS"]) == (number in reach_survey.WITHOUT_MG_II)
        assert "gap" not in row["FLAGS"]
        assert (row["SEEN_MgII"], row["N_BAD"]) == pytest.approx((expected.lines_seen[2], 0))


def test_without_reach_the_reference_s_selection_is_taken(survey):
    build(survey, step=STEP, quiet=True)
    about = survey_tables.read_about(survey.spectra)
    assert read(survey).index.tolist() == reach_survey.REFERENCE
    assert "partial" not in about
    assert about["cuts"][-4]["cut"] == "1.2 <= Z < 1.8"
    rejects = survey_tables.read_rejects(survey.rejects)
    assert rejects["EPOCH"].tolist() == [reach_survey.name(7)]
    assert rejects["REASON"].tolist() == ["does not cover the window"]


def test_tables_are_the_same_bytes_for_any_number_of_processes(built, survey):
    build(survey, step=STEP, reach=True, jobs=2, quiet=True)
    for name in ("quasars", "spectra", "rejects"):
        assert getattr(survey, name).read_bytes() == getattr(built, name).read_bytes()


def test_the_command_builds_them_and_says_so(survey, capsys):
    import get_Chen_data

    options = ["--survey", str(survey.folder)]
    assert get_Chen_data.main(["build", *options, "--step", str(STEP), "--reach", "--quiet"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "read, and showing Mg II, or C IV and C III] 9 9" in text
    assert f"rejected, {NOT_SHOWN}: 1 spectra" in text
    assert get_Chen_data.main(["status", *options]) == 0


def test_fetch_asks_for_what_build_takes(survey, capsys):
    import get_Chen_data

    assert [one[0] - 4000 for one in selected_spectra(survey)] == [1, 7, 9, 10]
    assert [one[0] - 4000 for one in selected_spectra(survey, reach=True)] == sorted([*reach_survey.TAKEN, 4])
    for more, number in (([], 4), (["--reach"], 10)):
        command = ["fetch", "spectra", "--survey", str(survey.folder), "--dry-run", *more]
        assert get_Chen_data.main(command) == 0
        assert capsys.readouterr().out.startswith(f"spec-lite files: {number} selected, {number} to fetch, ")


# --- data sets --------------------------------------------------------------------------------------------------------


def test_networks_get_0_where_a_spectrum_has_no_data(built):
    data = dataset.load(built)
    assert np.isnan(data.flux).any()
    streamed = dataset.stream(built)
    for split in ("training", "validation", "test"):
        X, y = data.part(split)
        rows = data.spectra.index.get_indexer(y.index)
        redshift = data.spectra["Z"].to_numpy()[rows]
        expected = np.nan_to_num(data.flux[rows] * ((1 + redshift) / 2.65)[:, None])
        np.testing.assert_allclose(X[..., 0], expected, rtol=1e-6)
        from_disk, label = streamed.part(split)
        assert np.array_equal(from_disk[:], X)
        assert label.equals(y)


def test_a_model_file_says_that_its_spectra_were_partial(built):
    data = dataset.load(built)
    about = dataset.describe(data.about, data.quasars, data.spectra)
    assert about["trained_on"]["partial"] is True
    assert about["input"] == {"times": "(1 + z) / 2.65", "missing": 0.0}
    whole = {key: value for key, value in data.about.items() if key != "partial"}
    assert dataset.describe(whole, data.quasars, data.spectra)["trained_on"]["partial"] is False


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_flux_is_accepted_in_tables_of_partial_spectra_alone(built, tmp_path, value):
    """And an infinite one in none."""
    import random_tables

    for partial in (True, False):
        survey = Survey(tmp_path / str(partial))
        spectra, more = random_tables.rows(20, GRID), {"partial": True} if partial else {}
        spectra["flux"][7, 5] = value
        about = random_tables.about(GRID, **more)
        quasars = random_tables.quasars(spectra).assign(LMBH=8.5)
        survey_tables.write_quasars(survey.quasars, quasars, about)
        survey_tables.write_spectra(survey.spectra, [spectra], GRID, lambda about=about: about)
        for load in (dataset.load, dataset.stream):
            if partial and np.isnan(value):
                assert len(load(survey).spectra) == 20
            else:
                with pytest.raises(TableError, match=r"4000-56000-0007: has a flux that is not finite"):
                    load(survey)


def test_every_object_counts_once():
    """An object of three spectra, one of two and three of one: by hand."""
    names = list("baacabde")
    index = pd.MultiIndex.from_arrays([names, [f"epoch {n}" for n in range(8)]], names=["OBJECT", "EPOCH"])
    weights = dataset.object_weights(pd.Series(8.5, index=index, dtype=np.float32))
    assert weights.dtype == np.float32
    size = {"a": 3, "b": 2, "c": 1, "d": 1, "e": 1}
    np.testing.assert_allclose(weights, [8 / 5 / size[name] for name in names], rtol=1e-6)
    sums = pd.Series(weights, index=index).groupby("OBJECT").sum()
    np.testing.assert_allclose(sums, 1.6, rtol=1e-6)
    assert weights.mean() == pytest.approx(1.0)
    single = index[[0, 1, 3, 6]]
    assert np.array_equal(dataset.object_weights(pd.Series(8.5, index=single)), np.ones(4, np.float32))
