"""What gaps do to masses, flags and intervals: the tables of docs/spikes_gaps_redshifts.md.

    .venv/bin/python benchmarks/gaps.py --survey data/simulated-full [--model FILE ...]

takes about four minutes for each model file; given several, the table has their intervals side by side. Pixels of the
test objects' files get inverse variance 0, and the files' spectra go through `predict`.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import contest  # noqa: F401 - makes the package known
import numpy as np
import pandas as pd

from quasar_mass.core.constants import KM_S_PER_DEX
from quasar_mass.core.survey import WINDOW, Survey
from quasar_mass.predict.inputs import SHIPPED_MODEL
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.read import read
from quasar_mass.spectra.seen_lines import LINES
from quasar_mass.spectra.spectrum import Spectrum
from quasar_mass.tables import survey_tables

WIDTHS = (10.0, 20.0, 40.0, 80.0)  # Angstrom, rest frame
PLACES = {  # middles and widths of gaps in Angstrom, rest frame
    "Mg II": (2798.75, (7.5, *WIDTHS)),  # 7.5 A are about 20 observed ones
    "Mg II, 25 A to the red": (2823.75, WIDTHS),
    "C IV": (1549.06, WIDTHS),
    "C III]": (1908.73, WIDTHS),
    "2200 A, no line": (2200.0, WIDTHS),
    "3100 A, no line": (3100.0, WIDTHS),
}
SEEN = (0.0, 0.2, 0.5, 0.8, 0.95, 1.0)  # edges of the second table's bins
REPEATS = 4  # gaps tried in each spectrum, one at a time
BRIGHT = 8.0  # S/N per pixel


def test_objects(survey: Survey) -> tuple[list[Spectrum], np.ndarray]:
    """The spectra on which the labels of the test objects were measured, and these labels."""
    quasars = survey_tables.read_quasars(survey.quasars)
    parts = [frame[frame["LABEL_EPOCH"]] for frame, _ in survey_tables.iterate_spectra(survey.spectra)]
    rows = pd.concat(parts).join(quasars[["SPLIT", "LMBH"]], on="OBJECT")
    rows = rows[rows["SPLIT"] == "test"]
    names = [map(int, name.split("-")) for name in rows["EPOCH"]]
    files = [read(survey.spectrum(*name)) for name in names]
    spectra = [replace(file, redshift=z, ebv=ebv) for file, z, ebv in zip(files, rows["Z"], rows["EBV"], strict=True)]
    return spectra, rows["LMBH"].to_numpy()


def with_gap(spectrum: Spectrum, middle: float, width: float) -> Spectrum:
    """The spectrum without data over a stretch of its rest frame, Angstrom."""
    rest = spectrum.wavelength / (1.0 + spectrum.redshift)
    return replace(spectrum, ivar=np.where(np.abs(rest - middle) <= 0.5 * width, 0.0, spectrum.ivar))


def intervals(tables: list[pd.DataFrame], label: np.ndarray, rows: np.ndarray) -> str:
    """Coverage of the labels and mean width of each model's intervals; cells of a row of Markdown."""
    cells = []
    for table in tables:
        low, high = table["LMBH_LOW"].to_numpy()[rows], table["LMBH_HIGH"].to_numpy()[rows]
        inside = (label[rows] >= low) & (label[rows] <= high)
        cells.append(f"{100 * inside.mean():.1f} % | {np.mean(high - low):.2f}")
    return " | ".join(cells)


def head(names: list[str], numbers: int) -> None:
    """The first two lines of a table of Markdown."""
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names[:-numbers]) + "---|" * numbers)


def gaps_at_places(models: list[Predictor], spectra: list[Spectrum], label: np.ndarray) -> None:
    """Print what a gap of each width at each place does."""
    plain = [model.predict(spectra) for model in models]
    bright, everything = plain[-1]["SN"].to_numpy() > BRIGHT, np.ones(len(spectra), bool)
    columns = [
        "gap at",
        "width, A",
        "seen",
        "rms shift",
        f"S/N > {BRIGHT:g}",
        "beyond 0.1 dex",
        "flagged",
        "other flags",
    ]
    columns += ["labels held", "mean width"] * len(models)
    head(columns, 2)
    print(f"| no gap | | | | | | | | {intervals(plain, label, everything)} |", flush=True)
    for place, (middle, widths) in PLACES.items():
        for width in widths:
            tables = [model.predict([with_gap(spectrum, middle, width) for spectrum in spectra]) for model in models]
            last = tables[-1]
            shift = (last["LMBH"] - plain[-1]["LMBH"]).to_numpy()
            seen = last[list(LINES)].min(axis=1).median()
            own = last["FLAGS"].str.contains("gap at")
            words = zip(last["FLAGS"].str.split("; "), plain[-1]["FLAGS"], strict=True)
            other = [
                any(not word.startswith("gap at") and word not in before for word in after) for after, before in words
            ]
            cells = [place, f"{width:g}", f"{100 * seen:.0f} %", f"{rms(shift):.3f}", f"{rms(shift[bright]):.3f}"]
            cells += [f"{100 * value:.0f} %" for value in (np.mean(np.abs(shift) > 0.1), own.mean(), np.mean(other))]
            print(f"| {' | '.join(cells)} | {intervals(tables, label, everything)} |", flush=True)


def random_gaps(models: list[Predictor], spectra: list[Spectrum], label: np.ndarray) -> None:
    """Print how intervals depend on what is seen of each line, for one random gap in every spectrum."""
    rng, centres = np.random.default_rng(1), [wavelength for _, wavelength in LINES.values()]
    parts = {name: [] for name in range(len(models))}
    for _ in range(REPEATS):
        gapped = []
        for spectrum in spectra:
            near = 10.0 ** (np.log10(rng.choice(centres)) + rng.normal(0.0, 3000.0) / KM_S_PER_DEX)
            middle = near if rng.random() < 0.75 else 10.0 ** rng.uniform(*WINDOW)
            gapped.append(with_gap(spectrum, middle, rng.uniform(5.0, 100.0)))
        for number, model in enumerate(models):
            parts[number].append(model.predict(gapped))
    tables, labels = [pd.concat(part, ignore_index=True) for part in parts.values()], np.tile(label, REPEATS)
    head(["line", "seen", "spectra", *["labels held", "mean width"] * len(models)], 2)
    for column, (name, _) in LINES.items():
        seen = tables[-1][column].to_numpy()
        others = tables[-1][[other for other in LINES if other != column]].min(axis=1).to_numpy() > SEEN[-2]
        for low, high in itertools.pairwise(SEEN):
            rows = others & (seen >= low) & ((seen < high) | (high == 1.0))
            print(f"| {name} | {low:g}-{high:g} | {rows.sum():,} | {intervals(tables, labels, rows)} |")


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def main() -> int:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--survey", type=Path, required=True, help="a simulated survey, built")
    parser.add_argument("--model", type=Path, nargs="+", default=[SHIPPED_MODEL], help="model files of one network")
    arguments = parser.parse_args()
    models = [Predictor.load(path) for path in arguments.model]
    spectra, label = test_objects(Survey(arguments.survey))
    print(f"{len(spectra):,} spectra: those on which the labels of the test objects were measured")
    gaps_at_places(models, spectra, label)
    random_gaps(models, spectra, label)
    return 0


if __name__ == "__main__":
    sys.exit(main())
