"""The same work in one process or in several, with the same result in the same order."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from quasar_mass.errors import SurveyError


def ordered_map(function: Callable, tasks: list[tuple], jobs: int) -> Iterator:
    """Results of ``function(*task)`` in the order of the tasks, computed in `jobs` processes.

    Only a few tasks are under way at a time, so memory does not grow with their number. New processes are spawned, not
    forked: a forked copy of a process that holds TensorFlow's threads can hang.

    Raises
    ------
    SurveyError
        If a worker dies.
    """
    if jobs <= 1 or len(tasks) <= 1:
        yield from (function(*task) for task in tasks)
        return
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=multiprocessing.get_context("spawn")) as pool:
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
