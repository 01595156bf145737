"""Spectra from a server that misbehaves: the good arrive whole, the bad have their reasons, a kill loses nothing."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archive_server import LITE, Archive, at_random, many_spectra

from quasar_mass.core.errors import FileError
from quasar_mass.core.survey import Survey, format_spec_id
from quasar_mass.fetch import manifest, plan, urls
from quasar_mass.fetch.client import Client, RetryPolicy
from quasar_mass.fetch.spectra import fetch_spectra
from quasar_mass.tables import survey_tables

HASTY = RetryPolicy(tries=6, backoff=0.002, timeout=(2.0, 2.0))
HOLES = 50  # every so many-th file is not there


def path_of(spec_id, run2d="v5_13_0"):
    return urls.spectrum(*spec_id, run2d).removeprefix("https://data.sdss.org")


def fetch(survey, spec_ids, archive, *, policy=HASTY, jobs=8, **options):
    with Client(archive.url, policy=policy) as client:
        return fetch_spectra(survey, spec_ids, client, jobs=jobs, quiet=True, **options)


def assert_same_files(survey, spec_ids, content):
    """Every file under its final name is the server's, byte for byte, and nothing else is there."""
    bodies = {survey.spectrum(*spec_id): content(path_of(spec_id)) for spec_id in spec_ids}
    bodies = {path: body for path, body in bodies.items() if body is not None}
    there = {path for path in (survey.folder / "spectra").rglob("*") if path.is_file()}
    assert there - {survey.folder / "spectra" / "manifest.parquet"} == set(bodies)
    assert all(path.read_bytes() == body for path, body in bodies.items())
    return bodies


def assert_all_there(survey, spec_ids, content):
    """And the manifest says so."""
    files = assert_same_files(survey, spec_ids, content)
    rows = manifest.read(survey)
    assert list(rows) == sorted(spec_ids)
    for spec_id, row in rows.items():
        body = files.get(survey.spectrum(*spec_id))
        if body is None:
            expected = manifest.Row(*spec_id, state="not published", reason="not in v5_13_0, v5_13_2")
        else:
            url, digest = urls.spectrum(*spec_id, "v5_13_0"), hashlib.sha256(body).hexdigest()
            mtime_ns = survey.spectrum(*spec_id).stat().st_mtime_ns
            expected = manifest.Row(*spec_id, "v5_13_0", url, len(body), digest, "verified", row.reason, mtime_ns)
        assert row == expected


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "real")


def test_good_files_arrive_whole_whatever_the_server_does_on_a_fifth_of_the_requests(survey):
    spec_ids, content = many_spectra(200, 200, HOLES)
    with Archive(content, fault=at_random(0.2), latency=0.01) as archive:
        report = fetch(survey, spec_ids, archive, jobs=3)
    assert dict(report.states) == {"verified": 196, "not published": 4}
    assert report.fetched == 196
    assert archive.max_open == 3  # connections, and no more
    assert_all_there(survey, spec_ids, content)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("drop", "cut off: "),
        ("truncate", "cut off: "),
        ("short", "cut off: "),
        ("chunked, cut", "cut off: "),
        ("html", "not FITS: begins '<!DOCTYPE html>"),
        ("status 500", "status 500"),
        ("status 403", "status 403"),
        ("location file:///etc/passwd", "connection: No connection adapters"),
        ("location /sas", "connection: Exceeded 30 redirects"),
    ],
)
def test_a_bad_file_has_its_reason_and_leaves_no_trace(survey, fault, reason):
    spec_ids, content = many_spectra(3, 50)
    bad = path_of(spec_ids[1])

    def served(path):
        return b"" if path == "/sas" else content(path)

    with Archive(served, fault=lambda request: fault if request.path in (bad, "/sas") else None) as archive:
        report = fetch(survey, spec_ids, archive)
    assert dict(report.states) == {"verified": 2, "failed": 1}
    row = manifest.read(survey)[spec_ids[1]]
    assert row.state == "failed"
    assert row.reason.startswith(reason)
    assert_same_files(survey, [spec_ids[0], spec_ids[2]], content)


def test_only_failed_and_missing_are_asked_for_again(survey):
    spec_ids, content = many_spectra(10, 50)
    bad = path_of(spec_ids[4])
    with Archive(content, fault=lambda request: "status 500" if request.path == bad else None) as archive:
        fetch(survey, spec_ids[:8], archive)
    with Archive(content) as archive:
        report = fetch(survey, spec_ids, archive)
        assert set(archive.asked) == {path_of(spec_ids[n]) for n in (4, 8, 9)}
        assert (report.fetched, dict(report.states)) == (3, {"verified": 10})
        before = manifest.paths(survey)[0].read_bytes()
        fetch(survey, spec_ids, archive)
        assert sum(archive.asked.values()) == 3
    assert manifest.paths(survey)[0].read_bytes() == before
    assert_same_files(survey, spec_ids, content)


def zero(path, *, keep_time=False):
    """Overwrite 8,000 bytes in the middle of a file with zeros; its size stays."""
    times = path.stat()
    with open(path, "r+b") as file:
        file.seek(times.st_size // 2 - 4000)
        file.write(bytes(8000))
    if keep_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def now(survey):
    return dict(plan.count_states(survey))


def test_a_file_that_differs_from_the_manifest_is_not_called_verified_and_is_fetched_again(survey):
    spec_ids, content = many_spectra(7, 700)
    paths = [survey.spectrum(*spec_id) for spec_id in spec_ids]
    with Archive(content) as archive:
        fetch(survey, spec_ids, archive)
        paths[0].unlink()
        os.truncate(paths[1], 5000)
        zero(paths[2])
        paths[3].write_bytes(paths[4].read_bytes())
        os.replace(paths[5], paths[5].with_suffix(".other"))  # two files change places and keep their times
        os.replace(paths[6], paths[5])
        os.replace(paths[5].with_suffix(".other"), paths[6])
        assert now(survey) == {"verified": 1, "missing": 1, "changed": 5}
        assert fetch(survey, spec_ids, archive).fetched == 6
        assert now(survey) == {"verified": 7}
    assert_same_files(survey, spec_ids, content)


def test_a_file_whose_time_alone_changed_is_compared_and_kept(survey):
    spec_ids, content = many_spectra(3, 50)
    with Archive(content) as archive:
        fetch(survey, spec_ids, archive)
        os.utime(survey.spectrum(*spec_ids[1]))
        assert now(survey) == {"verified": 3}
        assert fetch(survey, spec_ids, archive).fetched == 0
    assert manifest.read(survey)[spec_ids[1]].mtime_ns == survey.spectrum(*spec_ids[1]).stat().st_mtime_ns


def test_damage_that_leaves_size_and_time_is_found_with_recheck_or_once_a_build_rejected_the_file(survey):
    spec_ids, content = many_spectra(3, 700)
    with Archive(content) as archive:
        fetch(survey, spec_ids, archive)
        for spec_id in spec_ids[:2]:
            zero(survey.spectrum(*spec_id), keep_time=True)
        assert fetch(survey, spec_ids, archive).fetched == 0
        names = [format_spec_id(*spec_id) for spec_id in spec_ids]
        reasons = ("unreadable file", "does not cover the window", "invalid values")  # the third file is whole
        rows = [{"OBJECT": "", "EPOCH": n, "REASON": r, "DETAIL": ""} for n, r in zip(names, reasons, strict=True)]
        survey.rejects.parent.mkdir(parents=True)
        survey_tables.write_rejects(survey.rejects, rows, {})
        assert now(survey) == {"verified": 2, "changed": 1}
        assert fetch(survey, spec_ids, archive).fetched == 1
        assert plan.came_since_build(survey)
        assert fetch(survey, spec_ids, archive, recheck=True).fetched == 1
    assert_same_files(Survey(survey.folder), spec_ids, content)


def test_a_damaged_file_is_not_taken_for_good_after_a_server_in_trouble_or_without_a_manifest(survey):
    spec_ids, content = many_spectra(1, 700)
    path = survey.spectrum(*spec_ids[0])
    with Archive(content) as archive:
        fetch(survey, spec_ids, archive)
        path.write_bytes(path.read_bytes().replace(b"QSO", b"qso"))  # readable all the same
        archive.fault = lambda request: "status 500"
        assert dict(fetch(survey, spec_ids, archive).states) == {"failed": 1}
        archive.fault = lambda request: None
        assert fetch(survey, spec_ids, archive).fetched == 1
        zero(path)
        manifest.paths(survey)[0].unlink()
        assert fetch(survey, spec_ids, archive).fetched == 1
    assert_same_files(survey, spec_ids, content)


def test_the_manifest_of_version_0_2_0_is_read_and_its_files_are_compared_once(survey):
    spec_ids, content = many_spectra(2, 50)
    table = manifest.paths(survey)[0]
    with Archive(content) as archive:
        fetch(survey, spec_ids, archive)
        pq.write_table(pq.read_table(table).drop_columns(["mtime_ns"]), table)
        assert now(survey) == {"verified": 2}
        assert fetch(survey, spec_ids, archive).fetched == 0
    assert all(row.mtime_ns for row in manifest.read(survey).values())


def test_files_copied_there_by_hand_are_checked_not_fetched(survey):
    spec_ids, content = many_spectra(4, 50)
    bodies = [content(path_of(spec_id)) for spec_id in spec_ids]
    cut_off, another = bodies[1][:-2880], bodies[3]
    for spec_id, body in zip(spec_ids, (bodies[0], cut_off, another), strict=False):
        path = survey.spectrum(*spec_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    with Archive(content) as archive:
        report = fetch(survey, spec_ids, archive)
        assert set(archive.asked) == {path_of(spec_id) for spec_id in spec_ids[1:]}
    assert dict(report.states) == {"verified": 4}
    assert_same_files(survey, spec_ids, content)


def test_not_published_is_what_every_reduction_answers_404_for(survey):
    spec_ids = [(4000, 56000, 1), (4000, 56000, 2), (2000, 53000, 3), (2000, 53000, 4)]
    _, content = many_spectra(2, 50)
    asked = {path_of(spec_id, run2d) for spec_id in spec_ids for run2d in urls.reductions(spec_id[0])}
    with Archive({path_of(spec_ids[1], "v5_13_2"): content(path_of(spec_ids[1]))}) as archive:
        report = fetch(survey, spec_ids, archive)
        assert set(archive.asked) == asked
        assert fetch(survey, spec_ids, archive).fetched == 0
        assert max(archive.asked.values()) == 1  # not asked for again ...
        fetch(survey, spec_ids, archive, recheck=True)
        assert archive.asked[path_of(spec_ids[0])] == 2  # ... unless with --recheck
    assert (dict(report.states), report.fallback) == ({"not published": 3, "verified": 1}, 1)
    rows = manifest.read(survey)
    assert (rows[spec_ids[1]].run2d, rows[spec_ids[1]].reason) == ("v5_13_2", "v5_13_0 has none")
    assert rows[spec_ids[2]].reason == "not in 26, 103, 104"


def test_no_other_reduction_is_taken_where_the_first_one_is_in_trouble(survey):
    spec_ids, content = many_spectra(1, 50)
    both = {path_of(spec_ids[0], run2d): content(path_of(spec_ids[0])) for run2d in ("v5_13_0", "v5_13_2")}
    with Archive(both, fault=lambda request: "status 500" if "v5_13_0" in request.path else None) as archive:
        report = fetch(survey, spec_ids, archive)
    assert dict(report.states) == {"failed": 1}
    assert not any("v5_13_2" in path for path in archive.asked)


def test_a_server_that_went_away_ends_the_run_instead_of_failing_every_file(survey):
    spec_ids, content = many_spectra(200, 50)
    with Archive(content) as archive:
        fetch(survey, spec_ids[:2], archive)
    report = fetch(survey, spec_ids, archive, policy=RetryPolicy(tries=2, backoff=0.001))
    assert report.gave_up
    assert report.states["verified"] == 2
    assert 25 <= report.states["failed"] < 60
    assert report.states["missing"] > 100
    assert set(report.reasons) == {"connection"}


# --- the manifest -------------------------------------------------------------------------------------------------
def test_files_in_the_journal_of_a_run_that_was_killed_are_read_again(survey):
    """After a loss of power a file can hold zeros; and a kill can tear the journal's last line."""
    spec_ids, content = many_spectra(4, 50)
    _, journal = manifest.paths(survey)
    with Archive(content) as archive:
        fetch(survey, spec_ids, archive)
        journal.write_bytes(b'{"plate":4000,"mj')
        running = manifest.Manifest(survey)  # that never ends
        running.record(manifest.read(survey)[spec_ids[1]])
        running._file.close()
        path = survey.spectrum(*spec_ids[1])
        path.write_bytes(bytes(path.stat().st_size))
        assert fetch(survey, spec_ids, archive).fetched == 1
    assert not journal.exists()
    assert_same_files(survey, spec_ids, content)


# --- kills --------------------------------------------------------------------------------------------------------
KILLED = """
import sys
sys.path.insert(0, {tests!r})
from archive_server import many_spectra
from quasar_mass.fetch.client import Client, RetryPolicy
from quasar_mass.fetch.spectra import fetch_spectra
from quasar_mass.core.survey import Survey
spec_ids, _ = many_spectra({number}, {pixels})
print("begin", flush=True)
with Client({url!r}, policy=RetryPolicy(tries=12, backoff=0.002, timeout=(2.0, 2.0))) as client:
    print(dict(fetch_spectra(Survey({folder!r}), spec_ids, client, quiet=True).states))
"""


@pytest.mark.parametrize(
    ("number", "pixels", "latency", "kills"),
    [(300, 100, 0.01, 3), pytest.param(5000, 200, 0.005, 10, marks=pytest.mark.slow)],
)
def test_killed_again_and_again_it_ends_the_same_and_fetches_nothing_verified_twice(
    survey, number, pixels, latency, kills
):
    spec_ids, content = many_spectra(number, pixels, HOLES)
    tests, draw, done = Path(__file__).resolve().parents[1], random.Random(7), 0
    with Archive(content, fault=at_random(0.2), latency=latency) as archive:
        names = {"tests": str(tests), "url": archive.url, "folder": str(survey.folder)}
        command = [sys.executable, "-c", KILLED.format(number=number, pixels=pixels, **names)]
        for kill in range(kills + 1):
            with subprocess.Popen(command, cwd=tests.parent, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout.readline() == "begin\n"
                if kill == kills:
                    process.communicate()
                    break
                enough = sum(archive.asked.values()) + draw.uniform(0.2, 1.2) * number / (kills + 1)
                while sum(archive.asked.values()) < enough:
                    assert process.poll() is None
                    time.sleep(0.002)
                os.kill(process.pid, signal.SIGKILL)
            files = list((survey.folder / "spectra").rglob("spec-*.fits"))
            assert len(files) > done
            done = len(files)
            assert all(
                path.read_bytes() == content(LITE + str(path.relative_to(survey.folder / "spectra"))) for path in files
            )  # none is partial
        # what was whole at a kill but not yet under its name is the most that comes twice: one file per connection
        assert sum(count - 1 for count in archive.whole.values()) <= kills * 8
    assert process.returncode == 0
    assert_all_there(survey, spec_ids, content)


@pytest.mark.parametrize("number", [1 << 64, -1])
def test_numbers_that_no_file_has_are_a_damaged_journal(survey, number):
    _, journal = manifest.paths(survey)
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_text(f'{{"plate":4000,"mjd":56000,"fiberid":1,"bytes":{number}}}\n')
    with pytest.raises(FileError, match="line 1: is damaged, or was not written by a fetch"):
        manifest.read(survey)
