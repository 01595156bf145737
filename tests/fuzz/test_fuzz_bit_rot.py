"""One bit that changed on a disk, anywhere in a table or a model: nothing is read, or just what was written."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import hdf5_mutations
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import watch
from parquet_mutations import unsealed

from quasar_mass.core.errors import ModelError, TableError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import manifest
from quasar_mass.network import backend
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.keras_io import model_arrays, model_file
from quasar_mass.network.keras_io.hdf5 import SEAL_SIZE, unchanged
from quasar_mass.tables import dataset, parquet, survey_tables
from quasar_mass.tables.build.pipeline import build

# Keras 3.15's own, under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(scope="module")
def built(_tiny_original, tmp_path_factory) -> Survey:
    survey = Survey(shutil.copytree(_tiny_original, tmp_path_factory.mktemp("tables") / "survey"))
    build(survey, step=1e-2, quiet=True)
    return survey


def flipped(path: Path, bits: int, seed: int) -> Iterator[int]:
    """Flip one bit after the other in a file, each in the original; the places."""
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    try:
        for place in rng.integers(0, 8 * len(content), bits):
            changed = bytearray(content)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            yield int(place)
    finally:
        path.write_bytes(content)


def every_flip(path: Path, bits: int, what: str, read: Callable[[], object], same: Callable[[object], bool]) -> None:
    for place in flipped(path, bits, seed=len(what)):
        found = watch.attempt(what, read)
        if found is not None:
            assert same(found), f"bit {place} of {path.name} made a difference, and nothing was said"
            watch.note(what, "what was written")
    assert watch.TALLIES[what].outcomes["read, what was written"] < bits / 2, "most bits of a file count"


@pytest.mark.parametrize("bits", [200, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", ["quasars", "spectra"])
def test_a_table_is_what_was_written_or_refused(built, which, bits):
    whole = dataset.load(built)

    def same(found: dataset.Dataset) -> bool:
        pd.testing.assert_frame_equal(found.quasars, whole.quasars)
        pd.testing.assert_frame_equal(found.spectra, whole.spectra)
        return found.about == whole.about and np.array_equal(found.flux, whole.flux)

    every_flip(getattr(built, which), bits, f"bits of {which}.parquet", lambda: dataset.load(built), same)


@pytest.mark.parametrize("bits", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_rejects_and_the_manifest_too(built, tmp_path, bits):
    row = {"OBJECT": "a", "EPOCH": "4000-56000-0001", "REASON": "missing file", "DETAIL": "why"}
    path = tmp_path / "rejects.parquet"
    survey_tables.write_rejects(path, [row] * 5, {"kind": "sdss", "build": "abc"})
    whole = survey_tables.read_rejects(path)
    every_flip(path, bits, "bits of rejects.parquet", lambda: survey_tables.read_rejects(path), whole.equals)

    survey = Survey(tmp_path / "survey")
    with manifest.Manifest(survey) as one:
        one.want([(4000 + number, 56000, number) for number in range(1, 9)])
    whole = manifest.read(survey)
    table = manifest.paths(survey)[0]
    every_flip(table, bits, "bits of the manifest", lambda: manifest.read(survey), lambda found: found == whole)


def small_model(path: Path) -> Path:
    layers = backend.import_keras().layers
    network = [layers.Conv1D(4, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(1)]
    about = {"kind": "simulated", "label": "log10 of the mass", "seed": 3, "parameters": 100}
    EasyAI(network, (30, 1), seed=1).save(path, about=about)
    model_arrays.write_arrays(path, "limits", {"probability": 0.9}, {"ends": np.linspace(1.0, 2.0, 20)})
    return path


@pytest.mark.parametrize("bits", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_model_is_what_was_saved_or_refused(tmp_path, bits):
    path = small_model(tmp_path / "model.h5")
    about, size = model_file.read_about(path), path.stat().st_size
    for place in flipped(path, bits, seed=3):
        found = watch.attempt("bits of a model", lambda: model_file.read_about(path))
        if found is not None:
            assert place // 8 >= size - SEAL_SIZE, "only in the checksum itself"
            assert found == about
            watch.note("bits of a model", "what was written")


@pytest.mark.parametrize("bits", [20, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_model_without_a_checksum_brings_nothing_down(tmp_path, bits):
    """As Keras saves it: a bit may be a wrong weight, which nobody can know; but HDF5 crashed on some."""
    path = small_model(tmp_path / "model.h5")
    path.write_bytes(hdf5_mutations.unsealed(path.read_bytes()))
    for _ in flipped(path, bits, seed=len("bits of a model")):
        watch.attempt("bits of a foreign model", lambda: model_file.read_about(path))


def test_an_edited_model_is_one_without_a_checksum(tmp_path):
    path = small_model(tmp_path / "model.h5")
    whole = path.read_bytes()
    with h5py.File(path, "r+") as file:
        del file.attrs["quasar_mass"]
    assert unchanged(path) is None
    assert EasyAI.load(path).about is None
    path.write_bytes(whole)
    assert unchanged(path)
    path.write_bytes(whole[:3000] + b"x" + whole[3001:])
    with pytest.raises(ModelError, match="checksum"):
        EasyAI.load(path)


def test_files_of_earlier_versions_have_no_checksums_and_are_read(built, tmp_path):
    whole = dataset.load(built)
    survey = Survey(shutil.copytree(built.folder, tmp_path / "survey"))
    for path in (survey.quasars, survey.spectra):
        path.write_bytes(unsealed(path.read_bytes()))
        assert parquet.SEAL not in pq.read_schema(path).metadata
    assert np.array_equal(dataset.load(survey).flux, whole.flux)

    path = small_model(tmp_path / "model.h5")
    path.write_bytes(hdf5_mutations.unsealed(path.read_bytes()))
    assert EasyAI.load(path).about["seed"] == 1


def test_a_changed_description_is_said_to_be_one(built, tmp_path):
    survey = Survey(shutil.copytree(built.folder, tmp_path / "survey"))
    table = pq.read_table(survey.spectra)
    said = dict(table.schema.metadata)
    said[parquet.METADATA] = said[parquet.METADATA].replace(b'"sdss"', b'"simulated"')
    pq.write_table(table.replace_schema_metadata(said), survey.spectra)
    with pytest.raises(TableError, match="changed since"):
        dataset.load(survey)
