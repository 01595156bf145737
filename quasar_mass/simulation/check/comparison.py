"""Comparison of a simulated survey with real SDSS data: labels, spectrum files, the composite and the lines.

`compare` takes the survey and a folder of real data and gives tables, with a mark where a difference is larger than
its goal. Whether a simulation is good enough is not decided here.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import WINDOW, Survey
from quasar_mass.simulation.check import (
    composite,
    label_table,
    line_comparison,
    noise_measures,
    spec_files,
    statistics,
)
from quasar_mass.spectra.spectrum import PIXEL
from quasar_mass.tables import survey_tables

VARIABLE = "QUASAR_MASS_REAL_DATA"  # the environment variable with the folder of real data
LABELS, SPECTRA, COMPOSITE = "labels/quasars.parquet", "sdss", "reference/vandenberk2001_composite.dat"

SAMPLE = 60  # simulated spectra compared with the real ones, pixel by pixel
PEAKS = 400  # simulated spectra whose Mg II peak is looked for
STACK = 600  # simulated spectra in the composite: its noise is then below half a per cent
SHOWN = 5  # pairs in the figure
SHOWN_REDSHIFTS = (1.3, 2.4)  # of the real ones: beyond, a BOSS spectrum does not hold most of the window


@dataclass(frozen=True)
class Comparison:
    """A simulated survey and real data.

    Attributes
    ----------
    survey : str
        The survey's folder.
    tables : dict of str to DataFrame
        ``"labels"``, ``"spectra"``, ``"composite"``, ``"lines"``. Columns group, quantity, real, simulated, difference,
        error (standard error of the difference), goal (largest difference that is ok; NaN: none is set, or the range
        that is named with the quantity), mark (``ok``, ``off`` or empty).
    pairs : list of (Measured, Measured)
        Real and simulated spectra of similar S/N, the faintest first.
    notes : dict of str to str
        For each table, what was compared and how it was chosen.
    plane : line_comparison.Plane or None
        C IV of composites and of simulated quasars; None without composites.
    """

    survey: str
    tables: dict[str, pd.DataFrame]
    pairs: list
    notes: dict[str, str]
    plane: line_comparison.Plane | None

    def __str__(self) -> str:
        parts = [f"{self.survey} (simulated) and real SDSS data"]
        parts += [f"\n{name}: {self.notes[name]}\n{statistics.text(table)}" for name, table in self.tables.items()]
        marks = {name: table["mark"] for name, table in self.tables.items()}
        counts = ", ".join(f"{name} {(mark == 'off').sum()}" for name, mark in marks.items())
        parts.append(f"\noff, of {sum((mark != '').sum() for mark in marks.values())} lines with a goal: {counts}")
        return "\n".join(parts)


def real_folder() -> Path:
    """Give the folder of real data from the environment.

    Raises
    ------
    SurveyError
        If the variable is not set, or the folder lacks one of the three things that are compared.
    """
    contents = (LABELS, f"{SPECTRA}/index.csv", COMPOSITE)
    name = os.environ.get(VARIABLE)
    if not name:
        message = f"is not set; set it to a folder of real data with {contents[0]}, {contents[1]} and {contents[2]}"
        raise SurveyError(f"the environment variable {VARIABLE}", message)
    for part in contents:
        if not (Path(name) / part).is_file():
            raise SurveyError(name, f"has no {part}; set {VARIABLE} to a folder of real data that has it")
    return Path(name)


def compare(survey: Survey, real: Path, *, seed: int = 1, quiet: bool = True) -> Comparison:
    """Compare a simulated survey with real data.

    Parameters
    ----------
    survey : Survey
        Simulated and complete, its tables built.
    real : Path
        The folder of real data: the published label table, real spectrum files with their index, the composite of
        Vanden Berk et al. 2001.
    seed : int
        Of all that is drawn at random; the same one gives the same numbers.
    quiet : bool
        No progress bars.

    Raises
    ------
    SurveyError
        If the survey is not simulated or not complete.
    FileError, TableError, SpectrumError
        If a file cannot be used.
    """
    about = survey.about()
    if about["kind"] != "simulated" or about.get("complete") is not True:
        what = "is an unfinished simulation" if about["kind"] == "simulated" else "is no simulated survey"
        message = f"{what}; run: python get_Chen_data.py simulate, or choose another --survey"
        raise SurveyError(survey.folder, message)
    published = label_table.read_published(real / LABELS)
    objects = survey_tables.read_quasars(survey.quasars)
    spectra = spec_files.primaries(survey, objects)
    real_spectra = spec_files.read_real(real / SPECTRA, quiet=quiet)
    rng = np.random.default_rng([seed, 3])

    signal_to_noise = [spectrum.signal_to_noise for spectrum in real_spectra]
    chosen = spectra.iloc[spec_files.matched(signal_to_noise, spectra["SN_MEDIAN_ALL"], SAMPLE, rng)]
    rows = progress(chosen.itertuples(), total=len(chosen), what="Measure", unit="spectra", quiet=quiet)
    simulated = [_measure(survey, row) for row in rows]
    stacked = composite.stack(survey, spectra.iloc[np.sort(rng.permutation(len(spectra))[:STACK])], quiet=quiet)
    published_flux = composite.read_published(real / COMPOSITE)
    bright = spectra[spectra["SN_MEDIAN_ALL"] >= line_comparison.MIN_PEAK_SN]
    peaked = [_measure(survey, row) for row in bright.iloc[np.sort(rng.permutation(len(bright))[:PEAKS])].itertuples()]
    lines, left_out, plane = line_comparison.compare(real, published_flux, real_spectra, peaked, quiet=quiet)
    return Comparison(
        survey=str(survey.folder),
        tables={
            "labels": label_table.compare(published, objects, seed),
            "spectra": spec_files.compare(real_spectra, simulated, seed),
            "composite": composite.compare(published_flux, *stacked),
            "lines": lines,
        },
        pairs=_pairs(survey, real_spectra, spectra),
        notes=_notes(real_spectra, spectra, left_out),
        plane=plane,
    )


def _measure(survey: Survey, row) -> noise_measures.Measured:
    return noise_measures.measure(survey.spectrum(row.PLATE, row.MJD, row.FIBERID), row.Z)


def _notes(real_spectra: list, spectra: pd.DataFrame, left_out: str) -> dict[str, str]:
    plates = pd.Series([spectrum.plate for spectrum in real_spectra]).value_counts()
    low, median, high = np.percentile(spectra["SN_MEDIAN_ALL"], (16, 50, 84))
    return {
        "labels": "the published table (1.46 <= z < 1.80) and the built quasars.parquet",
        "spectra": (
            f"all {len(real_spectra)} whole BOSS spectra available ({plates.iloc[0]} of them of plate"
            f" {plates.index[0]}, so of one night)\nand simulated primary spectra, drawn to have the same S/N"
            f" within {100 * spec_files.NEAR:.0f} % where there are any\n(all simulated ones: median {median:.1f},"
            f" 16-84 % {low:.1f} to {high:.1f}).\nnoise: median reported sigma, 1e-17 erg/s/cm2/A;"
            f" chi: residual over reported error in stretches of {noise_measures.STRETCH} smooth pixels"
        ),
        "composite": (
            f"median of simulated spectra and Vanden Berk et al. 2001, {composite.RANGE[0]:.0f}-"
            f"{composite.RANGE[1]:.0f} A, after a second-order correction"
        ),
        "lines": (
            "measured above local continua by the same code; simulated: quasars without noise and absorption,"
            f"\nof {line_comparison.QUASARS:,} their median, means of those like each composite (by C IV), or each."
            f"\npeak of Mg II: single observed spectra with S/N >= {line_comparison.MIN_PEAK_SN:g}, if not said"
            f" otherwise{left_out}"
        ),
    }


def _pairs(survey: Survey, real_spectra: list, spectra: pd.DataFrame) -> list:
    """Pick the real spectra that contain most of the window, and for each the simulated one nearest in S/N."""
    usable = [spectrum for spectrum in real_spectra if SHOWN_REDSHIFTS[0] <= spectrum.redshift <= SHOWN_REDSHIFTS[1]]
    shown = sorted(usable, key=_coverage, reverse=True)[:SHOWN]
    left, pairs = np.log(spectra["SN_MEDIAN_ALL"].clip(lower=0.1)), []
    for spectrum in sorted(shown, key=lambda spectrum: spectrum.signal_to_noise):
        if left.empty:
            break
        name = (left - np.log(max(spectrum.signal_to_noise, 0.1))).abs().idxmin()
        pairs.append((spectrum, _measure(survey, next(spectra.loc[[name]].itertuples()))))
        left = left.drop(index=name)
    return pairs


def _coverage(measured: noise_measures.Measured) -> float:
    """Fraction of the window, in log wavelength, that a spectrum contains."""
    first, last = PIXEL * measured.spectrum.pixel[[0, -1]] - np.log10(1.0 + measured.redshift)
    return float((min(last, WINDOW[1]) - max(first, WINDOW[0])) / (WINDOW[1] - WINDOW[0]))


def figure_panels(pairs: list) -> list:
    """Give pairs of spectra to `comparison_figures.spectra_beside`: rest frame, without weight where not good."""
    return [tuple(_panel(measured) for measured in pair) for pair in pairs]


def _panel(measured: noise_measures.Measured) -> tuple:
    spectrum = measured.spectrum
    wavelength = 10.0 ** (PIXEL * spectrum.pixel) / (1.0 + measured.redshift)
    title = f"{spectrum.spec_id}   z = {measured.redshift:.3f}   S/N {measured.signal_to_noise:.1f}"
    return wavelength, spectrum.flux, np.where(spectrum.good, spectrum.ivar, 0.0), title
