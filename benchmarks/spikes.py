"""What spikes do to masses, with and without the filter, and what the filter takes from undisturbed spectra.

    .venv/bin/python benchmarks/spikes.py --survey data/simulated-full [--fit]

prints the tables of docs/spikes_gaps_redshifts.md (3 minutes; with --fit, those of the classical fit: 10 minutes). The
spectra are of test objects, evenly spread in log S/N. The filter was tuned on a survey of another seed.
"""

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from contest import MODEL
from gaps import head, rms

from quasar_mass import virial
from quasar_mass.core.survey import Survey
from quasar_mass.predict.predictor import Predictor
from quasar_mass.report.comparison import add_truth
from quasar_mass.spectra import rest_frame
from quasar_mass.spectra.read import read
from quasar_mass.spectra.spectrum import Spectrum
from quasar_mass.spectra.spikes import remove_spikes
from quasar_mass.tables import survey_tables
from quasar_mass.virial import bins

PLACES = {"Mg II": 2798.75, "Mg II, flank": 2780.0, "C IV": 1549.06, "C III]": 1908.73, "2200 A": 2200.0}
WIDTHS, HEIGHTS = (2, 5), (6, 8, 10, 20, 50, 1000)  # pixels; standard deviations of the pixels
SN_RANGE, SPECTRA = (1.5, 30.0), 500
SN_BINS = (1.5, 3.0, 6.0, 12.0, 30.0)
ABSORPTION = (5.0, 10.0, 20.0, 100.0)  # depths in standard deviations, edges of bins


def test_rows(survey: Survey) -> pd.DataFrame:
    """The rows of spectra.parquet on which the labels of the test objects were measured."""
    split = survey_tables.read_quasars(survey.quasars)["SPLIT"]
    parts = [frame[frame["LABEL_EPOCH"]] for frame, _ in survey_tables.iterate_spectra(survey.spectra)]
    rows = pd.concat(parts, ignore_index=True)
    return rows[(rows["OBJECT"].map(split) == "test")].reset_index(drop=True)


def read_rows(rows: pd.DataFrame, survey: Survey) -> list[Spectrum]:
    """Read the files of these spectra."""
    files = [read(survey.spectrum(*map(int, name.split("-")))) for name in rows["EPOCH"]]
    return [replace(file, redshift=z, ebv=ebv) for file, z, ebv in zip(files, rows["Z"], rows["EBV"], strict=True)]


def with_spike(spectrum: Spectrum, rest: float, width: int, sigmas: float) -> Spectrum:
    """Add so many standard deviations to some pixels around a wavelength, Angstrom in the rest frame."""
    first = int(np.searchsorted(spectrum.wavelength, rest * (1.0 + spectrum.redshift))) - width // 2
    pixels, flux = slice(first, first + width), spectrum.flux.copy()
    flux[pixels] += sigmas / np.sqrt(spectrum.ivar[pixels])
    return replace(spectrum, flux=flux)


def hit(spectrum: Spectrum, rest: float) -> bool:
    """Whether the pixels around a wavelength are good, so that a spike there is not masked."""
    middle = int(np.searchsorted(spectrum.wavelength, rest * (1.0 + spectrum.redshift)))
    return bool(spectrum.good[middle - 3 : middle + 4].all())


@contextlib.contextmanager
def no_filter() -> Iterator[None]:
    """Leave all spikes where they are."""

    def nothing(spectrum: Spectrum, between: tuple[float, float]) -> tuple[Spectrum, np.ndarray]:
        return spectrum, np.zeros(0, np.int64)

    with mock.patch.object(rest_frame, "remove_spikes", nothing), mock.patch.object(bins, "remove_spikes", nothing):
        yield


def shifts(mass: Callable, spectra: list[Spectrum], places: dict[str, float], heights: tuple[int, ...]) -> None:
    """Print how spikes move masses: rms without and with the filter, mean with it."""
    head(["place", "pixels", "height", "rms before", "rms", "mean", "beyond 0.1 dex before", "beyond 0.1 dex"], 6)
    for place, rest in places.items():
        struck = [spectrum for spectrum in spectra if hit(spectrum, rest)]
        with no_filter():
            plain_before = mass(struck)
        plain = mass(struck)
        for width, sign, height in itertools.product(WIDTHS, (1, -1), heights):
            disturbed = [with_spike(spectrum, rest, width, sign * height) for spectrum in struck]
            with no_filter():
                before = mass(disturbed) - plain_before
            after = mass(disturbed) - plain
            before, after = (values[np.isfinite(values)] for values in (before, after))
            cells = [place, f"{width}", f"{sign * height:+d}", f"{rms(before):.3f}", f"{rms(after):.3f}"]
            cells += [f"{after.mean():+.3f}", *(f"{100 * np.mean(np.abs(v) > 0.1):.1f} %" for v in (before, after))]
            print(f"| {' | '.join(cells)} |", flush=True)


def by_noise(mass: Callable, spectra: list[Spectrum], sn: np.ndarray) -> None:
    """Print the rms shift with the filter against S/N, for the weakest spikes at Mg II."""
    names = [f"S/N {low:g}-{high:g}" for low, high in itertools.pairwise(SN_BINS)]
    head(["place", "pixels", "height", *names], len(names))
    for place, width, sign in itertools.product(("Mg II", "Mg II, flank"), WIDTHS, (1, -1)):
        rows = np.array([hit(spectrum, PLACES[place]) for spectrum in spectra])
        struck = [spectrum for spectrum, row in zip(spectra, rows, strict=True) if row]
        shift = mass([with_spike(spectrum, PLACES[place], width, 6 * sign) for spectrum in struck]) - mass(struck)
        bins = np.digitize(sn[rows], SN_BINS)
        cells = [f"{rms(shift[bins == number]):.3f}" for number in range(1, len(SN_BINS))]
        print(f"| {place} | {width} | {6 * sign:+d} | {' | '.join(cells)} |", flush=True)


def undisturbed(mass: Callable, spectra: list[Spectrum], truth: np.ndarray) -> None:
    """Print what the filter does to spectra without spikes of ours."""
    with no_filter():
        before = mass(spectra)
    after = mass(spectra)
    known = np.isfinite(before) & np.isfinite(after) & np.isfinite(truth)
    errors = [rms(values[known] - truth[known]) for values in (before, after)]
    print(
        f"\n{known.sum():,} spectra: RMSE to the true mass {errors[0]:.4f} without and {errors[1]:.4f} with the filter"
    )


def removed(spectra: list[Spectrum]) -> None:
    """Print how much is removed from spectra, and from absorption doublets put into them."""
    good = sum(spectrum.good.sum() for spectrum in spectra)
    print(f"\nremoved: {sum(len(remove_spikes(s)[1]) for s in spectra) / good:.1e} of the good pixels\n")
    rng, rows = np.random.default_rng(1), []
    for spectrum, separation in itertools.product(spectra, (7.22, 11.14)):  # pixels, of C IV's and Mg II's doublets
        size = len(spectrum.flux)
        centre, sigma, depth = rng.uniform(100, size - 1000), np.hypot(1.0, rng.uniform(0.2, 2.5)), rng.uniform(0.1, 1)
        lines = [np.exp(-0.5 * ((np.arange(size) - centre - shift) / sigma) ** 2) for shift in (0.0, separation)]
        near = slice(int(centre) - 8, int(centre + separation) + 9)
        level = np.median(spectrum.flux[near])
        flux = spectrum.flux - max(level, 0.0) * depth * np.maximum(lines[0], 0.6 * lines[1])
        sigmas = depth * level * np.sqrt(np.median(spectrum.ivar[near]))
        ends = spectrum.wavelength[near][[0, -1]]
        before, after = (len(remove_spikes(s, tuple(ends))[1]) for s in (spectrum, replace(spectrum, flux=flux)))
        rows.append((sigmas, after > before))
    table = pd.DataFrame(rows, columns=["sigmas", "lost"])
    head(["absorption doublets", "n", "of which pixels are removed"], 2)
    for low, high in itertools.pairwise(ABSORPTION):
        part = table[(table["sigmas"] >= low) & (table["sigmas"] < high)]
        print(f"| {low:g}-{high:g} standard deviations deep | {len(part)} | {100 * part['lost'].mean():.1f} % |")


def main() -> int:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--survey", type=Path, required=True, help="a simulated survey, built")
    parser.add_argument("--fit", action="store_true", help="the masses of the classical fit from Mg II")
    arguments = parser.parse_args()
    survey, model = Survey(arguments.survey), Predictor.load(MODEL)
    rows = add_truth(test_rows(survey), survey)
    spectra, truth = read_rows(rows, survey), rows["TRUTH_MgII"].to_numpy()

    def network(some: list[Spectrum]) -> np.ndarray:
        return model.predict(some)["LMBH"].to_numpy()

    def fit(some: list[Spectrum]) -> np.ndarray:
        return virial.measure(some)["LMBH_MgII"].to_numpy()

    sn = rows["SN"].to_numpy()
    inside = np.flatnonzero((sn > SN_RANGE[0]) & (sn < SN_RANGE[1]))
    edges = np.geomspace(*SN_RANGE, 11)
    rng, chosen = np.random.default_rng(2), []
    for low, high in itertools.pairwise(edges):
        chosen += rng.permutation(inside[(sn[inside] >= low) & (sn[inside] < high)])[: SPECTRA // 10].tolist()
    some = [spectra[row] for row in chosen]
    print(f"{len(some):,} spectra of S/N {SN_RANGE[0]:g}-{SN_RANGE[1]:g}; shifts in dex")
    if arguments.fit:
        shifts(fit, some, {place: rest for place, rest in PLACES.items() if place.startswith("Mg II")}, (6, 20, 1000))
        undisturbed(fit, spectra, truth)
        return 0
    shifts(network, some, PLACES, HEIGHTS)
    by_noise(network, some, sn[chosen])
    undisturbed(network, spectra, truth)
    removed(spectra)
    return 0


if __name__ == "__main__":
    sys.exit(main())
