"""Work in several processes: results in order, few tasks at a time, and no worker left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quasar_mass.core.errors import QuasarMassError
from quasar_mass.core.parallel import map_in_threads, ordered_map


def late_first(folder, number: int) -> int:
    """Give the number; the first task ends after the last has ended."""
    deadline = time.monotonic() + 60
    while number == 0 and not (folder / "3").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (folder / str(number)).touch()
    return number


def test_results_come_in_the_order_of_the_tasks_whichever_ends_first(tmp_path):
    tasks = [(tmp_path, number) for number in range(4)]
    assert list(ordered_map(late_first, tasks, jobs=2)) == [0, 1, 2, 3]
    ended = sorted((path.stat().st_mtime_ns, path.name) for path in tmp_path.iterdir())
    assert [name for _, name in ended].index("0") > 0, "the first task was to end late"


@pytest.mark.parametrize("work", [lambda *given: ordered_map(*given, jobs=2), map_in_threads])
def test_only_a_few_tasks_are_under_way_at_a_time(tmp_path, work):
    results = work(Path.touch, [(tmp_path / f"{number:03d}",) for number in range(300)])
    next(results)
    time.sleep(0.5)  # for all that is done without being asked for
    assert 1 <= len(list(tmp_path.iterdir())) <= 3 * max(2, os.cpu_count()) + 1
    results.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_is_raised_where_its_result_would_be(jobs):
    results = ordered_map(divmod, [(7, 3), (7, 0), (7, 2)], jobs)
    assert next(results) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(QuasarMassError, match=r"ended suddenly.*--jobs 1"):
        list(ordered_map(os._exit, [(3,), (3,)], jobs=2))


def announce(number: int) -> None:
    print(os.getpid(), flush=True)
    time.sleep(0.3)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_workers_end_with_a_parent_that_is_killed():
    code = "from test_parallel import *\nif __name__ == '__main__':"
    code += "list(ordered_map(announce, [(n,) for n in range(200)], 2))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.path.dirname(__file__)])}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        try:
            next(pid for line in parent.stdout if (pid := int(line)) != parent.pid)  # a worker's
            os.kill(parent.pid, signal.SIGKILL)
            parent.communicate(timeout=60)  # returns when the last process that could write has ended
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)
