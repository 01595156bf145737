"""Build, simulate and predict on a Dask cluster: a scheduler and workers in processes of their own, on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import get_Chen_data
from quasar_mass.core import cluster
from quasar_mass.core.errors import ClusterError
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import HOME, Survey
from quasar_mass.predict import mass_table
from quasar_mass.simulation import simulated_survey
from quasar_mass.simulation.simulated_survey import simulate
from quasar_mass.tables import dataset
from quasar_mass.tables.build import partitions, pipeline
from quasar_mass.tables.build.pipeline import build

STEP = 1e-3


def until(condition, what: str):
    """Wait a minute at most until something is the case."""
    for _ in range(600):
        if result := condition():
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


@contextmanager
def process(*arguments, home: Path = HOME):
    """Run a Dask process in the folder whose code it is to import."""
    command = [sys.executable, "-m", "dask", *map(str, arguments), "--host", "127.0.0.1", "--no-dashboard"]
    null = subprocess.DEVNULL
    running = subprocess.Popen(command, cwd=home, stdin=null, stdout=null, stderr=null)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextmanager
def scheduler(folder: Path):
    """Run a scheduler without workers, and give its address."""
    card = folder / "scheduler.json"

    def address() -> str:
        try:
            return json.loads(card.read_text())["address"]
        except (OSError, ValueError):  # not there yet, or not whole
            return ""

    with process("scheduler", "--port", "0", "--scheduler-file", card):
        yield until(address, "a scheduler")


def worker(address: str, folder: Path, home: Path = HOME):
    return process("worker", address, "--no-nanny", "--nthreads", "1", "--local-directory", folder, home=home)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a scheduler with two workers."""
    folder = tmp_path_factory.mktemp("cluster")
    with scheduler(folder) as started, worker(started, folder), worker(started, folder):
        until(lambda: n_workers(started) == 2, "two workers")
        yield started


def n_workers(address: str) -> int:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        return len(client.nthreads())


@pytest.fixture
def small(monkeypatch):
    """Tasks so small that a tiny survey makes many."""
    monkeypatch.setattr(pipeline, "_CLUSTER_CHUNK", 2)
    monkeypatch.setattr(partitions, "PART_ROWS", 5)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_build_on_a_cluster_has_the_rows_of_the_local_one_in_parts(tiny_survey, address, small):
    next(tiny_survey.folder.glob("spectra/10003/*.fits")).unlink()
    here = build(tiny_survey, step=STEP, quiet=True)
    local = content(tiny_survey.quasars.parent)
    whole = pq.read_table(tiny_survey.spectra)
    assert build(tiny_survey, step=STEP, jobs=address, quiet=True) == here
    built = content(tiny_survey.quasars.parent)
    parts = [f"spectra.parquet/part-{n:05d}.parquet" for n in range(4)]
    assert set(built) == {"DR16Q_v4.fits", "quasars.parquet", "rejects.parquet", *parts}  # and nothing is left over
    assert all(built[name] == local[name] for name in ("quasars.parquet", "rejects.parquet"))
    assert pq.read_table(tiny_survey.spectra).equals(whole, check_metadata=True)
    assert len(pd.read_parquet(tiny_survey.spectra)) == 17
    flux = np.stack(whole.column("flux").to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(dataset.load(tiny_survey).flux, flux)
    # a local build replaces the folder
    build(tiny_survey, step=STEP, quiet=True)
    assert content(tiny_survey.quasars.parent) == local


@pytest.mark.slow
def test_a_worker_that_is_killed_at_its_work_costs_nothing(tiny_survey, address, small, tmp_path):
    build(tiny_survey, step=STEP, jobs=address, quiet=True)
    expected = content(tiny_survey.quasars.parent)
    shutil.rmtree(tiny_survey.spectra)
    with worker(address, tmp_path) as victim:
        until(lambda: n_workers(address) == 3, "a third worker")
        victim.send_signal(signal.SIGSTOP)  # so that it dies with what it is given now
        options = {"step": STEP, "jobs": address, "quiet": True}
        running = threading.Thread(target=build, args=(tiny_survey,), kwargs=options)
        running.start()
        kept = tiny_survey.quasars.parent
        until(lambda: len(list(kept.glob(".spectra.*.partial/kept/*.arrow"))) >= 5, "the work of the others")
        assert running.is_alive()
        victim.kill()
        running.join()
    assert content(tiny_survey.quasars.parent) == expected


@pytest.mark.slow
def test_a_survey_simulated_on_a_cluster_is_the_same_bytes(address, tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_survey, "CHUNK_SPECTRA", 3)
    about = simulate(Survey(tmp_path / "there"), objects=8, seed=5, jobs=address, quiet=True)
    assert about == simulate(Survey(tmp_path / "here"), objects=8, seed=5, quiet=True)
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_masses_predicted_on_a_cluster_are_the_same(built, model, address, tmp_path, monkeypatch):
    from quasar_mass.predict.predictor import Predictor

    monkeypatch.setattr(mass_table, "BATCH", 7)
    monkeypatch.setattr(mass_table, "FILES", 7)
    survey = Survey(shutil.copytree(built, tmp_path / "survey"))
    predictor = Predictor.load(model, confidence=0.5)
    files = sorted(survey.folder.glob("spectra/*/*.fits"))
    files[3].write_bytes(b"not a spectrum")
    for predict, what, per_object in (
        (mass_table.predict_survey, survey, False),
        (mass_table.predict_survey, survey, True),
        (mass_table.predict_files, files, False),
    ):
        here, there = (predict(what, predictor, per_object=per_object, jobs=jobs, quiet=True) for jobs in (1, address))
        pd.testing.assert_frame_equal(there, here, check_exact=True)
    assert "unreadable" in here["REASON"].iloc[3]


def test_nobody_at_the_address_is_one_sentence(tiny_survey, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", 1.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()  # and never answers
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        command = ["build", "--survey", str(tiny_survey.folder), "--scheduler", address, "--quiet"]
        assert get_Chen_data.main(command) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is not the address of a Dask scheduler: no answer" in said
    assert os.listdir(tiny_survey.quasars.parent) == ["DR16Q_v4.fits"]


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs a name that differs from process to process")
def test_a_worker_that_does_not_see_the_survey_is_an_error(tiny_survey, address, monkeypatch):
    """/proc/self/cwd is another folder for the worker, as a disk would be that is not shared."""
    monkeypatch.chdir(tiny_survey.folder.parent)
    with pytest.raises(ClusterError, match=r"sees another .*apjsab41fet1_mrt\.txt than this machine, or none"):
        build(Survey("/proc/self/cwd/survey"), step=STEP, jobs=address, quiet=True)
    assert os.listdir(tiny_survey.quasars.parent) == ["DR16Q_v4.fits"]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "said"), [("old", "has quasar_mass [0-9a-f]{12} instead of"), ("none", "lacks this")])
def test_another_code_or_no_code_at_a_worker_is_an_error(tmp_path, code, said):
    home = tmp_path / "home"
    home.mkdir()
    if code == "old":
        shutil.copytree(HOME / "quasar_mass", home / "quasar_mass")
        with (home / "quasar_mass" / "core" / "survey.py").open("a") as file:
            file.write("# an older one\n")
    with scheduler(tmp_path) as address, worker(address, tmp_path, home), pytest.raises(ClusterError, match=said):
        list(ordered_map(divmod, [(7, 3)], address))


@pytest.mark.slow
def test_no_workers_and_work_that_kills_them_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "WORKER_TIMEOUT", 5.0)
    with scheduler(tmp_path) as address:
        with pytest.raises(ClusterError, match="has had no worker for 5 seconds"):
            list(ordered_map(divmod, [(7, 3)], address))
        monkeypatch.setattr(cluster, "WORKER_TIMEOUT", 60.0)
        with (
            process("worker", address, "--nworkers", "2", "--nthreads", "1", "--local-directory", tmp_path),
            pytest.raises(ClusterError, match="4 of them died at the same task"),
        ):
            list(ordered_map(os._exit, [(3,)], address))
