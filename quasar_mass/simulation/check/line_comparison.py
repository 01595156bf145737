"""Lines of simulated quasars and of real ones, by the same code: composites, eigenspectra, spectra of single quasars.

The simulated ones are drawn from the population and not observed: without noise, and without absorption, which averages
out of composites. Every real composite is compared with the mean of those simulated quasars that have a C IV line of
its blueshift and equivalent width, since a composite of broad and narrow lines is neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from scipy import stats

from quasar_mass import virial
from quasar_mass.core.constants import C_KM_S, MPC
from quasar_mass.core.errors import FileError, first_line
from quasar_mass.core.files import progress
from quasar_mass.simulation import population
from quasar_mass.simulation.check import emission_lines, statistics
from quasar_mass.simulation.quasar import intrinsic
from quasar_mass.spectra.rest_frame import luminosity_distance
from quasar_mass.spectra.spectrum import Spectrum, grid_wavelength

COMPOSITES = "reference/civ_composites"  # of SDSS quasars, by blueshift and equivalent width of C IV
EIGENSPECTRA = "reference/yip2004/qso_eigenspec_Yip2004_BZBIN3.fits"  # Yip et al. 2004 (AJ 128, 2603)

QUASARS = 1000  # simulated
REDSHIFT = 1.65
LOG_WAVELENGTH = np.arange(31_480, 35_340) * 1e-4  # log10 of Angstrom: 1406-3418
# A simulated quasar is like a composite if blueshift and equivalent width of C IV differ by less, km/s and dex; a
# composite that fewer than MIN_LIKE are like is compared with that many nearest ones.
LIKE, MIN_LIKE = (300.0, 0.08), 12
SIGNAL_TO_NOISE, LOG_L3000 = 40.0, 45.2  # of noise-free spectra when the line fit takes them
MIN_PEAK_SN, MIN_PEAKS = 6.0, 5  # of single spectra whose peak of Mg II is measured, and their number
BAND = 20.0  # Angstrom, of the residuals outside the eigenspectra
FITTED = (1450.0, 3400.0)  # Angstrom: by the eigenspectra

# Between what the simulated value should lie; chosen here, around the median of real composites and monitored quasars.
# The correlations of composites are those of averages, and higher than those of quasars.
GOALS = {
    "FWHM of C IV (km/s)": (4950.0, 6050.0),
    "EW of C IV, 1500-1600 A": (32.0, 40.0),
    "C IV, width at 1/4 over 3/4": (2.9, 3.4),
    "EW of He II": (3.4, 4.4),
    "EW of 1585-1680 A": (9.2, 11.6),
    "Mg II and C III]": (0.5, 0.85),
    "Mg II and Fe II": (0.5, 0.9),
    "C IV and He II": (0.75, 1.0),
    "half-spread without noise (km/s)": (400.0, 500.0),
    "fraction beyond, without noise": (0.03, 0.07),
    "largest EW of C IV": (120.0, 160.0),
    "largest blueshift (km/s)": (2500.0, 5000.0),
    "rms outside, median (%)": (0.0, 1.7),
    "rms of the worst 20 A (%)": (0.0, 4.0),
}
FOLLOWING = ("C III]", "Mg II", "Fe II")  # lines whose strength in composites by C IV is shown
MASS_GOAL = 0.1  # dex
MGII_GOAL = 0.10  # of the median width of Mg II in composites, relative
BASE_GOAL = 0.04
SPREAD_GOAL = 150.0  # km/s: twice the error with the sixteen real spectra at hand


@dataclass(frozen=True)
class Plane:
    """C IV of real composites and of simulated quasars, and some spectra of both.

    Attributes
    ----------
    real, simulated : ndarray, shapes (n, 2), (m, 2)
        Blueshift of C IV in km/s, and its equivalent width in Angstrom: of composites, and of single quasars.
    spectra : list of tuple
        (title, wavelength, real flux, simulated flux), each flux over its own median.
    """

    real: np.ndarray
    simulated: np.ndarray
    spectra: list


def read_composites(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the composites by C IV: for each name the rest wavelength (Angstrom) and the flux density, shape (n,).

    Raises
    ------
    FileError
        If one is not such a file.
    """
    spectra = {}
    for path in sorted(folder.glob("mc_*.fits")):
        try:
            with fits.open(path) as hdus:
                flux, header = np.asarray(hdus[0].data, float)[0], hdus[0].header
                wavelength = 10.0 ** (header["COEFF0"] + header["COEFF1"] * np.arange(len(flux)))
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            raise FileError(path, f"is no composite of SDSS quasars ({first_line(error)}); fetch it again") from error
        good = np.isfinite(flux) & (flux > 0)
        spectra[path.stem.removeprefix("mc_")] = wavelength[good], flux[good]
    return spectra


def read_eigenspectra(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read eigenspectra: rest wavelength, shape (n,), and spectra, shape (50, n).

    Raises
    ------
    FileError
        If it is not such a file.
    """
    try:
        with fits.open(path) as hdus:
            row = hdus[1].data[0]
            wavelength, spectra = (np.asarray(row[name], float) for name in ("WAVE", "PCA"))
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise FileError(path, f"has no eigenspectra ({first_line(error)}); fetch it again") from error
    return wavelength.ravel(), spectra.reshape(-1, wavelength.size)


def simulate(number: int = QUASARS, seed: int = 1, *, quiet: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Draw quasars of the population.

    Returns
    -------
    spectra : ndarray, shape (number, n)
        Emission on `LOG_WAVELENGTH`, without absorption, over its median.
    velocity : ndarray, shape (number,)
        Of the quasar from the catalogue's redshift, km/s.
    """
    spectra, velocities = [], []
    for index in progress(range(number), total=number, what="Draw", unit="quasars", quiet=quiet):
        rng = np.random.default_rng([seed, index, 7])
        quasar = intrinsic.draw(rng, REDSHIFT)
        flux = sum(intrinsic.components(quasar, LOG_WAVELENGTH).values())
        spectra.append(flux / np.median(flux))
        moved = population.true_redshift(rng, REDSHIFT, quasar.wind)
        velocities.append(C_KM_S * ((1.0 + moved) / (1.0 + REDSHIFT) - 1.0))
    return np.array(spectra), np.array(velocities)


def compare(
    real: Path,
    median: tuple[np.ndarray, np.ndarray],
    real_spectra: Sequence,
    simulated_spectra: Sequence,
    *,
    number: int = QUASARS,
    seed: int = 1,
    quiet: bool = True,
) -> tuple[pd.DataFrame, str, Plane | None]:
    """Compare the lines.

    Parameters
    ----------
    real : Path
        The folder of real data; without `COMPOSITES` or `EIGENSPECTRA`, their comparisons are left out.
    median : (wavelength, flux)
        The median spectrum of real quasars, from `composite.read_published`.
    real_spectra, simulated_spectra : sequence of Measured
        Of single quasars.
    number, seed : int
        Of the simulated quasars.
    quiet : bool
        No progress bar.

    Returns
    -------
    table : DataFrame
        Columns `statistics.COLUMNS`.
    left_out : str
        A sentence on what was left out, or nothing.
    plane : Plane or None
        None without composites.
    """
    wavelength = 10.0**LOG_WAVELENGTH
    spectra, velocity = simulate(number, seed, quiet=quiet)
    each = pd.DataFrame([emission_lines.measure(wavelength, flux) for flux in spectra])
    composites = read_composites(real / COMPOSITES)
    rows = _median_rows(median, (wavelength, np.median(spectra, axis=0)))
    plane, missing = None, []
    if composites:
        more, plane = _composite_rows(composites, wavelength, spectra, each)
        rows += more
    else:
        missing.append(COMPOSITES)
    rows += _peak_rows(peak_shifts(real_spectra), peak_shifts(simulated_spectra))
    rows += _noiseless_peak_rows(each["shift Mg II"].to_numpy() + velocity)
    if (real / EIGENSPECTRA).is_file():
        rows += _eigenspectra_rows(read_eigenspectra(real / EIGENSPECTRA), composites, wavelength, spectra)
    else:
        missing.append(EIGENSPECTRA)
    left_out = f"\nleft out, since {real} has no {' and no '.join(missing)}" if missing else ""
    return statistics.table(rows), left_out, plane


def _row(group: str, quantity: str, real: float, simulated: float) -> dict:
    return statistics.row_within(group, quantity, real, simulated, GOALS[quantity])


def _median_rows(real: tuple, simulated: tuple) -> list[dict]:
    one, other = (emission_lines.measure(*spectrum) for spectrum in (real, simulated))
    keys = ("FWHM C IV", "EW C IV", "wings C IV", "EW He II", "EW 1585-1680 A")
    group, width = "median spectrum", "FWHM Mg II"
    rows = [_row(group, quantity, one[key], other[key]) for quantity, key in zip(GOALS, keys, strict=False)]
    return [*rows, statistics.row(group, "FWHM of Mg II (km/s)", one[width], other[width])]


def _composite_rows(composites: dict, wavelength: np.ndarray, spectra: np.ndarray, each: pd.DataFrame) -> tuple:
    """Give rows of the table, and the plane."""
    real = pd.DataFrame([emission_lines.measure(*spectrum) for spectrum in composites.values()], index=[*composites])
    averages = [spectra[_like(row, each)].mean(axis=0) for _, row in real.iterrows()]
    simulated = pd.DataFrame([emission_lines.measure(wavelength, flux) for flux in averages], index=real.index)
    group = f"{len(real)} composites"
    one, other = real.median(), simulated.median()
    width, base = "FWHM Mg II", "base Mg II"
    rows = [
        statistics.row(group, "FWHM of Mg II (km/s)", one[width], other[width], MGII_GOAL * one[width]),
        statistics.row(group, "Mg II, blue less red base", one[base], other[base], BASE_GOAL),
    ]
    for name, key in (("FWHM of C IV (km/s)", "FWHM C IV"), *((f"EW of {line}", f"EW {line}") for line in FOLLOWING)):
        rows.append(statistics.row(group, name, one[key], other[key]))
    masses = (_mass_difference(composites.values()), _mass_difference((wavelength, flux) for flux in averages))
    rows.append(statistics.row("virial fit", "log M(Mg II) - log M(C IV)", *masses, MASS_GOAL))
    for quantity in ("Mg II and C III]", "Mg II and Fe II", "C IV and He II"):
        names = [f"EW {line}" for line in quantity.split(" and ")]
        both = (float(stats.spearmanr(table[names].dropna()).statistic) for table in (real, each))
        rows.append(_row("Spearman of EWs", quantity, *both))
    rows.append(_row("C IV plane", "largest EW of C IV", real["EW C IV"].max(), each["EW C IV"].max()))
    rows.append(_row("C IV plane", "largest blueshift (km/s)", -real["shift C IV"].min(), -each["shift C IV"].min()))
    points = [np.column_stack((-table["shift C IV"], table["EW C IV"])) for table in (real, each)]
    shown = [(name, *_over_median(composites[name], wavelength, averages[n])) for n, name in enumerate(real.index)]
    return rows, Plane(*points, shown)


def _like(composite: pd.Series, each: pd.DataFrame) -> np.ndarray:
    """Indices of the simulated quasars whose C IV is like that of a composite."""
    apart = (each["shift C IV"] - composite["shift C IV"]) / LIKE[0]
    stronger = np.log10(each["EW C IV"].clip(lower=0.1) / composite["EW C IV"]) / LIKE[1]
    distance = np.maximum(apart.abs(), stronger.abs()).fillna(np.inf).to_numpy()
    near = np.flatnonzero(distance < 1.0)
    return near if len(near) >= MIN_LIKE else np.argsort(distance, kind="stable")[:MIN_LIKE]


def _over_median(real: tuple, wavelength: np.ndarray, simulated: np.ndarray) -> tuple:
    flux = np.interp(wavelength, *real)
    return wavelength, flux / np.median(flux), simulated / np.median(simulated)


def _mass_difference(spectra) -> float:
    """Median of log M(Mg II) - log M(C IV) that the line fit finds."""
    table = virial.measure([as_observed(*spectrum) for spectrum in spectra])
    return float((table["LMBH_MgII"] - table["LMBH_CIV"]).median())


def as_observed(wavelength: np.ndarray, flux: np.ndarray) -> Spectrum:
    """Put a noise-free spectrum at `REDSHIFT`, of `LOG_L3000`, with the inverse variance of `SIGNAL_TO_NOISE`."""
    first, last = 1e4 * (np.log10(wavelength[[0, -1]]) + np.log10(1.0 + REDSHIFT))
    pixel = np.arange(int(np.ceil(first)), int(last))
    density = np.interp(grid_wavelength(pixel) / (1.0 + REDSHIFT), wavelength, flux)
    area = 4.0 * np.pi * (float(luminosity_distance(REDSHIFT)) * MPC) ** 2
    at_3000 = 10.0**LOG_L3000 / 3000.0 / area / (1.0 + REDSHIFT) * 1e17
    density *= at_3000 / np.interp(3000.0, wavelength, flux)
    ivar = np.full(len(pixel), (SIGNAL_TO_NOISE / np.median(density)) ** 2)
    return Spectrum(grid_wavelength(pixel), density, ivar, redshift=REDSHIFT, ebv=0.0)


def peak_shifts(spectra: Sequence) -> np.ndarray:
    """Shifts of the peak of Mg II from the catalogue's redshift, km/s, of the spectra with enough signal."""
    shifts = []
    for measured in spectra:
        if measured.signal_to_noise >= MIN_PEAK_SN:
            spectrum, good = measured.spectrum, measured.spectrum.good
            rest = spectrum.wavelength[good] / (1.0 + measured.redshift)
            excess = emission_lines.above_continuum(rest, spectrum.flux[good], emission_lines.CONTINUA["Mg II"])
            ends = emission_lines.SEARCHED["Mg II"]
            shifts.append(emission_lines.profile(rest, excess, emission_lines.CENTRES["Mg II"], ends)["shift"])
    shifts = np.array(shifts, float)
    return shifts[np.isfinite(shifts)]


def _peak_rows(real: np.ndarray, simulated: np.ndarray) -> list[dict]:
    if min(len(real), len(simulated)) < MIN_PEAKS:
        return []
    spreads, beyond = zip(*map(spread, (real, simulated)), strict=True)
    error = spreads[0] / np.sqrt(len(real))  # of the half-spread of a normal distribution, about
    return [
        statistics.row("peak of Mg II", f"half-spread, {len(real)} real (km/s)", *spreads, SPREAD_GOAL, error),
        statistics.row("peak of Mg II", "fraction beyond 1000 km/s", *beyond),
    ]


def _noiseless_peak_rows(shifts: np.ndarray) -> list[dict]:
    quantities = ("half-spread without noise (km/s)", "fraction beyond, without noise")
    values = zip(quantities, spread(shifts[np.isfinite(shifts)]), strict=True)
    return [_row("peak of Mg II", quantity, np.nan, value) for quantity, value in values]


def spread(shifts: np.ndarray) -> tuple[float, float]:
    """Half the range from the 16th to the 84th percentile, and the fraction that is more than 1000 km/s off."""
    low, high = np.percentile(shifts, (16, 84))
    return 0.5 * float(high - low), float(np.mean(np.abs(shifts) > 1000.0))


def _eigenspectra_rows(
    eigenspectra: tuple, composites: dict, wavelength: np.ndarray, spectra: np.ndarray
) -> list[dict]:
    real = [np.interp(wavelength, *spectrum) for spectrum in composites.values()]
    results = [
        outside(eigenspectra, wavelength, fluxes) if len(fluxes) else (np.nan, {np.nan: np.nan})
        for fluxes in (real, spectra)
    ]
    medians, bands = zip(*results, strict=True)
    worst = [max(band, key=band.get) for band in bands]
    return [
        _row("50 eigenspectra", "rms outside, median (%)", *medians),
        _row("50 eigenspectra", "rms of the worst 20 A (%)", *(max(band.values()) for band in bands)),
        statistics.row("50 eigenspectra", "where (A)", *worst),
    ]


def outside(eigenspectra: tuple, wavelength: np.ndarray, spectra: Sequence) -> tuple[float, dict[float, float]]:
    """How much of spectra no sum of eigenspectra gives, relative to their flux.

    Parameters
    ----------
    eigenspectra : (wavelength, spectra)
        From `read_eigenspectra`.
    wavelength : ndarray, shape (n,)
    spectra : sequence of ndarray, shape (n,)

    Returns
    -------
    median : float
        Of the rms of single spectra, per cent.
    bands : dict of float to float
        The rms of all spectra in bands of `BAND`, by the band's first wavelength, per cent.
    """
    grid, basis = eigenspectra
    inside = (grid > FITTED[0]) & (grid < FITTED[1])
    grid, basis = grid[inside], basis[:, inside].T
    residuals = []
    for spectrum in spectra:
        flux = np.interp(grid, wavelength, spectrum)
        scaled = basis / flux[:, None]
        residuals.append(scaled @ np.linalg.solve(scaled.T @ scaled, scaled.sum(axis=0)) - 1.0)
    residuals = 100.0 * np.array(residuals)
    band = BAND * np.floor(grid / BAND)
    rms = {float(low): float(np.sqrt(np.mean(residuals[:, band == low] ** 2))) for low in np.unique(band)}
    return float(np.median(np.sqrt(np.mean(residuals**2, axis=1)))), rms
