"""How much the demonstration's result depends on chance: its notebook with five seeds of the network (20 minutes).

The survey and its split stay the same. Prints Markdown: the test RMSE of each seed beside gradient boosting.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import HOME, command

SEEDS = (42, 43, 44, 45, 46)
SURVEY = "data/simulated"


def run(seed: int, folder: Path) -> dict:
    """Execute the notebook; what it says of its test objects."""
    values = {"SEED": seed, "SURVEY": SURVEY, "CREATING": "Load"}
    values |= {name.upper(): folder / name for name in ("results", "models", "checkpoints")}
    words = ["execute", "Quasar_mass_ML.ipynb", folder / "executed.ipynb", *(f"{k}={v}" for k, v in values.items())]
    run = list(map(str, [sys.executable, "-m", "quasar_mass.cli.notebook", *words]))
    subprocess.run(run, cwd=HOME, check=True, stdout=sys.stderr)
    return json.loads((folder / "results" / "summary.json").read_text())


def main() -> int:
    """Measure, and print Markdown."""
    if not (HOME / SURVEY / "bigger_data" / "spectra.parquet").exists():
        command("get_Chen_data.py", "simulate", "--survey", SURVEY)
        command("get_Chen_data.py", "build", "--survey", SURVEY)
    print("| seed | RMSE by object | RMSE by spectrum | R2 by spectrum |\n|---|---|---|---|")
    by_object = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            found = run(seed, Path(folder))
        objects, spectra = found["objects"], found["test"]
        by_object.append(objects["rmse"])
        print(f"| {seed} | {objects['rmse']:.3f} | {spectra['rmse']:.3f} | {spectra['r2']:.3f} |", flush=True)
    boosting = found["boosting"]
    print(
        f"\nBy object, dex ({found['kind']}): mean {statistics.mean(by_object):.3f}, standard deviation "
        f"{statistics.stdev(by_object):.3f}, all within {max(by_object) - min(by_object):.3f}; gradient boosting on "
        f"principal components of the same training spectra {boosting['rmse']:.3f}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
