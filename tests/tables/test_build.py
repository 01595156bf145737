"""From catalogues and files to the tables, on a tiny survey."""

import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.errors import FileError, SpectrumError, SurveyError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import to_rest_frame
from quasar_mass.tables import survey_tables
from quasar_mass.tables.build import pipeline as module
from quasar_mass.tables.build.pipeline import build

STEP = 1e-3


def read(survey):
    """quasars, spectra (with the flux as a column), rejects."""
    frames, blocks = zip(*survey_tables.iterate_spectra(survey.spectra), strict=True)
    spectra = pd.concat(frames, ignore_index=True).assign(flux=list(np.concatenate(blocks)))
    return (
        survey_tables.read_quasars(survey.quasars),
        spectra.set_index("EPOCH"),
        survey_tables.read_rejects(survey.rejects),
    )


def name(spectrum):
    return "{:04d}-{:05d}-{:04d}".format(*spectrum)


def run(survey, **options):
    return build(survey, step=STEP, quiet=True, **options)


def test_every_spectrum_of_the_tiny_survey_is_in_the_tables(tiny_survey, make):
    report = run(tiny_survey)
    quasars, spectra, rejects = read(tiny_survey)
    assert (report["cuts"][-1]["objects"], report["cuts"][-1]["spectra"], report["rejects"]) == (12, 18, {})
    assert len(rejects) == 0
    assert set(spectra.index) == {name(spectrum) for spectra in make.tiny.values() for spectrum in spectra}
    for number, of_object in make.tiny.items():
        row = quasars.loc[make.object_name(number)]
        measured = of_object[1] if number in (3, 5) else of_object[0]
        assert row["N_EPOCHS"] == len(of_object)
        assert row["CHEN EPOCH"] == name(measured)
        assert row["Z"] == make.tiny_redshift[number]
        assert row["LMBH"] == pytest.approx(8 + number / 10)
        assert row["LABEL_LINE"] == ("CIV" if number % 4 == 0 else "MgII")
        mine = spectra.loc[[name(spectrum) for spectrum in of_object]]
        assert set(mine["OBJECT"]) == {make.object_name(number)}
        assert mine.index[mine["LABEL_EPOCH"]].tolist() == [name(measured)]
        assert mine["Z"].tolist() == [row["Z"]] * len(of_object)
        assert mine["EBV"].to_numpy() == pytest.approx(0.02, rel=1e-5)
        assert set(mine["RUN2D"]) == {"v5_13_0"}
        # the fixture blanks 10 pixels per number, all at the same observed wavelengths
        pixel = make.first_pixel + np.arange(500, 500 + 10 * number)
        rest = 1e-4 * pixel - np.log10(1 + row["Z"])
        assert (mine["N_BAD"] == ((rest >= 3.16) & (rest <= 3.53)).sum()).all()
    assert set(quasars["SPLIT"]) == {"training", "validation", "test"}
    assert not any("partial" in path.name for path in tiny_survey.folder.rglob("*"))


def test_each_row_is_the_spectrum_of_its_file(tiny_survey, make):
    run(tiny_survey)
    _, spectra, _ = read(tiny_survey)
    for number, of_object in make.tiny.items():
        for spectrum in of_object:
            file = read_spectrum(make.spec_path(tiny_survey.folder, spectrum))
            expected = to_rest_frame(file, make.tiny_redshift[number], Grid(STEP), ebv=0.02)
            row = spectra.loc[name(spectrum)]
            np.testing.assert_allclose(row["flux"], expected.flux, rtol=1e-6)
            assert row["SN"] == pytest.approx(expected.signal_to_noise, rel=1e-6)


def test_metadata_say_where_the_tables_come_from(tiny_survey):
    import hashlib

    report = run(tiny_survey)
    about = survey_tables.read_about(tiny_survey.spectra)
    assert about == survey_tables.read_about(tiny_survey.quasars)
    assert about["kind"] == "sdss"
    assert about["grid"] == {"start": 3.16, "step": STEP, "size": 371, "axis": "log10(rest wavelength / Angstrom)"}
    assert about["extinction_corrected"] is True
    assert about["inputs"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tiny_survey.chen, tiny_survey.dr16q)
    }
    assert about["cuts"] == report["cuts"]
    assert about["cuts"][-1] == {"cut": "read, and covering the window", "objects": 12, "spectra": 18}


@pytest.mark.parametrize("chunk", [1, 5, 128])
def test_tables_are_the_same_bytes_for_any_number_of_processes(tiny_survey, monkeypatch, chunk):
    def files():
        return [path.read_bytes() for path in (tiny_survey.quasars, tiny_survey.spectra, tiny_survey.rejects)]

    make_missing = next(tiny_survey.folder.glob("spectra/10003/*.fits"))
    make_missing.unlink()
    run(tiny_survey)
    alone = files()
    monkeypatch.setattr(module, "_CHUNK", chunk)
    run(tiny_survey, jobs=2 if chunk == 5 else 1)
    assert files() == alone


def damage(survey, make):
    """One spectrum of each fault; gives epoch to reason."""
    spectra = make.tiny
    path = {number: make.spec_path(survey.folder, of_object[0]) for number, of_object in spectra.items()}
    path[1].unlink()
    path[2].write_bytes(path[4].read_bytes())  # another's spectrum under this name
    content = path[6].read_bytes()
    path[6].write_bytes(content[: len(content) // 2])
    path[7].write_text("<html>404 Not Found</html>")
    make.spec(path[8], spectrum=spectra[8][0], first=37000)  # begins too far in the red
    make.spec(path[9], spectrum=spectra[9][0], ivar=np.zeros(make.n_pixels))
    make.spec(path[10], spectrum=spectra[10][0], ivar=np.full(make.n_pixels, -1.0))
    reasons = {
        1: "missing file",
        2: "not the spectrum named",
        6: "unreadable file",
        7: "unreadable file",
        8: "does not cover the window",
        9: "no good pixels",
        10: "invalid values",
    }
    return {name(spectra[number][0]): reason for number, reason in reasons.items()}


def test_each_spectrum_is_in_the_table_or_rejected_with_its_reason(tiny_survey, make):
    expected = damage(tiny_survey, make)
    report = run(tiny_survey)
    quasars, spectra, rejects = read(tiny_survey)
    assert dict(zip(rejects["EPOCH"], rejects["REASON"], strict=True)) == expected
    assert set(rejects["REASON"]) <= set(SpectrumError.REASONS)
    every = {name(spectrum) for of_object in make.tiny.values() for spectrum in of_object}
    assert set(spectra.index) | set(rejects["EPOCH"]) == every
    assert not set(spectra.index) & set(rejects["EPOCH"])
    assert report["cuts"][-2]["spectra"] == len(every) == report["cuts"][-1]["spectra"] + len(rejects)
    assert sum(report["rejects"].values()) == len(rejects) == 7
    # objects without any spectrum are gone, object 8 stays with its three duplicates
    assert len(quasars) == report["cuts"][-1]["objects"] == 12 - 6
    assert quasars.loc[make.object_name(8), "N_EPOCHS"] == 3
    assert (quasars["N_EPOCHS"] == spectra.groupby("OBJECT").size()).all()
    # the details do not depend on where the folder stands
    assert not rejects["DETAIL"].str.contains(str(tiny_survey.folder), regex=False).any()
    assert rejects["DETAIL"].str.len().min() > 20


def test_the_command_prints_what_each_cut_leaves_and_the_rejects_by_reason(tiny_survey, make, capsys):
    import get_Chen_data

    damage(tiny_survey, make)
    assert get_Chen_data.main(["build", "--survey", str(tiny_survey.folder), "--step", str(STEP), "--quiet"]) == 0
    words = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert words[0] == "cut objects spectra"
    assert [line.rsplit(" ", 1)[1] for line in words[1:9]] == ["12"] * 8
    assert words[9:-2] == [
        "all spectra of these objects 12 18",
        "read, and covering the window 6 11",
        "rejected, does not cover the window: 1 spectra",
        "rejected, invalid values: 1 spectra",
        "rejected, missing file: 1 spectra",
        "rejected, no good pixels: 1 spectra",
        "rejected, not the spectrum named: 1 spectra",
        "rejected, unreadable file: 2 spectra",
    ]
    assert words[-1].startswith("6 objects and 11 spectra (sdss) in ")


def test_without_extinction_nothing_is_corrected(tiny_survey, make):
    run(tiny_survey, extinction=False)
    _, spectra, _ = read(tiny_survey)
    assert spectra["EBV"].isna().all()
    assert spectra["FLAGS"].str.startswith("no extinction known").all()
    assert survey_tables.read_about(tiny_survey.spectra)["extinction_corrected"] is False
    spectrum = make.tiny[4][0]
    plain = to_rest_frame(
        read_spectrum(make.spec_path(tiny_survey.folder, spectrum)), make.tiny_redshift[4], Grid(STEP)
    )
    np.testing.assert_array_equal(spectra.loc[name(spectrum), "flux"], plain.flux)


def test_all_files_missing_is_one_error_and_no_table(tiny_survey):
    for path in tiny_survey.folder.glob("spectra/*/*.fits"):
        path.unlink()
    with pytest.raises(SurveyError, match="18 with 'missing file'"):
        run(tiny_survey)
    assert sorted(path.name for path in tiny_survey.quasars.parent.iterdir()) == ["DR16Q_v4.fits"]


@pytest.mark.parametrize("card", ["", "[]", '{"kind": "other"}', "[" * 100_000])
def test_a_survey_with_a_damaged_card_is_never_taken_for_real_data(tiny_survey, card):
    tiny_survey.card.write_text(card)
    with pytest.raises(FileError, match=r"survey\.json"):
        run(tiny_survey)
    assert not tiny_survey.spectra.exists()


def test_a_simulated_spectrum_among_real_data_ends_the_build(tiny_survey, make):
    spectrum = make.tiny[2][0]
    path = make.spec_path(tiny_survey.folder, spectrum)
    make.spec(path, spectrum=spectrum, z=make.tiny_redshift[2], simulated=True)
    with pytest.raises(SurveyError, match="simulated"):
        run(tiny_survey)
    tiny_survey.card.write_text('{"kind": "simulated", "seed": 3}')
    assert run(tiny_survey)["cuts"][-1]["spectra"] == 18
    about = survey_tables.read_about(tiny_survey.spectra)
    assert (about["kind"], about["survey"]["seed"]) == ("simulated", 3)


def test_tables_of_two_builds_are_refused_by_all_who_read_both_and_mended(tiny_survey, capsys):
    """As a kill among the renames leaves them: new spectra beside old quasars."""
    import get_Chen_data
    from quasar_mass.core.errors import TableError
    from quasar_mass.predict import calibrate, mass_table
    from quasar_mass.report import explain_files
    from quasar_mass.tables import dataset

    tiny_survey.card.write_text('{"kind": "simulated", "complete": true}')
    build(tiny_survey, step=2 * STEP, quiet=True)
    old = tiny_survey.quasars.read_bytes()
    run(tiny_survey)
    new = tiny_survey.quasars.read_bytes()
    tiny_survey.quasars.write_bytes(old)
    for read_both in (
        lambda: dataset.load(tiny_survey),
        lambda: mass_table.predict_survey(tiny_survey, None),
        lambda: calibrate.calibrate(None, tiny_survey),
        lambda: explain_files._from_table(tiny_survey.spectra, tiny_survey, None, 5),
    ):
        with pytest.raises(TableError, match=r"spectra\.parquet: is not of the same build as quasars\.parquet"):
            read_both()
    assert get_Chen_data.main(["status", "--survey", str(tiny_survey.folder)]) == 0
    assert "next: python get_Chen_data.py build" in capsys.readouterr().out
    get_Chen_data.get_Chen_data("Simulate", tiny_survey.folder, step=STEP, quiet=True)
    assert tiny_survey.quasars.read_bytes() == new


def test_a_simulation_that_was_cut_short_is_not_built(tiny_survey):
    tiny_survey.card.write_text('{"kind": "simulated", "complete": false, "objects": 12, "seed": 3}')
    with pytest.raises(SurveyError, match=r"a simulation that was interrupted; run: .* --objects 12 --seed 3"):
        run(tiny_survey)
    assert not tiny_survey.spectra.exists()
