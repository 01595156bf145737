"""How fast `fetch spectra` is, compared with a plain loop and wget, from a local server that waits 20 ms per request.

Files have the real size (219 kB); the server is a process of its own on the same machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HOME), str(HOME / "tests")]

LATENCY = 0.02  # seconds
FEW, MANY = 300, 2000  # files for a contestant with one connection, and for one with several
ROUNDS = 3
MEMORY = (500, 1500, 4500)  # files for which the highest memory is measured; the server holds as many

LOOP = """
import os, sys, time, urllib.request
from pathlib import Path
begin = time.perf_counter()
for url in Path(sys.argv[1]).read_text().split():
    (Path(sys.argv[2]) / url.rpartition("/")[2]).write_bytes(urllib.request.urlopen(url).read())
there = time.perf_counter()
os.sync()
print(there - begin, time.perf_counter() - begin)
"""

OURS = """
import json, os, resource, sys, time
from pathlib import Path
import pyarrow.parquet
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.spectra import fetch_spectra
from quasar_mass.core.survey import Survey
url, folder, spec_ids, jobs = sys.argv[1:]
spec_ids = [tuple(spec_id) for spec_id in json.loads(Path(spec_ids).read_text())]
sync, waited = os.sync, []

def timed_sync():
    begin = time.perf_counter()
    sync()
    waited.append(time.perf_counter() - begin)

os.sync = timed_sync
begin = time.perf_counter()
with Client(url) as client:
    report = fetch_spectra(Survey(folder), spec_ids, client, jobs=int(jobs), quiet=True)
taken = time.perf_counter() - begin
assert report.states["verified"] == len(spec_ids), report
print(taken - sum(waited), taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@contextmanager
def server(files: int):
    """The archive server as a process; gives its address."""
    command = [sys.executable, HOME / "tests" / "archive_server.py", "--spectra", str(files), "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def python(code: str, *arguments: object) -> list[float]:
    """Run Python code in a process of its own; the numbers that it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return [float(word) for word in subprocess.check_output(command, cwd=HOME, text=True).split()]


def wget(url_list: Path, to: Path) -> list[float]:
    """Seconds that wget takes, and those until its files are on the disk."""
    begin = time.perf_counter()
    subprocess.run(["wget", "-q", "-i", url_list, "-P", to], check=True)
    there = time.perf_counter()
    os.sync()
    return [there - begin, time.perf_counter() - begin]


def contest() -> None:
    """Print the files per second of every contestant: medians of some rounds, in each of which all take part."""
    from archive_server import many_spectra

    from quasar_mass.fetch import urls

    spec_ids, _ = many_spectra(MANY, 1)
    with server(MANY) as url, tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        url_list, few, many = here / "urls.txt", here / "few.json", here / "many.json"
        public = (urls.spectrum(*spec_id, "v5_13_0") for spec_id in spec_ids[:FEW])
        url_list.write_text("".join(f"{urls.mirrored(address, url)}\n" for address in public))
        few.write_text(json.dumps(spec_ids[:FEW]))
        many.write_text(json.dumps(spec_ids))
        contestants = {
            "plain loop: urllib, one file after the other": (FEW, lambda to: python(LOOP, url_list, to)),
            "`wget -i`": (FEW, lambda to: wget(url_list, to)),
            "`fetch spectra --jobs 1`": (FEW, lambda to: python(OURS, url, to, few, 1)),
            "`fetch spectra` (`--jobs 8`)": (MANY, lambda to: python(OURS, url, to, many, 8)),
            "`fetch spectra --jobs 16`": (MANY, lambda to: python(OURS, url, to, many, 16)),
        }
        if not shutil.which("wget"):
            del contestants["`wget -i`"]
        rates: dict[str, list] = {name: [] for name in contestants}
        for number in range(ROUNDS):
            for name, (files, run) in contestants.items():
                to = here / f"{number}" / name.strip("`")  # deleted at the end: that takes time
                to.mkdir(parents=True)
                rates[name].append([files / seconds for seconds in run(to)[:2]])
    print(
        "| | files | files/s | times the loop | files/s until on the disk | times the loop |\n|---|---|---|---|---|---|"
    )
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in rates.items()}
    loop = next(iter(medians.values()))
    for name, (rate, on_disk) in medians.items():
        files = contestants[name][0]
        print(f"| {name} | {files:,} | {rate:.0f} | {rate / loop[0]:.1f} | {on_disk:.0f} | {on_disk / loop[1]:.1f} |")


def memory() -> None:
    """Print the highest memory for several numbers of files."""
    from archive_server import many_spectra

    print("\n| files | highest memory of `fetch spectra`, MB |\n|---|---|")
    with server(max(MEMORY)) as url:
        for files in MEMORY:
            with tempfile.TemporaryDirectory() as folder:
                spec_ids = Path(folder) / "spec_ids.json"
                spec_ids.write_text(json.dumps(many_spectra(files, 1)[0]))
                print(f"| {files:,} | {python(OURS, url, folder, spec_ids, 8)[2] / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    version = "wget is not on this machine."
    if shutil.which("wget"):
        version = subprocess.check_output(["wget", "--version"], text=True).splitlines()[0].partition(" built")[0] + "."
    print(
        "## fetch spectra\n\nFiles of 219 kB from a server on the same machine that waits"
        f" {1000 * LATENCY:.0f} ms before each answer. `fetch spectra` checks each file, computes its checksum and ends"
        " when all are on the disk; the others leave that to the system. The start of Python is not counted. Medians of"
        f" {ROUNDS} rounds. {version}\n"
    )
    contest()
    memory()
