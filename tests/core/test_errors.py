"""Errors are one printable line, and arrive whole from other processes."""

import pickle

import pytest

from quasar_mass.core.errors import MAX_CHARACTERS, FetchError, SpectrumError, TableError


def test_an_error_is_one_printable_line_however_long_its_quotation():
    error = TableError("a\nb.parquet", f"has the column \x1b[31m{'x' * 5000}; rename it")
    assert str(error).startswith("a b.parquet: has the column \\x1b[31mxxx")
    assert str(error).isprintable()
    assert len(str(error)) < MAX_CHARACTERS + 50


@pytest.mark.parametrize(
    "error",
    [
        TableError("spectra.parquet", "has no row"),
        SpectrumError("spec.fits", "has no flux", reason="no good pixels"),
        FetchError("https://host", "answers 404", missing=True),
    ],
)
def test_errors_arrive_whole_from_other_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
