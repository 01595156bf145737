"""Downloading over HTTP: retries, and resuming where a download was cut off.

`requests` sends the requests and follows redirects. `urllib3`'s `Retry` waits and asks again where a server is busy or
does not answer. This module asks again where a body is cut off or damaged, and resumes big files.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests
import requests.adapters
import urllib3
import urllib3.exceptions

from quasar_mass import __version__
from quasar_mass.core.errors import FetchError
from quasar_mass.fetch.urls import MAX_CONNECTIONS, mirrored

NOT_PUBLISHED_STATUS = (404, 410)
BUSY_STATUS = (408, 425, 429, 500, 502, 503, 504)  # worth asking again
CHUNK = 1 << 18  # bytes read at a time
# Sizes and ranges count the bytes of the file itself, so it must not be compressed on the way.
HEADERS = {"User-Agent": f"quasar-mass-ml/{__version__} (python-requests)", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class RetryPolicy:
    """How often a client tries, and how long it waits.

    Attributes
    ----------
    tries : int
        Requests for a file before it counts as failed. After each request that made a big file grow, the count starts
        again.
    backoff : float
        Seconds before the second or third try, doubled before each further one.
    timeout : (float, float)
        Seconds to wait for a connection, and for the next byte.
    """

    tries: int = 6
    backoff: float = 1.0
    timeout: tuple[float, float] = (15.0, 30.0)


class Client:
    """Fetches files; many threads may share a client.

    Parameters
    ----------
    mirror : str, optional
        Scheme and host that replace those of every public address.
    policy : RetryPolicy
    """

    def __init__(self, mirror: str | None = None, *, policy: RetryPolicy | None = None) -> None:
        self.mirror, self.policy = mirror, policy or RetryPolicy()
        retry = urllib3.Retry(
            total=self.policy.tries - 1,
            other=0,  # a certificate that is not trusted will not be at the next try either
            backoff_factor=self.policy.backoff,
            backoff_jitter=self.policy.backoff,
            status_forcelist=BUSY_STATUS,
            raise_on_status=False,
        )
        self._session = _Session(mirror)
        for scheme in ("https://", "http://"):
            adapter = requests.adapters.HTTPAdapter(pool_maxsize=MAX_CONNECTIONS, max_retries=retry)
            self._session.mount(scheme, adapter)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, address: str, check: Callable[[bytes], object]) -> bytes:
        """Fetch a small file into memory.

        Parameters
        ----------
        address : str
            Its public address.
        check : callable
            Raises ValueError if the content is not what it should be; the file is then asked for again.

        Raises
        ------
        FetchError
            If the server has no such file (``missing``), or it did not arrive after all tries.
        """
        address = mirrored(address, self.mirror)

        def attempt() -> bytes:
            with self._request(address) as response:
                content = b"".join(_body(response))
            try:
                check(content)
            except ValueError as error:
                raise _BadBodyError(str(error)) from error
            return content

        return self._retried(address, attempt, lambda: 0)

    def download(self, address: str, part: Path, advance: Callable[[int, int | None], object]) -> None:
        """Fetch a big file into `part`, resuming an earlier download of the same version.

        A note beside it (``.json``) says which version of which file the part belongs to.

        Parameters
        ----------
        address : str
            Its public address.
        part : Path
            Where it goes; the caller checks and renames it.
        advance : callable
            Called with the number of bytes that are there, and the total where that is known.

        Raises
        ------
        FetchError
            As `get`.
        """
        address = mirrored(address, self.mirror)
        part.parent.mkdir(parents=True, exist_ok=True)
        self._retried(
            address,
            lambda: self._resume(address, part, advance),
            lambda: part.stat().st_size if part.exists() else 0,
        )

    def _resume(self, address: str, part: Path, advance: Callable) -> None:
        """Fetch what is missing of a big file, once."""
        known = _read_note(part, address)
        position, total = (part.stat().st_size, known["size"]) if known else (0, None)
        if known and position == total:
            advance(position, total)
            return
        # the server sends the whole file (status 200) if it is of another version than the part
        headers = {"Range": f"bytes={position}-", "If-Range": known["version"]} if position else {}
        with self._request(address, headers, (200, 206, 416) if position else (200,)) as response:
            if response.status_code == 200:
                position, total = 0, response.raw.length_remaining
                part.unlink(missing_ok=True)
                _write_note(part, address, total, response.headers)
            elif response.headers.get("Content-Range") != f"bytes {position}-{total - 1}/{total}":
                discard(part)
                raise _BadBodyError("another file: the server's copy has changed")
            advance(position, total)
            with open(part, "ab") as file:
                for chunk in _body(response):
                    file.write(chunk)
                    advance(file.tell(), total)
                file.flush()
                os.fsync(file.fileno())

    def _retried(self, address: str, attempt: Callable, position: Callable[[], int]):
        """Call `attempt` until the body is good, or too many attempts in a row have brought nothing."""
        tries = 0
        while True:
            before = position()
            try:
                return attempt()
            except _BadBodyError as error:
                tries = 1 if position() > before else tries + 1
                if tries >= self.policy.tries:
                    message = f"did not arrive whole ({error}); run the same command again later"
                    raise FetchError(address, message, reason=str(error)) from error
            time.sleep(self.policy.backoff * 2 ** (tries - 1))

    def _request(self, address: str, headers: dict | None = None, good: tuple[int, ...] = (200,)) -> requests.Response:
        """Send one request, following redirects; the body is not read yet."""
        try:
            response = self._session.get(address, headers=headers, stream=True, timeout=self.policy.timeout)
        except requests.exceptions.RequestException as error:
            cause = str(error).rpartition(": ")[2].strip("')\" ")[:200]  # the innermost of several nested messages
            message = f"cannot be fetched ({cause}); check the address or the mirror, or run again later"
            raise FetchError(address, message, reason=f"connection: {cause}") from error
        status = response.status_code
        if status in good:
            return response
        response.close()
        if status in NOT_PUBLISHED_STATUS:
            message = f"is not there (status {status}); check the address or the mirror"
            raise FetchError(address, message, reason="not there", missing=True)
        message = f"cannot be fetched (status {status} {response.reason}); check the mirror, or run again later"
        raise FetchError(address, message, reason=f"status {status}")


class _BadBodyError(Exception):
    """A body was cut off or is not what was asked for; its text is the reason. Asking again may help."""


class _Session(requests.Session):
    """A session whose redirects to a public host stay with the mirror."""

    def __init__(self, mirror: str | None) -> None:
        super().__init__()
        self.mirror = mirror
        self.headers.update(HEADERS)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        return target and mirrored(urljoin(resp.url, target), self.mirror)


def _body(response: requests.Response) -> Iterator[bytes]:
    """The body in chunks; `_BadBodyError` if it is cut off."""
    declared, position = response.raw.length_remaining, 0
    try:
        while chunk := response.raw.read1(CHUNK):
            position += len(chunk)
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        total = "" if declared is None else f" of {declared:,}"
        raise _BadBodyError(f"cut off: {position:,}{total} bytes") from error


def discard(part: Path) -> None:
    """Remove a partial file and its note."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, address: str, size: int | None, headers: dict) -> None:
    """Note which version of which file `part` will hold."""
    version = headers.get("ETag", "")
    if version.startswith("W/") or not version:  # a weak tag does not promise the same bytes
        version = headers.get("Last-Modified", "")
    _note(part).write_text(json.dumps({"address": address, "size": size, "version": version}))


def _read_note(part: Path, address: str) -> dict:
    """The note about a partial file; empty where it cannot be resumed, or is of another file."""
    try:
        known = json.loads(_note(part).read_text())
        usable = part.exists() and known["address"] == address and known["version"] and known["size"] > 0
        return known if usable else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
