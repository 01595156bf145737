"""The same work in one process or in several, in one thread or ahead of it, with the same result in the same order."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from threadpoolctl import threadpool_limits

from quasar_mass.errors import SurveyError


def ordered_map(function: Callable, tasks: list[tuple], jobs: int) -> Iterator:
    """Results of ``function(*task)`` in the order of the tasks, computed in `jobs` processes.

    Only a few tasks are under way at a time, so memory does not grow with their number. New processes are spawned, not
    forked: a forked copy of a process that holds TensorFlow's threads can hang. Linear algebra gets one thread in each,
    for the arrays here are small, and threads that wait for one another on busy cores cost twenty times the work.

    Raises
    ------
    SurveyError
        If a worker dies.
    """
    if jobs <= 1 or len(tasks) <= 1:
        for task in tasks:
            with threadpool_limits(1, "blas"):
                result = function(*task)
            yield result
        return
    with ProcessPoolExecutor(
        min(jobs, len(tasks)), mp_context=multiprocessing.get_context("spawn"), initializer=_begin
    ) as pool:
        waiting: deque = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(function, *task))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
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


def _begin() -> None:
    """Set what a worker process keeps to; the limit holds for the libraries that are loaded."""
    import numpy  # noqa: F401

    threadpool_limits(1, "blas")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the parent is killed: a worker left alone would write on beside the next run, and then wait forever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(items: Iterable) -> Iterator:
    """Give the items, the next one made in a thread while the caller works on the one before."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(next, source, end)
        while (item := waiting.result()) is not end:
            waiting = beside.submit(next, source, end)
            yield item
