"""The classical measurement of virial masses from line widths and luminosities, for many spectra at a time."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from quasar_mass.core.constants import C_KM_S, KM_S_PER_DEX, MPC
from quasar_mass.spectra import redshift_check, spikes
from quasar_mass.spectra.cosmology import luminosity_distance
from quasar_mass.spectra.flags import joined
from quasar_mass.spectra.objects import as_spectra, for_each
from quasar_mass.spectra.rest_frame import FLAG_LUMINOSITY, LUMINOSITY_RANGE, quality_flags
from quasar_mass.spectra.spectrum import PIXEL, Spectrum, check_ebv
from quasar_mass.virial import continuum, lines
from quasar_mass.virial.bins import BinnedSpectra, bin_centres, bin_spectra, coarse
from quasar_mass.virial.line_fit import LINES, MIN_CONTINUUM_BINS, MIN_CONTINUUM_SN, Solution, solve
from quasar_mass.virial.relation import mass

_CHUNK = 48  # spectra fitted at once: their arrays fit into the processor's cache

# --- what counts as a measurement; chosen here ------------------------------------------------------------------------
MIN_LINE_SN, LOW_LINE_SN = 3.0, 6.0  # flux of the broad line over its error: below, no measurement; below, flagged
MAX_WIDTH_ERROR, LARGE_WIDTH_ERROR = 0.6, 0.25  # FWHM_ERR / FWHM: above, no measurement; above, flagged
WIDTH_LIMITS = (1200.0, 20_000.0)  # km/s: narrower lines are not broad (Shen et al. 2011), wider ones not real
VERY_WIDE = 12_000.0  # km/s: flagged; less than one quasar in a hundred has such lines, bad continua do
SHIFTS = {"MgII": (-3000.0, 3000.0), "CIV": (-5000.0, 3000.0)}  # km/s: beyond, flagged; winds shift C IV to the blue
ABSORBED = 0.10  # fraction of the core's bins clipped as absorption above which a line is flagged
EXTRAPOLATED = 1.03  # a luminosity further than this factor from the fitted bins is flagged

# Angstrom, and an error in dex beyond that of the fit; at 3000 A it is that of the Balmer continuum, whose ratio is
# fixed. These and the next one are measured on simulated quasars, as in line_fit.
LUMINOSITIES = {1350.0: 0.005, 3000.0: 0.018}
EXTRAPOLATION_ERROR = 0.35  # dex per dex of wavelength beyond the fitted bins, where dust bends the power law

# column: (unit, description)
COLUMNS = {
    "LOG_L1350": ("dex(erg / s)", "log10 of lambda L_lambda of the power law at 1350 Angstrom, rest frame"),
    "LOG_L1350_ERR": ("dex", "its error: noise, and what the templates cannot follow"),
    "LOG_L3000": ("dex(erg / s)", "log10 of lambda L_lambda of the power law at 3000 Angstrom, rest frame"),
    "LOG_L3000_ERR": ("dex", "its error: noise, and what the templates cannot follow"),
    "FWHM_MgII": ("km / s", "full width at half maximum of the whole broad Mg II blend"),
    "FWHM_MgII_ERR": ("km / s", "its error: noise, and what the templates cannot follow"),
    "FWHM_CIV": ("km / s", "full width at half maximum of the whole broad C IV line"),
    "FWHM_CIV_ERR": ("km / s", "its error: noise, and what the templates cannot follow"),
    "EW_MgII": ("Angstrom", "rest equivalent width of broad Mg II"),
    "EW_CIV": ("Angstrom", "rest equivalent width of broad C IV"),
    "SHIFT_MgII": ("km / s", "midpoint of Mg II at half maximum from the redshift; negative: to the blue"),
    "SHIFT_CIV": ("km / s", "midpoint of C IV at half maximum from the redshift; negative: to the blue"),
    "LMBH_MgII": ("dex(Msun)", "virial log10(M_BH / M_Sun) from Mg II and L3000"),
    "LMBH_MgII_ERR": ("dex", "its error from those of width and luminosity"),
    "LMBH_CIV": ("dex(Msun)", "virial log10(M_BH / M_Sun) from C IV and L1350"),
    "LMBH_CIV_ERR": ("dex", "its error from those of width and luminosity"),
    "LMBH": ("dex(Msun)", "the one from Mg II, or else the one from C IV"),
    "LABEL_LINE": ("", "the line of LMBH"),
    "SN": ("", "median signal-to-noise per good pixel, rest frame 1445-3388 Angstrom"),
    **spikes.COLUMN,
    "FLAGS": ("", "reasons for caution"),
    "REASON": ("", "why something could not be measured"),
}


def measure(
    spectra: object,
    flux: ArrayLike | None = None,
    ivar: ArrayLike | None = None,
    *,
    redshift: ArrayLike | None = None,
    ebv: ArrayLike | None = None,
) -> pd.DataFrame:
    """Measure continuum luminosities, widths of Mg II and C IV, and single-epoch virial masses.

    Parameters
    ----------
    spectra : Spectrum, object of specutils, sequence of n of these, or array_like of shape (m,)
        Observed frame; see `as_spectra`. With `flux` and `ivar`, the wavelengths of one spectrum; see `Spectrum`.
    flux, ivar : array_like, shape (m,), optional
        1e-17 erg / s / cm2 / Angstrom, not corrected for Galactic extinction, and its inverse variance.
    redshift : array_like, shape (n,) or scalar, optional
        Systemic redshift, instead of the spectra's own.
    ebv : array_like, shape (n,) or scalar, optional
        E(B-V) of Schlegel, Finkbeiner & Davis 1998, instead of the spectra's own. NaN, or None for one of several: no
        correction for Galactic extinction.

    Returns
    -------
    DataFrame
        One row per spectrum with the columns of `COLUMNS`. What could not be measured is NaN, and REASON says why.

    Raises
    ------
    SpectrumError
        If `spectra` are something else, or the lengths do not agree.
    """
    spectra = as_spectra(spectra if flux is None and ivar is None else Spectrum(spectra, flux, ivar))
    spectra = spectra if isinstance(spectra, list) else [spectra]
    n = len(spectra)
    redshift = [spectrum.redshift for spectrum in spectra] if redshift is None else redshift
    ebv = [spectrum.ebv for spectrum in spectra] if ebv is None else ebv
    redshift = np.array(for_each(redshift, n, "redshift"))
    ebv = np.array(for_each(ebv, n, "ebv"))  # None becomes NaN
    check_ebv(ebv)
    usable = np.isfinite(redshift) & (redshift > 0)
    distance = luminosity_distance(np.where(usable, redshift, 1.0)) if n else np.zeros(0)
    rows = []
    for first in range(0, n, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        # absurd numbers in one spectrum overflow to NaN there, get a reason, and affect no other
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            binned = bin_spectra(spectra[chunk], redshift[chunk], ebv[chunk])
            table = _Table(binned, solve(binned), redshift[chunk], ebv[chunk])
            table.add_luminosities(distance[chunk])
            for line in LINES:
                table.add_line(line)
            rows += table.rows()
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Table:
    """The rows of one chunk while they are filled."""

    def __init__(self, binned: BinnedSpectra, solution: Solution, redshift: np.ndarray, ebv: np.ndarray) -> None:
        self.binned, self.solution, self.redshift = binned, solution, redshift
        n = len(redshift)
        self.values = {name: np.full(n, np.nan) for name, (unit, _) in COLUMNS.items() if unit}
        self.values |= {"SN": binned.signal_to_noise, "N_SPIKES": binned.n_spikes}
        known = np.isfinite(ebv)
        self.flags = [quality_flags(binned.n_bad[i], binned.n_pixels[i], extinction_known=known[i]) for i in range(n)]
        for i, flags in enumerate(redshift_check.flags(*redshift_check.line_offset(*coarse(binned)))):
            self.flags[i] += flags
        advice = "no redshift: give a positive one (redshift=, --redshift, or column Z of a table)"
        self.reasons: list[list[str]] = [[] if usable else [advice] for usable in binned.usable]
        for i in np.flatnonzero(binned.usable & np.isnan(solution.scale)):
            if solution.continuum_bins[i] >= MIN_CONTINUUM_BINS:
                measured = f"S/N {solution.continuum_sn[i]:.1f}, below {MIN_CONTINUUM_SN:g}"
                self.reasons[i].append(f"faint continuum: {measured}")
            else:
                few = "too few" if solution.continuum_bins[i] else "no"
                windows = "the line-free windows of 1350-3500 Angstrom, rest frame"
                self.reasons[i].append(f"no continuum: {few} good pixels in {windows}")

    def add_luminosities(self, distance: np.ndarray) -> None:
        """Fill in the luminosities of the power law; `distance` in Mpc."""
        solution, rows = self.solution, self.solution.rows
        unit = (
            np.log10(4.0 * np.pi * 1e-17) + 2.0 * np.log10(distance[rows] * MPC) + np.log10(1.0 + self.redshift[rows])
        )
        wavelength = 10.0 ** bin_centres()
        window = np.zeros(len(wavelength), bool)
        window[continuum.window_bins()] = True
        for at, model_error in LUMINOSITIES.items():
            level, error = continuum.log_power_law(solution.continuum.parameters, solution.continuum.covariance, at)
            known = np.isfinite(level) & np.isfinite(error)
            fitted = [wavelength[window & (self.binned.ivar[i] > 0)][[0, -1]] for i in rows]
            beyond = np.array([np.log10(max(first / at, at / last, 1.0)) for first, last in fitted])
            error = np.sqrt(error**2 + model_error**2 + (EXTRAPOLATION_ERROR * beyond) ** 2)
            level = level + np.log10(solution.scale[rows]) + unit + np.log10(at)
            self.values[f"LOG_L{at:.0f}"][rows] = np.where(known, level, np.nan)
            self.values[f"LOG_L{at:.0f}_ERR"][rows] = np.where(known, error, np.nan)
            for i in rows[~known]:
                self.reasons[i].append(f"no fit of the continuum at {at:.0f} Angstrom")
            for i in rows[beyond > np.log10(EXTRAPOLATED)]:
                self.flags[i].append(f"L{at:.0f} extrapolated")
        low, high = LUMINOSITY_RANGE
        for i in rows[(self.values["LOG_L3000"][rows] < low) | (self.values["LOG_L3000"][rows] > high)]:
            self.flags[i].append(FLAG_LUMINOSITY)

    def add_line(self, line: lines.Complex) -> None:
        """Fill in the measurements of a line, after the luminosities."""
        solution, values, fitted = self.solution, self.values, self.solution.lines[line.name]
        for i in np.setdiff1d(solution.rows, fitted.rows):
            self.reasons[i].append(f"{line.label} not covered")
        if not fitted.rows.size:
            return
        width = lines.width(line, fitted.fit.parameters, fitted.fit.covariance)
        relative_error = width.fwhm_error / width.fwhm
        refusals = _refusals(line, width, relative_error, fitted.signal_to_noise)
        for i, reason in zip(fitted.rows, refusals, strict=True):
            if reason:
                self.reasons[i].append(reason)
        kept = refusals == ""
        rows, relative_error = fitted.rows[kept], relative_error[kept]
        width = lines.Width(**{name: array[kept] for name, array in vars(width).items()})
        parts, _ = continuum.model(
            solution.continuum.parameters[np.searchsorted(solution.rows, rows)],
            np.searchsorted(bin_centres(), [np.log10(line.centre)]),
        )
        name, luminosity = line.name, f"LOG_L{line.continuum:.0f}"
        values[f"FWHM_{name}"][rows], values[f"FWHM_{name}_ERR"][rows] = width.fwhm, width.fwhm_error
        values[f"EW_{name}"][rows] = width.flux / (1e-3 * C_KM_S) * line.centre / (parts[0] + parts[2])[:, 0]
        values[f"SHIFT_{name}"][rows] = width.shift - KM_S_PER_DEX * PIXEL * self.binned.offset[rows]
        values[f"LMBH_{name}"][rows] = mass(name, values[luminosity][rows], width.fwhm)
        error = np.hypot(0.5 * values[f"{luminosity}_ERR"][rows], 2.0 * relative_error / np.log(10.0))
        values[f"LMBH_{name}_ERR"][rows] = error
        shift, (blue, red) = values[f"SHIFT_{name}"][rows], SHIFTS[name]
        for flagged, words in (
            (fitted.signal_to_noise[kept] < LOW_LINE_SN, "low S/N"),
            (relative_error > LARGE_WIDTH_ERROR, "width uncertain"),
            (width.fwhm > VERY_WIDE, "very wide"),
            ((shift < blue) | (shift > red), "shifted"),
            (fitted.clipped[kept] > ABSORBED, "absorbed"),
        ):
            for i in rows[flagged]:
                self.flags[i].append(f"{line.label} {words}")

    def rows(self) -> list[dict]:
        """Choose the mass of the label, and give the rows."""
        values = self.values
        line = np.where(np.isfinite(values["LMBH_MgII"]), "MgII", np.where(np.isfinite(values["LMBH_CIV"]), "CIV", ""))
        values["LMBH"] = np.where(line == "MgII", values["LMBH_MgII"], values["LMBH_CIV"])
        text = {
            "LABEL_LINE": [name or None for name in line.tolist()],
            "FLAGS": [joined(flags) for flags in self.flags],
            "REASON": ["; ".join(reasons) for reasons in self.reasons],
        }
        columns = {name: text.get(name, values.get(name)) for name in COLUMNS}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _refusals(
    line: lines.Complex, width: lines.Width, relative_error: np.ndarray, signal_to_noise: np.ndarray
) -> np.ndarray:
    """Why each measurement of a line does not count, empty where it does; shape (n,)."""
    low, high = WIDTH_LIMITS
    return np.select(
        [
            ~(signal_to_noise >= MIN_LINE_SN),
            ~(width.inside & (width.fwhm > low) & (width.fwhm < high)),
            ~(relative_error <= MAX_WIDTH_ERROR),
        ],
        [
            f"{line.label} S/N below {MIN_LINE_SN:g}",
            f"{line.label} width outside {low:.0f}-{high:.0f} km/s",
            f"{line.label} width not determined",
        ],
        "",
    )
