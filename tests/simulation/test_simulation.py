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
from quasar_mass.simulation.quasar import intrinsic, received_flux
from quasar_mass.simulation.simulated_survey import simulate
from quasar_mass.simulation.spectrograph import recording
from quasar_mass.spectra import fits_bytes

OBJECTS, SEED = 40, 4  # of this seed's two repeated objects, one has its second spectrum as primary


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    survey = Survey(tmp_path_factory.mktemp("simulated"))
    simulate(survey, objects=OBJECTS, seed=SEED, quiet=True)
    return survey


@pytest.fixture(scope="module")
def targets():
    return population.targets(OBJECTS, SEED)


def contents(survey):
    files = (path for path in survey.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(survey.folder)): path.read_bytes() for path in files}


def spectra(survey):
    return sorted(survey.folder.glob("spectra/*/*.fits"))


# --- the mass table -------------------------------------------------------------------------------------------------


def test_mass_table_has_the_published_header_length_and_says_it_is_simulated(survey):
    lines = survey.chen.read_text().splitlines()
    assert lines[101] == "-" * 80
    assert all(len(line) == 123 for line in lines[102:])
    assert not any(set(line) == {"-"} for line in lines[102:])
    assert all("SIMULATED" in line for line in lines if line.startswith(("Title:", "Authors:", "Table:")))


def test_astropy_reads_the_mass_table_as_it_was_written(survey, targets):
    table = tables.read(survey.chen, format="mrt")
    masses = ["logMBH-Hb", "logMBH-Ha-2", "logMBH-MgII-2", "logMBH-CIV-2"]
    assert table.colnames == ["SDSS", "Plate", "MJD", "Fiber", "ZVI", *masses]
    lines = survey.chen.read_text().splitlines()[102:]
    assert len(table) == len(lines)
    by_name = {target.name: target for target in targets}
    for row, line in zip(table, lines, strict=True):  # the published bytes, 1-based and inclusive
        assert row["SDSS"] == line[:18]
        assert (row["Plate"], row["MJD"], row["Fiber"]) == (int(line[19:24]), int(line[25:30]), int(line[31:35]))
        assert row["ZVI"] == float(line[36:42]) == by_name[row["SDSS"]].zvi
        masses = [float(line[first - 1 : last]) for first, last in ((91, 94), (108, 111), (113, 117), (119, 123))]
        assert list(row.values())[5:] == masses
        assert line[42:90].strip() == line[94:107].strip() == ""


# --- the quasar catalogue -------------------------------------------------------------------------------------------


def test_catalogue_has_the_published_columns_and_row_length(survey):
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
    assert survey.dr16q.stat().st_size % 2880 == 0


def test_catalogue_lists_every_spectrum_once_with_the_best_one_as_primary(survey):
    listed, repeated = [], 0
    with fits.open(survey.dr16q) as hdus:
        for row in hdus[1].data:
            used = row["PLATE_DUPLICATE"] > 0
            assert used.sum() == row["NSPEC"] == row["NSPEC_BOSS"]
            assert (row["SPECTRO_DUPLICATE"][used] == 2).all()
            for name in ("PLATE", "MJD", "FIBERID", "SPECTRO"):
                assert (row[f"{name}_DUPLICATE"][~used] == -1).all()
            primary = (int(row["PLATE"]), int(row["MJD"]), int(row["FIBERID"]))
            names = ("PLATE_DUPLICATE", "MJD_DUPLICATE", "FIBERID_DUPLICATE")
            others = list(zip(*(row[name][used].tolist() for name in names), strict=True))
            listed += [primary, *others]
            if others:
                repeated += 1
                best, *rest = (signal_to_noise(survey, epoch) for epoch in (primary, *others))
                assert row["SN_MEDIAN_ALL"] == pytest.approx(best, rel=1e-6)
                assert best >= max(rest)
    assert repeated
    assert len(set(listed)) == len(listed)
    assert set(spectra(survey)) <= {survey.spectrum(*epoch) for epoch in listed}


def test_an_object_with_75_spectra_fills_all_74_slots_with_the_others(tmp_path):
    survey, monitored = Survey(tmp_path), population.targets(500, 1)[0]
    record = observing.simulate_target(survey, 1, dataclasses.replace(monitored, has_files=False))
    record = dataclasses.replace(record, primary=3, signal_to_noise=tuple(range(75)))
    published_catalogs.write_quasars(survey, [record])
    row = fits.getdata(survey.dr16q, 1)[0]
    names = ("PLATE_DUPLICATE", "MJD_DUPLICATE", "FIBERID_DUPLICATE")
    others = list(zip(*(row[name].tolist() for name in names), strict=True))
    assert others == [epoch for n, epoch in enumerate(monitored.epochs) if n != 3]
    assert (row["PLATE"], row["MJD"], row["FIBERID"]) == monitored.epochs[3]
    assert row["NSPEC"] == 74


def signal_to_noise(survey, epoch):
    with fits.open(survey.spectrum(*epoch)) as hdus:
        return hdus[2].data["SN_MEDIAN_ALL"][0]


def test_masses_were_measured_on_a_spectrum_of_the_catalogue_but_for_the_kind_made_otherwise(survey, targets):
    known = {target.name: target for target in targets}
    for row in tables.read(survey.chen, format="mrt"):
        target = known[row["SDSS"]]
        among = (row["Plate"], row["MJD"], row["Fiber"]) in target.epochs
        assert among == (target.kind != "other epoch")


def test_extinction_is_one_number_times_the_published_coefficients(survey, targets):
    ebv = {target.name: target.ebv for target in targets}
    with fits.open(survey.dr16q) as hdus:
        for row in hdus[1].data:
            expected = np.array((4.239, 3.303, 2.285, 1.698, 1.263)) * ebv[row["SDSS_NAME"]]
            assert row["EXTINCTION"] == pytest.approx(expected, rel=1e-6)


# --- the spectra ----------------------------------------------------------------------------------------------------


def test_spectra_have_all_facts_of_the_published_format(survey):
    for path in spectra(survey)[::5]:
        assert 216_000 <= path.stat().st_size <= 221_760
        assert path.stat().st_size % 2880 == 0
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert len(hdus) == 4
            head, pixels, row, lines = (hdu.header if n == 0 else hdu for n, hdu in enumerate(hdus))
            assert head["SIMULATE"] is True
            assert path.name == f"spec-{format_spec_id(head['PLATEID'], head['MJD'], head['FIBERID'])}.fits"
            assert (head["RUN2D"], head["VERS2D"], head["DC-FLAG"], head["VACUUM"]) == ("v5_13_0", "v5_13_0", 1, True)
            assert head["TELESCOP"] == "SDSS 2.5-M"
            assert head["BUNIT"] == "1E-17 erg/cm^2/s/Ang"
            assert all("EXTNAME" not in hdu.header for hdu in hdus)
            names = ["FLUX", "LOGLAM", "IVAR", "AND_MASK", "OR_MASK", "WDISP", "SKY", "MODEL"]
            assert pixels.columns.names == names
            assert pixels.columns.formats == list("EEEJJEEE")
            data = pixels.data
            first = head["COEFF0"] * 1e4
            assert first == pytest.approx(round(first), abs=1e-6)
            assert head["COEFF1"] == 1e-4
            assert np.array_equal(np.rint(data["LOGLAM"] * 1e4), round(first) + np.arange(len(data)))
            assert 4574 <= len(data) <= 4624
            assert 3560 < 10 ** data["LOGLAM"][0] < 3607
            assert 10_316 <= round(float(10 ** data["LOGLAM"][-1])) <= 10_359
            assert all(np.isfinite(data[name]).all() for name in data.names)
            assert (data["IVAR"] >= 0).all()
            assert (data["AND_MASK"] & ~data["OR_MASK"] == 0).all()
            assert (row.header["NAXIS2"], len(row.columns)) == (1, 236)
            assert (lines.header["NAXIS2"], len(lines.columns)) == (32, 19)
            one = row.data[0]
            assert (one["CLASS"], one["RUN2D"], one["PLATE"]) == ("QSO", "v5_13_0", head["PLATEID"])
            assert one["Z"] == pytest.approx(lines.data["LINEZ"][0])
            assert one["WAVEMIN"] == pytest.approx(10 ** data["LOGLAM"][0], rel=1e-6)


def test_spectra_are_those_of_the_targets_with_files_and_no_others(survey, targets):
    expected = {survey.spectrum(*epoch) for target in targets if target.has_files for epoch in target.epochs}
    assert set(spectra(survey)) == expected
    assert survey.about()["spectra"] == len(expected)


# --- the physics ----------------------------------------------------------------------------------------------------


def test_the_light_is_dimmed_by_distance_and_by_the_galaxy():
    from astropy import units
    from astropy.cosmology import Planck15
    from dust_extinction.parameter_averages import F99

    quasar = intrinsic.draw(np.random.default_rng(5), 1.7)
    density = intrinsic.luminosity_density(quasar, recording.pixels() - np.log10(2.7))
    distance = Planck15.luminosity_distance(1.7).to_value(units.cm)
    flux = 1e17 * density / (4 * np.pi * distance**2 * 2.7)
    curve = F99(Rv=3.1).extinguish(10 ** recording.pixels() * units.AA, Av=2.742 * 0.1)
    assert received_flux.received_light(quasar, 0.1) == pytest.approx(flux * curve, rel=1e-5)


@pytest.fixture(scope="module")
def labelled():
    """Objects without files, each with masses measured on one spectrum of its own."""
    main = [target for target in population.targets(900, 13) if target.kind == "main"]
    bare = [dataclasses.replace(target, has_files=False, epochs=target.epochs[:1]) for target in main]
    return [
        record
        for start in range(0, len(bare), 100)
        for record in observing.simulate_targets(None, 13, bare[start : start + 100])
    ]


def test_label_errors_are_those_of_a_fit_and_grow_with_noise(labelled):
    def scatter(least, most):
        errors = [
            record.label.masses["MgII"] - labels.true_masses(record.quasar)["MgII"]
            for record in labelled
            if record.label.masses["MgII"] and least < record.signal_to_noise[0] < most
        ]
        assert len(errors) > 50
        return 1.4826 * np.median(np.abs(errors - np.median(errors)))

    assert scatter(0.0, 3.0) > 1.2 * scatter(7.0, 100.0)
    assert 0.03 < scatter(7.0, 100.0) < 0.2


def test_labels_have_the_published_means_and_shares(labelled):
    covered = [record for record in labelled if record.target.z >= 1.463]
    mgii, civ = (np.array([record.label.masses[line] for record in covered]) for line in ("MgII", "CIV"))
    both = (mgii > 0) & (civ > 0)
    assert np.mean(mgii[mgii > 0]) == pytest.approx(8.645, abs=0.06)
    assert np.std(mgii[mgii > 0]) == pytest.approx(0.395, abs=0.05)
    assert np.mean(civ[mgii == 0]) == pytest.approx(8.296, abs=0.10)
    assert np.mean(mgii == 0) == pytest.approx(0.244, abs=0.05)
    assert np.mean(both) == pytest.approx(0.50, abs=0.06)
    assert np.std((mgii - civ)[both]) == pytest.approx(0.44, abs=0.06)
    assert np.corrcoef(mgii[both], civ[both])[0, 1] == pytest.approx(0.41, abs=0.12)
    assert np.mean((mgii > 0) | (civ > 0)) > 0.99


# --- the population -------------------------------------------------------------------------------------------------


def test_each_cut_has_objects_that_fail_it(survey, targets):
    kinds = {target.kind for target in targets}
    assert kinds == {"main", *(kind for kind, _, _ in population.EXTRA_KINDS)}
    offset = {kind: [t.zvi - t.z for t in targets if t.kind == kind] for kind in kinds}
    sigma = np.std([t.zvi - t.z for t in targets if t.kind != "catalogue only"])
    assert all(value > 3 * sigma for value in offset["zvi above"])
    assert all(value < -3 * sigma for value in offset["zvi below"])
    table = tables.read(survey.chen, format="mrt")
    zero = sum(table[name] == 0.0 for name in table.colnames[5:]) == 4
    unlabelled = {target.name for target in targets if target.kind == "unlabelled"}
    assert set(table["SDSS"][zero]) == unlabelled
    with fits.open(survey.dr16q) as hdus:
        known = set(hdus[1].data["SDSS_NAME"])
    assert set(table["SDSS"]) - known == {target.name for target in targets if target.kind == "unmatched"}
    assert known - set(table["SDSS"]) == {target.name for target in targets if target.kind == "catalogue only"}


def test_a_larger_survey_uses_all_duplicate_slots_of_one_object_and_never_a_fibre_twice():
    targets = population.targets(500, 1)
    counts = [len(target.epochs) for target in targets]
    assert max(counts) == 75
    assert sum(count == 75 for count in counts) == 1
    assert all(count <= 9 or 60 <= count <= 75 for count in counts)
    epochs = [epoch for target in targets for epoch in target.epochs]
    assert len(set(epochs)) == len(epochs)
    assert max(plate for plate, _, _ in epochs) >= 10_000
    assert min(plate for plate, _, _ in epochs) >= 3688
    assert len({target.name for target in targets}) == len(targets)
    assert all(1.463 <= target.z < 1.8 for target in targets if target.kind == "main")


def test_designations_are_truncated_and_signed():
    assert population.designation(0.0, -0.25) == "000000.00-001500.0"
    assert population.designation(359.99999, 12.5) == "235959.99+123000.0"


# --- the same bytes -------------------------------------------------------------------------------------------------


def test_two_workers_write_the_same_bytes_as_one(survey, tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_survey, "CHUNK_SPECTRA", 9)  # so that there is work for two
    other = Survey(tmp_path / "other")
    simulate(other, objects=OBJECTS, seed=SEED, jobs=2, quiet=True)
    assert contents(other) == contents(survey)


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
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert kept.stat().st_ino == before.st_ino  # not written again


def test_a_run_cut_short_leaves_a_folder_that_is_not_taken_for_the_sky(tmp_path, monkeypatch):
    survey = Survey(tmp_path)
    monkeypatch.setattr(observing.spec_file, "spec_lite", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        simulate(survey, objects=2, quiet=True)
    assert survey.kind == "simulated"
    assert survey.about()["complete"] is False
    assert not list(tmp_path.rglob("*.fits"))


def test_a_complete_survey_is_returned_at_once(survey, monkeypatch):
    monkeypatch.setattr(population, "targets", lambda *_: pytest.fail("simulated again"))
    assert simulate(survey, objects=OBJECTS, seed=SEED, quiet=True) == survey.about()


def test_another_seed_gives_another_survey(survey, tmp_path):
    simulate(Survey(tmp_path), objects=1, seed=SEED + 1, quiet=True)
    assert tmp_path.joinpath("truth.parquet").read_bytes() != survey.truth.read_bytes()


# --- refusals -------------------------------------------------------------------------------------------------------


def test_the_real_survey_s_folder_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_survey, "REAL_FOLDER", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SurveyError, match="simulated data never go there; choose another --survey"):
        simulate(Survey("data"), objects=1, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_real_survey_is_never_written_into(tmp_path):
    survey = Survey(tmp_path)
    survey.chen.write_text("the published table")
    with pytest.raises(SurveyError, match="choose another --survey"):
        simulate(survey, objects=1, quiet=True)
    assert list(tmp_path.iterdir()) == [survey.chen]


def test_another_simulated_survey_is_never_mixed_in(survey):
    before = contents(survey)
    for recipe in ({"objects": OBJECTS + 1, "seed": SEED}, {"objects": OBJECTS, "seed": SEED + 1}):
        with pytest.raises(SurveyError, match="delete the folder or choose another --survey"):
            simulate(survey, **recipe, quiet=True)
    assert contents(survey) == before


def test_an_unreadable_card_is_an_error_not_an_empty_folder(tmp_path):
    survey = Survey(tmp_path)
    survey.card.write_text("{")
    with pytest.raises(FileError, match=r"survey\.json"):
        simulate(survey, objects=1, quiet=True)


@pytest.mark.parametrize(
    "numbers", [{"objects": 0}, {"objects": 100_001}, {"objects": 2.5}, {"seed": -1}, {"jobs": 0}, {"objects": "many"}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(tmp_path, numbers):
    with pytest.raises(SurveyError, match="expected a whole number"):
        simulate(Survey(tmp_path / "new"), **numbers, quiet=True)
    assert not (tmp_path / "new").exists()


def test_the_smallest_survey_is_one_object(tmp_path):
    assert simulate(Survey(tmp_path), objects=1, quiet=True)["spectra"] == 1


# --- the truth ------------------------------------------------------------------------------------------------------


def test_truth_says_it_is_simulated_and_holds_to_the_virial_relation(survey):
    table = pq.read_table(survey.truth)
    assert table.schema.metadata[b"kind"] == b"simulated"
    truth = table.to_pandas().set_index("OBJECT")
    masses = tables.read(survey.chen, format="mrt")
    assert set(truth.index) == set(masses["SDSS"])
    assert virial.mass("MgII", truth["log_L3000"], truth["FWHM_MgII"]) == pytest.approx(truth["LMBH_MgII"])
    assert virial.mass("CIV", truth["log_L1350"], truth["FWHM_CIV"]) == pytest.approx(truth["LMBH_CIV"])
    labelled = masses[masses["logMBH-MgII-2"] > 0]
    error = labelled["logMBH-MgII-2"] - truth.loc[list(labelled["SDSS"]), "LMBH_MgII"].to_numpy()
    assert np.std(error) < 0.3


# --- FITS by the byte -----------------------------------------------------------------------------------------------


def test_cards_are_read_by_astropy_as_they_were_meant():
    made = [
        fits_bytes.card(*card) for card in (("A", True), ("B", -3), ("C", 2.5), ("D", 1e-4), ("E", "text"), ("F", 4.0))
    ]
    header = fits.Header.fromstring(fits_bytes.header(made).decode())
    assert list(header.values()) == [True, -3, 2.5, 1e-4, "text", 4.0]
    assert isinstance(header["F"], float)


def test_a_header_block_can_leave_room():
    assert len(fits_bytes.header([], blocks=3)) == 3 * fits_bytes.BLOCK
