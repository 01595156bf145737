"""A survey's Parquet tables, damaged: what is loaded is what the file holds, or nothing."""

import io
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import watch
from mutations import Case
from parquet_mutations import parquet_damage, unsealed

from quasar_mass.core.survey import SPLITS, Survey
from quasar_mass.tables import dataset
from quasar_mass.tables.build.pipeline import build


@pytest.fixture(scope="module")
def built(_tiny_original, tmp_path_factory) -> Survey:
    survey = Survey(shutil.copytree(_tiny_original, tmp_path_factory.mktemp("tables") / "survey"))
    build(survey, step=1e-2, quiet=True)
    for path in (survey.quasars, survey.spectra):
        path.write_bytes(unsealed(path.read_bytes()))
    return survey


def same_text(values, expected) -> None:
    assert [str(value) for value in values] == [str(value) for value in expected]


def held(content: bytes) -> dict[str, list]:
    """The columns of a file, none of them twice."""
    with pq.ParquetFile(io.BytesIO(content)) as file:
        read = [(name, file.read(columns=[name])) for name in file.schema_arrow.names if re.fullmatch(r"[\w -]+", name)]
    return {name: table.column(0).to_pylist() for name, table in read if table.num_columns == 1}


def agrees(data: dataset.Dataset, quasars: bytes, spectra: bytes) -> None:
    """Every number is the file's own, every spectrum has its own object's label."""
    known, rows = held(quasars), held(spectra)
    np.testing.assert_array_equal(np.array(rows["flux"], np.float32), data.flux)
    same_text(data.spectra.index.get_level_values("OBJECT"), rows["OBJECT"])
    same_text(data.spectra.index.get_level_values("EPOCH"), rows["EPOCH"])
    np.testing.assert_array_equal(data.spectra["Z"], rows["Z"])
    label = dict(zip(known["OBJECT"], known["LMBH"], strict=True))
    split = dict(zip(known["OBJECT"], known["SPLIT"], strict=True))
    objects = rows["OBJECT"]
    np.testing.assert_array_equal(data.spectra["LMBH"], [label[name] for name in objects])
    assert data.spectra["SPLIT"].tolist() == [split[name] for name in objects]
    assert len(data.spectra) == len(data.flux) == len(data.spectra.index.unique())
    assert np.isfinite(data.flux).all()
    assert np.isfinite(data.spectra["LMBH"]).all()
    assert data.quasars.index.is_unique
    assert set(data.quasars["SPLIT"]) <= set(SPLITS)
    dataset.describe(data.about, data.quasars, data.spectra)  # what a model says of it can be said


@pytest.mark.parametrize("examples", [30, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", ["quasars", "spectra"])
def test_a_damaged_table_is_loaded_as_it_is_or_refused(built, which, examples):
    path = getattr(built, which)
    content = path.read_bytes()
    other = (built.spectra if which == "quasars" else built.quasars).read_bytes()

    def check(case: Case) -> None:
        changed = case.damaged()
        path.write_bytes(changed)
        data = watch.attempt(f"{which}.parquet", lambda: dataset.load(built))
        if data is not None:
            agrees(data, *((changed, other) if which == "quasars" else (other, changed)))
            watch.note(f"{which}.parquet", "unchanged" if changed == content else "as pyarrow")

    try:
        watch.fuzz(check, parquet_damage(content), examples)
    finally:
        path.write_bytes(content)
