"""The spectrum files of a simulated survey beside real ones: noise, residuals, masks, extent."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from quasar_mass.core.errors import FileError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import BRIGHTSKY, Survey, format_spec_id
from quasar_mass.simulation.check import statistics
from quasar_mass.simulation.check.noise_measures import NOISE_EDGES, Measured, measure
from quasar_mass.spectra.spectrum import PIXEL
from quasar_mass.tables import catalogs

WHOLE = 4000  # pixels: a file with fewer is a part of a BOSS spectrum (whole ones have 4570-4630)
# In bright spectra, true lines of absorption and the calibration outdo the noise: residuals are told apart.
FAINT = 8.0  # median S/N per pixel
NEAR = 0.10  # a simulated spectrum is of comparable S/N within 10 %

# SPPIXMASK bits by their numbers (the SDSS mask-bit file, sdssMaskbits.par)
BITS = {
    0: "NOPLUG", 1: "BADTRACE", 2: "BADFLAT", 3: "BADARC", 4: "MANYBADCOLUMNS", 5: "MANYREJECTED", 6: "LARGESHIFT",
    7: "BADSKYFIBER", 8: "NEARWHOPPER", 9: "WHOPPER", 10: "SMEARIMAGE", 11: "SMEARHIGHSN", 12: "SMEARMEDSN",
    16: "NEARBADPIXEL", 17: "LOWFLAT", 18: "FULLREJECT", 19: "PARTIALREJECT", 20: "SCATTEREDLIGHT", 21: "CROSSTALK",
    22: "NOSKY", 23: "BRIGHTSKY", 24: "NODATA", 25: "COMBINEREJ", 26: "BADFLUXFACTOR", 27: "BADSKYCHI",
    28: "REDMONSTER",
}  # fmt: skip

# --- the goals: largest difference that is ok; chosen here --------------------------------------------------------
NOISE_GOAL = 0.12  # of the real noise: 0.05 dex
SIGNAL_GOAL = 0.10  # of the real S/N; the samples are matched in it
CHI_GOALS = {"robust sd": 0.03, "beyond 3 sigma": 0.002, "beyond 5 sigma": 0.0005, "lag-1 correlation": 0.03}
MASK_GOALS = {"ivar = 0": 0.002, "AND BRIGHTSKY": 0.01, "AND any bit": 0.02}
OR_GOAL = 0.02  # share of pixels with one OR bit
PIXELS_GOAL, WAVELENGTH_GOAL, PLATE_GOAL = 10.0, 10.0, 0.1  # pixels, Angstrom, share of spectra

SIGNAL, NOISE, EXTENT, MASKS, OR_BITS = "S/N per pixel", "noise at A", "extent", "share of pixels", "share, OR bit"
CHI_FAINT, CHI_BRIGHT = f"chi, S/N < {FAINT:g}", f"chi, S/N >= {FAINT:g}"


def read_real(folder: Path, *, quiet: bool = True) -> list[Measured]:
    """Read the whole BOSS spectra (reductions v5_*) of a folder with an ``index.csv``.

    Raises
    ------
    FileError
        If the index is missing, lacks a column or names no such spectrum.
    """
    index = Path(folder) / "index.csv"
    if not index.is_file():
        raise FileError(index, expected="the list of real spectra", got="no such file", do="put it there")
    try:
        with open(index, newline="", encoding="utf-8") as file:
            whole = [
                (*(int(row[name]) for name in ("plate", "mjd", "fiberid")), float(row["z"]))
                for row in csv.DictReader(file)
                if row["run2d"].startswith("v5_") and int(row["n_pixels"]) >= WHOLE
            ]
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:  # a short row has None in it
        raise FileError(
            index,
            expected="CSV with plate, mjd, fiberid, z, run2d and n_pixels",
            got=f"{type(error).__name__}: {error}",
            do="correct it",
        ) from error
    if not whole:
        raise FileError(index, expected="BOSS spectra (run2d v5_*)", got="none", do="add some")
    found = []
    for plate, mjd, fiberid, redshift in progress(
        whole, total=len(whole), what="Read real", unit="spectra", quiet=quiet
    ):
        path = index.parent / f"{plate:04d}" / f"spec-{format_spec_id(plate, mjd, fiberid)}.fits"
        found.append(measure(path, redshift))
    return found


def primaries(survey: Survey, objects: pd.DataFrame) -> pd.DataFrame:
    """Primary spectrum of each object, in the order of their names.

    Parameters
    ----------
    survey : Survey
        Its catalogues.
    objects : DataFrame
        Index OBJECT, from `label_table.read_simulated`.

    Returns
    -------
    DataFrame
        Index OBJECT; PLATE, MJD, FIBERID, Z, EBV, SN_MEDIAN_ALL.
    """
    chen = catalogs.read_chen(survey.chen)
    measured = catalogs.spectrum_key(chen["Plate"], chen["MJD"], chen["Fiber"])
    catalogue = catalogs.read_dr16q(survey.dr16q, np.asarray(measured))
    found = catalogue.objects.set_index("SDSS_NAME")
    columns = ["PLATE", "MJD", "FIBERID", "Z", "EBV", "SN_MEDIAN_ALL"]
    return found.loc[found.index.isin(objects.index), columns].sort_index()


def matched(real: Sequence[float], simulated: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw simulated spectra with the S/N of real ones.

    The real ones are gone through in a random order, over and over; each takes a random one of the simulated spectra
    within `NEAR` of its S/N that are left, or the nearest one left where there is none.

    Parameters
    ----------
    real, simulated : array_like, shapes (n,), (m,)
        Median S/N.
    number : int
        How many to draw, at most m.

    Returns
    -------
    ndarray of int, shape (number,)
        Indices into `simulated`, each once.
    """
    real, left = np.asarray(real, float), np.asarray(simulated, float).copy()
    chosen = []
    order: list[int] = []
    for _ in range(min(number, len(left))):
        order = order or rng.permutation(len(real)).tolist()
        wanted = real[order.pop()]
        near = np.flatnonzero(np.abs(left - wanted) <= NEAR * wanted)
        pick = int(rng.choice(near)) if len(near) else int(np.nanargmin(np.abs(left - wanted)))
        chosen.append(pick)
        left[pick] = np.nan
    return np.array(chosen, dtype=int)


def compare(real: Sequence[Measured], simulated: Sequence[Measured], seed: int = 1) -> pd.DataFrame:
    """Compare two sets of spectra.

    Parameters
    ----------
    real, simulated : sequence of Measured
    seed : int
        Of the errors' bootstrap. It draws whole plates, for the spectra of one share its night.

    Returns
    -------
    DataFrame
        Columns `statistics.COLUMNS`; one line per statistic.
    """
    shown = _shown_bits(real, simulated)
    by_plate = [_by_plate(sample, shown) for sample in (real, simulated)]
    samples = tuple((plates, len(plates)) for plates in by_plate)
    found = statistics.side_by_side(_statistics, lambda plates, index: [plates[n] for n in index], samples, _goal, seed)
    numbers = [
        statistics.row("number", "spectra", len(real), len(simulated)),
        statistics.row("number", "plates", len(by_plate[0]), len(by_plate[1])),
    ]
    return statistics.table([*numbers, *found])


def _by_plate(sample: Sequence[Measured], shown: list[int]) -> list[list[dict]]:
    plates: dict[int, list[dict]] = {}
    for one in sample:
        plates.setdefault(one.plate, []).append(_summary(one, shown))
    return list(plates.values())


def _shown_bits(*samples: Sequence[Measured]) -> list[int]:
    """Bits that are set in at least one pixel of a thousand of either sample."""
    totals = []
    for sample in samples:
        every = np.concatenate([one.or_mask for one in sample])
        totals.append({bit: np.mean(every >> bit & 1) for bit in BITS})
    return [bit for bit in BITS if max(total[bit] for total in totals) >= 1e-3]


def _summary(one: Measured, shown: list[int]) -> dict:
    """Reduce a spectrum to what the statistics add up, so that a bootstrap is quick."""
    and_mask, chi = one.and_mask, one.chi
    wavelength = 10.0 ** (PIXEL * one.spectrum.pixel[[0, -1]])
    clipped = np.clip(chi, -5.0, 5.0)  # one absorption line must not make the correlation
    pairs = clipped[:, :-1] * clipped[:, 1:]
    paired = np.isfinite(pairs)
    return {
        "signal": one.signal_to_noise,
        "noise": one.noise,
        "chi": chi[np.isfinite(chi)],
        "products": pairs[paired].sum(),
        # both members of every pair
        "squares": 0.5 * (clipped[:, :-1][paired] ** 2 + clipped[:, 1:][paired] ** 2).sum(),
        "pixels": len(and_mask),
        "masks": {
            "ivar = 0": int((one.spectrum.ivar == 0).sum()),
            "AND BRIGHTSKY": int((and_mask & BRIGHTSKY != 0).sum()),
            "AND any bit": int((and_mask != 0).sum()),
        },
        "bits": {BITS[bit]: int((one.or_mask >> bit & 1).sum()) for bit in shown},
        "ends": wavelength,
        "lambda_eff": one.lambda_eff,
    }


def _statistics(plates: list[list[dict]]) -> statistics.Statistics:
    sample = [one for plate in plates for one in plate]
    signal = np.array([one["signal"] for one in sample])
    found = {(SIGNAL, f"{q} %"): float(np.percentile(signal, q)) for q in (5, 16, 50, 84, 95)}
    by_bin = np.array([one["noise"] for one in sample]).T
    for low, high, values in zip(NOISE_EDGES[:-1], NOISE_EDGES[1:], by_bin, strict=True):
        known = values[np.isfinite(values)]
        found[NOISE, f"{low:.0f}-{high:.0f}"] = float(np.median(known)) if len(known) else np.nan
    for group, faint in ((CHI_FAINT, True), (CHI_BRIGHT, False)):
        some = [one for one in sample if (one["signal"] < FAINT) == faint]
        chi = np.concatenate([one["chi"] for one in some]) if some else np.empty(0)
        squares = sum(one["squares"] for one in some)
        found |= {
            (group, "robust sd"): float(stats.median_abs_deviation(chi, scale="normal")) if len(chi) else np.nan,
            (group, "beyond 3 sigma"): float(np.mean(np.abs(chi) > 3)) if len(chi) else np.nan,
            (group, "beyond 5 sigma"): float(np.mean(np.abs(chi) > 5)) if len(chi) else np.nan,
            (group, "lag-1 correlation"): sum(one["products"] for one in some) / squares if squares > 0 else np.nan,
        }
    pixels = sum(one["pixels"] for one in sample)
    for group, key in ((MASKS, "masks"), (OR_BITS, "bits")):
        found |= {(group, name): sum(one[key][name] for one in sample) / pixels for name in sample[0][key]}
    first, last = np.array([one["ends"] for one in sample]).T
    found[EXTENT, "pixels"] = float(np.median([one["pixels"] for one in sample]))
    found[EXTENT, "first wavelength (A)"] = float(np.median(first))
    found[EXTENT, "last wavelength (A)"] = float(np.median(last))
    lambda_eff = np.array([one["lambda_eff"] for one in sample])
    known = lambda_eff[np.isfinite(lambda_eff)]
    found[EXTENT, "share LAMBDA_EFF 4000"] = float(np.mean(known == 4000.0)) if len(known) else np.nan
    return found


def _goal(group: str, quantity: str, real: float) -> float:
    if np.isnan(real):
        return np.nan
    if group in (CHI_FAINT, CHI_BRIGHT):
        # bright spectra are shown, not judged: their residuals are those of the sky's own lines of absorption too
        return CHI_GOALS[quantity] if group == CHI_FAINT else np.nan
    if group == EXTENT:
        return {"pixels": PIXELS_GOAL, "share LAMBDA_EFF 4000": PLATE_GOAL}.get(quantity, WAVELENGTH_GOAL)
    return {SIGNAL: SIGNAL_GOAL * real, NOISE: NOISE_GOAL * real, OR_BITS: OR_GOAL}.get(group, MASK_GOALS.get(quantity))
