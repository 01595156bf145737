"""What the benchmarks share: a small simulated survey, and Python code timed in processes of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))  # the package, for benchmarks that use it themselves

from quasar_mass.core.parallel import cores  # noqa: E402

__all__ = ["HOME", "MODEL", "best", "command", "cores", "numbers", "simulated"]

MODEL = HOME / "models" / "Best_models" / "Best_ANN_final_stage.h5"


def command(*words: object) -> None:
    """Run one of the project's commands, quietly."""
    run = [sys.executable, *map(str, words), "--quiet"]
    subprocess.run(run, cwd=HOME, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def simulated(objects: int, *, build: bool = False) -> Iterator[Path]:
    """A simulated survey in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        command("get_Chen_data.py", "simulate", "--survey", folder, "--objects", objects, "--seed", 5)
        if build:
            command("get_Chen_data.py", "build", "--survey", folder)
        yield Path(folder)


def numbers(code: str, *arguments: object) -> list[float]:
    """Run Python code in a process of its own; the numbers that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "contestant.py"  # a file, which processes of its own can import
        script.write_text(code, encoding="utf-8")
        run = [sys.executable, str(script), *map(str, arguments)]
        paths = {"PYTHONPATH": str(HOME), "TF_CPP_MIN_LOG_LEVEL": "3"}
        output = subprocess.check_output(run, cwd=HOME, text=True, env=os.environ | paths)
    return [float(word) for word in output.split()]


def best(code: str, *arguments: object, rounds: int = 3) -> float:
    """The best of some rounds of Python code that prints seconds and a count: counts per second."""
    measured = [numbers(code, *arguments) for _ in range(rounds)]
    return max(count / seconds for seconds, count in measured)
