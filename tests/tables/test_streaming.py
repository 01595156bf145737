"""Training from disk: the same bits as in memory, little memory, and no file left behind."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.errors import FileError, ModelError, TableError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network import backend
from quasar_mass.network.architecture import Stage
from quasar_mass.network.augmentation import AugmentedSource
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_file
from quasar_mass.tables import dataset, schemas, survey_tables
from quasar_mass.tables.scratch_array import ScratchArray, ScratchFile

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

HOME = Path(__file__).resolve().parent.parent.parent
GRID = Grid(1e-2)
N = 1500  # more than a row group
ONE = (Stage("one", 1e-2, 2),)


def write_survey(folder: Path, n: int = N) -> Survey:
    """Two tables with random fluxes, some masses in them."""
    survey, rng = Survey(folder), np.random.default_rng(5)
    objects = [f"object {number:05d}" for number in range(n)]
    flux = rng.random((n, GRID.size), dtype=np.float32)
    quasars = pd.DataFrame(index=pd.Index(objects, name="OBJECT"), columns=list(schemas.QUASAR_COLUMNS), dtype=float)
    quasars = quasars.assign(LMBH=8.5 + flux.mean(axis=1), N_EPOCHS=1, LABEL_LINE="MgII", Z=1.5)
    quasars["CHEN EPOCH"] = [f"4000-56000-{number:04d}" for number in range(n)]
    quasars["SPLIT"] = dataset.split_objects(quasars["N_EPOCHS"])
    about = {"kind": "sdss", "grid": survey_tables.describe_grid(GRID), "build": "b" * 40, "survey": {"kind": "sdss"}}
    about |= {
        "flux_unit": schemas.FLUX_UNIT,
        "cosmology": "Planck15",
        "extinction_corrected": True,
        "split_seed": 42,
    }
    survey_tables.write_quasars(survey.quasars, quasars, about)
    columns = {
        "OBJECT": objects,
        "EPOCH": [f"{4000 + number // 1000}-56000-{number % 1000:04d}" for number in range(n)],
        "LABEL_EPOCH": [True] * n,
        "Z": [1.5] * n,
        "SN": [5.0] * n,
        "N_BAD": [0] * n,
        "EBV": [0.02] * n,
        "RUN2D": ["v5_13_0"] * n,
        "FLAGS": [""] * n,
        "flux": flux,
    }
    survey_tables.write_spectra(survey.spectra, [columns], GRID, lambda: about)
    return survey


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Survey:
    return write_survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def memory(survey):
    return dataset.load(survey)


@pytest.fixture
def disk(survey):
    return dataset.stream(survey)


def network(pixels: int = GRID.size) -> EasyAI:
    k = backend.import_keras().layers
    layers = [k.Conv1D(3, 3, name="conv"), k.BatchNormalization(name="norm"), k.Flatten(name="flat")]
    return EasyAI([*layers, k.Dense(1, name="mass")], (pixels, 1), seed=3)


def train(ann, data, **options):
    wanted = {"stages": ONE, "batch_size": 32, "quiet": True} | options
    return ann.train(data.part("training"), data.part("validation"), **wanted)


def same(a: EasyAI, b: EasyAI) -> bool:
    return all(map(np.array_equal, a.model.get_weights(), b.model.get_weights()))


def test_a_streamed_survey_is_the_survey(memory, disk):
    assert isinstance(disk.flux, ScratchArray)
    assert disk.spectra.equals(memory.spectra)
    assert disk.quasars.equals(memory.quasars)
    for split in ("training", "validation", "test"):
        (on_disk, label), (in_memory, wanted) = disk.part(split), memory.part(split)
        assert label.equals(wanted)
        assert on_disk.shape == in_memory.shape
        assert on_disk.dtype == in_memory.dtype
        order = np.random.default_rng(0).permutation(len(label))
        mask = order % 3 == 0
        for rows in (order, order[:0], np.array([5, 6, 7, 3, 2, 2]), mask, slice(3, 50), slice(1000, None)):
            assert np.array_equal(on_disk[rows], in_memory[rows])


def test_streamed_training_gives_the_same_bits(memory, disk):
    one, other = network(), network()
    assert train(one, memory).equals(train(other, disk))
    assert same(one, other)
    assert one.evaluate(memory.part("test")) == other.evaluate(disk.part("test"))


def test_a_training_begun_in_memory_goes_on_streamed(memory, disk, tmp_path, capsys):
    straight, begun = network(), network()
    train(straight, memory)
    write = model_file.save

    def stop_in_the_second(model, path, about, **how):
        if len(about["checkpoint"]["history"]) == 2:
            raise KeyboardInterrupt
        return write(model, path, about, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_file, "save", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            train(begun, memory, checkpoints=tmp_path)
    resumed = network()
    train(resumed, disk, checkpoints=tmp_path, quiet=False)
    assert "the first 1 training epochs taken from" in capsys.readouterr().out
    assert same(straight, resumed)


def test_spectra_on_disk_are_varied_alike(memory, disk):
    rows = np.array([7, 3, 4, 900])
    one, other = AugmentedSource(*memory.part("training")), AugmentedSource(*disk.part("training"))
    assert one.digest() == other.digest()
    for left, right in zip(*(source.take(rows, np.random.default_rng(1)) for source in (one, other)), strict=True):
        assert np.array_equal(left, right)


def test_a_network_for_another_grid_refuses_them(disk):
    with pytest.raises(ModelError, match=r"the training set: expected shape \(n, 12, 1\).*got \(1050, 38, 1\)"):
        train(network(12), disk)


def test_bad_tables_are_refused_as_in_memory(tmp_path):
    survey = write_survey(tmp_path, 20)
    about = survey_tables.read_about(survey.spectra)
    frame, flux = next(survey_tables.iterate_spectra(survey.spectra))
    flux = flux.copy()
    flux[7, 3] = np.nan
    batch = {name: frame[name].tolist() for name in frame} | {"flux": flux}
    survey_tables.write_spectra(survey.spectra, [batch], GRID, lambda: about)
    with pytest.raises(TableError, match="4000-56000-0007: has a flux that is not finite"):
        dataset.stream(survey)


def test_the_scratch_file_has_no_name_and_goes_with_the_data(survey, tmp_path):
    data = dataset.stream(survey, scratch=tmp_path)
    spectra, _ = data.part("test")
    assert list(tmp_path.iterdir()) == []
    scratch = spectra._scratch._file
    del data
    gc.collect()
    assert spectra[:3].shape == (3, GRID.size, 1), "a part keeps the file"
    del spectra
    gc.collect()
    assert scratch.closed


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_leaves_nothing(survey, tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from quasar_mass.tables import dataset
from quasar_mass.core.survey import Survey
data = dataset.stream(Survey(Path(sys.argv[1])), scratch=Path(sys.argv[2]))
assert data.flux[:1].shape == (1, 38, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, survey.spectra.parent.parent, tmp_path], cwd=HOME, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_file_that_cannot_be_created_is_one_sentence(survey, tmp_path):
    with pytest.raises(FileError, match=r"file in .*nowhere: cannot be created \(No such file .*scratch="):
        dataset.stream(survey, scratch=tmp_path / "nowhere")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_is_one_sentence(tmp_path):
    scratch = ScratchFile(tmp_path, 4)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, scratch._file.fileno())
    os.close(full)
    with pytest.raises(FileError, match=r"cannot hold all spectra \(No space left on device\); name another"):
        scratch.append(np.zeros((2, 4)))


# What a table of some size adds to this process's peak, read to its last row by a digest and in shuffled batches.
GROWTH = """
import sys
from pathlib import Path
import numpy as np
from quasar_mass.tables import dataset
from quasar_mass.network.batches import Arrays
from quasar_mass.core.survey import Survey
small, big = (Survey(Path(folder)) for folder in sys.argv[2:])
def touch(survey):
    X, y = getattr(dataset, sys.argv[1])(survey).part("training")
    source = Arrays(X, y.to_numpy())
    source.digest()
    order = np.random.default_rng(0).permutation(len(source))
    for start in range(0, len(order), 32):
        source.take(order[start : start + 32], None)
def peak():  # not ru_maxrss: that of a child process begins with its parent's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
touch(small)
before = peak()
touch(big)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's peak of resident memory")
def test_memory_does_not_grow_with_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "GRID", Grid(1e-4))
    folders = [tmp_path / "small", tmp_path / "big"]
    for folder, n in zip(folders, (6000, 16_000), strict=True):
        write_survey(folder, n)
    # Arrow's allocator holds on to more or less, as its threads happen to run: one thread.
    steady = os.environ | {"OMP_NUM_THREADS": "1"}
    grown = {}
    for how in ("load", "stream"):
        command = [sys.executable, "-c", GROWTH, how, *map(str, folders)]
        done = subprocess.run(command, cwd=HOME, env=steady, capture_output=True, text=True, check=True)
        grown[how] = int(done.stdout) / 1024
    added = 10_000 * Grid(1e-4).size * 4 / 2**20  # MB
    assert grown["load"] > 0.9 * added, grown
    assert grown["stream"] < 0.3 * added, grown
