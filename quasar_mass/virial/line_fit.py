"""The sequence of fits: continuum, lines, and both again, each with the result of the other."""

from dataclasses import dataclass, replace

import numpy as np

from quasar_mass.virial import continuum, lines
from quasar_mass.virial.bins import BinnedSpectra
from quasar_mass.virial.optimizer import Fit, Priors, least_squares

# --- clipping: bins below the model (absorption), and far above it (sky residuals, cosmic rays) -----------------------
CLIP_BELOW, CLIP_ABOVE = 3.0, 6.0  # standard deviations
MODEL_ERROR = 0.03  # fraction of the model, added in quadrature to the error when clipping; chosen here
SMOOTHING = 7  # bins (970 km/s): shallow wide absorption is also searched for in running means
CLIP_SMOOTH = 4.0  # standard deviations of such a mean

# --- what the templates cannot follow, as a fraction of the flux and as if it were independent from bin to bin. It is a
# few per cent, but the same over tens of bins, and so it counts for more. These and the factors below are fitted: with
# them the errors are the scatter around the truth of 4,600 simulated quasars at S/N 3-30 (check/fit_errors.py; those
# of lines and iron: of 500 at S/N 5-20).
CONTINUUM_ERROR = 0.08  # of the continuum, where that is fitted
LINE_ERROR, IRON_ERROR = 0.028, 0.12  # of the whole flux, and of the iron, where a line is fitted
# Factors on the errors: for absorption too shallow to be clipped and shapes that the priors do not expect; and of lines
# from whose core absorption was clipped.
ERROR_FACTOR, ABSORBED_FACTOR = 1.15, 1.7

# --- what is enough to fit; chosen here -------------------------------------------------------------------------------
CORE = 3.0  # 1000 km/s to both sides of a line's centre, which must be observed
MIN_CORE = 0.5  # fraction of the core's bins that must be good, on each side of the centre
MIN_WINDOW = 0.4  # fraction of the fitting window's bins
MIN_CONTINUUM_BINS = 60
MIN_CONTINUUM_SN = 3.0  # of the mean flux in the line-free windows

LINES = (lines.MGII, lines.CIV)


@dataclass(frozen=True)
class LineFit:
    """The fit of one line to k spectra.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        Indices of the spectra.
    fit : Fit
    kept : ndarray of bool, shape (k, m)
        Bins that were not clipped.
    clipped : ndarray, shape (k,)
        Fraction of the core's good bins that were clipped as absorption.
    signal_to_noise : ndarray, shape (k,)
        Flux of the broad line over its error by `ivar`, for the fitted shape.
    """

    rows: np.ndarray
    fit: Fit
    kept: np.ndarray
    clipped: np.ndarray
    signal_to_noise: np.ndarray


@dataclass(frozen=True)
class Solution:
    """All fits of n spectra. Fluxes are divided by `scale`.

    Attributes
    ----------
    scale, continuum_sn, continuum_bins : ndarray, shape (n,)
        Mean flux in the line-free windows (NaN where no continuum was fitted), its signal-to-noise, and the number of
        good bins there.
    rows : ndarray of int, shape (k,)
        Indices of the spectra with a continuum.
    continuum : Fit
        To these spectra.
    lines : dict of str to LineFit
    """

    scale: np.ndarray
    continuum_sn: np.ndarray
    continuum_bins: np.ndarray
    rows: np.ndarray
    continuum: Fit
    lines: dict


def clip(data: np.ndarray, model: np.ndarray, ivar: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Find the bins to leave out of a fit: absorption and artefacts.

    Parameters
    ----------
    data, model, ivar, level : ndarray, shape (k, m)
        `level` is the total flux, to which `MODEL_ERROR` refers.

    Returns
    -------
    below, above : ndarray of bool, shape (k, m)
        Absorption, and artefacts.
    """
    variance = np.divide(1.0, ivar, out=np.full_like(ivar, np.inf), where=ivar > 0) + (MODEL_ERROR * level) ** 2
    residual = (data - model) / np.sqrt(variance)
    weight = 1.0 / variance
    total, norm = _running(weight * (data - model), SMOOTHING), _running(weight, SMOOTHING)
    # the model's error is the same in neighbouring bins and does not average out
    mean = total / np.where(norm > 0, norm, 1.0)
    error = np.sqrt(1.0 / np.where(norm > 0, norm, np.inf) + (MODEL_ERROR * level) ** 2)
    wide = (mean < -CLIP_SMOOTH * error) & (norm > 0)
    return (residual < -CLIP_BELOW) | (wide & (residual < 0)), residual > CLIP_ABOVE


def _running(values: np.ndarray, bins: int) -> np.ndarray:
    """Sum over so many bins around each, an odd number."""
    half = bins // 2
    padded = np.pad(values, ((0, 0), (half, half)))
    out = padded[:, : values.shape[1]].astype(float)
    for n in range(1, bins):
        out += padded[:, n : n + values.shape[1]]
    return out


def solve(frames: BinnedSpectra) -> Solution:
    """Fit continuum and lines."""
    # with `take`, unlike brackets, each spectrum's bins stay side by side in memory; sums over them then do not depend
    # on the number of spectra, to the last bit
    bins = continuum.window_bins()
    weight = frames.ivar.take(bins, axis=1)
    total = weight.sum(axis=1)
    mean = (frames.flux.take(bins, axis=1) * weight).sum(axis=1) / np.where(total > 0, total, 1.0)
    continuum_sn = mean * np.sqrt(total)
    n_good = (weight > 0).sum(axis=1)
    rows = np.flatnonzero((n_good >= MIN_CONTINUUM_BINS) & (continuum_sn >= MIN_CONTINUUM_SN))
    scale = np.full(len(mean), np.nan)
    scale[rows] = mean[rows]
    flux, ivar = frames.flux[rows] / mean[rows, None], frames.ivar[rows] * mean[rows, None] ** 2
    weight = ivar.take(bins, axis=1)

    base = _continuum(flux.take(bins, axis=1), weight, np.tile(continuum.PRIORS.mean, (len(rows), 1)))
    first = {line.name: _line(line, flux, ivar, base.parameters) for line in LINES}
    emission = np.zeros_like(flux)
    priors = continuum.PRIORS.row(base.parameters.shape)
    width = priors.mean.copy()
    for line in LINES:
        fitted = first[line.name]
        level = continuum.model(base.parameters[fitted.rows], np.arange(flux.shape[1])[line.bins])[0]
        emission[fitted.rows, line.bins] = _emission(line, fitted.fit.parameters, level)
    fitted = first["MgII"]
    measured = lines.width(lines.MGII, fitted.fit.parameters, fitted.fit.covariance)
    # iron is as wide as Mg II where that is well measured: the same gas (Vestergaard & Wilkes 2001)
    sure = (fitted.signal_to_noise > 8.0) & measured.inside
    width[fitted.rows[sure], continuum.WIDTH] = np.log(np.clip(1e-3 * measured.fwhm[sure], 1.5, 12.0))
    priors = Priors(width, priors.sd, priors.low, priors.high)
    base = _continuum((flux - emission).take(bins, axis=1), weight, base.parameters, priors)
    second = {line.name: _line(line, flux, ivar, base.parameters, first[line.name]) for line in LINES}
    second = {name: replace(fitted, rows=rows[fitted.rows]) for name, fitted in second.items()}
    return Solution(scale, continuum_sn, n_good, rows, base, second)


def _emission(line: lines.Complex, parameters: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Line emission without the corrections to continuum and iron."""
    only = parameters.copy()
    only[:, -(2 if line.nearby else 4) :] = 0.0
    return lines.model(line, only, parts[0] + parts[2], parts[1])[0]


def _continuum(flux: np.ndarray, ivar: np.ndarray, start: np.ndarray, priors: Priors = continuum.PRIORS) -> Fit:
    fit = continuum.fit(flux, ivar, start, priors, iterations=12)
    for _ in range(2):
        below, above = clip(flux, fit.model, ivar, fit.model)
        kept = np.where(below | above, 0.0, ivar)
        weight = _weight(fit, flux, kept, CONTINUUM_ERROR * fit.model)
        fit = continuum.fit(flux, weight, fit.parameters, priors, iterations=8)
    return replace(fit, covariance=ERROR_FACTOR**2 * fit.covariance)


def _weight(fit: Fit, data: np.ndarray, ivar: np.ndarray, model_error: np.ndarray) -> np.ndarray:
    """Inverse variance of noise and model error together, with which a fit is repeated.

    The noise is that of `ivar`, times the reduced chi-square where that is above 1, and so includes what SDSS's errors
    do not: neighbouring pixels are correlated.
    """
    freedom = np.maximum((ivar > 0).sum(axis=1) - fit.parameters.shape[1], 1)
    reduced = ((data - fit.model) ** 2 * ivar).sum(axis=1) / freedom
    ivar = ivar / np.maximum(reduced, 1.0)[:, None]
    return ivar / (1.0 + ivar * model_error**2)


def _line(
    line: lines.Complex, flux: np.ndarray, ivar: np.ndarray, base: np.ndarray, before: LineFit | None = None
) -> LineFit:
    """Fit one line in all spectra that show enough of it, clipping absorption."""
    bins = np.arange(flux.shape[1])[line.bins]
    ivar = ivar.take(bins, axis=1)
    rows = _covered(line, ivar > 0) if before is None else before.rows
    ivar = ivar[rows]
    parts, _ = continuum.model(base[rows], bins)
    smooth, iron = parts[0] + parts[2], parts[1]
    level = smooth + iron
    data = flux.take(bins, axis=1)[rows] - level
    priors = line.priors

    def model(parameters: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return lines.model(line, parameters, smooth[which], iron[which])[:2]

    if before is None:
        fit = least_squares(model, lines.start(line, data, ivar), data, ivar, priors, 15)
    else:
        fit = least_squares(model, before.fit.parameters, data, np.where(before.kept, ivar, 0.0), priors, 10)
    for iterations in (15,) if before is None else (10, 15):
        below, above = clip(data, fit.model, ivar, level + fit.model)
        below = _running(below, 3) > 0  # the wings of the absorption are clipped too
        kept = ~(below | above) & (ivar > 0)
        model_error = np.hypot(LINE_ERROR * (level + fit.model), IRON_ERROR * iron)
        weight = _weight(fit, data, np.where(kept, ivar, 0.0), model_error)
        fit = least_squares(model, fit.parameters, data, weight, priors, iterations)
    profile = lines.model(line, fit.parameters, smooth, iron)[2]
    core = np.abs(line.bin_velocity) < CORE
    clipped = (below & (ivar > 0) & core).sum(axis=1) / np.maximum(((ivar > 0) & core).sum(axis=1), 1)
    factor = np.where(clipped > 0, ABSORBED_FACTOR, ERROR_FACTOR)
    fit = replace(fit, covariance=fit.covariance * factor[:, None, None] ** 2)
    signal_to_noise = np.sqrt((profile**2 * np.where(kept, ivar, 0.0)).sum(axis=1))
    return LineFit(rows, fit, kept, clipped, signal_to_noise)


def _covered(line: lines.Complex, good: np.ndarray) -> np.ndarray:
    """Indices of the spectra of which enough bins of a line's window, and of both sides of its core, are good."""
    velocity = line.bin_velocity
    enough = good.mean(axis=1) >= MIN_WINDOW
    for side in ((velocity > -CORE) & (velocity < 0), (velocity > 0) & (velocity < CORE)):
        enough &= good.compress(side, axis=1).mean(axis=1) >= MIN_CORE
    return np.flatnonzero(enough)
