"""Files and folders get their names whole and together, and a run that was killed is tidied up by the next."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from quasar_mass.core import files


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_no_file_gets_its_name_before_all_are_written(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("old")

    def write_both(then: Exception | None) -> None:
        with files.atomic_group() as place:
            for path in (old, new):
                with place(path) as temporary:
                    temporary.write_text("new")
            assert old.read_text() == "old"
            assert not new.exists()
            if then:
                raise then

    with pytest.raises(RuntimeError):
        write_both(RuntimeError())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.txt": "old"}
    write_both(None)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.txt": "new", "new.txt": "new"}


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []

    def record(name):
        original = getattr(os, name)

        def recorded(*arguments):
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(os, name, recorded)

    for name in ("fsync", "replace"):
        record(name)
    with files.atomic_group() as place:
        for name in ("a", "b"):
            with place(tmp_path / name) as temporary:
                temporary.write_text(name)
    assert calls == ["fsync", "fsync", "replace", "replace"]


def test_writers_of_one_file_take_turns(tmp_path):
    def write(number: int) -> None:
        for _ in range(5):
            with files.locked_write(tmp_path / "masses.csv") as temporary, open(temporary, "w") as file:
                for _ in range(50):
                    file.write(f"{number}")
                    file.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    content = (tmp_path / "masses.csv").read_text()
    assert len(content) == 50
    assert len(set(content)) == 1
    assert names(tmp_path) == ["masses.csv"]


@pytest.mark.parametrize("before", ["nothing", "a file", "a folder", "a link to a folder"])
def test_a_folder_replaces_what_was_there_once_it_is_whole(tmp_path, before):
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
    with pytest.raises(FileNotFoundError), files.atomic_group() as place, place(path, folder=True) as folder:
        (folder / "none" / "new").touch()
    assert names(path.parent) == old
    with files.atomic_group() as place, place(path, folder=True) as folder:
        (folder / "new").touch()
        assert path.exists() == (before != "nothing")
    assert names(path.parent) == ["new", "spectra.parquet"]
    if before == "a link to a folder":
        assert names(tmp_path / "elsewhere") == ["mine"]


def test_the_folder_of_a_killed_run_is_removed_by_the_next(tmp_path):
    left, other = tmp_path / ".spectra.0123abcd.partial", tmp_path / ".quasars.0123abcd.partial"
    for folder in (left, other):
        folder.mkdir()
        (folder / "part-00000.parquet").touch()
    with files.atomic_group() as place, place(tmp_path / "spectra.parquet", folder=True):
        assert not left.exists()
    assert names(tmp_path) == [other.name, "part-00000.parquet", "spectra.parquet"]


def test_a_file_replaces_a_folder_only_where_that_is_asked_for(tmp_path):
    path = tmp_path / "spectra.parquet"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="spectra"), files.atomic_write(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["old", "spectra.parquet"]
    with files.atomic_write(path, over_folder=True) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["spectra.parquet"]
    assert path.read_text() == "new"


def test_a_model_that_is_about_to_be_replaced_is_kept_beside_the_new_one(tmp_path, capsys):
    path = tmp_path / "model.h5"
    files.keep_previous(path)
    assert capsys.readouterr().out == "", "nothing is there yet"
    path.write_text("old")
    files.keep_previous(path)
    path.write_text("new")
    assert (tmp_path / "previous" / "model.h5").read_text() == "old"
    assert "previous" in capsys.readouterr().out
