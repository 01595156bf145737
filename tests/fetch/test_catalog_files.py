"""The big files: resumed where they were cut off, checked before they get their names, and never of two versions."""

import doctest
import json

import numpy as np
import pytest
from archive_server import Archive

from quasar_mass.core.errors import FetchError, FileError, QuasarMassError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls, verify
from quasar_mass.fetch.catalog_files import check_chen, check_dr16q, download_checked, fetch_catalogs
from quasar_mass.fetch.client import Client, RetryPolicy
from quasar_mass.fetch.urls import BigFile
from quasar_mass.fetch.verify import git_blob

HASTY = RetryPolicy(tries=4, backoff=0.002, timeout=(2.0, 2.0))
ONCE = RetryPolicy(tries=1)
ADDRESS = "https://data.sdss.org/big.fits"
BODY = np.random.default_rng(1).bytes(1_000_000)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "there" / "big.fits"


def get(archive, target, *, policy=HASTY, accept=lambda part: None):
    with Client(archive.url, policy=policy) as client:
        download_checked(BigFile("big", ADDRESS, target, 10**6), client, accept, quiet=True)


def cut_off(target):
    """Leave a part of the file behind."""
    with Archive({"/big.fits": BODY}, fault=lambda request: "truncate") as archive, pytest.raises(FetchError):
        get(archive, target, policy=ONCE)
    part = target.with_name(".big.partial.fits")
    assert 0 < part.stat().st_size < len(BODY)
    assert not target.exists()
    return archive, part.with_name(f"{part.name}.json")


def resume(archive, note, **changes):
    """Let the note about the part be of this archive."""
    note.write_text(json.dumps(json.loads(note.read_text()) | {"address": f"{archive.url}/big.fits"} | changes))


def test_a_download_cut_off_again_and_again_goes_on_where_it_was_cut(target):
    with Archive({"/big.fits": BODY}, fault=lambda request: "truncate" if request.count < 12 else None) as archive:
        get(archive, target, policy=RetryPolicy(tries=2, backoff=0.002))
        assert archive.asked["/big.fits"] == 13  # progress gave the tries back
        assert archive.sent == len(BODY)  # so no byte came twice
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_the_next_run_goes_on_where_the_last_one_ended(target):
    _, note = cut_off(target)
    with Archive({"/big.fits": BODY}) as archive:
        resume(archive, note)
        get(archive, target)
        assert archive.sent < 0.6 * len(BODY)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("change", ["content", "size", "address", "version"])
def test_a_part_of_another_version_or_address_is_not_gone_on_with(target, change):
    _, note = cut_off(target)
    body = BODY[::-1] if change == "content" else BODY
    with Archive({"/big.fits": body}) as archive:
        changes = {"size": {"size": 10**6 + 1}, "address": {"address": "http://x/"}, "version": {"version": ""}}
        resume(archive, note, **changes.get(change, {}))
        get(archive, target)
        assert archive.sent >= len(BODY)
    assert target.read_bytes() == body


def test_a_server_without_ranges_sends_all_again(target):
    with Archive({"/big.fits": BODY}, ranges=False, fault=lambda r: "drop" if r.count < 3 else None) as archive:
        get(archive, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("fault", "words"), [("location file:///etc/passwd", "No connection adapters"), ("status 401", "status 401")]
)
def test_what_no_retry_would_mend_is_refused_at_once(target, fault, words):
    with Archive({"/big.fits": BODY}, fault=lambda request: fault) as archive:
        with pytest.raises(FetchError, match=words):
            get(archive, target)
        assert sum(archive.asked.values()) == 1
    assert not target.exists()


def test_what_is_not_accepted_is_not_kept(target):
    def accept(part):
        raise FetchError(part, "is no catalogue")

    with Archive({"/big.fits": BODY}) as archive, pytest.raises(FetchError, match="is no catalogue"):
        get(archive, target, accept=accept)
    assert list(target.parent.iterdir()) == []


# --- the two catalogues -------------------------------------------------------------------------------------------
@pytest.fixture
def published(tiny_survey, monkeypatch):
    """The tiny survey's catalogues under the public paths, as if they were the published ones."""
    monkeypatch.setattr(urls, "CHEN_ROWS", 12)
    monkeypatch.setattr(urls, "DR16Q_ROWS", 12)
    monkeypatch.setattr(urls, "DR16Q_SIZE", 100_000)
    files = {urls.CHEN: tiny_survey.chen, urls.DR16Q: tiny_survey.dr16q}
    return {f"/{address.split('/', 3)[3]}": path for address, path in files.items()}


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "real")


def catalogs(archive, survey):
    with Client(archive.url, policy=HASTY) as client:
        return fetch_catalogs(survey, client, quiet=True)


def test_catalogues_are_fetched_once_and_described(published, tiny_survey, survey, monkeypatch):
    with Archive(published) as archive:
        chen, dr16q = catalogs(archive, survey)
        assert "fetched, verified by labels and 12 rows, but NOT the bytes that the reference used" in chen
        assert "fetched, verified: whole" in dr16q
        assert survey.chen.read_bytes() == tiny_survey.chen.read_bytes()
        assert survey.dr16q.read_bytes() == tiny_survey.dr16q.read_bytes()
        monkeypatch.setattr(urls, "CHEN_BLOB", git_blob(survey.chen.read_bytes()))
        survey.chen.write_bytes(survey.chen.read_bytes().replace(b"\n", b"\r\n"))  # as git may check it out
        chen, _ = catalogs(archive, survey)
        assert "there already, verified: the published bytes" in chen
        assert sum(archive.asked.values()) == 2
    assert survey.kind == "sdss"


def test_a_catalogue_with_other_rows_is_not_the_published_one(published, survey, monkeypatch):
    monkeypatch.setattr(urls, "DR16Q_ROWS", 750_414)
    with Archive(published) as archive, pytest.raises(FetchError, match=r"12 rows, and the published .* 750,414"):
        catalogs(archive, survey)
    assert list(survey.dr16q.parent.iterdir()) == []


def test_a_wrong_file_under_a_catalogue_s_name_is_left_alone(published, survey):
    survey.folder.mkdir()
    survey.chen.write_text("my own notes")
    with Archive(published) as archive, pytest.raises(FileError, match="move it away"):
        catalogs(archive, survey)
    assert survey.chen.read_text() == "my own notes"


def test_html_instead_of_a_catalogue_is_refused(published, survey, tmp_path):
    with Archive(published, fault=lambda r: "html") as archive, pytest.raises(FileError):
        catalogs(archive, survey)
    assert list(survey.folder.iterdir()) == []
    path = tmp_path / "x.fits"
    for content, check in ((b"<html>", check_dr16q), (b"", check_dr16q), (b"", check_chen)):
        path.write_bytes(content)
        with pytest.raises(QuasarMassError):
            check(path)


@pytest.mark.parametrize("module", [urls, verify])
def test_addresses_and_identifiers_are_the_published_ones_of_the_docstrings(module):
    tests = doctest.testmod(module)
    assert tests.attempted
    assert not tests.failed
