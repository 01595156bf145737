"""The composite of simulated spectra beside that of the sky, Vanden Berk et al. 2001 (AJ 122, 549)."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import FileError, SpectrumError, SurveyError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.simulation.check import statistics
from quasar_mass.spectra.read import read
from quasar_mass.spectra.rest_frame import to_rest_frame

RANGE = (1450.0, 3380.0)  # Angstrom, rest frame
BIN = 5.0  # Angstrom: a fifth of the narrowest feature, and wide enough that the noise of the median does not count
DEGREE = 2  # of the correction of log flux in log wavelength: colours differ between samples, features should not
GOAL = 5.0  # per cent, rms
APART = 50.0  # Angstrom between the wavelengths named as the worst


@dataclass(frozen=True)
class Composite:
    """A simulated composite against the real one.

    Attributes
    ----------
    wavelength : ndarray, shape (n,)
        Centres of the bins, rest frame, Angstrom.
    real, simulated : ndarray, shape (n,)
        Flux densities; the simulated one with the correction, so on the real one's scale.
    number : int
        Spectra in the simulated one.
    """

    wavelength: np.ndarray
    real: np.ndarray
    simulated: np.ndarray
    number: int

    @property
    def deviation(self) -> np.ndarray:
        """Simulated over real less 1, in per cent, shape (n,)."""
        return 100.0 * (self.simulated / self.real - 1.0)

    @property
    def rms(self) -> float:
        """Root mean square of `deviation`, in per cent."""
        return float(np.sqrt(np.mean(self.deviation**2)))

    def worst(self, number: int = 5) -> list[int]:
        """Indices of the largest deviations, `APART` from one another, the largest first."""
        chosen: list[int] = []
        for index in np.argsort(-np.abs(self.deviation), kind="stable"):
            if all(abs(self.wavelength[index] - self.wavelength[other]) >= APART for other in chosen):
                chosen.append(int(index))
            if len(chosen) == number:
                break
        return chosen

    def table(self) -> pd.DataFrame:
        """The rms and the worst wavelengths as lines with the columns `statistics.COLUMNS`; only the rms has a goal."""
        lines = [statistics.row("composite", f"rms of {self.number:,} spectra (%)", 0.0, self.rms, GOAL)]
        lines += [
            statistics.row(
                "worst", f"{self.deviation[n]:+.1f} % at {self.wavelength[n]:.0f} A", self.real[n], self.simulated[n]
            )
            for n in self.worst()
        ]
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
        If it is missing, or not such a text over `RANGE`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(
            path, expected="the composite of Vanden Berk et al. 2001", got="no such file", do="put it there"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without rows: the error below says it
            wavelength, flux = np.loadtxt(path, usecols=(0, 1), unpack=True, ndmin=2)
        if not (len(wavelength) and wavelength[0] <= RANGE[0] and wavelength[-1] >= RANGE[1] - BIN):
            raise ValueError("other wavelengths")
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        expected = f"columns of wavelength and flux over {RANGE[0]:g}-{RANGE[1]:g} Angstrom"
        raise FileError(path, expected=expected, got=str(error), do="fetch it again") from error
    return wavelength, flux


def stack(survey: Survey, spectra: pd.DataFrame, *, quiet: bool = True) -> tuple[np.ndarray, int]:
    """Give the median of spectra in the rest frame, each divided by its own mean.

    The median, as the published composite is; a geometric mean of pixels below zero does not exist.

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
    every = []
    for row in progress(spectra.itertuples(), total=len(spectra), what="Stack", unit="spectra", quiet=quiet):
        spectrum = read(survey.spectrum(row.PLATE, row.MJD, row.FIBERID))
        try:
            # normalised below, so the distance does not matter
            flux = to_rest_frame(spectrum, row.Z, Grid(), ebv=row.EBV, distance=1e4).flux
        except SpectrumError as error:
            # an object is selected for any of its spectra, the primary one may begin too late
            if error.reason != "does not cover the window":
                raise
            continue
        every.append(flux / flux.mean())
    if not every:
        raise SurveyError(
            survey.folder, expected="spectra that cover the window", got="none", do="simulate more objects"
        )
    return np.median(every, axis=0), len(every)


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
    centres = 0.5 * (edges[:-1] + edges[1:])
    real = _binned(*published, edges)
    flux = _binned(Grid().wavelength, simulated, edges)
    ratio = np.log10(real / flux)
    x = np.log10(centres / 2200.0)
    correction = np.polynomial.polynomial.polyval(x, np.polynomial.polynomial.polyfit(x, ratio, DEGREE))
    return Composite(centres, real, flux * 10.0**correction, number)


def _binned(wavelength: np.ndarray, flux: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean flux between the edges."""
    index = np.digitize(wavelength, edges) - 1
    inside = (index >= 0) & (index < len(edges) - 1)
    counts = np.bincount(index[inside], minlength=len(edges) - 1)
    return np.bincount(index[inside], weights=flux[inside], minlength=len(edges) - 1) / counts
