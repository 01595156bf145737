"""The Parquet tables: what is written is what is read, and what their files look like inside."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import random_tables

from quasar_mass.core.errors import FileError, TableError
from quasar_mass.core.survey import Grid
from quasar_mass.tables import schemas, survey_tables

GRID = Grid(1e-3)


def rows(n, start=0):
    return random_tables.rows(n, GRID, start)


def about(**more):
    return random_tables.about(GRID, cuts=[{"cut": "é", "objects": 3}]) | more


def write(path, batches, **more):
    return survey_tables.write_spectra(path, iter(batches), GRID, lambda: about(**more))


def cut_up(n, size):
    return [rows(min(size, n - start), start) for start in range(0, n, size)]


def test_spectra_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "new" / "folder" / "spectra.parquet"
    batch = rows(2500)
    batch["flux"][0, :4] = [np.float32(1e-45), -0.0, np.finfo(np.float32).max, np.float32(0.1)]
    assert write(path, [batch]) == 2500
    frames, blocks = zip(*survey_tables.iterate_spectra(path), strict=True)
    frame, flux = pd.concat(frames, ignore_index=True), np.concatenate(blocks)
    assert flux.dtype == np.float32
    assert flux.tobytes() == batch["flux"].tobytes()
    for name in ("OBJECT", "EPOCH", "LABEL_EPOCH", "Z", "RUN2D", "FLAGS"):
        assert frame[name].tolist() == batch[name]
    for name in ("SN", "N_BAD", "SEEN_CIV", "SEEN_CIII", "SEEN_MgII", "EBV"):
        expected = np.array([np.nan if value is None else value for value in batch[name]])
        np.testing.assert_allclose(frame[name].to_numpy(dtype=float), expected, rtol=1e-7)
    assert survey_tables.count_spectra(path) == 2500


def test_a_table_of_an_older_build_lacks_what_is_seen_of_lines(tmp_path):
    path = tmp_path / "spectra.parquet"
    write(path, [rows(30)])
    older = pq.read_table(path).drop_columns(["SEEN_CIV", "SEEN_CIII", "SEEN_MgII"])
    pq.write_table(older, path)
    ((frame, flux),) = survey_tables.iterate_spectra(path)
    assert frame[["SEEN_CIV", "SEEN_CIII", "SEEN_MgII"]].isna().all(axis=None)
    np.testing.assert_array_equal(flux, rows(30)["flux"])


def test_spectra_file_is_laid_out_to_be_small_and_streamed(tmp_path):
    path = tmp_path / "spectra.parquet"
    write(path, cut_up(2100, 300))
    schema = pq.read_schema(path)
    assert schema.field("flux").type == pa.list_(pa.float32(), GRID.size)
    assert {name: str(schema.field(name).type) for name in schema.names if name != "flux"} == {
        "OBJECT": "string",
        "EPOCH": "string",
        "LABEL_EPOCH": "bool",
        "Z": "double",
        "SN": "float",
        "N_BAD": "int32",
        "SEEN_CIV": "float",
        "SEEN_CIII": "float",
        "SEEN_MgII": "float",
        "EBV": "float",
        "RUN2D": "string",
        "FLAGS": "string",
    }
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [1024, 1024, 52]
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        assert {column.compression for column in columns} == {"ZSTD"}
        flux = next(column for column in columns if column.path_in_schema.startswith("flux"))
        assert "BYTE_STREAM_SPLIT" in flux.encodings
        assert not any("DICTIONARY" in encoding for encoding in flux.encodings)


def test_metadata_stand_in_the_schema_and_in_the_footer(tmp_path):
    path = tmp_path / "spectra.parquet"
    write(path, [rows(3)], note="counted at the end")
    text = pq.read_schema(path).metadata[b"quasar_mass"]
    assert json.loads(text) == about(note="counted at the end") == survey_tables.read_about(path)
    assert json.loads(pq.read_metadata(path).metadata[b"quasar_mass"]) == about(note="counted at the end")
    assert survey_tables.read_grid(survey_tables.read_about(path)) == GRID


@pytest.mark.parametrize("size", [1, 60, 1500])
def test_file_is_the_same_bytes_however_the_work_was_cut_up(tmp_path, size):
    write(tmp_path / "a.parquet", cut_up(2100, 300))
    batches = cut_up(2100, size) if size > 1 else [*cut_up(1030, 500), rows(0, 1030), rows(1070, 1030)]
    write(tmp_path / "b.parquet", batches)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.fixture
def quasars():
    return random_tables.quasars(rows(3)).assign(N_EPOCHS=[1, 2, 75], EBV=[0.5, np.nan, 0], more=1)


def test_quasars_come_back_with_a_text_index(tmp_path, quasars):
    path = tmp_path / "quasars.parquet"
    survey_tables.write_quasars(path, quasars, about())
    back = survey_tables.read_quasars(path)
    assert back.index.name == "OBJECT"
    assert all(isinstance(name, str) for name in back.index)
    pd.testing.assert_frame_equal(back, quasars[list(schemas.QUASAR_COLUMNS)], check_dtype=False)
    assert back["N_EPOCHS"].dtype == np.int64
    assert list(back)[:9] == list(schemas.REFERENCE_COLUMNS)
    assert survey_tables.read_about(path) == about()
    # and by any other reader of Parquet
    assert "OBJECT" in pq.read_table(path).column_names
    assert pd.read_parquet(path).index.name == "OBJECT"


READERS = [
    survey_tables.read_about,
    survey_tables.read_quasars,
    survey_tables.read_rejects,
    lambda path: list(survey_tables.iterate_spectra(path)),
]


@pytest.mark.parametrize("reader", READERS)
def test_missing_text_and_empty_files_are_file_errors(tmp_path, reader):
    path = tmp_path / "table.parquet"
    with pytest.raises(FileError, match=r"table\.parquet"):
        reader(path)
    for content in (b"", b"text\n" * 100, b"PAR1", b"PAR1" + b"\0" * 50 + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"table\.parquet"):
            reader(path)


@pytest.mark.parametrize("reader", [READERS[0], READERS[1], READERS[3]])
def test_parquet_of_another_origin_is_a_file_error(tmp_path, quasars, reader):
    path = tmp_path / "table.parquet"
    quasars.to_parquet(path)
    with pytest.raises(FileError, match="another origin"):
        reader(path)


def in_parts(path, sizes):
    """The rows of a table as a folder of files of these sizes, written by pyarrow alone."""
    table = pq.read_table(path)
    path.unlink()
    path.mkdir()
    start = 0
    for number, size in enumerate(sizes):
        pq.write_table(table.slice(start, size), path / f"part-{number:05d}.parquet", row_group_size=7)
        start += size
    assert start == len(table)


def counted(number):
    return {"cuts": [{"cut": "last", "objects": number, "spectra": number}]}


@pytest.mark.parametrize("size", [1, 6, 10, 64])
def test_a_table_in_parts_is_read_as_one(tmp_path, size):
    path = tmp_path / "spectra.parquet"
    write(path, [rows(40)], **counted(40))
    expected = list(survey_tables.iterate_spectra(path, size))
    in_parts(path, (11, 1, 20, 8))
    (path / "_metadata").write_bytes(b"as other programs leave it")
    found = list(survey_tables.iterate_spectra(path, size))
    assert survey_tables.count_spectra(path) == 40
    assert survey_tables.read_about(path) == about(**counted(40))
    assert len(found) == len(expected) == -(-40 // size)
    for (frame, flux), (frame_of_one, flux_of_one) in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(frame, frame_of_one)
        np.testing.assert_array_equal(flux, flux_of_one)


def test_a_part_that_is_missing_damaged_or_of_another_build_is_said(tmp_path):
    path = tmp_path / "spectra.parquet"
    write(path, [rows(40)], **counted(40))
    in_parts(path, (20, 20))
    first, second = sorted(path.iterdir())
    content = second.read_bytes()
    second.unlink()
    with pytest.raises(TableError, match="should hold 40 spectra in its parts, but holds 20"):
        survey_tables.count_spectra(path)
    second.write_bytes(content[:-30])
    with pytest.raises(FileError, match=r"part-00001\.parquet: is not a whole Parquet file"):
        list(survey_tables.iterate_spectra(path))
    second.unlink()
    write(second, [rows(20, 20)], **counted(41))
    with pytest.raises(TableError, match=r"part-00001\.parquet: is a part of another build"):
        list(survey_tables.iterate_spectra(path))
    first.unlink()
    second.unlink()
    with pytest.raises(FileError, match="an empty folder"):
        survey_tables.read_about(path)
