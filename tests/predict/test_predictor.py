"""Masses of spectra in Python: the numbers of the file they came from, flags, reasons, and errors."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest

from quasar_mass import virial
from quasar_mass.core.errors import ModelError, SpectrumError
from quasar_mass.core.survey import shipped_model
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file
from quasar_mass.predict import mass_table, predictor
from quasar_mass.predict.predictor import Predictor
from quasar_mass.simulation import observing, population
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import FLAG_LUMINOSITY, FLAG_NO_EXTINCTION
from quasar_mass.spectra.spectrum import Spectrum

COLUMNS = [
    "Z",
    "SN",
    "N_SPIKES",
    "SEEN_CIV",
    "SEEN_CIII",
    "SEEN_MgII",
    "LMBH",
    "LMBH_LOW",
    "LMBH_HIGH",
    "FLAGS",
    "REASON",
    "SURVEY_KIND",
    "MODEL_KIND",
]


@pytest.fixture(scope="module")
def model(made):
    return Predictor.load(made[1][0], confidence=0.5)


@pytest.fixture(scope="module")
def files(made):
    return sorted((made[0].folder / "spectra").glob("*/*.fits"))[:4]


def arrays(spectrum):
    return spectrum.wavelength, spectrum.flux, np.where(spectrum.mask, 0.0, spectrum.ivar)


def test_arrays_and_spectra_give_the_numbers_of_their_files(model, files):
    expected = mass_table.predict_files(files, model, quiet=True)[COLUMNS]
    spectra = [read_spectrum(file) for file in files]
    pd.testing.assert_frame_equal(model.predict(spectra), expected)
    for row, spectrum in enumerate(spectra):
        given = model.predict(*arrays(spectrum), redshift=spectrum.redshift, ebv=spectrum.ebv)
        assert (given.SURVEY_KIND, expected["SURVEY_KIND"][row]) == ("unknown", "sdss")  # arrays do not say
        given, same = given.drop("SURVEY_KIND"), expected.iloc[row].drop("SURVEY_KIND")
        pd.testing.assert_series_equal(given, same, check_names=False)
        assert given.LMBH_LOW < given.LMBH_HIGH


def test_the_number_of_spikes_is_a_whole_number_where_there_is_one(model, files):
    table = model.predict([read_spectrum(files[0])] * 2, redshift=[1.6, 9.0])
    assert isinstance(table["N_SPIKES"][0], int | np.integer)
    assert table["N_SPIKES"].isna().tolist() == [False, True]
    written = mass_table.predict_files([files[0], "none.fits"], model, quiet=True)
    both = mass_table.concatenate([written, written.drop(columns="N_SPIKES")])
    for rows in (written, both):
        assert pd.api.types.is_integer_dtype(rows["N_SPIKES"])


def test_redshift_and_extinction_are_one_for_all_or_one_for_each(model, files):
    spectra = [read_spectrum(file) for file in files]
    own = np.array([spectrum.redshift for spectrum in spectra])
    table = model.predict(spectra, redshift=own + 0.01, ebv=0.2)
    np.testing.assert_allclose(table["Z"], own + 0.01)
    one = model.predict(spectra[1], redshift=own[1] + 0.01, ebv=0.2)
    assert table["LMBH"][1] == one.LMBH != model.predict(spectra[1]).LMBH
    assert model.predict(spectra, redshift=1.6)["Z"].tolist() == [1.6] * 4


def test_confidence_and_line_are_those_of_the_call(model, files):
    spectrum = read_spectrum(files[0])
    wide, narrow = (model.predict(spectrum, confidence=confidence) for confidence in (0.6, 0.2))
    assert wide.LMBH_LOW < narrow.LMBH_LOW < narrow.LMBH_HIGH < wide.LMBH_HIGH
    assert np.isnan(model.predict(spectrum, confidence=0.99).LMBH_LOW)  # too few objects for so much
    with pytest.raises(ModelError, match="line CIV: this model was calibrated with too few labels"):
        model.predict(spectrum, line="CIV")
    with pytest.raises(ModelError, match="line: 'Hb' is unknown; give one of any, MgII, CIV"):
        model.predict(spectrum, line="Hb")


def test_an_unusable_spectrum_has_no_mass_and_the_reason(model, files):
    spectrum = read_spectrum(files[0])
    wavelength, flux, ivar = arrays(spectrum)
    few = np.where(np.arange(len(ivar)) % 3, 0.0, ivar)
    cases = {
        "no redshift: has no redshift; give one (redshift=": model.predict(wavelength, flux, ivar, ebv=0.03),
        "does not cover the window": model.predict(spectrum, redshift=3.5),
        "no good pixels": model.predict(wavelength, flux, 0 * ivar, redshift=1.6),
        "too many bad pixels": model.predict(wavelength, flux, few, redshift=spectrum.redshift),
    }
    for reason, row in cases.items():
        assert row.REASON.startswith(reason)
        assert list(row.index) == COLUMNS
        assert row[["LMBH", "LMBH_LOW", "LMBH_HIGH"]].isna().all()
    table = model.predict([spectrum, spectrum], redshift=[3.5, spectrum.redshift])
    assert table["LMBH"].isna().tolist() == [True, False]


def test_a_wrong_redshift_is_flagged_as_the_classical_fit_flags_it(model):
    targets = [target for target in population.targets(60, seed=7) if 1.6 < target.z < 1.8]
    observed = [(target, observing.observe(7, target)[1][0]) for target in targets]
    spectra = [observing.spectrum_of(observation, target, target.epochs[0]) for target, observation in observed]
    redshift = np.array([spectrum.redshift for spectrum in spectra])
    wrong = (1 + redshift) * np.exp(-10_000 / 299_792.458) - 1
    right = model.predict(spectra)["FLAGS"].str.contains("lines shifted")
    assert right.mean() <= 0.05
    flags = pd.DataFrame({"network": model.predict(spectra, redshift=wrong)["FLAGS"]})
    flags["fit"] = virial.measure(spectra, redshift=wrong)["FLAGS"]
    velocity = flags.apply(lambda words: words.str.extract(r"lines shifted by ([-+][\d,]+) km/s")[0])
    velocity = velocity.apply(lambda text: text.str.replace(",", "").astype(float))
    assert (velocity.notna().mean() >= 0.8).all()
    assert velocity.median().tolist() == pytest.approx([10_000, 10_000], abs=1000)
    assert (velocity["network"] - velocity["fit"]).abs().median() <= 400
    # a calibration is not needed
    bare = Predictor(model.ensemble).predict(spectra, redshift=wrong)["FLAGS"]
    assert bare.str.contains("lines shifted").mean() >= 0.8


def test_unknown_extinction_and_a_wrong_unit_are_flagged(model, files):
    spectrum = read_spectrum(files[0])
    wavelength, flux, ivar = arrays(spectrum)
    assert FLAG_NO_EXTINCTION in model.predict(wavelength, flux, ivar, redshift=1.6).FLAGS
    assert FLAG_NO_EXTINCTION in model.predict(spectrum, ebv=np.nan).FLAGS
    known = model.predict(wavelength, flux, ivar, redshift=1.6, ebv=0.03).FLAGS
    assert FLAG_NO_EXTINCTION not in known
    assert FLAG_LUMINOSITY not in known
    for unit in (1e-17, 1e17):
        flags = model.predict(wavelength, unit * flux, ivar / unit**2, redshift=1.6).FLAGS.split("; ")
        assert (flags[0], flags[-1]) == (FLAG_LUMINOSITY, FLAG_NO_EXTINCTION)  # the most serious one first


def test_arrays_that_are_no_spectrum_are_refused(model):
    wavelength = np.linspace(3700.0, 9500.0, 3000)
    ones = np.ones(3000)
    with pytest.raises(SpectrumError):
        model.predict(wavelength, ones[1:], ones, redshift=1.6)
    with pytest.raises(SpectrumError):
        model.predict(wavelength[::-1], ones, ones, redshift=1.6)
    with pytest.raises(SpectrumError, match="ivar is missing"):
        model.predict(wavelength, ones)
    for other in (wavelength, None, 3, "spec.fits", [None]):
        with pytest.raises(SpectrumError, match="give arrays, a Spectrum, an object of specutils, or a list"):
            model.predict(other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"redshift": [1.6, 1.7]}, "redshift must be one number for all, or one for each of 4"),
        ({"redshift": "high"}, "redshift must be one number"),
        ({"ebv": [0.1] * 5}, "ebv must be one number for all, or one for each of 4"),
        ({"ebv": [0.1, 0.1, 0.1, -0.1]}, "ebv is negative"),
    ],
)
def test_a_redshift_or_extinction_that_does_not_fit_is_refused(model, files, options, words):
    with pytest.raises(SpectrumError, match=words):
        model.predict([read_spectrum(file) for file in files], **options)


def test_what_is_no_name_of_a_file_is_refused():
    with pytest.raises(ModelError, match="3 is not the name of a model file"):
        predictor.load(3)
    with pytest.raises(SpectrumError, match="3: is not the name of a file"):
        read_spectrum(3)


def test_a_predictor_and_its_parts_print_as_one_line(model, files):
    assert repr(model) == "<Predictor one.h5: trained on sdss spectra, calibrated, confidence 0.5>"
    plain = Predictor.of(model.ensemble.first)
    assert repr(plain) == (
        "<Predictor network of this process: trained on sdss spectra, not calibrated, confidence 0.9>"
    )
    spectrum = read_spectrum(files[0])
    assert repr(spectrum).startswith(f"<Spectrum {spectrum.spec_id}: {len(spectrum.flux):,} pixels of ")
    assert repr(spectrum).endswith(f" Angstrom, redshift {spectrum.redshift:.4g}>")
    calibration = model.calibration
    for part in (calibration, calibration.domain, calibration.intervals["any"], calibration.pooling):
        assert len(repr(part)) < 100


def test_an_ensemble_and_total_add_their_columns(made, files):
    spectrum = read_spectrum(files[0])
    row = Predictor.load(made[1], confidence=0.5, total=True).predict(spectrum)
    assert row.LMBH_ENS_STD > 0
    assert row.TOTAL_LOW < row.LMBH_LOW < row.LMBH_HIGH < row.TOTAL_HIGH
    plain = Predictor.of(EasyAI.load(made[1][0])).predict(spectrum)
    assert list(plain.index) == COLUMNS
    assert np.isnan(plain.LMBH_LOW)


def test_the_shipped_model_is_loaded_by_default():
    ((path, checksum),) = predictor.load().files
    assert path == shipped_model("final").absolute()
    assert checksum == model_file.read(path).sha256


@pytest.mark.parametrize("name", ["final", "intermediate"])
def test_a_shipped_model_is_loaded_by_its_name_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ((path, _),) = predictor.load(name).files
    assert path.name == f"Best_ANN_{name}_stage.h5"
    assert path.parent != tmp_path
    (tmp_path / name).write_text("a file of that name is named by its path")
    with pytest.raises(ModelError, match="must end in"):
        predictor.load(f"./{name}")


def test_a_model_that_does_not_exist_is_told_the_names_of_those_that_do(tmp_path):
    for unknown, words in (("finale", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(ModelError, match=rf"{words}; .*\(intermediate or final\)"):
            predictor.load(unknown)


def test_another_process_loads_the_same_file_or_refuses_it(made, tmp_path):
    path = tmp_path / "model.h5"
    shutil.copyfile(made[1][0], path)
    whole = pickle.dumps(Predictor.load(path, confidence=0.6))
    predictor._loaded.cache_clear()
    assert pickle.loads(whole).confidence == 0.6
    shutil.copyfile(made[1][1], path)
    predictor._loaded.cache_clear()
    with pytest.raises(ModelError, match="is not the file that the work began with"):
        pickle.loads(whole)
    with pytest.raises(ModelError, match="this process alone"):
        pickle.dumps(Predictor.of(EasyAI.load(path)))


def test_networks_that_do_not_belong_together_are_refused(made, tmp_path):
    layers = backend.import_keras().layers
    EasyAI([layers.Flatten(), layers.Dense(1)], (99, 1)).save(tmp_path / "other.h5")
    with pytest.raises(ModelError, match="model 2 of 2"):
        Predictor.load([made[1][0], tmp_path / "other.h5"])


def test_wavelengths_of_another_grid_give_the_same_mass(model, files):
    """Pixels of 0.9 Angstrom, finer than SDSS's in the red and coarser in the blue: 0.02 dex are allowed."""
    spectrum = read_spectrum(files[0])
    wavelength = np.arange(spectrum.wavelength[0] + 1.0, spectrum.wavelength[-1] - 1.0, 0.9)
    flux = np.interp(wavelength, spectrum.wavelength, spectrum.flux)
    ivar = np.interp(wavelength, spectrum.wavelength, spectrum.ivar)
    given = model.predict(Spectrum(wavelength, flux, ivar, redshift=spectrum.redshift, ebv=spectrum.ebv))
    assert pytest.approx(model.predict(spectrum).LMBH, abs=0.02) == given.LMBH
