"""Commands that are killed in the middle.

Starting Python and importing what a command needs takes ten times as long as a small command itself. So one process
(`Forge`) imports it once. Every run is a fork of that process, in a process group of its own, which calls the command's
`main`. It can be killed before any one of its changes to the files of a folder: these are counted, so that every gap
between two of them can be tried. It can also be refused to write more than so many bytes into a file.
"""

import contextlib
import importlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock"}  # Python's audit events
_TRIED: set[str] = set()  # modules


@dataclass(frozen=True)
class Run:
    """Result of a run: exit status (negative: the signal), changes to files, what it printed."""

    status: int
    changes: int
    said: str


class Forge:
    """A process that has imported modules and runs their `main` in forks of itself."""

    def __init__(self, *modules: str, environment: dict | None = None) -> None:
        self.group = 0  # of the command that is at work
        self.process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            cwd=HOME,
            env={**os.environ, "PYTHONPATH": f"{HOME}{os.pathsep}{HOME / 'tests'}", **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self) -> "Forge":
        return self

    def __exit__(self, *_: object) -> None:
        if self.group:
            kill(self.group)  # of a test that failed while a command was running or stopped
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def start(self, module: str, *arguments, folder: Path, log: Path, before: int = 0, **more) -> int:
        """Start a command; the number of its process group. It kills itself before change number `before`."""
        order = {"module": module, "arguments": list(map(str, arguments)), "folder": str(folder)}
        order |= {"log": str(log), "before": before, "signal": signal.SIGKILL} | more
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.group = int(self.process.stdout.readline())
        return self.group

    def end(self, log: Path) -> Run:
        """Wait for the command that was started last."""
        status = int(self.process.stdout.readline())
        self.group = 0
        said, _, changes = log.read_text().partition("\nchanges ")
        # without TensorFlow's own notes
        lines = [line for line in said.splitlines(keepends=True) if not re.match("[IE]0000 |WARNING: All log", line)]
        return Run(status, int(changes or 0), "".join(lines))

    def run(self, module: str, *arguments, log: Path, **more) -> Run:
        """Run a command as `start`, and wait for it."""
        self.start(module, *arguments, log=log, **more)
        return self.end(log)


def kill(group: int) -> None:
    """End a process group at once."""
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(group, signal.SIGKILL)


def hearing(*arguments: object) -> list[str]:
    """A command that runs a script which reacts to Ctrl-C, also where a shell runs the tests in the background."""
    code = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); del sys.argv[0]; "
    code += "sys.path.insert(0, '.'); runpy.run_path(sys.argv[0], run_name='__main__')"
    return [sys.executable, "-c", code, *map(str, arguments)]


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if not path.is_dir()}


def unfinished(name: str) -> bool:
    """Whether a name is that of a file being written, or of a lock: no command reads those."""
    name = Path(name).name
    return name.startswith(".") and (".partial" in name or name.endswith(".lock"))


def _copy(order: dict) -> int:
    """Run a command in this forked process."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    changes = 0
    if "largest" in order:  # as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], order["largest"]))

    def watch(event: str, details: tuple) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in CHANGES):
            return
        if isinstance(details[0], str | os.PathLike) and not os.fspath(details[0]).startswith(order["folder"]):
            return
        changes += 1
        if changes == order["before"]:
            os.killpg(0, order["signal"])

    sys.addaudithook(watch)
    sys.argv = [f"{order['module']}.py", *order["arguments"]]
    try:
        status = importlib.import_module(order["module"]).main(order["arguments"])
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, f"\nchanges {changes}".encode())
    if "largest" not in order:
        Path(order["log"]).with_suffix(".modules").write_text("\n".join(sys.modules))
    return int(status or 0)


def _serve(modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 70  # of an exception that was not caught
            try:
                status = _copy(order)
            finally:
                if status == 70:
                    import traceback

                    traceback.print_exc()
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        modules = Path(order["log"]).with_suffix(".modules")
        if status == 0 and modules.exists():
            _import(modules.read_text().splitlines())


def _import(names: list[str]) -> None:
    """Import what a command needed, so that the next fork has it."""
    for name in set(names) - _TRIED:
        _TRIED.add(name)
        with contextlib.suppress(Exception):  # not a real module: of a test, or of six
            importlib.import_module(name)


if __name__ == "__main__":
    _serve(sys.argv[1:])
