"""One bit that changed on a disk, anywhere in a table: nothing is read, or just what was written."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import watch
from parquet_mutations import unsealed

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import manifest
from quasar_mass.tables import dataset, parquet, survey_tables
from quasar_mass.tables.build.pipeline import build


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
        one.select([(4000 + number, 56000, number) for number in range(1, 9)])
    whole = manifest.read(survey)
    table = manifest.paths(survey)[0]
    every_flip(table, bits, "bits of the manifest", lambda: manifest.read(survey), lambda found: found == whole)


def test_files_of_earlier_versions_have_no_checksums_and_are_read(built, tmp_path):
    whole = dataset.load(built)
    survey = Survey(shutil.copytree(built.folder, tmp_path / "survey"))
    for path in (survey.quasars, survey.spectra):
        path.write_bytes(unsealed(path.read_bytes()))
        assert parquet.CHECKSUM not in pq.read_schema(path).metadata
    assert np.array_equal(dataset.load(survey).flux, whole.flux)


def test_a_changed_description_is_said_to_be_one(built, tmp_path):
    survey = Survey(shutil.copytree(built.folder, tmp_path / "survey"))
    table = pq.read_table(survey.spectra)
    said = dict(table.schema.metadata)
    said[parquet.METADATA] = said[parquet.METADATA].replace(b'"sdss"', b'"simulated"')
    pq.write_table(table.replace_schema_metadata(said), survey.spectra)
    with pytest.raises(TableError, match="changed since"):
        dataset.load(survey)
