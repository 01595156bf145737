"""Time until a network is as good as the published recipe: that recipe against this project's, on the same survey.

Both use the spectra and labels of the same training and validation objects, and nothing else: no pre-training, no
truth. The published recipe trains in memory, on its grid, with its batch size and training epochs. Its lowest
validation RMSE is the target, and both are timed until they reach it. `make bench-training` runs this, after `make
published`, which builds the tables of the published grid; results go to `training.md` and `training.png`.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from contest import HOME, cores

from quasar_mass.core.survey import Survey
from quasar_mass.network import architecture

SURVEYS = {"published": HOME / "data" / "simulated-published", "ours": HOME / "data" / "simulated-full"}
PUBLISHED_BATCH = 32
# this project's layers, on labels alone: few training epochs are enough
OURS = [replace(stage, training_epochs=n) for stage, n in zip(architecture.STAGES, (2, 1), strict=True)]
OUR_BATCH = 64


class Clock:
    """Standard output of a training: the time and the processor time at each line."""

    def __init__(self) -> None:
        self.lines: list[dict] = []
        self.began = time.monotonic(), time.process_time()

    def write(self, text: str) -> None:
        """Note the line of a training epoch."""
        if "loss" in text and "validation RMSE" in text:
            words = text.split()
            passed = {"seconds": time.monotonic() - self.began[0], "processor": time.process_time() - self.began[1]}
            self.lines.append({"stage": words[0], "rmse": float(words[words.index("RMSE") + 1])} | passed)
        sys.stderr.write(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def train(recipe: str, survey: Survey) -> dict:
    """Train a network by a recipe; gives its validation RMSE over time, and what it scores on the test objects."""
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.tables import dataset

    data = dataset.load(survey)
    training, validation = data.part("training"), data.part("validation")
    layers, stages, batch_size = {
        "published": (architecture.published_layers, architecture.PUBLISHED_STAGES, PUBLISHED_BATCH),
        "ours": (architecture.layers, OURS, OUR_BATCH),
    }[recipe]
    ann = EasyAI(layers(data.grid.step), input_shape=(data.grid.size, 1), seed=42)
    feeding = time_to_serve(training, batch_size)
    out, sys.stdout = sys.stdout, Clock()
    try:
        ann.train(training, validation, stages=stages, batch_size=batch_size)
        curve = sys.stdout.lines
    finally:
        sys.stdout = out
    facts = {"recipe": recipe, "kind": data.kind, "spectra": len(training[0]), "pixels": data.grid.size}
    facts |= {"batch_size": batch_size, "training_epochs": [stage.training_epochs for stage in stages]}
    return facts | {"feeding": feeding, "curve": curve, "test": ann.evaluate(data.part("test"))}


def time_to_serve(training: tuple, batch_size: int) -> float:
    """Seconds to serve all batches of a training epoch in shuffled order, without training."""
    import numpy as np

    from quasar_mass.network.backend import import_keras
    from quasar_mass.network.batches import Arrays, batches

    source = Arrays(training[0], training[1].to_numpy())
    served = batches(import_keras(), source, batch_size, np.random.default_rng(0).permutation(len(source)))
    begin = time.monotonic()
    for i in range(len(served)):
        served[i]
    return time.monotonic() - begin


def until(curve: list[dict], target: float) -> dict | None:
    """The first training epoch whose validation RMSE is at the target or below."""
    return next((row for row in curve if row["rmse"] <= target), None)


def plot(results: dict[str, dict], target: float, path: Path) -> None:
    """Draw validation RMSE over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 3.6), layout="constrained")
    for name, result in results.items():
        axes.plot(
            [row["processor"] for row in result["curve"]], [row["rmse"] for row in result["curve"]], "o-", label=name
        )
    axes.axhline(target, color="k", linestyle=":", label="best of the published recipe")
    axes.set(xlabel="processor time (s)", ylabel="validation RMSE (dex)", xscale="log")
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> int:
    """Train both, each in a process of its own, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", choices=SURVEYS, help="train this one alone, and print JSON")
    options = parser.parse_args()
    if options.recipe:
        print(json.dumps(train(options.recipe, Survey(SURVEYS[options.recipe]))))
        return 0
    results = {}
    for recipe, folder in SURVEYS.items():
        if not Survey(folder).spectra.exists():
            print(f"error: {folder}: expected its tables, got none; run: make best-models published", file=sys.stderr)
            return 1
        command = [sys.executable, __file__, recipe]
        results[recipe] = json.loads(subprocess.check_output(command, cwd=HOME, text=True))
    target, ours = min(row["rmse"] for row in results["published"]["curve"]), results["ours"]
    lines = [
        "# Training until the published recipe's best\n",
        f"Written by `make bench-training`. {ours['spectra']:,} training spectra ({ours['kind']}), labels alone, "
        f"{cores()} cores. The target: validation RMSE {target:.4f} dex.\n",
        "| | pixels | batch | training epochs until the target | s | s of processor time | serving the batches of one "
        "training epoch, s | lowest validation RMSE | test RMSE, R2 |\n|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        reached_at = until(result["curve"], target)
        reached = ("never", "-", "-")
        if reached_at:
            reached = (
                result["curve"].index(reached_at) + 1,
                f"{reached_at['seconds']:.0f}",
                f"{reached_at['processor']:.0f}",
            )
        lowest = min(row["rmse"] for row in result["curve"])
        lines.append(
            f"| {name} | {result['pixels']:,} | {result['batch_size']} | {' | '.join(map(str, reached))} | "
            f"{result['feeding']:.1f} | {lowest:.4f} | {result['test']['rmse']:.4f}, {result['test']['r2']:.3f} |"
        )
    lines.append("\n![validation RMSE over processor time](training.png)\n")
    print("\n".join(lines))
    Path(__file__).with_name("training.md").write_text("\n".join(lines), encoding="utf-8")
    plot(results, target, Path(__file__).with_name("training.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
