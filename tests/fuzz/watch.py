"""What every mutation must keep to: one sentence or a result, in bounded time and memory."""

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from quasar_mass.core.errors import QuasarMassError

SECONDS = 20  # for one mutation: a hundred times what the slowest takes, so no busy machine fails it
LONG = 600  # seconds on the clock, after which the process ends: its own time says nothing while C does not return
MEMORY = 400e6  # bytes that one mutation may add to the process's peak
ROOM = 3e9  # bytes of address space beyond which an allocation fails, to spare the machine


class Hang(BaseException):
    """The watchdog's; no reader catches it."""


@dataclass
class Tally:
    """What became of the mutations of one kind of file."""

    outcomes: Counter = field(default_factory=Counter)
    slowest: float = 0.0
    memory: float = 0.0
    seconds: float = 0.0


TALLIES: dict[str, Tally] = {}


def attempt(what: str, read: Callable[[], object]) -> object | None:
    """Read one mutated file: give what was read, or None where one clear sentence refused it; all else is a failure."""
    tally = TALLIES.setdefault(what, Tally())
    before, began = _peak(reset=True), time.process_time()
    found = error = None
    try:
        with _limits():
            found = read()
    except QuasarMassError as refusal:
        error = refusal
    finally:
        spent = time.process_time() - began
        grown = _peak() - before
        tally.seconds += spent
        tally.slowest, tally.memory = max(tally.slowest, spent), max(tally.memory, grown)
    assert grown < MEMORY, f"{grown / 1e6:.0f} MB more at the peak"
    if error is None:
        tally.outcomes["read"] += 1
        return found
    text = str(error)
    assert "\n" not in text, "one line"
    assert len(text) < 2000, "one sentence, not the file's content"
    assert text.isprintable(), "no control characters on a terminal"
    tally.outcomes[f"refused: {getattr(error, 'reason', '') or type(error).__name__}"] += 1
    return None


def note(what: str, outcome: str) -> None:
    """Count how a file that was read compares with its original."""
    tally = TALLIES[what]
    tally.outcomes["read"] -= 1
    tally.outcomes[f"read, {outcome}"] += 1


def fuzz(check: Callable[[object], None], strategy, examples: int) -> None:
    """Try a check on so many examples, the same ones every time."""
    quiet = {"suppress_health_check": list(HealthCheck), "database": None, "deadline": None}
    settings(max_examples=examples, derandomize=True, **quiet)(given(strategy)(lambda case: check(case)))()


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        room = int(used + ROOM)
        resource.setrlimit(resource.RLIMIT_AS, (room if hard < 0 else min(room, hard), hard))

    def ring(*_: object) -> None:
        raise Hang(f"more than {SECONDS} s")

    previous = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    faulthandler.dump_traceback_later(LONG, exit=True)  # for what hangs in C, where no signal is heard
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _peak(*, reset: bool = False) -> float:
    """Bytes of memory at the peak since the last reset, where the system tells; else since the process began."""
    if sys.platform != "linux":
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
