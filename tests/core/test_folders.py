"""A folder that appears whole or not at all, and what a killed run leaves."""

import contextlib

import pytest

from quasar_mass.core.files import atomic_group, atomic_write


@contextlib.contextmanager
def whole_folder(path):
    with atomic_group() as place, place(path, folder=True) as folder:
        yield folder


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("before", ["nothing", "a file", "a folder", "a link to a folder"])
def test_a_folder_takes_the_place_of_what_was_there_once_it_is_whole(tmp_path, before):
    path = tmp_path / "made" / "spectra.parquet"
    path.parent.mkdir()
    if before == "a file":
        path.write_text("old")
    elif before == "a folder":
        path.mkdir()
        (path / "old").touch()
    elif before == "a link to a folder":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "mine").touch()
        path.symlink_to(tmp_path / "elsewhere")
    old = names(path.parent)
    with pytest.raises(FileNotFoundError), whole_folder(path) as folder:
        (folder / "none" / "new").touch()
    assert names(path.parent) == old
    with whole_folder(path) as folder:
        (folder / "new").touch()
        assert path.exists() == (before != "nothing")
    assert names(path.parent) == ["new", "spectra.parquet"]
    if before == "a link to a folder":
        assert names(tmp_path / "elsewhere") == ["mine"]


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "spectra.parquet"
    left = tmp_path / ".spectra.0123abcd.partial"
    left.mkdir()
    (left / "part-00000.parquet").touch()
    other = tmp_path / ".quasars.0123abcd.partial"
    other.mkdir()
    with whole_folder(path):
        assert not left.exists()
    assert names(tmp_path) == [other.name, "spectra.parquet"]


def test_a_file_takes_the_place_of_a_folder_only_where_that_is_meant(tmp_path):
    path = tmp_path / "spectra.parquet"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="spectra"), atomic_write(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["old", "spectra.parquet"]
    with atomic_write(path, over_folder=True) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["spectra.parquet"]
    assert path.read_text() == "new"
