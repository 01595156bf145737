"""Speed of `build` compared with the reference's method and with merely reading the files.

The files belong to a small simulated survey made for the purpose, and are in the page cache. Every method runs in a
process of its own; the time that Python needs to start and to import is left out.
"""

import sys

from contest import best, cores, simulated

OBJECTS = 1500  # quasars: about 2,000 spectrum files

# The reference's method, written anew: one file after the other through astropy's Table into pandas, a function applied
# to every pixel, the distance of every object by itself, scipy's interp1d onto a grid twice as fine as SDSS's, one wide
# table of float64 with a column per wavelength, written by fastparquet.
REFERENCE = """
import sys, time, warnings
from pathlib import Path
import fastparquet, numpy as np, pandas as pd
from astropy import units
from astropy.cosmology import Planck15
from astropy.table import Table
from scipy.interpolate import interp1d
warnings.simplefilter("ignore")
folder, out, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
quasars = pd.read_parquet(folder / "bigger_data" / "quasars.parquet")
spectra = pd.read_parquet(folder / "bigger_data" / "spectra.parquet", columns=["OBJECT", "EPOCH"]).head(number)
grid = 3.16 + 5e-5 * np.arange(7401)
begin = time.perf_counter()
rows = []
for name, epoch in zip(spectra["OBJECT"], spectra["EPOCH"]):
    redshift = quasars.loc[name, "Z"]
    table = Table.read(folder / "spectra" / epoch.split("-")[0] / f"spec-{epoch}.fits", hdu=1, format="fits")
    frame = table.to_pandas()
    scale = Planck15.luminosity_distance(redshift).to(units.Mpc).value ** 2 * 1e-9
    frame["x"] = frame["LOGLAM"].apply(lambda value: value - np.log10(1 + redshift))
    frame["y"] = frame["FLUX"].apply(lambda value: value * scale)
    rows.append(interp1d(frame["x"], frame["y"])(grid))
index = pd.MultiIndex.from_frame(spectra)
wide = pd.DataFrame(np.array(rows), index=index, columns=[f"{value:.5f}" for value in grid])
fastparquet.write(out, wide.reset_index(), compression=None)
print(time.perf_counter() - begin, len(rows))
"""

READING = """
import sys, time
from pathlib import Path
paths = sorted((Path(sys.argv[1]) / "spectra").glob("*/*.fits"))
begin = time.perf_counter()
for path in paths:
    with open(path, "rb") as file:
        file.read()
print(time.perf_counter() - begin, len(paths))
"""

OURS = """
import sys, time
if __name__ == "__main__":  # the other processes import this file too, as they do the command's, which is as short
    from astropy.cosmology import Planck15
    from quasar_mass.tables.build.pipeline import build
    from quasar_mass.spectra.extinction import extinction_curve
    from quasar_mass.core.survey import Survey
    extinction_curve()
    begin = time.perf_counter()
    about = build(Survey(sys.argv[1]), jobs=int(sys.argv[2]), quiet=True)
    print(time.perf_counter() - begin, about["cuts"][-1]["spectra"] + sum(about["rejects"].values()))
"""


def main() -> int:
    """Measure, and print Markdown."""
    with simulated(OBJECTS) as folder:
        files = len(list((folder / "spectra").glob("*/*.fits")))
        ours = {f"`build --jobs {jobs}`": best(OURS, folder, jobs) for jobs in sorted({1, cores()})}
        slow, read = "the reference's method, one process", "reading the files' bytes, one process"
        rates = {slow: best(REFERENCE, folder, folder / "wide.parquet", files, rounds=1)} | ours
        rates[read] = best(READING, folder)
    print(f"## build\n\n{files:,} simulated files of a survey of {OBJECTS:,} quasars, page cache warm.\n")
    print("| | files/s | ms a file | times the reference's method | times the time of reading |")
    print("|---|---|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {1e3 / rate:.2f} | {rate / rates[slow]:.1f} | {rates[read] / rate:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
