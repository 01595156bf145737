"""Spectra in, widths, luminosities and virial masses out: the classical measurement, many spectra at a time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from quasar_mass.spectra.rest_frame import luminosity_distance, quality_flags
from quasar_mass.spectra.spectrum import PIXEL, Spectrum
from quasar_mass.virial import continuum, lines
from quasar_mass.virial.iron import C_KM_S
from quasar_mass.virial.line_fit import LINES, MIN_CONTINUUM_BINS, MIN_CONTINUUM_SN, Solution, solve
from quasar_mass.virial.relation import mass
from quasar_mass.virial.rest_frames import RestFrames, bin_centres, rest_frames

_CHUNK = 48  # spectra fitted at once: their arrays stay in the processor's cache

# --- what counts as a measurement; chosen here ------------------------------------------------------------------------
MIN_LINE_SN, LOW_LINE_SN = 3.0, 6.0  # flux of the broad line over its error, the shape known: none, and flagged
MAX_WIDTH_ERROR, LARGE_WIDTH_ERROR = 0.6, 0.25  # FWHM_ERR / FWHM: none, and flagged
WIDTH_LIMITS = (1200.0, 20_000.0)  # km/s: narrower is no broad line (Shen et al. 2011), wider no line
VERY_WIDE = 12_000.0  # km/s: flagged; hardly a quasar in a hundred has such lines, bad continua do
ABSORBED = 0.10  # share of the core's bins clipped as absorption above which a line is flagged
EXTRAPOLATED = 1.03  # a luminosity is extrapolated further out than this factor from the bins fitted

LUMINOSITIES = (1350.0, 3000.0)  # Angstrom
_MPC = 3.0856775814913673e24  # cm
_PIXEL_VELOCITY = C_KM_S * np.log(10.0) * PIXEL  # km/s

# column: (unit, description)
COLUMNS = {
    "LOG_L1350": ("dex(erg / s)", "log10 of lambda L_lambda of the power law at 1350 Angstrom, rest frame"),
    "LOG_L1350_ERR": ("dex", "its measurement error"),
    "LOG_L3000": ("dex(erg / s)", "log10 of lambda L_lambda of the power law at 3000 Angstrom, rest frame"),
    "LOG_L3000_ERR": ("dex", "its measurement error"),
    "FWHM_MgII": ("km / s", "full width at half maximum of the whole broad Mg II blend"),
    "FWHM_MgII_ERR": ("km / s", "its measurement error"),
    "FWHM_CIV": ("km / s", "full width at half maximum of the whole broad C IV line"),
    "FWHM_CIV_ERR": ("km / s", "its measurement error"),
    "EW_MgII": ("Angstrom", "rest equivalent width of broad Mg II"),
    "EW_CIV": ("Angstrom", "rest equivalent width of broad C IV"),
    "SHIFT_MgII": ("km / s", "midpoint of Mg II at half maximum from the redshift; negative: to the blue"),
    "SHIFT_CIV": ("km / s", "midpoint of C IV at half maximum from the redshift; negative: to the blue"),
    "LMBH_MgII": ("dex(Msun)", "virial log10(M_BH / M_Sun) from Mg II and L3000"),
    "LMBH_MgII_ERR": ("dex", "its measurement error alone"),
    "LMBH_CIV": ("dex(Msun)", "virial log10(M_BH / M_Sun) from C IV and L1350"),
    "LMBH_CIV_ERR": ("dex", "its measurement error alone"),
    "LMBH": ("dex(Msun)", "the one from Mg II, or else the one from C IV"),
    "LABEL_LINE": ("", "the line of LMBH"),
    "SN": ("", "median signal-to-noise per good pixel, rest frame 1445-3388 Angstrom"),
    "FLAGS": ("", "what to mind"),
    "REASON": ("", "why something could not be measured"),
}


def measure(spectra: Sequence[Spectrum], redshift: ArrayLike, ebv: ArrayLike | None) -> pd.DataFrame:
    """Measure continuum luminosities, widths of Mg II and C IV, and single-epoch virial masses.

    Parameters
    ----------
    spectra : sequence of Spectrum, length n
        Observed frame.
    redshift : array_like, shape (n,) or scalar
        Systemic redshift.
    ebv : array_like, shape (n,), scalar or None
        E(B-V) of Schlegel, Finkbeiner & Davis 1998; NaN or None: no correction for Galactic extinction.

    Returns
    -------
    DataFrame
        One row per spectrum; `COLUMNS` says what stands in it. What could not be measured is NaN, and REASON says
        why.

    Raises
    ------
    ValueError
        If the lengths do not agree.
    """
    spectra = list(spectra)
    n = len(spectra)
    redshift = np.broadcast_to(np.asarray(redshift, dtype=np.float64), (n,))
    ebv = np.broadcast_to(np.asarray(ebv, dtype=np.float64), (n,))  # None becomes NaN
    usable = np.isfinite(redshift) & (redshift > 0)
    distance = luminosity_distance(np.where(usable, redshift, 1.0)) if n else np.zeros(0)
    rows = []
    for first in range(0, n, _CHUNK):
        part = slice(first, first + _CHUNK)
        # absurd numbers in one spectrum overflow to NaN there, which the reasons tell, and disturb no other
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            frames = rest_frames(spectra[part], redshift[part], ebv[part])
            rows += _described(frames, solve(frames), redshift[part], ebv[part], distance[part])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _described(
    frames: RestFrames, found: Solution, redshift: np.ndarray, ebv: np.ndarray, distance: np.ndarray
) -> list[dict]:
    """The table's rows of one chunk."""
    n = len(redshift)
    values = {name: np.full(n, np.nan) for name, (unit, _) in COLUMNS.items() if unit} | {"SN": frames.signal_to_noise}
    flags = [
        quality_flags(b, p, extinction_known=np.isfinite(e))
        for b, p, e in zip(frames.n_bad, frames.n_pixels, ebv, strict=True)
    ]
    reasons = [[] for _ in range(n)]
    for i in np.flatnonzero(~frames.usable):
        reasons[i].append("no redshift")
    for i in np.flatnonzero(frames.usable & np.isnan(found.scale)):
        if found.continuum_bins[i] >= MIN_CONTINUUM_BINS:
            reasons[i].append(f"continuum S/N {found.continuum_sn[i]:.1f} below {MIN_CONTINUUM_SN:g}")
        else:
            few = "too few" if found.continuum_bins[i] else "no"
            reasons[i].append(f"{few} good pixels in the line-free windows of 1350-3500 Angstrom, rest frame")
    _luminosities(values, flags, reasons, frames, found, redshift, distance)
    for line in LINES:
        _line(line, values, flags, reasons, frames, found)
    line = np.where(np.isfinite(values["LMBH_MgII"]), "MgII", np.where(np.isfinite(values["LMBH_CIV"]), "CIV", ""))
    values["LMBH"] = np.where(line == "MgII", values["LMBH_MgII"], values["LMBH_CIV"])
    text = {
        "LABEL_LINE": [name or None for name in line.tolist()],
        "FLAGS": ["; ".join(words) for words in flags],
        "REASON": ["; ".join(words) for words in reasons],
    }
    columns = {name: text.get(name, values.get(name)) for name in COLUMNS}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _luminosities(
    values: dict,
    flags: list,
    reasons: list,
    frames: RestFrames,
    found: Solution,
    redshift: np.ndarray,
    distance: np.ndarray,
) -> None:
    rows = found.rows
    unit = np.log10(4.0 * np.pi * 1e-17) + 2.0 * np.log10(distance[rows] * _MPC) + np.log10(1.0 + redshift[rows])
    wavelength = 10.0 ** bin_centres()
    window = np.zeros(len(wavelength), bool)
    window[continuum.window_bins()] = True
    for at in LUMINOSITIES:
        level, error = continuum.log_power_law(found.continuum.parameters, found.continuum.covariance, at)
        known = np.isfinite(level) & np.isfinite(error)
        level = level + np.log10(found.scale[rows]) + unit + np.log10(at)
        values[f"LOG_L{at:.0f}"][rows] = np.where(known, level, np.nan)
        values[f"LOG_L{at:.0f}_ERR"][rows] = np.where(known, error, np.nan)
        for i in rows[~known]:
            reasons[i].append(f"no fit of the continuum at {at:.0f} Angstrom")
        for i in rows:
            covered = wavelength[window & (frames.ivar[i] > 0)]
            if not covered[0] / EXTRAPOLATED <= at <= covered[-1] * EXTRAPOLATED:
                flags[i].append(f"L{at:.0f} extrapolated")


def _line(line: lines.Complex, values: dict, flags: list, reasons: list, frames: RestFrames, found: Solution) -> None:
    fitted = found.lines[line.name]
    for i in np.setdiff1d(found.rows, fitted.rows):
        reasons[i].append(f"{line.label} not covered")
    rows = fitted.rows
    if not rows.size:
        return
    width = lines.width(line, fitted.fit.parameters, fitted.fit.covariance)
    share = width.fwhm_error / width.fwhm
    refused = np.full(len(rows), "", dtype=object)
    low, high = WIDTH_LIMITS
    for bad, words in (
        (~(fitted.signal_to_noise >= MIN_LINE_SN), f"S/N below {MIN_LINE_SN:g}"),
        (~(width.inside & (width.fwhm > low) & (width.fwhm < high)), f"width outside {low:.0f}-{high:.0f} km/s"),
        (~(share <= MAX_WIDTH_ERROR), "width not determined"),
    ):
        refused = np.where((refused == "") & bad, f"{line.label} {words}", refused)
    for i, words in zip(rows, refused, strict=True):
        if words:
            reasons[i].append(words)
    kept = refused == ""
    rows, width, share = rows[kept], lines.Width(*(getattr(width, key)[kept] for key in _WIDTH)), share[kept]
    place = np.searchsorted(found.rows, rows)
    parts, _ = continuum.model(
        found.continuum.parameters[place], np.searchsorted(bin_centres(), [np.log10(line.centre)])
    )
    name, power = line.name, f"LOG_L{line.continuum:.0f}"
    values[f"FWHM_{name}"][rows], values[f"FWHM_{name}_ERR"][rows] = width.fwhm, width.fwhm_error
    values[f"EW_{name}"][rows] = width.flux / (1e-3 * C_KM_S) * line.centre / (parts[0] + parts[2])[:, 0]
    values[f"SHIFT_{name}"][rows] = width.shift - _PIXEL_VELOCITY * frames.offset[rows]
    values[f"LMBH_{name}"][rows] = mass(name, values[power][rows], width.fwhm)
    values[f"LMBH_{name}_ERR"][rows] = np.hypot(0.5 * values[f"{power}_ERR"][rows], 2.0 * share / np.log(10.0))
    for bad, words in (
        (fitted.signal_to_noise[kept] < LOW_LINE_SN, "low S/N"),
        (share > LARGE_WIDTH_ERROR, "width uncertain"),
        (width.fwhm > VERY_WIDE, "very wide"),
        (fitted.clipped[kept] > ABSORBED, "absorbed"),
    ):
        for i in rows[bad]:
            flags[i].append(f"{line.label} {words}")


_WIDTH = ("fwhm", "fwhm_error", "shift", "flux", "inside")
