"""Model files from elsewhere, without a seal: read from end to end by a process of its own, before anything else.

HDF5's library is no judge of files. Of one with a single bit changed it may ask for gigabytes, never come back, or end
the process by a segmentation fault; what it does to that process, it would have done to this one.
"""

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path

from quasar_mass.core.errors import ModelError, first_line
from quasar_mass.network.keras_io import model_checks

_SECONDS = 60  # in which a file must be read; one of 5 MB takes 0.02
_ROOM = 200_000_000  # bytes of memory that this may take, beside ten times the size of the file


def fault(path: Path) -> str | None:
    """What makes a file unfit to be opened, in a few words; None if nothing does, or `model_checks` will say it."""
    status = path.stat()
    return _fault(path.absolute(), status.st_ino, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _fault(path: Path, *_: int) -> str | None:
    """The numbers change when the file does."""
    package = str(Path(__file__).parents[3])
    places = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "quasar_mass.network.keras_io.untrusted", str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"one that HDF5 did not come to the end of in {_SECONDS} s"
    if done.returncode:
        return "one that the HDF5 library itself fails on"
    return done.stdout.strip() or None


def _read_through(path: Path) -> None:
    """Read all that a file holds; any exception says that it cannot be read."""
    import h5py

    def look(_: str, part) -> None:
        for key in part.attrs:
            part.attrs[key]
        if isinstance(part, h5py.Dataset):
            part[()]

    with h5py.File(path, "r") as file:
        model_checks.structure(path, file)
        look("", file)
        file.visititems(look)


def _main(path: Path) -> int:
    """Read a file within limits; what is wrong with it goes to standard output."""
    import h5py  # noqa: F401 - takes its memory before there is a limit

    with contextlib.suppress(ImportError, OSError, ValueError):  # Linux has such limits
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + _ROOM + 10 * path.stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _read_through(path)
    except ModelError:
        pass
    except MemoryError:
        return 1
    except Exception as error:  # noqa: BLE001 - h5py raises every kind; all mean the same
        print(f"one that HDF5 cannot open ({first_line(error)})")
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
