"""Handling of Ctrl-C and SIGTERM, and their delay while processes start."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(KeyboardInterrupt):
    """Raised at SIGTERM, which a batch system sends when the time is over. It ends the work as Ctrl-C does."""


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """Let SIGTERM end the block in order, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread alone
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def defer_interrupt() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait while the block starts processes, and keep Ctrl-C from these for good.

    A process whose start is interrupted prints a traceback. A terminal sends Ctrl-C to all processes: this one ends the
    others in order; if they received it themselves, they would print tracebacks too.
    """
    with _deferred(signal.SIGINT), _deferred(signal.SIGTERM):
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            yield
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # new processes inherit it
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _deferred(number: int) -> Iterator[None]:
    """Handle a signal after the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        yield
    finally:
        signal.signal(number, before)
        if came and callable(before):
            before(number, None)
        elif came and before == signal.SIG_DFL:
            signal.raise_signal(number)
