"""The machine fails: one sentence, old files untouched, nothing half-written; and the same command once it is well."""

import os
import signal
import time
from pathlib import Path

import pytest
from killing import Forge, contents, kill, unfinished

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "said.log"


def build(survey: Path) -> tuple:
    return ("build", "--survey", survey, "--step", "1e-3", "--jobs", "1", "--quiet")


def assert_one_sentence(done, *words):
    assert done.status == 1, done.said
    assert done.said.startswith("error: "), done.said
    assert done.said.count("\n") == 1, done.said
    for word in map(str, words):
        assert word in done.said, (word, done.said)


def succeed(forge, log, *command, folder: Path, module: str = "get_Chen_data", **more) -> dict[str, bytes]:
    """Run a command that must succeed, and give all files of the folder."""
    done = forge.run(module, *command, folder=folder, log=log, **more)
    assert done.status == 0, done.said
    assert not any(map(unfinished, contents(folder)))
    return contents(folder)


# --- no space ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", ["build", "simulate"])
def test_without_space_a_command_leaves_the_old_files_and_works_later(forge, log, tiny_survey, tmp_path, verb):
    """The system refuses to write more than a few pages into a file, as a full disk would."""
    survey = tiny_survey.folder if verb == "build" else tmp_path / "simulated"
    command = build(survey)
    if verb == "build":
        succeed(forge, log, *command[:3], "--step", "2e-3", "--quiet", folder=survey)  # tables of an earlier build
    else:
        command = ("simulate", "--survey", survey, "--objects", "4", "--seed", "7", "--jobs", "1", "--quiet")
    before = contents(survey) if survey.exists() else {}
    done = forge.run("get_Chen_data", *command, folder=survey, log=log, largest=10_000)
    assert_one_sentence(done, survey, "File too large")
    left = contents(survey)
    assert {name: left[name] for name in left if name != "survey.json"} == before
    assert succeed(forge, log, *command, folder=survey) != left


@pytest.mark.slow
def test_without_space_a_training_says_so_and_goes_on_later(network_forge, log, built, tmp_path, trained):
    work = tmp_path / "work"
    done = network_forge.run("training_job", built, work, folder=work, log=log, largest=20_000)
    assert_one_sentence(done, "File too large", ".h5")
    assert not any(map(unfinished, contents(work)))
    assert succeed(network_forge, log, built, work, folder=work, module="training_job") == trained


@pytest.mark.parametrize("ending", [".parquet", pytest.param(".fits", marks=pytest.mark.slow)])
def test_without_space_predict_leaves_the_old_masses(network_forge, log, built, model, tmp_path, ending):
    folder = tmp_path / "masses"
    folder.mkdir()
    output = folder / f"masses{ending}"
    output.write_text("of an earlier run\n")
    command = ("predict", "--survey", built, "--model", model, "--output", output, "--quiet")
    done = network_forge.run("quasar_analysis", *command, folder=folder, log=log, largest=1000)
    assert_one_sentence(done, output, "File too large")
    assert contents(folder) == {output.name: b"of an earlier run\n"}
    assert list(succeed(network_forge, log, *command, folder=folder, module="quasar_analysis")) == [output.name]


# --- clocks -----------------------------------------------------------------------------------------------------------
def test_no_table_depends_on_the_times_of_files(forge, tiny_survey, log):
    survey = tiny_survey.folder
    tables = succeed(forge, log, *build(survey), folder=survey)
    for number, path in enumerate(sorted(survey.rglob("*"))):
        os.utime(path, (4e9, 4e9) if number % 2 else (0, 0))  # of the year 2096, and of 1970
    assert succeed(forge, log, *build(survey), folder=survey) == tables


# --- two at once ------------------------------------------------------------------------------------------------------
def wait_until_stopped(group: int) -> None:
    deadline = time.monotonic() + 120
    while Path(f"/proc/{group}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, "the first command did not get to its work"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_second_build_is_told_who_is_at_work_and_goes_on_when_that_one_is_killed(forge, tiny_survey, log, tmp_path):
    survey = tiny_survey.folder
    with Forge("get_Chen_data") as other:
        # stopped long after it took the lock
        options = {"folder": survey, "log": tmp_path / "other.log", "before": 12, "signal": signal.SIGSTOP}
        group = other.start("get_Chen_data", *build(survey), **options)
        wait_until_stopped(group)
        before = contents(survey)
        for command in (build(survey), ("fetch", "catalogs", "--survey", survey, "--quiet")):
            done = forge.run("get_Chen_data", *command, folder=survey, log=log)
            assert_one_sentence(done, survey, f"process {group} on ", "since 20", "get_Chen_data.py build --survey")
        assert contents(survey) == before
        kill(group)
        assert other.end(tmp_path / "other.log").status == -9
        assert survey.joinpath(".lock").exists()
    again = succeed(forge, log, *build(survey), folder=survey)
    assert {"bigger_data/quasars.parquet", "bigger_data/spectra.parquet"} < set(again)
