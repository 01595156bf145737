"""How time and memory of building, training and predicting grow with the number of spectra: `growth.png`, and a table.

Parts of one large simulated survey: by default `data/simulated-full`, which `make best-models` makes first (9.2 GB).
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from contest import HOME, MODEL, cores, numbers
from matplotlib import pyplot

SIZES = (1_000, 4_000, 16_000, 41_464)  # spectra; the last one is the reference's number

# Each prints seconds, spectra, and the highest memory of the process and of its children in MB; the start of Python is
# left out of the time, not of the memory.
END = """
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    # not ru_maxrss: that of a process begins with its parent's
    lines = open("/proc/self/status", encoding="ascii").read().splitlines()
    print(seconds, count, next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), others)
"""
BUILD = (
    """
import resource, sys, time
if __name__ == "__main__":
    from astropy.cosmology import Planck15
    from quasar_mass.tables.build.pipeline import build
    from quasar_mass.spectra.extinction import extinction_curve
    from quasar_mass.core.survey import Survey
    extinction_curve()
    begin = time.perf_counter()
    about = build(Survey(sys.argv[1]), jobs=int(sys.argv[2]), quiet=True)
    seconds, count = time.perf_counter() - begin, about["cuts"][-1]["spectra"] + sum(about["rejects"].values())
"""
    + END
)
TRAIN = (
    """
import resource, sys, time
if __name__ == "__main__":
    from dataclasses import replace
    from quasar_mass.tables import dataset
    from quasar_mass.network import architecture
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.core.survey import Survey
    data = dataset.stream(Survey(sys.argv[1]))
    training, validation = data.part("training"), data.part("validation")
    ann = EasyAI(architecture.layers(data.grid.step), input_shape=(data.grid.size, 1))
    begin = time.perf_counter()
    stage = replace(architecture.STAGES[0], training_epochs=1)
    ann.train(training, validation, stages=[stage], batch_size=128, quiet=True)
    seconds, count = time.perf_counter() - begin, len(data.spectra)
"""
    + END
)
PREDICT = (
    """
import resource, sys, time
if __name__ == "__main__":
    from quasar_mass.predict import mass_table
    from quasar_mass.predict.predictor import Predictor
    from quasar_mass.core.survey import Survey
    predictor = Predictor.load([sys.argv[2]])
    begin = time.perf_counter()
    count = len(mass_table.predict_survey(Survey(sys.argv[1]), predictor, quiet=True))
    seconds = time.perf_counter() - begin
"""
    + END
)


def part(whole: Path, folder: Path, share: float) -> None:
    """A survey of the first objects of another one's Chen+ table, whose other files it shares."""
    lines = (whole / "apjsab41fet1_mrt.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    header = max(i for i, line in enumerate(lines) if line.startswith("------")) + 1
    rows = lines[header:]
    (folder / "bigger_data").mkdir(parents=True)
    kept = lines[:header] + rows[: max(1, round(share * len(rows)))]
    (folder / "apjsab41fet1_mrt.txt").write_text("".join(kept), encoding="utf-8")
    for name in ("survey.json", "spectra", "bigger_data/DR16Q_v4.fits"):
        os.symlink((whole / name).resolve(), folder / name)


def plot(results: list[dict], path: Path) -> None:
    """Draw time and memory over the number of spectra."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in ("build", "training epoch", "prediction"):
        rows = [row for row in results if row["what"] == name]
        size = [row["spectra"] for row in rows]
        left.loglog(size, [row["seconds"] for row in rows], "o-", label=name)
        right.semilogx(size, [row["memory"] for row in rows], "o-", label=name)
    left.loglog(SIZES, [SIZES[i] / SIZES[0] for i in range(len(SIZES))], "k:", label="in proportion")
    left.set(xlabel="spectra", ylabel="seconds")
    right.set(xlabel="spectra", ylabel="highest memory of a process (MB)", ylim=(0, None))
    left.legend()
    figure.savefig(path, dpi=150)


def main() -> int:
    """Measure, print Markdown, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--survey", type=Path, default=HOME / "data" / "simulated-full")
    options = parser.parse_args()
    if not (options.survey / "survey.json").exists():
        print(f"## growth\n\nNot measured: no survey in {options.survey.name} (make best-models simulates it).\n")
        return 0
    files = sum(1 for _ in (options.survey / "spectra").glob("*/*.fits"))
    results = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            survey = Path(folder) / "part"
            part(options.survey, survey, min(1.0, size / files))
            jobs = {
                "build": (BUILD, survey, cores()),
                "training epoch": (TRAIN, survey),
                "prediction": (PREDICT, survey, MODEL),
            }
            for what, (code, *arguments) in jobs.items():
                seconds, spectra, own, others = numbers(code, *arguments)
                results.append({"what": what, "spectra": spectra, "seconds": seconds, "memory": max(own, others)})
                print(results[-1], file=sys.stderr, flush=True)
    print(f"## growth\n\nParts of a simulated survey of {files:,} files, {cores()} cores. Training reads from disk.\n")
    print("| | spectra | s | ms a spectrum | highest memory of a process, MB |\n|---|---|---|---|---|")
    for row in results:
        milliseconds = 1e3 * row["seconds"] / row["spectra"]
        cells = (f"{row['spectra']:,.0f}", f"{row['seconds']:.1f}", f"{milliseconds:.2f}", f"{row['memory']:,.0f}")
        print(f"| {row['what']} | {' | '.join(cells)} |")
    print("\n![time and memory over the number of spectra](growth.png)")
    plot(results, Path(__file__).with_name("growth.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
