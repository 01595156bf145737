"""Build, simulate and predict on a Dask cluster: a scheduler and workers in processes of their own, on loopback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from quasar_mass.core import cluster
from quasar_mass.core.errors import ClusterError, ModelError, SurveyError
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import Survey
from quasar_mass.predict import mass_table
from quasar_mass.simulation import simulated_survey
from quasar_mass.simulation.simulated_survey import simulate
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build import partitions
from quasar_mass.tables.build import pipeline as building
from quasar_mass.tables.build.pipeline import build

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

HOME = Path(__file__).resolve().parents[2]
STEP = 1e-3


def until(condition, what: str):
    """Wait until something has come about; a minute is for ever."""
    for _ in range(600):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


@contextmanager
def process(*arguments, home: Path = HOME):
    """Run a Dask process, in the folder whose code it is to know."""
    command = [sys.executable, "-m", "dask", *map(str, arguments), "--host", "127.0.0.1", "--no-dashboard"]
    running = subprocess.Popen(
        command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextmanager
def schedule(folder: Path):
    """Run a scheduler, and give its address."""
    card = folder / "scheduler.json"

    def address() -> str:
        try:
            return json.loads(card.read_text())["address"]
        except (OSError, ValueError):  # not there yet, or not whole
            return ""

    with process("scheduler", "--port", "0", "--scheduler-file", card, home=folder):
        yield until(address, "a scheduler")


@contextmanager
def worker(address: str, folder: Path, home: Path = HOME):
    once = ("--no-nanny", "--nthreads", "1", "--local-directory", folder)
    with process("worker", address, *once, home=home) as running:
        yield running


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler without workers."""
    with schedule(tmp_path_factory.mktemp("scheduler")) as address:  # a folder where our code is not
        yield address


@pytest.fixture(scope="module")
def address(scheduler, tmp_path_factory):
    """The address of a scheduler with two workers."""
    folder = tmp_path_factory.mktemp("workers")
    with worker(scheduler, folder), worker(scheduler, folder):
        until(lambda: len(names_of_workers(scheduler)) == 2, "two workers")
        yield scheduler


def names_of_workers(address: str) -> list[str]:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        return sorted(client.nthreads())


@pytest.fixture
def small(monkeypatch):
    """Shares so small that a tiny survey makes many."""
    monkeypatch.setattr(building, "_CLUSTER_CHUNK", 2)
    monkeypatch.setattr(partitions, "PART_ROWS", 5)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_on_a_cluster_has_the_rows_of_the_local_one_in_parts(tiny_survey, address, small):
    make_missing = next(tiny_survey.folder.glob("spectra/10003/*.fits"))
    make_missing.unlink()
    here = build(tiny_survey, step=STEP, quiet=True)
    local = content(tiny_survey.quasars.parent)
    whole = pq.read_table(tiny_survey.spectra)
    there = build(tiny_survey, step=STEP, jobs=address, quiet=True)
    assert there == here
    built = content(tiny_survey.quasars.parent)
    names = [f"spectra.parquet/part-{n:05d}.parquet" for n in range(4)]
    assert set(built) == {"DR16Q_v4.fits", "quasars.parquet", "rejects.parquet", *names}  # and nothing is left over
    assert all(built[name] == local[name] for name in ("quasars.parquet", "rejects.parquet"))
    # as other programs read it
    found = pyarrow.dataset.dataset(tiny_survey.spectra)
    assert found.to_table().equals(whole, check_metadata=True)
    assert found.schema.metadata[b"quasar_mass"] == whole.schema.metadata[b"quasar_mass"]
    assert len(pd.read_parquet(tiny_survey.spectra)) == 17
    # and as this one does: evaluate, predict and train stand on this
    assert survey_tables.count_spectra(tiny_survey.spectra) == 17
    np.testing.assert_array_equal(
        dataset.load(tiny_survey).flux, np.stack(whole.column("flux").to_numpy(zero_copy_only=False))
    )
    # the same again, over itself; and a local build takes its place
    build(tiny_survey, step=STEP, jobs=address, quiet=True)
    assert content(tiny_survey.quasars.parent) == built
    build(tiny_survey, step=STEP, quiet=True)
    assert content(tiny_survey.quasars.parent) == local


def test_a_worker_that_is_killed_at_its_work_leaves_no_trace(tiny_survey, address, small, tmp_path):
    build(tiny_survey, step=STEP, jobs=address, quiet=True)
    expected = content(tiny_survey.quasars.parent)
    shutil.rmtree(tiny_survey.spectra)
    before = names_of_workers(address)
    with worker(address, tmp_path) as victim:
        until(lambda: len(names_of_workers(address)) > len(before), "a third worker")
        victim.send_signal(signal.SIGSTOP)  # what it is given now it has when it dies
        options = {"step": STEP, "jobs": address, "quiet": True}
        running = threading.Thread(target=build, args=(tiny_survey,), kwargs=options)
        running.start()
        kept = tiny_survey.quasars.parent
        until(lambda: len(list(kept.glob(".spectra.*.partial/kept/*.arrow"))) >= 5, "the work of the others")
        assert running.is_alive()
        victim.kill()
        running.join()
    assert content(tiny_survey.quasars.parent) == expected


def test_a_survey_simulated_on_a_cluster_is_the_same_bytes(address, tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_survey, "CHUNK_SPECTRA", 3)
    about = simulate(Survey(tmp_path / "there"), objects=8, seed=5, jobs=address, quiet=True)
    assert about == simulate(Survey(tmp_path / "here"), objects=8, seed=5, quiet=True)
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_masses_predicted_on_a_cluster_are_the_same_bytes(tiny_survey, address, small, tmp_path, monkeypatch):
    from quasar_mass.network import backend
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.predict.calibrate import calibrate_file
    from quasar_mass.predict.predictor import Predictor

    build(tiny_survey, step=STEP, quiet=True)
    data = dataset.load(tiny_survey)
    layers = backend.import_keras().layers
    hidden = [layers.Flatten(), layers.Dense(6, activation="tanh"), layers.Dense(1)]
    about = dataset.describe(data.about, data.quasars, data.spectra)
    EasyAI(hidden, (data.grid.size, 1), seed=1).save(tmp_path / "network.h5", about=about)
    calibrate_file([tmp_path / "network.h5"], tiny_survey, quiet=True)
    quoter = Predictor.load(tmp_path / "network.h5", confidence=0.5)
    files = sorted(tiny_survey.folder.glob("spectra/*/*.fits"))
    readable = files[3].read_bytes()
    files[3].write_bytes(b"not a spectrum")
    monkeypatch.setattr(mass_table, "BATCH", 7)

    def masses(predict, where, per_object: bool, **options) -> bytes:
        table = predict(where, quoter, per_object=per_object, quiet=True, **options)
        mass_table.write(table, tmp_path / "masses.ecsv", {})
        return (tmp_path / "masses.ecsv").read_bytes()

    of_survey = (mass_table.predict_survey, tiny_survey)
    of_files = (mass_table.predict_files, files)
    asked = [(*of_survey, False), (*of_survey, True), (*of_files, False)]
    here = [masses(*one) for one in asked]
    assert b"unreadable" in here[2]
    assert [masses(*one, jobs=address) for one in asked] == here
    files[3].write_bytes(readable)
    build(tiny_survey, step=STEP, jobs=address, quiet=True)  # the same spectra, in parts
    assert [masses(*one, jobs=address) for one in asked[:2]] == here[:2]
    assert masses(*asked[0]) == here[0]
    with pytest.raises(ModelError, match="network of this process alone"):
        mass_table.predict_files(files, EasyAI.load(tmp_path / "network.h5"), jobs=address, quiet=True)


def shell(*arguments, where: Path = HOME) -> str:
    """Run a command that must fail, and give its one sentence."""
    command = [sys.executable, HOME / arguments[0], *map(str, arguments[1:])]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_nobody_at_the_address_is_one_sentence(tiny_survey, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        said = shell("get_Chen_data.py", "build", "--survey", tiny_survey.folder, "--scheduler", address, "--quiet")
    assert "expected a Dask scheduler at this address" in said
    assert os.listdir(tiny_survey.quasars.parent) == ["DR16Q_v4.fits"]


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a name that differs from process to process")
def test_a_worker_that_does_not_see_the_survey_is_said_and_rejects_nothing(tiny_survey, address):
    """What /proc/self/cwd is, is another folder for the worker: as a disk that is not shared."""
    above = tiny_survey.folder.parent
    alone = Path("/proc/self/cwd") / tiny_survey.folder.name
    for command in ("build", "simulate"):
        folder = alone if command == "build" else alone.with_name("new")
        said = shell("get_Chen_data.py", command, "--survey", folder, "--scheduler", address, "--quiet", where=above)
        assert "as this machine does, got no such file there" in said
    # the catalogues are seen, the spectra are not
    spectra = tiny_survey.folder / "spectra"
    spectra.rename(above / "spectra")
    spectra.symlink_to("/proc/self/cwd/spectra")
    folder = tiny_survey.folder
    said = shell("get_Chen_data.py", "build", "--survey", folder, "--scheduler", address, "--quiet", where=above)
    assert "expected a file that all workers see" in said
    assert os.listdir(tiny_survey.quasars.parent) == ["DR16Q_v4.fits"]


def test_an_error_in_a_worker_s_share_is_the_command_s_and_leaves_nothing(tiny_survey, address, small, make):
    path = make.spec_path(tiny_survey.folder, make.tiny[2][0])
    make.spec(path, spectrum=make.tiny[2][0], z=make.tiny_redshift[2], simulated=True)
    with pytest.raises(SurveyError, match="is a simulated spectrum"):
        build(tiny_survey, step=STEP, jobs=address, quiet=True)
    assert os.listdir(tiny_survey.quasars.parent) == ["DR16Q_v4.fits"]


def test_only_a_few_tasks_are_under_way_at_a_time(address, tmp_path):
    made = ordered_map(Path.touch, [(tmp_path / f"{n:03d}",) for n in range(100)], address)
    next(made)
    time.sleep(1.0)  # for all that will be done without being asked for
    assert 1 <= len(list(tmp_path.iterdir())) <= 6
    made.close()
    assert list(ordered_map(divmod, [(n, 3) for n in range(30)], address)) == [divmod(n, 3) for n in range(30)]


@pytest.mark.slow
def test_another_code_or_no_code_at_a_worker_is_said(tmp_path):
    shutil.copytree(HOME / "quasar_mass", tmp_path / "old" / "quasar_mass")
    with (tmp_path / "old" / "quasar_mass" / "core" / "survey.py").open("a") as file:
        file.write("# an older one\n")
    (tmp_path / "none").mkdir()
    for name, words in (("old", "expected quasar_mass [0-9a-f]{12}, as here, got"), ("none", "No module named")):
        with (
            schedule(tmp_path / name) as address,
            worker(address, tmp_path, tmp_path / name),
            pytest.raises(ClusterError, match=words),
        ):
            list(ordered_map(divmod, [(7, 3)], address))


@pytest.mark.slow
def test_no_workers_and_work_that_kills_them_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ALONE", 5.0)
    with schedule(tmp_path) as address:
        with pytest.raises(ClusterError, match="expected a worker at least, got none"):
            list(ordered_map(divmod, [(7, 3)], address))
        monkeypatch.setattr(cluster, "ALONE", 60.0)
        with (
            process("worker", address, "--nworkers", "2", "--nthreads", "1", "--local-directory", tmp_path),
            pytest.raises(ClusterError, match="expected to live through a share of the work, got the sudden end of 4"),
        ):
            list(ordered_map(os._exit, [(3,)], address))
