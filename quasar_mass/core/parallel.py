"""The same work in one process, in several, or on a cluster, with the same result in the same order."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from threadpoolctl import threadpool_limits

from quasar_mass.core.errors import ClusterError, SurveyError
from quasar_mass.core.signals import defer_signals


def ordered_map(function: Callable, tasks: list[tuple], jobs: int | str, needs: Iterable[Path] = ()) -> Iterator:
    """Results of ``function(*task)`` in the order of the tasks, wherever they are computed.

    Only a few tasks are under way at a time, so memory does not grow with their number. New processes are spawned, not
    forked: a forked copy of a process that holds TensorFlow's threads can hang. Linear algebra gets one thread in each,
    for the arrays here are small, and threads that wait for one another on busy cores cost twenty times the work.

    Parameters
    ----------
    function : callable
        Of a module, so that other processes know it.
    tasks : list of tuple
        Its arguments. They, and the results, travel between processes.
    jobs : int or str
        Where: in so many processes of this machine, one of them this one; or on the workers of the Dask scheduler at
        this address, which see the same files under the same names.
    needs : iterable of Path
        Files that a worker of a cluster must see as this machine does, or its work would be wrong.

    Raises
    ------
    SurveyError
        If a process of this machine dies.
    ClusterError
        If the cluster cannot do the work. (A worker of a cluster that dies is no error: another one takes its share.)
    """
    if is_cluster(jobs):
        from quasar_mass.core import cluster  # not at the top: it needs Dask

        yield from cluster.ordered_map(function, tasks, jobs, needs)
    elif jobs <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield _here(function, task).result()
    else:
        yield from _in_processes(function, deque(tasks), min(jobs, len(tasks)))


def _in_processes(function: Callable, tasks: deque, jobs: int) -> Iterator:
    """Work in this process too: while the others start, and whenever the next result is not there yet."""
    others, waiting = jobs - 1, deque()
    with ProcessPoolExecutor(others, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
        try:
            while tasks or waiting:
                while tasks and sum(not future.done() for future in waiting) < 2 * others:
                    with defer_signals():  # it starts a process where none is idle
                        waiting.append(pool.submit(function, *tasks.popleft()))
                if tasks and not waiting[0].done() and len(waiting) < 4 * jobs:
                    waiting.append(_here(function, tasks.popleft()))
                else:
                    yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise SurveyError(
                "a worker process",
                expected="to finish its share",
                got="its sudden end (memory? a script without `if __name__ == '__main__':`?)",
                do="try again with --jobs 1",
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _here(function: Callable, task: tuple) -> Future:
    """Do a task in this process; an error waits for its turn."""
    future: Future = Future()
    with threadpool_limits(1, "blas"):
        try:
            future.set_result(function(*task))
        except Exception as error:  # noqa: BLE001 - raised again where the result would be
            future.set_exception(error)
    return future


def map_in_threads(function: Callable, tasks: list[tuple]) -> Iterator:
    """Results of ``function(*task)`` in the order of the tasks, as many in threads of this process as it has cores.

    For work that mostly leaves the interpreter's lock free, such as a network's.
    """
    waiting: deque = deque()
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, *task))
                if len(waiting) > cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def prefetch(items: Iterable) -> Iterator:
    """Give the items, the next one made in a thread while the caller works on the one before."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(next, source, end)
        while (item := waiting.result()) is not end:
            waiting = beside.submit(next, source, end)
            yield item


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_cluster(jobs: int | str) -> bool:
    """Whether the work is done by the workers of a scheduler, and `jobs` is its address."""
    return isinstance(jobs, str)


def check_missing(file: Path) -> None:
    """Look for a file that a worker did not find.

    Raises
    ------
    ClusterError
        If it is here: that worker sees another disk, and what it says of its files is void.
    """
    if file.exists():
        raise ClusterError(
            file,
            expected="a file that all workers see, as this machine does",
            got="a worker that does not",
            do="put the survey on a disk that all of them share under one name",
        )


def _begin() -> None:
    """Prepare a worker process. The limit of threads holds for the libraries that are loaded."""
    import numpy  # noqa: F401

    threadpool_limits(1, "blas")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the parent is killed: a worker left alone would write on beside the next run, and then wait forever."""
    multiprocessing.parent_process().join()
    os._exit(1)
