"""From a spectrum or its file to luminosity density on the rest-frame grid and flags, or to the reason why not."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quasar_mass.core.constants import LUMINOSITY_UNIT
from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import WINDOW, Grid
from quasar_mass.spectra.cosmology import luminosity_distance
from quasar_mass.spectra.extinction import transmission
from quasar_mass.spectra.read import SpectrumRequest, read_one
from quasar_mass.spectra.seen_lines import LINES, MIN_SHOWN, line_flags, seen_fractions
from quasar_mass.spectra.spectrum import EBV_NOTE, PIXEL, REDSHIFT_NOTE, Spectrum
from quasar_mass.spectra.spikes import remove_spikes

MANY_BAD = 0.10  # fraction of replaced pixels above which a spectrum is flagged; chosen here
FLAG_NO_EXTINCTION = "no extinction known"
FLAG_MANY_BAD = "many bad pixels"
FLAG_LUMINOSITY = "luminosity of no quasar (is the flux in 1e-17 erg/s/cm2/A?)"

# log10 of lambda L_lambda at 3000 Angstrom in erg/s beyond which flux or redshift must be wrong. The quasars of SDSS
# DR7 have 44 to 47.5 (Shen et al. 2011, ApJS 194, 45) and the most luminous one known, J0529-4351, about 48 (bolometric
# 48.3, Wolf et al. 2024, Nat. Astron. 8, 520). The faint end is that of Seyfert galaxies, at z > 1 far below the noise.
LUMINOSITY_RANGE = (42.0, 48.5)
# Nearly line-free windows (Angstrom) after Vanden Berk et al. 2001: where the luminosity at 3000 Angstrom is measured,
# and, if a spectrum does not show that, where else, with the slope of their composite in between.
CONTINUUM = ((2950.0, 3050.0), (2650.0, 2690.0), (2150.0, 2230.0), (1975.0, 2050.0), (1685.0, 1715.0))
COMPOSITE_SLOPE = -1.54

# --- what a spectrum must show where it need not show the whole window: either of these stretches (Angstrom), and at
# least half of the lines in them -----------------------------------------------------------------------------------
SHOWN = {"Mg II": (2700.0, 2900.0, ("SEEN_MgII",)), "C IV with C III]": (1500.0, 1950.0, ("SEEN_CIV", "SEEN_CIII"))}
FLAG_NO_MGII = "Mg II not seen, mass from C IV and C III]"
NOT_SHOWN = "shows neither Mg II nor C IV with C III]"
# Bad pixels in a row (6,900 km/s) that are interpolated; in a longer gap, and at longer ends, nothing is known. Chosen
# on mass shifts: where a part of a line is lost, a straight line leaves more of it than nothing does.
BRIDGED = 100


@dataclass(frozen=True, repr=False)
class RestFrame:
    """A spectrum on the rest-frame grid.

    Attributes
    ----------
    flux : ndarray of float32, shape (grid.size,)
        Luminosity density in the tables' unit (see `to_rest_frame`); NaN where a partial spectrum has no data.
    n_bad : int
        Pixels of the spectrum inside the window that were replaced by interpolation, spikes included.
    n_spikes : int
        Pixels inside the window removed as spikes.
    n_pixels : int
        Pixels of the spectrum inside the window.
    signal_to_noise : float
        Median of flux / error per good pixel inside the window.
    lines_seen : list of float
        Fraction of each of `seen_lines.LINES` that its good pixels show.
    covered : tuple of float
        log10(rest wavelength / Angstrom) of its first and last good pixels, at most one beyond the window; the
        window's where it must span that.
    """

    flux: np.ndarray
    n_bad: int
    n_spikes: int
    n_pixels: int
    signal_to_noise: float
    lines_seen: list[float]
    covered: tuple[float, float]


@dataclass(frozen=True, repr=False)
class Prepared:
    """The outcome for one spectrum: on the grid with flags, or an error.

    Attributes
    ----------
    spectrum : Spectrum or None
        None where its file could not be read.
    redshift, ebv : float
        Used for it.
    rest_frame : RestFrame or None
        None where there is an error, and where no grid was given.
    flags : list of str
        Reasons to doubt it (`quality_flags`, `seen_lines.line_flags`).
    error : SpectrumError or None
    """

    spectrum: Spectrum | None = None
    redshift: float = np.nan
    ebv: float = np.nan
    rest_frame: RestFrame | None = None
    flags: list[str] = field(default_factory=list)
    error: SpectrumError | None = None

    @property
    def reason(self) -> str:
        """For the column REASON; empty where there is no error."""
        return f"{self.error.reason}: {self.error.message}" if self.error else ""


def prepare(
    source: Spectrum | SpectrumRequest | Path,
    grid: Grid | None = None,
    *,
    redshift: float = np.nan,
    spec_id: str = "",
    correct_extinction: bool = True,
    ebv: float | None = None,
    distance: float | None = None,
    curve: np.ndarray | None = None,
    partial: bool = False,
) -> Prepared:
    """Read a spectrum and put it on the rest-frame grid; errors of the spectrum are returned, not raised.

    Parameters
    ----------
    source : Spectrum, SpectrumRequest or Path
        A request may bring a redshift and an E(B-V) of its own.
    grid : Grid, optional
        Left out: the spectrum is only read.
    redshift : float
        Instead of the spectrum's own; NaN: its own.
    spec_id : str
        The spectrum that the file must hold, where that is known.
    correct_extinction : bool
        Whether to correct for Galactic extinction. If so, a spectrum of unknown E(B-V) is flagged.
    ebv : float, optional
        Instead of the spectrum's own; NaN where it is not known.
    distance, curve, partial
        As of `to_rest_frame`.

    Returns
    -------
    Prepared
    """
    spectrum, redshift_given = None, not np.isnan(redshift)
    if isinstance(source, SpectrumRequest):
        if source.redshift is not None and not redshift_given:
            redshift, redshift_given = source.redshift, True
        ebv = source.ebv if ebv is None else ebv
    try:
        spectrum = source if isinstance(source, Spectrum) else read_one(source)
        spectrum = _without_notes(spectrum, redshift_given=redshift_given, ebv_given=ebv is not None)
        redshift = redshift if redshift_given else spectrum.redshift
        ebv = spectrum.ebv if ebv is None else ebv
        if spec_id and spectrum.spec_id != spec_id:
            message = f"holds spectrum {spectrum.spec_id} instead of {spec_id}; fetch it again"
            raise SpectrumError(source, message, reason="not the spectrum named")
        if grid is None:
            return Prepared(spectrum, redshift, ebv)
        used = ebv if correct_extinction else None
        rest = to_rest_frame(spectrum, redshift, grid, ebv=used, distance=distance, curve=curve, partial=partial)
    except SpectrumError as error:
        return Prepared(spectrum, redshift, error=error)
    known = not correct_extinction or not np.isnan(ebv)
    flags = quality_flags(rest.n_bad, rest.n_pixels, extinction_known=known)
    flags += line_flags(rest.lines_seen, rest.covered)
    if partial and not _shows(rest, "Mg II"):
        flags.append(FLAG_NO_MGII)
    return Prepared(spectrum, redshift, ebv, rest, flags)


def _without_notes(spectrum: Spectrum, *, redshift_given: bool, ebv_given: bool) -> Spectrum:
    """Drop the spectrum's notes about its own redshift and E(B-V) where others are used."""
    dropped = tuple(note for note, given in ((REDSHIFT_NOTE, redshift_given), (EBV_NOTE, ebv_given)) if given)
    notes = tuple(note for note in spectrum.notes if not note.startswith(dropped))
    return spectrum if len(notes) == len(spectrum.notes) else replace(spectrum, notes=notes)


def median(values: np.ndarray) -> np.ndarray:
    """Median along the last axis, without NaN: `numpy.nanmedian` in a fifth of its time, by a plain sort."""
    half = values.shape[-1] // 2
    if values.shape[-1] > 1000 and not np.isnan(values).any():  # long rows: half the time of a sort
        parted = np.partition(values, half, axis=-1)
        upper = parted[..., half]
        return upper if values.shape[-1] % 2 else 0.5 * (parted[..., :half].max(axis=-1) + upper)
    ordered = np.sort(values, axis=-1)
    if np.isnan(ordered[..., -1:]).any():  # NaN is sorted to the end
        number = np.isfinite(ordered).sum(axis=-1, keepdims=True)
        middle = [np.take_along_axis(ordered, np.maximum(number - one, 0) // 2, axis=-1)[..., 0] for one in (1, 0)]
        return 0.5 * (middle[0] + middle[1])
    if values.shape[-1] % 2:
        return ordered[..., half]
    return ordered[..., half - 1 : half + 1].mean(axis=-1)


def quality_flags(n_bad: int, n_pixels: int, extinction_known: bool) -> list[str]:
    """Reasons to doubt a spectrum on the grid, for the column FLAGS.

    Parameters
    ----------
    n_bad, n_pixels : int
        Pixels of the window replaced by interpolation, and all of them.
    extinction_known : bool
        False where the correction for Galactic extinction could not be made.
    """
    flags = [] if extinction_known else [FLAG_NO_EXTINCTION]
    return [*flags, FLAG_MANY_BAD] if n_bad > MANY_BAD * n_pixels else flags


def spectrum_flags(spectrum: Spectrum) -> list[str]:
    """What the spectrum brings itself: a class of the survey's pipeline that is not a quasar's, and its `notes`."""
    other = [] if spectrum.spectral_class in ("QSO", "") else [f"class {spectrum.spectral_class}"]
    return [*other, *spectrum.notes]


def luminosity_flags(flux: np.ndarray, redshift: float, grid: Grid) -> list[str]:
    """Flag a luminosity that no quasar has: flux in another unit, or a wrong redshift.

    Where noise makes the median flux near 3000 Angstrom negative, the luminosity is unknown and nothing is flagged.

    Parameters
    ----------
    flux : ndarray, shape (grid.size,)
        In the tables' unit.
    redshift : float
    grid : Grid
    """
    level = float(density_at_3000(flux[np.newaxis], grid)[0])
    low, high = (10.0**end / (3000.0 * LUMINOSITY_UNIT * (1.0 + redshift)) for end in LUMINOSITY_RANGE)
    return [FLAG_LUMINOSITY] if 0 <= level < low or level > high else []


def density_at_3000(flux: np.ndarray, grid: Grid) -> np.ndarray:
    """Luminosity density at 3000 Angstrom, iron and all, or what it is by the first of `CONTINUUM` that is seen.

    Parameters
    ----------
    flux : ndarray, shape (n, grid.size)
        NaN where there is no data.
    grid : Grid

    Returns
    -------
    ndarray of float, shape (n,)
        In the unit of `flux`; NaN where none of the windows is seen.
    """
    level = np.full(len(flux), np.nan)
    for window in CONTINUUM:
        rows = np.flatnonzero(np.isnan(level))
        if not len(rows):
            break
        pixels = flux[rows, slice(*np.searchsorted(grid.log_wavelength, np.log10(window)))]
        scale = 1.0 if window == CONTINUUM[0] else (3000.0 / np.mean(window)) ** COMPOSITE_SLOPE
        enough = np.isfinite(pixels).mean(axis=1) >= 0.5
        level[rows] = np.where(enough, median(pixels).astype(float) * scale, np.nan)
    return level


def to_rest_frame(
    spectrum: Spectrum,
    redshift: float,
    grid: Grid,
    *,
    ebv: float | None = None,
    distance: float | None = None,
    curve: np.ndarray | None = None,
    partial: bool = False,
) -> RestFrame:
    """Put a spectrum on the rest-frame grid.

    Bad pixels are replaced by linear interpolation between their good neighbours (at the very ends of a spectrum: by
    the nearest good one), and the whole is interpolated linearly onto the grid. Both are done at once, since a chain of
    linear pieces through the good pixels is the same function either way. Before that, spikes are replaced
    (`remove_spikes`); they are bad pixels, too.

    Parameters
    ----------
    spectrum : Spectrum
        Observed frame.
    redshift : float
        Positive.
    grid : Grid
        The rest-frame grid.
    ebv : float, optional
        E(B-V) of Schlegel, Finkbeiner & Davis 1998 to correct for (Fitzpatrick 1999, R_V = 3.1); None or NaN: no
        correction.
    distance : float, optional
        Luminosity distance in Mpc, where it has been computed already.
    curve : ndarray, optional
        `extinction_curve`, likewise.
    partial : bool
        Whether Mg II, or C IV and C III], are enough (`SHOWN`). Where more than `BRIDGED` pixels in a row are bad or
        beyond the spectrum's ends, the flux is then NaN. If not, the spectrum must span the window, and all bad pixels
        are interpolated.

    Returns
    -------
    RestFrame
        Its flux is flux * (D_L / Mpc)^2 * 1e-9, the reference's unit: times `LUMINOSITY_UNIT` and (1 + z) it is the
        luminosity density L_lambda in erg / s / Angstrom.

    Raises
    ------
    SpectrumError
        If the redshift is not a positive number, the spectrum does not show what it must, no pixel is good, or flux or
        E(B-V) are absurd.
    """
    where = f"spectrum {spectrum.spec_id}" if spectrum.spec_id else "the spectrum"
    if not (np.isfinite(redshift) and redshift > 0):
        message = "has no redshift; give" if np.isnan(redshift) else f"has the redshift {redshift:g}; give a positive"
        raise SpectrumError(
            where, f"{message} one (redshift=, --redshift, or column Z of a table)", reason="no redshift"
        )
    shift = np.log10(1.0 + redshift)
    spectrum, spikes = remove_spikes(spectrum, tuple(10.0 ** (edge + shift) for edge in WINDOW))
    spectrum = spectrum.on_log_grid()
    if not partial:
        _check_coverage(spectrum, redshift, shift, where)
    good = spectrum.good
    low, high = (WINDOW[0] + shift) / PIXEL, (WINDOW[1] + shift) / PIXEL
    inside = slice(*np.searchsorted(spectrum.pixel, (np.ceil(low), np.floor(high) + 1)))
    good_inside = good[inside]
    if not good_inside.any():
        if partial and good.any():
            raise SpectrumError(where, _not_shown(spectrum.pixel[good], redshift, shift), reason=NOT_SHOWN)
        message = f"has no good pixel among the {len(good_inside)} of the window; leave it out"
        raise SpectrumError(where, message, reason="no good pixels")
    if distance is None:
        distance = float(luminosity_distance(redshift))
    # pixels beyond the nearest good ones on both sides are not needed
    good = np.flatnonzero(good)
    ends = spectrum.pixel[good[[0, -1]]]
    left, right = np.searchsorted(good, (inside.start, inside.stop - 1))
    good = good[max(left - 1, 0) : right + 2]
    pixel = spectrum.pixel[good]
    log_wavelength, log_known = grid.log_wavelength + shift, PIXEL * pixel
    seen = seen_fractions(log_known - shift)
    with np.errstate(all="ignore"):  # an absurd flux or E(B-V) is caught below
        luminosity = spectrum.flux[good] * (distance**2 * 1e-9)
        if ebv is not None and np.isfinite(ebv):
            luminosity /= transmission(pixel, ebv, curve)
        flux = np.interp(log_wavelength, log_known, luminosity).astype(np.float32)
    if not np.isfinite(flux).all():
        message = (
            f"has flux up to {np.abs(spectrum.flux[good]).max():.3g} and E(B-V) {ebv}; no quasar has, correct them"
        )
        raise SpectrumError(where, message, reason="invalid values")
    flux_over_error = spectrum.flux[inside][good_inside] * np.sqrt(spectrum.weight[inside][good_inside])
    first, last = np.ceil(low), np.floor(high)
    if partial:
        for gap in _gaps(log_wavelength, log_known):
            flux[gap] = np.nan
        first, last = max(first, pixel[0]), min(last, pixel[-1])
    n_pixels = int(last - first) + 1  # pixels missing among them count as bad
    n_spikes = int(((spikes >= first) & (spikes <= last)).sum())
    rest = RestFrame(
        flux=flux,
        n_bad=n_pixels - int(good_inside.sum()) + n_spikes,
        n_spikes=n_spikes,
        n_pixels=n_pixels,
        signal_to_noise=float(median(flux_over_error)),
        lines_seen=seen,
        covered=(float(log_known[0] - shift), float(log_known[-1] - shift)) if partial else WINDOW,
    )
    if partial and not any(_shows(rest, name) for name in SHOWN):
        raise SpectrumError(where, _not_shown(ends, redshift, shift), reason=NOT_SHOWN)
    return rest


def _gaps(log_wavelength: np.ndarray, known: np.ndarray) -> list[slice]:
    """Grid pixels in a gap of more than `BRIDGED` pixels between good ones, or so far beyond their ends."""
    before = np.flatnonzero(np.diff(known) > (BRIDGED + 1.5) * PIXEL)
    gaps = list(zip(known[before], known[before + 1], strict=True))
    # an end of the window that the spectrum just misses is filled like a short gap
    if known[0] - log_wavelength[0] > BRIDGED * PIXEL:
        gaps.append((-np.inf, known[0]))
    if log_wavelength[-1] - known[-1] > BRIDGED * PIXEL:
        gaps.append((known[-1], np.inf))
    return [slice(*np.searchsorted(log_wavelength, ends, side="right")) for ends in gaps]


def _shows(rest: RestFrame, name: str) -> bool:
    """Whether a spectrum shows one of `SHOWN`."""
    low, high, columns = SHOWN[name]
    covered = rest.covered[0] <= np.log10(low) and rest.covered[1] >= np.log10(high)
    seen = dict(zip(LINES, rest.lines_seen, strict=True))
    return covered and all(seen[column] >= MIN_SHOWN for column in columns)


def _not_shown(pixel: np.ndarray, redshift: float, shift: float) -> str:
    """Say what is missing of `SHOWN`, and at which redshifts a spectrum of these good pixels would show enough."""
    ends = 10.0 ** (PIXEL * pixel[[0, -1]])
    first, last = ends / 10.0**shift
    text = f"shows {first:.0f}-{last:.0f} Angstrom in the rest frame at redshift {redshift:.4f}"
    hidden = [name for name, (low, high, _) in SHOWN.items() if first <= low and high <= last]
    needs = [f"{name} needs {low:.0f}-{high:.0f}" for name, (low, high, _) in SHOWN.items() if name not in hidden]
    if hidden:
        return "; ".join([f"{text}, with large gaps at {' and at '.join(hidden)}", *needs])
    # rounded so that the spectrum shows enough at the redshifts that are printed
    ranges = [
        (max(np.ceil(100.0 * (ends[0] / low - 1.0)) / 100.0, 0.0), np.floor(100.0 * (ends[1] / high - 1.0)) / 100.0)
        for low, high, _ in SHOWN.values()
    ]
    merged: list[tuple[float, float]] = []
    for low, high in sorted(span for span in ranges if span[0] < span[1]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    at = " or ".join(f"{low:.2f} to {high:.2f}" for low, high in merged)
    return f"{text}; {', '.join(needs)}; " + (
        f"at redshifts {at} it would show one of them" if at else "it is too short at any redshift"
    )


def _check_coverage(spectrum: Spectrum, redshift: float, shift: float, where: str) -> None:
    first, last = PIXEL * spectrum.pixel[0] - shift, PIXEL * spectrum.pixel[-1] - shift
    # float noise, far below a pixel, must not decide about a spectrum that just reaches the edge
    if first <= WINDOW[0] + 1e-9 and last >= WINDOW[1] - 1e-9:
        return
    low, high = (10.0 ** (PIXEL * end - edge) - 1 for end, edge in zip(spectrum.pixel[[0, -1]], WINDOW, strict=True))
    use = "it is too short at any redshift"
    if low <= high:
        use = f"its wavelengths cover that range only at redshifts {low:.3f} to {high:.3f}"
    message = (
        f"covers {10**first:.0f}-{10**last:.0f} Angstrom in the rest frame at redshift {redshift:.4f}, "
        f"not all of {10 ** WINDOW[0]:.0f}-{10 ** WINDOW[1]:.0f}; {use}"
    )
    raise SpectrumError(where, message, reason="does not cover the window")
