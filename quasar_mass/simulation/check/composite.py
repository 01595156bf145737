"""The composite of simulated spectra and that of real ones, Vanden Berk et al. 2001 (AJ 122, 549)."""

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
MAX_WORST, MIN_SEPARATION = 5, 50.0  # number of the largest deviations listed, and Angstrom between them


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


def compare(published: tuple[np.ndarray, np.ndarray], simulated: np.ndarray, number: int) -> pd.DataFrame:
    """Compare a composite on the grid with the published one.

    Both are averaged in bins of `BIN`, and the simulated one is corrected by the second-order polynomial of log flux in
    log wavelength that brings it closest.

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
    DataFrame
        Columns `statistics.COLUMNS`: the rms of simulated over real minus 1, in per cent, and the wavelengths of its
        largest values. Only the rms has a goal.
    """
    edges = np.arange(RANGE[0], RANGE[1] + 1e-6, BIN)
    real, flux = (
        stats.binned_statistic(*values, "mean", edges).statistic
        for values in (published, (Grid().wavelength, simulated))
    )
    centres = 0.5 * (edges[:-1] + edges[1:])
    x = np.log10(centres / 2200.0)
    flux = flux * 10.0 ** np.polynomial.Polynomial.fit(x, np.log10(real / flux), DEGREE)(x)
    deviation = 100.0 * (flux / real - 1.0)
    worst: list[int] = []
    for index in np.argsort(-np.abs(deviation), kind="stable").tolist():
        if all(abs(centres[index] - centres[other]) >= MIN_SEPARATION for other in worst):
            worst.append(index)
    rms = float(np.sqrt(np.mean(deviation**2)))
    lines = [statistics.row("composite", f"rms of {number:,} spectra (%)", 0.0, rms, GOAL)]
    for n in worst[:MAX_WORST]:
        lines.append(statistics.row("worst", f"{deviation[n]:+.1f} % at {centres[n]:.0f} A", real[n], flux[n]))
    return statistics.table(lines)
