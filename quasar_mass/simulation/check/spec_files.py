"""The spectrum files of a simulated survey and real ones: noise, residuals, masks, extent."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from quasar_mass.core.errors import FileError, first_line
from quasar_mass.core.files import progress
from quasar_mass.core.survey import BRIGHTSKY, Survey, format_spec_id
from quasar_mass.simulation.check import statistics
from quasar_mass.simulation.check.noise_measures import NOISE_EDGES, Measured, measure
from quasar_mass.spectra.spectrum import PIXEL
from quasar_mass.tables import catalogs

MIN_PIXELS = 4000  # of a whole BOSS spectrum (4570-4630); a file with fewer is an excerpt
# In bright spectra, real absorption lines and the calibration dominate the noise: they have their own group.
FAINT = 8.0  # median S/N per pixel
NEAR = 0.10  # a simulated spectrum has a similar S/N if it is within 10 %

# SPPIXMASK bits by their numbers (the SDSS mask-bit file, sdssMaskbits.par)
BITS = {
    0: "NOPLUG", 1: "BADTRACE", 2: "BADFLAT", 3: "BADARC", 4: "MANYBADCOLUMNS", 5: "MANYREJECTED", 6: "LARGESHIFT",
    7: "BADSKYFIBER", 8: "NEARWHOPPER", 9: "WHOPPER", 10: "SMEARIMAGE", 11: "SMEARHIGHSN", 12: "SMEARMEDSN",
    16: "NEARBADPIXEL", 17: "LOWFLAT", 18: "FULLREJECT", 19: "PARTIALREJECT", 20: "SCATTEREDLIGHT", 21: "CROSSTALK",
    22: "NOSKY", 23: "BRIGHTSKY", 24: "NODATA", 25: "COMBINEREJ", 26: "BADFLUXFACTOR", 27: "BADSKYCHI",
    28: "REDMONSTER",
}  # fmt: skip

# groups of lines
SIGNAL, NOISE, EXTENT = "S/N per pixel", "noise at A", "extent"
MASKS, OR_BITS = "fraction of pixels", "fraction, OR bit"
CHI_FAINT, CHI_BRIGHT = f"chi, S/N < {FAINT:g}", f"chi, S/N >= {FAINT:g}"
LAMBDA_EFF = "fraction LAMBDA_EFF 4000"

# Largest difference that is ok; chosen here. The residuals of bright spectra have none: they include real absorption.
CHI_GOALS = {"sigma_NMAD": 0.03, "beyond 3 sigma": 0.002, "beyond 5 sigma": 0.0005, "lag-1 correlation": 0.03}
GOALS = {
    SIGNAL: lambda real: 0.10 * real,  # the samples are matched in it
    NOISE: lambda real: 0.12 * real,  # 0.05 dex
    (MASKS, "ivar = 0"): 0.002,
    (MASKS, "AND BRIGHTSKY"): 0.01,
    (MASKS, "AND any bit"): 0.02,
    OR_BITS: 0.02,
    EXTENT: 10.0,  # pixels or Angstrom
    (EXTENT, LAMBDA_EFF): 0.1,
} | {(CHI_FAINT, quantity): goal for quantity, goal in CHI_GOALS.items()}


def read_real(folder: Path, *, quiet: bool = True) -> list[Measured]:
    """Read the whole BOSS spectra (reductions v5_*) of a folder with an ``index.csv``.

    Raises
    ------
    FileError
        If the index lacks a column or has no such spectrum.
    """
    path = Path(folder) / "index.csv"
    types = {"plate": int, "mjd": int, "fiberid": int, "z": float, "run2d": str, "n_pixels": int}
    try:
        index = pd.read_csv(path, usecols=list(types), dtype=types)
    except ValueError as error:
        message = f"must be a CSV table with the columns {', '.join(types)} ({first_line(error)})"
        raise FileError(path, message) from error
    index = index[index["run2d"].str.startswith("v5_") & (index["n_pixels"] >= MIN_PIXELS)]
    if index.empty:
        raise FileError(path, "lists no whole BOSS spectrum (run2d v5_*); add some")
    return [
        measure(
            path.parent / f"{row.plate:04d}" / f"spec-{format_spec_id(row.plate, row.mjd, row.fiberid)}.fits", row.z
        )
        for row in progress(index.itertuples(), total=len(index), what="Read real", unit="spectra", quiet=quiet)
    ]


def primaries(survey: Survey, objects: pd.DataFrame) -> pd.DataFrame:
    """Primary spectrum of each object, in the order of their names.

    Parameters
    ----------
    survey : Survey
        Its catalogues.
    objects : DataFrame
        Index OBJECT.

    Returns
    -------
    DataFrame
        Index OBJECT; PLATE, MJD, FIBERID, Z, EBV, SN_MEDIAN_ALL.
    """
    chen = catalogs.read_chen(survey.chen)
    measured = catalogs.spectrum_key(chen["Plate"], chen["MJD"], chen["Fiber"])
    catalogue = catalogs.read_dr16q(survey.dr16q, np.asarray(measured)).objects.set_index("SDSS_NAME")
    columns = ["PLATE", "MJD", "FIBERID", "Z", "EBV", "SN_MEDIAN_ALL"]
    return catalogue.loc[catalogue.index.isin(objects.index), columns].sort_index()


def matched(real: Sequence[float], simulated: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw simulated spectra with the S/N of real ones.

    The real ones are taken in random order, repeatedly. For each, one of the remaining simulated spectra within `NEAR`
    of its S/N is drawn, or the nearest if there is none.

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
        target = real[order.pop()]
        near = np.flatnonzero(np.abs(left - target) <= NEAR * target)
        pick = int(rng.choice(near)) if len(near) else int(np.nanargmin(np.abs(left - target)))
        chosen.append(pick)
        left[pick] = np.nan
    return np.array(chosen, dtype=int)


def compare(real: Sequence[Measured], simulated: Sequence[Measured], seed: int = 1) -> pd.DataFrame:
    """Compare two sets of spectra.

    Parameters
    ----------
    real, simulated : sequence of Measured
    seed : int
        Of the errors' bootstrap. It draws whole plates, since the spectra of one plate have its night in common.

    Returns
    -------
    DataFrame
        Columns `statistics.COLUMNS`; one line per statistic.
    """
    bits = _frequent_bits(real, simulated)
    samples = [_by_plate(sample, bits) for sample in (real, simulated)]
    rows = [
        statistics.row("number", "spectra", *map(len, samples)),
        statistics.row("number", "plates", *(sample.index.nunique() for sample in samples)),
    ]
    return statistics.table(rows + statistics.side_by_side(_statistics, *samples, GOALS, seed))


def _frequent_bits(*samples: Sequence[Measured]) -> list[int]:
    """Bits that are set in at least one pixel of a thousand of either sample."""
    masks = [np.concatenate([spectrum.or_mask for spectrum in sample]) for sample in samples]
    return [bit for bit in BITS if max(np.mean(mask >> bit & 1) for mask in masks) >= 1e-3]


def _by_plate(sample: Sequence[Measured], bits: list[int]) -> pd.DataFrame:
    """Sums and arrays of each spectrum from which the statistics follow, by plate, so that a bootstrap is quick."""
    plates = [spectrum.plate for spectrum in sample]
    frame = pd.DataFrame([_sums(spectrum, bits) for spectrum in sample], index=plates)
    # in order of first appearance, and those of one plate together
    return frame.loc[frame.index.unique()]


def _sums(measured: Measured, bits: list[int]) -> dict:
    spectrum, chi = measured.spectrum, measured.chi
    clipped = np.clip(chi, -5.0, 5.0)  # a single absorption line must not dominate the correlation
    left, right = clipped[:, :-1], clipped[:, 1:]
    paired = np.isfinite(left * right)
    first, last = 10.0 ** (PIXEL * spectrum.pixel[[0, -1]])
    return {
        "signal_to_noise": measured.signal_to_noise,
        "noise": measured.noise,
        "chi": chi[np.isfinite(chi)],
        "products": (left * right)[paired].sum(),
        "squares": 0.5 * (left[paired] ** 2 + right[paired] ** 2).sum(),  # of both members of every pair
        (EXTENT, "pixels"): len(spectrum.flux),
        (EXTENT, "first wavelength (A)"): first,
        (EXTENT, "last wavelength (A)"): last,
        (EXTENT, LAMBDA_EFF): measured.lambda_eff,
        (MASKS, "ivar = 0"): int((spectrum.ivar == 0).sum()),
        (MASKS, "AND BRIGHTSKY"): int((measured.and_mask & BRIGHTSKY != 0).sum()),
        (MASKS, "AND any bit"): int((measured.and_mask != 0).sum()),
        **{(OR_BITS, BITS[bit]): int((measured.or_mask >> bit & 1).sum()) for bit in bits},
    }


def _statistics(sample: pd.DataFrame) -> statistics.Statistics:
    signal = sample["signal_to_noise"]
    results = {(SIGNAL, f"{q} %"): float(np.percentile(signal, q)) for q in (5, 16, 50, 84, 95)}
    noise = pd.DataFrame(sample["noise"].tolist()).median()
    results |= {
        (NOISE, f"{low:.0f}-{high:.0f}"): float(value)
        for (low, high), value in zip(itertools.pairwise(NOISE_EDGES), noise, strict=True)
    }
    for group, some in ((CHI_FAINT, sample[signal < FAINT]), (CHI_BRIGHT, sample[signal >= FAINT])):
        chi = pd.Series(np.concatenate([[], *some["chi"]]))  # whose mean is NaN, not an error, if it is empty
        squares = some["squares"].sum()
        results |= {
            (group, "sigma_NMAD"): float(stats.median_abs_deviation(chi, scale="normal")) if len(chi) else np.nan,
            (group, "beyond 3 sigma"): float((chi.abs() > 3).mean()),
            (group, "beyond 5 sigma"): float((chi.abs() > 5).mean()),
            (group, "lag-1 correlation"): some["products"].sum() / squares if squares > 0 else np.nan,
        }
    pixels = sample[[(EXTENT, "pixels")]].to_numpy().sum()
    keys = [column for column in sample.columns if isinstance(column, tuple)]
    results |= {key: sample[[key]].to_numpy().sum() / pixels for key in keys if key[0] in (MASKS, OR_BITS)}
    results |= {key: float(np.median(sample[[key]])) for key in keys if key[0] == EXTENT}
    lambda_eff = sample[[(EXTENT, LAMBDA_EFF)]].dropna().to_numpy()
    results[EXTENT, LAMBDA_EFF] = float(np.mean(lambda_eff == 4000.0)) if len(lambda_eff) else np.nan
    return results
