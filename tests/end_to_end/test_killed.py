"""Killed at any moment, a command leaves whole files; the same command again ends as if nothing had happened."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from killing import HOME, Forge, Run, contents, unfinished

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import Survey
from quasar_mass.network.keras_io import model_file
from quasar_mass.tables import dataset

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

MOMENTS = 30  # of each command, in the long version
STEP = "1e-3"


@pytest.fixture
def fresh(tmp_path):
    return tmp_path / "at work"


@dataclass
class Trial:
    """A command, and the folder it is run in.

    Attributes
    ----------
    original : Path or None
        What the folder holds before; None: nothing, the command makes it.
    folder : Path
        Where a copy of it is put.
    module, arguments
        The command.
    between : callable
        Name and content to whether a file may look like this while the command is at it, beside how it looks before
        and after.
    check : callable
        Given the folder after every kill.
    """

    forge: Forge
    original: Path | None
    folder: Path
    module: str
    arguments: tuple
    between: Callable[[str, bytes], bool] = lambda name, content: False
    check: Callable[[Path], None] = lambda folder: None

    def __post_init__(self) -> None:
        self.log = self.folder.with_suffix(".log")
        self.put()
        self.before = contents(self.folder) if self.original else {}
        self.run()  # the first one finds all imports
        self.put()
        self.whole = self.run()
        self.after = contents(self.folder)
        assert not any(map(unfinished, self.after)), "a leftover of a run that nobody disturbed"

    def put(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.original:
            shutil.copytree(self.original, self.folder)

    def run(self, status: int = 0, **killing):
        done = self.forge.run(self.module, *self.arguments, folder=self.folder, log=self.log, **killing)
        assert status is None or done.status == status, done.said
        return done

    def killed(self, **killing) -> Run:
        """Run from the beginning, kill, look, run again, compare; what became of the first run."""
        self.put()
        done = self.run(status=None, **killing)
        assert done.status in (-9, 0), done.said
        for name, content in contents(self.folder).items() if self.folder.exists() else ():
            if not unfinished(name):
                known = content in (self.before.get(name), self.after.get(name))
                assert known or self.between(name, content), f"{name} is neither old nor new nor whole"
        left = contents(self.folder) if self.folder.exists() else {}
        for name, content in self.before.items():
            assert left.get(name) == self.after.get(name) or content in left.values(), f"{name} is lost"
        if self.folder.exists():
            self.check(self.folder)
        self.run()
        again = contents(self.folder)
        assert sorted(again) == sorted(self.after)
        assert again == self.after
        return done

    def before_each(self, changes) -> None:
        """Kill before each of these changes of files; counted from 1, negative ones from the end."""
        for number in changes:
            number = number if number > 0 else self.whole.changes + 1 + number
            assert self.killed(before=number).status == -9, f"no change {number}"

    def at_random(self, seed: int, moments: int = MOMENTS) -> None:
        """Kill so many times, each at a random moment of the time that the command takes."""
        rng, hit, tried, seconds = random.Random(seed), 0, 0, self.whole.seconds
        while hit < moments:
            tried += 1
            assert tried <= 4 * moments, "the command ends before it can be killed"
            done = self.killed(after=rng.uniform(0, seconds))
            if done.status:
                hit += 1
            else:
                seconds = done.seconds  # faster than it was: the machine has other work, or none now
        print(f"{self.module} {self.arguments[0]}: killed {hit} times, all ended alike ({tried} runs, seed {seed})")


# --- simulate -------------------------------------------------------------------------------------------------------
def incomplete_card(name: str, content: bytes) -> bool:
    return name == "survey.json" and json.loads(content)["complete"] is False


def never_the_sky(folder: Path) -> None:
    if any(not unfinished(name) for name in contents(folder)):
        assert Survey(folder).kind == "simulated"


def simulating(forge, fresh, *more) -> Trial:
    options = ("--survey", fresh, "--objects", "4", "--seed", "7", "--quiet", *(more or ("--jobs", "1")))
    return Trial(forge, None, fresh, "get_Chen_data", ("simulate", *options), incomplete_card, never_the_sky)


def test_simulate_killed_between_changes_of_files(forge, fresh):
    simulating(forge, fresh).before_each([4, 9, -16, -6, -2, -1])


@pytest.mark.slow
def test_simulate_killed_between_any_two_changes_of_files_and_at_random(forge, fresh):
    trial = simulating(forge, fresh)
    trial.before_each(range(1, trial.whole.changes + 1))
    trial.at_random(seed=1)


@pytest.mark.slow
def test_simulate_in_two_processes_killed_at_random(forge, fresh):
    options = ("--survey", fresh, "--objects", "66", "--seed", "7", "--quiet", "--jobs", "2")  # work for two
    trial = Trial(forge, None, fresh, "get_Chen_data", ("simulate", *options), incomplete_card, never_the_sky)
    trial.at_random(seed=2, moments=5)


# --- build ----------------------------------------------------------------------------------------------------------
def one_build_or_refused(folder: Path) -> None:
    """Old tables, new ones, or an error: never a mixed pair."""
    paths = [Survey(folder).spectra, Survey(folder).quasars]
    if not all(path.exists() for path in paths):
        return
    builds = {json.loads(pq.read_schema(path).metadata[b"quasar_mass"])["build"] for path in paths}
    if len(builds) == 1:
        assert len(dataset.load(Survey(folder)).flux)
    else:
        with pytest.raises(TableError, match="the same build"):
            dataset.load(Survey(folder))


def building(forge, tiny_survey, fresh, jobs: int = 1) -> Trial:
    """Over the tables of an earlier build, on another grid."""
    options = ("build", "--survey", tiny_survey.folder, "--step", "2e-3", "--jobs", "1", "--quiet")
    log = tiny_survey.folder.with_suffix(".log")
    assert forge.run("get_Chen_data", *options, folder=tiny_survey.folder, log=log).status == 0
    options = ("build", "--survey", fresh, "--step", STEP, "--jobs", jobs, "--quiet")
    return Trial(forge, tiny_survey.folder, fresh, "get_Chen_data", options, check=one_build_or_refused)


def test_build_killed_between_the_renames_of_its_tables(forge, tiny_survey, fresh):
    building(forge, tiny_survey, fresh).before_each([-9, -7, -6, -5, -1])


@pytest.mark.slow
def test_build_killed_between_any_two_changes_of_files(forge, tiny_survey, fresh):
    trial = building(forge, tiny_survey, fresh)
    trial.before_each(range(1, trial.whole.changes + 1))


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_build_killed_at_random(forge, tiny_survey, fresh, jobs):
    building(forge, tiny_survey, fresh, jobs).at_random(seed=10 + jobs)


@pytest.mark.slow
def test_a_first_build_killed_leaves_no_table_or_all(forge, tiny_survey, fresh):
    options = ("build", "--survey", fresh, "--step", STEP, "--jobs", "1", "--quiet")
    trial = Trial(forge, tiny_survey.folder, fresh, "get_Chen_data", options, check=one_build_or_refused)
    trial.before_each([-7, -6, -5, -1])


# --- convert --------------------------------------------------------------------------------------------------------
def write_reference(folder: Path) -> Path:
    """The reference's own two files, small, where a reader who downloads them may put them."""
    names = [f"{number:06d}.00+000000.0".encode() for number in range(12)]
    epochs = [f"{4000 + number}-56000-0001" for number in range(12)]
    mass = 8 + np.arange(12) / 10
    columns = {"ZVI": 1.6, "logMBH-Hb": 0.0, "logMBH-Ha-2": 0.0, "logMBH-MgII-2": mass, "logMBH-CIV-2": 0.0}
    columns |= {"LMBH": mass, "CHEN EPOCH": epochs, "Z": 1.6, "N_EPOCHS": 1}
    (folder / "bigger_data").mkdir(parents=True)
    quasars = pd.DataFrame(columns, index=pd.Index(names, name="OBJECT"))
    quasars.to_parquet(folder / "bigger_data" / "quasars.parquet")
    index = pd.MultiIndex.from_tuples(zip([*names, b"unknown"], [*epochs, "5000-56000-0001"], strict=True))
    index.names = ["OBJECT", "EPOCH"]
    grid = np.arange(3.159, 3.532, 1e-3)
    flux = np.random.default_rng(1).normal(500, 100, (13, len(grid)))
    wide = pd.DataFrame(flux, index=index, columns=[f"{value:.4f}" for value in grid])
    wide.to_parquet(folder / "bigger_data" / "spectra.parquet")
    return folder


def converting(forge, original: Path, fresh: Path, name: str) -> Trial:
    options = ("convert", fresh / "bigger_data" / name, "--survey", fresh, "--quiet")
    return Trial(forge, original, fresh, "get_Chen_data", options)


def converted_quasars(forge, tmp_path) -> Path:
    folder = write_reference(tmp_path / "reference")
    options = ("convert", folder / "bigger_data" / "quasars.parquet", "--survey", folder, "--quiet")
    assert forge.run("get_Chen_data", *options, folder=folder, log=tmp_path / "first.log").status == 0
    return folder


def test_convert_in_place_killed_between_any_two_changes_of_files(forge, tmp_path, fresh):
    trial = converting(forge, write_reference(tmp_path / "reference"), fresh, "quasars.parquet")
    trial.before_each(range(4, trial.whole.changes + 1))


def test_convert_of_spectra_in_place_killed_between_any_two_changes_of_files(forge, tmp_path, fresh):
    trial = converting(forge, converted_quasars(forge, tmp_path), fresh, "spectra.parquet")
    trial.before_each(range(1, trial.whole.changes + 1))
    assert len(dataset.load(Survey(fresh)).flux) == 12
    assert len(pd.read_parquet(Survey(fresh).rejects)) == 1


@pytest.mark.slow
def test_convert_killed_at_random(forge, tmp_path, fresh):
    converting(forge, converted_quasars(forge, tmp_path), fresh, "spectra.parquet").at_random(seed=20)


# --- training and prediction ----------------------------------------------------------------------------------------
def whole_model(name: str, content: bytes) -> bool:
    """A checkpoint of fewer training epochs, or a model without its calibration."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        about = json.loads(file.attrs[model_file.ATTRIBUTE])
        file["model_weights"].visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)
        whole = file.id.get_filesize() == len(content)
    return whole and ("checkpoint" not in about or 1 <= len(about["checkpoint"]["history"]) <= 3)


def training(network_forge, built, fresh) -> Trial:
    return Trial(network_forge, None, fresh, "training_job", (built, fresh), whole_model)


def test_training_killed_between_changes_of_files(network_forge, built, fresh):
    training(network_forge, built, fresh).before_each([-25])


@pytest.mark.slow
def test_training_killed_at_random(network_forge, built, fresh):
    training(network_forge, built, fresh).at_random(seed=30)


def predicting(network_forge, built, model, tmp_path, fresh, ending: str) -> Trial:
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / f"masses{ending}").write_text("of an earlier run\n")
    options = ("--survey", built, "--model", model, "--output", fresh / f"masses{ending}", "--quiet")
    return Trial(network_forge, tmp_path / "before", fresh, "quasar_analysis", ("predict", *options))


def test_predict_killed_between_changes_of_files(network_forge, built, model, tmp_path, fresh):
    predicting(network_forge, built, model, tmp_path, fresh, ".fits").before_each([-3, -1])


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".fits", ".parquet", ".ecsv", ".csv"])
def test_predict_killed_at_random(network_forge, built, model, tmp_path, fresh, ending):
    trial = predicting(network_forge, built, model, tmp_path, fresh, ending)
    trial.before_each(range(1, trial.whole.changes + 1))
    trial.at_random(seed=40, moments=MOMENTS if ending == ".fits" else 5)


# --- the notebook -----------------------------------------------------------------------------------------------------
FIRST = "checkpoints/intermediate-*-last.h5"  # what the notebook writes first


def start_notebook(survey: Path, base: Path) -> subprocess.Popen:
    """The notebook with two training epochs and one; all that it writes goes below `base`."""
    parameters = {"SURVEY": survey, "RESULTS": base / "results", "MODELS": base / "models"}
    parameters["CHECKPOINTS"] = base / "checkpoints"
    options = [str(part) for name, value in parameters.items() for part in ("-r", name, value)]
    options += ["-p", "INTERMEDIATE_EPOCHS", "2", "-p", "FINAL_EPOCHS", "1", "-k", "python3", "--no-progress-bar"]
    base.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "papermill", "Quasar_mass_ML.ipynb", str(base.parent / "executed.ipynb"), *options]
    return subprocess.Popen(command, cwd=HOME, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_all(process: subprocess.Popen) -> None:
    """Kill a process with all that it started: the notebook's kernel is in a session of its own."""
    import psutil

    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()


@pytest.mark.slow
def test_the_notebook_killed_while_it_trains_ends_with_the_same_models(forge, tmp_path):
    survey, base = tmp_path / "survey", tmp_path / "made"
    options = ("--survey", survey, "--quiet")
    for command in (("simulate", *options, "--objects", "80"), ("build", *options)):
        done = forge.run("get_Chen_data", *command, folder=survey, log=tmp_path / "log")
        assert done.status == 0, done.said

    def wait_for(process: subprocess.Popen, sign: str) -> None:
        while not any(base.glob(sign)):
            assert process.poll() is None, f"the notebook ended without {sign}"
            time.sleep(0.02)

    tables = contents(survey)
    process = start_notebook(survey, base)
    wait_for(process, FIRST)
    begin = time.monotonic()
    assert process.wait() == 0
    seconds, whole = time.monotonic() - begin, contents(base)

    def killed(sign: str, after: float) -> bool:
        """Kill so many seconds after a file is there, run again, compare; whether it was at work."""
        shutil.rmtree(base)
        process = start_notebook(survey, base)
        wait_for(process, sign)
        time.sleep(after)
        at_work = process.poll() is None
        if at_work:
            kill_all(process)
            for name, content in contents(base).items():
                if not unfinished(name) and content != whole.get(name):
                    assert name.endswith(".h5"), f"{name} is not whole"
                    assert whole_model(name, content)
            assert start_notebook(survey, base).wait() == 0
        again = contents(base)
        assert sorted(again) == sorted(whole)
        assert [name for name in whole if again[name] != whole[name]] == []
        assert contents(survey) == tables
        return at_work

    assert killed(FIRST, 0.0)
    assert killed("models/Best_ANN_intermediate_stage.h5", 0.0)
    rng, hit = random.Random(50), 2
    for _ in range(4 * MOMENTS):
        hit += killed(FIRST, rng.uniform(0.0, seconds))
        print(f"the notebook: killed {hit} times, all ended alike", flush=True)
        if hit == MOMENTS:
            return
    pytest.fail("the notebook ends before it can be killed")
