"""From a survey's validation objects to the calibration that a model file carries: intervals, flags, pooling.

Nothing of it looks at a test object. The network itself stays as it is.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import progress
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.network.ensemble import Ensemble
from quasar_mass.predict.compatibility import check_fit
from quasar_mass.predict.inference import (
    NetworkView,
    StackedSpectra,
    mean_features,
    object_spectra,
    stream,
    view_spectra,
)
from quasar_mass.tables import survey_tables
from quasar_mass.uncertainty import mixture_density, pooling, training_domain
from quasar_mass.uncertainty.calibration import (
    EPOCH_GROUPS,
    LINES,
    MIN_OBJECTS,
    Calibration,
    Interval,
    fit_intervals,
    split_validation,
)
from quasar_mass.uncertainty.conformal import Scores, by_object
from quasar_mass.uncertainty.pooling import Epochs, Noise, Pooling

MONITORED = 400  # fresh objects with many epochs on which pooling is learnt: 8,000 spectra, some minutes
MONITORED_EPOCHS = (2, 65)  # spectra of each, evenly in the logarithm
MONITORED_SEED = 1
TRAINING = 8_000  # training objects, about, from which limits are taken: more would not move them
TRIED = 4  # every fourth of them is kept apart, and chooses the method


def calibrate(ensemble: Ensemble, survey: Survey, *, fresh: int = MONITORED, quiet: bool = False) -> Calibration:
    """Calibrate a network, or several together, on a survey's training and validation objects.

    Parameters
    ----------
    ensemble : Ensemble
    survey : Survey
        With its tables; best the one that the network was trained on.
    fresh : int
        For a simulated survey: how many quasars are simulated anew, observed many times, to learn how to pool spectra
        from their true masses. Otherwise, or with 0, that is learnt from the labels of the training objects.
    quiet : bool
        No progress bar.

    Raises
    ------
    SurveyError
        If the survey has no validation objects.
    TableError
        If its two tables are not of one build.
    """
    about = survey_tables.check_pair(survey)
    quasars = survey_tables.read_quasars(survey.quasars)
    grid = survey_tables.read_grid(about)
    several = set(quasars.index[quasars["N_EPOCHS"] > 1])
    looked_at = _looked_at(quasars)
    parts, frames, stacks = [], [], StackedSpectra(grid.size)
    for frame, flux, seen in stream(survey, ensemble, looked_at, quiet=quiet, what="calibration"):
        parts.append(seen)
        frames.append(frame[["OBJECT"]].assign(SPLIT=quasars["SPLIT"].reindex(frame["OBJECT"]).to_numpy()))
        again = frame["OBJECT"].isin(several).to_numpy()
        stacks.add(frame["OBJECT"].to_numpy()[again], flux[again], seen.signal_to_noise[again])
    frame, seen = pd.concat(frames, ignore_index=True), NetworkView.joined(parts)
    frame = frame.join(quasars[["LMBH", "LABEL_LINE", "N_EPOCHS"]], on="OBJECT")
    validation = (frame["SPLIT"] == "validation").to_numpy()
    if not validation.any():
        raise SurveyError(
            survey.folder, expected="validation objects", got="none", do="use a survey of at least 10 objects"
        )
    bounds = _limits(frame, seen, validation)
    roles = split_validation(quasars.loc[quasars["SPLIT"] == "validation", "N_EPOCHS"])
    facts = {
        "kind": about["kind"],
        "tables": about["build"],
        "models": len(ensemble.members),
        "validation_objects": {role: int((roles == role).sum()) for role in ("fit", "calibrate", "pooled")},
    }
    rough = Calibration(facts, bounds, {}, Pooling(Noise(0.0, 0.0, 0.0), None, {"any": "mean"}))
    rows_of = _rows_of(frame["OBJECT"])
    epochs = object_spectra(seen, rows_of, stacks, ensemble, bounds.project)
    labels = quasars["LMBH"].to_dict()
    pooled, tried = _pooling(
        ensemble, grid, epochs, frame, labels, fresh if about["kind"] == "simulated" else 0, bounds, quiet
    )
    intervals = _intervals(
        rough, frame[validation].reset_index(drop=True), seen.rows(validation), roles, epochs, pooled
    )
    return Calibration(facts | {"pooling_tried": tried}, bounds, intervals, pooled)


def calibrate_file(paths: list[Path], survey: Survey, *, fresh: int = MONITORED, quiet: bool = False) -> Calibration:
    """Calibrate model files together and put the result into the first one, whole or not at all."""
    ensemble = Ensemble.load(paths)
    check_fit(ensemble.first, survey_tables.read_about(survey.spectra), survey.spectra)
    found = calibrate(ensemble, survey, fresh=fresh, quiet=quiet)
    found.save(paths[0], ensemble.name)
    return found


def _looked_at(quasars: pd.DataFrame) -> set[str]:
    """The validation objects, and of the training objects some, with all of those that have three spectra or more."""
    training = quasars[quasars["SPLIT"] == "training"].sort_index()
    step = max(1, round(len(training) / TRAINING))
    often = training.index[training["N_EPOCHS"] >= 3]
    return {*quasars.index[quasars["SPLIT"] == "validation"], *training.index[::step], *often}


def _rows_of(objects: pd.Series) -> dict[str, np.ndarray]:
    """The places of each object's rows, in the order of the objects' names."""
    return {name: np.asarray(rows) for name, rows in objects.groupby(objects, sort=True).indices.items()}


def _limits(frame: pd.DataFrame, seen: NetworkView, validation: np.ndarray) -> training_domain.TrainingDomain:
    training = seen.rows(~validation) if (~validation).any() else seen
    of = seen.rows(validation)
    return training_domain.fit(
        (training.redshift, training.signal_to_noise, training.measures, training.look.hidden),
        (of.measures, of.look.hidden),
        frame.loc[validation, "OBJECT"],
    )


def _intervals(
    rough: Calibration,
    frame: pd.DataFrame,
    seen: NetworkView,
    roles: pd.Series,
    epochs: Mapping[str, Epochs],
    pooled: Pooling,
) -> dict[str, Interval]:
    """Intervals of single spectra and of pooled masses, for labels of every line and for those of each."""
    features = rough.features(seen)
    objects, label = frame["OBJECT"].to_numpy(), frame["LMBH"].to_numpy(float)
    role = roles.reindex(objects).to_numpy()
    rows_of = _rows_of(frame["OBJECT"])
    first = frame.drop_duplicates("OBJECT").set_index("OBJECT").loc[list(rows_of)]
    typical = mean_features(seen, rows_of)
    spare = roles.reindex(first.index).to_numpy() != "fit"
    found = {}
    for line in LINES:
        mine = np.ones(len(frame), bool) if line == "any" else (frame["LABEL_LINE"] == line).to_numpy()
        if len(set(objects[mine & (role == "calibrate")])) < (1 if line == "any" else 2 * MIN_OBJECTS):
            continue
        width, scores = fit_intervals(features[mine], seen.look.mass[mine], label[mine], objects[mine], role[mine])
        of_line = spare & (np.ones(len(first), bool) if line == "any" else (first["LABEL_LINE"] == line).to_numpy())
        groups = {}
        for method in pooling.METHODS:
            mass = np.array([pooled.mass(epochs[name], method) for name in rows_of])
            tail = width.given(rough.pooled_features(mass, typical)).tail(first["LMBH"].to_numpy(float) - mass)
            for name, low, high in EPOCH_GROUPS:
                rows = of_line & first["N_EPOCHS"].between(low, high).to_numpy()
                if rows.sum() >= MIN_OBJECTS:
                    groups[f"{method} {name}"] = Scores.of(-tail[rows], first.index[rows])
        found[line] = Interval(width, scores, groups)
    return found


def _pooling(
    ensemble: Ensemble,
    grid: Grid,
    epochs: Mapping[str, Epochs],
    frame: pd.DataFrame,
    labels: Mapping[str, float],
    fresh: int,
    bounds: training_domain.TrainingDomain,
    quiet: bool,
) -> tuple[Pooling, dict[str, dict[str, float]]]:
    """Learn to pool, and choose the methods that do best on objects kept apart; the methods and all their RMSEs."""
    several = {name: one for name, one in epochs.items() if len(one.mass) > 2}
    noise = _noise(several, labels)
    if fresh:
        known = list(fresh_objects(ensemble, grid, fresh, MONITORED_EPOCHS, MONITORED_SEED, bounds, quiet))
        learn = [one for n, one in enumerate(known) if n % TRIED]
        check = [one for n, one in enumerate(known) if not n % TRIED]
    else:
        split = frame.drop_duplicates("OBJECT").set_index("OBJECT")["SPLIT"]
        twice = {name: one for name, one in epochs.items() if len(one.mass) > 1}
        learn = [(one, {"any": labels[name]}) for name, one in twice.items() if split[name] == "training"]
        check = [(one, {"any": labels[name]}) for name, one in twice.items() if split[name] == "validation"]
    learned = None
    if len(learn) >= mixture_density.MIN_OBJECTS:
        features = np.array([one.features() for one, _ in learn])
        residual = np.array([known["any"] - one.stack_mass for one, known in learn])
        learned = mixture_density.fit(features, residual, by_object([str(n) for n in range(len(learn))]))
    tried = Pooling(noise, learned, {"any": "mean"})
    methods = [method for method in pooling.METHODS if method != "learned" or learned is not None]
    if len(check) < MIN_OBJECTS:
        return tried, {}
    errors = {
        line: {
            method: float(np.sqrt(np.mean([(tried.mass(one, method) - known[line]) ** 2 for one, known in check])))
            for method in methods
        }
        for line in check[0][1]
    }
    return Pooling(noise, learned, {line: min(found, key=found.__getitem__) for line, found in errors.items()}), errors


def _noise(several: Mapping[str, Epochs], labels: Mapping[str, float]) -> Noise:
    if not several:
        return Noise(np.log(0.01), 1.0, 0.0)  # nothing to learn it from: masses of S/N 1 scatter by 0.1 dex
    return pooling.fit_noise([(one.mass, one.signal_to_noise, labels[name]) for name, one in several.items()])


def fresh_objects(
    ensemble: Ensemble,
    grid: Grid,
    number: int,
    epochs: tuple[int, int],
    seed: int,
    bounds: training_domain.TrainingDomain,
    quiet: bool,
):
    """Simulate quasars that are in no survey, and look at their spectra: `Epochs` and the true masses of each."""
    from quasar_mass.simulation import monitored  # not at the top: a model of the sky needs no simulation

    objects = monitored.observe(number, epochs, grid, seed=seed)
    for one in progress(objects, total=number, what="many epochs", unit="objects", quiet=quiet):
        yield look_at(one, ensemble, grid, bounds), {"any": one.truth, "MgII": one.truth_mgii}


def look_at(one, ensemble: Ensemble, grid: Grid, bounds: training_domain.TrainingDomain) -> Epochs:
    """Look at all spectra of a `monitored.Monitored` object, and at their stack."""
    stack = pooling.stack_weights(one.signal_to_noise) @ one.flux
    redshift = np.full(len(one.flux) + 1, one.redshift)
    noise = np.append(one.signal_to_noise, np.nan)
    seen = view_spectra(ensemble, np.vstack([one.flux, stack[None]]), redshift, noise, grid)
    hidden = bounds.project(seen.look.hidden)
    mass = seen.look.mass
    return Epochs(mass[:-1], one.signal_to_noise, hidden[:-1], one.redshift, float(mass[-1]), hidden[-1])
