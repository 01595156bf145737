"""What every damaged file must lead to: one clear sentence or a result, in bounded time and memory."""

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from quasar_mass.core.errors import QuasarMassError

SECONDS = 20  # of processor time for one file: a hundred times what the slowest takes, so no busy machine fails it
DEADLINE = 600  # seconds on the clock, after which the process ends: C code that hangs hears no signal
MEMORY = 1.5e9  # bytes of address space that one file may add


class Hang(BaseException):
    """Raised by the timer; no reader catches it."""


def attempt(read: Callable[[], object]) -> object | None:
    """Read one damaged file: give the result, or None where one clear sentence refused it; all else is a failure."""
    try:
        with _limits():
            return read()
    except QuasarMassError as error:
        text = str(error)
        assert "\n" not in text, "one line"
        assert len(text) < 2000, "one sentence, not the content of the file"
        assert text.isprintable(), "no control characters on a terminal"
        return None


def fuzz(check: Callable[[object], None], strategy, examples: int) -> None:
    """Try a check on so many examples, the same ones every time."""
    quiet = {"suppress_health_check": list(HealthCheck), "database": None, "deadline": None}
    settings(max_examples=examples, derandomize=True, **quiet)(given(strategy)(lambda case: check(case)))()


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = int(used + MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))

    def ring(*_: object) -> None:
        raise Hang(f"more than {SECONDS} s")

    previous = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    faulthandler.dump_traceback_later(DEADLINE, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
