"""Peak memory of a training on a survey of full size, streamed from its tables; the spectra are random numbers.

`python benchmarks/streamed_training.py [SPECTRA [load|stream]]`; prints Markdown.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))

from quasar_mass import dataset, network, tables  # noqa: E402 - the package is found one line above
from quasar_mass.easyai import EasyAI  # noqa: E402
from quasar_mass.survey import Grid, Survey  # noqa: E402

SPECTRA = 41_464  # of the published survey


def write(survey: Survey, n: int, grid: Grid) -> None:
    """Two tables of random spectra."""
    names = [f"object {number:06d}" for number in range(n)]
    quasars = pd.DataFrame(index=pd.Index(names, name="OBJECT"), columns=list(tables.QUASAR_COLUMNS), dtype=float)
    quasars = quasars.assign(LMBH=np.linspace(8, 9, n), N_EPOCHS=1, LABEL_LINE="MgII")
    quasars["SPLIT"] = dataset.split_objects(quasars["N_EPOCHS"])
    about = {"kind": "simulated", "grid": tables.describe_grid(grid), "build": "random"}

    def blocks():
        rng = np.random.default_rng(1)
        for start in range(0, n, tables.ROW_GROUP):
            some = names[start : start + tables.ROW_GROUP]
            plain = {"LABEL_EPOCH": True, "Z": 1.5, "SN": 5.0, "N_BAD": 0, "EBV": 0.02, "RUN2D": "v5_13_0", "FLAGS": ""}
            columns = {name: [value] * len(some) for name, value in plain.items()}
            flux = rng.random((len(some), grid.size), dtype=np.float32)
            yield columns | {"OBJECT": some, "EPOCH": some, "flux": flux}

    tables.write_quasars(survey.quasars, quasars, about)
    tables.write_spectra(survey.spectra, blocks(), grid, lambda: about)


def peak() -> float:
    """Peak of resident memory in GB, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def main() -> None:
    """One training epoch, with checkpoints (so that all data is hashed) and validation."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else SPECTRA
    how = sys.argv[2] if len(sys.argv) > 2 else "stream"
    grid = Grid()
    with tempfile.TemporaryDirectory() as folder:
        survey = Survey(Path(folder) / "survey")
        write(survey, n, grid)
        print(f"\n## Training from Parquet ({how})\n\n{n:,} spectra of {grid.size} pixels; peak after\n")
        print(f"- writing the tables: {peak():.2f} GB")
        began = time.monotonic()
        data = getattr(dataset, how)(survey)
        print(f"- opening them: {peak():.2f} GB ({time.monotonic() - began:.0f} s)", flush=True)
        ann = EasyAI(network.layers(grid.step), (grid.size, 1))
        began = time.monotonic()
        ann.train(
            data.part("training"),
            data.part("validation"),
            stages=(network.Stage("one", 1e-3, 1),),
            batch_size=128,
            checkpoints=Path(folder) / "checkpoints",
            quiet=True,
        )
        row = ann.history.iloc[0]
        print(f"- one training epoch: {peak():.2f} GB ({time.monotonic() - began:.0f} s)")
        print(f"\nloss {row['loss']:.9g}, validation loss {row['val_loss']:.9g}")


if __name__ == "__main__":
    main()
