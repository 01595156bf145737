"""The big files: resumed where they were cut off, checked before they take their names, and never of two versions."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from archive_server import Archive

from quasar_mass.core.errors import FetchError, FileError, QuasarMassError, SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import catalog_files, urls
from quasar_mass.fetch.catalog_files import bring, check_chen, check_dr16q, fetch_catalogs
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.osf import fetch_tables, listing
from quasar_mass.fetch.responses import Policy
from quasar_mass.fetch.verify import git_blob
from quasar_mass.tables import survey_tables

HASTY = Policy(tries=4, backoff=0.002, silence=2.0, progress=10_000)
ADDRESS = "https://data.sdss.org/big.fits"
BODY = np.random.default_rng(1).bytes(1_000_000)


def path_of(address):
    return address.partition("://")[2].partition("/")[1] + address.partition("://")[2].partition("/")[2]


@pytest.fixture
def target(tmp_path):
    return tmp_path / "there" / "big.fits"


def get(archive, target, *, policy=HASTY, accept=lambda part: None, limit=10**7, size=None):
    with Client(archive.url, policy=policy) as client:
        bring("big", ADDRESS, target, client, accept, limit=limit, size=size, about=len(BODY), quiet=True)


def test_cut_off_download_goes_on_where_it_was_cut(target):
    with Archive({"/big.fits": BODY}, fault=lambda request: "truncate" if request.count < 12 else None) as archive:
        get(archive, target, policy=Policy(tries=2, backoff=0.002, progress=100))
        assert archive.asked["/big.fits"] == 13  # each cut that brought something gave the tries back
        assert archive.sent == len(BODY)  # so no byte came twice
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


def test_next_run_goes_on_too_but_not_with_another_version(target):
    content = {"/big.fits": BODY}
    part = target.with_name(".big.partial.fits")
    with Archive(content, fault=lambda request: "truncate" if request.count in (0, 2) else None) as archive:
        with pytest.raises(FetchError):
            get(archive, target, policy=Policy(tries=1))
        assert 0 < part.stat().st_size < len(BODY)
        assert not target.exists()
        get(archive, target)
        assert target.read_bytes() == BODY
        assert archive.sent == len(BODY)
        target.unlink()
        with pytest.raises(FetchError):
            get(archive, target, policy=Policy(tries=1))
        content["/big.fits"] = changed = BODY[::-1]
        get(archive, target)
    assert target.read_bytes() == changed  # not half of each


def test_part_of_another_address_is_not_gone_on_with(target):
    with Archive({"/big.fits": BODY}, fault=lambda request: "truncate") as archive, pytest.raises(FetchError):
        get(archive, target, policy=Policy(tries=1))
    with Archive({"/big.fits": BODY}) as archive:
        get(archive, target)
        assert archive.sent == len(BODY)
    assert target.read_bytes() == BODY


def test_server_without_ranges_sends_all_again(target):
    with Archive({"/big.fits": BODY}, ranges=False, fault=lambda r: "drop" if r.count < 3 else None) as archive:
        get(archive, target)
    assert target.read_bytes() == BODY


def test_file_that_shrank_is_fetched_anew(target):
    part = target.with_name(".big.partial.fits")
    with Archive({"/big.fits": BODY}, fault=lambda request: "truncate") as archive, pytest.raises(FetchError):
        get(archive, target, policy=Policy(tries=1))
    note = part.with_name(f"{part.name}.json")
    with Archive({"/big.fits": BODY[:1000]}) as archive:
        known = json.loads(note.read_text())
        note.write_text(json.dumps(known | {"address": f"{archive.url}/big.fits", "version": ""}))
        get(archive, target)
    assert target.read_bytes() == BODY[:1000]


@pytest.mark.parametrize(
    ("options", "fault", "words"),
    [
        ({"limit": 1000}, None, "at most 1,000 bytes"),
        ({"size": 5}, None, "5 bytes, as listed"),
        ({}, "length 9999999999999999999999", "a declared length of 9999"),
        ({}, "location file:///etc/passwd", "expected a redirect to http, got file:///etc/passwd"),
        ({}, "location gopher://x/", "got gopher://x/"),
        ({}, "status 401", "got status 401"),
    ],
)
def test_hostile_answer_is_refused_with_a_sentence(target, options, fault, words):
    with Archive({"/big.fits": BODY}, fault=lambda request: fault) as archive, pytest.raises(FetchError) as caught:
        get(archive, target, **options)
    assert words in str(caught.value)
    assert sum(archive.asked.values()) == 1
    assert not target.exists()


def test_what_is_not_accepted_is_not_kept(target):
    def accept(part):
        raise FetchError(part, expected="better", got="worse", do="go")

    with Archive({"/big.fits": BODY}) as archive, pytest.raises(FetchError, match="expected better"):
        get(archive, target, accept=accept)
    assert list(target.parent.iterdir()) == []


def test_full_disk_is_said_before_anything_is_fetched(target, monkeypatch):
    monkeypatch.setattr(catalog_files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with Archive({"/big.fits": BODY}) as archive, pytest.raises(SurveyError, match="GB of free disk"):
        get(archive, target)
    assert not archive.asked


# --- the catalogues -----------------------------------------------------------------------------------------------


@pytest.fixture
def published(tiny_survey, monkeypatch):
    """Where the tiny survey's catalogues are served, as if they were the published ones."""
    monkeypatch.setattr(urls, "CHEN_ROWS", 12)
    monkeypatch.setattr(urls, "DR16Q_ROWS", 12)
    monkeypatch.setattr(urls, "DR16Q_SIZE", 1000)
    return {path_of(urls.CHEN): tiny_survey.chen, path_of(urls.DR16Q): tiny_survey.dr16q}


def catalogs(archive, survey):
    with Client(archive.url, policy=HASTY) as client:
        return fetch_catalogs(survey, client, quiet=True)


def test_catalogues_are_brought_once_and_say_what_they_proved_to_be(published, tiny_survey, tmp_path, monkeypatch):
    survey = Survey(tmp_path / "sky")
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


def test_catalogue_with_other_rows_is_not_the_published_one(published, tmp_path, monkeypatch):
    survey = Survey(tmp_path / "sky")
    monkeypatch.setattr(urls, "DR16Q_ROWS", 750_414)
    with Archive(published) as archive, pytest.raises(FetchError, match="expected 750,414 rows, got 12"):
        catalogs(archive, survey)
    assert not survey.dr16q.exists()
    assert list(survey.dr16q.parent.iterdir()) == []


def test_catalogue_that_is_there_and_wrong_is_left_alone_and_named(published, tmp_path):
    survey = Survey(tmp_path / "sky")
    survey.chen.parent.mkdir()
    survey.chen.write_text("my own notes")
    with Archive(published) as archive, pytest.raises(FileError, match="move it away"):
        catalogs(archive, survey)
    assert survey.chen.read_text() == "my own notes"


def test_html_instead_of_a_catalogue_is_refused(published, tmp_path):
    survey = Survey(tmp_path / "sky")
    with Archive(published, fault=lambda r: "html") as archive, pytest.raises(FileError, match="machine-readable"):
        catalogs(archive, survey)
    assert list(survey.folder.iterdir()) == []
    html = tmp_path / "x.fits"
    html.write_bytes(b"<html>")
    with pytest.raises(FetchError, match="not FITS: begins '<html>'"):
        check_dr16q(html)
    html.write_bytes(b"")
    with pytest.raises(QuasarMassError):
        check_dr16q(html)
    with pytest.raises(QuasarMassError):
        check_chen(html)


def test_blob_name_is_git_s():
    assert git_blob(b"hello\r\n") == git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


# --- the reference's own tables ---------------------------------------------------------------------------------------


def item(name, body, *, link, hashes=True):
    digests = {"sha256": hashlib.sha256(body).hexdigest(), "md5": hashlib.md5(body).hexdigest()} if hashes else {}
    attributes = {"name": name, "kind": "file", "size": len(body), "path": "/5f", "guid": None}
    return {"attributes": attributes | {"extra": {"hashes": digests}}, "links": {"download": link}}


def page(items, following=None):
    return json.dumps({"data": items, "links": {"next": following}}).encode()


@pytest.fixture
def reference(tmp_path):
    """The two tables as the reference wrote them: bytes in the index, one column per wavelength."""
    names = [f"{number:06d}.00+000000.0".encode() for number in range(12)]
    masses = {f"logMBH-{line}": 0.0 for line in ("Hb", "Ha-2", "CIV-2")} | {"logMBH-MgII-2": 8.5}
    more = {"ZVI": 1.6, "LMBH": 8.5, "CHEN EPOCH": "4000-56000-0001", "Z": 1.6, "N_EPOCHS": 1}
    quasars = pd.DataFrame(masses | more, index=pd.Index(names, name="OBJECT"))
    quasars.to_parquet(tmp_path / "q.parquet")
    grid = [str(value) for value in np.arange(3.1595, 3.5306, 5e-4)]
    index = pd.MultiIndex.from_tuples([(name, "4000-56000-0001") for name in names], names=["OBJECT", "EPOCH"])
    pd.DataFrame(1.0, index=index, columns=grid).to_parquet(tmp_path / "s.parquet")
    return (tmp_path / "q.parquet").read_bytes(), (tmp_path / "s.parquet").read_bytes()


LISTING = path_of(urls.OSF_LISTING)


@pytest.fixture
def project(reference):
    """The project's storage: two pages, a folder on the second, downloads that redirect to a public host."""
    quasars, spectra = reference
    folder = "https://api.osf.io/v2/nodes/6hbqx/files/osfstorage/aa/"
    within = {"attributes": {"kind": "folder", "name": "bigger_data"}, "links": {}}
    within["relationships"] = {"files": {"links": {"related": {"href": folder}}}}
    readme = item("readme.txt", b"hello", link="https://osf.io/download/cc/")
    return {
        LISTING: page(
            [readme, item("spectra.parquet", spectra, link="https://osf.io/download/ss/")],
            f"{urls.OSF_LISTING}?page=2",
        ),
        f"{LISTING}?page=2": page([within]),
        path_of(folder): page([item("quasars.parquet", quasars, link="https://files.osf.io/v1/resources/6hbqx/qq")]),
        "/v1/resources/6hbqx/qq": quasars,
        "/v1/resources/6hbqx/ss?token=1": spectra,
        "/download/ss/": b"",
    }


def moved(request):
    """OSF's downloads redirect; and its listing asks once to wait."""
    if request.path == "/download/ss/":
        return "location https://files.osf.io/v1/resources/6hbqx/ss?token=1"
    return "after 1" if request.path == LISTING and request.count == 0 else None


def osf(archive, survey):
    with Client(archive.url, policy=HASTY) as client:
        return fetch_tables(survey, client, quiet=True)


def test_tables_are_brought_from_osf_verified_and_converted_once(project, tmp_path, reference):
    survey = Survey(tmp_path / "sky")
    with Archive(project, fault=moved) as archive:
        lines = osf(archive, survey)
        assert next(line for line in lines if "verified by its checksum" in line).startswith("quasars.parquet")
        assert "12 spectra (sdss, step 0.0005)" in lines[-1]
        asked = dict(archive.asked)
        again = osf(archive, survey)
    assert survey_tables.read_about(survey.spectra)["kind"] == "sdss"
    assert (survey.spectra.parent / "spectra_reference.parquet").read_bytes() == reference[1]
    assert all("there already" in line or "converted already" in line for line in again)
    assert archive.asked["/v1/resources/6hbqx/ss?token=1"] == asked["/v1/resources/6hbqx/ss?token=1"] == 1


def refuse_listing(content, words):
    archive = Archive({LISTING: content})
    with archive, Client(archive.url, policy=HASTY) as client, pytest.raises(FetchError, match=words):
        listing(client)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../../.bashrc"}, "expected names of files"),
        ({"name": "a\\b"}, "expected names of files"),
        ({"name": ".."}, "expected names of files"),
        ({"size": 10**15}, "expected a size up to"),
        ({"size": -1}, "expected a size up to"),
        ({"size": "many"}, "expected a size up to"),
        ({"extra": {"hashes": {"sha256": "zz"}}}, "expected a sha256"),
        ({"extra": None}, "expected OSF's list of files"),
        ({"kind": "folder"}, "expected OSF's list of files"),
    ],
)
def test_listing_that_no_honest_server_sends_is_refused(tmp_path, change, words):
    one = item("quasars.parquet", b"x", link="https://osf.io/download/x/")
    one["attributes"] |= change
    refuse_listing(page([one]), words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (page([], "file:///etc/passwd"), "expected web addresses"),
        (page([], urls.OSF_LISTING), "none twice"),
        (page([item("x", b"x", link="ftp://x/y")]), "expected web addresses"),
        (b"<html>", "not JSON"),
        (b"[]", "expected OSF's list"),
        (b'{"data": 5}', "expected OSF's list"),
    ],
)
def test_listing_that_is_none_is_refused(content, words):
    refuse_listing(content, words)


def test_table_with_another_checksum_is_not_kept(project, tmp_path):
    survey = Survey(tmp_path / "sky")
    body = project["/v1/resources/6hbqx/qq"]
    project["/v1/resources/6hbqx/qq"] = body[:-1] + b"?"
    with Archive(project, fault=moved) as archive, pytest.raises(FetchError, match="the listed size and checksum"):
        osf(archive, survey)
    assert list(survey.quasars.parent.iterdir()) == []


def test_project_without_the_table_says_what_it_has(tmp_path):
    content = {LISTING: page([item("other.parquet", b"x", link="https://osf.io/download/x/")])}
    with Archive(content) as archive, pytest.raises(FetchError, match=r"quasars.parquet in the project, got other"):
        osf(archive, Survey(tmp_path / "sky"))


def test_tables_built_here_are_not_replaced_by_the_reference_s(tiny_survey, project):
    from quasar_mass.tables.build.pipeline import build

    build(tiny_survey, step=1e-3, quiet=True)
    with Archive(project, fault=moved) as archive, pytest.raises(SurveyError, match="no table built"):
        osf(archive, tiny_survey)
    assert not archive.asked
