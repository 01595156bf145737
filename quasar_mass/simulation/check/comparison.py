"""How close a simulated survey comes to the sky: its tables and files beside real ones, number by number.

`compare` takes the survey and a folder of real data and gives tables, with a mark where a difference is larger than
its goal; nothing here decides whether a simulation may be used.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import WINDOW, Survey
from quasar_mass.simulation.check import composite, label_table, noise_measures, spec_files, statistics
from quasar_mass.spectra.spectrum import PIXEL

VARIABLE = "QUASAR_MASS_REAL_DATA"  # the environment variable that names the folder of real data
LABELS, SPECTRA, COMPOSITE = "labels/quasars.parquet", "sdss", "reference/vandenberk2001_composite.dat"

SAMPLE = 60  # simulated spectra compared with the real ones, pixel by pixel
STACK = 600  # simulated spectra in the composite: its noise is then below half a per cent
SHOWN = 5  # pairs in the figure
SHOWN_REDSHIFTS = (1.3, 2.4)  # of the real ones: beyond, a BOSS spectrum does not hold most of the window


@dataclass(frozen=True)
class Comparison:
    """A simulated survey beside the sky.

    Attributes
    ----------
    survey : str
        The survey's folder.
    labels, spectra, composite : DataFrame
        Columns group, quantity, real, simulated, difference, error (standard error of the difference), goal (largest
        difference that is ok; NaN: none is set), mark (``ok``, ``off`` or empty).
    stacked : Composite
        The two composites.
    pairs : list of (Measured, Measured)
        Real and simulated spectra of similar S/N, the faintest first.
    notes : dict of str to str
        For each table, what was compared and how it was chosen.
    """

    survey: str
    labels: pd.DataFrame
    spectra: pd.DataFrame
    composite: pd.DataFrame
    stacked: composite.Composite
    pairs: list
    notes: dict

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The three tables by name, in the order of printing."""
        return {"labels": self.labels, "spectra": self.spectra, "composite": self.composite}

    def __str__(self) -> str:
        parts = [f"{self.survey} (simulated) beside real data"]
        for name, table in self.tables.items():
            parts.append(f"\n{name}: {self.notes[name]}\n{statistics.text(table)}")
        counts = [f"{name} {(table['mark'] == 'off').sum()}" for name, table in self.tables.items()]
        marked = sum(int((table["mark"] != "").sum()) for table in self.tables.values())
        parts.append(f"\noff, of {marked} lines with a goal: {', '.join(counts)}")
        return "\n".join(parts)


def real_folder() -> Path:
    """Give the folder of real data that the environment names.

    Raises
    ------
    SurveyError
        If the variable is not set, or the folder lacks one of the three things that are compared.
    """
    name = os.environ.get(VARIABLE)
    do = f"set {VARIABLE} to a folder with {LABELS}, {SPECTRA}/index.csv and {COMPOSITE}"
    if not name:
        raise SurveyError(f"the environment variable {VARIABLE}", expected="a folder of real data", got="none", do=do)
    folder = Path(name)
    missing = [part for part in (LABELS, f"{SPECTRA}/index.csv", COMPOSITE) if not (folder / part).is_file()]
    if missing:
        raise SurveyError(folder, expected="a folder of real data", got=f"no {missing[0]} in it", do=do)
    return folder


def compare(survey: Survey, real: Path, *, seed: int = 1, quiet: bool = True) -> Comparison:
    """Compare a simulated survey with real data.

    Parameters
    ----------
    survey : Survey
        Simulated and complete; its tables need not be built.
    real : Path
        The folder of real data: the published label table, real spectrum files with their index, the composite of
        Vanden Berk et al. 2001.
    seed : int
        Of all that is drawn at random; the same one gives the same numbers.
    quiet : bool
        No progress bars.

    Returns
    -------
    Comparison

    Raises
    ------
    SurveyError
        If the survey is not simulated or not complete.
    FileError, TableError, SpectrumError
        If a file is missing or cannot be used.
    """
    about = survey.about()
    if about["kind"] != "simulated" or about.get("complete") is not True:
        raise SurveyError(
            survey.folder,
            expected="a complete simulated survey",
            got="an unfinished one" if about["kind"] == "simulated" else f"a survey of kind {about['kind']}",
            do="run: python get_Chen_data.py simulate, or choose another --survey",
        )
    published = label_table.read_published(real / LABELS)
    objects = label_table.read_simulated(survey)
    spectra = spec_files.primaries(survey, objects)
    sky = spec_files.read_real(real / SPECTRA, quiet=quiet)
    rng = np.random.default_rng([seed, 3])

    signal = [one.signal_to_noise for one in sky]
    chosen = spectra.iloc[spec_files.matched(signal, spectra["SN_MEDIAN_ALL"], SAMPLE, rng)]
    simulated = [
        _measure(survey, row)
        for row in progress(chosen.itertuples(), total=len(chosen), what="Measure", unit="spectra", quiet=quiet)
    ]
    stacked_from = spectra.iloc[np.sort(rng.permutation(len(spectra))[:STACK])]
    stacked = composite.compare(
        composite.read_published(real / COMPOSITE), *composite.stack(survey, stacked_from, quiet=quiet)
    )
    return Comparison(
        survey=str(survey.folder),
        labels=label_table.compare(published, objects, seed),
        spectra=spec_files.compare(sky, simulated, seed),
        composite=stacked.table(),
        stacked=stacked,
        pairs=_pairs(survey, sky, spectra),
        notes=_notes(survey, sky, spectra),
    )


def _measure(survey: Survey, row) -> noise_measures.Measured:
    return noise_measures.measure(survey.spectrum(row.PLATE, row.MJD, row.FIBERID), row.Z)


def _notes(survey: Survey, sky: list, spectra: pd.DataFrame) -> dict[str, str]:
    plates = pd.Series([one.plate for one in sky]).value_counts()
    whole = np.percentile(spectra["SN_MEDIAN_ALL"], (16, 50, 84))
    built = "the built quasars.parquet" if survey.quasars.exists() else "its catalogues, after the selection"
    return {
        "labels": f"the published table (1.46 <= z < 1.80) and {built}",
        "spectra": (
            f"all {len(sky)} whole BOSS spectra at hand ({plates.iloc[0]} of plate {plates.index[0]}: its night is one"
            " of many) beside simulated primary spectra\ndrawn to have the same S/N"
            f" within {100 * spec_files.NEAR:.0f} % where there are any (all simulated ones: median {whole[1]:.1f},"
            f" 16-84 % {whole[0]:.1f} to {whole[2]:.1f}).\nnoise: median reported sigma, 1e-17 erg/s/cm2/A;"
            f" chi: residual over reported error in stretches of {noise_measures.STRETCH} smooth pixels"
        ),
        "composite": (
            f"median of simulated spectra against Vanden Berk et al. 2001, {composite.RANGE[0]:.0f}-"
            f"{composite.RANGE[1]:.0f} A, after a second-order correction"
        ),
    }


def _pairs(survey: Survey, sky: list, spectra: pd.DataFrame) -> list:
    """Pick the real spectra that hold most of the window, and to each the simulated one nearest in S/N."""
    low, high = SHOWN_REDSHIFTS
    usable = sorted((one for one in sky if low <= one.redshift <= high), key=_coverage, reverse=True)
    picked = sorted(usable[:SHOWN], key=lambda one: one.signal_to_noise)
    left, pairs = spectra.copy(), []
    for one in picked:
        nearest = (np.log(left["SN_MEDIAN_ALL"].clip(lower=0.1)) - np.log(max(one.signal_to_noise, 0.1))).abs()
        name = nearest.idxmin()
        pairs.append((one, _measure(survey, next(left.loc[[name]].itertuples()))))
        left = left.drop(index=name)
        if left.empty:
            break
    return pairs


def drawn(pairs: list) -> list:
    """Give pairs of spectra as `figures.spectra_beside` takes them: rest frame, without weight where not good."""
    return [tuple(_drawn(one) for one in pair) for pair in pairs]


def _drawn(one: noise_measures.Measured) -> tuple:
    spectrum = one.spectrum
    wavelength = 10.0 ** (PIXEL * spectrum.pixel) / (1.0 + one.redshift)
    title = f"{spectrum.spec_id}   z = {one.redshift:.3f}   S/N {one.signal_to_noise:.1f}"
    return wavelength, spectrum.flux, np.where(spectrum.good, spectrum.ivar, 0.0), title


def _coverage(one: noise_measures.Measured) -> float:
    """Share of the window, in log wavelength, that a spectrum holds."""
    shift = np.log10(1.0 + one.redshift)
    first, last = PIXEL * one.spectrum.pixel[0] - shift, PIXEL * one.spectrum.pixel[-1] - shift
    return float((min(last, WINDOW[1]) - max(first, WINDOW[0])) / (WINDOW[1] - WINDOW[0]))
