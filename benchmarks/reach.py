"""What a model makes of spectra that do not show the whole window: the tables of docs/reach.md.

    .venv/bin/python benchmarks/reach.py [--model FILE ...] [--quasars N]

Simulated quasars of all redshifts, which are in no training, get masses; each row of the first table is a part that
they show, each of the second a bin of redshift. With QUASAR_MASS_REAL_DATA, real spectra are compared with the line fit
(`virial`), and the epochs of one quasar with their quoted noise. Six minutes on two cores.
"""

import argparse
import itertools
import os
from pathlib import Path

import contest  # noqa: F401 - makes the package known
import numpy as np
import pandas as pd

from quasar_mass.core.parallel import cores
from quasar_mass.core.survey import Survey
from quasar_mass.predict import inputs, mass_table
from quasar_mass.predict.inputs import SHIPPED_MODEL
from quasar_mass.predict.predictor import Predictor
from quasar_mass.simulation import partial
from quasar_mass.spectra.network_input import network_input
from quasar_mass.uncertainty.calibration import seen_groups
from quasar_mass.virial.files import measure_files

SEED = 77  # that of calibration is another
EDGES = (0.35, 0.7, 1.05, 1.46, 1.8, 2.1, 2.65)
GROUPS = {"whole": "C IV to Mg II", "MgII": "Mg II without C IV", "CIV": "C IV and C III] without Mg II"}
# what is left of whole spectra, Angstrom in the rest frame
CUTS = {
    "whole window": (0, np.inf),
    "only above 1900 A": (1900, np.inf),
    "only above 2500 A": (2500, np.inf),
    "only below 2890 A": (0, 2890),
    "no Mg II (below 2600 A)": (0, 2600),
    "C IV and C III] alone (below 1960 A)": (0, 1960),
}


def robust(values: pd.Series) -> float:
    """sigma_NMAD: 1.4826 times the median absolute deviation from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def rmse(error: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(error))))


def simulated(models: list[Predictor], number: int) -> None:
    """Print accuracy and coverage of masses of simulated quasars of all redshifts."""
    batches = partial.observe(number, models[0].grid, seed=SEED, jobs=cores())
    quasars = [quasar for batch in batches for quasar in batch]
    flux = np.stack([quasar.spectrum.flux for quasar in quasars])
    z, label, truth = (np.array([getattr(q, name) for q in quasars]) for name in ("redshift", "label", "truth_mgii"))
    sn = np.array([quasar.spectrum.signal_to_noise for quasar in quasars])
    seen = np.array([quasar.spectrum.lines_seen for quasar in quasars])
    group = seen_groups(seen)
    for model in models:
        view = model.view(flux, z, sn, seen)
        table = model.masses(view)
        inside = (
            ((label >= table["LMBH_LOW"]) & (label <= table["LMBH_HIGH"])).to_numpy() if "LMBH_LOW" in table else None
        )
        print(f"\n{model.files[0][0].name}: {len(z):,} simulated quasars at {z.min():.2f} < z < {z.max():.2f}\n")
        print("| shown | spectra | RMSE to true Mg II mass | bias | S/N > 10 | labels held | width |\n|" + "---|" * 7)
        parts = {title: group == name for name, title in GROUPS.items()}
        parts |= {f"z {a:g} to {b:g}": (z >= a) & (z < b) for a, b in itertools.pairwise(EDGES)}
        error = view.mass - truth
        for title, rows in parts.items():
            held = "- | -"
            if inside is not None:
                width = (table["LMBH_HIGH"] - table["LMBH_LOW"])[rows].mean()
                held = f"{100 * inside[rows].mean():.1f} % | {width:.3f}"
            cells = f"{rmse(error[rows]):.3f} | {error[rows].mean():+.3f} | {rmse(error[rows & (sn > 10)]):.3f}"
            print(f"| {title} | {rows.sum():,} | {cells} | {held} |")
        whole = group == "whole"
        wavelength = model.grid.wavelength
        print("\n| of whole spectra | RMSE to true Mg II mass |\n|---|---|")
        for title, (low, high) in CUTS.items():
            cut = np.where((wavelength >= low) & (wavelength <= high), flux[whole], np.float32(np.nan))
            masses = model.ensemble.outputs(network_input(cut, z[whole])).mass
            print(f"| {title} | {rmse(masses - truth[whole]):.3f} |")


def real(models: list[Predictor], folder: Path) -> None:
    """Print masses of real spectra beside those of the line fit."""
    for name in ("sdss", "sdss_rm017"):
        requests = inputs.gather([folder / name], Survey("data")).requests
        fitted = measure_files(requests, quiet=True)
        for model in models:
            table = mass_table.predict_files(requests, model, quiet=True)
            got = table["LMBH"].notna()
            print(f"\n{model.files[0][0].name}, {name}: {got.sum()} of {len(table)} have a mass")
            print(f"without: {mass_table.count_reasons(table)}")
            both = got & fitted["LMBH_MgII"].notna() & (table["SN"] > 4)
            difference = (table["LMBH"] - fitted["LMBH_MgII"])[both]
            print(
                f"network minus fit of Mg II, S/N > 4: {both.sum()} spectra, median {difference.median():+.3f}, "
                f"sigma_NMAD {robust(difference):.3f}, rms {rmse(difference):.3f}"
            )
            if name == "sdss_rm017":
                mass, sn = table["LMBH"], table["SN"]
                noise = fitted["LMBH_MgII"]
                slope = np.polyfit(np.log10(sn), mass, 1)[0]
                print(
                    f"epochs: mean {mass.mean():.3f}, sd {mass.std():.3f} (fit {noise.mean():.3f}, {noise.std():.3f}); "
                    f"slope with log S/N {slope:+.3f}"
                )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, nargs="+", default=[SHIPPED_MODEL], metavar="FILE")
    parser.add_argument("--quasars", type=int, default=8000, metavar="N")
    options = parser.parse_args()
    models = [Predictor.load(path) for path in options.model]
    simulated(models, options.quasars)
    if folder := os.environ.get("QUASAR_MASS_REAL_DATA"):
        real(models, Path(folder))


if __name__ == "__main__":
    main()
