"""How far a wrong redshift moves the masses, and how often it is flagged: the tables of docs/spikes_gaps_redshifts.md.

    .venv/bin/python benchmarks/redshifts.py

takes some minutes. The spectra are simulated with another seed than those on which the check was tuned. With
QUASAR_MASS_REAL_DATA=folder, the real spectra of its folder `sdss` follow.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from contest import MODEL, simulated

from quasar_mass import virial
from quasar_mass.core.constants import C_KM_S
from quasar_mass.predict.predictor import Predictor
from quasar_mass.simulation.population import MONITORED_PLATES
from quasar_mass.spectra.read import read
from quasar_mass.spectra.redshift_check import FLAG, FLAG_NO_LINES
from quasar_mass.spectra.spectrum import Spectrum

OBJECTS = 1500
ERRORS = (0, 500, -500, 1000, -1000, 2000, -2000, 3000, -3000, 5000, -5000, 10_000, -10_000)  # km/s
MIN_SN = 4.0  # per pixel
PARTS = {  # Angstrom, rest frame: what the classical fit is shown
    "all of 1445-3388 A": (1445.0, 3388.0),
    "Mg II alone, 2600-3388 A": (2600.0, 3388.0),
    "C III] and Mg II, 1750-3388 A": (1750.0, 3388.0),
    "C IV and C III], 1445-2100 A": (1445.0, 2100.0),
}


def signal_to_noise(spectrum) -> float:
    """Median over the good pixels; 0 where there are none."""
    ratio = (spectrum.flux * np.sqrt(spectrum.ivar))[spectrum.good]
    return float(np.median(ratio)) if len(ratio) else 0.0


def wrong(spectra, error: float) -> np.ndarray:
    """Redshifts that are wrong by a velocity in km/s."""
    return (1.0 + np.array([spectrum.redshift for spectrum in spectra])) * np.exp(error / C_KM_S) - 1.0


def fit(spectra, error: float) -> pd.DataFrame:
    """The classical fit at redshifts that are wrong."""
    return virial.measure(spectra, redshift=wrong(spectra, error))


def only(spectrum, window: tuple[float, float]):
    """A spectrum without data outside a window in its rest frame."""
    rest = spectrum.wavelength / (1.0 + spectrum.redshift)
    return replace(spectrum, ivar=np.where((rest > window[0]) & (rest < window[1]), spectrum.ivar, 0.0))


def moved(masses: pd.Series, right: pd.Series) -> str:
    """Median and root mean square of the change of masses, and of how many; cells of a row of Markdown."""
    change = (masses - right).dropna()
    return f"{len(change)} | {change.median():+.3f} | {(change**2).mean() ** 0.5:.3f}" if len(change) else "0 | |"


def flagged(table: pd.DataFrame) -> str:
    """Per cent of the spectra that are flagged; empty where there are none."""
    return f"{100 * table['FLAGS'].str.contains(FLAG).mean():.1f} %" if len(table) else ""


def masses_against_error(spectra) -> None:
    """Print the table of mass against redshift error."""
    model = Predictor.load([MODEL])
    right = model.predict(spectra)["LMBH"], fit(spectra, 0)["LMBH_MgII"]
    print(
        "| redshift error, km/s | network: n | median d log M | rms | flagged | fit of Mg II: n | median d log M | rms "
        "| flagged |\n|---|---|---|---|---|---|---|---|---|"
    )
    for error in ERRORS:
        network, fitted = model.predict(spectra, redshift=wrong(spectra, error)), fit(spectra, error)
        cells = f"{moved(network['LMBH'], right[0])} | {flagged(network[network['REASON'] == ''])}"
        print(f"| {error:+,} | {cells} | {moved(fitted['LMBH_MgII'], right[1])} | {flagged(fitted)} |", flush=True)


def flags_by_part(groups: dict) -> None:
    """Print which fraction of spectra is flagged, by what they show."""
    errors = (0, 1000, -1000, 3000, -3000, 10_000, -10_000)
    print("\n| flagged, by what the fit is shown | n |" + "".join(f" {error:+,} km/s |" for error in errors))
    print("|---|---|" + "---|" * len(errors))
    for name, spectra in groups.items():
        print(f"| {name} | {len(spectra)} | " + " | ".join(flagged(fit(spectra, error)) for error in errors) + " |")


def power_laws(spectra) -> list[Spectrum]:
    """Spectra without lines: power laws of many slopes with the noise and the median flux of these."""
    rng = np.random.default_rng(1)
    made = []
    for spectrum in spectra:
        flux = np.median(spectrum.flux[spectrum.good]) * (spectrum.wavelength / 6000.0) ** rng.uniform(-2.0, 0.0)
        error = 1.0 / np.sqrt(np.where(spectrum.good, spectrum.ivar, np.inf))
        made.append(replace(spectrum, flux=flux + error * rng.standard_normal(len(flux))))
    return made


def without_lines(groups: dict) -> None:
    """Print how often `predict` flags that there are no lines."""
    model = Predictor.load([MODEL])
    print("\n| spectra | n | flagged: no broad lines |\n|---|---|---|")
    for name, spectra in groups.items():
        flags = model.predict(spectra)["FLAGS"]
        print(f"| {name} | {len(spectra)} | {100 * flags.str.contains(FLAG_NO_LINES).mean():.1f} % |", flush=True)


def main() -> int:
    """Measure, and print Markdown."""
    with simulated(OBJECTS) as folder:
        paths = sorted((folder / "spectra").glob("*/*.fits"))
        spectra = [read(path) for path in paths if int(path.parent.name) not in MONITORED_PLATES]
        fainter = [spectrum for spectrum in spectra if signal_to_noise(spectrum) <= MIN_SN]
        spectra = [spectrum for spectrum in spectra if signal_to_noise(spectrum) > MIN_SN]
    masses_against_error(spectra)
    groups = {name: [only(spectrum, window) for spectrum in spectra] for name, window in PARTS.items()}
    if folder := os.environ.get("QUASAR_MASS_REAL_DATA"):
        real = [read(path) for path in sorted((Path(folder) / "sdss").glob("*/*.fits"))]
        groups["real spectra of SDSS"] = [spectrum for spectrum in real if signal_to_noise(spectrum) > MIN_SN]
    flags_by_part(groups)
    quasars = {"simulated quasars, S/N > 4": spectra, "the same, S/N < 4": fainter}
    without = {f"power laws instead of {name}": power_laws(some) for name, some in quasars.items()}
    real = {name: some for name, some in groups.items() if name.startswith("real")}
    without_lines(quasars | real | without)
    return 0


if __name__ == "__main__":
    sys.exit(main())
