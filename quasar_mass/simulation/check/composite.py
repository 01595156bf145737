"""The composite of simulated spectra and that of real ones, Vanden Berk et al. 2001 (AJ 122, 549)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from quasar_mass.core.errors import FileError, SpectrumError, SurveyError, first_line
from quasar_mass.core.files import progress
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.simulation.check import statistics
from quasar_mass.spectra.read import read
from quasar_mass.spectra.rest_frame import to_rest_frame

RANGE = (1450.0, 3380.0)  # Angstrom, rest frame
BIN = 5.0  # Angstrom: a fifth of the narrowest feature, and wide enough to make the noise of the median negligible
DEGREE = 2  # of the correction of log flux in log wavelength: colours differ between samples, features should not
GOAL = 5.0  # per cent, rms
MIN_SEPARATION = 50.0  # Angstrom between the wavelengths of the largest deviations


@dataclass(frozen=True)
class Composite:
    """A simulated composite and the real one.

    Attributes
    ----------
    wavelength : ndarray, shape (n,)
        Centres of the bins, rest frame, Angstrom.
    real, simulated : ndarray, shape (n,)
        Flux densities; the simulated one corrected, so on the real one's scale.
    number : int
        Spectra in the simulated one.
    """

    wavelength: np.ndarray
    real: np.ndarray
    simulated: np.ndarray
    number: int

    @property
    def deviation(self) -> np.ndarray:
        """Simulated over real minus 1, in per cent, shape (n,)."""
        return 100.0 * (self.simulated / self.real - 1.0)

    @property
    def rms(self) -> float:
        """Root mean square of `deviation`, in per cent."""
        return float(np.sqrt(np.mean(self.deviation**2)))

    def worst(self, number: int = 5) -> list[int]:
        """Indices of the largest deviations, at least `MIN_SEPARATION` from one another, the largest first."""
        chosen: list[int] = []
        for index in np.argsort(-np.abs(self.deviation), kind="stable").tolist():
            if all(abs(self.wavelength[index] - self.wavelength[other]) >= MIN_SEPARATION for other in chosen):
                chosen.append(index)
        return chosen[:number]

    def table(self) -> pd.DataFrame:
        """The rms and the worst wavelengths as lines with the columns `statistics.COLUMNS`; only the rms has a goal."""
        lines = [statistics.row("composite", f"rms of {self.number:,} spectra (%)", 0.0, self.rms, GOAL)]
        for n in self.worst():
            name = f"{self.deviation[n]:+.1f} % at {self.wavelength[n]:.0f} A"
            lines.append(statistics.row("worst", name, self.real[n], self.simulated[n]))
        return statistics.table(lines)


def read_published(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the published composite.

    Parameters
    ----------
    path : Path
        Text: rest wavelength (Angstrom), flux density (arbitrary unit), its error; ``#`` before comments.

    Returns
    -------
    wavelength, flux : ndarray, shape (n,)

    Raises
    ------
    FileError
        If it is not such a text.
    """
    try:
        return tuple(np.loadtxt(path, usecols=(0, 1), unpack=True))
    except ValueError as error:
        message = f"must have columns of wavelength and flux ({first_line(error)}); fetch the composite again"
        raise FileError(path, message) from error


def stack(survey: Survey, spectra: pd.DataFrame, *, quiet: bool = True) -> tuple[np.ndarray, int]:
    """Give the median of spectra in the rest frame, each divided by its own mean.

    The published composite is a median too; a geometric mean of pixels below zero does not exist.

    Parameters
    ----------
    survey : Survey
    spectra : DataFrame
        PLATE, MJD, FIBERID, Z, EBV of each. Those that do not cover the window are left out.
    quiet : bool
        No progress bar.

    Returns
    -------
    flux : ndarray, shape (Grid().size,)
    number : int
        Spectra in it.
    """
    normalised = []
    for row in progress(spectra.itertuples(), total=len(spectra), what="Stack", unit="spectra", quiet=quiet):
        spectrum = read(survey.spectrum(row.PLATE, row.MJD, row.FIBERID))
        try:  # the distance does not matter for a normalised flux
            flux = to_rest_frame(spectrum, row.Z, Grid(), ebv=row.EBV, distance=1e4).flux
        except SpectrumError as error:
            # an object is selected for any of its spectra; the primary one may begin too late
            if error.reason != "does not cover the window":
                raise
            continue
        normalised.append(flux / flux.mean())
    if not normalised:
        raise SurveyError(survey.folder, "has no spectrum that covers the window; simulate more objects")
    return np.median(normalised, axis=0), len(normalised)


def compare(published: tuple[np.ndarray, np.ndarray], simulated: np.ndarray, number: int) -> Composite:
    """Compare a composite on the grid with the published one.

    Parameters
    ----------
    published : (wavelength, flux)
        From `read_published`.
    simulated : ndarray, shape (Grid().size,)
        From `stack`.
    number : int
        Spectra in it.

    Returns
    -------
    Composite
        Both in bins of `BIN`, the simulated one corrected by the second-order polynomial of log flux in log wavelength
        that brings it closest.
    """
    edges = np.arange(RANGE[0], RANGE[1] + 1e-6, BIN)
    real, flux = (
        stats.binned_statistic(*values, "mean", edges).statistic
        for values in (published, (Grid().wavelength, simulated))
    )
    centres = 0.5 * (edges[:-1] + edges[1:])
    x = np.log10(centres / 2200.0)
    correction = np.polynomial.Polynomial.fit(x, np.log10(real / flux), DEGREE)(x)
    return Composite(centres, real, flux * 10.0**correction, number)
