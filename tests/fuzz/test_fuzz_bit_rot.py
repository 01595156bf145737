"""One bit flipped on a disk, anywhere in a table: the table is refused, or read as it was written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import watch

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import manifest
from quasar_mass.tables import dataset, parquet
from quasar_mass.tables.build.pipeline import build


@pytest.fixture(scope="module")
def built(_tiny_original, tmp_path_factory) -> Survey:
    survey = Survey(shutil.copytree(_tiny_original, tmp_path_factory.mktemp("tables") / "survey"))
    build(survey, step=1e-2, quiet=True)
    return survey


def every_flip(path: Path, bits: int, read: Callable[[], object], same: Callable[[object], bool]) -> None:
    """Flip one bit after the other in a file, each in the original."""
    content, unharmed = path.read_bytes(), 0
    for bit in np.random.default_rng(1).integers(0, 8 * len(content), bits):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        result = watch.attempt(read)
        if result is not None:
            assert same(result), f"bit {bit} of {path.name} made a difference, and nothing was said"
            unharmed += 1
    path.write_bytes(content)
    assert unharmed < 0.7 * bits, "many bits of a file count"


@pytest.mark.parametrize("bits", [60, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", ["quasars", "spectra"])
def test_a_table_is_what_was_written_or_refused(built, which, bits):
    whole = dataset.load(built)

    def same(data: dataset.Dataset) -> bool:
        pd.testing.assert_frame_equal(data.quasars, whole.quasars)
        pd.testing.assert_frame_equal(data.spectra, whole.spectra)
        return data.about == whole.about and np.array_equal(data.flux, whole.flux)

    every_flip(getattr(built, which), bits, lambda: dataset.load(built), same)


@pytest.mark.parametrize("bits", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_manifest_is_what_was_written_or_refused(tmp_path, bits):
    survey = Survey(tmp_path)
    with manifest.Manifest(survey) as opened:
        opened.select([(4000 + number, 56000, number) for number in range(1, 9)])
    whole = manifest.read(survey)
    every_flip(manifest.paths(survey)[0], bits, lambda: manifest.read(survey), whole.__eq__)


def test_files_of_earlier_versions_have_no_checksums_and_are_read(built, tmp_path):
    survey = Survey(shutil.copytree(built.folder, tmp_path / "survey"))
    for path in (survey.quasars, survey.spectra):
        table = pq.read_table(path)
        metadata = {key: value for key, value in table.schema.metadata.items() if key != parquet.CHECKSUM}
        assert len(metadata) < len(table.schema.metadata)
        pq.write_table(table.replace_schema_metadata(metadata), path)
    assert np.array_equal(dataset.load(survey).flux, dataset.load(built).flux)


def test_a_changed_description_is_said_to_be_one(built, tmp_path):
    survey = Survey(shutil.copytree(built.folder, tmp_path / "survey"))
    table = pq.read_table(survey.spectra)
    metadata = dict(table.schema.metadata)
    metadata[parquet.METADATA] = metadata[parquet.METADATA].replace(b'"sdss"', b'"simulated"')
    pq.write_table(table.replace_schema_metadata(metadata), survey.spectra)
    with pytest.raises(TableError, match="changed since"):
        dataset.load(survey)
