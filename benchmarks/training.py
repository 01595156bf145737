"""Time until a network is as good as the published recipe gets: that recipe against this project's, on the same survey.

Both see the same training and validation spectra and labels, and nothing else: no pre-training, no truth. The published
recipe is trained first, in memory, on its own grid and with its batch; the lowest validation RMSE it reaches is the
mark. It takes an hour or more on two cores, so `make bench` leaves it out, and `make bench-training` runs it.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from quasar_mass import network  # noqa: E402
from quasar_mass.survey import Survey  # noqa: E402


class Clock:
    """Where a training writes its lines: each gets the time that has passed, and the processor time."""

    def __init__(self, path: Path, facts: dict) -> None:
        self.path, self.facts, self.lines = path, facts, []
        self.began = time.monotonic(), time.process_time()

    def write(self, text: str) -> None:
        """Note a line."""
        if "validation RMSE" in text:
            words = text.split()
            self.lines.append(
                {
                    "stage": words[0],
                    "rmse": float(words[words.index("RMSE") + 1]),
                    "seconds": time.monotonic() - self.began[0],
                    "processor_seconds": time.process_time() - self.began[1],
                }
            )
            self.path.write_text(json.dumps(self.facts | {"curve": self.lines}, indent=1), encoding="utf-8")
        sys.stderr.write(text)

    def flush(self) -> None:
        """Nothing waits."""


def train(recipe: str, survey: Survey, path: Path) -> None:
    """Train a network by a recipe, and write its validation RMSE over time as JSON."""
    from quasar_mass import dataset
    from quasar_mass.easyai import EasyAI

    data = dataset.load(survey)
    training, validation = data.part("training"), data.part("validation")
    if recipe == "published":
        layers, stages, batch_size = network.published_layers(data.grid.step), network.STAGES, 32
    else:
        layers, stages, batch_size = network.layers(data.grid.step), OURS, OUR_BATCH
    ann = EasyAI(layers, input_shape=(data.grid.size, 1), seed=42)
    facts = {"recipe": recipe, "kind": data.kind, "spectra": len(training[0]), "pixels": data.grid.size}
    out, sys.stdout = sys.stdout, Clock(path, facts | {"batch_size": batch_size})
    try:
        ann.train(training, validation, stages=stages, batch_size=batch_size)
    finally:
        sys.stdout = out


OURS = [replace(stage, training_epochs=n) for stage, n in zip(network.STAGES, (6, 2), strict=True)]
OUR_BATCH = 64


def main() -> int:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=("published", "ours"))
    parser.add_argument("--survey", type=Survey, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    train(options.recipe, options.survey, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
