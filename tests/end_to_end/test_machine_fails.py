"""The machine fails: one sentence, old files untouched, nothing half-written; and the same command once it is well."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
from killing import NOBODY, Forge, contents, kill, unfinished
from test_killed import write_reference

from quasar_mass.core import locks
from quasar_mass.core.errors import LockError
from quasar_mass.core.survey import Survey

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

STEP = "1e-3"


def slowly(value):
    """A parameter of the long version."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "said.log"


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own: called with its size in bytes, again to change it; its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(number: int | None, *options: str) -> Path:
        how = ",".join([*(["remount"] if folder.is_mount() else []), f"size={number}", "huge=never", *options])
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
        return folder

    yield size
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def public_folder():
    """A folder that a user without rights can reach, and owns."""
    folder = Path(tempfile.mkdtemp(prefix="quasar-mass-"))
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def used(folder: Path) -> int:
    """Bytes that are not free."""
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def build(survey: Path, *more) -> tuple:
    return ("build", "--survey", survey, "--step", STEP, "--jobs", "1", "--quiet", *more)


def assert_one_sentence(done, *words):
    assert done.status == 1, done.said
    assert "Traceback" not in done.said
    assert done.said.startswith("error: "), done.said
    assert done.said.count("\n") == 1, done.said
    for word in ("expected", "got", *map(str, words)):
        assert word in done.said, (word, done.said)


def good(forge, log, *command, folder: Path, module: str = "get_Chen_data", **more) -> dict[str, bytes]:
    """Run a command that must succeed; all files of the folder then."""
    done = forge.run(module, *command, folder=folder, log=log, **more)
    assert done.status == 0, done.said
    assert not any(map(unfinished, contents(folder)))
    return contents(folder)


# --- disk full --------------------------------------------------------------------------------------------------------
def test_simulate_on_a_full_disk_goes_on_when_there_is_room(forge, disk, log, tmp_path):
    options = ("--objects", "8", "--seed", "7", "--jobs", "1", "--quiet")
    whole = good(forge, log, "simulate", "--survey", tmp_path / "whole", *options, folder=tmp_path / "whole")
    survey = disk(1_000_000)
    done = forge.run("get_Chen_data", "simulate", "--survey", survey, *options, folder=survey, log=log)
    assert_one_sentence(done, survey, "No space left on device")
    found = contents(survey)
    assert not any(map(unfinished, found))
    assert 2 <= len(found) < len(whole)
    assert all(content == whole[name] for name, content in found.items() if name != "survey.json")
    disk(20_000_000)
    assert good(forge, log, "simulate", "--survey", survey, *options, folder=survey) == whole


def pages(content: bytes) -> int:
    """Bytes that a file takes."""
    return -(-len(content) // 4096) * 4096


def filled(disk, original: Path, free: int) -> Path:
    """A copy of a folder on a disk with so many bytes free."""
    size = sum(map(pages, contents(original).values()))
    folder = disk(size + 1_000_000) / original.name
    shutil.copytree(original, folder)
    disk(used(folder) + free)
    return folder


@pytest.mark.parametrize(
    "fitting", [None, pytest.param((), marks=pytest.mark.slow), ("spectra",), ("spectra", "quasars")]
)
def test_build_on_a_full_disk_leaves_the_old_tables(forge, disk, log, tiny_survey, fitting):
    """With room for nothing, for a lock, and for one and two of the three tables."""
    whole = good(forge, log, *build(tiny_survey.folder), folder=tiny_survey.folder)
    good(forge, log, *build(tiny_survey.folder)[:3], "--step", "2e-3", "--quiet", folder=tiny_survey.folder)
    room = [pages(whole[f"bigger_data/{name}.parquet"]) for name in fitting or ()]
    survey = filled(disk, tiny_survey.folder, 0 if fitting is None else 4096 + sum(room))
    before = contents(survey)
    done = forge.run("get_Chen_data", *build(survey), folder=survey, log=log)
    assert_one_sentence(done, survey, "No space left on device")
    assert contents(survey) == before
    disk(30_000_000)
    assert good(forge, log, *build(survey), folder=survey) == whole


def test_convert_on_a_full_disk_leaves_the_download_in_its_place(forge, disk, log, tmp_path):
    survey = filled(disk, write_reference(tmp_path / "reference"), 4096)
    before = contents(survey)
    command = ("convert", survey / "bigger_data" / "quasars.parquet", "--survey", survey, "--quiet")
    assert_one_sentence(forge.run("get_Chen_data", *command, folder=survey, log=log), "quasars.parquet", "No space")
    assert contents(survey) == before
    disk(30_000_000)
    assert "bigger_data/quasars_reference.parquet" in good(forge, log, *command, folder=survey)


def test_training_on_a_full_disk_says_so_and_goes_on_when_there_is_room(network_forge, disk, log, built, trained):
    work = disk(sum(map(len, trained.values())) // 2)
    done = network_forge.run("training_job", built, work, folder=work, log=log)
    assert done.status == 1, done.said
    assert "Traceback" not in done.said
    assert "No space left on device" in done.said
    assert ".h5" in done.said
    found = contents(work)
    assert found
    assert not any(map(unfinished, found))
    disk(30_000_000)
    assert good(network_forge, log, built, work, folder=work, module="training_job") == trained


@pytest.mark.parametrize(
    "ending", [".parquet", *(pytest.param(one, marks=pytest.mark.slow) for one in (".fits", ".ecsv", ".csv"))]
)
def test_predict_on_a_full_disk_leaves_the_old_masses(network_forge, disk, log, built, model, tmp_path, ending):
    (tmp_path / "masses").mkdir()
    (tmp_path / "masses" / f"masses{ending}").write_text("of an earlier run\n")
    folder = filled(disk, tmp_path / "masses", 0)
    output = folder / f"masses{ending}"
    command = ("predict", "--survey", built, "--model", model, "--output", output)
    more = {"folder": folder, "log": log}
    assert_one_sentence(network_forge.run("quasar_analysis", *command, "--quiet", **more), output, "No space")
    assert contents(folder) == {output.name: b"of an earlier run\n"}
    disk(10_000_000)
    assert list(good(network_forge, log, *command, "--quiet", folder=folder, module="quasar_analysis")) == [output.name]


def test_a_file_larger_than_allowed_is_one_sentence(forge, log, tiny_survey):
    """The same without a disk of its own: a limit of the process."""
    before = contents(tiny_survey.folder)
    done = forge.run("get_Chen_data", *build(tiny_survey.folder), folder=tiny_survey.folder, log=log, largest=10_000)
    assert_one_sentence(done, tiny_survey.spectra, "File too large")
    assert contents(tiny_survey.folder) == before


# --- no permission ----------------------------------------------------------------------------------------------------
def given_away(original: Path, folder: Path) -> Path:
    """A copy that belongs to a user without rights (to this one, where it has none itself)."""
    shutil.copytree(original, folder)
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    return folder


@pytest.mark.parametrize("which", ["", "bigger_data"])
def test_a_folder_that_cannot_be_written_is_one_sentence(forge, public_folder, tiny_survey, log, which):
    survey = given_away(tiny_survey.folder, public_folder / "survey")
    (survey / which).chmod(0o555)
    before = contents(survey)
    more = {"folder": survey, "log": log, "nobody": True}
    assert_one_sentence(forge.run("get_Chen_data", *build(survey), **more), survey, "Permission denied")
    assert contents(survey) == before
    (survey / which).chmod(0o755)
    good(forge, log, *build(survey), folder=survey, nobody=True)


def test_a_read_only_disk_is_one_sentence_and_its_tables_are_read(forge, network_forge, disk, log, built, model):
    survey = disk(30_000_000) / "survey"
    shutil.copytree(built, survey)
    disk(30_000_000, "ro")
    before = contents(survey)
    for command in (build(survey), ("convert", survey / "apjsab41fet1_mrt.txt", "--survey", survey)):
        done = forge.run("get_Chen_data", *command, folder=survey, log=log)
        assert_one_sentence(done, survey)
    new = ("simulate", "--survey", survey / "new", "--objects", "4", "--quiet")
    assert_one_sentence(forge.run("get_Chen_data", *new, folder=survey, log=log), survey / "new", "Read-only")
    predict = ("predict", "--survey", survey, "--model", model, "--quiet")
    into = (*predict, "--output", survey / "masses.csv")
    assert_one_sentence(network_forge.run("quasar_analysis", *into, folder=survey, log=log), survey / "masses.csv")
    assert network_forge.run("quasar_analysis", *predict, folder=survey, log=log).status == 0
    assert contents(survey) == before
    disk(30_000_000, "rw")
    good(forge, log, *build(survey), folder=survey)


def test_a_catalogue_that_may_not_be_read_is_one_sentence(forge, public_folder, tiny_survey, log):
    survey = given_away(tiny_survey.folder, public_folder / "survey")
    for path in (Survey(survey).chen, Survey(survey).dr16q):
        path.chmod(0)
        done = forge.run("get_Chen_data", *build(survey), folder=survey, log=log, nobody=True)
        assert_one_sentence(done, path, "Permission denied")
        path.chmod(0o644)
    good(forge, log, *build(survey), folder=survey, nobody=True)


def test_a_spectrum_that_may_not_be_read_is_a_row_of_the_rejects(forge, public_folder, tiny_survey, log, make):
    survey = given_away(tiny_survey.folder, public_folder / "survey")
    path = make.spec_path(survey, make.tiny[4][0])
    path.chmod(0)
    good(forge, log, *build(survey), folder=survey, nobody=True)
    (row,) = pd.read_parquet(Survey(survey).rejects).to_dict("records")
    assert row["REASON"] == "unreadable file"
    assert "Permission denied" in row["DETAIL"]


# --- a file that vanishes ---------------------------------------------------------------------------------------------
def test_a_spectrum_that_vanishes_when_it_is_opened_is_a_row_of_the_rejects(forge, tiny_survey, log, make):
    path = make.spec_path(tiny_survey.folder, make.tiny[4][0])
    done = forge.run(
        "get_Chen_data", *build(tiny_survey.folder), folder=tiny_survey.folder, log=log, vanishing=str(path)
    )
    assert done.status == 0, done.said
    assert not path.exists()
    (row,) = pd.read_parquet(tiny_survey.rejects).to_dict("records")
    assert row["REASON"] == "missing file"
    assert path.name in row["DETAIL"]


def test_a_spectrum_that_vanishes_from_a_folder_named_to_predict_gets_a_reason(
    network_forge, tiny_survey, log, make, tmp_path, model
):
    path = make.spec_path(tiny_survey.folder, make.tiny[4][0])
    command = ("predict", tiny_survey.folder / "spectra", "--model", model, "--quiet")
    command += ("--output", tmp_path / "masses.csv")
    done = network_forge.run("quasar_analysis", *command, folder=tmp_path, log=log, vanishing=str(path))
    assert done.status == 0, done.said
    table = pd.read_csv(tmp_path / "masses.csv").set_index("FILE")
    assert len(table) == 18
    assert table["LMBH"].isna().sum() == 1
    assert table.loc[str(path), "REASON"].startswith("missing file")


# --- clocks -----------------------------------------------------------------------------------------------------------
def test_no_file_depends_on_clocks(forge, tiny_survey, log, tmp_path):
    survey = tiny_survey.folder
    tables = good(forge, log, *build(survey), folder=survey)
    for number, path in enumerate(sorted(survey.rglob("*"))):
        os.utime(path, (4e9, 4e9) if number % 2 else (0, 0))  # of the year 2096, and of 1970
    assert good(forge, log, *build(survey), folder=survey, jumping=1) == tables
    options = ("--objects", "3", "--seed", "7", "--jobs", "1", "--quiet")
    made = [
        good(forge, log, "simulate", "--survey", tmp_path / name, *options, folder=tmp_path / name, **more)
        for name, more in (("usual", {}), ("jumping", {"jumping": 2}))
    ]
    assert made[0] == made[1]


# --- two at once ------------------------------------------------------------------------------------------------------
def stopped(group: int) -> bool:
    """Whether a process has been stopped (not ended)."""
    return Path(f"/proc/{group}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize("end", [slowly("goes on"), "is killed"])
def test_of_two_builds_at_once_one_is_told_who_is_at_work(forge, tiny_survey, log, tmp_path, end):
    survey = tiny_survey.folder
    with Forge("get_Chen_data") as other:
        # long after the lock: in the middle of its work
        group = other.start(
            "get_Chen_data", *build(survey), folder=survey, log=tmp_path / "o.log", before=8, signal=signal.SIGSTOP
        )
        deadline = time.monotonic() + 60
        while not stopped(group) and time.monotonic() < deadline:
            time.sleep(0.05)
        before = contents(survey)
        for command in (build(survey), ("fetch", "catalogs", "--survey", survey, "--quiet")):
            done = forge.run("get_Chen_data", *command, folder=survey, log=log)
            assert_one_sentence(done, survey, f"process {group} on ", "since 20", "get_Chen_data.py build --survey")
        assert contents(survey) == before
        if end == "goes on":
            os.killpg(group, signal.SIGCONT)
            assert other.end(tmp_path / "o.log").status == 0
        else:
            kill(group)
            assert other.end(tmp_path / "o.log").status == -9
            assert survey.joinpath(".lock").exists()
    again = good(forge, log, *build(survey), folder=survey)
    assert {"bigger_data/quasars.parquet", "bigger_data/spectra.parquet"} < set(again)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_of_two_trainings_at_once_one_is_told_who_is_at_work(network_forge, built, log, tmp_path, trained):
    work = tmp_path / "work"
    with Forge("training_job", "keras") as other:
        options = {"folder": work, "log": tmp_path / "o.log", "before": 9, "signal": signal.SIGSTOP}
        group = other.start("training_job", built, work, **options)
        deadline = time.monotonic() + 120
        while not stopped(group) and time.monotonic() < deadline:
            time.sleep(0.05)
        done = network_forge.run("training_job", built, work, folder=work, log=log)
        assert_one_sentence(done, "checkpoints", f"process {group} on ")
        os.killpg(group, signal.SIGCONT)
        assert other.end(tmp_path / "o.log").status == 0
    assert contents(work) == trained


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_workers_end_with_a_parent_that_is_killed_alone(forge, log, tmp_path):
    survey = tmp_path / "survey"
    command = ("simulate", "--survey", survey, "--objects", "150", "--jobs", "2", "--quiet")
    group = forge.start("get_Chen_data", *command, folder=survey, log=log)
    deadline = time.monotonic() + 120
    while not any(survey.glob("spectra/*/spec-*.fits")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(group, signal.SIGKILL)  # the parent, and not its group
    assert forge.end(log).status == -9
    try:
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
    except ProcessLookupError:
        return
    kill(group)
    pytest.fail("workers are still there")


def test_a_lock_that_a_killed_process_left_is_taken_over(tiny_survey):
    who = {"process": os.getpid(), "host": "elsewhere", "since": "2001-01-01 00:00:00", "command": "build"}
    tiny_survey.lock.write_text(json.dumps(who))
    with locks.survey_lock(tiny_survey):
        assert json.loads(tiny_survey.lock.read_text())["host"] != "elsewhere"
        with pytest.raises(LockError, match=f"process {os.getpid()} on "), locks.survey_lock(tiny_survey):
            pass
    assert not tiny_survey.lock.exists()
