"""Train the shipped models: pre-training on simulated quasars, then training on the survey's own labels.

`make best-models` runs this. Stage one trains on simulated quasars of all redshifts, with new noise in every training
epoch and their true Mg II masses as target; ends and stretches of many are hidden. Stage two trains on the survey's
training spectra, slightly varied, with its labels, and on partial spectra of stage one's quasars, still with their true
masses: the survey has no labels for partial spectra. So the intermediate model predicts Mg II masses everywhere, the
final one, where a spectrum shows the whole window, the label that the survey's table would give. In both stages, the
learning rate falls as a cosine does, and an exponential mean of the weights is kept. The training epoch of stage two
and the seed are chosen on the survey's validation labels alone, where every object counts once; the test objects are
used once, at the end. After an interruption the same command goes on from its checkpoints.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quasar_mass.cli import common
from quasar_mass.cli.quasar_analysis import add_fresh
from quasar_mass.cli.status import require_tables
from quasar_mass.core.files import locked_write, write_text
from quasar_mass.core.survey import MODELS, Survey
from quasar_mass.network import architecture
from quasar_mass.network.architecture import Stage

if TYPE_CHECKING:
    from quasar_mass.network.augmentation import SimulatedSource
    from quasar_mass.simulation.library import Library

SEEDS = (42,)  # with --seeds several are trained, and the best one on validation is kept
LIBRARY = 80_000  # simulated quasars of the library
LIBRARY_SEED = 1
# learning rate at the start of each stage: chosen on validation labels
LEARNING_RATES = {"intermediate": 1e-3, "final": 3e-4}
PRETRAINING_EPOCHS = 12
FINAL_EPOCHS = 6
PARTIAL = 0.5  # partial spectra in stage two, for each of the survey's
BATCH_SIZE = 128
TARGETS = {
    "intermediate": "the true Mg II masses of simulated quasars that are in no survey, of all redshifts, observed anew "
    "and partly hidden in every training epoch; narrow and wide lines are taken more often than they occur",
    "final": "the survey's labels, its training spectra varied in noise, calibration and gaps in every training epoch; "
    "for partial spectra, the true Mg II masses of stage one's quasars",
}


def train_seed(survey: Survey, work: Path, seed: int, library_size: int, epochs: tuple[int, int], quiet: bool) -> dict:
    """Train both stages with one seed, write its two models, and return its validation scores.

    Parameters
    ----------
    survey : Survey
        Simulated, its tables built.
    work : path
        Checkpoints, library and this seed's models go here.
    seed : int
    library_size : int
        Quasars of the library.
    epochs : (int, int)
        Training epochs of both stages.
    quiet : bool
        Print nothing.
    """
    from quasar_mass.network.augmentation import AugmentedSource, ConcatSource
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.simulation.library import COLUMNS, library
    from quasar_mass.tables import dataset

    data = dataset.load(survey)
    group = architecture.pixels_per_average(data.grid.step)
    fresh = library(work / "library", size=library_size, seed=LIBRARY_SEED, group=group, quiet=True)
    (validation, val_label), (training, label) = data.part("validation"), data.part("training")
    partial = pretraining(fresh, data.grid.size, round(PARTIAL * len(label)), hidden=1.0)
    labelled = AugmentedSource(training, label, dataset.object_weights(label))
    sources = {
        "intermediate": pretraining(fresh, data.grid.size, len(fresh.truth)),
        "final": ConcatSource([labelled, partial]),
    }
    described = dataset.describe(data.about, data.quasars, data.spectra)
    redshift = fresh.truth[:, COLUMNS.index("Z")]
    described["trained_on"] |= {"partial": True, "redshift": [float(redshift.min()), float(redshift.max())]}
    ann = EasyAI(architecture.layers(data.grid.step), input_shape=(data.grid.size, 1), seed=seed)
    validation_scores = {}
    for (name, rate), training_epochs in zip(LEARNING_RATES.items(), epochs, strict=True):
        stage = Stage(name, rate, training_epochs, cosine=True, average=architecture.AVERAGE)
        ann.train(
            sources[stage.name],
            (validation, val_label, dataset.object_weights(val_label)),
            stages=[stage],
            checkpoints=work / "checkpoints",
            batch_size=BATCH_SIZE,
            choose=stage.name == "final",  # the validation labels are not what stage one learns
            quiet=quiet,
        )
        scores = ann.evaluate((validation, val_label))
        scores["rmse_by_object"] = float(ann.history["val_rmse"][ann.history["kept"]].iloc[-1])
        about = described | {
            "targets": {name: TARGETS[name] for name in list(TARGETS)[: len(validation_scores) + 1]},
            "pretrained_on": {"quasars": len(fresh.truth), "seed": LIBRARY_SEED, "uses_truth_of": "the simulation"},
            "metrics": {"validation": scores},
        }
        ann.save(work / f"seed-{seed}" / MODELS[stage.name], about=about)
        validation_scores[stage.name] = scores
    return {"seed": seed, "validation": validation_scores}


def pretraining(library: "Library", pixels: int, size: int, hidden: float | None = None) -> "SimulatedSource":
    """Make a source of training spectra of a library: all of stage one, and a part of stage two.

    The target is the true Mg II mass: three labels in four come from that line, and it is the most reliable one.
    Quasars are drawn with replacement. Those of line width w have the weight p(w)^-0.5, where p is how often the width
    occurs: otherwise a network learns the typical width too well and predicts it whenever a spectrum is noisy.

    Parameters
    ----------
    library : Library
    pixels : int
        Of the network's input.
    size : int
        How many quasars to draw.
    hidden : float, optional
        Fraction of spectra of which ends are hidden; by default that of `SimulatedSource`.
    """
    import numpy as np

    from quasar_mass.network.augmentation import SimulatedSource
    from quasar_mass.simulation.library import COLUMNS

    truth = dict(zip(COLUMNS, library.truth.T, strict=True))
    counts, edges = np.histogram(truth["log_FWHM_MgII"], bins=40)
    occurs = np.maximum(counts[np.clip(np.digitize(truth["log_FWHM_MgII"], edges) - 1, 0, 39)], 0.02 * counts.max())
    weight = occurs**-0.5
    rng = np.random.default_rng(LIBRARY_SEED)
    rows = np.sort(rng.choice(len(weight), size, p=weight / weight.sum()))
    more = {} if hidden is None else {"hidden": hidden}
    arrays = library.flux[rows], library.sigma[rows], truth["LMBH_MgII"][rows]
    return SimulatedSource(*arrays, pixels, library.group, **more)


def train(options) -> None:
    """Train the models of all seeds, keep the best on validation, and compare it with baselines."""
    from quasar_mass.core.errors import SurveyError
    from quasar_mass.core.parallel import ordered_map
    from quasar_mass.predict.calibrate import calibrate_file
    from quasar_mass.report import accuracy
    from quasar_mass.simulation.library import library
    from quasar_mass.tables import survey_tables

    survey, work, models = options.survey, Path(options.work), Path(options.models)
    if len(set(options.seeds)) < len(options.seeds):
        raise SurveyError("--seeds", f"has a seed twice ({' '.join(map(str, options.seeds))}); name each once")
    require_tables(survey)
    if survey.kind != "simulated":
        raise SurveyError(
            survey.folder,
            "is no simulated survey, and pre-training needs the population that the simulation draws from; train on "
            "real SDSS data with: make train SURVEY=data",
        )
    group = architecture.pixels_per_average(survey_tables.read_grid(survey_tables.read_about(survey.spectra)).step)
    how = {"jobs": os.cpu_count() or 1, "quiet": options.quiet}
    library(work / "library", size=options.library, seed=LIBRARY_SEED, group=group, **how)
    epochs = (options.pretraining_epochs, options.final_epochs)
    tasks = [(survey, work, seed, options.library, epochs, options.quiet) for seed in options.seeds]
    # Trainings side by side share the cores: too many threads would wait for one another.
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    trained = list(ordered_map(train_seed, tasks, options.jobs))
    best = min(trained, key=lambda training: training["validation"]["final"]["rmse_by_object"])["seed"]
    for training in trained:
        first, last = (training["validation"][name]["rmse_by_object"] for name in LEARNING_RATES)
        scores = f"{first:.4f} dex after stage one, {last:.4f} after stage two"
        print(f"seed {training['seed']}: validation RMSE by object {scores}")
    for name in MODELS.values():
        with locked_write(models / name) as temporary:
            shutil.copyfile(work / f"seed-{best}" / name, temporary)
    for name in MODELS.values():
        calibrate_file([models / name], survey, fresh=options.fresh, quiet=options.quiet)
    print(f"seed {best} is the best on validation: {models}")
    finals = {seed: work / f"seed-{seed}" / MODELS["final"] for seed in options.seeds}
    text, summary = accuracy.compare_networks(survey, finals, best, work / f"seed-{best}" / MODELS["intermediate"])
    results = Path(options.results)
    write_text(results / "accuracy.md", text + "\n")
    write_text(results / "accuracy.json", json.dumps(summary | {"seeds": trained}, indent=1))
    print(text)


def published(options) -> None:
    """Train the published recipe on a survey, and print its test scores."""
    require_tables(options.survey)
    from quasar_mass.core import evaluation
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.report import comparison
    from quasar_mass.tables import dataset

    data = dataset.load(options.survey)
    ann = EasyAI(architecture.published_layers(data.grid.step), input_shape=(data.grid.size, 1), seed=SEEDS[0])
    ann.train(
        data.part("training"),
        data.part("validation"),
        stages=architecture.PUBLISHED_STAGES,
        checkpoints=Path(options.work) / "checkpoints",
        quiet=options.quiet,
    )
    ann.save(Path(options.work) / "published.h5", about=dataset.describe(data.about, data.quasars, data.spectra))
    spectra, label = data.part("test")
    rows = data.spectra.loc[label.index].assign(PREDICTED=ann.predict(spectra)).reset_index()
    scores = comparison.readable(evaluation.score_table(rows)).to_string(float_format="{:.4f}".format, na_rep="-")
    masses = comparison.known_masses(comparison.add_truth(rows, options.survey)) | comparison.labels_by_line(rows)
    table = comparison.compare({"published recipe": rows["PREDICTED"].to_numpy()}, rows["OBJECT"].to_numpy(), masses)
    text = f"{scores}\n\n{comparison.markdown(table)}"
    write_text(Path(options.results) / "published.txt", f"{ann.history.to_string()}\n\n{text}\n")
    print(f"the published recipe, survey {options.survey.folder} ({data.kind}), test objects\n{text}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    top, add = common.parser(__doc__.splitlines()[0], "python -m quasar_mass.cli.best_models")
    verb = add(train, example="--survey data/simulated-full", interrupted=common.GOES_ON)
    _add_folders(verb)
    add_fresh(verb)
    verb.add_argument("--models", default="models/Best_models", metavar="DIR", help="where the two best models go")
    verb.add_argument("--seeds", type=common.seed, nargs="+", default=SEEDS, metavar="S", help="one training each")
    verb.add_argument("--library", type=common.positive, default=LIBRARY, metavar="N", help="quasars to pre-train on")
    verb.add_argument("--pretraining-epochs", type=common.positive, default=PRETRAINING_EPOCHS, metavar="N")
    verb.add_argument("--final-epochs", type=common.positive, default=FINAL_EPOCHS, metavar="N")
    verb.add_argument("--jobs", type=common.positive, default=len(SEEDS), metavar="N", help="seeds at a time (all)")

    _add_folders(add(published, example="--survey data/simulated-published", interrupted=common.GOES_ON))

    return common.run(top, arguments)


def _add_folders(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--work", default="models/checkpoints/best", metavar="DIR", help="checkpoints of all seeds")
    verb.add_argument("--results", default="results/best-models", metavar="DIR", help="where the tables go")


if __name__ == "__main__":
    sys.exit(main())
