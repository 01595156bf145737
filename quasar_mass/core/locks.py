"""Locks: one process at a time where two would write the same files; a second one is told who is at work.

A lock is a file that its holder locks through the operating system, which frees it when the process ends, however it
ends: after a crash nobody has to clear anything. What stands in the file only says who holds it.
"""

import contextlib
import errno
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from quasar_mass.core.errors import LockError
from quasar_mass.core.survey import Survey

# What systems say where a file system has no locks: some network file systems, and some in user space.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_FAR = 1 << 30  # Windows locks bytes, and nobody can read those: one far behind all that is written
_LONGEST = 120  # characters of a command


@contextlib.contextmanager
def held(path: Path, *, where: str | os.PathLike, expected: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock while the block runs.

    Parameters
    ----------
    path : Path
        The lock's own file, in a folder that is there. It is gone afterwards; after a crash it stays, locks nothing,
        and the next holder takes it over. On network file systems it works between machines where flock does
        (NFS since Linux 2.6.12); where a file system has no locks at all, the process that the file names decides.
    where, expected : str
        For the error: what the lock protects, and what is expected of it.
    wait : bool
        Wait for the lock, for as long as it takes.

    Raises
    ------
    LockError
        If another process holds it.
    """
    file = _take(Path(path), where, expected, wait)
    try:
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            os.ftruncate(file, 0)
            os.write(file, json.dumps(_me()).encode())
        yield
    finally:
        if sys.platform == "win32":  # where an open file cannot be removed, nor one that the next holder has opened
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(path)
        else:
            # first removed, then freed: whoever waits for it finds that it is not the file of this name any more
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(file)


def survey_lock(survey: Survey) -> contextlib.AbstractContextManager:
    """The lock of a survey, for whoever writes its files; readers need none, since files are replaced whole."""
    expected = "one command at a time that writes in this survey"
    return held(survey.lock, where=survey.folder, expected=expected)


def clear(survey: Survey) -> None:
    """Remove the lock that a killed process left; for commands that find nothing to do. One that is held stays."""
    if survey.lock.exists():
        with contextlib.suppress(LockError, OSError), survey_lock(survey):
            pass


def file_lock(function: Callable) -> Callable:
    """Decorate a function of a survey that writes its files: only one at a time may run, in whatever process."""

    @functools.wraps(function)
    def locked(survey: Survey, *arguments, **options):
        if not survey.folder.is_dir():  # nothing to protect; the function says what is missing
            return function(survey, *arguments, **options)
        with survey_lock(survey):
            return function(survey, *arguments, **options)

    return locked


def _take(path: Path, where, expected: str, wait: bool) -> int:
    """Open and lock the file of this name."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:  # no permission, disk full: of what is locked, not of a file that nobody knows
            raise OSError(error.errno, error.strerror, str(where)) from error
        try:
            free = _lock(file, wait)
            # its last holder may have removed it between the two lines above; then it protects nothing
            current = free and _is_file(file, path)
        except BaseException:
            os.close(file)
            raise
        if current:
            return file
        said = b"" if free else _read(file)
        os.close(file)
        if not free and not wait:
            do = "wait until it has finished, or stop it"
            raise LockError(where, expected=expected, got=_describe(said), do=do)


def _lock(file: int, wait: bool) -> bool:
    """Lock an open file; False if another process has."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno in _NO_LOCKS:
            return wait or not _at_work(_read(file))
        raise
    return True


def _is_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _read(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    said = os.read(file, 4096)
    os.lseek(file, 0, os.SEEK_SET)
    return said


def _me() -> dict:
    command = " ".join([os.path.basename(sys.argv[0] if sys.argv else ""), *sys.argv[1:]])
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),  # for people alone: clocks jump
        "command": command if len(command) <= _LONGEST else f"{command[:_LONGEST]}...",
    }


def _describe(said: bytes) -> str:
    try:
        who = json.loads(said)
        return f"process {who['process']} on {who['host']} at work since {who['since']} ({who['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process at work"


def _at_work(said: bytes) -> bool:
    """Whether the process that a lock's file names may be at work: surely not if it is of this machine, and gone."""
    try:
        who = json.loads(said)
        if who["host"] != socket.gethostname():
            return True
        os.kill(who["process"], 0)
    except (ProcessLookupError, ValueError, KeyError, TypeError):
        return False
    except OSError:  # another user's
        return True
    return who["process"] != os.getpid()
