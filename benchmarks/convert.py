"""Memory and time of `convert` on a table of the reference's form and size: 41,464 spectra, a column per wavelength."""

import subprocess
import sys
import tempfile
from pathlib import Path

from contest import HOME, numbers

MAKE = """
import sys
from pathlib import Path
import fastparquet, numpy as np, pandas as pd
folder, number = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
names = [f"{i:018d}".encode() for i in range(number)]
epochs = [f"{4000 + i // 1000}-56000-{i % 1000:04d}".encode() for i in range(number)]
quasars = pd.DataFrame({"OBJECT": names, "CHEN EPOCH": epochs, "ZVI": 1.5, "Z": 1.5, "N_EPOCHS": 1, "LMBH": 8.5})
for name in ("logMBH-Hb", "logMBH-Ha-2", "logMBH-CIV-2"):
    quasars[name] = 0.0
quasars["logMBH-MgII-2"] = 8.5
fastparquet.write(str(folder / "reference_quasars.parquet"), quasars, compression=None)
flux = rng.random((number, 7401), dtype=np.float64)
wide = pd.DataFrame(flux, columns=[str(value) for value in np.round(3.16 + 5e-5 * np.arange(7401), 5)])
wide.insert(0, "OBJECT", names)
wide.insert(1, "EPOCH", epochs)
fastparquet.write(str(folder / "reference_spectra.parquet"), wide, compression=None, row_group_offsets=number + 1)
print((folder / "reference_spectra.parquet").stat().st_size)
"""

CONVERT = """
import resource, sys, time
from pathlib import Path
from quasar_mass.tables.build.convert import convert
from quasar_mass.core.survey import Survey
folder = Path(sys.argv[1])
begin = time.perf_counter()
for name in ("quasars", "spectra"):
    convert(folder / f"reference_{name}.parquet", Survey(folder / "survey"), quiet=True)
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print((folder / "survey" / "bigger_data" / "spectra.parquet").stat().st_size)
"""

SPECTRA = 41_464


def main() -> int:
    """Measure, and print Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "make.py"  # a process of its own: it needs memory that would count for its children
        script.write_text(MAKE, encoding="utf-8")
        made = subprocess.check_output([sys.executable, script, folder, str(SPECTRA)], cwd=HOME, text=True)
        seconds, memory, size = numbers(CONVERT, folder)
    print(f"## convert\n\nThe reference's form: {SPECTRA:,} spectra of random numbers, {int(made) / 1e9:.2f} GB.\n")
    print("| s | highest memory, MB | spectra.parquet of random numbers, GB |\n|---|---|---|")
    print(f"| {seconds:.0f} | {memory:,.0f} | {size / 1e9:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
