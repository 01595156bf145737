"""A simulated survey fetched from a mirror as the real one is, built and predicted; everything says simulated."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from archive_server import Archive, at_random, published

import get_Chen_data
import quasar_analysis
from quasar_mass.core.survey import Survey
from quasar_mass.fetch.client import RetryPolicy
from quasar_mass.fetch.run import fetch

OBJECTS = 30


def run(main, *arguments: str | Path, status: int = 0) -> str:
    """What a script's command line prints when it runs in this process and ends with this exit status."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert main([str(argument) for argument in arguments]) == status, printed.getvalue()
    return printed.getvalue()


def get(*arguments: str | Path, status: int = 0) -> str:
    return run(get_Chen_data.main, *arguments, status=status)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated survey with its tables: what the mirror serves, and what must come out in the end."""
    folder = tmp_path_factory.mktemp("mirror") / "simulated"
    get("simulate", "--survey", folder, "--objects", OBJECTS, "--quiet", "--jobs", 1)
    get("build", "--survey", folder, "--quiet", "--jobs", 1)
    return Survey(folder)


@pytest.fixture(scope="module")
def fetched(simulated, tmp_path_factory):
    """The same survey fetched from a mirror and built."""
    survey = Survey(tmp_path_factory.mktemp("fetched") / "real")
    with Archive(published(simulated.folder), fault=at_random(0.1)) as archive:
        options = ("--survey", survey.folder, "--mirror", archive.url, "--quiet")
        printed = get("fetch", "all", *options)
    assert "simulated by its own title" in printed
    assert "simulated by its own header" in printed
    assert "0 failed, 0 not published" in printed
    assert f"next: python get_Chen_data.py build --survey {survey.folder}" in printed
    assert f"next: python get_Chen_data.py build --survey {survey.folder}" in status(survey)
    get("build", "--survey", survey.folder, "--quiet", "--jobs", 1)
    return survey


def status(survey: Survey) -> str:
    return get("status", "--survey", survey.folder)


def test_the_selected_spectra_came_byte_for_byte_and_the_tables_are_the_same(simulated, fetched):
    rows = pd.read_parquet(fetched.folder / "spectra" / "manifest.parquet")
    files = {path.relative_to(fetched.folder) for path in (fetched.folder / "spectra").rglob("spec-*.fits")}
    assert len(rows) == len(files) > OBJECTS
    assert all((fetched.folder / file).read_bytes() == (simulated.folder / file).read_bytes() for file in files)
    for table in ("quasars", "spectra", "rejects"):
        original, rebuilt = pq.read_table(getattr(simulated, table)), pq.read_table(getattr(fetched, table))
        assert original.replace_schema_metadata() == rebuilt.replace_schema_metadata()
        assert original.num_rows or table == "rejects"


def test_everything_says_simulated(fetched):
    assert fetched.kind == "simulated"
    assert json.loads(fetched.card.read_text())["origin"] == "fetched"
    assert "whose files say that they are simulated" in status(fetched)
    metadata = pq.read_schema(fetched.spectra).metadata
    assert any(b'"kind": "simulated"' in value for value in metadata.values())
    spectrum = next((fetched.folder / "spectra").rglob("spec-*.fits"))
    printed = run(quasar_analysis.main, "predict", spectrum, "--survey", fetched.folder)
    assert "simulated" in printed


def test_simulated_files_do_not_enter_a_survey_of_observed_ones(simulated, fetched, tmp_path):
    real = Survey(tmp_path / "real")
    for path in (simulated.chen, simulated.dr16q):
        target = real.folder / path.relative_to(simulated.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    real_title = real.chen.read_bytes().replace(b"SIMULATED", b"OBSERVED!")
    real.chen.write_bytes(real_title)
    with Archive(published(simulated.folder)) as archive:
        printed = get("fetch", "spectra", "--survey", real.folder, "--mirror", archive.url, status=1)
    assert "holds observed spectra, and the files that came are simulated" in printed
    assert not real.card.exists()
    # and files that are there all the same end the build
    spectrum = next((fetched.folder / "spectra").rglob("spec-*.fits"))
    target = real.folder / spectrum.relative_to(fetched.folder)
    target.parent.mkdir(parents=True)
    target.write_bytes(spectrum.read_bytes())
    printed = get("build", "--survey", real.folder, "--jobs", "1", "--quiet", status=1)
    assert "is a simulated spectrum" in printed


def test_downloads_stay_out_of_a_simulated_survey(simulated):
    printed = get("fetch", "all", "--survey", simulated.folder, status=1)
    assert "simulated here, so nothing is fetched into it; name another folder: --survey NEW_FOLDER" in printed


def test_what_cannot_be_brought_is_exit_1_with_a_list_and_a_command(simulated, tmp_path, monkeypatch):
    real = tmp_path / "real"

    def fault(request):
        return "html" if request.path.endswith("1.fits") else None

    with Archive(published(simulated.folder), fault=fault) as archive:
        options = ("--survey", real, "--mirror", archive.url, "--quiet")
        get("fetch", "catalogs", *options)
        plan = get("fetch", "spectra", *options, "--dry-run")
        assert f"{archive.url}/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/" in plan
        assert not (real / "spectra").exists()
        monkeypatch.setitem(fetch.__kwdefaults__, "policy", RetryPolicy(tries=2, backoff=0.001))
        printed = get("fetch", "spectra", *options, status=1)
        command = f"python get_Chen_data.py fetch spectra --survey {real} --mirror {archive.url}"
        assert command in printed
        assert "not FITS" in printed
        advice = f"next: python get_Chen_data.py fetch spectra --survey {real}, or, without those that failed, python"
        assert advice in status(Survey(real))
    listed = (real / "spectra" / "not_there.csv").read_text().splitlines()
    assert len(listed) > 1
    assert all("1,failed,not FITS: begins '<!DOCTYPE html>" in line for line in listed[1:])
    with Archive(published(simulated.folder)) as archive:
        printed = get("fetch", "spectra", "--survey", real, "--mirror", archive.url, "--quiet")
        assert sum(archive.asked.values()) == len(listed) - 1
    assert "0 failed" in printed
    assert not (real / "spectra" / "not_there.csv").exists()


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_damaged_file_is_found_by_build_and_mended_by_following_its_advice(simulated, fetched, tmp_path, keep_time):
    """Also where the damage changes neither size nor time: 8,000 zero bytes in the middle of the file."""
    real = Survey(shutil.copytree(fetched.folder, tmp_path / "real"))
    path = next((real.folder / "spectra").rglob("spec-*.fits"))
    whole = path.read_bytes()
    times = path.stat()
    path.write_bytes(whole[:50_000] + bytes(8000) + whole[58_000:])
    if keep_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        assert "1 changed (they differ from the manifest)" in status(real)
    printed = get("build", "--survey", real.folder, "--quiet", "--jobs", 1)
    assert "rejected, unreadable file: 1 spectra" in printed
    assert "1 changed (they differ from the manifest)" in status(real)
    assert f"next: python get_Chen_data.py fetch spectra --survey {real.folder}" in status(real)
    advice = re.search(r"again: python get_Chen_data.py (fetch spectra .*); then build again", printed)[1]
    with Archive(published(simulated.folder)) as archive:
        printed = get(*shlex.split(advice), "--mirror", archive.url, "--quiet")
        assert sum(archive.asked.values()) == 1
    assert path.read_bytes() == whole
    assert f"next: python get_Chen_data.py build --survey {real.folder}" in printed
    assert "unreadable" not in get("build", "--survey", real.folder, "--quiet", "--jobs", 1)
    assert "changed" not in status(real)
    assert "next: make train" in status(real)


def test_a_damaged_file_of_a_simulation_is_not_to_be_fetched(simulated, tmp_path):
    copy = Survey(shutil.copytree(simulated.folder, tmp_path / "copy"))
    path = next((copy.folder / "spectra").rglob("spec-*.fits"))
    path.write_bytes(path.read_bytes()[:50_000])
    printed = get("build", "--survey", copy.folder, "--quiet", "--jobs", 1)
    assert f"delete {copy.folder} and simulate it again" in printed
    assert "fetch spectra" not in printed


def test_from_the_notebook_download_fetches_builds_and_gives_the_tables(simulated, tmp_path):
    real = tmp_path / "real"
    with Archive(published(simulated.folder)) as archive:
        _, spectra, *parts = get_Chen_data.get_Chen_data("Download", real, step=1e-3, quiet=True, mirror=archive.url)
    expected = pd.read_parquet(simulated.spectra, columns=["OBJECT", "EPOCH"])
    assert len(spectra) == len(expected) == sum(len(X) for X in parts[:3])
    assert Survey(real).kind == "simulated"
