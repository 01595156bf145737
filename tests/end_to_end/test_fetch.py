"""The real path with simulated content: fetched from a mirror, built, predicted, and never passed for the sky."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from archive_server import Archive, at_random, published
from killing import hearing

import get_Chen_data
import quasar_analysis
from quasar_mass.core.survey import Survey
from quasar_mass.fetch.responses import Policy
from quasar_mass.fetch.run import fetch

HOME = Path(__file__).resolve().parents[2]
OBJECTS = 30


@dataclass
class Done:
    """What a command said."""

    stdout: str
    stderr: str


def run(main, *arguments: str | Path, status: int = 0) -> Done:
    """Run a script's command line in this process, and check its exit status."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = main([str(argument) for argument in arguments])
    assert found == status, out.getvalue() + err.getvalue()
    return Done(out.getvalue(), err.getvalue())


def get(*arguments: str | Path, status: int = 0) -> Done:
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
    survey = Survey(tmp_path_factory.mktemp("fetched") / "sky")
    with Archive(published(simulated.folder), fault=at_random(0.1, ("drop", "429", "truncate", "redirect"))) as archive:
        options = ("--survey", survey.folder, "--mirror", archive.url, "--quiet")
        done = get("fetch", "all", *options)
    assert "simulated by its own title" in done.stdout
    assert "simulated by its own header" in done.stdout
    assert "0 failed, 0 not published" in done.stdout
    assert f'next: python get_Chen_data.py build --survey "{survey.folder}"' in done.stdout
    assert f'next: python get_Chen_data.py build --survey "{survey.folder}"' in status(survey)
    get("build", "--survey", survey.folder, "--quiet", "--jobs", 1)
    return survey


def status(survey: Survey) -> str:
    return get("status", "--survey", survey.folder).stdout


def test_the_selected_spectra_came_byte_for_byte_and_no_others(simulated, fetched):
    rows = pd.read_parquet(fetched.folder / "spectra" / "manifest.parquet")
    files = {path.relative_to(fetched.folder) for path in (fetched.folder / "spectra").rglob("spec-*.fits")}
    assert len(rows) == len(files) > OBJECTS
    for file in files:
        assert (fetched.folder / file).read_bytes() == (simulated.folder / file).read_bytes()


def test_tables_are_those_built_from_the_survey_itself(simulated, fetched):
    for table in ("quasars", "spectra", "rejects"):
        one, other = pq.read_table(getattr(simulated, table)), pq.read_table(getattr(fetched, table))
        assert one.replace_schema_metadata() == other.replace_schema_metadata()
        assert one.num_rows or table == "rejects"


def test_everything_says_simulated(fetched):
    assert fetched.kind == "simulated"
    assert json.loads(fetched.card.read_text())["origin"] == "fetched"
    assert "whose files say that they are simulated" in status(fetched)
    metadata = pq.read_schema(fetched.spectra).metadata
    assert any(b'"kind": "simulated"' in value for value in metadata.values())
    spectrum = next((fetched.folder / "spectra").rglob("spec-*.fits"))
    done = run(quasar_analysis.main, "predict", spectrum, "--survey", fetched.folder)
    assert "simulated" in done.stdout


def test_simulated_content_does_not_enter_a_survey_of_the_sky(simulated, fetched, tmp_path):
    sky = Survey(tmp_path / "sky")
    for path in (simulated.chen, simulated.dr16q):
        target = sky.folder / path.relative_to(simulated.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    real_title = sky.chen.read_bytes().replace(b"SIMULATED", b"OBSERVED!")
    sky.chen.write_bytes(real_title)
    with Archive(published(simulated.folder)) as archive:
        done = get("fetch", "spectra", "--survey", sky.folder, "--mirror", archive.url, status=1)
    assert "expected files of the sky, as all else there, got simulated files" in done.stderr
    assert not sky.card.exists()
    # and files that are there all the same end the build
    spectrum = next((fetched.folder / "spectra").rglob("spec-*.fits"))
    target = sky.folder / spectrum.relative_to(fetched.folder)
    target.parent.mkdir(parents=True)
    target.write_bytes(spectrum.read_bytes())
    done = get("build", "--survey", sky.folder, "--jobs", "1", "--quiet", status=1)
    assert "is a simulated spectrum" in done.stderr


def test_downloads_stay_out_of_a_simulated_survey(simulated):
    done = get("fetch", "all", "--survey", simulated.folder, status=1)
    assert "expected a folder for downloads, got a simulated survey" in done.stderr


def test_what_cannot_be_brought_is_exit_1_with_a_list_and_a_command(simulated, tmp_path, monkeypatch):
    sky = tmp_path / "sky"

    def fault(request):
        return "html" if request.path.endswith("1.fits") else None

    with Archive(published(simulated.folder), fault=fault) as archive:
        options = ("--survey", sky, "--mirror", archive.url, "--quiet")
        get("fetch", "catalogs", *options)
        plan = get("fetch", "spectra", *options, "--dry-run").stdout
        assert f"{archive.url}/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/" in plan
        assert not (sky / "spectra").exists()
        monkeypatch.setitem(fetch.__kwdefaults__, "policy", Policy(tries=2, backoff=0.001))
        done = get("fetch", "spectra", *options, status=1)
        command = f'python get_Chen_data.py fetch spectra --survey "{sky}" --mirror {archive.url}'
        assert command in done.stderr
        assert "not FITS" in done.stderr
        assert f'next: python get_Chen_data.py fetch spectra --survey "{sky}"' in status(Survey(sky))
    listed = (sky / "spectra" / "not_there.csv").read_text().splitlines()
    assert len(listed) > 1
    assert all("1,failed,not FITS: begins '<!DOCTYPE html>" in line for line in listed[1:])
    with Archive(published(simulated.folder)) as archive:
        done = get("fetch", "spectra", "--survey", sky, "--mirror", archive.url, "--quiet")
        assert sum(archive.asked.values()) == len(listed) - 1
    assert "0 failed" in done.stdout
    assert not (sky / "spectra" / "not_there.csv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_ctrl_c_ends_with_a_sentence_and_the_same_command_goes_on(simulated, tmp_path):
    sky = tmp_path / "sky"
    with Archive(published(simulated.folder), latency=0.1) as archive:
        command = ["get_Chen_data.py", "fetch", "all", "--survey", sky, "--mirror", archive.url, "--jobs", "2"]
        with subprocess.Popen(
            hearing(*command), cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while sum(archive.asked.values()) < 12:
                assert process.poll() is None
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=30)
        assert process.returncode == 130
        assert error.splitlines()[-1] == "error: stopped by Ctrl-C; the same command goes on from here."
        before = sum(archive.whole.values())
        done = get(*command[1:])
        assert "0 failed" in done.stdout
        assert sum(archive.whole.values()) - before < len(archive.whole)


def test_from_the_notebook_download_fetches_builds_and_gives_the_tables(simulated, tmp_path):
    sky = tmp_path / "sky"
    with Archive(published(simulated.folder)) as archive:
        _, spectra, *parts = get_Chen_data.get_Chen_data("Download", sky, step=1e-3, quiet=True, mirror=archive.url)
    expected = pd.read_parquet(simulated.spectra, columns=["OBJECT", "EPOCH"])
    assert len(spectra) == len(expected) == sum(len(X) for X in parts[:3])
    assert Survey(sky).kind == "simulated"


@pytest.mark.slow
def test_the_notebook_runs_on_what_was_fetched(tmp_path):
    simulated, sky = Survey(tmp_path / "simulated"), tmp_path / "sky"
    get("simulate", "--survey", simulated.folder, "--objects", 80, "--quiet", "--jobs", 1)
    with Archive(published(simulated.folder)) as archive:
        get("fetch", "all", "--survey", sky, "--mirror", archive.url, "--quiet")
    get("build", "--survey", sky, "--quiet", "--jobs", 1)
    parameters = {"SURVEY": sky, "CREATING": "Load", "CHECKPOINTS": tmp_path, "RESULTS": tmp_path, "MODELS": tmp_path}
    options = [str(part) for name, value in parameters.items() for part in ("-r", name, value)]
    options += ["-p", "INTERMEDIATE_EPOCHS", "1", "-p", "FINAL_EPOCHS", "1", "-k", "python3", "--no-progress-bar"]
    command = [sys.executable, "-m", "papermill", "Quasar_mass_ML.ipynb", str(tmp_path / "executed.ipynb"), *options]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "(simulated)" in (tmp_path / "summary.txt").read_text()
