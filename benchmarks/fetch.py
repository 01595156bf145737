"""How fast `fetch spectra` is, beside a plain loop and wget, from a local server with 20 ms of latency per request.

Files of the real size (219 kB), made when they are asked for; the server is a process of its own on the same machine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HOME), str(HOME / "tests")]

LATENCY = 0.02  # seconds
FEW, MANY = 300, 2000  # files for a contestant that takes one after the other, and for one that does not
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
url, folder, epochs, jobs = sys.argv[1:]
epochs = [tuple(epoch) for epoch in json.loads(Path(epochs).read_text())]
sync, waited = os.sync, []

def timed_sync():
    begin = time.perf_counter()
    sync()
    waited.append(time.perf_counter() - begin)

os.sync = timed_sync
begin = time.perf_counter()
with Client(url) as client:
    report = fetch_spectra(Survey(folder), epochs, client, jobs=int(jobs), quiet=True)
taken = time.perf_counter() - begin
assert report.states["verified"] == len(epochs), report
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
    """The numbers that a piece of Python prints, run as a process of its own."""
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
    """Print files per second of every contestant: the medians of some rounds, one after the other in every round."""
    from archive_server import many_spectra

    from quasar_mass.fetch import urls

    epochs, _ = many_spectra(MANY, 1)
    with server(MANY) as url, tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        url_list, few, many = here / "urls.txt", here / "few.json", here / "many.json"
        public = (urls.spectrum(*epoch, "v5_13_0") for epoch in epochs[:FEW])
        url_list.write_text("".join(f"{urls.mirrored(address, url)}\n" for address in public))
        few.write_text(json.dumps(epochs[:FEW]))
        many.write_text(json.dumps(epochs))
        contestants = {
            "plain loop: urllib, one file after the other": (FEW, lambda to: python(LOOP, url_list, to)),
            "`wget -i`": (FEW, lambda to: wget(urls, to)),
            "`fetch spectra --jobs 1`": (FEW, lambda to: python(OURS, url, to, few, 1)),
            "`fetch spectra` (`--jobs 8`)": (MANY, lambda to: python(OURS, url, to, many, 8)),
            "`fetch spectra --jobs 16`": (MANY, lambda to: python(OURS, url, to, many, 16)),
        }
        if not shutil.which("wget"):
            del contestants["`wget -i`"]
        rates: dict[str, list] = {name: [] for name in contestants}
        for number in range(ROUNDS):
            for name, (files, run) in contestants.items():
                to = here / f"{number}" / name.strip("`")  # nothing is deleted on the way: that slows the next one down
                to.mkdir(parents=True)
                rates[name].append([files / seconds for seconds in run(to)[:2]])
    print(
        "| | files | files/s | times the loop | files/s until on the disk | times the loop |\n|---|---|---|---|---|---|"
    )
    median = {name: [sorted(one)[ROUNDS // 2] for one in zip(*found, strict=True)] for name, found in rates.items()}
    loop = next(iter(median.values()))
    for name, (there, lasting) in median.items():
        files = contestants[name][0]
        print(f"| {name} | {files:,} | {there:.0f} | {there / loop[0]:.1f} | {lasting:.0f} | {lasting / loop[1]:.1f} |")


def memory() -> None:
    """Print the highest memory for more and more files."""
    from archive_server import many_spectra

    print("\n| files | highest memory of `fetch spectra`, MB |\n|---|---|")
    with server(max(MEMORY)) as url:
        for files in MEMORY:
            with tempfile.TemporaryDirectory() as folder:
                wanted = Path(folder) / "epochs.json"
                wanted.write_text(json.dumps(many_spectra(files, 1)[0]))
                print(f"| {files:,} | {python(OURS, url, folder, wanted, 8)[2] / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    said = "wget is not on this machine."
    if shutil.which("wget"):
        said = subprocess.check_output(["wget", "--version"], text=True).splitlines()[0].partition(" built")[0] + "."
    print(
        f"## fetch spectra\n\nFiles of 219 kB from a server on the same machine that waits {1000 * LATENCY:.0f}"
        " ms before each answer. Ours checks each file, takes its checksum and ends when all are on the disk, which the"
        f" others leave to the system. The start of Python is left out. Medians of {ROUNDS} rounds. {said}\n"
    )
    contest()
    memory()
