"""From a survey's validation objects to the calibration in a model file: intervals, flags, pooling.

Test objects have no part in it, and the network itself is not changed.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import ModelError, SurveyError
from quasar_mass.core.evaluation import EPOCH_GROUPS
from quasar_mass.core.files import progress
from quasar_mass.core.survey import Survey
from quasar_mass.network.inference import Ensemble
from quasar_mass.network.keras_io import model_file
from quasar_mass.network.loading import load_ensemble
from quasar_mass.predict import calibration_file, calibration_spectra
from quasar_mass.predict.compatibility import check_fit
from quasar_mass.predict.predictor import Predictor
from quasar_mass.tables import survey_tables
from quasar_mass.uncertainty import mixture_density, pooling
from quasar_mass.uncertainty.calibration import (
    LINES,
    MIN_OBJECTS,
    Calibration,
    Interval,
    Scores,
    fit_domain,
    fit_interval,
    seen_groups,
    split_validation,
)
from quasar_mass.uncertainty.network_view import NetworkView
from quasar_mass.uncertainty.pooling import Epochs, Noise, ObjectSpectra, Pooling, StackedSpectra

MONITORED = 400  # fresh objects with many epochs on which pooling is learnt: 8,000 spectra, some minutes
MONITORED_EPOCHS = (2, 65)  # spectra of each, evenly in the logarithm
MONITORED_SEED = 1
TRIED = 4  # every fourth of the fresh objects is kept apart, to choose the method of pooling

Known = Sequence[tuple[Epochs, Mapping[str, float]]]  # objects, each with its known masses by line


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
    frame, view, stacks = calibration_spectra.read(Predictor(ensemble), survey, quasars, quiet)
    validation = (frame["SPLIT"] == "validation").to_numpy()
    if not validation.any():
        raise SurveyError(survey.folder, "has no validation objects; use a survey of at least 10 objects")
    roles = split_validation(quasars.loc[quasars["SPLIT"] == "validation", "N_EPOCHS"])
    facts = {
        "kind": about["kind"],
        "tables": about["build"],
        "models": len(ensemble.members),
        "validation_objects": {role: int((roles == role).sum()) for role in ("fit", "calibrate", "pooled")},
    }
    from_civ = quasars.loc[quasars["LABEL_LINE"] == "CIV", "Z"]
    facts |= {"civ_redshift": float(from_civ.min())} if len(from_civ) else {}
    without = Pooling(Noise(0.0, 0.0, 0.0), None, {"any": "mean"})
    training = view.rows(~validation) if (~validation).any() else view
    like_training, names = view.rows(validation), frame.loc[validation, "OBJECT"]
    wide_frame, wide_view = None, None
    if fresh and about["kind"] == "simulated" and Predictor(ensemble).partial:
        wide_frame, wide_view = calibration_spectra.read_fresh(Predictor(ensemble), quiet)
        facts["partial_objects"] = len(wide_frame)
        halves = (wide_frame["ROLE"] == "fit").to_numpy()
        training = NetworkView.joined([training, wide_view.rows(halves)])
        like_training = NetworkView.joined([like_training, wide_view.rows(~halves)])
        names = pd.concat([names, wide_frame["OBJECT"][~halves]])
    domain = fit_domain(training, like_training, names)
    rough = Calibration(facts, domain, {}, without)
    predictor = Predictor(ensemble, rough)
    objects = predictor.objects(frame["OBJECT"], view, stacks)
    noise = _noise(objects, quasars["LMBH"])
    if fresh and about["kind"] == "simulated":
        known = list(_fresh_objects(predictor, fresh, quiet))
        learn, check = [pair for n, pair in enumerate(known) if n % TRIED], known[::TRIED]
    else:
        learn, check = (_labelled(objects, quasars, split) for split in ("training", "validation"))
    pooled, tried = _choose_pooling(noise, learn, check)
    calibration = Calibration(facts | {"pooling_tried": tried}, domain, {}, pooled)
    frame, view = frame[validation], view.rows(validation)
    objects = objects.chosen(sorted(set(frame["OBJECT"])))
    frame = frame.assign(ROLE=roles.reindex(frame["OBJECT"]).to_numpy())
    if (roles == "fit").any():
        more, changed = calibration_spectra.read_changed(predictor, survey, quasars, roles, quiet)
        frame, view = pd.concat([frame, more], ignore_index=True), NetworkView.joined([view, changed])
    if wide_frame is not None:
        frame, view = pd.concat([frame, wide_frame], ignore_index=True), NetworkView.joined([view, wide_view])
    intervals = _intervals(calibration, frame, view, objects)
    return Calibration(calibration.facts, calibration.domain, intervals, pooled)


def calibrate_file(paths: list[Path], survey: Survey, *, fresh: int = MONITORED, quiet: bool = False) -> Calibration:
    """Calibrate model files together, and write the result into the first one, whole or not at all.

    Parameters
    ----------
    paths : list of Path
        Of one model, or of several whose mean is the mass.
    survey, fresh, quiet
        As of `calibrate`.

    Raises
    ------
    ModelError
        If a file cannot be used, or was made for another grid or unit than the survey's tables.
    SurveyError
        If the survey has no validation objects, or too few to replace a better calibration.
    """
    ensemble = load_ensemble(paths)
    check_fit(ensemble.first, survey_tables.read_about(survey.spectra), survey.spectra)
    _keep_better(paths[0], ensemble, survey)
    calibration = calibrate(ensemble, survey, fresh=fresh, quiet=quiet)
    calibration_file.save(calibration, paths[0], ensemble.name)
    return calibration


def _keep_better(path: Path, ensemble: Ensemble, survey: Survey) -> None:
    """Refuse to replace a calibration by one from fewer objects, too few for the widths; SurveyError."""
    try:
        old = calibration_file.read(model_file.read(path), ensemble.name)
    except ModelError:  # one that cannot be read may be replaced
        return
    objects = int((survey_tables.read_quasars(survey.quasars)["SPLIT"] == "validation").sum())
    before = sum(old.facts.get("validation_objects", {}).values()) if old else 0
    if objects < before and objects < 2 * mixture_density.MIN_OBJECTS:
        message = (
            f"has {objects:,} validation objects, too few to learn the widths of intervals, and {path} has a "
            f"calibration from {before:,}; use a survey with at least {2 * mixture_density.MIN_OBJECTS} of them"
        )
        raise SurveyError(survey.folder, message)


# --- intervals --------------------------------------------------------------------------------------------------------
def _intervals(
    calibration: Calibration, frame: pd.DataFrame, view: NetworkView, objects: ObjectSpectra
) -> dict[str, Interval]:
    """Intervals of single spectra and of pooled masses, for labels of every line and for those of each.

    Parameters
    ----------
    calibration : Calibration
        Without intervals.
    frame, view
        The validation spectra, with a ROLE as of `fit_interval`, and after them copies with gaps, and partial spectra.
    objects : ObjectSpectra
        The validation objects, sorted.
    """
    features, names, label = calibration.features(view), frame["OBJECT"].to_numpy(), frame["LMBH"].to_numpy(float)
    role, shown = frame["ROLE"].to_numpy(), seen_groups(view.lines_seen)
    # fresh quasars do not calibrate the whole window: the guarantee is for the survey's objects
    role = np.where(frame["OBJECT"].str.startswith("partial ") & (shown == "whole") & (role == "calibrate"), "", role)
    table = frame.drop_duplicates("OBJECT").set_index("OBJECT").loc[list(objects.epochs)]
    not_fitted = (table["ROLE"] != "fit").to_numpy()
    intervals = {}
    for line in LINES:
        rows = _of_line(frame, line)
        if len(set(names[rows & (role == "calibrate")])) < (1 if line == "any" else 2 * MIN_OBJECTS):
            continue
        interval = fit_interval(features[rows], view.mass[rows], label[rows], names[rows], role[rows], shown[rows])
        candidates = not_fitted & _of_line(table, line)
        pooled = {}
        for method in pooling.METHODS:
            mass = calibration.pooled_mass(objects, method)
            density = interval.density.given(calibration.object_features(objects, mass))
            tail = density.tail(table["LMBH"].to_numpy(float) - mass)
            for group, (low, high) in EPOCH_GROUPS.items():
                chosen = candidates & table["N_EPOCHS"].between(low, high).to_numpy()
                if chosen.sum() >= MIN_OBJECTS:
                    pooled[f"{method} {group}"] = Scores.of(-tail[chosen], table.index[chosen])
        intervals[line] = Interval(interval.density, interval.scores, pooled)
    return intervals


def _of_line(table: pd.DataFrame, line: str) -> np.ndarray:
    return np.ones(len(table), bool) if line == "any" else (table["LABEL_LINE"] == line).to_numpy()


# --- pooling ----------------------------------------------------------------------------------------------------------
def _noise(objects: ObjectSpectra, label: pd.Series) -> Noise:
    """The noise of masses, from the objects with three spectra and more."""
    several = {name: epochs for name, epochs in objects.epochs.items() if len(epochs.mass) > 2}
    if not several:
        return Noise(np.log(0.01), 1.0, 0.0)  # nothing to learn it from: masses of S/N 1 scatter by 0.1 dex
    return pooling.fit_noise([(epochs.mass, epochs.signal_to_noise, label[name]) for name, epochs in several.items()])


def _fresh_objects(predictor: Predictor, number: int, quiet: bool) -> Iterator[tuple[Epochs, dict[str, float]]]:
    """Simulate quasars that are in no survey, with many spectra each; with their true masses."""
    from quasar_mass.simulation import monitored  # not at the top: a model of real spectra needs no simulation

    quasars = monitored.observe(number, MONITORED_EPOCHS, predictor.grid, seed=MONITORED_SEED)
    for quasar in progress(quasars, total=number, what="many epochs", unit="objects", quiet=quiet):
        (epochs,) = view_object(predictor, quasar).epochs.values()
        yield epochs, {"any": quasar.truth, "MgII": quasar.truth_mgii}


def view_object(predictor: Predictor, quasar) -> ObjectSpectra:
    """Run the network on all spectra of a `monitored.Monitored` quasar and on their stack."""
    names, stacks = [quasar.name] * len(quasar.flux), StackedSpectra(predictor.grid.size)
    stacks.add(names, quasar.flux, quasar.signal_to_noise)
    view = predictor.view(quasar.flux, np.full(len(names), quasar.redshift), quasar.signal_to_noise)
    return predictor.objects(names, view, stacks)


def _labelled(objects: ObjectSpectra, quasars: pd.DataFrame, split: str) -> Known:
    """The objects of a split with two spectra and more, with their labels."""
    return [
        (epochs, {"any": quasars.loc[name, "LMBH"]})
        for name, epochs in objects.epochs.items()
        if len(epochs.mass) > 1 and quasars.loc[name, "SPLIT"] == split
    ]


def _choose_pooling(noise: Noise, learn: Known, check: Known) -> tuple[Pooling, dict[str, dict[str, float]]]:
    """Learn to pool, and choose the method with the smallest error on objects kept apart.

    Returns
    -------
    Pooling
    dict of str to dict of str to float
        By line and method, the RMSE in dex; empty with too few objects, and the plain mean is then chosen.
    """
    learned = None
    if len(learn) >= mixture_density.MIN_OBJECTS:
        features = np.array([epochs.features() for epochs, _ in learn])
        residual = np.array([masses["any"] - epochs.stack_mass for epochs, masses in learn])
        learned = mixture_density.fit(features, residual, np.ones(len(learn)))
    candidate = Pooling(noise, learned, {"any": "mean"})
    if len(check) < MIN_OBJECTS:
        return candidate, {}
    errors = {line: {} for line in check[0][1]}
    for line, method in itertools.product(errors, candidate.methods):
        squares = [(candidate.mass(epochs, method) - masses[line]) ** 2 for epochs, masses in check]
        errors[line][method] = float(np.sqrt(np.mean(squares)))
    best = {line: min(rmse, key=rmse.__getitem__) for line, rmse in errors.items()}
    return Pooling(noise, learned, best), errors
