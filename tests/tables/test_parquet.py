"""Chunks of work: every row once, in order."""

from itertools import chain
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from quasar_mass.tables.parquet import split_evenly


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 20))
def test_every_row_is_in_one_chunk_and_all_chunks_but_the_last_are_full(counts, rows):
    files = [(Path(str(number)), count) for number, count in enumerate(counts)]
    chunks = split_evenly(files, rows)
    every = [[(piece.file, row) for piece in chunk for row in range(piece.start, piece.stop)] for chunk in chunks]
    assert list(chain.from_iterable(every)) == [(file, row) for file, count in files for row in range(count)]
    assert all(len(chunk) == rows for chunk in every[:-1])
    assert all(0 < len(chunk) <= rows for chunk in every[-1:])
