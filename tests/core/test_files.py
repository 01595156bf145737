"""Files get their names whole and together; locks say who holds them and go with their holder."""

import errno
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from quasar_mass.core import files, locks
from quasar_mass.core.errors import LockError


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
    done = []

    def note(name):
        original = getattr(os, name)

        def noted(*arguments):
            done.append(name)
            return original(*arguments)

        monkeypatch.setattr(os, name, noted)

    for name in ("fsync", "replace"):
        note(name)
    with files.atomic_group() as place:
        for name in ("a", "b"):
            with place(tmp_path / name) as temporary:
                temporary.write_text(name)
    assert done == ["fsync", "fsync", "replace", "replace"]
    done.clear()
    with files.atomic_write(tmp_path / "c", lasting=False) as temporary:
        temporary.write_text("one of thousands")
    assert done == ["replace"]


def test_errors_of_the_system_name_the_file_that_was_meant(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(OSError, match="No space left") as error, files.atomic_write(path):
        raise OSError(errno.ENOSPC, "somewhere inside a library")
    assert error.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as error, files.atomic_write(path):
        open(tmp_path / "another")  # noqa: SIM115 - fails
    assert error.value.filename == str(tmp_path / "another")


def test_writers_of_one_file_take_turns(tmp_path):
    def write(number: int) -> None:
        for _ in range(20):
            with files.locked_write(tmp_path / "masses.csv") as temporary, open(temporary, "w") as file:
                for _ in range(50):
                    file.write(f"{number}")
                    file.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    content = (tmp_path / "masses.csv").read_text()
    assert len(content) == 50
    assert len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["masses.csv"]


def hold(path, wait=False):
    return locks.held(path, where="the survey", expected="one", wait=wait)


def test_a_lock_is_gone_when_its_holder_has_finished(tmp_path):
    path = tmp_path / ".lock"
    with hold(path):
        who = json.loads(path.read_text())
        assert (who["process"], who["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(LockError, match=rf"the survey: expected one, got process {os.getpid()} on "), hold(path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_a_lock_that_is_removed_does_not_hold_a_file_without_a_name(tmp_path):
    """The trap of locks that are removed: two processes that each hold one, of the same name."""
    path, inside = tmp_path / ".lock", []

    def work(number: int) -> None:
        for _ in range(50):
            with hold(path, wait=True):
                inside.append(number)
                assert inside == [number]
                inside.clear()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="of systems that have flock")
@pytest.mark.parametrize("holder", ["at work", "gone", "of another machine", "unknown"])
def test_where_a_file_system_has_no_locks_the_process_that_is_named_decides(tmp_path, monkeypatch, holder):
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", none)
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    who = {"process": os.getppid() if holder == "at work" else ended.pid, "since": "noon", "command": "build"}
    who["host"] = "elsewhere" if holder == "of another machine" else socket.gethostname()
    path = tmp_path / ".lock"
    path.write_text("" if holder == "unknown" else json.dumps(who))
    if holder in ("at work", "of another machine"):
        with pytest.raises(LockError, match=f"process {who['process']} on "), hold(path):
            pass
        assert json.loads(path.read_text()) == who
    else:
        with hold(path):
            assert json.loads(path.read_text())["process"] == os.getpid()
        assert not path.exists()
