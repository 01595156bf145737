"""How fast `fetch spectra` is, beside a plain loop and wget, from a local server with 20 ms of latency per request.

Files of the real size (219 kB), made when they are asked for; the server is a process of its own on the same machine.
"""

import json
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
FILES = 400  # for each contestant in each round; the slowest takes about 10 s
ROUNDS = 3
MEMORY = (500, 2000, 6000)  # files for which the highest memory is measured

LOOP = """
import sys, time, urllib.request
from pathlib import Path
begin = time.perf_counter()
for url in Path(sys.argv[1]).read_text().split():
    (Path(sys.argv[2]) / url.rpartition("/")[2]).write_bytes(urllib.request.urlopen(url).read())
print(time.perf_counter() - begin)
"""

OURS = """
import json, resource, sys, time
from pathlib import Path
import pyarrow.parquet
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.spectra import fetch_spectra
from quasar_mass.survey import Survey
url, folder, epochs, jobs = sys.argv[1:]
epochs = [tuple(epoch) for epoch in json.loads(Path(epochs).read_text())]
begin = time.perf_counter()
with Client(url) as client:
    report = fetch_spectra(Survey(folder), epochs, client, jobs=int(jobs), quiet=True)
assert report.states["verified"] == len(epochs), report
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
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


def wget(urls: Path, to: Path) -> float:
    """Seconds that wget takes."""
    begin = time.perf_counter()
    subprocess.run(["wget", "-q", "-i", urls, "-P", to], check=True)
    return time.perf_counter() - begin


def contest() -> None:
    """Print files per second of every contestant: the medians of some rounds, one after the other in every round."""
    from archive_server import many_spectra

    from quasar_mass.fetch import addresses

    epochs, _ = many_spectra(FILES, 1)
    with server(FILES) as url, tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        urls, wanted = here / "urls.txt", here / "epochs.json"
        public = (addresses.spectrum(*epoch, "v5_13_0") for epoch in epochs)
        urls.write_text("".join(f"{addresses.mirrored(address, url)}\n" for address in public))
        wanted.write_text(json.dumps(epochs))
        contestants = {
            "plain loop: urllib, one file after the other": lambda to: python(LOOP, urls, to)[0],
            "`wget -i`": lambda to: wget(urls, to),
            "`fetch spectra --jobs 1`": lambda to: python(OURS, url, to, wanted, 1)[0],
            "`fetch spectra` (`--jobs 8`)": lambda to: python(OURS, url, to, wanted, 8)[0],
            "`fetch spectra --jobs 16`": lambda to: python(OURS, url, to, wanted, 16)[0],
        }
        if not shutil.which("wget"):
            del contestants["`wget -i`"]
        taken: dict[str, list] = {name: [] for name in contestants}
        for _ in range(ROUNDS):
            for name, run in contestants.items():
                with tempfile.TemporaryDirectory(dir=here) as to:
                    taken[name].append(run(Path(to)))
    print("| | s | files/s | MB/s | times the loop |\n|---|---|---|---|---|")
    median = {name: sorted(times)[len(times) // 2] for name, times in taken.items()}
    loop = next(iter(median.values()))
    for name, seconds in median.items():
        rate = FILES / seconds
        print(f"| {name} | {seconds:.1f} | {rate:.0f} | {rate * 0.219:.1f} | {loop / seconds:.1f} |")


def memory() -> None:
    """Print the highest memory for more and more files."""
    from archive_server import many_spectra

    print("\n| files | highest memory of `fetch spectra`, MB |\n|---|---|")
    with server(max(MEMORY)) as url:
        for files in MEMORY:
            with tempfile.TemporaryDirectory() as folder:
                wanted = Path(folder) / "epochs.json"
                wanted.write_text(json.dumps(many_spectra(files, 1)[0]))
                print(f"| {files:,} | {python(OURS, url, folder, wanted, 8)[1] / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    said = "wget is not on this machine."
    if shutil.which("wget"):
        said = subprocess.check_output(["wget", "--version"], text=True).splitlines()[0].partition(" built")[0] + "."
    print(
        f"## fetch spectra\n\n{FILES} files of 219 kB from a server on the same machine that waits {1000 * LATENCY:.0f}"
        " ms before each answer. Ours checks each file and takes its checksum; the start of Python is left out"
        f" for it and the loop. Medians of {ROUNDS} rounds. {said}\n"
    )
    contest()
    memory()
