"""Many predictions in one process: its memory and its speed over time.

Prints Markdown. The spectra are those of the tests' golden sample, repeated in one table that a single call of
`mass_table.predict_table` reads, with intervals and flags; all masses are kept, as for a table to be written. The
resident memory is read ten times a second.
"""

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HOME = Path(__file__).resolve().parent.parent
SAMPLE = HOME / "tests" / "golden" / "spectra.parquet"
SPECTRA = 200_000
GROUP = 1024  # rows per row group, as in a survey's table
WARM_UP = 20_480  # predictions after which libraries have filled their caches
PAUSE = 0.1  # s, between two readings of the memory


@dataclass(frozen=True)
class Soak:
    """The result.

    Attributes
    ----------
    spectra : int
        Predicted.
    memory : ndarray, shape (4,)
        Mean resident memory in each quarter of the time after the warm-up, MB.
    rate : float
        Spectra per second.
    table : float
        Size of the masses that were kept at the end, MB.
    """

    spectra: int
    memory: np.ndarray
    rate: float
    table: float

    @property
    def growth(self) -> float:
        """Of the memory, from the first quarter to the last, as a fraction."""
        return float(self.memory[-1] / self.memory[0] - 1.0)


def resident() -> float:
    """Resident memory of this process in MB; Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def repeated(path: Path, spectra: int) -> None:
    """Write a table of so many spectra; a dictionary keeps it small, as there are only a few different ones."""
    sample = pq.read_table(SAMPLE)
    group = pa.concat_tables([sample] * (-(-GROUP // sample.num_rows))).slice(0, GROUP).combine_chunks()
    with pq.ParquetWriter(path, sample.schema, compression="zstd", use_dictionary=True) as writer:
        for start in range(0, spectra, GROUP):
            writer.write_table(group.slice(0, min(GROUP, spectra - start)), row_group_size=GROUP)


def soak(spectra: int) -> Soak:
    """Predict so many spectra in this process."""
    from quasar_mass.predict import mass_table
    from quasar_mass.predict.inputs import SHIPPED_MODEL
    from quasar_mass.predict.predictor import Predictor

    predictor = Predictor.load(SHIPPED_MODEL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spectra.parquet"
        repeated(path, WARM_UP)
        mass_table.predict_table(path, predictor, quiet=True)
        repeated(path, spectra)
        samples, done = [], threading.Event()

        def watch() -> None:
            while not done.wait(PAUSE):
                samples.append(resident())

        watching = threading.Thread(target=watch)
        began = time.monotonic()
        watching.start()
        try:
            table = mass_table.predict_table(path, predictor, quiet=True)
        finally:
            done.set()
            watching.join()
        seconds = time.monotonic() - began
    if len(table) != spectra or table["LMBH"].isna().any():
        raise RuntimeError(f"expected {spectra} masses, got {int(table['LMBH'].notna().sum())} in {len(table)} rows")
    memory = np.array([quarter.mean() for quarter in np.array_split(np.array(samples), 4)])
    return Soak(spectra, memory, spectra / seconds, float(table.memory_usage(deep=True).sum()) / 1e6)


def main() -> int:
    """Predict, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spectra", type=int, default=SPECTRA, metavar="N", help=f"predictions (default: {SPECTRA:,})")
    options = parser.parse_args()
    result = soak(options.spectra)
    first, *_, last = result.memory
    print("## predictions in one process\n")
    print(
        f"{result.spectra:,} spectra of one table, with intervals and flags, in one call that keeps all masses "
        f"({result.table:.0f} MB at the end): {result.rate:,.0f} spectra/s.\n"
    )
    print("| quarter of the time | resident memory, MB |\n|---|---|")
    print("\n".join(f"| {number} | {memory:,.0f} |" for number, memory in enumerate(result.memory, 1)))
    print(f"\nFrom the first quarter ({first:,.0f} MB) to the last ({last:,.0f} MB): {result.growth:+.1%}.")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    sys.exit(main())
