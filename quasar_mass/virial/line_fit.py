"""The order of the fits: continuum, lines, and both once more, each knowing what the other found."""

from dataclasses import dataclass, replace

import numpy as np

from quasar_mass.virial import continuum, lines
from quasar_mass.virial.optimizer import Fit, Priors, least_squares
from quasar_mass.virial.rest_frames import RestFrames

# --- what is clipped: pixels below the model as the field does, and far above it (sky residuals, cosmic rays) -------
CLIP_BELOW, CLIP_ABOVE = 3.0, 6.0  # standard deviations
MODEL_ERROR = 0.03  # of the model, added in quadrature when clipping: no model is better than that; chosen here
SMOOTHING = 7  # bins (970 km/s): shallow wide absorption is sought in running means as well
CLIP_SMOOTH = 4.0  # standard deviations of such a mean

# --- what is enough to fit; chosen here -------------------------------------------------------------------------------
CORE = 3.0  # 1000 km/s to both sides of a line's centre, where it must be seen
MIN_CORE = 0.5  # share of the core's bins that must be good, on each side of the centre
MIN_WINDOW = 0.4  # share of the fitting window's bins
MIN_CONTINUUM_BINS = 60
MIN_CONTINUUM_SN = 3.0  # of the mean flux in the line-free windows

LINES = (lines.MGII, lines.CIV)


@dataclass(frozen=True)
class LineFit:
    """One line of k spectra.

    Attributes
    ----------
    rows : ndarray of int, shape (k,)
        Which spectra.
    fit : Fit
    profile, total, kept : ndarray, shape (k, m)
        The broad line; all above the continuum; bins not clipped.
    clipped : ndarray, shape (k,)
        Share of the core's good bins that were clipped as absorption.
    signal_to_noise : ndarray, shape (k,)
        Flux of the broad line over its error by `ivar`, the shape known.
    """

    rows: np.ndarray
    fit: Fit
    profile: np.ndarray
    total: np.ndarray
    kept: np.ndarray
    clipped: np.ndarray
    signal_to_noise: np.ndarray


@dataclass(frozen=True)
class Solution:
    """All fits of n spectra; fluxes are over `scale`, one number per spectrum, NaN where there is no continuum.

    Attributes
    ----------
    scale, continuum_sn, continuum_bins : ndarray, shape (n,)
        Mean flux in the line-free windows, its signal-to-noise, and good bins there.
    rows : ndarray of int, shape (k,)
        The spectra with a continuum.
    continuum : Fit
        Of these.
    lines : dict of str to LineFit
    """

    scale: np.ndarray
    continuum_sn: np.ndarray
    continuum_bins: np.ndarray
    rows: np.ndarray
    continuum: Fit
    lines: dict


def clip(data: np.ndarray, model: np.ndarray, ivar: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Bins that no model should follow.

    Parameters
    ----------
    data, model, ivar, level : ndarray, shape (k, m)
        `level` is the whole flux, of which `MODEL_ERROR` is taken.

    Returns
    -------
    below, above : ndarray of bool, shape (k, m)
        Absorption, and artefacts.
    """
    variance = np.divide(1.0, ivar, out=np.full_like(ivar, np.inf), where=ivar > 0) + (MODEL_ERROR * level) ** 2
    residual = (data - model) / np.sqrt(variance)
    weight = 1.0 / variance
    total, norm = _running(weight * (data - model)), _running(weight)
    # the model's error is shared by neighbours and does not average out
    mean = total / np.where(norm > 0, norm, 1.0)
    error = np.sqrt(1.0 / np.where(norm > 0, norm, np.inf) + (MODEL_ERROR * level) ** 2)
    wide = (mean < -CLIP_SMOOTH * error) & (norm > 0)
    return (residual < -CLIP_BELOW) | (wide & (residual < 0)), residual > CLIP_ABOVE


def _running(values: np.ndarray) -> np.ndarray:
    half = SMOOTHING // 2
    padded = np.pad(values, ((0, 0), (half, half)))
    out = padded[:, : values.shape[1]].copy()
    for n in range(1, SMOOTHING):
        out += padded[:, n : n + values.shape[1]]
    return out


def solve(frames: RestFrames) -> Solution:
    """Fit continuum and lines."""
    # `take` and not brackets: these leave each spectrum's pixels side by side in memory, and sums over them do not
    # depend on how many spectra there are, to the last bit
    where = continuum.window_bins()
    weight = frames.ivar.take(where, axis=1)
    total = weight.sum(axis=1)
    mean = (frames.flux.take(where, axis=1) * weight).sum(axis=1) / np.where(total > 0, total, 1.0)
    continuum_sn = mean * np.sqrt(total)
    seen = (weight > 0).sum(axis=1)
    rows = np.flatnonzero((seen >= MIN_CONTINUUM_BINS) & (continuum_sn >= MIN_CONTINUUM_SN))
    scale = np.full(len(mean), np.nan)
    scale[rows] = mean[rows]
    flux, ivar = frames.flux[rows] / mean[rows, None], frames.ivar[rows] * mean[rows, None] ** 2
    weight = ivar.take(where, axis=1)

    base = _continuum(flux.take(where, axis=1), weight, np.tile(continuum.PRIORS.mean, (len(rows), 1)))
    first = {line.name: _line(line, flux, ivar, base.parameters) for line in LINES}
    beneath = np.zeros_like(flux)
    priors = continuum.PRIORS.row(base.parameters.shape)
    width = priors.mean.copy()
    for line in LINES:
        found = first[line.name]
        level = continuum.model(base.parameters[found.rows], np.arange(flux.shape[1])[line.bins])[0]
        beneath[found.rows, line.bins] = _emission(line, found.fit.parameters, level)
    found = first["MgII"]
    measured = lines.width(lines.MGII, found.fit.parameters, found.fit.covariance)
    # iron is as wide as Mg II where that is known: the same gas (Vestergaard & Wilkes 2001)
    sure = (found.signal_to_noise > 8.0) & measured.inside
    width[found.rows[sure], continuum.WIDTH] = np.log(np.clip(1e-3 * measured.fwhm[sure], 1.5, 12.0))
    priors = Priors(width, priors.sd, priors.low, priors.high)
    base = _continuum((flux - beneath).take(where, axis=1), weight, base.parameters, priors)
    second = {line.name: _line(line, flux, ivar, base.parameters, first[line.name]) for line in LINES}
    for name, found in second.items():
        second[name] = LineFit(rows[found.rows], *(getattr(found, key) for key in _REST))
    return Solution(scale, continuum_sn, seen, rows, base, second)


_REST = ("fit", "profile", "total", "kept", "clipped", "signal_to_noise")


def _emission(line: lines.Complex, parameters: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Line emission alone: what is not a correction to continuum or iron."""
    only = parameters.copy()
    only[:, -(2 if line.beside else 4) :] = 0.0
    return lines.model(line, only, parts[0] + parts[2], parts[1])[0]


def _continuum(flux: np.ndarray, ivar: np.ndarray, start: np.ndarray, priors: Priors = continuum.PRIORS) -> Fit:
    found = continuum.fit(flux, ivar, start, priors, iterations=12)
    for _ in range(2):
        below, above = clip(flux, found.model, ivar, found.model)
        kept = np.where(below | above, 0.0, ivar)
        found = continuum.fit(flux, kept, found.parameters, priors, iterations=8)
    return _scaled(found, flux, kept)


def _scaled(found: Fit, data: np.ndarray, ivar: np.ndarray) -> Fit:
    """A fit with its covariance times the reduced chi-square where that is above 1.

    Noise that SDSS's errors do not know (neighbouring pixels are correlated) and features that no model has are
    taken into the errors that way.
    """
    freedom = np.maximum((ivar > 0).sum(axis=1) - found.parameters.shape[1], 1)
    reduced = ((data - found.model) ** 2 * ivar).sum(axis=1) / freedom
    factor = np.where(reduced > 1.0, reduced, 1.0)
    return replace(found, covariance=found.covariance * factor[:, None, None])


def _line(
    line: lines.Complex, flux: np.ndarray, ivar: np.ndarray, base: np.ndarray, before: LineFit | None = None
) -> LineFit:
    """Fit one line in all spectra that show enough of it, clipping absorption."""
    bins, velocity = np.arange(flux.shape[1])[line.bins], line.bin_velocity
    ivar = ivar.take(bins, axis=1)
    if before is None:
        good = ivar > 0
        enough = good.mean(axis=1) >= MIN_WINDOW
        for side in ((velocity > -CORE) & (velocity < 0), (velocity > 0) & (velocity < CORE)):
            enough &= good.compress(side, axis=1).mean(axis=1) >= MIN_CORE
        rows = np.flatnonzero(enough)
    else:
        rows = before.rows
    ivar = ivar[rows]
    parts, _ = continuum.model(base[rows], bins)
    smooth, ferrum = parts[0] + parts[2], parts[1]
    level = smooth + ferrum
    data = flux.take(bins, axis=1)[rows] - level
    priors = line.priors

    def fit(kept: np.ndarray, start: np.ndarray, iterations: int) -> Fit:
        return least_squares(
            lambda parameters, which: lines.model(line, parameters, smooth[which], ferrum[which])[:2],
            start,
            data,
            kept,
            priors,
            iterations,
        )

    if before is None:
        found = fit(ivar, lines.start(line, data, ivar), 15)
        rounds = 1
    else:
        found = fit(np.where(before.kept, ivar, 0.0), before.fit.parameters, 10)
        rounds = 2
    for n in range(rounds):
        below, above = clip(data, found.model, ivar, level + found.model)
        kept = ~(below | above) & (ivar > 0)
        found = fit(np.where(kept, ivar, 0.0), found.parameters, 10 if n < rounds - 1 else 15)
    found = _scaled(found, data, np.where(kept, ivar, 0.0))
    total, _, profile = lines.model(line, found.parameters, smooth, ferrum)
    core = np.abs(velocity) < CORE
    clipped = (below & (ivar > 0) & core).sum(axis=1) / np.maximum(((ivar > 0) & core).sum(axis=1), 1)
    signal_to_noise = np.sqrt((profile**2 * np.where(kept, ivar, 0.0)).sum(axis=1))
    return LineFit(rows, found, profile, total, kept, clipped, signal_to_noise)
