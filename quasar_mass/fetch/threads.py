"""Threads that share out a list of tasks, and end at once when they are told to."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable

from quasar_mass.fetch.responses import Stopped

PATIENCE = 5.0  # seconds that a thread is waited for at the end; none is in the middle of a rename for so long


def crew(function: Callable, tasks: Iterable, jobs: int, stopping: threading.Event) -> Generator:
    """Results of ``function(task)``, as they come, from `jobs` threads.

    Where the caller breaks off (Ctrl-C too), the threads are told by `stopping`; one that sits in the network does not
    keep the program from ending.

    Raises
    ------
    Exception
        What a task raised; the others are stopped.
    """
    waiting, results = iter(tasks), queue.SimpleQueue()
    lock, done = threading.Lock(), object()

    def work() -> None:
        try:
            while not stopping.is_set():
                with lock:
                    task = next(waiting, done)
                if task is done:
                    break
                results.put((function(task), None))
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the results are read
            results.put((None, error))
        results.put((done, None))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            try:
                result, error = results.get(timeout=0.5)  # not for ever: on Windows, Ctrl-C would not be heard
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if result is done:
                running -= 1
            else:
                yield result
    finally:
        if running:
            stopping.set()
        for thread in threads:
            thread.join(PATIENCE)
