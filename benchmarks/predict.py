"""How fast `predict` is, from files and from a table, and how fast the classical fit of the same spectra is.

The start of Python and TensorFlow is not counted; the last table has it.
"""

import sys
import time

from contest import MODEL, best, command, cores, simulated

OBJECTS = 1500  # quasars: about 2,000 spectrum files
COPIES = 8  # of the survey's table, so that it takes seconds
FITS = 300  # files for the classical fit

FILES = """
import sys, time
from pathlib import Path
from quasar_mass.predict import mass_table
from quasar_mass.predict.predictor import Predictor
predictor = Predictor.load([sys.argv[2]])
paths = sorted((Path(sys.argv[1]) / "spectra").glob("*/*.fits"))
mass_table.predict_files(paths[:50], predictor, quiet=True)
begin = time.perf_counter()
table = mass_table.predict_files(paths, predictor, quiet=True)
print(time.perf_counter() - begin, len(table))
"""

TABLE = """
import sys, time
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from quasar_mass.predict import mass_table
from quasar_mass.predict.predictor import Predictor
predictor = Predictor.load([sys.argv[2]])
stored = pq.read_table(Path(sys.argv[1]) / "bigger_data" / "spectra.parquet")
path = Path(sys.argv[1]) / "copies.parquet"
pq.write_table(pa.concat_tables([stored] * int(sys.argv[3])), path, compression="zstd", row_group_size=1024,
    use_dictionary=False, use_byte_stream_split=["flux.list.element"])
mass_table.predict_table(Path(sys.argv[1]) / "bigger_data" / "spectra.parquet", predictor, quiet=True)
begin = time.perf_counter()
table = mass_table.predict_table(path, predictor, quiet=True)
print(time.perf_counter() - begin, len(table))
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


def main() -> int:
    """Measure, and print Markdown."""
    with simulated(OBJECTS, build=True) as folder:
        rates = {
            "`predict FILES`": best(FILES, folder, MODEL),
            "`predict`, from spectra.parquet": best(TABLE, folder, MODEL, COPIES),
            "`virial FILES`, the classical fit": best(VIRIAL, folder, FITS, rounds=1),
        }
        file = next((folder / "spectra").glob("*/*.fits"))
        starts = {
            "`get_Chen_data.py --help`": ("get_Chen_data.py", "status", "--help"),
            "`get_Chen_data.py status`": ("get_Chen_data.py", "status", "--survey", folder),
            "`quasar_analysis.py predict FILE`": ("quasar_analysis.py", "predict", file),
        }
        seconds = {}
        for name, words in starts.items():
            begin = time.perf_counter()
            command(*words)
            seconds[name] = time.perf_counter() - begin
    print(f"## predict\n\nThe shipped model, intervals and flags, spectra of {OBJECTS:,} simulated quasars.\n")
    print(f"| | spectra/s on {cores()} cores | ms a spectrum |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {1e3 / rate:.2f} |")
    print("\n| command, with the start of Python | s |\n|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
