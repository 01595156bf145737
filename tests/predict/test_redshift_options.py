"""Redshifts and E(B-V) that a user gives: --redshift, --redshifts, --ebv, for files of every kind."""

import re

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from desi_files import Target, write_redrock, write_spectra
from formats import CATALOGID, FIELD, MJD, SDSS_ID, sdss_v

from quasar_mass.cli import quasar_analysis
from quasar_mass.core.survey import Survey
from quasar_mass.predict.inputs import gather

SURVEY = Survey("somewhere")
FIRST = 39633345008634465


def found(folder, text, name="table.csv") -> dict[str, float]:
    """The redshifts that the files of a folder get from a table."""
    (folder / name).write_text(text)
    requests, _, notes = gather([folder / "spectra"], SURVEY, redshifts=folder / name)
    return {request.file.name: request.redshift for request in requests} | {"notes": notes}


@pytest.mark.parametrize(
    "text",
    [
        "EPOCH,Z\n4000-56000-0001,1.7\n",
        "plate,mjd,fiberid,z\n4000,56000,1,1.7\n",
        "FILE,redshift\nsomewhere/else/spec-4000-56000-0001.fits,1.7\n",
        "NAME,Z\nspec-4000-56000-0001,1.7\n",
    ],
)
def test_redshifts_are_found_by_whatever_names_a_spectrum(tmp_path, make, text):
    make.spec(tmp_path / "spectra" / "spec-4000-56000-0001.fits")
    make.spec(tmp_path / "spectra" / "spec-4000-56000-0002.fits", spectrum=(4000, 56000, 2))
    given = found(tmp_path, text)
    assert given["spec-4000-56000-0001.fits"] == 1.7
    assert given["spec-4000-56000-0002.fits"] is None
    assert given["notes"] == [f"1 of 2 spectra are not in {tmp_path / 'table.csv'}; their own redshifts are used"]


def test_a_file_of_another_name_is_found_by_the_spectrum_in_it(tmp_path, make):
    make.spec(tmp_path / "spectra" / "mine.fits")
    assert found(tmp_path, "EPOCH,Z\n4000-56000-0001,1.7\n")["mine.fits"] == 1.7


def test_names_of_sdss_v_are_found_by_catalogid_with_all_its_digits(tmp_path):
    names = ["spec-112360-60000-27021598150202075.fits", "spec-112360-60000-27021598150202076.fits"]
    (tmp_path / "spectra").mkdir()
    for name in names:
        (tmp_path / "spectra" / name).write_bytes(b"")
    given = found(tmp_path, "CATALOGID,Z\n27021598150202076,1.76\n,1.0\n27021598150202075,1.75\n")
    assert [given[name] for name in names] == [1.75, 1.76]
    rows = "FIELD,MJD,CATALOGID,Z\n112360,60001,27021598150202075,1.5\n112360,60000,27021598150202075,1.6\n"
    assert found(tmp_path, rows)[names[0]] == 1.6


def test_sdss_id_is_looked_up_in_the_file(tmp_path):
    wavelength = 10 ** (1e-4 * np.arange(35600, 40100))
    path = tmp_path / "spectra" / f"spec-{FIELD}-{MJD}-{CATALOGID}.fits"
    path.parent.mkdir()
    sdss_v(path, wavelength, np.ones(4500), np.ones(4500))
    assert found(tmp_path, f"SDSS_ID,Z\n1,1.0\n{SDSS_ID},1.77\n")[path.name] == 1.77
    assert found(tmp_path, f"SDSS_ID,Z\n{SDSS_ID + 1},1.77\n")["notes"] != []


@pytest.mark.parametrize("cell", ["", "nan", "high", "inf"])
@pytest.mark.parametrize("verb", ["predict", "virial"])
def test_a_spectrum_whose_redshift_a_table_lacks_has_none(tmp_path, capsys, make, verb, cell):
    """Not even its own; and NaN in the table of masses is no redshift 0."""
    names = [make.spec(tmp_path / f"spec-4000-56000-000{n}.fits", spectrum=(4000, 56000, n)) for n in (1, 2)]
    (tmp_path / "some.csv").write_text(f"FILE,Z\n{names[0]},{cell}\n{names[1]},1.7\n")
    (tmp_path / "none.csv").write_text(f"FILE,Z\n{names[0]},{cell}\n")
    output = tmp_path / "out.csv"
    for named in ([tmp_path / "some.csv"], [*names, "--redshifts", tmp_path / "some.csv"]):
        assert run(verb, *named, "--output", output, "--quiet") == 0
        table = pd.read_csv(output)
        assert np.isnan(table["Z"][0])
        assert table["Z"][1] == 1.7
        assert table["REASON"][0].startswith("no redshift: ")
        assert "redshift 0" not in table["REASON"][0]
    capsys.readouterr()
    for named in ([tmp_path / "none.csv"], [names[0], "--redshifts", tmp_path / "none.csv"]):
        assert run(verb, *named, "--quiet") == 1
        assert "no redshift: " in capsys.readouterr().err


def test_given_values_count_more_than_those_of_lists_and_files(tmp_path, make):
    file = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    (tmp_path / "list.csv").write_text(f"FILE,Z\n{file},1.5\n")
    (request,), *_ = gather([tmp_path / "list.csv"], SURVEY, redshift=1.8, ebv=0.0)
    assert (request.redshift, request.ebv) == (1.8, 0.0)


def test_a_list_may_name_targets_of_desi(tmp_path):
    numbers = [FIRST + 2, -FIRST]  # sky fibers have negative ones
    targets = [Target(number) for number in (FIRST, *numbers)]
    write_redrock(tmp_path / "redrock-main-dark-1.fits", targets)
    path = write_spectra(tmp_path / "coadd-main-dark-1.fits", targets)
    table = Table({"FILE": [str(path)] * 2, "TARGETID": numbers, "Z": [1.5, 1.7]})
    for ending in ("fits", "csv"):
        table.write(tmp_path / f"list.{ending}")
        requests, *_ = gather([tmp_path / f"list.{ending}"], SURVEY)
        assert [(request.target, request.redshift) for request in requests] == [(FIRST + 2, 1.5), (-FIRST, 1.7)]


# --- from a shell -----------------------------------------------------------------------------------------------------


def run(*arguments) -> int:
    try:
        return quasar_analysis.main(list(map(str, arguments)))
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize("verb", ["predict", "virial", "explain"])
@pytest.mark.parametrize(
    "options",
    [
        ("--redshift", "abc"),
        ("--redshift", "-1"),
        ("--redshift", "nan"),
        ("--redshift", "0"),
        ("--ebv", "-0.1"),
        ("--ebv", "inf"),
        ("--redshift", "1.6", "--redshifts", "table.fits"),
    ],
)
def test_wrong_values_and_both_options_are_wrong_usage(capsys, verb, options):
    assert run(verb, "spec.fits", *options) == 2
    assert re.search(f"argument {options[-2]}: (must be a|not allowed with)", capsys.readouterr().err)


@pytest.mark.parametrize("option", [("--redshift", "1.6"), ("--redshifts", "table.fits"), ("--ebv", "0.1")])
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_survey_s_tables_take_none_of_the_options(capsys, made, verb, option):
    survey, *_ = made
    for files in ((), (survey.spectra,)):
        assert run(verb, *files, "--survey", survey.folder, *option) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith(f"error: {option[0]}: is for spectra in files")
        assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_predict_and_virial_take_the_same_files_with_the_same_redshifts(tmp_path, capsys, make):
    targets = [Target(FIRST + number, warning=4 * number) for number in range(2)]
    write_redrock(tmp_path / "in" / "redrock-main-dark-1.fits", [*targets, Target(FIRST + 9, spectype="STAR")])
    write_spectra(tmp_path / "in" / "coadd-main-dark-1.fits", [*targets, Target(FIRST + 9)])
    make.spec(tmp_path / "in" / "spec-4000-56000-0001.fits")
    rows = ("TARGETID,EPOCH,Z", f"{FIRST},,1.61", f"{FIRST + 1},,1.62", ",4000-56000-0001,1.63")
    (tmp_path / "z.csv").write_text("\n".join(rows))
    for verb in ("predict", "virial"):
        output = tmp_path / f"{verb}.csv"
        assert run(verb, tmp_path / "in", "--redshifts", tmp_path / "z.csv", "--output", output, "--quiet") in (0, 1)
        assert "2 quasars of 3 targets; left out: 1 not in z.csv\n" in capsys.readouterr().err
        table = pd.read_csv(output)
        assert table["EPOCH"].tolist() == [str(FIRST), str(FIRST + 1), "4000-56000-0001"]
        assert table["Z"].tolist() == [1.61, 1.62, 1.63]
        assert run(verb, tmp_path / "in", "--redshift", "1.7", "--ebv", "0", "--output", output, "--quiet") in (0, 1)
        assert pd.read_csv(output)["Z"].tolist() == [1.7] * 3
        capsys.readouterr()
    assert run("virial", tmp_path / "in", "--redshifts", tmp_path / "none.csv") == 1
    assert "none.csv: does not exist" in capsys.readouterr().err


def test_a_written_table_s_reasons_are_counted_on_the_screen(tmp_path, capsys, made):
    (tmp_path / "empty.fits").write_bytes(b"")
    (tmp_path / "text.fits").write_text("text")
    used = next(made[0].folder.rglob("spec-*.fits"))
    names = [used, tmp_path / "empty.fits", tmp_path / "text.fits"]
    for verb in ("predict", "virial"):
        assert run(verb, *names, "--redshift", "1.7", "--output", tmp_path / "out.csv", "--quiet") == 0
        assert "1 spectrum, 2 without one (unreadable file: 2)" in capsys.readouterr().out
