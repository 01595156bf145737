"""Spectra of DESI's targets from SPARCL: a whole file each, resumed, and a reason for each that is not there."""

import csv

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from sparcl_stand_in import StandIn, desi_record, sdss_record

import get_Chen_data
from quasar_mass.core.errors import FetchError, FileError, QuasarMassError
from quasar_mass.fetch import sparcl_client
from quasar_mass.fetch.sparcl_targets import fetch_targets, read_targets, target_path
from quasar_mass.spectra.read import read
from quasar_mass.spectra.sparcl_record import spectrum_of

TARGETS = [39627785483846048, 39627785483846049, 2305843009213693952, 4]


@pytest.fixture
def service():
    return StandIn(
        [
            desi_record(TARGETS[0], "DESI-EDR", 1),
            desi_record(TARGETS[0], "DESI-DR1", 2, specprimary=False, program="bright"),
            desi_record(TARGETS[0], "DESI-DR1", 3, redshift=1.7),
            desi_record(TARGETS[1], "DESI-EDR", 4, redshift=np.nan, spectype="GALAXY"),
            desi_record(TARGETS[2], "DESI-DR1", 5, flux=np.ones(3)),
            sdss_record((7666, 57339, 121), "v5_13_0", "BOSS-DR16", 6),
        ]
    )


def fetch(targets, folder, service):
    return fetch_targets([str(target) for target in targets], folder, service, quiet=True, sleep=lambda seconds: None)


def table_of(folder, target):
    path = target_path(folder, str(target))
    return Table.read(path), fits.getheader(path, 1)


def test_the_newest_release_s_primary_spectrum_of_each_target_becomes_a_table(service, tmp_path):
    lines = fetch(TARGETS, tmp_path, service)
    assert lines[0] == "targets: 4 asked for: 2 there, 1 not held by SPARCL, 1 damaged"
    table, header = table_of(tmp_path, TARGETS[0])
    record = service.held[2]
    assert table["WAVELENGTH"].unit == "Angstrom"
    assert table["FLUX"].unit == "1e-17 erg / (s cm2 Angstrom)"
    assert table["IVAR"].unit == "1e34 s2 cm4 Angstrom2 / erg2"
    spectrum = spectrum_of(record)
    np.testing.assert_array_equal(table["WAVELENGTH"], record["wavelength"])
    np.testing.assert_array_equal(table["FLUX"], record["flux"])
    np.testing.assert_array_equal((table["MASK"] == 0) & (table["IVAR"] > 0), spectrum.good)
    known = {name: header[name] for name in ("TARGETID", "Z", "SPECTYPE", "TELESCOP", "DATAREL", "PROGRAM")}
    expected = {"TARGETID": TARGETS[0], "Z": 1.7, "SPECTYPE": "QSO", "TELESCOP": "KPNO 4.0-m telescope"}
    assert known == expected | {"DATAREL": "DESI-DR1", "PROGRAM": "dark"}
    _, header = table_of(tmp_path, TARGETS[1])
    assert (header["DATAREL"], header["SPECTYPE"]) == ("DESI-EDR", "GALAXY")
    assert "Z" not in header  # it is not known, and not zero
    assert "EBV" not in header
    with open(tmp_path / "not_there.csv", newline="") as file:
        absent = dict(csv.reader(file))
    assert absent[str(TARGETS[3])] == "SPARCL does not hold it"
    assert "7781 wavelengths but flux of shape (3,)" in absent[str(TARGETS[2])]
    names = {target_path(tmp_path, str(target)) for target in TARGETS[:2]} | {tmp_path / "not_there.csv"}
    assert set(tmp_path.iterdir()) == names  # nothing of the damaged one


def test_a_file_is_read_as_the_record_it_was_made_of(service, tmp_path):
    service.held[2]["ebv"] = 0.03
    service.get_available_fields = lambda *, dataset_list: set(service.held[2]) - {"_dr"}
    fetch(TARGETS[:1], tmp_path, service)
    from_file, from_record = read(target_path(tmp_path, str(TARGETS[0]))), spectrum_of(service.held[2])
    for name in ("wavelength", "flux", "ivar", "good"):
        np.testing.assert_array_equal(getattr(from_file, name), getattr(from_record, name), err_msg=name)
    for name in ("redshift", "ebv", "spec_id", "kind", "spectral_class", "telescope", "notes"):
        assert getattr(from_file, name) == getattr(from_record, name)
    assert from_file.ebv == 0.03


def test_a_second_run_asks_only_for_what_is_not_there_or_not_whole_and_writes_the_same_bytes(service, tmp_path):
    fetch(TARGETS[:2], tmp_path, service)
    assert not (tmp_path / "not_there.csv").exists()
    paths = [target_path(tmp_path, str(target)) for target in TARGETS[:2]]
    bodies = [path.read_bytes() for path in paths]
    service.calls.clear()
    assert "0 fetched in this run" in fetch(TARGETS[:2], tmp_path, service)[1]
    assert not service.calls
    paths[0].write_bytes(bodies[0][:60_000] + bytes(8000) + bodies[0][68_000:])
    assert "1 fetched in this run" in fetch(TARGETS[:2], tmp_path, service)[1]
    paths[1].write_bytes(bodies[1][:60_000])
    assert "1 fetched in this run" in fetch(TARGETS[:2], tmp_path, service)[1]
    assert [path.read_bytes() for path in paths] == bodies
    assert table_of(tmp_path, TARGETS[0])[1].comments["CHECKSUM"] == "checksum of this table"  # and no time


def test_sparcl_s_own_ids_are_taken_too_also_of_other_surveys(service, tmp_path):
    ids = [service.held[1]["sparcl_id"], service.held[5]["sparcl_id"]]
    assert "targets: 2 asked for: 2 there" in fetch(ids, tmp_path, service)[0]
    assert table_of(tmp_path, ids[0])[1]["PROGRAM"] == "bright"
    header = table_of(tmp_path, ids[1])[1]
    assert (header["OBJECT"], header["TELESCOP"], "TARGETID" in header) == ("7666-57339-0121", "SDSS 2.5-M", False)


def test_time_outs_are_survived_and_then_reported_without_losing_what_came(service, tmp_path):
    service.failures = 3
    fetch(TARGETS[:1], tmp_path, service)
    service.failures = 99
    with pytest.raises(FetchError, match=r"does not answer .*; run the same command again later"):
        fetch(TARGETS[:2], tmp_path, service)
    assert target_path(tmp_path, str(TARGETS[0])).exists()


def test_targets_are_read_from_texts_and_tables(tmp_path):
    names = [str(target) for target in TARGETS]
    texts = {
        "lines.txt": "# two of one\n{}\n\n{}\n{}\n{}\n{}\n".format(*names, names[0]),
        "table.csv": "Z, TARGETID\n" + "".join(f"1.6, {name}\n" for name in names),
        "quoted.csv": '"TARGETID","NAME"\n' + "".join(f'{name},"a b"\n' for name in names),
        "lines.csv": "".join(f"{name},1.6\n" for name in names),
    }
    table = Table({"Z": np.ones(4), "TARGETID": np.array(TARGETS)})
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    table.write(tmp_path / "table.ecsv")
    table.write(tmp_path / "table.fits")
    for name in (*texts, "table.ecsv", "table.fits"):
        assert read_targets(tmp_path / name) == names, name
    (tmp_path / "ids.csv").write_text("SPARCL_ID\n00000000-0000-0000-0000-00000000000A\n")
    assert read_targets(tmp_path / "ids.csv") == ["00000000-0000-0000-0000-00000000000a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "does not exist"),
        ("empty.txt", b"# nothing\n", "names neither a TARGETID of DESI nor an id of SPARCL"),
        ("words.txt", b"J0001+0001\n", r"has 'j0001\+0001', which is neither"),
        ("short.csv", b"Z,TARGETID\n1.6\n", "has '', which is neither"),
        ("bytes.txt", b"\xff\xfe\x00", "neither a FITS table"),
        ("bytes.fits", b"\xff\xfe\x00", "is no FITS table with a column TARGETID"),
    ],
)
def test_a_file_that_names_no_targets_is_refused_in_one_sentence(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(QuasarMassError, match=message):
        read_targets(tmp_path / name)


def test_a_fits_table_without_the_column_is_refused(tmp_path):
    Table({"Z": [1.6]}).write(tmp_path / "table.fits")
    with pytest.raises(FileError, match="is no FITS table with a column TARGETID or SPARCL_ID"):
        read_targets(tmp_path / "table.fits")


def test_from_the_command_line(service, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sparcl_client, "connect", lambda: service)
    listed, folder = tmp_path / "targets.txt", tmp_path / "spectra"
    listed.write_text("\n".join(map(str, TARGETS)))
    command = ["fetch", "spectra", "--from", "sparcl", "--targets", str(listed), "--output", str(folder), "--quiet"]
    assert get_Chen_data.main([*command, "--dry-run"]) == 0
    assert "4 named, 4 to fetch from SPARCL" in capsys.readouterr().out
    assert not folder.exists()
    assert get_Chen_data.main(command) == 0
    assert "2 there, 1 not held by SPARCL, 1 damaged" in capsys.readouterr().out
    assert get_Chen_data.main(["fetch", "all", "--targets", str(listed)]) == 1
    assert "goes with `fetch spectra`" in capsys.readouterr().err
    listed.write_text("5\n")
    assert get_Chen_data.main(command) == 1
    assert "gave none of 1 targets (5: SPARCL does not hold it)" in capsys.readouterr().err
