"""Killed at any moment, a command leaves whole files; the same command again ends as if nothing had happened."""

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from killing import Forge, Run, contents, unfinished

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import Survey
from quasar_mass.network.keras_io import model_file
from quasar_mass.tables import dataset

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


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

    def run(self, status: int = 0, **more) -> Run:
        options = {"folder": self.folder, "log": self.folder.with_suffix(".log")}
        done = self.forge.run(self.module, *self.arguments, **options, **more)
        assert done.status == status, done.said
        return done

    def put(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.original:
            shutil.copytree(self.original, self.folder)

    def kill(self, moments: list[int] | str) -> None:
        """Kill before these changes of files (negative ones from the end), or before "each"."""
        self.put()
        self.before = contents(self.folder) if self.original else {}
        self.run()  # the first one imports what the command needs
        self.put()
        whole = self.run()
        self.after = contents(self.folder)
        assert not any(map(unfinished, self.after)), "a leftover of a run that was not disturbed"
        for number in range(1, whole.changes + 1) if moments == "each" else moments:
            self._kill_once(number if number > 0 else whole.changes + 1 + number)

    def _kill_once(self, number: int) -> None:
        """Run from the beginning, kill before a change, look, run again, compare."""
        self.put()
        self.run(status=-9, before=number)
        left = contents(self.folder) if self.folder.exists() else {}
        for name, content in left.items():
            if not unfinished(name):
                known = content in (self.before.get(name), self.after.get(name))
                assert known or self.between(name, content), f"{name} is neither old nor new nor whole"
        for name, content in self.before.items():
            assert left.get(name) == self.after.get(name) or content in left.values(), f"{name} is lost"
        if self.folder.exists():
            self.check(self.folder)
        self.run()
        again = contents(self.folder)
        assert sorted(again) == sorted(self.after)
        assert again == self.after


def killed(*some: int):
    """Parametrize a test by when the command is killed: at a few moments in daily use, at each in the long version."""
    each = pytest.param("each", marks=pytest.mark.slow)
    return pytest.mark.parametrize("moments", [list(some), each], ids=["a few", "each"])


# --- simulate -------------------------------------------------------------------------------------------------------
def incomplete_card(name: str, content: bytes) -> bool:
    return name == "survey.json" and json.loads(content)["complete"] is False


def is_simulated(folder: Path) -> None:
    if any(not unfinished(name) for name in contents(folder)):
        assert Survey(folder).kind == "simulated"


@killed(9, -16, -2)
def test_simulate(forge, fresh, moments):
    options = ("--survey", fresh, "--objects", "4", "--seed", "7", "--quiet", "--jobs", "1")
    Trial(forge, None, fresh, "get_Chen_data", ("simulate", *options), incomplete_card, is_simulated).kill(moments)


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
        with pytest.raises(TableError, match="build"):
            dataset.load(Survey(folder))


@killed(-6, -5, -4, -3, -2)  # among them between the renames of its tables
def test_build(forge, tiny_survey, fresh, moments):
    """Over the tables of an earlier build, on another grid."""
    original = tiny_survey.folder
    options = ("--jobs", "1", "--quiet", "--step")
    first = forge.run(
        "get_Chen_data", "build", "--survey", original, *options, "2e-3", folder=original, log=fresh.with_suffix(".log")
    )
    assert first.status == 0, first.said
    command = ("build", "--survey", fresh, *options, "1e-3")
    Trial(forge, original, fresh, "get_Chen_data", command, check=one_build_or_refused).kill(moments)


# --- convert --------------------------------------------------------------------------------------------------------
# --- training and prediction ----------------------------------------------------------------------------------------
def whole_model(name: str, content: bytes) -> bool:
    """A checkpoint of fewer training epochs, or a model without its calibration."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        about = json.loads(file.attrs[model_file.ATTRIBUTE])
        file["model_weights"].visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)
        whole = file.id.get_filesize() == len(content)
    return whole and ("checkpoint" not in about or 1 <= len(about["checkpoint"]["history"]) <= 3)


@killed(-25)
def test_training(network_forge, built, fresh, moments):
    Trial(network_forge, None, fresh, "training_job", (built, fresh), whole_model).kill(moments)


@killed(-3, -1)
def test_predict(network_forge, built, model, tmp_path, fresh, moments):
    before = tmp_path / "before"
    before.mkdir()
    (before / "masses.fits").write_text("of an earlier run\n")
    options = ("--survey", built, "--model", model, "--output", fresh / "masses.fits", "--quiet")
    Trial(network_forge, before, fresh, "quasar_analysis", ("predict", *options)).kill(moments)
