"""Models for partial spectra, models for whole ones, and models of older versions, on spectra of all redshifts."""

import numpy as np
import pytest
import reach_survey

from quasar_mass.core.errors import FileError, ModelError
from quasar_mass.core.survey import Grid
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.predict import mass_table
from quasar_mass.predict.calibrate import calibrate_file
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.read import SpectrumRequest
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import FLAG_NO_MGII, NOT_SHOWN, to_rest_frame
from quasar_mass.tables import dataset
from quasar_mass.tables.build.pipeline import build

STEP = 1e-3
GRID = Grid(STEP)


@pytest.fixture(scope="module")
def survey(tmp_path_factory, make):
    """Tables of partial spectra."""
    survey = reach_survey.write(tmp_path_factory.mktemp("partial") / "survey", make)
    build(survey, step=STEP, reach=True, quiet=True)
    return survey


@pytest.fixture(scope="module")
def models(survey, tmp_path_factory):
    """The same network in three files, which differ in what they say of the spectra that it takes."""
    folder, data = tmp_path_factory.mktemp("models"), dataset.load(survey)
    partial = dataset.describe(data.about, data.quasars, data.spectra)
    whole = partial | {"trained_on": partial["trained_on"] | {"partial": False}}
    older = {key: value for key, value in whole.items() if key != "input"}
    older["trained_on"] = {key: value for key, value in older["trained_on"].items() if key != "partial"}
    layers = backend.import_keras().layers
    network = [layers.Flatten(), layers.Dense(6, activation="tanh"), layers.Dense(1)]
    ann = EasyAI(network, (GRID.size, 1), seed=1)
    for name, about in (("partial", partial), ("whole", whole), ("older", older)):
        ann.save(folder / f"{name}.h5", about=about)
    return folder


@pytest.fixture(scope="module")
def network(models):
    return EasyAI.load(models / "partial.h5")


@pytest.fixture
def files(survey, make):
    return {number: make.spec_path(survey.folder, reach_survey.spectrum(number)) for number in reach_survey.REDSHIFTS}


def by_hand(path, network, *, rest: bool, partial: bool = False) -> float:
    """The network's output for a spectrum; `rest` says whether it gets L_lambda in the rest frame."""
    spectrum = read_spectrum(path)
    flux = to_rest_frame(spectrum, spectrum.redshift, GRID, ebv=spectrum.ebv, partial=partial).flux.astype(float)
    flux = np.nan_to_num(flux * ((1 + spectrum.redshift) / 2.65 if rest else 1.0))
    return network.predict(flux[None])[0]


def test_a_model_of_an_older_version_predicts_as_before(files, models, network):
    older = Predictor.load(models / "older.h5")
    assert not older.partial
    table = mass_table.predict_files([files[number] for number in (1, 9, 10)], older, quiet=True)
    for row, number in enumerate((1, 9, 10)):
        assert table["LMBH"][row] == pytest.approx(by_hand(files[number], network, rest=False), abs=1e-5)
        if number != 9:  # whose redshift is the typical one
            assert abs(table["LMBH"][row] - by_hand(files[number], network, rest=True)) > 1e-4


@pytest.mark.parametrize("name", ["older", "whole"])
def test_a_model_for_whole_spectra_refuses_partial_ones(files, models, name):
    table = mass_table.predict_files([files[2], files[1]], Predictor.load(models / f"{name}.h5"), quiet=True)
    assert table["REASON"][0].startswith("does not cover the window: ")
    assert table["LMBH"].isna().tolist() == [True, False]


def test_a_model_for_partial_spectra_takes_all_that_show_enough(files, models, network):
    predictor = Predictor.load(models / "partial.h5")
    assert predictor.partial
    table = mass_table.predict_files(list(files.values()), predictor, quiet=True).set_index(np.array(list(files)))
    for number, row in table.iterrows():
        z = reach_survey.REDSHIFTS[number]
        if number == 4:
            assert row["REASON"].startswith(f"{NOT_SHOWN}: shows ")
            assert np.isnan(row["LMBH"])
            continue
        assert row["REASON"] == ""
        assert row["LMBH"] == pytest.approx(by_hand(files[number], network, rest=True, partial=True), abs=1e-5)
        assert (FLAG_NO_MGII in row["FLAGS"]) == (z > 2.47)  # 2900 Angstrom at the red end
        assert "gap" not in row["FLAGS"]
        ends = 3571 / (1 + z), 10062 / (1 + z)
        for column, line in (("SEEN_CIV", 1549.06), ("SEEN_CIII", 1908.73), ("SEEN_MgII", 2798.75)):
            inside = ends[0] < line < ends[1]
            assert (row[column] > 0.5) == inside
    whole = mass_table.predict_files([files[1]], Predictor.load(models / "whole.h5"), quiet=True)
    assert table["LMBH"][1] == pytest.approx(whole["LMBH"][0], abs=1e-6), "a whole spectrum is one"


def test_tables_of_partial_spectra_give_the_masses_of_their_files(survey, files, models):
    predictor = Predictor.load(models / "partial.h5")
    given = mass_table.predict_survey(survey, predictor, quiet=True)
    requests = [SpectrumRequest(files[number], reach_survey.REDSHIFTS[number]) for number in reach_survey.TAKEN]
    expected = mass_table.predict_files(requests, predictor, quiet=True).set_index("EPOCH").loc[given["EPOCH"]]
    np.testing.assert_allclose(given["LMBH"], expected["LMBH"], atol=1e-4)
    assert given["FLAGS"].tolist() == expected["FLAGS"].tolist()
    by_object = mass_table.predict_survey(survey, predictor, per_object=True, quiet=True)
    np.testing.assert_allclose(by_object["LMBH"], given.sort_values("OBJECT")["LMBH"])


def test_arrays_of_a_nearer_quasar_get_a_mass(files, models, network):
    spectrum = read_spectrum(files[2])
    arrays = spectrum.wavelength, spectrum.flux, spectrum.ivar
    predictor = Predictor.load(models / "partial.h5")
    given = predictor.predict(*arrays, redshift=spectrum.redshift, ebv=spectrum.ebv).LMBH
    assert given == pytest.approx(by_hand(files[2], network, rest=True, partial=True), abs=1e-5)
    assert predictor.predict(*arrays, redshift=0.2, ebv=spectrum.ebv).REASON.startswith(NOT_SHOWN)


def test_where_a_spectrum_shows_too_little_the_line_fit_is_named(files, models):
    table = mass_table.predict_files([files[4]], Predictor.load(models / "partial.h5"), quiet=True)
    with pytest.raises(FileError, match=r"shows neither Mg II .* virial can measure single lines"):
        mass_table.check_usable(table, "short.fits")


def test_a_model_for_partial_spectra_is_calibrated_on_them(survey, files, models, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes((models / "partial.h5").read_bytes())
    calibrate_file([path], survey, fresh=0, quiet=True)
    table = mass_table.predict_survey(survey, Predictor.load(path, confidence=0.3), quiet=True)
    assert (table["LMBH_LOW"] < table["LMBH_HIGH"]).all()
    assert np.isfinite(table[["LMBH_LOW", "LMBH_HIGH"]]).all(axis=None)


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["older", "whole"])
def test_tables_of_partial_spectra_are_refused_by_a_model_for_whole_ones(survey, models, name):
    """Its masses of a spectrum that is partly 0 would mean nothing."""
    predictor = Predictor.load(models / f"{name}.h5")
    with pytest.raises(ModelError, match="holds partial spectra, and the model needs the whole window; build"):
        mass_table.predict_survey(survey, predictor, quiet=True)


@pytest.mark.parametrize("number", [8, 3, 1])
def test_too_many_bad_pixels_are_those_of_what_a_spectrum_covers(make, models, tmp_path, number):
    """The same for a file and for its row in a table: six in ten are bad, never more than three in a row.

    The spectra show the red end of the window, its blue end, and all of it.
    """
    survey = reach_survey.write(tmp_path / "survey", make)
    path = make.spec_path(survey.folder, reach_survey.spectrum(number))
    spectrum = read_spectrum(path)
    ivar = np.where(np.arange(make.n_pixels) % 5 < 3, 0.0, 4.0)
    z = reach_survey.REDSHIFTS[number]
    make.spec(path, spectrum=reach_survey.spectrum(number), flux=spectrum.flux, ivar=ivar, z=z)
    build(survey, step=STEP, reach=True, quiet=True)
    predictor = Predictor.load(models / "partial.h5")
    (of_file,) = mass_table.predict_files([path], predictor, quiet=True)["REASON"]
    table = mass_table.predict_survey(survey, predictor, quiet=True).set_index("EPOCH")
    assert of_file.startswith("too many bad pixels: 60%")
    assert table["REASON"][reach_survey.name(number)] == of_file
