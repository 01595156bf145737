"""Spectra from SPARCL, with a stand-in that has the methods of its client: its files read as the archive's do."""

import numpy as np
import pytest
from sparcl_stand_in import StandIn, sdss_record

from quasar_mass.core.errors import FetchError, SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import manifest, sparcl, sparcl_client
from quasar_mass.spectra.read import read as read_spectrum

SPEC_IDS = [(7666, 57339, 121), (10660, 58466, 431), (1338, 52765, 1), (9000, 57000, 5)]


@pytest.fixture
def service():
    return StandIn(
        [
            sdss_record(SPEC_IDS[0], "v5_13_0", "BOSS-DR16", 1),
            sdss_record(SPEC_IDS[0], "v5_13_2", "BOSS-DR16", 9),
            sdss_record(SPEC_IDS[1], "v5_13_2", "BOSS-DR16", 2),
            sdss_record(SPEC_IDS[2], "104", "SDSS-DR16", 3),
        ]
    )


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "real")


def fetch(survey, service, spec_ids=SPEC_IDS):
    waits = []
    return sparcl.fetch_spectra(survey, spec_ids, service, quiet=True, sleep=waits.append), waits


def test_records_become_spec_lite_files_that_read_as_the_archive_s_do(survey, service):
    report, _ = fetch(survey, service)
    assert dict(report.states) == {"verified": 3, "missing": 1}
    assert service.calls == ["find", "retrieve", "retrieve"]  # one data set after the other
    rows = manifest.read(survey)
    assert [rows[spec_id].run2d for spec_id in SPEC_IDS] == ["v5_13_0", "v5_13_2", "104", ""]
    assert rows[SPEC_IDS[0]].reason == "from SPARCL, BOSS-DR16"
    assert rows[SPEC_IDS[3]].reason == "SPARCL does not hold it: the archive may"
    record = service.held[0]
    spectrum = read_spectrum(survey.spectrum(*SPEC_IDS[0]))
    assert spectrum.spec_id == "{:04d}-{:05d}-{:04d}".format(*SPEC_IDS[0])
    assert (spectrum.run2d, spectrum.spectral_class, spectrum.kind) == ("v5_13_0", "QSO", "sdss")
    assert spectrum.redshift == 1.625
    assert np.isnan(spectrum.ebv)  # not known, and not zero
    assert (spectrum.pixel[0], spectrum.pixel[-1], len(spectrum.pixel)) == (35530, 40179, 4650)  # padding cut off
    np.testing.assert_allclose(spectrum.flux, np.float32(record["flux"][30:-20]))
    np.testing.assert_array_equal(spectrum.ivar, record["ivar"][30:-20])
    np.testing.assert_array_equal(spectrum.mask, record["mask"][30:-20] & (1 << 23) != 0)


def test_from_the_command_line(tiny_survey, service, monkeypatch, capsys):
    import get_Chen_data

    monkeypatch.setattr(sparcl_client, "connect", lambda: service)
    spectra = sorted(tiny_survey.folder.glob("spectra/*/*.fits"))
    spectra[0].unlink()
    spectra[1].unlink()
    spec_id = tuple(map(int, spectra[0].stem.split("-")[1:]))
    service.held = [sdss_record(spec_id, "v5_13_0", "BOSS-DR16", 1)]
    command = ["fetch", "spectra", "--from", "sparcl", "--survey", str(tiny_survey.folder), "--quiet"]
    assert get_Chen_data.main([*command, "--dry-run"]) == 0
    assert "18 selected, 18 to fetch" in capsys.readouterr().out
    assert get_Chen_data.main(command) == 0
    said = capsys.readouterr().out
    assert "18 selected: 17 verified, 1 missing" in said
    assert "1 fetched in this run" in said
    assert "without --from sparcl, the archive is asked" in said
    assert f"next: python get_Chen_data.py fetch spectra --survey {tiny_survey.folder}" in said


def test_time_outs_are_survived_with_patience_and_then_reported(survey, service):
    service.failures = 2
    report, waits = fetch(survey, service)
    assert report.states["verified"] == 3
    assert waits == [5.0, 10.0]
    service.failures = 99
    report, waits = fetch(survey, service, [*SPEC_IDS, (9001, 57001, 1)])
    assert report.states["failed"] == 2
    assert set(report.reasons) == {"SPARCL"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: record.update(flux=record["flux"][:-1]), "damaged: arrays of lengths"),
        (lambda record: record.update(wavelength=record["wavelength"] * 1.00005), "damaged: wavelengths off"),
        (lambda record: record.update(wavelength=-record["wavelength"]), "damaged: wavelengths off"),
        (lambda record: record.update(wavelength=record["wavelength"][::-1]), "damaged: wavelengths with gaps"),
        (lambda record: record.update(ivar=record["ivar"] * 0), "damaged: no pixel with data"),
    ],
)
def test_record_that_contradicts_itself_is_refused_with_its_reason(survey, service, change, reason):
    change(service.held[0])
    del service.held[1]
    report, _ = fetch(survey, service)
    assert report.states["failed"] == 1
    assert manifest.read(survey)[SPEC_IDS[0]].reason.startswith(reason)
    assert not survey.spectrum(*SPEC_IDS[0]).exists()


def test_a_simulated_survey_gets_no_observed_spectra(survey, service):
    survey.folder.mkdir()
    survey.card.write_text('{"kind": "simulated"}')
    with pytest.raises(SurveyError, match="SPARCL has real ones"):
        fetch(survey, service)


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sparcl.client", None)
    with pytest.raises(FetchError, match=r"needs the package sparclclient: on Python 3\.13"):
        sparcl_client.connect()
