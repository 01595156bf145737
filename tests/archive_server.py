"""A server on loopback that serves the paths of the public addresses, and misbehaves on demand.

In a test, ``with Archive(content, fault=...) as archive: archive.url``; from a shell, as a process of its own,
``python tests/archive_server.py --spectra 1000 --latency 0.02`` prints its address and serves spec files until its
standard input ends.
"""

import argparse
import contextlib
import functools
import random
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))  # for a process of its own

from quasar_mass.fetch.urls import spectrum  # noqa: E402
from quasar_mass.spectra.fits_bytes import card  # noqa: E402
from quasar_mass.spectra.spec_lite import Pixels, spec_lite  # noqa: E402

HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Please come back later.</body></html>"
FAULTS = ("drop", "after 0", "status 500", "truncate", "html", "short", "redirect", "chunked", "chunked, cut")
LITE = "/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/"


@dataclass
class Request:
    """One request as a fault sees it: its path with query, how often that was asked for before, its headers."""

    path: str
    count: int
    headers: Mapping


class Archive:
    """Serve content from memory or files.

    Parameters
    ----------
    content : mapping or callable
        Path with query to bytes, to a file's path, or to None where there is nothing.
    fault : callable, optional
        Given a `Request`, the name of one of `FAULTS`, ``"location URL"`` for a redirect there, ``"status N"``,
        ``"length N"`` for a declared length, ``"after N"`` for 429 with Retry-After: N, or None for a good answer.
    latency : float
        Seconds before each answer.
    ranges : bool
        Whether Range is understood.
    """

    def __init__(self, content, *, fault: Callable | None = None, latency: float = 0.0, ranges: bool = True) -> None:
        self.content = content.get if isinstance(content, Mapping) else content
        self.fault, self.latency, self.ranges = fault or (lambda request: None), latency, ranges
        self.lock = threading.Lock()
        self.asked: Counter = Counter()  # path to number of requests
        self.whole: Counter = Counter()  # path to number of whole, good answers
        self.sent = 0  # bytes of bodies
        self.open = self.max_open = 0  # requests at a time

    def __enter__(self) -> "Archive":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"archive": self}))
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    archive: Archive
    protocol_version = "HTTP/1.1"
    wbufsize, disable_nagle_algorithm = -1, True

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that was killed
            super().handle()

    def do_GET(self) -> None:
        archive = self.archive
        with archive.lock:
            count, archive.asked[self.path] = archive.asked[self.path], archive.asked[self.path] + 1
            archive.open += 1
            archive.max_open = max(archive.max_open, archive.open)
            fault = archive.fault(Request(self.path, count, self.headers)) or ""
        try:
            time.sleep(archive.latency)
            self.answer(fault)
            self.wfile.flush()
        finally:
            with archive.lock:
                archive.open -= 1

    def answer(self, fault: str) -> None:
        body = self.archive.content(self.path.removesuffix("?again"))
        if isinstance(body, Path):
            body = body.read_bytes()
        kind, _, value = fault.partition(" ")
        if body is None:
            self.send(404, b"<html>not found</html>")
        elif kind == "after":
            self.send(429, b"slow down", {"Retry-After": value})
        elif kind == "status":
            self.send(int(value), b"no")
        elif kind == "location" or (kind == "redirect" and not self.path.endswith("?again")):
            self.send(302, b"", {"Location": value or self.path + "?again"})
        elif kind.startswith("chunked"):  # without a length
            self.send_chunked(body, cut=bool(value))
        elif kind == "html":
            self.send(200, HTML)
        elif kind == "short":  # a consistent answer, but of a part of the file
            self.send(200, body[: len(body) // 2880 // 2 * 2880])
        elif kind == "length":
            self.send(200, body, {"Content-Length": value})
        else:
            self.send_file(body, kind)

    def send_file(self, body: bytes, kind: str) -> None:
        tag, size = f'"{zlib.crc32(body):08x}"', len(body)
        headers, status, part = {"ETag": tag}, 200, body
        asked = self.headers.get("Range", "")
        if asked and self.archive.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            status, part = 206, body[start:]
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        cut = len(part)
        if kind in ("drop", "truncate"):
            draw = random.Random(f"{self.path} {self.archive.asked[self.path]}")
            cut = draw.randrange(len(part)) if kind == "drop" else len(part) // 2
            self.close_connection = True
        self.send(status, part[:cut], headers | {"Content-Length": str(len(part))})
        if not kind:
            with self.archive.lock:
                self.archive.whole[self.path] += 1

    def send(self, status: int, body: bytes, headers: dict | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        with self.archive.lock:
            self.archive.sent += len(body)
        self.wfile.write(body)

    def send_chunked(self, body: bytes, *, cut: bool) -> None:
        half = len(body) // 2
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (half, body[:half]))
        if cut:
            self.close_connection = True
        else:
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - half, body[half:]))


def at_random(fraction: float, kinds: tuple = FAULTS, *, seed: int = 1) -> Callable[[Request], str | None]:
    """A fault on a fraction of all requests, the same ones on every run."""

    def fault(request: Request) -> str | None:
        draw = random.Random(f"{seed} {request.path} {request.count}")
        return draw.choice(kinds) if draw.random() < fraction else None

    return fault


def published(survey: Path) -> Callable[[str], Path | None]:
    """A survey's folder, simulated for example, under the public paths of the real catalogues and spectra."""
    catalogs = {
        "/0067-0049/244/2/36/suppdata/apjsab41fet1_mrt.txt": survey / "apjsab41fet1_mrt.txt",
        "/sas/dr16/eboss/qso/DR16Q/DR16Q_v4.fits": survey / "bigger_data" / "DR16Q_v4.fits",
    }

    def content(path: str) -> Path | None:
        file = catalogs.get(path, survey / "spectra" / path.removeprefix(LITE).lstrip("/"))
        return file if file.is_file() else None

    return content


def many_spectra(number: int, pixels: int, holes: int = 0) -> tuple[list[tuple[int, int, int]], Callable]:
    """Spectra (plate, mjd, fiberid), and content for their public addresses that is the same for every call.

    Every `holes`-th one, if given, is not there.
    """
    spec_ids = [(4000 + n // 500, 56000 + n // 500, 1 + n % 500) for n in range(number)]
    there = {f"{LITE}{p:04d}/spec-{p:04d}-{m:05d}-{f:04d}.fits": (p, m, f) for p, m, f in spec_ids}
    if holes:
        there = dict(item for n, item in enumerate(there.items(), 1) if n % holes)
    ones, zeros = np.ones(pixels), np.zeros(pixels, int)

    def content(path: str) -> bytes | None:
        if path not in there:
            return None
        flux = np.random.default_rng(there[path]).normal(10.0, 1.0, pixels)
        columns = Pixels(35500, flux, ones, zeros, zeros, ones, ones, ones)
        names = zip(("PLATEID", "MJD", "FIBERID", "RUN2D"), (*there[path], "v5_13_0"), strict=True)
        cards = [card(key, value) for key, value in names]
        return spec_lite(there[path], columns, {"CLASS": "QSO", "Z": 1.6}, cards, redshift=1.6)

    return spec_ids, content


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=6400, help="6,400 make the 219 kB of a real file")
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    spec_ids, content = many_spectra(options.spectra, options.pixels)
    with Archive(functools.cache(content), latency=options.latency) as archive:
        for spec_id in spec_ids:  # made before the first is asked for: the server's own work is not to be measured
            archive.content(spectrum(*spec_id, "v5_13_0").removeprefix("https://data.sdss.org"))
        print(archive.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
