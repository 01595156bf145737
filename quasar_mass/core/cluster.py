"""The same work on the workers of a Dask scheduler; the one room that imports Dask, and only when one is named.

A worker reads and writes the survey's files itself: it must see them under the same names. What travels is which rows
or files to take and, back, rejects, masses, counts. Dask gives the share of a worker that died to another one; the
same work gives the same bytes, so nothing shows of it.
"""

import asyncio
import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import os
import pickle
import platform
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from quasar_mass.core.errors import ClusterError, first_line

CONNECT = 10.0  # seconds to wait for a scheduler's answer
ALONE = 30.0  # seconds that a scheduler may be without any worker
_LOOK = 5.0  # seconds between two looks at whether there are workers
# Packages whose version can change a bit of the results.
_PACKAGES = ("astropy", "dust_extinction", "h5py", "keras", "numpy", "pandas", "pyarrow", "scipy", "tensorflow")
_INSTALL = "pip install -r requirements.txt, or: pip install dask distributed"
_START = "start the workers in the repository's folder with its Python: .venv/bin/python -m dask worker ADDRESS"


def ordered_map(function: Callable, tasks: list[tuple], address: str, needs: Iterable[Path] = ()) -> Iterator:
    """Do as `parallel.ordered_map` does on the workers of the scheduler at `address`; parameters, errors as there."""
    client = _connect(address)
    here = facts(), {path: _stamp(path) for path in needs}
    waiting: deque = deque()
    try:
        for task in tasks:
            call = _Call(here, pickle.dumps((function, task)))
            waiting.append(client.submit(pickle.loads, pickle.dumps(call), pure=False))
            if len(waiting) > 2 * sum(client.nthreads().values()):
                yield _result(waiting.popleft(), client, address)
        while waiting:
            yield _result(waiting.popleft(), client, address)
    except _broken() as error:
        raise ClusterError(
            f"the scheduler {address}",
            expected="to be there to the end",
            got=first_line(error).rstrip("."),
            do="look at its log",
        ) from error
    finally:
        with contextlib.suppress(*_broken(), TimeoutError):
            client.cancel(list(waiting), force=True)
        client.close(timeout=CONNECT)


class _Call:
    """A call that happens where it is unpickled.

    So a scheduler, which unpickles what it hands on, needs nothing of ours: it sees `pickle.loads` and some bytes.
    """

    def __init__(self, here: tuple, work: bytes) -> None:
        self.arguments = here, work

    def __reduce__(self) -> tuple:
        return _work, self.arguments


def _work(here: tuple, work: bytes) -> object:
    """Check that this worker is as the machine that sent the work, and do it."""
    theirs, needs = here
    mine = facts()
    differs = [name for name in theirs if theirs[name] != mine.get(name)]
    if differs:
        name = differs[0]
        raise ClusterError(
            _me(), expected=f"{name} {theirs[name]}, as here", got=str(mine.get(name)), do="use one version everywhere"
        )
    for path, stamp in needs.items():
        if _stamp(path) != stamp:
            raise ClusterError(
                _me(),
                expected=f"to see {path} as this machine does",
                got="another file of that name" if path.exists() else "no such file there",
                do="put the survey and the models on a disk that all of them share under one name",
            )
    function, task = pickle.loads(work)
    with threadpool_limits(1, "blas"):
        return function(*task)


@functools.cache
def facts() -> dict[str, str]:
    """What must be the same here and on a worker: the versions of Python and of the packages, and our own code."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    code = hashlib.sha256()
    home = Path(__file__).parents[1]
    for file in sorted(home.rglob("*.py")):
        code.update(file.relative_to(home).as_posix().encode() + file.read_bytes())
    return found | {"quasar_mass": code.hexdigest()[:12]}


def _stamp(path: Path) -> tuple | None:
    """Size and time of a file, by which two machines know it for the same; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, int(found.st_mtime)


def _me() -> str:
    from distributed import get_worker

    return f"the worker {get_worker().address} on {socket.gethostname()}"


def _connect(address: str):
    """A client of the scheduler, once it has a worker."""
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            "--scheduler", expected="the packages dask and distributed", got=str(error), do=f"install them: {_INSTALL}"
        ) from error
    for name in logging.root.manager.loggerDict:
        if name.split(".")[0] in ("distributed", "tornado"):  # what there is to say is said in one sentence
            logging.getLogger(name).disabled = True
    try:
        with ThreadPoolExecutor(1) as aside:  # a notebook has an event loop of its own
            found = aside.submit(asyncio.run, _identity(address)).result()
    except (OSError, TimeoutError, ValueError) as error:
        found = f"no answer within {CONNECT:g} seconds ({first_line(error).rstrip('.')})"
    if found != "Scheduler":
        raise ClusterError(
            f"--scheduler {address}",
            expected="a Dask scheduler at this address",
            got=found,
            do="start one: .venv/bin/python -m dask scheduler; it says its address",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)  # `facts` knows which matter
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    try:
        client.wait_for_workers(1, timeout=ALONE)
    except TimeoutError as error:
        client.close(timeout=CONNECT)
        raise _no_workers(address) from error
    return client


async def _identity(address: str) -> str:
    """Ask who is there; a client alone would wait without end for one who answers, but not as Dask does."""
    import distributed

    keys = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT), distributed.rpc(address, connection_args=keys) as who:
        kind = (await who.identity())["type"]
    return kind if kind == "Scheduler" else f"a {kind.lower()}"


def _result(future, client, address: str) -> object:
    """Wait for a result as long as there is somebody who could give it."""
    from distributed import KilledWorker

    alone = 0.0
    while True:
        try:
            return future.result(timeout=_LOOK)
        except TimeoutError:
            if future.status == "error":  # the work's own
                raise
            alone = 0.0 if client.nthreads() else alone + _LOOK
            if alone >= ALONE:
                raise _no_workers(address) from None
        except KilledWorker as error:
            raise ClusterError(
                f"the workers of {address}",
                expected="to live through a share of the work",
                got=f"the sudden end of {error.allowed_failures + 1} of them at the same share",
                do="give them more memory (--memory-limit), and look at their logs",
            ) from error
        except ImportError as error:
            raise ClusterError(f"a worker of {address}", expected="this code", got=str(error), do=_START) from error


def _no_workers(address: str) -> ClusterError:
    got = f"none for {ALONE:g} seconds"
    return ClusterError(f"the scheduler {address}", expected="a worker at least", got=got, do=_START)


def _broken() -> tuple[type[Exception], ...]:
    """The errors that say that the scheduler cannot be reached, or has gone."""
    from distributed.comm import CommClosedError

    return CommClosedError, CancelledError, ConnectionError
