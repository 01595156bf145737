"""Training from disk: the same bits as in memory, little memory, and no file left behind."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import random_tables

from quasar_mass.core.errors import FileError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network import backend
from quasar_mass.network.architecture import Stage
from quasar_mass.network.easyai import EasyAI
from quasar_mass.tables import dataset
from quasar_mass.tables.scratch_array import ScratchArray, ScratchFile

GRID = Grid(1e-2)
N = 1500  # more than a row group


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Survey:
    return random_tables.write_survey(Survey(tmp_path_factory.mktemp("survey")), N, GRID)


@pytest.fixture(scope="module")
def memory(survey):
    return dataset.load(survey)


@pytest.fixture
def disk(survey):
    return dataset.stream(survey)


def trained(data) -> tuple:
    """A small network trained on a data set, and its history."""
    k = backend.import_keras().layers
    ann = EasyAI([k.Conv1D(3, 3), k.BatchNormalization(), k.Flatten(), k.Dense(1)], (GRID.size, 1), seed=3)
    stages = (Stage("one", 1e-2, 2),)
    return ann, ann.train(data.part("training"), data.part("validation"), stages=stages, batch_size=32, quiet=True)


def test_a_streamed_survey_is_the_survey(memory, disk):
    assert isinstance(disk.flux, ScratchArray)
    assert disk.spectra.equals(memory.spectra)
    assert disk.quasars.equals(memory.quasars)
    for split in ("training", "validation", "test"):
        (on_disk, label), (in_memory, expected) = disk.part(split), memory.part(split)
        assert label.equals(expected)
        assert on_disk.shape == in_memory.shape
        assert on_disk.dtype == in_memory.dtype
        order = np.random.default_rng(0).permutation(len(label))
        mask = order % 3 == 0
        for rows in (order, order[:0], np.array([5, 6, 7, 3, 2, 2]), mask, slice(3, 50), slice(1000, None)):
            assert np.array_equal(on_disk[rows], in_memory[rows])


def test_streamed_training_gives_the_same_bits(memory, disk):
    (loaded, history), (streamed, same_history) = trained(memory), trained(disk)
    assert history.equals(same_history)
    assert all(map(np.array_equal, loaded.model.get_weights(), streamed.model.get_weights()))
    assert loaded.evaluate(memory.part("test")) == streamed.evaluate(disk.part("test"))


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_is_one_sentence(tmp_path):
    scratch = ScratchFile(tmp_path, 4)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, scratch._file.fileno())
    os.close(full)
    with pytest.raises(FileError, match=r"cannot hold all spectra \(No space left on device\); name another"):
        scratch.append(np.zeros((2, 4)))
