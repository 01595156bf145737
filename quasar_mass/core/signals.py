"""Ctrl-C, and SIGTERM as another one: heard wherever they come, and held back while processes start."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_AGAIN = 0.05  # seconds


class Terminated(KeyboardInterrupt):
    """SIGTERM: a batch system's word that the time is over. It ends the work as Ctrl-C does."""


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """Let SIGTERM end the work in order, as Ctrl-C does, wherever they come.

    Python throws an exception away where it cannot pass it on: in a function that C called (threadpoolctl has one), or
    while an object is taken down. An end that was thrown away is asked for again a moment later.
    """
    timers: list[threading.Timer] = []

    def end(*_: object) -> None:
        raise Terminated

    def thrown_away(lost) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt) and hasattr(signal, "pthread_kill"):  # not on Windows
            number = signal.SIGTERM if isinstance(lost.exc_value, Terminated) else signal.SIGINT
            timers.append(threading.Timer(_AGAIN, signal.pthread_kill, (threading.main_thread().ident, number)))
            timers[-1].start()
        else:
            before_hook(lost)

    if threading.current_thread() is not threading.main_thread():  # no other one hears of signals
        yield
        return
    before, before_hook = signal.signal(signal.SIGTERM, end), sys.unraisablehook
    sys.unraisablehook = thrown_away
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = before_hook


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait, and keep Ctrl-C for ever from the processes that are started meanwhile.

    A terminal sends it to all processes. This one ends the others in order; they would print where they were, and so
    would one that is left half started.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, _: came.append(number))
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None  # new processes inherit it
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
