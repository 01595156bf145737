"""The same work in one process, in several, or on a cluster, with the same results in the same order."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from threadpoolctl import threadpool_limits

from quasar_mass.core.errors import QuasarMassError
from quasar_mass.core.signals import defer_interrupt


def ordered_map(function: Callable, tasks: list[tuple], jobs: int | str, needs: Iterable[Path] = ()) -> Iterator:
    """Results of ``function(*task)`` in the order of the tasks, wherever they are computed.

    Only a few tasks are under way at a time, so memory does not grow with their number, also where the caller takes
    the results slowly. New processes are spawned, not forked: a forked copy of a process that holds TensorFlow's
    threads can hang. Linear algebra gets one thread in each, because the arrays here are small.

    Parameters
    ----------
    function : callable
        Of a module, so that other processes can import it.
    tasks : list of tuple
        Its arguments. They and the results travel between processes.
    jobs : int or str
        The number of processes of this machine, or the address of a Dask scheduler. Its workers must see the same files
        under the same names.
    needs : iterable of Path
        Files that a worker of a cluster must see as this machine does, or its results would be wrong.

    Raises
    ------
    QuasarMassError
        If a process of this machine dies.
    ClusterError
        If the cluster cannot do the work. (Dask gives the tasks of a worker that dies to another one.)
    """
    if is_cluster(jobs):
        from quasar_mass.core import cluster  # not at the top: --help needs none

        with cluster.connect(jobs, needs) as (submit, n_threads):
            yield from _in_order(submit, function, tasks, lambda: 2 * n_threads())
    elif jobs <= 1 or len(tasks) <= 1:
        for task in tasks:
            with threadpool_limits(1, "blas"):
                result = function(*task)
            yield result
    else:
        yield from _in_processes(function, tasks, min(jobs, len(tasks)))


def map_in_threads(function: Callable, tasks: list[tuple]) -> Iterator:
    """Results of ``function(*task)`` in the order of the tasks, from as many threads as this process has cores.

    For work that mostly releases the interpreter's lock, such as a network's. Linear algebra gets one thread in each.
    """
    with ThreadPoolExecutor(cores()) as pool, threadpool_limits(1, "blas"):
        yield from _in_order(pool.submit, function, tasks, cores)


def prefetch(items: Iterable) -> Iterator:
    """Give the items; a thread makes the next one while the caller works on the one before."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, source, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, source, end)
            yield item


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_cluster(jobs: int | str) -> bool:
    """Whether `jobs` is the address of a scheduler, whose workers do the work."""
    return isinstance(jobs, str)


def _in_order(submit: Callable, function: Callable, tasks: list[tuple], limit: Callable[[], int]) -> Iterator:
    """Submit tasks as long as not more than `limit()` are under way, and give their results in order."""
    waiting: deque[Future] = deque()
    try:
        for task in tasks:
            waiting.append(submit(function, *task))
            if len(waiting) > limit():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _in_processes(function: Callable, tasks: list[tuple], jobs: int) -> Iterator:
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_start_worker) as pool:

        def submit(function: Callable, *task) -> Future:
            with defer_interrupt():  # it starts a process where none is idle
                return pool.submit(function, *task)

        try:
            yield from _in_order(submit, function, tasks, lambda: 3 * jobs)
        except BrokenProcessPool as error:
            raise QuasarMassError(
                "a worker process",
                "ended suddenly, perhaps for want of memory; try again with --jobs 1. (A script of your own needs "
                "`if __name__ == '__main__':` around its calls)",
            ) from error


def _start_worker() -> None:
    """Prepare a worker process."""
    import numpy  # noqa: F401 - the limit of threads holds for the libraries that are loaded

    threadpool_limits(1, "blas")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the parent is killed; otherwise a worker would write during the next run, and then wait forever."""
    multiprocessing.parent_process().join()
    os._exit(1)
