"""Work on the workers of a Dask scheduler. Dask is imported here alone, and only when a scheduler is named.

A worker reads and writes the survey's files itself. What travels is which rows or files to take and, back, rejected
spectra, masses and counts. Dask gives the tasks of a worker that died to another one.
"""

import asyncio
import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import pickle
import platform
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from quasar_mass.core import extras
from quasar_mass.core.errors import ClusterError, first_line

CONNECT_TIMEOUT = 10.0  # seconds to wait for a scheduler's answer
WORKER_TIMEOUT = 30.0  # seconds to wait for its first worker
# Packages whose version can change the last digit of the results.
_PACKAGES = ("astropy", "h5py", "keras", "numpy", "onnxruntime", "pandas", "pyarrow", "scipy")
_PACKAGES += ("tensorflow", "tensorflow-cpu")
_START = "start workers in the repository's folder with its Python: .venv/bin/python -m dask worker ADDRESS"


@contextlib.contextmanager
def connect(address: str, needs: Iterable[Path] = ()) -> Iterator[tuple[Callable, Callable[[], int]]]:
    """Connect to a scheduler.

    Parameters
    ----------
    address : str
        For example ``tcp://HOST:8786``.
    needs : iterable of Path
        Files that every worker must see as this machine does.

    Yields
    ------
    submit : callable
        ``submit(function, *arguments)`` gives a future.
    n_threads : callable
        How many tasks the workers can do at a time now.

    Raises
    ------
    ClusterError
        If there is no scheduler, no worker, or one of other versions or another disk; also from within the block.
    """
    try:
        import distributed
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise ClusterError("--scheduler", extras.missing("distributed")) from error
    client = _client(address)
    here = versions(), {path: _stamp(path) for path in needs}

    def submit(function: Callable, *arguments):
        task = _Task(here, pickle.dumps((function, arguments)))
        return client.submit(pickle.loads, pickle.dumps(task), pure=False)

    try:
        yield submit, lambda: sum(client.nthreads().values())
    except distributed.KilledWorker as error:
        died = error.allowed_failures + 1
        raise ClusterError(
            f"the workers of {address}",
            f"{died} of them died at the same task; give them more memory (--memory-limit), and look at their logs",
        ) from error
    except (CommClosedError, CancelledError, ConnectionError) as error:
        said = first_line(error).rstrip(".")
        raise ClusterError(f"the scheduler {address}", f"was lost ({said}); look at its log") from error
    except ImportError as error:
        raise ClusterError(f"a worker of {address}", f"lacks this code ({error}); {_START}") from error
    finally:
        client.close(timeout=CONNECT_TIMEOUT)


def _client(address: str):
    """A client of the scheduler, once this has a worker."""
    import distributed

    for name in logging.root.manager.loggerDict:
        if name.split(".")[0] in ("distributed", "tornado"):  # the error raised below says it in one sentence
            logging.getLogger(name).disabled = True
    try:
        with ThreadPoolExecutor(1) as pool:  # a notebook has an event loop of its own in this thread
            answer = pool.submit(asyncio.run, _identify(address)).result()
    except (OSError, TimeoutError, ValueError) as error:
        answer = f"no answer within {CONNECT_TIMEOUT:g} seconds ({first_line(error).rstrip('.')})"
    if answer != "Scheduler":
        raise ClusterError(
            f"--scheduler {address}",
            f"is not the address of a Dask scheduler: {answer}; start one, .venv/bin/python -m dask scheduler, which "
            "prints its address",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)  # `versions` has what matters
        client = distributed.Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT)
    except TimeoutError as error:
        client.close(timeout=CONNECT_TIMEOUT)
        raise ClusterError(
            f"the scheduler {address}", f"has had no worker for {WORKER_TIMEOUT:g} seconds; {_START}"
        ) from error
    return client


async def _identify(address: str) -> str:
    """Ask what kind of server answers; Dask's client would wait forever for a server that is not Dask's."""
    import distributed

    keys = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT_TIMEOUT), distributed.rpc(address, connection_args=keys) as server:
        kind = (await server.identity())["type"]
    return kind if kind == "Scheduler" else f"a {kind.lower()} answers"


class _Task:
    """A call that happens where it is unpickled.

    Dask sees only `pickle.loads` and bytes: its scheduler needs no code of ours, and a worker that lacks it reports an
    ordinary error (it would end if it could not read a message).
    """

    def __init__(self, here: tuple[dict, dict], work: bytes) -> None:
        self.arguments = here, work

    def __reduce__(self) -> tuple:
        return _run, self.arguments


def _run(here: tuple[dict, dict], work: bytes) -> object:
    """Do the work on a worker that has the versions, and sees the files, of the machine that sent it."""
    theirs, needs = here
    mine, name_here = versions(), f"the worker on {socket.gethostname()}"
    for name in theirs:
        if theirs[name] != mine[name]:
            raise ClusterError(
                name_here, f"has {name} {mine[name]} instead of {theirs[name]}; use one version everywhere"
            )
    for path, stamp in needs.items():
        if _stamp(path) != stamp:
            raise ClusterError(
                name_here,
                f"sees another {path} than this machine, or none; put the survey, the models and the spectra on a disk "
                "that all machines share under one name",
            )
    function, arguments = pickle.loads(work)
    with threadpool_limits(1, "blas"):
        return function(*arguments)


@functools.cache
def versions() -> dict[str, str]:
    """What must be the same here and on a worker: the versions of Python and of the packages, and our own code."""
    own = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        try:
            own[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            own[name] = "none"
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        code.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return own | {"quasar_mass": code.hexdigest()[:12]}


def _stamp(path: Path) -> tuple | None:
    """Size and time of a file, by which two machines recognise it; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, int(status.st_mtime)
