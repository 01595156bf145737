"""What a user may name: files, folders, spectra of a survey, lists, tables."""

import shutil

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from desi_files import Target, write_redrock, write_spectra

from quasar_mass.cli import quasar_analysis
from quasar_mass.core.errors import FileError, ModelError, SpectrumError, TableError
from quasar_mass.core.survey import Survey
from quasar_mass.predict.inputs import check_exists, count_skipped, default_model, expand, gather, model_files
from quasar_mass.predict.mass_table import predict_files
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.read import read_one
from quasar_mass.spectra.rest_frame import prepare

SURVEY = Survey("somewhere")
FILE = SURVEY.spectrum(7666, 57339, 121)


def test_files_folders_names_and_lists(tmp_path, make):
    file = make.spec(tmp_path / "folder" / "spec-4000-56000-0001.fits")
    (tmp_path / "list.txt").write_text(f"# two\n7666-57339-121\n\n{file}\n")
    requests, tables, _ = gather([file, tmp_path / "folder", "7666-57339-0121", tmp_path / "list.txt"], SURVEY)
    assert [request.file for request in requests] == [file, file, FILE, FILE, file]
    assert all(request.redshift is None for request in requests)
    assert tables == []


def test_folders_list_every_kind_of_spectrum_file_and_count_the_rest(tmp_path, make):
    inside = tmp_path / "some" / "deep"
    names = ["a.fits", "b.FIT", "c.fits.gz", "d.fit.gz", "d.npz"]
    for name in [*names, "notes.txt", "e.gz", "f.csv"]:
        make.spec(inside / "a.fits").with_name(name).write_bytes(b"content")
    assert expand([tmp_path]) == [inside / name for name in names]
    assert count_skipped([tmp_path, inside / "e.gz"]) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no spectrum files"):
        expand([tmp_path / "empty"])


NUMBERS = "3600.0 5.0 0.1\n3601.0 5.1 0.1\n3602.0 4.9 0.1\n"
ROWS = NUMBERS.replace(" ", ",")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", NUMBERS),
        ("a.lst", "# a comment\n" + NUMBERS),
        ("a.txt", "wave flux err\n" + NUMBERS),
        ("a.txt", "# z = 1.6\n# wave flux err\n" + NUMBERS),
        ("a.csv", ROWS),
        ("a.csv", "wave,flux,err\n" + ROWS),
        ("a.csv", "wave,flux,err,z\n" + ROWS.replace("0.1\n", "0.1,1.6\n")),
        ("a.ecsv", "# %ECSV 1.0\n# ---\n# schema: astropy-2.0\nwave flux err\n" + NUMBERS),
        ("a.vot", "<?xml?>"),
        ("a.dat", NUMBERS),
    ],
)
def test_a_text_or_table_of_pixels_is_a_spectrum_and_no_list_of_names(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (request,), tables, _ = gather([tmp_path / name], SURVEY)
    assert (request.file, tables) == (tmp_path / name, [])
    (tmp_path / "list.txt").write_text(f"{tmp_path / name}\n7666-57339-0121\n")
    requests, *_ = gather([tmp_path / "list.txt"], SURVEY)
    assert [request.file for request in requests] == [tmp_path / name, FILE]


@pytest.mark.parametrize(
    ("names", "words"),
    [("wavelength,counts,error", "has no flux column"), ("rest_wavelength,flux,error", "rest frame")],
)
def test_a_text_of_pixels_that_lacks_a_column_says_which(tmp_path, names, words):
    path = tmp_path / "mine.csv"
    path.write_text(f"{names}\n4000,1,1\n4001,1,1\n")
    with pytest.raises(SpectrumError, match=words):
        read_one(*gather([path], Survey(tmp_path)).requests)


def test_fits_tables_of_pixels_are_spectra_whatever_else_they_hold(tmp_path):
    pixels = {"WAVE": np.arange(3600.0, 3605.0), "FLUX": np.ones(5), "IVAR": np.ones(5), "PLATE": np.full(5, 7666)}
    Table(pixels).write(tmp_path / "spectrum.fits")
    (request,), *_ = gather([tmp_path / "spectrum.fits"], SURVEY)
    assert request.file == tmp_path / "spectrum.fits"


def test_a_table_of_spectra_with_numbers_alone_stays_one(tmp_path):
    (tmp_path / "t.csv").write_text("plate,mjd,fiberid,z\n7666,57339,121,1.62\n")
    (request,), *_ = gather([tmp_path / "t.csv"], SURVEY)
    assert (request.file, request.redshift) == (FILE, 1.62)


def test_a_single_file_that_does_not_exist_is_reported_before_any_work(tmp_path):
    requests, *_ = gather([tmp_path / "none.fits"], SURVEY)
    with pytest.raises(FileError, match="does not exist"):
        check_exists(requests)
    check_exists(requests * 2)  # of several each gets its reason in the table


@pytest.mark.parametrize(
    ("name", "fetched"),
    [("7666-57339-0121", True), ("mine.dat", False), ("spec-7666-57339-0121.fits", False)],
)
def test_only_a_spectrum_of_a_survey_can_be_fetched(tmp_path, monkeypatch, name, fetched):
    monkeypatch.chdir(tmp_path)
    (request,), *_ = gather([name], SURVEY)
    with pytest.raises(FileError) as raised:
        check_exists([request])
    for reason in (str(raised.value), prepare(request).reason):
        assert ("fetch" in reason) == fetched
        assert "correct the name" in reason


def test_a_line_of_a_list_that_names_no_file_is_said(tmp_path, made):
    path = tmp_path / "list.txt"
    path.write_text("# spectra\nnone.fits\n")
    requests, *_ = gather([path], SURVEY)
    with pytest.raises(FileError, match=r"list\.txt, line 2: none\.fits: does not exist"):
        check_exists(requests)
    table = predict_files(requests, Predictor.load(made[1][0]), quiet=True)
    assert table["REASON"][0].endswith(f"({path}, line 2)")
    path.write_text("# none\n")
    with pytest.raises(FileError, match="names no spectra"):
        gather([path], SURVEY)
    path.write_text("\nother.csv\n")
    with pytest.raises(FileError, match=r"list\.txt, line 2: other\.csv does not exist"):
        gather([path], SURVEY)


def test_a_model_that_does_not_exist_is_refused(tmp_path):
    assert model_files(None) == [default_model()]
    with pytest.raises(ModelError, match="does not exist"):
        model_files([default_model(), tmp_path / "none.h5"])


@pytest.mark.parametrize("ending", ["parquet", "csv", "ecsv", "fits"])
@pytest.mark.parametrize("names", [("EPOCH", "Z", "OBJECT"), ("plate", "mjd", "fiberid", "z", "sdss_name")])
def test_tables_with_redshifts_of_every_format(tmp_path, ending, names):
    columns = {"EPOCH": ["7666-57339-0121"], "plate": [7666], "mjd": [57339], "fiberid": [121]}
    columns |= {"Z": [1.62], "z": [1.62], "OBJECT": ["J1"], "sdss_name": ["J1"]}
    path = tmp_path / f"table.{ending}"
    table = {name: columns[name] for name in names}
    if ending == "parquet":
        pd.DataFrame(table).to_parquet(path)
    else:
        Table(table).write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[ending])
    (request,), *_ = gather([path], SURVEY)
    assert (request.file, request.redshift, request.name) == (FILE, 1.62, "J1")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plate,mjd,z\n1,2,1.6\n", "fiberid"),
        ("EPOCH\n7666-57339-0121\n", "columns Z"),
        ("EPOCH,Z\nnonsense,1.6\n", "row 1"),
        ("EPOCH,Z\n", "has no rows"),
    ],
)
def test_tables_that_lack_something_say_what(tmp_path, text, word):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=word):
        gather([path], SURVEY)


def test_objects_without_a_name_are_not_one_object_named_nan(tmp_path):
    (tmp_path / "list.csv").write_text("EPOCH,Z,OBJECT\n7666-57339-0121,1.6,\n7666-57339-0122,1.6,\n")
    requests, *_ = gather([tmp_path / "list.csv"], SURVEY)
    assert [request.name for request in requests] == ["", ""]


@pytest.mark.parametrize("verb", ["predict", "virial"])
def test_an_output_that_is_an_input_is_refused_and_left_as_it_is(tmp_path, capsys, make, verb):
    spectrum = make.spec(tmp_path / "in" / "mine.fits")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "linked.fits").symlink_to(spectrum)
    table = tmp_path / "z.csv"
    table.write_text(f"FILE,Z\n{spectrum},1.6\n")
    survey = Survey(tmp_path / "survey")
    catalogue = make.dr16q(survey.dr16q, [make.dr16q_row(1, spectrum=(4000, 56000, 1))])
    targets = [Target(39633345008634465)]
    coadd, redrock = tmp_path / "coadd-main-dark-1.fits", tmp_path / "redrock-main-dark-1.fits"
    write_redrock(redrock, targets)
    write_spectra(coadd, targets)
    for output, *named in [
        (spectrum, spectrum),
        (spectrum, tmp_path / "linked.fits"),
        (tmp_path / "linked.fits", spectrum),
        (tmp_path / "link" / "mine.fits", tmp_path / "in"),
        (table, table),
        (table, spectrum, "--redshifts", table),
        (catalogue, spectrum),
        (redrock, coadd),
    ]:
        before = output.read_bytes()
        options = ("--survey", survey.folder, "--quiet", "--output", output)
        assert quasar_analysis.main(list(map(str, (verb, *named, *options)))) == 1
        printed = capsys.readouterr()
        assert printed.err == f"error: {output}: is one of the inputs, and would be overwritten; choose another name.\n"
        assert printed.out == ""
        assert output.read_bytes() == before


def test_a_survey_s_tables_are_no_output(tmp_path, capsys, made):
    survey = Survey(shutil.copytree(made[0].folder, tmp_path / "survey"))
    part = tmp_path / "parts" / "spectra.parquet" / "part-0.parquet"
    part.parent.mkdir(parents=True)
    shutil.copy(survey.spectra, part)
    for output, *named in [(survey.spectra,), (survey.quasars,), (survey.rejects,), (part, part.parent)]:
        before = output.read_bytes()
        options = ("--survey", survey.folder, "--model", made[1][0], "--output", output)
        assert quasar_analysis.main(list(map(str, ("predict", *named, *options)))) == 1
        assert "is one of the inputs" in capsys.readouterr().err
        assert output.read_bytes() == before
