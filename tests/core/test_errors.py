"""Errors are one printable line, and arrive whole from other processes."""

import pickle

import pytest

from quasar_mass.core.errors import MAX_CHARACTERS, FetchError, SpectrumError, TableError, first_line


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


def test_the_reason_of_a_spectrum_is_one_of_the_tables():
    with pytest.raises(ValueError, match="reason must be one of"):
        SpectrumError("spec.fits", "is odd", reason="odd")


@pytest.mark.parametrize(("error", "line"), [(ValueError("one\ntwo"), "one"), (KeyError(), "KeyError")])
def test_only_the_first_line_of_another_library_is_quoted(error, line):
    assert first_line(error) == line
