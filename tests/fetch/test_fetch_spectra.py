"""Spectra from a server that misbehaves: the good arrive whole, the bad have their reasons, a kill changes nothing."""

import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_server import Archive, at_random, many_spectra

from quasar_mass.core.errors import FetchError, FileError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import manifest, urls
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.responses import Policy
from quasar_mass.fetch.spectra import fetch_spectra, raise_if_failed, write_list

HASTY = Policy(tries=6, backoff=0.002, silence=2.0, slowest=1000.0, window=0.3)
HOLES = 50  # every so many-th file is not there


def path_of(epoch, run2d="v5_13_0"):
    return urls.spectrum(*epoch, run2d).removeprefix("https://data.sdss.org")


def fetch(survey, epochs, archive, *, policy=HASTY, jobs=8, **options):
    with Client(archive.url, policy=policy) as client:
        return fetch_spectra(survey, epochs, client, jobs=jobs, quiet=True, **options)


def assert_same_files(survey, epochs, content):
    """Every file there under its final name is the server's, byte for byte, and nothing else is there."""
    there = {path for path in (survey.folder / "spectra").rglob("*") if path.is_file()}
    wanted = {survey.spectrum(*epoch): content(path_of(epoch)) for epoch in epochs}
    wanted = {path: body for path, body in wanted.items() if body is not None}
    assert there - set(wanted) <= {survey.folder / "spectra" / "manifest.parquet"}
    for path, body in wanted.items():
        assert path.read_bytes() == body
    return wanted


def assert_all_there(survey, epochs, content):
    """And the manifest says so."""
    files = assert_same_files(survey, epochs, content)
    rows = pq.read_table(survey.folder / "spectra" / "manifest.parquet").to_pylist()
    assert [(row["plate"], row["mjd"], row["fiberid"]) for row in rows] == sorted(epochs)
    for row in rows:
        epoch = row["plate"], row["mjd"], row["fiberid"]
        body = files.get(survey.spectrum(*epoch))
        if body is None:
            assert (row["state"], row["reason"], row["bytes"]) == ("not published", "not in v5_13_0, v5_13_2", 0)
        else:
            assert (row["sha256"], row["bytes"]) == (hashlib.sha256(body).hexdigest(), len(body))
            assert row["url"] == urls.spectrum(*epoch, "v5_13_0")
            assert (row["run2d"], row["state"]) == ("v5_13_0", "verified")


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "sky")


def test_good_files_arrive_whole_whatever_the_server_does_on_a_fifth_of_the_requests(survey):
    epochs, content = many_spectra(200, 200, HOLES)
    with Archive(content, fault=at_random(0.2)) as archive:
        report = fetch(survey, epochs, archive)
    assert dict(report.states) == {"verified": 196, "not published": 4}
    assert report.brought == 196
    assert_all_there(survey, epochs, content)


def test_no_more_connections_than_asked_for(survey):
    epochs, content = many_spectra(30, 50)
    with Archive(content, latency=0.02) as archive:
        fetch(survey, epochs, archive, jobs=3)
    assert archive.most_open == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("drop", "cut off: "),
        ("truncate", "cut off: "),
        ("short", "cut off: "),
        ("chunked, cut", "cut off: "),
        ("html", "not FITS: begins '<!DOCTYPE html>"),
        ("500", "status 500"),
        ("status 403", "status 403"),
        ("drip", "too slow: "),
        ("length 99999999999", "too long: 99999999999 bytes declared"),
        ("length -5", "too long: -5 bytes declared"),
        ("location file:///etc/passwd", "redirect: refused, to file:"),
        ("location ", "redirect: too many"),
        ("after 99999", "status 429"),
        ("after soon", "status 429"),
    ],
)
def test_bad_file_has_its_reason_and_leaves_no_trace(survey, fault, reason):
    epochs, content = many_spectra(3, 50)
    bad = path_of(epochs[1])
    with Archive(content, fault=lambda request: fault if request.path == bad else None) as archive:
        report = fetch(survey, epochs, archive)
    assert dict(report.states) == {"verified": 2, "failed": 1}
    row = manifest.read(survey)[epochs[1]]
    assert row.state == "failed"
    assert row.reason.startswith(reason)
    assert_same_files(survey, [epochs[0], epochs[2]], content)


def test_only_failed_and_missing_are_asked_for_again(survey):
    epochs, content = many_spectra(10, 50)
    bad = path_of(epochs[4])
    with Archive(content, fault=lambda request: "500" if request.path == bad else None) as archive:
        fetch(survey, epochs[:8], archive)
    with Archive(content) as archive:
        report = fetch(survey, epochs, archive)
        assert set(archive.asked) == {path_of(epochs[n]) for n in (4, 8, 9)}
        assert (report.brought, dict(report.states)) == (3, {"verified": 10})
        before = (survey.folder / "spectra" / "manifest.parquet").read_bytes()
        fetch(survey, epochs, archive)
        assert sum(archive.asked.values()) == 3
    assert (survey.folder / "spectra" / "manifest.parquet").read_bytes() == before
    assert_same_files(survey, epochs, content)


def test_verified_file_that_went_away_or_rotted_is_fetched_again(survey):
    epochs, content = many_spectra(4, 50)
    with Archive(content) as archive:
        fetch(survey, epochs, archive)
        survey.spectrum(*epochs[0]).unlink()
        survey.spectrum(*epochs[1]).write_bytes(b"short")
        rotten = survey.spectrum(*epochs[2])
        rotten.write_bytes(rotten.read_bytes().replace(b"QSO", b"qso"))
        assert fetch(survey, epochs, archive).brought == 2
        assert fetch(survey, epochs, archive, recheck=True).brought == 1
    assert_same_files(survey, epochs, content)


def test_files_brought_by_other_means_are_checked_not_fetched(survey):
    epochs, content = many_spectra(4, 50)
    for epoch in epochs[:3]:
        path = survey.spectrum(*epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(path_of(epoch)))
    survey.spectrum(*epochs[1]).write_bytes(content(path_of(epochs[1]))[:-2880])  # cut off
    survey.spectrum(*epochs[2]).write_bytes(content(path_of(epochs[3])))  # another spectrum
    with Archive(content) as archive:
        report = fetch(survey, epochs, archive)
        assert set(archive.asked) == {path_of(epoch) for epoch in epochs[1:]}
    assert dict(report.states) == {"verified": 4}
    assert_same_files(survey, epochs, content)


def test_not_published_is_what_every_reduction_answers_404_for(survey):
    epochs = [(4000, 56000, 1), (4000, 56000, 2), (2000, 53000, 3), (2000, 53000, 4)]
    _, content = many_spectra(2, 50)
    with Archive({path_of(epochs[1], "v5_13_2"): content(path_of(epochs[1]))}) as archive:
        report = fetch(survey, epochs, archive)
        assert set(archive.asked) == {path_of(epoch, run2d) for epoch in epochs for run2d in urls.reductions(epoch[0])}
        assert fetch(survey, epochs, archive).brought == 0
        assert max(archive.asked.values()) == 1  # not asked again ...
        fetch(survey, epochs, archive, recheck=True)
        assert archive.asked[path_of(epochs[0])] == 2  # ... unless that is wanted
    assert dict(report.states) == {"not published": 3, "verified": 1}
    assert report.fallback == 1
    rows = manifest.read(survey)
    assert (rows[epochs[1]].run2d, rows[epochs[1]].reason) == ("v5_13_2", "v5_13_0 has none")
    assert rows[epochs[2]].reason == "not in 26, 103, 104"


def test_trouble_with_the_first_reduction_is_not_answered_with_another_one(survey):
    epochs, content = many_spectra(1, 50)
    both = {path_of(epochs[0], run2d): content(path_of(epochs[0])) for run2d in ("v5_13_0", "v5_13_2")}
    with Archive(both, fault=lambda request: "500" if "v5_13_0" in request.path else None) as archive:
        report = fetch(survey, epochs, archive)
    assert dict(report.states) == {"failed": 1}
    assert not any("v5_13_2" in path for path in archive.asked)


def test_retry_after_holds_all_connections_back(survey):
    epochs, content = many_spectra(4, 50)
    times = []

    def fault(request):
        times.append(time.monotonic())
        return "after 1" if len(times) == 1 else None

    with Archive(content, fault=fault) as archive:
        report = fetch(survey, epochs, archive, jobs=1)
    assert dict(report.states) == {"verified": 4}
    assert times[1] - times[0] >= 1.0


def test_a_server_that_went_away_ends_the_run_instead_of_failing_every_file(survey):
    epochs, content = many_spectra(200, 50)
    with Archive(content) as archive:
        fetch(survey, epochs[:2], archive)
    report = fetch(survey, epochs, archive, policy=Policy(tries=2, backoff=0.001))
    assert report.gave_up
    assert report.states["verified"] == 2
    assert 25 <= report.states["failed"] < 60
    assert report.states["missing"] > 100
    assert set(report.reasons) == {"connection"}


def test_redirect_to_a_public_host_stays_with_the_mirror(survey):
    epochs, content = many_spectra(1, 50)
    elsewhere = f"https://data.sdss.org{path_of(epochs[0])}?moved"

    def moved(path):
        return content(path.removesuffix("?moved"))

    with Archive(moved, fault=lambda r: None if "moved" in r.path else f"location {elsewhere}") as archive:
        report = fetch(survey, epochs, archive)
        assert set(archive.asked) == {path_of(epochs[0]), f"{path_of(epochs[0])}?moved"}
    assert dict(report.states) == {"verified": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"run2d": "../../.."},
        {"state": "done"},
        {"plate": "../x"},
        {"plate": -1},
        {"fiberid": 10**9},
        {"name": "../../etc/passwd"},
    ],
)
def test_manifest_that_no_fetch_wrote_is_refused_with_a_sentence(survey, change):
    row = {"plate": 4000, "mjd": 56000, "fiberid": 1, "run2d": "", "url": "", "bytes": 0, "sha256": "", "reason": ""}
    table, journal = manifest.paths(survey)
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps(row | {"state": "missing"} | change) + "\n")
    with pytest.raises(FileError, match="line 1: expected a line of the journal"):
        manifest.read(survey)
    journal.unlink()
    pq.write_table(pa.Table.from_pylist([row | {"state": "missing"} | change]), table)
    if "name" not in change:  # another column is not looked at
        with pytest.raises(FileError, match=r"manifest\.parquet: expected the manifest"):
            manifest.read(survey)


def test_torn_last_line_of_the_journal_is_survived(survey):
    epochs, content = many_spectra(3, 50)
    with Archive(content) as archive:
        fetch(survey, epochs[:1], archive)
        _, journal = manifest.paths(survey)
        journal.write_bytes(b'{"plate":4000,"mj')
        assert dict(fetch(survey, epochs, archive).states) == {"verified": 3}
    assert not journal.exists()


def test_files_of_a_run_without_an_orderly_end_are_read_again_as_power_may_have_been_lost(survey):
    epochs, content = many_spectra(4, 50)
    with Archive(content) as archive:
        fetch(survey, epochs[:1], archive)
        rows = list(manifest.read(survey).values())
        fetch(survey, epochs[1:], archive)
        running = manifest.Manifest(survey)  # that never ends
        for row in (*rows, manifest.read(survey)[epochs[1]]):
            running.record(row)
        os.close(running._file)
        path = survey.spectrum(*epochs[1])
        path.write_bytes(bytes(path.stat().st_size))  # as it can look after a loss of power
        assert fetch(survey, epochs, archive).brought == 1
    assert_same_files(survey, epochs, content)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from archive_server import many_spectra
from quasar_mass.fetch.responses import Policy
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.spectra import fetch_spectra
from quasar_mass.core.survey import Survey
epochs, _ = many_spectra({number}, {pixels})
print("begin", flush=True)
with Client({url!r}, policy=Policy(tries=12, backoff=0.002, silence=2.0, slowest=1000.0, window=0.3)) as client:
    print(fetch_spectra(Survey({folder!r}), epochs, client, quiet=True).states)
"""


def killed_again_and_again(survey, archive, *, number, pixels, kills):
    """Fetch in a process of its own that is killed at random moments; then once to the end."""
    draw = random.Random(7)
    tests = str(Path(__file__).resolve().parent.parent)
    code = KILLED.format(tests=tests, number=number, pixels=pixels, url=archive.url, folder=str(survey.folder))
    done = 0
    for kill in range(kills + 1):
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=Path(tests).parent, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout.readline() == "begin\n"
            if kill < kills:
                enough = sum(archive.asked.values()) + draw.uniform(0.2, 1.2) * number / (kills + 1)
                while sum(archive.asked.values()) < enough:
                    assert process.poll() is None
                    time.sleep(0.002)
                os.kill(process.pid, signal.SIGKILL)
                process.stdout.read()
                files = list((survey.folder / "spectra").rglob("spec-*.fits"))
                assert len(files) > done
                done = len(files)
                for path in files:  # nothing partial under a final name
                    assert path.read_bytes() == archive.content(f"/v5_13_0/{path.name}")
            else:
                holes = number // HOLES
                expected = f"Counter({{'verified': {number - holes}, 'not published': {holes}}})\n"
                assert process.stdout.read() == expected
    assert process.returncode == 0


def test_killed_on_the_way_it_ends_the_same_and_fetches_nothing_verified_twice(survey):
    epochs, content = many_spectra(300, 100, HOLES)
    with Archive(content, fault=at_random(0.2), latency=0.01) as archive:
        killed_again_and_again(survey, archive, number=300, pixels=100, kills=3)
        # what was whole at a kill but not yet under its name is the most that comes twice: one file per connection
        assert sum(count - 1 for count in archive.whole.values()) <= 3 * 8
    assert_all_there(survey, epochs, content)


@pytest.mark.slow
def test_five_thousand_files_with_faults_and_ten_kills(survey):
    epochs, content = many_spectra(5000, 200, HOLES)
    with Archive(content, fault=at_random(0.2), latency=0.005) as archive:
        killed_again_and_again(survey, archive, number=5000, pixels=200, kills=10)
        assert sum(count - 1 for count in archive.whole.values()) <= 10 * 8
        print(f"{sum(archive.asked.values()):,} requests, {sum(archive.whole.values()):,} whole answers")
    assert_all_there(survey, epochs, content)


def test_list_of_what_is_not_there_and_how_to_retry_it(survey):
    epochs, content = many_spectra(3, 50)
    bad = path_of(epochs[1])
    with Archive(content, fault=lambda request: "html" if request.path == bad else None) as archive:
        report = fetch(survey, [*epochs, (4000, 56000, 999)], archive)
    path = write_list(survey, manifest.read(survey).values())
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [(row["fiberid"], row["state"]) for row in rows] == [("2", "failed"), ("999", "not published")]
    with pytest.raises(FetchError, match=r"1 failed \(1 not FITS\); see .*not_there.csv and retry only those: again"):
        raise_if_failed(survey, report, "again")
