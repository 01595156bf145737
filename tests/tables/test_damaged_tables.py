"""Damaged tables that were once a traceback, a hang or a wrong number."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.tables import dataset, survey_tables
from quasar_mass.tables.build.pipeline import build


@pytest.fixture
def built(tiny_survey):
    build(tiny_survey, step=1e-2, quiet=True)
    return tiny_survey


def change_table(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def test_an_object_twice_gives_no_spectrum_the_label_of_another(built):
    """A join doubled the rows of its spectra, and all rows after them got the label of the one before."""
    change_table(built.quasars, lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(TableError, match="has more than one row for object"):
        dataset.load(built)


def test_a_spectrum_twice_is_refused(built):
    change_table(built.spectra, lambda table: pa.concat_tables([table, table.slice(4, 1)]))
    with pytest.raises(TableError, match=r"holds spectrum .* twice"):
        dataset.load(built)


@pytest.mark.parametrize(
    ("which", "name", "value", "message"),
    [
        ("quasars", "LMBH", np.nan, "has no usable LMBH"),
        ("quasars", "Z", np.nan, "has no usable Z"),
        ("quasars", "N_EPOCHS", 0, "has no usable N_EPOCHS"),
        ("quasars", "SPLIT", "none", "has no usable SPLIT"),
        ("spectra", "EPOCH", None, "has rows without EPOCH"),
        ("spectra", "EPOCH", "../../x", "which is not plate-mjd-fiber"),
        ("spectra", "OBJECT", "nobody", "holds object nobody"),
        ("spectra", "Z", None, "has rows without Z"),
        ("spectra", "flux", None, "has rows without flux|pixels without a flux"),
        ("spectra", "flux", [np.inf] * 38, "has a flux that is not finite"),
    ],
)
def test_a_row_that_lacks_what_training_needs_is_refused(built, which, name, value, message):
    def change(table):
        number, values = table.column_names.index(name), table.column(name).to_pylist()
        values[3] = value
        return table.set_column(number, name, pa.array(values, table.schema.field(name).type))

    try:
        change_table(getattr(built, which), change)
    except pa.ArrowNotImplementedError as error:  # a missing list of fixed size: pyarrow 21
        pytest.skip(f"this pyarrow cannot write such a table: {error}")
    with pytest.raises(TableError, match=message):
        dataset.load(built)


@pytest.mark.parametrize(
    ("name", "value"),
    [("grid", {"step": 1e-2, "start": 3.2}), ("kind", "both"), ("flux_unit", "Jy")],
)
def test_descriptions_that_no_table_has_are_refused(built, name, value):
    def describe(table):
        about = json.loads(table.schema.metadata[b"quasar_mass"]) | {name: value}
        return table.replace_schema_metadata({b"quasar_mass": json.dumps(about).encode()})

    change_table(built.spectra, describe)
    with pytest.raises(TableError):
        dataset.load(built)


def test_text_that_is_not_utf8_is_a_damaged_file(built):
    """Parquet says that a column is UTF-8, and pandas looks only when the value is used."""
    no_text = pa.Array.from_buffers(pa.string(), 18, pa.array([b"\xb6x"] * 18).buffers())
    for name in ("OBJECT", "RUN2D", "FLAGS"):
        content = built.spectra.read_bytes()
        change_table(built.spectra, lambda t, name=name: t.set_column(t.column_names.index(name), name, no_text))
        with pytest.raises(FileError, match="whole Parquet file"):
            list(survey_tables.iterate_spectra(built.spectra))
        built.spectra.write_bytes(content)
