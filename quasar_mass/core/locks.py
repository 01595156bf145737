"""Locks: only one process at a time writes the same files. The error of a second process names the first one."""

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from quasar_mass.core.errors import LockError
from quasar_mass.core.survey import Survey

# Errors of file systems without locks: some network file systems (Lustre and NFS, as some centres mount them).
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_MAX_COMMAND = 120  # characters


@contextlib.contextmanager
def held(path: Path, *, where: str | os.PathLike, wait: bool = False) -> Iterator[None]:
    """Hold a lock while the block runs.

    The operating system frees the lock when the process ends, also after a crash. The file stays behind then; the next
    holder takes it over. On a file system without locks the block runs unprotected.

    Parameters
    ----------
    path : Path
        The lock's own file, in a folder that exists. It names the holder, and is removed afterwards.
    where : str or path
        What the lock protects, for the error.
    wait : bool
        Wait for the lock, for as long as it takes.

    Raises
    ------
    LockError
        If another process holds it; says which.
    """
    from filelock import FileLock, Timeout  # not at the top: --help needs none

    path = Path(path)
    lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise LockError(where, f"{_describe_holder(path)}; wait until it has finished, or stop it") from None
    except OSError as error:  # no permission, disk full: name what is locked, not a file that nobody knows
        if error.errno not in _NO_LOCKS:
            raise OSError(error.errno, error.strerror, str(where)) from error
    try:
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            path.write_text(json.dumps(_this_process()), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows refuses; filelock removes it there
            path.unlink()
        lock.release()


def survey_lock(survey: Survey) -> contextlib.AbstractContextManager:
    """The lock of a survey, for commands that write its files. Readers need none, since files are replaced whole."""
    return held(survey.lock, where=survey.folder)


def clear(survey: Survey) -> None:
    """Remove the lock file that a killed process left behind, unless another process holds it."""
    if survey.lock.exists():
        with contextlib.suppress(LockError, OSError), survey_lock(survey):
            pass


def _this_process() -> dict:
    command = " ".join([os.path.basename(sys.argv[0] if sys.argv else ""), *sys.argv[1:]])
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": command if len(command) <= _MAX_COMMAND else f"{command[:_MAX_COMMAND]}...",
    }


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return "process {process} on {host} has been at work here since {since} ({command})".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is at work here"
