"""Whether a spectrum has broad lines, and whether they are where its redshift puts them.

A continuum and the usual broad lines are fitted at many velocities from the redshift. Where the lines fit elsewhere
much better than at the redshift, the redshift is doubtful. The fit is linear: each component has a usual strength and a
scatter (a Gaussian prior), so no component has to be in the spectrum, and none can take any strength. Where a continuum
without any of them fits as well, nothing shows that this is a quasar.
"""

import functools

import numpy as np

from quasar_mass.core.constants import AL_III, C_II, C_III, C_IV, C_KM_S, HE_II, KM_S_PER_DEX, MG_II, O_III
from quasar_mass.spectra import iron

FLAG = "lines shifted"  # and by how much
FLAG_NO_LINES = "no broad lines"
STEP = 2e-3  # dex per bin, 1,380 km/s: resolves the lines' widths; also the step between the velocities tried
TRIALS = 22  # on either side of the redshift: 30,400 km/s
AGREEING = 1  # trials on either side that agree with the redshift: C IV is blueshifted, and redshifts have errors
MIN_SIGNIFICANCE = 3.5  # above it a redshift is doubtful: chosen here, see docs/spikes_gaps_redshifts.md
# Difference in chi-squared below which no lines are seen: a continuum alone fits better. Lines that are not there
# contradict the prior, so power laws have -10 to 1. Quasars have more, at S/N < 2 as well, except for some faint ones
# that show Mg II alone (docs/spikes_gaps_redshifts.md).
MIN_EVIDENCE = 0.0
MODEL_ERROR = 0.05  # of the flux: what the templates cannot follow
ABSORBED, CLIPPINGS = 3.0, 4  # standard deviations below the fit at which a bin counts as absorbed; rounds

# --- emission lines: wavelength (Angstrom, vacuum) and equivalent width (Angstrom) after Vanden Berk et al. 2001
# (AJ 122, 549), table 2, rounded; Si III] is separated from C III] as in their figure -------------------------------
HIGH_IONIZATION = (
    (1215.67, 90.0), (1240.14, 25.0), (1396.76, 8.0), (C_IV, 26.0), (HE_II, 4.0), (O_III, 3.0),
)  # fmt: skip
LOW_IONIZATION = (
    (1305.42, 2.0), (1335.30, 1.0), (1670.79, 0.5), (1750.26, 0.7), (AL_III, 2.5), (1892.03, 2.0), (C_III, 17.0),
    (C_II, 2.0),
)  # fmt: skip
MAGNESIUM = ((MG_II, 32.0),)
NARROW = ((2423.83, 1.0), (3203.10, 0.3), (3346.82, 0.5), (3426.84, 1.2))  # Ne IV, He II, Ne V, Ne V
IRON_WIDTH, IRON_EW = 4000.0, 60.0  # km/s, and Angstrom over `iron.BAND`

# Lines, FWHM and shift (km/s); usual strength and its scatter, as a fraction of the equivalent widths above. A narrow
# and a wide component let the width vary; the wide one of high ionization is blueshifted (Richards et al. 2011,
# AJ 141, 167). The sum over (strength / scatter)^2 stays below MIN_SIGNIFICANCE^2, so that a spectrum without any
# lines is not flagged. Chosen here, on simulated spectra.
COMPONENTS = (
    (HIGH_IONIZATION, 3000.0, -300.0, 0.5, 0.5),
    (HIGH_IONIZATION, 9000.0, -1500.0, 0.5, 0.4),
    (LOW_IONIZATION, 5000.0, 0.0, 1.0, 0.5),
    (MAGNESIUM, 2500.0, 0.0, 0.5, 0.5),
    (MAGNESIUM, 6500.0, 0.0, 0.5, 0.5),
    (NARROW, 1000.0, 0.0, 1.0, 1.0),
)
IRON_STRENGTH = (1.0, 0.7)
# The continuum: a power law times a polynomial in log wavelength, whose coefficients have these scatters.
SLOPE, PIVOT, POLYNOMIAL = -1.5, 2100.0, (0.5, 0.6, 0.3, 0.2)
LINES_OVER_CONTINUUM = 1.2  # of the median flux over the continuum

NOTHING = 1e-20  # of templates near 1: what adds nothing to a sum
BATCH = 128  # spectra at a time, so that intermediate arrays stay in the cache


def flags(velocity: np.ndarray, significance: np.ndarray, evidence: np.ndarray) -> list[list[str]]:
    """Flags of spectra without lines, or with lines elsewhere than their redshifts say (`line_offset`)."""
    rows = zip(velocity.tolist(), significance.tolist(), evidence.tolist(), strict=True)
    return [_flags(*row) for row in rows]


def _flags(velocity: float, significance: float, evidence: float) -> list[str]:
    if significance > MIN_SIGNIFICANCE:
        return [f"{FLAG} by {round(velocity, -2):+,.0f} km/s"]
    return [FLAG_NO_LINES] if evidence < MIN_EVIDENCE else []


def line_offset(log_wavelength: np.ndarray, flux: np.ndarray, ivar: np.ndarray) -> tuple[np.ndarray, ...]:
    """Find where the broad lines of spectra are.

    Parameters
    ----------
    log_wavelength : ndarray, shape (bins,)
        log10 of the rest wavelength in Angstrom at the centres of the bins, equidistant, best by `STEP`.
    flux, ivar : ndarray, shape (n, bins)
        Flux per Angstrom in any unit, and its inverse variance, 0 where there is no data.

    Returns
    -------
    velocity : ndarray, shape (n,)
        At which the lines fit best, km/s from the redshift; negative: to the blue, since the redshift is too high.
    significance : ndarray, shape (n,)
        Root of the difference in chi-squared between the redshift and there; 0 where the lines agree with the redshift.
    evidence : ndarray, shape (n,)
        Difference in chi-squared between a continuum alone and one with the lines at the redshift; large where lines
        are seen, below `MIN_EVIDENCE` where none is. Infinite without data.
    """
    model = _model(float(log_wavelength[0]), float(log_wavelength[-1]), len(log_wavelength))
    velocity, significance, evidence = np.zeros((3, len(flux)))
    for rows in _batches(np.arange(len(flux))):
        data, weight = model.normalised(flux[rows], ivar[rows])
        chi_squared = model.chi_squared(data, weight)
        velocity[rows], significance[rows] = model.offset(chi_squared)
        lowest = chi_squared[model.at_redshift(chi_squared), np.arange(len(data))]
        evidence[rows] = np.where(weight.any(axis=1), model.without_lines(data, weight) - lowest, np.inf)
    for rows in _batches(np.flatnonzero(significance > MIN_SIGNIFICANCE)):
        velocity[rows], significance[rows] = _without_absorption(model, *model.normalised(flux[rows], ivar[rows]))
    return velocity, significance, evidence


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _without_absorption(model: "_Model", data: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity and significance without the bins far below the fit at the redshift: troughs imitate shifted lines."""
    chi_squared = model.chi_squared(data, weight)
    for _ in range(CLIPPINGS):
        below = (data - model.fit(data, weight, model.at_redshift(chi_squared))) * np.sqrt(weight) < -ABSORBED
        below[:, 1:] |= below[:, :-1]
        below[:, :-1] |= below[:, 1:]
        weight = np.where(below, 0.0, weight)
        chi_squared = model.chi_squared(data, weight)
    return model.offset(chi_squared)


class _Model:
    """Continuum and lines on given bins, with the lines at each of the velocities tried.

    Attributes
    ----------
    rows : ndarray, shape (trials, components, bins)
        Over the usual power law.
    usual, precision : ndarray, shape (components,)
        The priors: mean, and one over the variance.
    """

    def __init__(self, log_wavelength: np.ndarray) -> None:
        self.velocity = KM_S_PER_DEX * STEP * np.arange(-TRIALS, TRIALS + 1)
        self.power_law = _power_law(log_wavelength)
        x = 4.0 * (log_wavelength - np.log10(PIVOT))
        continuum = np.polynomial.legendre.legvander(x, len(POLYNOMIAL) - 1).T
        lines = _lines(log_wavelength - self.velocity[:, None] / KM_S_PER_DEX)
        self.rows = np.concatenate([np.broadcast_to(continuum, (len(lines), *continuum.shape)), lines], axis=1)
        strengths = np.array([*(component[3:] for component in COMPONENTS), IRON_STRENGTH])
        self.usual = np.concatenate([[1.0], np.zeros(len(continuum) - 1), strengths[:, 0]])
        self.precision = np.concatenate([POLYNOMIAL, strengths[:, 1]]) ** -2
        moving = range(len(continuum), len(self.usual))
        # products of two components, for the matrices of the fits; those of the continuum alone never move
        self.pairs = [(i, j) for i in range(len(self.usual)) for j in moving if i <= j]
        self.products = [_where_seen(self.rows[:, i] * self.rows[:, j]) for i, j in self.pairs]
        self.continuum, self.lines = continuum, [_where_seen(self.rows[:, i]) for i in moving]
        self.still = [(i, j) for i in range(len(continuum)) for j in range(i, len(continuum))]
        self.still_products = np.stack([continuum[i] * continuum[j] for i, j in self.still])

    def normalised(self, flux: np.ndarray, ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spectra over the power law and their median, and the weights of their bins; each shape (n, bins)."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # absurd numbers become no data
            data = np.asarray(flux, float) / self.power_law
            good = (np.asarray(ivar) > 0) & np.isfinite(data)
            middle = np.maximum(good.sum(axis=1) - 1, 0) // 2
            level = np.take_along_axis(np.sort(np.where(good, data, np.inf), axis=1), middle[:, None], axis=1)
            level /= LINES_OVER_CONTINUUM
            data = data / level
            variance = 1.0 / (ivar * (self.power_law * level) ** 2)
            variance = variance + (MODEL_ERROR * np.maximum(np.abs(data), 1.0)) ** 2
            good &= (level > 0) & np.isfinite(variance)
            return np.where(good, data, 0.0), np.where(good, 1.0 / variance, 0.0)

    def chi_squared(self, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Chi-squared of the best fit at each velocity, shape (trials, n)."""
        size, trials, n = len(self.usual), len(self.velocity), len(data)
        # matrix (upper half) and right-hand side of the normal equations of every fit
        matrix, right = np.empty((size, size, trials, n)), np.empty((size, trials, n))
        for (i, j), (bins, product) in zip(self.pairs, self.products, strict=True):
            matrix[i, j] = product @ weight[:, bins].T
        for (i, j), values in zip(self.still, self.still_products @ weight.T, strict=True):
            matrix[i, j] = values
        weighted = (weight * data).T
        right[: len(self.continuum)] = (self.continuum @ weighted)[:, None]
        for i, (bins, row) in enumerate(self.lines, len(self.continuum)):
            right[i] = row @ weighted[bins]
        for i in range(size):
            right[i] += self.precision[i] * self.usual[i]
            matrix[i, i] += self.precision[i]
        chi_squared = np.tile((weighted * data.T).sum(axis=0) + (self.precision * self.usual**2).sum(), (trials, 1))
        for i in range(size):  # Gaussian elimination, of all fits at once
            chi_squared -= right[i] ** 2 / matrix[i, i]
            for j in range(i + 1, size):
                factor = matrix[i, j] / matrix[i, i]
                matrix[j, j:] -= factor * matrix[i, j:]
                right[j] -= factor * right[i]
        return chi_squared

    def without_lines(self, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Chi-squared of the best fit of a continuum alone, shape (n,)."""
        size = len(self.continuum)
        precision, usual = self.precision[:size], self.usual[:size]
        matrix = np.empty((len(data), size, size))
        for (i, j), values in zip(self.still, self.still_products @ weight.T, strict=True):
            matrix[:, i, j] = matrix[:, j, i] = values
        right = (weight * data) @ self.continuum.T + precision * usual
        solution = np.linalg.solve(matrix + np.diag(precision), right[:, :, None])[:, :, 0]
        return (weight * data**2).sum(axis=1) + (precision * usual**2).sum() - (right * solution).sum(axis=1)

    def fit(self, data: np.ndarray, weight: np.ndarray, trial: np.ndarray) -> np.ndarray:
        """The best fit with the lines at one of the velocities, shape (n, bins); `trial` has shape (n,)."""
        rows = self.rows[trial]
        weighted = rows * weight[:, None]
        matrix = weighted @ rows.transpose(0, 2, 1) + np.diag(self.precision)
        right = weighted @ data[:, :, None] + (self.precision * self.usual)[:, None]
        return (np.linalg.solve(matrix, right).transpose(0, 2, 1) @ rows)[:, 0]

    def at_redshift(self, chi_squared: np.ndarray) -> np.ndarray:
        """Of the velocities that agree with the redshift, the one where the lines fit best; index, shape (n,)."""
        first = TRIALS - AGREEING
        return first + np.argmin(chi_squared[first : TRIALS + AGREEING + 1], axis=0)

    def offset(self, chi_squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Velocity and significance of each spectrum (`line_offset`)."""
        columns, best = np.arange(chi_squared.shape[1]), np.argmin(chi_squared, axis=0)
        lowest = chi_squared[best, columns]
        significance = np.sqrt(chi_squared[self.at_redshift(chi_squared), columns] - lowest)
        # between the velocities tried: the minimum of a parabola
        left, right = (chi_squared[np.clip(best + step, 0, 2 * TRIALS), columns] for step in (-1, 1))
        bend = left - 2.0 * lowest + right
        part = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=bend > 0)
        velocity = self.velocity[best] + KM_S_PER_DEX * STEP * np.clip(part, -0.5, 0.5)
        return np.clip(velocity, self.velocity[0], self.velocity[-1]), significance


@functools.lru_cache(maxsize=8)
def _model(first: float, last: float, number: int) -> _Model:
    return _Model(np.linspace(first, last, number))


def _where_seen(values: np.ndarray) -> tuple[slice, np.ndarray]:
    """The bins where values of shape (trials, bins) are not zero at all velocities, and the values there."""
    seen = np.flatnonzero((np.abs(values) > NOTHING).any(axis=0))  # most are of a few lines
    bins = slice(seen[0], seen[-1] + 1) if len(seen) else slice(0)
    return bins, values[:, bins].copy()


def _power_law(log_wavelength: np.ndarray) -> np.ndarray:
    return (10.0**log_wavelength / PIVOT) ** SLOPE


def _lines(log_wavelength: np.ndarray) -> np.ndarray:
    """The components of the lines over the usual power law; shape (trials, components, bins).

    Parameters
    ----------
    log_wavelength : ndarray, shape (trials, bins)
    """
    rows = []
    for lines, fwhm, shift, *_ in COMPONENTS:
        sigma = np.hypot(fwhm / 2.3548, KM_S_PER_DEX * STEP / 12**0.5)  # a bin is a box
        row = np.zeros_like(log_wavelength)
        for wavelength, equivalent_width in lines:
            u = (KM_S_PER_DEX * (log_wavelength - np.log10(wavelength)) - shift) / sigma
            row += equivalent_width * C_KM_S / wavelength / sigma / np.sqrt(2.0 * np.pi) * np.exp(-0.5 * u**2)
        rows.append(row)
    fine = np.arange(3.11, 3.65, 5e-4)  # iron is zero to the blue of it
    template = np.interp(log_wavelength, fine, iron.emission(IRON_WIDTH, fine), left=0.0)
    middle = _power_law(np.log10(np.mean(iron.BAND)))
    return np.stack([*rows, IRON_EW * template * middle / _power_law(log_wavelength)], axis=1)
