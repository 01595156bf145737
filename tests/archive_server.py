"""A server on loopback that serves the paths of the public addresses, and misbehaves on demand.

In a test, ``with Archive(content, fault=...) as archive: archive.url``; from a shell, as a process of its own,
``python tests/archive_server.py --spectra 1000 --latency 0.02`` prints its address and serves spec files until its
standard input ends.
"""

import argparse
import asyncio
import contextlib
import hashlib
import io
import random
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Please come back later.</body></html>"
FAULTS = ("drop", "429", "500", "truncate", "html", "short", "drip", "redirect", "chunked", "chunked, cut")


@dataclass
class Request:
    """One request as a fault sees it: its path with query, how often that was asked for before, its headers."""

    path: str
    count: int
    headers: dict


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
    tags : bool
        Whether an ETag is sent.
    """

    def __init__(
        self, content, *, fault: Callable | None = None, latency: float = 0.0, ranges: bool = True, tags: bool = True
    ) -> None:
        self.content = content.get if isinstance(content, Mapping) else content
        self.fault, self.latency, self.ranges, self.tags = fault or (lambda request: None), latency, ranges, tags
        self.asked: Counter = Counter()  # path to number of requests
        self.whole: Counter = Counter()  # path to number of whole, good answers
        self.sent = 0  # bytes of bodies
        self.open = self.most_open = 0  # requests at a time
        self.url = ""
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Archive":
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end, tasks = asyncio.get_running_loop(), asyncio.Event(), set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            tasks.add(task)
            try:
                await self._connection(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._end.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 2)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split()[1]
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)}
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            try:
                if self.latency:
                    await asyncio.sleep(self.latency)
                await self._answer(path, headers, writer)
            finally:
                self.open -= 1

    async def _answer(self, path: str, headers: dict, writer: asyncio.StreamWriter) -> None:
        count, self.asked[path] = self.asked[path], self.asked[path] + 1
        fault = self.fault(Request(path, count, headers)) or ""
        body = self.content(path.removesuffix("?again"))
        if isinstance(body, Path):
            body = body.read_bytes()
        if body is None:
            return await self._send(writer, 404, b"<html>not found</html>")
        if fault in ("429", "500") or fault.startswith(("after ", "status ")):
            kind, _, number = fault.partition(" ")
            if kind in ("429", "after"):
                return await self._send(writer, 429, b"slow down", {"Retry-After": number or "0"})
            return await self._send(writer, int(number or 500), b"no")
        if fault == "redirect" and not path.endswith("?again"):
            return await self._send(writer, 302, b"", {"Location": path + "?again"})
        if fault.startswith("location "):
            return await self._send(writer, 302, b"", {"Location": fault.partition(" ")[2]})
        if fault.startswith("chunked"):  # without a length
            half = len(body) // 2
            head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"%x\r\n%b\r\n" % (half, body[:half]))
            if fault == "chunked, cut":
                await writer.drain()
                writer.write_eof()
                raise ConnectionResetError
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - half, body[half:]))
            return await writer.drain()
        if fault == "html":
            return await self._send(writer, 200, HTML)
        if fault == "short":  # a consistent answer, but of a part of the file
            return await self._send(writer, 200, body[: len(body) // 2880 // 2 * 2880])
        if fault.startswith("length "):
            return await self._send(writer, 200, body, {"Content-Length": fault.partition(" ")[2]})
        extra = {"Accept-Ranges": "bytes"} | ({"ETag": f'"{zlib.crc32(body):08x}"'} if self.tags else {})
        status, part = 200, body
        asked = headers.get("range", "")
        if asked and self.ranges and headers.get("if-range", extra.get("ETag")) == extra.get("ETag"):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return await self._send(writer, 416, b"", {"Content-Range": f"bytes */{len(body)}"})
            status, part = 206, body[start:]
            extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        await self._send(writer, status, part, extra, fault=fault, path=path)
        if not fault:
            self.whole[path] += 1

    async def _send(self, writer, status: int, body: bytes, extra: dict | None = None, *, fault="", path="") -> None:
        headers = {"Content-Length": str(len(body)), "Content-Type": "application/octet-stream"} | (extra or {})
        lines = [f"HTTP/1.1 {status} X", *(f"{key}: {value}" for key, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if fault in ("drop", "truncate"):
            seed = f"{path} {self.asked[path]}"
            cut = random.Random(seed).randrange(len(body)) if fault == "drop" else len(body) // 2
            writer.write(body[:cut])
            self.sent += cut
            await writer.drain()
            if fault == "truncate":  # an orderly end, but too early
                writer.write_eof()
            raise ConnectionResetError
        if fault == "drip":
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        self.sent += len(body)
        writer.write(body)
        await writer.drain()


def at_random(share: float, kinds: tuple = FAULTS, *, seed: int = 1) -> Callable[[Request], str | None]:
    """A fault on a share of all requests, the same ones on every run."""

    def fault(request: Request) -> str | None:
        draw = random.Random(f"{seed} {request.path} {request.count}")
        return draw.choice(kinds) if draw.random() < share else None

    return fault


def tree(folder: Path) -> Callable[[str], Path | None]:
    """Content from a folder whose tree is that of the public paths."""

    def content(path: str) -> Path | None:
        file = folder / path.partition("?")[0].lstrip("/")
        return file if file.is_file() else None

    return content


def published(survey: Path) -> Callable[[str], Path | None]:
    """A survey's folder, simulated for example, under the public paths of the sky's catalogues and spectra."""
    fixed = {
        "/0067-0049/244/2/36/suppdata/apjsab41fet1_mrt.txt": survey / "apjsab41fet1_mrt.txt",
        "/sas/dr16/eboss/qso/DR16Q/DR16Q_v4.fits": survey / "bigger_data" / "DR16Q_v4.fits",
    }
    lite = "/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/"

    def content(path: str) -> Path | None:
        file = fixed.get(path) or (survey / "spectra" / path.removeprefix(lite) if path.startswith(lite) else None)
        return file if file is not None and file.is_file() else None

    return content


def many_spectra(number: int, pixels: int, holes: int = 0) -> tuple[list[tuple[int, int, int]], Callable]:
    """Epochs, and content for their public addresses that is made when it is asked for: the same for every call.

    Every `holes`-th one, if given, is not there.
    """
    epochs = [(4000 + n // 500, 56000 + n // 500, 1 + n % 500) for n in range(number)]
    there = [epoch for n, epoch in enumerate(epochs, 1) if not (holes and n % holes == 0)]
    names = {f"spec-{p:04d}-{m:05d}-{f:04d}.fits": (p, m, f) for p, m, f in there}
    template, cards, data = _template(pixels)

    def content(path: str) -> bytes | None:
        epoch = names.get(path.rpartition("/")[2])
        if epoch is None or "/v5_13_0/" not in path:
            return None
        made = bytearray(template)
        for place, value in zip(cards, epoch, strict=True):
            made[place : place + 20] = b"%20d" % value
        rows = np.frombuffer(made, ">f4", 8 * pixels, data).reshape(pixels, 8)
        rows[:, 0] += np.resize(np.frombuffer(hashlib.shake_128(repr(epoch).encode()).digest(256), np.uint8), pixels)
        return bytes(made)

    return epochs, content


def _template(pixels: int) -> tuple[bytes, list[int], int]:
    """A spec-lite file, where its name stands in HDU 0 (plate, mjd, fiberid), and where the pixels begin."""
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    primary.header.update({"PLATEID": 0, "MJD": 0, "FIBERID": 0, "RUN2D": "v5_13_0"})
    forms = zip(("FLUX", "LOGLAM", "IVAR", "AND_MASK", "OR_MASK", "WDISP", "SKY", "MODEL"), "EEEJJEEE", strict=True)
    loglam = 3.55 + 1e-4 * np.arange(pixels)
    coadd = [fits.Column(name, form, array=loglam if name == "LOGLAM" else np.ones(pixels)) for name, form in forms]
    row = [fits.Column("CLASS", "6A", array=["QSO"]), fits.Column("Z", "E", array=[1.6])]
    lines = [fits.Column("LINENAME", "13A", array=["C_IV 1549", "MgII 2799"])]
    hdus = fits.HDUList([primary, *(fits.BinTableHDU.from_columns(columns) for columns in (coadd, row, lines))])
    file = io.BytesIO()
    hdus.writeto(file)
    content = file.getvalue()
    cards = [content.index(key.ljust(8).encode() + b"= ") + 10 for key in ("PLATEID", "MJD", "FIBERID")]
    header = content.index(b"XTENSION")  # of HDU 1, whose data begin with the block after the one of its END
    data = header + -(-(content.index(b"END".ljust(80), header) + 80 - header) // 2880) * 2880
    return content, cards, data


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=6400, help="6,400 make the 219 kB of a real file")
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    epochs, content = many_spectra(options.spectra, options.pixels)
    lite = "/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/"
    paths = (f"{lite}{p:04d}/spec-{p:04d}-{m:05d}-{f:04d}.fits" for p, m, f in epochs)
    # all made before the first is asked for, so that the server's own work is not what is measured
    with Archive({path: content(path) for path in paths}, latency=options.latency, tags=False) as archive:
        print(archive.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
