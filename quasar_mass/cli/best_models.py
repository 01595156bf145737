"""The shipped models, from nothing: pre-training on fresh simulated quasars, then the survey's own labels.

`make best-models` runs this. Stage one (Nadam, 1e-3) sees simulated quasars with new noise in every training epoch, and
their true Mg II masses as target; stage two (Nadam, 1e-5) sees the survey's training spectra, slightly varied, with its
labels, and as many fresh quasars with their true masses, lest it unlearn from noisy labels how mass follows width and
luminosity. Its training epoch and the seed are chosen on the survey's validation labels alone, and the test objects are
looked at once. Interrupted, the same command goes on from its checkpoints.
"""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quasar_mass.cli import common
from quasar_mass.core.files import locked_write, write_text
from quasar_mass.core.survey import Survey
from quasar_mass.network import architecture

if TYPE_CHECKING:
    from quasar_mass.network.augmentation import SimulatedSource
    from quasar_mass.simulation.library import Library

SEEDS = (42, 43, 44)
LIBRARY = 80_000  # simulated quasars of the library
LIBRARY_SEED = 1
PRETRAINING_EPOCHS = 4
FINAL_EPOCHS = 3
BATCH_SIZE = 128
FILES = {"intermediate": "Best_ANN_intermediate_stage.h5", "final": "Best_ANN_final_stage.h5"}
TARGETS = {
    "intermediate": "the true Mg II masses of simulated quasars that are in no survey, observed anew in every training "
    "epoch; narrow and wide lines are taken more often than they occur",
    "final": "the survey's labels, its training spectra varied in noise, calibration and gaps in every training epoch; "
    "and as many of stage one's quasars with their true masses",
}


def train(survey: Survey, work: Path, seed: int, library_size: int, epochs: tuple[int, int], quiet: bool) -> dict:
    """Train the two stages with one seed; write its two models, and give its validation scores.

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
    from quasar_mass.simulation.library import library
    from quasar_mass.tables import dataset

    data = dataset.load(survey)
    group = architecture.pixels_per_average(data.grid.step)
    fresh = library(work / "library", size=library_size, seed=LIBRARY_SEED, group=group, quiet=True)
    validation = data.part("validation")
    training = data.part("training")
    sources = {
        "intermediate": pretraining(fresh, data.grid.size, len(fresh.mass)),
        "final": ConcatSource([AugmentedSource(*training), pretraining(fresh, data.grid.size, len(training[0]))]),
    }
    described = dataset.describe(data.about, data.quasars, data.spectra)
    ann = EasyAI(architecture.layers(data.grid.step), input_shape=(data.grid.size, 1), seed=seed)
    found = {}
    for stage, training_epochs in zip(architecture.STAGES, epochs, strict=True):
        ann.train(
            sources[stage.name],
            validation,
            stages=[replace(stage, training_epochs=training_epochs)],
            checkpoints=work / "checkpoints",
            batch_size=BATCH_SIZE,
            choose=stage.name == "final",  # the validation labels are not what stage one learns
            quiet=quiet,
        )
        scores = ann.evaluate(validation)
        about = described | {
            "targets": {name: TARGETS[name] for name in list(TARGETS)[: len(found) + 1]},
            "pretrained_on": {"quasars": len(fresh.mass), "seed": LIBRARY_SEED, "uses_truth_of": "the simulation"},
            "metrics": {"validation": scores},
        }
        ann.save(work / f"seed-{seed}" / FILES[stage.name], about=about)
        found[stage.name] = scores
    return {"seed": seed, "validation": found}


def pretraining(library: "Library", pixels: int, size: int) -> "SimulatedSource":
    """Make a source of a library: all that stage one sees, and a part of what stage two does.

    Its target is the true Mg II mass, the line of three labels in four and of the fewest doubts. Quasars are drawn with
    replacement, those of a line width w with weight p(w)^-0.5, p being how often it occurs: a network that knows the
    typical width too well answers with it whenever a spectrum is noisy.

    Parameters
    ----------
    library : Library
    pixels : int
        Of the network's input.
    size : int
        How many quasars to draw.
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
    return SimulatedSource(library.light[rows], library.sigma[rows], truth["LMBH_MgII"][rows], pixels, library.group)


def run(options) -> None:
    """Train all seeds, ship the best on validation, and print how it compares."""
    from quasar_mass.core.errors import SurveyError
    from quasar_mass.core.parallel import ordered_map
    from quasar_mass.predict.calibrate import calibrate_file
    from quasar_mass.simulation.library import library
    from quasar_mass.tables import survey_tables

    survey, work, models = options.survey, Path(options.work), Path(options.models)
    if len(set(options.seeds)) < len(options.seeds):  # two trainings would write the same files
        raise SurveyError(
            "--seeds",
            expected="seeds that differ",
            got=" ".join(map(str, options.seeds)),
            do="name each once",
        )
    if not survey.folder.is_dir():
        raise SurveyError(
            survey.folder,
            expected="a simulated survey",
            got="no such folder",
            do=f'run: python get_Chen_data.py simulate --survey "{survey.folder}", and build',
        )
    if survey.kind != "simulated":
        raise SurveyError(
            survey.folder,
            expected="a simulated survey (the library simulates the same population)",
            got=f"kind {survey.kind}",
            do="train on the sky with: make train SURVEY=data",
        )
    group = architecture.pixels_per_average(survey_tables.read_grid(survey_tables.read_about(survey.spectra)).step)
    library(work / "library", size=options.library, seed=LIBRARY_SEED, group=group, jobs=os.cpu_count() or 1)
    epochs = (options.pretraining_epochs, options.final_epochs)
    tasks = [(survey, work, seed, options.library, epochs, options.quiet) for seed in options.seeds]
    # Seeds side by side do best with threads of their own: those of one training wait for one another on busy cores.
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    found = list(ordered_map(train, tasks, options.jobs))
    best = min(found, key=lambda one: one["validation"]["final"]["rmse"])
    for one in found:
        first, last = (one["validation"][name]["rmse"] for name in FILES)
        print(f"seed {one['seed']}: validation RMSE {first:.4f} dex after stage one, {last:.4f} after stage two")
    for name in FILES.values():
        with locked_write(models / name) as temporary:
            shutil.copyfile(work / f"seed-{best['seed']}" / name, temporary)
    calibrate_file([models / FILES["final"]], survey, fresh=options.fresh, quiet=options.quiet)
    print(f"seed {best['seed']} is the best on validation: {models}")
    text, summary = report(
        survey, {seed: work / f"seed-{seed}" / FILES["final"] for seed in options.seeds}, best["seed"]
    )
    results = Path(options.results)
    write_text(results / "accuracy.md", text + "\n")
    write_text(results / "accuracy.json", json.dumps(summary | {"seeds": found}, indent=1))
    print(text)


def calibrate(options) -> None:
    """Put intervals, flags and pooling into model files; whole or not at all."""
    from quasar_mass.predict.calibrate import calibrate_file

    paths = [Path(path) for path in options.model]
    found = calibrate_file(paths, options.survey, fresh=options.fresh, quiet=options.quiet)
    counts = found.facts["validation_objects"]
    others = f" together with {len(paths) - 1} more" if len(paths) > 1 else ""
    print(f"{paths[0]}: calibrated{others} on {options.survey.folder} ({found.facts['kind']})")
    print(f"validation objects: {counts['fit']:,} for the widths, {counts['calibrate']:,} for the intervals")
    for line, tried in found.facts["pooling_tried"].items():
        errors = ", ".join(f"{method} {rmse:.3f}" for method, rmse in tried.items())
        print(f"pooling for masses of line {line!r}: {found.pooling.method(line)}; RMSE in dex: {errors}")


def pooling(options) -> None:
    """Compare the ways to make one mass of many spectra, on fresh simulated quasars."""
    from quasar_mass.core.errors import ModelError
    from quasar_mass.predict.predictor import Predictor
    from quasar_mass.report import pooling_benchmark

    quoter = Predictor.load(options.model)
    if quoter.calibration is None:
        raise ModelError(
            options.model[0], expected="a calibrated model", got="none of that", do="run the verb calibrate first"
        )
    table = pooling_benchmark.measure(quoter, options.objects, quiet=options.quiet)
    print(f"{options.model[0]}: spectra of fresh quasars (simulated), pooled; RMSE in dex")
    print(table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="-"))


def published(options) -> None:
    """Train the published recipe on a survey and print its learning curve and test scores."""
    from quasar_mass.core import evaluation
    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.report import comparison
    from quasar_mass.tables import dataset

    data = dataset.load(options.survey)
    ann = EasyAI(architecture.published_layers(data.grid.step), input_shape=(data.grid.size, 1), seed=SEEDS[0])
    ann.train(
        data.part("training"),
        data.part("validation"),
        stages=architecture.STAGES,
        checkpoints=Path(options.work) / "checkpoints",
        quiet=options.quiet,
    )
    ann.save(Path(options.work) / "published.h5", about=dataset.describe(data.about, data.quasars, data.spectra))
    spectra, label = data.part("test")
    predictions = data.spectra.loc[label.index].assign(PREDICTED=ann.predict(spectra)).reset_index()
    text = evaluation.score_table(predictions).to_string(float_format=lambda value: f"{value:.4f}", na_rep="-")
    objects = predictions["OBJECT"].to_numpy()
    table = comparison.compare(
        {"published recipe": predictions["PREDICTED"].to_numpy()}, objects, _masses(options.survey, objects, label)
    )
    text += f"\n\n{comparison.markdown(table)}"
    results = Path(options.results)
    write_text(results / "published.txt", f"{ann.history.to_string()}\n\n{text}\n")
    print(f"the published recipe, survey {options.survey.folder} ({data.kind}), test objects\n{text}")


def report(survey: Survey, models: dict[int, Path], best: int) -> tuple[str, dict]:
    """Compare networks, baselines and the line fit on the survey's test objects.

    Parameters
    ----------
    survey : Survey
        Simulated: it has a truth.
    models : dict of int to path
        Each seed's final model.
    best : int
        The seed that is shipped.

    Returns
    -------
    text : str
        Markdown.
    summary : dict
        The same numbers.
    """
    import numpy as np
    import pandas as pd

    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.report import baselines, comparison
    from quasar_mass.tables import dataset

    data = dataset.load(survey)
    (train_x, train_y), (test_x, test_y) = data.part("training"), data.part("test")
    redshift = data.spectra["Z"]
    predictions = dict(
        baselines.predictions(
            (train_x, redshift[train_y.index].to_numpy(), train_y), (test_x, redshift[test_y.index].to_numpy())
        )
    )
    rows = test_y.index.to_frame(index=False)
    truth = pd.read_parquet(survey.truth).set_index("OBJECT").loc[rows["OBJECT"]]
    fitted = fit_masses(survey, rows["EPOCH"], data.spectra.loc[test_y.index])
    predictions["virial fit of the same spectrum"] = fitted
    for seed, path in models.items():
        name = f"network, seed {seed}" + (" (shipped)" if seed == best else "")
        predictions[name] = EasyAI.load(path).predict(test_x)
    objects = rows["OBJECT"].to_numpy()
    masses = _masses(survey, objects, test_y)
    predictions["the label itself"] = masses["label"]
    table = comparison.compare(predictions, objects, masses).drop(index=("the label itself", "label"))
    spread = table.loc[[(name, "label") for name in predictions if name.startswith("network")], "rmse"]
    shipped = predictions[f"network, seed {best} (shipped)"]
    slopes = comparison.responses(
        shipped,
        two_log_fwhm=2.0 * np.log10(truth["FWHM_MgII"].to_numpy()),
        log_luminosity=truth["log_L3000"].to_numpy(),
    )
    text = [
        comparison.markdown(table),
        "",
        f"Networks against the label, mean and standard deviation over {len(spread)} seeds: "
        f"{spread.mean():.4f} ± {spread.std(ddof=1) if len(spread) > 1 else 0.0:.4f} dex.",
        "Response of the shipped network's predictions, regression on both together: slope "
        f"{slopes['two_log_fwhm']:.2f} with 2 log FWHM (Mg II), {slopes['log_luminosity']:.2f} with log L3000.",
    ]
    flat = [
        dict(zip(table.index.names, key, strict=True)) | row
        for key, row in zip(table.index, table.to_dict("records"), strict=True)
    ]
    return "\n".join(text), {"survey": str(survey.folder), "kind": survey.kind, "table": flat, "responses": slopes}


def _masses(survey: Survey, objects, label) -> dict:
    """Give what predictions are compared with: the label and, in a simulation, the truth; each of shape (n,)."""
    import pandas as pd

    masses = {"label": label.to_numpy(float)}
    if survey.truth.exists():
        truth = pd.read_parquet(survey.truth).set_index("OBJECT").loc[objects]
        masses["truth behind the label"] = truth["LMBH"].to_numpy()
        masses["true Mg II mass"] = truth["LMBH_MgII"].to_numpy()
    return masses


def fit_masses(survey: Survey, epochs, spectra):
    """Masses of the virial fit on these spectra of a survey, NaN where it finds none; shape (n,)."""
    import numpy as np

    from quasar_mass import virial
    from quasar_mass.spectra.sdss import read_spectrum

    masses = []
    names, redshift = list(epochs), spectra["Z"].to_numpy()
    for start in range(0, len(names), 256):
        part = [read_spectrum(survey.spectrum(*map(int, name.split("-")))) for name in names[start : start + 256]]
        ebv = [one.ebv for one in part]
        masses.append(virial.measure(part, redshift[start : start + 256], ebv)["LMBH"].to_numpy(float))
    return np.concatenate(masses)


def _seed(text: str) -> int:
    """An argument that numpy, Keras and TensorFlow all take as a seed."""
    import argparse

    number = int(text) if text.isdecimal() else -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**32 - 1:,}, got {text!r}")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    top, add = common.parser(__doc__.splitlines()[0])
    verbs = [
        add("train", run, help="train and compare the shipped models", example="make best-models"),
        add("published", published, help="train the published recipe, for comparison", example="make published"),
    ]
    verb = add(
        "calibrate",
        calibrate,
        help="put intervals, flags and pooling into a model file, from a survey's validation objects",
        example="python -m quasar_mass.cli.best_models calibrate --survey data/simulated --model models/demo/FILE.h5",
    )
    verb.add_argument(
        "--model", nargs="+", required=True, metavar="FILE", help="a .h5; the first of several carries what is for all"
    )
    calibrating = [verb, verbs[0]]
    verb = add(
        "pooling",
        pooling,
        help="compare the ways to make one mass of many spectra, on fresh simulated quasars",
        example="python -m quasar_mass.cli.best_models pooling --model models/Best_models/Best_ANN_final_stage.h5",
    )
    verb.add_argument("--model", nargs="+", required=True, metavar="FILE", help="calibrated, or several")
    verb.add_argument("--objects", type=common.positive, default=150, metavar="N", help="of each kind (default: 150)")
    for verb in calibrating:
        verb.add_argument(
            "--fresh",
            type=common.non_negative,
            default=400,
            metavar="N",
            help="quasars simulated to learn pooling (400)",
        )
    for verb in verbs:
        verb.add_argument("--work", default="models/checkpoints/best", metavar="DIR", help="checkpoints, all seeds")
        verb.add_argument("--results", default="results/best-models", metavar="DIR", help="where the tables go")
    verb = verbs[0]
    verb.add_argument("--models", default="models/Best_models", metavar="DIR", help="where the two best models go")
    verb.add_argument("--seeds", type=_seed, nargs="+", default=SEEDS, metavar="S", help="one training each")
    verb.add_argument("--library", type=common.positive, default=LIBRARY, metavar="N", help="quasars to pre-train on")
    verb.add_argument("--pretraining-epochs", type=common.positive, default=PRETRAINING_EPOCHS, metavar="N")
    verb.add_argument("--final-epochs", type=common.positive, default=FINAL_EPOCHS, metavar="N")
    verb.add_argument("--jobs", type=common.positive, default=len(SEEDS), metavar="N", help="seeds at a time (all)")
    return common.run(top, arguments)


if __name__ == "__main__":
    sys.exit(main())
