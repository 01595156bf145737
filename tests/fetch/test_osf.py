"""The reference's own tables: listed by OSF, verified by their checksums, converted once."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from archive_server import Archive

from quasar_mass.core.errors import FetchError, SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.client import Client, RetryPolicy
from quasar_mass.fetch.osf import fetch_tables, listing
from quasar_mass.tables import survey_tables

LISTING = urls.OSF_LISTING.removeprefix("https://api.osf.io")
FOLDER = f"{urls.OSF_LISTING}aa/"
QUASARS, SPECTRA = "/v1/resources/6hbqx/qq", "/v1/resources/6hbqx/ss?token=1"


def item(name, body, *, link="https://osf.io/download/x/"):
    attributes = {"name": name, "kind": "file", "size": len(body), "path": "/5f", "guid": None}
    hashes = {"sha256": hashlib.sha256(body).hexdigest(), "md5": hashlib.md5(body).hexdigest()}
    return {"attributes": attributes | {"extra": {"hashes": hashes}}, "links": {"download": link}}


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


@pytest.fixture
def project(reference):
    """The project's storage: two pages, a folder on the second, downloads that redirect to a public host."""
    quasars, spectra = reference
    related = {"files": {"links": {"related": {"href": FOLDER}}}}
    folder = {"attributes": {"kind": "folder", "name": "bigger_data"}, "links": {}, "relationships": related}
    first = [item("readme.txt", b"hello"), item("spectra.parquet", spectra, link="https://osf.io/download/ss/")]
    return {
        LISTING: page(first, f"{urls.OSF_LISTING}?page=2"),
        f"{LISTING}?page=2": page([folder]),
        f"{LISTING}aa/": page([item("quasars.parquet", quasars, link=f"https://files.osf.io{QUASARS}")]),
        QUASARS: quasars,
        SPECTRA: spectra,
        "/download/ss/": b"",
    }


def fault(request):
    """OSF's downloads redirect; and its listing asks once to wait."""
    if request.path == "/download/ss/":
        return f"location https://files.osf.io{SPECTRA}"
    return "after 1" if request.path == LISTING and request.count == 0 else None


def fetch(archive, survey):
    with Client(archive.url, policy=RetryPolicy(tries=4, backoff=0.002)) as client:
        return fetch_tables(survey, client, quiet=True)


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "real")


def test_tables_are_fetched_verified_and_converted_once(project, survey, reference):
    with Archive(project, fault=fault) as archive:
        lines = fetch(archive, survey)
        assert any("verified by its checksum" in line for line in lines if line.startswith("quasars.parquet"))
        assert "12 spectra (sdss, step 0.0005)" in lines[-1]
        again = fetch(archive, survey)
        assert archive.asked[SPECTRA] == archive.asked[QUASARS] == 1
    assert survey_tables.read_about(survey.spectra)["kind"] == "sdss"
    assert (survey.spectra.parent / "spectra_reference.parquet").read_bytes() == reference[1]
    assert all("there already" in line or "converted already" in line for line in again)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (page([], "file:///etc/passwd"), "cannot be fetched"),
        (page([{"attributes": {"kind": "file", "name": "x"}}]), "is not OSF's list"),
        (b"<html>", "did not arrive whole"),
        (b"[]", "is not OSF's list"),
    ],
)
def test_a_listing_that_is_none_is_refused(content, words):
    archive = Archive({LISTING: content})
    with archive, Client(archive.url, policy=RetryPolicy(tries=1)) as client, pytest.raises(FetchError, match=words):
        listing(client)


def test_a_table_with_another_checksum_is_not_kept(project, survey):
    project[QUASARS] = project[QUASARS][:-1] + b"?"
    with Archive(project, fault=fault) as archive, pytest.raises(FetchError, match="another checksum"):
        fetch(archive, survey)
    assert list(survey.quasars.parent.iterdir()) == []


def test_tables_built_here_are_not_replaced_by_the_reference_s(tiny_survey, project):
    from quasar_mass.tables.build.pipeline import build

    build(tiny_survey, step=1e-3, quiet=True)
    with Archive(project, fault=fault) as archive, pytest.raises(SurveyError, match="built here from the catalogues"):
        fetch(archive, tiny_survey)
    assert not archive.asked
