"""The spectra that a model is calibrated on: a survey's own, copies of them with gaps or in part, and fresh quasars."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from quasar_mass.core.constants import KM_S_PER_DEX
from quasar_mass.core.files import progress
from quasar_mass.core.parallel import cores, prefetch
from quasar_mass.core.survey import WINDOW, Grid, Survey
from quasar_mass.predict.predictor import Predictor
from quasar_mass.spectra.rest_frame import BRIDGED
from quasar_mass.spectra.seen_lines import LINES as SEEN_LINES
from quasar_mass.spectra.seen_lines import hidden_fractions, interpolate
from quasar_mass.spectra.spectrum import PIXEL
from quasar_mass.tables import survey_tables
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import StackedSpectra

TRAINING = 8_000  # training objects, about, from which ranges are taken: more would not change them
BATCH = 1024  # spectra in memory at a time
# Gaps that are put into copies of spectra, so that the widths of intervals can depend on what is seen of a line: three
# of four at one of the lines, the fourth anywhere; chosen here.
GAPPED_COPIES = 3  # of each spectrum
GAP_WIDTH = (5.0, 100.0)  # Angstrom in the rest frame, uniform in the logarithm
GAP_OFFSET = 3_000.0  # km/s, standard deviation of a gap's middle from the line's wavelength
GAP_SEED = 3
# Partial spectra, for the widths and the guarantee where Mg II or C IV is not seen: of each of the survey's validation
# objects a copy without C IV, or without Mg II, that begins or ends at a random wavelength between these (Angstrom);
# and, for a simulated survey, fresh quasars of all redshifts.
CUT_BEFORE, CUT_BEHIND = (1620.0, 2690.0), (1960.0, 2690.0)
PARTIAL, PARTIAL_SEED = 8_000, 5

COLUMNS = ["SPLIT", "LMBH", "LABEL_LINE", "N_EPOCHS"]  # of an object, for each of its spectra


def _spectra(survey: Survey, names: set[str], what: str, quiet: bool) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Stream the spectra of some objects, under a progress bar."""
    total = survey_tables.count_spectra(survey.spectra)
    with progress(None, total=total, what=what, unit="spectra", quiet=quiet) as bar:
        for frame, flux in prefetch(survey_tables.iterate_spectra(survey.spectra, BATCH)):
            bar.update(len(frame))
            used = frame["OBJECT"].isin(names).to_numpy()
            if used.any():
                yield frame[used], flux[used]


def read(
    predictor: Predictor, survey: Survey, quasars: pd.DataFrame, quiet: bool
) -> tuple[pd.DataFrame, NetworkView, StackedSpectra]:
    """The spectra that are used: their objects' columns, the network's view, the stacks of objects with several."""
    several = set(quasars.index[quasars["N_EPOCHS"] > 1])
    objects, views, stacks = [], [], StackedSpectra(predictor.grid.size)
    for frame, flux in _spectra(survey, _used(quasars), "calibration", quiet):
        seen = frame[list(SEEN_LINES)].to_numpy(float)
        again = frame["OBJECT"].isin(several).to_numpy()
        view = predictor.view(flux, frame["Z"].to_numpy(), frame["SN"].to_numpy(np.float64), seen, again)
        stacks.add(frame["OBJECT"].to_numpy()[again], flux[again], view.signal_to_noise[again])
        objects.append(frame[["OBJECT"]])
        views.append(view)
    return pd.concat(objects, ignore_index=True).join(quasars[COLUMNS], on="OBJECT"), NetworkView.joined(views), stacks


def read_changed(
    predictor: Predictor, survey: Survey, quasars: pd.DataFrame, roles: pd.Series, quiet: bool
) -> tuple[pd.DataFrame, NetworkView]:
    """Copies of validation spectra with gaps, and partial ones: objects' columns with ROLE, the network's view."""
    rng, objects, views = np.random.default_rng(GAP_SEED), [], []

    def add(flux, frame, seen, role):
        again = quasars["N_EPOCHS"].reindex(frame["OBJECT"]).to_numpy() > 1
        views.append(predictor.view(flux, frame["Z"].to_numpy(), frame["SN"].to_numpy(np.float64), seen, again))
        objects.append(frame[["OBJECT"]].assign(ROLE=role))

    for frame, flux in _spectra(survey, set(roles.index[roles != "pooled"]), "gaps", quiet):
        role = roles.reindex(frame["OBJECT"]).to_numpy()
        seen = np.nan_to_num(frame[list(SEEN_LINES)].to_numpy(float), nan=1.0)
        fit = role == "fit"
        for _ in range(GAPPED_COPIES if fit.any() else 0):
            gapped, left = with_gaps(rng, flux[fit], predictor.grid, missing=predictor.partial)
            add(gapped, frame[fit], seen[fit] * left, "gapped")
        if predictor.partial:
            cut, left = partial_copies(rng, flux, predictor.grid)
            add(cut, frame, seen * left, role)
    columns = pd.concat(objects, ignore_index=True)
    columns = columns.join(quasars[COLUMNS], on="OBJECT")
    return columns, NetworkView.joined(views)


def partial_copies(rng: np.random.Generator, flux: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Take C IV, or Mg II, from every spectrum: NaN before or behind a random wavelength.

    Parameters
    ----------
    rng : Generator
    flux : ndarray, shape (n, grid.size)
    grid : Grid

    Returns
    -------
    flux : ndarray, shape (n, grid.size)
    left : ndarray, shape (n, 3)
        Fraction of each of `seen_lines.LINES` that is left.
    """
    n = len(flux)
    before = rng.random(n) < 0.5
    edges = np.log10(np.where(before, rng.uniform(*CUT_BEFORE, n), rng.uniform(*CUT_BEHIND, n)))
    low, high = np.where(before, -np.inf, edges), np.where(before, edges, np.inf)
    hidden = (grid.log_wavelength > low[:, None]) & (grid.log_wavelength < high[:, None])
    left = 1.0 - np.array([hidden_fractions(*ends) for ends in zip(low, high, strict=True)])
    return np.where(hidden, np.float32(np.nan), flux), left


def read_fresh(predictor: Predictor, quiet: bool) -> tuple[pd.DataFrame, NetworkView]:
    """Fresh quasars of all redshifts: their columns with ROLE, the network's view."""
    from quasar_mass.simulation import partial  # not at the top: a model of real spectra needs no simulation

    views, rows = [], []
    with progress(None, total=PARTIAL, what="all redshifts", unit="objects", quiet=quiet) as bar:
        for quasars in partial.observe(PARTIAL, predictor.grid, seed=PARTIAL_SEED, jobs=cores()):
            bar.update(partial.PART)
            rest = [quasar.spectrum for quasar in quasars]
            redshift = np.array([quasar.redshift for quasar in quasars])
            sn, seen = np.array([r.signal_to_noise for r in rest]), np.array([r.lines_seen for r in rest])
            views.append(predictor.view(np.stack([r.flux for r in rest]), redshift, sn, seen))
            rows += [(f"partial {quasar.name}", quasar.label, quasar.line) for quasar in quasars]
    frame = pd.DataFrame(rows, columns=["OBJECT", "LMBH", "LABEL_LINE"])
    roles = np.where(np.arange(len(frame)) % 2, "fit", "calibrate")
    return frame.assign(SPLIT="validation", N_EPOCHS=1, ROLE=roles), NetworkView.joined(views)


def with_gaps(
    rng: np.random.Generator, flux: np.ndarray, grid: Grid, *, missing: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Put a gap of random width at a random place into every spectrum.

    Parameters
    ----------
    rng : Generator
    flux : ndarray, shape (n, grid.size)
    grid : Grid
    missing : bool
        Whether gaps of more than `BRIDGED` pixels become NaN, as in partial spectra.

    Returns
    -------
    flux : ndarray, shape (n, grid.size)
        Interpolated over the gap.
    left : ndarray, shape (n, 3)
        Fraction of each of `seen_lines.LINES` outside the gap.
    """
    n, lines = len(flux), [np.log10(wavelength) for _, wavelength in SEEN_LINES.values()]
    place = rng.integers(0, len(lines) + 1, n)
    near = np.array([*lines, np.nan])[place] + rng.normal(0.0, GAP_OFFSET / KM_S_PER_DEX, n)
    middle = 10.0 ** np.where(place < len(lines), near, rng.uniform(*WINDOW, n))
    width = np.exp(rng.uniform(*np.log(GAP_WIDTH), n))
    gaps = np.log10(np.column_stack([middle - 0.5 * width, middle + 0.5 * width]))
    gapped = np.concatenate([interpolate(flux[[row]], grid, *gap) for row, gap in enumerate(gaps)])
    if missing:
        inside = (grid.log_wavelength >= gaps[:, :1]) & (grid.log_wavelength < gaps[:, 1:])
        gapped[inside & (gaps[:, 1:] - gaps[:, :1] > BRIDGED * PIXEL)] = np.nan
    return gapped, 1.0 - np.array([hidden_fractions(*gap) for gap in gaps])


def _used(quasars: pd.DataFrame) -> set[str]:
    """All validation objects; about `TRAINING` training objects, and all of those with three spectra or more."""
    training = quasars[quasars["SPLIT"] == "training"].sort_index()
    step = max(1, round(len(training) / TRAINING))
    often = training.index[training["N_EPOCHS"] >= 3]
    return {*quasars.index[quasars["SPLIT"] == "validation"], *training.index[::step], *often}
