"""Locks name their holder, let one in at a time, and end with the holder's process."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from quasar_mass.core import locks
from quasar_mass.core.errors import LockError


def test_a_lock_names_its_holder_and_is_gone_afterwards(tiny_survey, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/here/get_Chen_data.py", "build", "--survey", "x"])
    with locks.survey_lock(tiny_survey):
        holder = json.loads(tiny_survey.lock.read_text())
        assert (holder["process"], holder["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(
            LockError, match=rf"process {os.getpid()} on .* since 20.*\(get_Chen_data\.py build --survey x\)"
        ):
            locks.survey_lock(tiny_survey).__enter__()
        locks.clear(tiny_survey)
        assert tiny_survey.lock.exists(), "clear removed a lock that is held"
    assert not tiny_survey.lock.exists()


def test_one_holder_at_a_time_although_the_file_is_removed(tmp_path):
    """A waiting process may have opened the file that the holder removes: it must not take that for the lock."""
    path, inside = tmp_path / ".lock", []

    def work(number: int) -> None:
        for _ in range(15):
            with locks.held(path, where="the survey", wait=True):
                inside.append(number)
                assert inside == [number]
                inside.clear()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert not path.exists()


def test_the_lock_of_a_killed_process_is_taken_over(tiny_survey):
    code = "import sys, time; from quasar_mass.core import locks, survey\n"
    code += "with locks.survey_lock(survey.Survey(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tiny_survey.folder], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockError, match=f"process {holder.pid} on "), locks.survey_lock(tiny_survey):
            pass
        holder.send_signal(signal.SIGKILL)
    assert tiny_survey.lock.exists()
    with locks.survey_lock(tiny_survey):
        assert json.loads(tiny_survey.lock.read_text())["process"] == os.getpid()
    assert not tiny_survey.lock.exists()
