"""Asking a server for files politely: retries, redirects, limits, and resuming where a download was cut off.

Written on `requests` alone. (`pooch` does not resume, retry by Retry-After, or refuse a redirect, which the big files
here need.)
"""

import json
import os
import random
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import urllib3.exceptions

from quasar_mass import __version__
from quasar_mass.core.errors import FetchError
from quasar_mass.fetch.responses import Policy, Stopped, Temporary, accepted, content_range, length, refused, say
from quasar_mass.fetch.urls import MAX_CONNECTIONS, mirrored

REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 5
PIECE = 1 << 18  # bytes read at a time
PATIENT = Policy()
# Lengths and ranges count the file's own bytes, so it must come as it is.
HEADERS = {"User-Agent": f"quasar-mass-ml/{__version__} (python-requests)", "Accept-Encoding": "identity"}


class Client:
    """Fetches files; to be used by many threads at once.

    Parameters
    ----------
    mirror : str, optional
        Scheme and host that stand in for every public one.
    policy : Policy
        How patient it is.
    say : callable
        Told in one line what the user must wait for.
    """

    def __init__(
        self,
        mirror: str | None = None,
        *,
        policy: Policy = PATIENT,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.mirror, self.policy, self.say = mirror, policy, say
        self.stopping = threading.Event()
        # One pool of connections for all threads. A session on top of it would handle cookies, redirects and settings
        # anew for every request, which for small files takes as long as all the rest.
        self._pool = requests.adapters.HTTPAdapter(pool_connections=8, pool_maxsize=MAX_CONNECTIONS, max_retries=0)
        self._lock = threading.Lock()
        self._settings: dict[str, dict] = {}  # of a host: proxies and certificates that the environment names
        self._not_before = 0.0  # monotonic time before which the servers asked not to be called

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def get(self, address: str, *, limit: int, check: Callable[[bytes], object] = lambda content: None) -> bytes:
        """Fetch a small file whole.

        Parameters
        ----------
        address : str
            Its public address.
        limit : int
            Most bytes it can have; more are refused.
        check : callable
            Raises `Temporary` if the content is not what it should be; the file is then asked for again.

        Raises
        ------
        FetchError
            If it is not there (``missing``), or could not be brought after all tries.
        """
        address = mirrored(address, self.mirror)

        def once() -> bytes:
            with self._ask(address) as response:
                pieces: list[bytes] = []
                self._read(response, address, limit, pieces.append)
            content = b"".join(pieces)
            check(content)
            return content

        return self._persist(address, once, lambda: 0)

    def download(
        self,
        address: str,
        part: Path,
        *,
        limit: int,
        size: int | None = None,
        advance: Callable[[int, int | None], None] = lambda position, total: None,
    ) -> None:
        """Fetch a big file into `part`, going on where an earlier call was cut off.

        Beside it stands a note of what is being fetched (``.json``), so that two versions are never joined.

        Parameters
        ----------
        address : str
            Its public address.
        part : Path
            Where it goes; the caller checks and renames it.
        limit : int
            Most bytes it can have.
        size : int, optional
            Bytes it must have, where that is known.
        advance : callable
            Told the number of bytes that are there, and of all, where that is known.

        Raises
        ------
        FetchError
            As `get`.
        """
        address = mirrored(address, self.mirror)
        part.parent.mkdir(parents=True, exist_ok=True)
        self._persist(
            address,
            lambda: self._go_on(address, part, limit, size, advance),
            lambda: part.exists() and part.stat().st_size,
        )

    def _go_on(self, address: str, part: Path, limit: int, size: int | None, advance: Callable) -> None:
        """Fetch what is missing of a big file, once."""
        note = note_of(part)
        known = _read_note(note, address) if part.exists() else {}
        have = part.stat().st_size if known else 0
        total = known.get("size")
        if known and have == total:
            advance(have, total)
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and known.get("version"):
            headers["If-Range"] = known["version"]
        with self._ask(address, headers, (200, 206, 416) if have else (200,)) as response:
            if response.status_code == 416:
                forget(part)
                raise Temporary("another file: the server's copy is shorter now; starting again")
            if response.status_code == 206:
                start, total = content_range(response, address)
                if start != have or total != known["size"]:
                    forget(part)
                    raise Temporary("another file: the server's copy has changed; starting again")
            else:
                have, total = 0, length(response, address, limit)
            if size is not None and total not in (None, size):
                raise refused(address, f"{size:,} bytes, as listed", f"{total:,}", "size: not the one listed")
            if not have:
                part.unlink(missing_ok=True)
                version = response.headers.get("ETag", "")
                if version.startswith("W/") or not version:  # a weak tag does not vouch for bytes
                    version = response.headers.get("Last-Modified", "")
                note.write_text(json.dumps({"address": address, "size": total or size, "version": version}))
            with open(part, "ab") as file:

                def write(piece: bytes) -> None:
                    file.write(piece)
                    advance(file.tell(), total)

                advance(have, total)
                self._read(response, address, limit, write, already=have)
                file.flush()
                os.fsync(file.fileno())
        got, wanted = part.stat().st_size, total or size
        if wanted is not None and got != wanted:
            raise Temporary(f"cut off: {got:,} of {wanted:,} bytes")

    def _persist(self, address: str, once: Callable, position: Callable[[], int]):
        """Do something until it succeeds, fails for good, or has been tried often enough."""
        tries = told = 0
        while True:
            before = position()
            while (ahead := self._not_before - time.monotonic()) > 0:
                self._sleep(ahead)
            self._sleep(0)
            try:
                return once()
            except Temporary as trouble:
                reason, wait = str(trouble), trouble.wait
            if wait is not None and wait <= self.policy.longest_wait and told < self.policy.told:
                told += 1
                wait = max(wait, self.policy.backoff)  # "at once" is not taken at its word
                if wait >= 10:
                    self.say(f"{urlsplit(address).netloc} asks to wait {wait:,.0f} s")
                with self._lock:
                    self._not_before = max(self._not_before, time.monotonic() + wait)
                continue
            tries = 1 if position() - before >= self.policy.progress else tries + 1
            if wait is not None or tries >= self.policy.tries:
                do = "run the same command again later"
                raise FetchError(address, expected="the file", got=reason, do=do, reason=reason)
            self._sleep(self.policy.backoff * 2 ** (tries - 1) * random.uniform(0.5, 1.5))

    def _sleep(self, seconds: float) -> None:
        if self.stopping.is_set() or (seconds > 0 and self.stopping.wait(seconds)):
            raise Stopped

    def _settings_for(self, address: str) -> dict:
        """Proxies and certificates that the environment names for a host."""
        parts = urlsplit(address)
        found = self._settings.get(parts.netloc)
        if found is None:
            with requests.Session() as session:
                found = session.merge_environment_settings(address, {}, None, None, None)
            self._settings[parts.netloc] = found = {key: found[key] for key in ("proxies", "verify")}
        return found

    def _ask(self, address: str, headers: dict | None = None, good: tuple[int, ...] = (200,)) -> requests.Response:
        """Send one request, following redirects to web addresses alone; the body is not read yet."""
        at = address
        for _ in range(MAX_REDIRECTS + 1):
            try:
                request = requests.PreparedRequest()
                request.prepare_method("GET")
                request.prepare_url(at, None)
                request.prepare_headers(HEADERS | (headers or {}))
                timeout = (self.policy.connect, self.policy.silence)
                response = self._pool.send(request, stream=True, timeout=timeout, **self._settings_for(at))
            except requests.exceptions.SSLError as error:
                raise refused(
                    address, "a certificate that can be trusted", str(error), "certificate: not trusted"
                ) from error
            except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
                raise refused(address, "a web address", str(error), "redirect: not a web address") from error
            except requests.exceptions.Timeout as error:
                raise Temporary(f"timeout: no answer in {self.policy.silence:g} s") from error
            except requests.exceptions.RequestException as error:
                raise Temporary(f"connection: {say(error)}") from error
            if response.status_code not in REDIRECTS:
                return accepted(response, address, good)
            with response:
                target = urljoin(at, response.headers.get("Location", ""))
            scheme, was = urlsplit(target).scheme, urlsplit(at).scheme
            if scheme not in ("http", "https") or (was == "https" and scheme != "https"):
                raise refused(address, f"a redirect to {was}", target, f"redirect: refused, to {scheme or 'nowhere'}:")
            at = mirrored(target, self.mirror)
        raise refused(address, f"at most {MAX_REDIRECTS} redirects", "more", "redirect: too many")

    def _read(
        self,
        response: requests.Response,
        address: str,
        limit: int,
        write: Callable[[bytes], object],
        *,
        already: int = 0,
    ) -> None:
        """Pass a body on in pieces, and see that it is complete, not too long and not too slow."""
        declared = length(response, address, limit - already)
        got, since, before = 0, time.monotonic(), 0
        while True:
            if self.stopping.is_set():
                raise Stopped
            try:
                piece = response.raw.read1(PIECE)
            except urllib3.exceptions.ReadTimeoutError as error:
                raise Temporary(f"timeout: {got:,} bytes, then nothing for {self.policy.silence:g} s") from error
            except (urllib3.exceptions.HTTPError, OSError, ssl.SSLError) as error:
                of = "" if declared is None else f" of {declared:,}"
                raise Temporary(f"cut off: {got:,}{of} bytes") from error
            if not piece:
                break
            got += len(piece)
            if got > limit - already:
                raise refused(address, f"at most {limit:,} bytes", "more", f"too long: more than {limit:,} bytes")
            write(piece)
            now = time.monotonic()
            if now - since > self.policy.window:
                if got - before < self.policy.slowest * (now - since):
                    raise Temporary(f"too slow: {got - before:,} bytes in {now - since:.0f} s")
                since, before = now, got
        if declared is not None and got != declared:
            raise Temporary(f"cut off: {got:,} of {declared:,} bytes")


def note_of(part: Path) -> Path:
    """Where the note about a partial file stands."""
    return part.with_name(f"{part.name}.json")


def forget(part: Path) -> None:
    """Remove a partial file and its note."""
    part.unlink(missing_ok=True)
    note_of(part).unlink(missing_ok=True)


def _read_note(note: Path, address: str) -> dict:
    """What a partial file is a part of; empty where it is not known, or of another file."""
    try:
        known = json.loads(note.read_text())
        return known if known["address"] == address and isinstance(known["size"], int) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
