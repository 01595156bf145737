"""A simulated survey: the published formats, the published population, the same bytes again, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import ascii as tables
from astropy.io import fits

from quasar_mass import virial
from quasar_mass.core.errors import FileError, SurveyError
from quasar_mass.core.survey import Survey, format_spec_id
from quasar_mass.simulation import labels, observing, population, published_catalogs, simulated_survey
from quasar_mass.simulation.simulated_survey import simulate

OBJECTS, SEED = 40, 4  # of this seed's two repeated objects, one has its second spectrum as primary
MASSES = ["logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2"]
KINDS = ("main", *(kind for kind, _, _ in population.EXTRA_KINDS))
SPECTRUM = ("PLATE", "MJD", "FIBERID")


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    survey = Survey(tmp_path_factory.mktemp("simulated"))
    simulate(survey, objects=OBJECTS, seed=SEED, quiet=True)
    return survey


@pytest.fixture(scope="module")
def targets():
    return {target.name: target for target in population.targets(OBJECTS, SEED)}


def contents(survey):
    files = (path for path in survey.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(survey.folder)): path.read_bytes() for path in files}


def spectra(survey):
    return sorted(survey.folder.glob("spectra/*/*.fits"))


def duplicates(row):
    """Spectra of a row of DR16Q besides the primary one."""
    used = row["PLATE_DUPLICATE"] > 0
    return list(zip(*(row[f"{name}_DUPLICATE"][used].tolist() for name in SPECTRUM), strict=True))


# --- the mass table -------------------------------------------------------------------------------------------------


def test_mass_table_has_the_published_layout_and_astropy_reads_it(survey, targets):
    lines = survey.chen.read_text().splitlines()
    assert lines[101] == "-" * 80
    assert all("SIMULATED" in line for line in lines if line.startswith(("Title:", "Authors:", "Table:")))
    assert any(line == f"Byte-by-byte Description of file: {survey.chen.name}" for line in lines)
    table = tables.read(survey.chen, format="mrt")
    assert table.colnames == ["SDSS", "Plate", "MJD", "Fiber", "ZVI", *MASSES]
    for row, line in zip(table, lines[102:], strict=True):  # the published bytes, 1-based and inclusive
        assert len(line) == 123
        assert row["SDSS"] == line[:18]
        assert (row["Plate"], row["MJD"], row["Fiber"]) == (int(line[19:24]), int(line[25:30]), int(line[31:35]))
        assert row["ZVI"] == float(line[36:42]) == targets[row["SDSS"]].zvi
        masses = [float(line[first - 1 : last]) for first, last in ((91, 94), (108, 111), (113, 117), (119, 123))]
        assert list(row.values())[5:] == masses
        assert line[42:90].strip() == line[94:107].strip() == ""


# --- the quasar catalogue -------------------------------------------------------------------------------------------


def test_catalogue_has_the_published_columns_and_row_length(survey, targets):
    assert survey.dr16q.stat().st_size % 2880 == 0
    with fits.open(survey.dr16q) as hdus:
        hdus.verify("exception")
        assert len(hdus) == 2
        assert hdus[1].name == "CATALOG"
        assert hdus[0].header["SIMULATE"] is True
        assert hdus[1].header["NAXIS1"] == 2290
        assert len(hdus[1].columns) == 183
        assert [column.name for column in hdus[1].columns[73:78]] == [
            "NSPEC", "PLATE_DUPLICATE", "MJD_DUPLICATE", "FIBERID_DUPLICATE", "SPECTRO_DUPLICATE",
        ]  # fmt: skip
        for row in hdus[1].data:
            expected = np.array((4.239, 3.303, 2.285, 1.698, 1.263)) * targets[row["SDSS_NAME"]].ebv
            assert row["EXTINCTION"] == pytest.approx(expected, rel=1e-6)


def test_catalogue_lists_every_spectrum_once_with_the_best_one_as_primary(survey):
    listed, repeated = [], 0
    for row in fits.getdata(survey.dr16q, 1):
        primary, others = tuple(int(row[name]) for name in SPECTRUM), duplicates(row)
        assert len(others) == row["NSPEC"] == row["NSPEC_BOSS"]
        assert (row["SPECTRO_DUPLICATE"] == [2] * len(others) + [-1] * (74 - len(others))).all()
        listed += [primary, *others]
        if others:
            repeated += 1
            quality = [fits.getdata(survey.spectrum(*epoch), 2)["SN_MEDIAN_ALL"][0] for epoch in (primary, *others)]
            assert row["SN_MEDIAN_ALL"] == pytest.approx(quality[0], rel=1e-6)
            assert quality[0] == max(quality)
    assert repeated
    assert len(set(listed)) == len(listed)
    assert set(spectra(survey)) <= {survey.spectrum(*epoch) for epoch in listed}


def test_an_object_with_75_spectra_fills_all_74_slots_with_the_others(tmp_path):
    survey, monitored = Survey(tmp_path), population.targets(500, 1)[0]
    (record,) = observing.simulate_targets(survey, 1, [dataclasses.replace(monitored, has_files=False)])
    record = dataclasses.replace(record, primary=3, signal_to_noise=tuple(range(75)))
    published_catalogs.write_quasars(survey, [record])
    row = fits.getdata(survey.dr16q, 1)[0]
    assert duplicates(row) == [epoch for n, epoch in enumerate(monitored.epochs) if n != 3]
    assert tuple(row[name] for name in SPECTRUM) == monitored.epochs[3]
    assert row["NSPEC"] == 74


# --- the spectra ----------------------------------------------------------------------------------------------------


def test_spectra_have_all_facts_of_the_published_format(survey):
    for path in spectra(survey)[::5]:
        assert 216_000 <= path.stat().st_size <= 221_760
        assert path.stat().st_size % 2880 == 0
        with fits.open(path) as hdus:
            hdus.verify("exception")
            primary, pixels, row, lines = hdus
            head, data, cells = primary.header, pixels.data, row.data[0]
            assert head["SIMULATE"] is True
            assert path.name == f"spec-{format_spec_id(head['PLATEID'], head['MJD'], head['FIBERID'])}.fits"
            # what specutils recognises such files by
            assert (head["TELESCOP"], head["VERS2D"], head["FIBERID"] > 0) == ("SDSS 2.5-M", "v5_13_0", True)
            assert (head["RUN2D"], head["DC-FLAG"], head["VACUUM"]) == ("v5_13_0", 1, True)
            assert head["BUNIT"] == "1E-17 erg/cm^2/s/Ang"
            assert all("EXTNAME" not in hdu.header for hdu in hdus)
            assert data.names == ["FLUX", "LOGLAM", "IVAR", "AND_MASK", "OR_MASK", "WDISP", "SKY", "MODEL"]
            assert pixels.columns.formats == list("EEEJJEEE")
            first = round(head["COEFF0"] * 1e4)
            assert head["COEFF1"] == 1e-4
            assert np.array_equal(np.rint(data["LOGLAM"] * 1e4), first + np.arange(len(data)))
            assert 4574 <= len(data) <= 4624
            assert 3560 < 10 ** data["LOGLAM"][0] < 3607
            assert 10_316 <= round(float(10 ** data["LOGLAM"][-1])) <= 10_359
            assert all(np.isfinite(data[name]).all() for name in data.names)
            assert (data["IVAR"] >= 0).all()
            assert (row.header["NAXIS2"], len(row.columns)) == (1, 236)
            assert (lines.header["NAXIS2"], len(lines.columns)) == (32, 19)
            assert (cells["CLASS"], cells["RUN2D"], cells["PLATE"]) == ("QSO", "v5_13_0", head["PLATEID"])
            assert cells["Z"] == pytest.approx(lines.data["LINEZ"][0])
            assert cells["WAVEMIN"] == pytest.approx(10 ** data["LOGLAM"][0], rel=1e-6)


# --- the labels -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled():
    """Objects without files, each with masses measured on one spectrum of its own."""
    main = [target for target in population.targets(450, 13) if target.kind == "main"]
    bare = [dataclasses.replace(target, has_files=False, epochs=target.epochs[:1]) for target in main]
    chunks = [bare[start : start + 100] for start in range(0, len(bare), 100)]
    return [record for chunk in chunks for record in observing.simulate_targets(None, 13, chunk)]


def test_label_errors_are_those_of_a_fit_and_grow_with_noise(labelled):
    def scatter(low, high):
        errors = [
            record.label.masses["MgII"] - labels.true_masses(record.quasar)["MgII"]
            for record in labelled
            if record.label.masses["MgII"] and low < record.signal_to_noise[0] < high
        ]
        assert len(errors) > 50
        return 1.4826 * np.median(np.abs(errors - np.median(errors)))

    assert scatter(0.0, 3.0) > 1.2 * scatter(7.0, 100.0)
    assert 0.03 < scatter(7.0, 100.0) < 0.2


def test_labels_have_the_published_means_and_fractions(labelled):
    covered = [record.label.masses for record in labelled if record.target.z >= 1.463]
    mgii, civ = (np.array([masses[line] for masses in covered]) for line in ("MgII", "CIV"))
    both = (mgii > 0) & (civ > 0)
    assert np.mean(mgii[mgii > 0]) == pytest.approx(8.645, abs=0.06)
    assert np.std(mgii[mgii > 0]) == pytest.approx(0.395, abs=0.05)
    assert np.mean(civ[mgii == 0]) == pytest.approx(8.296, abs=0.10)
    assert np.mean(mgii == 0) == pytest.approx(0.244, abs=0.05)
    assert np.mean(both) == pytest.approx(0.50, abs=0.07)
    assert np.std((mgii - civ)[both]) == pytest.approx(0.44, abs=0.06)
    assert np.corrcoef(mgii[both], civ[both])[0, 1] == pytest.approx(0.41, abs=0.12)
    assert np.mean((mgii > 0) | (civ > 0)) > 0.99


def test_truth_says_it_is_simulated_and_follows_the_virial_relation(survey):
    table = pq.read_table(survey.truth)
    assert table.schema.metadata[b"kind"] == b"simulated"
    truth = table.to_pandas().set_index("OBJECT")
    masses = tables.read(survey.chen, format="mrt")
    assert set(truth.index) == set(masses["SDSS"])
    assert virial.mass("MgII", truth["log_L3000"], truth["FWHM_MgII"]) == pytest.approx(truth["LMBH_MgII"])
    assert virial.mass("CIV", truth["log_L1350"], truth["FWHM_CIV"]) == pytest.approx(truth["LMBH_CIV"])
    measured = masses[masses["logMBH-MgII-2"] > 0]
    assert np.std(measured["logMBH-MgII-2"] - truth.loc[list(measured["SDSS"]), "LMBH_MgII"].to_numpy()) < 0.3


# --- the population -------------------------------------------------------------------------------------------------


def test_each_cut_has_objects_that_fail_it(survey, targets):
    names = {kind: {name for name, target in targets.items() if target.kind == kind} for kind in KINDS}
    assert all(names.values())
    assert sum(map(len, names.values())) == len(targets)
    offset = {name: target.zvi - target.z for name, target in targets.items() if target.kind != "catalogue only"}
    sigma = np.std(list(offset.values()))
    assert all(offset[name] > 3 * sigma for name in names["zvi above"])
    assert all(offset[name] < -3 * sigma for name in names["zvi below"])
    table, known = tables.read(survey.chen, format="mrt"), set(fits.getdata(survey.dr16q, 1)["SDSS_NAME"])
    assert {row["SDSS"] for row in table if not any(row[name] for name in MASSES)} == names["unlabelled"]
    assert set(table["SDSS"]) - known == names["unmatched"]
    assert known - set(table["SDSS"]) == names["catalogue only"]
    measured = {row["SDSS"]: (row["Plate"], row["MJD"], row["Fiber"]) in targets[row["SDSS"]].epochs for row in table}
    assert {name for name, in_catalogue in measured.items() if not in_catalogue} == names["other epoch"]


def test_a_larger_survey_uses_all_duplicate_slots_of_one_object_and_never_a_fibre_twice():
    targets = population.targets(500, 1)
    counts = [len(target.epochs) for target in targets]
    assert counts.count(75) == 1
    assert all(count <= 9 or 60 <= count <= 75 for count in counts)
    epochs = [epoch for target in targets for epoch in target.epochs]
    assert len(set(epochs)) == len(epochs)
    assert min(epochs)[0] >= 3688
    assert max(epochs)[0] >= 10_000
    assert len({target.name for target in targets}) == len(targets)
    assert all(1.463 <= target.z < 1.8 for target in targets if target.kind == "main")


# --- the same bytes -------------------------------------------------------------------------------------------------


def test_two_workers_write_the_same_bytes_as_one(survey, tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_survey, "CHUNK_SPECTRA", 9)  # so that there is work for two
    simulate(Survey(tmp_path), objects=OBJECTS, seed=SEED, jobs=2, quiet=True)
    assert contents(Survey(tmp_path)) == contents(survey)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(survey, tmp_path):
    other = Survey(tmp_path / "other")
    shutil.copytree(survey.folder, other.folder)
    about = json.loads(other.card.read_text())
    other.card.write_text(json.dumps(about | {"complete": False}))
    gone, empty, *_, kept = spectra(other)
    for path in (gone, other.chen, other.truth):
        path.unlink()
    empty.write_bytes(bytes(empty.stat().st_size))  # as it can look after a loss of power
    before = kept.stat()
    simulate(other, objects=OBJECTS, seed=SEED, quiet=True)
    assert contents(other) == contents(survey)
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == (before.st_mtime_ns, before.st_ino)  # not written again


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("apjsab41fet1_mrt.txt", "the published table", SurveyError, "choose another --survey"),
        ("survey.json", '{"kind": "sdss"}', SurveyError, "holds a real survey; choose another"),
        ("survey.json", "{", FileError, r"survey\.json"),  # unreadable
    ],
)
def test_a_folder_with_other_data_is_refused_and_left_as_it_is(tmp_path, name, text, error, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=words):
        simulate(Survey(tmp_path), objects=1, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_real_survey_s_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_survey, "REAL_FOLDER", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SurveyError, match="simulated data never go there; choose another --survey"):
        simulate(Survey("data"), objects=1, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_another_simulation_is_never_mixed_in(survey):
    before = contents(survey)
    for recipe in ({"objects": OBJECTS + 1, "seed": SEED}, {"objects": OBJECTS, "seed": SEED + 1}):
        with pytest.raises(SurveyError, match="delete the folder or choose another --survey"):
            simulate(survey, **recipe, quiet=True)
    assert contents(survey) == before


@pytest.mark.parametrize("numbers", [{"objects": 0}, {"objects": 100_001}, {"objects": 2.5}, {"seed": -1}])
def test_numbers_out_of_range_are_refused_before_anything_is_written(tmp_path, numbers):
    with pytest.raises(SurveyError, match="must be a whole number"):
        simulate(Survey(tmp_path / "new"), **numbers, quiet=True)
    assert not (tmp_path / "new").exists()
