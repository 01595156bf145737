"""Processes that run commands in forks of themselves; a small survey with its tables, and a model trained on it."""

import shutil
from pathlib import Path

import pytest
from killing import Forge, contents


@pytest.fixture(scope="session")
def forge():
    with Forge("get_Chen_data", "quasar_analysis") as started:
        yield started


@pytest.fixture(scope="session")
def network_forge():
    """The same for commands that need TensorFlow."""
    with Forge("training_job", "quasar_analysis", "keras") as started:
        yield started


@pytest.fixture(scope="session")
def built(_tiny_original, tmp_path_factory, forge) -> Path:
    """The tiny survey with its tables."""
    folder = shutil.copytree(_tiny_original, tmp_path_factory.mktemp("built") / "survey")
    command = ("build", "--survey", folder, "--step", "1e-3", "--jobs", "1", "--quiet")
    done = forge.run("get_Chen_data", *command, folder=folder, log=folder.with_suffix(".log"))
    assert done.status == 0, done.said
    return folder


@pytest.fixture(scope="session")
def work(built, network_forge) -> Path:
    """The folder of a training that was not disturbed: checkpoints, intermediate.h5, final.h5."""
    folder = built.parent / "work"
    done = network_forge.run("training_job", built, folder, folder=folder, log=built.parent / "work.log")
    assert done.status == 0, done.said
    return folder


@pytest.fixture(scope="session")
def model(work) -> Path:
    return work / "final.h5"


@pytest.fixture(scope="session")
def trained(work) -> dict[str, bytes]:
    return contents(work)
