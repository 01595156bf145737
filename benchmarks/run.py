"""Run every benchmark of this folder and write `results.md`: what was measured, on which machine, with which versions.

A benchmark is a script that prints Markdown. Nothing here is a test: figures depend on the machine, and on what else it
is doing.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("numpy", "pandas", "pyarrow", "astropy", "onnxruntime", "tensorflow", "tensorflow-cpu", "keras", "urllib3")
# this script, what the benchmarks share, those that train for long, and tables of the docs
APART = ("run.py", "contest.py", "training.py", "seeds.py", "gaps.py", "redshifts.py", "spikes.py")


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine() -> str:
    """Where and with what the figures were measured."""
    installed = {found.name.lower(): found.version for found in importlib.metadata.distributions()}
    versions = ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed)
    load = f"; load before the start: {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()}, Python {platform.python_version()}, {versions}"
    return f"{processor()}, {os.cpu_count()} cores{load}. {system}."


def main() -> int:
    """Run all, and write the results only if all ran well."""
    sections = [f"# Benchmarks\n\nWritten by `make bench`. {machine()}\n"]
    for script in sorted(HERE.glob("*.py")):
        if script.name in APART:
            continue
        print(f"{script.name} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, str(script)], cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"error: {script.name} failed with exit status {done.returncode}", file=sys.stderr)
            return 1
        print(done.stdout)
        sections.append(done.stdout)
    (HERE / "results.md").write_text("\n".join(sections), encoding="utf-8")
    print(f"written: {HERE / 'results.md'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
