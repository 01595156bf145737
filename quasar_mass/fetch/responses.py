"""What a server's answer means: good, final, or worth asking again, and how often."""

import email.utils
import time
from dataclasses import dataclass

import requests

from quasar_mass.core.errors import FetchError

TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
GONE = (404, 410)


@dataclass(frozen=True)
class Policy:
    """How patient a client is.

    Attributes
    ----------
    tries : int
        Times a request is made before its file counts as failed.
    backoff : float
        Seconds before the second try; doubled before each further one, and scattered by half either way so that many
        connections do not come back at once.
    told : int
        Times a server's Retry-After is obeyed for one file; these are not tries.
    longest_wait : float
        Longest Retry-After in seconds that is obeyed: OSF counts its 100 requests per hour.
    connect, silence : float
        Seconds to wait for a connection, and for the next byte.
    slowest, window : float
        A connection that brings fewer bytes per second than this over such a number of seconds is given up.
    progress : int
        A cut-off download that got on by so many bytes has its tries back.
    """

    tries: int = 6
    backoff: float = 1.0
    told: int = 20
    longest_wait: float = 3600.0
    connect: float = 15.0
    silence: float = 30.0
    slowest: float = 1000.0
    window: float = 60.0
    progress: int = 1 << 20


class Stopped(Exception):  # noqa: N818 - no error: the user pressed Ctrl-C, and a thread learns of it
    """The work is to end now."""


class Temporary(Exception):  # noqa: N818 - what went wrong is its text; it becomes a FetchError if it persists
    """Something that may go better next time.

    Attributes
    ----------
    wait : float or None
        Seconds that the server asks to wait.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def accepted(response: requests.Response, address: str, good: tuple[int, ...]) -> requests.Response:
    """Let a good answer pass.

    Raises
    ------
    FetchError
        If the answer is final; ``missing`` where there is no such file.
    Temporary
        If asking again may help.
    """
    status = response.status_code
    if status in good:
        coding = response.headers.get("Content-Encoding", "identity")
        if coding == "identity":
            return response
        response.close()
        raise refused(address, "the file as it is", f"Content-Encoding {coding}", "compressed: not as asked")
    response.close()
    if status in GONE:
        do = "check the address, or the mirror"
        raise FetchError(address, expected="the file", got=f"status {status}", do=do, reason="not there", missing=True)
    if status in TEMPORARY:
        raise Temporary(f"status {status}", retry_after(response.headers.get("Retry-After", "")))
    raise refused(address, "status 200", f"status {status} {response.reason}", f"status {status}")


def retry_after(text: str) -> float | None:
    """Seconds that a server asks to wait, given as a number or as a date."""
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def length(response: requests.Response, address: str, limit: int) -> int | None:
    """The length that a server declares, if it does; an absurd one is refused before anything is read."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not text.isdecimal() or int(text) > limit:
        reason = f"too long: {text[:40]} bytes declared"
        raise refused(address, f"at most {limit:,} bytes", f"a declared length of {text[:40]}", reason)
    return int(text)


def content_range(response: requests.Response, address: str) -> tuple[int, int]:
    """First byte and total size of a partial answer."""
    text = response.headers.get("Content-Range", "")
    try:
        unit, _, rest = text.partition(" ")
        span, _, total = rest.partition("/")
        if unit != "bytes":
            raise ValueError(unit)
        return int(span.partition("-")[0]), int(total)
    except ValueError as error:
        raise refused(address, "a Content-Range", repr(text), "range: not understood") from error


def refused(address: str, expected: str, got: str, reason: str) -> FetchError:
    """An answer that no further try would better."""
    do = "nothing of it was kept; check the address, or the mirror"
    return FetchError(address, expected=expected, got=got, do=do, reason=reason)


def say(error: Exception) -> str:
    """The heart of a nested network error."""
    while isinstance(error.args[0] if error.args else None, Exception):
        error = error.args[0]
    cause = getattr(error, "reason", None)
    text = str(cause if isinstance(cause, Exception) else error)
    return text.rpartition(": ")[2].strip("')\" ") or type(error).__name__
