"""How fast `predict` is, from files and from a table, beside the same by Keras, and beside the classical fit.

The start of Python and of the libraries is not counted; the last table has it. Memory is the highest of the process.
"""

import os
import subprocess
import sys
import time

from contest import HOME, MODEL, best, command, cores, numbers, simulated

OBJECTS = 1500  # quasars: about 2,000 spectrum files
COPIES = 19  # of the survey's table: about 39,000 spectra
FITS = 300  # files for the classical fit
ROUNDS = 3

LOAD = """
import sys, time, resource
from pathlib import Path
from quasar_mass.network.easyai import EasyAI
from quasar_mass.network.inference import Ensemble
from quasar_mass.network.keras_io import model_file
from quasar_mass.predict import calibration_file, mass_table
from quasar_mass.predict.predictor import Predictor
survey, model, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if way == "Keras":
    file = model_file.read(model)
    ensemble = Ensemble([EasyAI.load(file)])
    predictor = Predictor(ensemble, calibration_file.read(file, ensemble.name))
else:
    predictor = Predictor.load(model)
"""

FILES = """
paths = sorted((survey / "spectra").glob("*/*.fits"))
mass_table.predict_files(paths[:50], predictor, quiet=True)
begin = time.perf_counter()
table = mass_table.predict_files(paths, predictor, quiet=True)
"""

TABLE = """
mass_table.predict_table(survey / "bigger_data" / "spectra.parquet", predictor, quiet=True)
begin = time.perf_counter()
table = mass_table.predict_table(survey / "copies.parquet", predictor, quiet=True)
"""

ONE = """
begin = time.perf_counter()
table = mass_table.predict_files([next((survey / "spectra").glob("*/*.fits"))], predictor, quiet=True)
"""

SAY = "print(time.perf_counter() - begin, len(table), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)"

COPY = """
import sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
survey = Path(sys.argv[1])
stored = pq.read_table(survey / "bigger_data" / "spectra.parquet")
pq.write_table(pa.concat_tables([stored] * int(sys.argv[2])), survey / "copies.parquet", compression="zstd",
    row_group_size=1024, use_dictionary=False, use_byte_stream_split=["flux.list.element"])
"""

VIRIAL = """
import sys, time
from pathlib import Path
from quasar_mass.virial.files import measure_files
paths = sorted((Path(sys.argv[1]) / "spectra").glob("*/*.fits"))[: int(sys.argv[2])]
measure_files(paths[:5], quiet=True)
begin = time.perf_counter()
table = measure_files(paths, quiet=True)
print(time.perf_counter() - begin, len(table))
"""


def contest(work: str, folder: os.PathLike) -> dict[str, tuple[float, float]]:
    """Spectra per second and MB of both ways, in turns; the best of some rounds."""
    results = {"ONNX Runtime": [], "Keras": []}
    for _ in range(ROUNDS):
        for way, measured in results.items():
            seconds, count, memory = numbers(LOAD + work + SAY, folder, MODEL, way)
            measured.append((count / seconds, memory))
    return {way: max(measured) for way, measured in results.items()}


def whole(*words: object) -> tuple[float, float]:
    """Seconds and MB of a whole process."""
    begin = time.perf_counter()
    process = subprocess.Popen(list(map(str, words)), cwd=HOME, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words} failed")
    return time.perf_counter() - begin, used.ru_maxrss / 1e3


def main() -> int:
    """Measure, and print Markdown."""
    with simulated(OBJECTS, build=True) as folder:
        numbers(COPY, folder, COPIES)
        rates = {"`predict FILES`": contest(FILES, folder)}
        rates[f"`predict`, {COPIES} copies of spectra.parquet"] = contest(TABLE, folder)
        fit = best(VIRIAL, folder, FITS, rounds=1)
        file = next((folder / "spectra").glob("*/*.fits"))
        one = [whole(sys.executable, "quasar_analysis.py", "predict", file) for _ in range(ROUNDS)]
        in_keras = ["env", f"PYTHONPATH={HOME}", sys.executable, "-c", LOAD + ONE, folder, MODEL, "Keras"]
        one_in_keras = [whole(*in_keras) for _ in range(ROUNDS)]
        starts = {"--help": ("status", "--help"), "status": ("status", "--survey", folder)}
        seconds = {}
        for name, words in starts.items():
            begin = time.perf_counter()
            command("get_Chen_data.py", *words)
            seconds[f"`get_Chen_data.py {name}`"] = time.perf_counter() - begin
    print(f"## predict\n\nThe shipped model, intervals and flags, spectra of {OBJECTS:,} simulated quasars.\n")
    print(f"| {cores()} cores | spectra/s | MB | by Keras, spectra/s | MB | ratio |\n|---|---|---|---|---|---|")
    for name, ways in rates.items():
        (ours, memory), (keras, keras_memory) = ways.values()
        print(f"| {name} | {ours:,.0f} | {memory:,.0f} | {keras:,.0f} | {keras_memory:,.0f} | {ours / keras:.2f} |")
    print(f"| `virial FILES`, the classical fit | {fit:,.0f} | | | | |")
    (ours, memory), (keras, keras_memory) = min(one), min(one_in_keras)
    print("\n| command, with the start of Python | s | MB | by Keras, s | MB | ratio |\n|---|---|---|---|---|---|")
    print(f"| `predict FILE` | {ours:.2f} | {memory:,.0f} | {keras:.2f} | {keras_memory:,.0f} | {ours / keras:.2f} |")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.2f} | | | | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
