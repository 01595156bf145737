"""Analyse quasars: evaluate a trained network on a survey's test objects, or predict masses of spectra.

From a shell, `python quasar_analysis.py VERB --help`; the notebook calls `results`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quasar_mass.cli import common

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.predict.predictor import Predictor


def results(
    model: "EasyAI", X: "np.ndarray", y: "pd.Series", spectra: "pd.DataFrame"
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Predict one part of a survey and score it.

    Parameters
    ----------
    model : EasyAI
    X : ndarray of float32, shape (n, n_pixels, 1)
    y : Series, index (OBJECT, EPOCH)
        Labels; its index says which spectra these are.
    spectra : DataFrame, index (OBJECT, EPOCH)
        The survey's spectra.

    Returns
    -------
    predictions : DataFrame
        The rows of `spectra` and PREDICTED, log10(M_BH / M_Sun).
    scores : DataFrame
        RMSE, robust scatter, bias and R2 in all groups (`evaluation.score_table`).
    """
    from quasar_mass.core.evaluation import require_labels
    from quasar_mass.core.evaluation import score_table as score

    require_labels(y)
    predictions = spectra.loc[y.index].assign(PREDICTED=model.predict(X)).reset_index()
    return predictions, score(predictions)


def evaluate(options) -> None:
    """Score a model on the test objects of a survey."""
    import json

    from quasar_mass.predict import compatibility
    from quasar_mass.report import assessment
    from quasar_mass.tables.dataset import load

    # the cheap checks come before TensorFlow
    data = load(options.survey)
    paths = _models(options)
    quoter = _quoter(paths, options)
    compatibility.check_fit(quoter.ensemble.first, data.about, options.survey.spectra)
    found = assessment.assess(quoter, data, options.survey)
    name = ", ".join(map(str, paths))
    if options.json:
        summary = {"survey": str(options.survey.folder), "survey_kind": data.kind, "model": name}
        summary |= {"model_kind": quoter.kind, "split": "test", "results": assessment.records(found.scores)}
        summary |= {key: assessment.records(table) for key, table in assessment.more(found).items()}
        print(json.dumps(summary, indent=1))
        return
    print(f"model {name} (trained on {quoter.kind} spectra)")
    print(f"survey {options.survey.folder} ({data.kind}), test objects; residual = prediction - label, dex\n")
    print(found.scores.drop(columns="label_sd").to_string(float_format=lambda value: f"{value:.4f}", na_rep="-"))
    for key, table in assessment.more(found).items():
        print(f"\n{assessment.TITLES[key].format(confidence=quoter.confidence, kind=data.kind)}")
        print(table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="-"))
    if quoter.calibration is None:
        print(f"\nno intervals: {_CALIBRATE}")
    print(f"\n{compatibility.transfer_note(quoter.ensemble.first, data.kind)}")


_CALIBRATE = (
    "this model file carries no calibration; python -m quasar_mass.cli.best_models calibrate --model FILE adds it"
)


def _models(options) -> list[Path]:
    """The model files that were named, or the shipped one; ModelError for one that is not there."""
    from quasar_mass.core.errors import ModelError
    from quasar_mass.predict import compatibility

    paths = [Path(path) for path in options.model or [compatibility.default_model()]]
    for path in paths:
        if not path.is_file():
            raise ModelError(
                path, expected="a trained model", got="no such file", do="run: make run, or name one with --model"
            )
    return paths


def _quoter(paths: list[Path], options) -> "Predictor":
    from quasar_mass.predict.predictor import Predictor

    chosen = {name: getattr(options, name) for name in ("confidence", "line", "total") if hasattr(options, name)}
    return Predictor.load(paths, **chosen)


def predict(options) -> None:
    """Predict the masses of spec files, of a table's spectra, or of all spectra of a survey."""
    from quasar_mass.predict import inputs
    from quasar_mass.tables import formats

    output = formats.check_output(options.output) if options.output else None
    files, whole_tables = inputs.gather(options.files, options.survey)
    paths = _models(options)
    from quasar_mass.predict import compatibility, mass_table

    quoter = _quoter(paths, options)
    asked = {"per_object": options.per_object, "jobs": options.jobs, "quiet": options.quiet}
    if options.files:
        parts = [mass_table.predict_table(path, quoter, **asked) for path in whole_tables]
        parts += [mass_table.predict_files(files, quoter, **asked)] if files else []
        table = mass_table.concatenate(parts)
    else:
        table = mass_table.predict_survey(options.survey, quoter, **asked)
    refused = int(table["LMBH"].isna().sum())
    kinds = " and ".join(sorted(set(table["SURVEY_KIND"]) - {""}))
    about = {"model": ", ".join(path.name for path in paths), "modkind": quoter.kind, "survkind": kinds}
    about |= {"confid": quoter.confidence, "line": quoter.line}
    if output:
        mass_table.write(table, output, about)
        what = "objects" if options.per_object else "spectra"
        print(f"{len(table):,} rows in {output}: masses of {len(table) - refused:,} {what}, {refused:,} without one")
    else:
        shown = table.head(50).drop(columns=[name for name in ("SURVEY_KIND", "MODEL_KIND") if name in table])
        print(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
        if len(table) > len(shown):
            print(f"... {len(table) - len(shown):,} more rows; --output FILE keeps them all")
    if refused and not output:
        print(f"{refused:,} of {len(table):,} spectra got no mass; REASON says why", file=sys.stderr)
    if quoter.calibration is None:
        print(f"note: no intervals: {_CALIBRATE}")
    elif not options.total:
        print(
            f"note: intervals hold the single-epoch mass one would measure, with {quoter.confidence:.0%} probability; "
            "--total adds the virial method's own scatter"
        )
    for kind in kinds.split(" and "):
        print(compatibility.transfer_note(quoter.ensemble.first, kind))


def explain(options) -> None:
    """Show what a network looks at, and how its masses follow width and luminosity."""
    from quasar_mass.report import explain_files

    print(explain_files.explain(options, _models(options)))


def report(options) -> None:
    """Write one page about a model on a survey, with its figures."""
    from quasar_mass.report import report as reporting
    from quasar_mass.tables.dataset import load

    data = load(options.survey)
    folder = Path(options.output or f"results/{options.survey.folder.name}/report")
    page = reporting.write(_quoter(_models(options), options), data, options.survey, folder, quiet=options.quiet)
    print(f"{page} ({data.kind}); figures as PNG and PDF in {folder / 'figures'}")


def export(options) -> None:
    """Write a model in another format, which must predict the same masses."""
    from quasar_mass.network import export as exporting

    output = exporting.check_output(options.output)
    (model_path,) = _models(options)
    from quasar_mass.network.easyai import EasyAI

    difference = exporting.export(EasyAI.load(model_path), output)
    if not options.quiet:
        print(
            f"{output}: predicts what {model_path} does, to {difference:.1g} dex "
            f"({exporting.N_SPECTRA} made-up spectra compared)"
        )


def virial(options) -> None:
    """Measure lines and virial masses of spec files in the classical way."""
    from quasar_mass.predict.inputs import expand
    from quasar_mass.tables import formats
    from quasar_mass.virial import files as virial_files

    output = formats.check_output(options.output) if options.output else None
    table = virial_files.measure_files(expand(options.files), quiet=options.quiet)
    without = int(table["LMBH"].isna().sum())
    if output:
        virial_files.write(table, output)
        print(f"{len(table):,} rows in {output}: masses from {len(table) - without:,} spectra, {without:,} without one")
        return
    names = ["EPOCH", "Z", "SN", "LOG_L1350", "FWHM_CIV", "LMBH_CIV", "LOG_L3000", "FWHM_MgII", "LMBH_MgII"]
    shown = table.head(50)[[*names, "LMBH", "FLAGS", "REASON"]]
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    if len(table) > len(shown):
        print(f"... {len(table) - len(shown):,} more rows")
    print("errors, equivalent widths and shifts: --output FILE keeps them")
    if without:
        print(f"{without:,} of {len(table):,} files got no mass; REASON says why", file=sys.stderr)


def _add_models(verb) -> None:
    verb.add_argument(
        "--model",
        metavar="FILE",
        nargs="+",
        help="a .h5, or several, whose mean is taken (default: the shipped one, else the demonstration's)",
    )
    verb.add_argument(
        "--confidence", type=common.fraction, default=0.9, metavar="P", help="of the intervals (default: 0.9)"
    )
    verb.add_argument(
        "--line",
        choices=("any", "MgII", "CIV"),
        default="any",
        help="whose mass the intervals hold: of the line that a catalogue would give first, or of one (default: any)",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    top, add = common.parser(__doc__.splitlines()[0])
    me = "python quasar_analysis.py"

    verb = add("evaluate", evaluate, help="score a model on a survey's test objects", example=f"{me} evaluate --json")
    _add_models(verb)
    verb.add_argument("--json", action="store_true", help="for machines")

    verb = add(
        "predict",
        predict,
        help="predict masses, with intervals and flags, of spec files, of tables of spectra, or of a survey",
        example=f"{me} predict spec-7666-57339-0121.fits --output masses.fits",
    )
    verb.add_argument(
        "files",
        nargs="*",
        metavar="FILES",
        help="spec files, folders, names plate-mjd-fiber of the survey, lists of them (.txt), tables with redshifts "
        "(.parquet, .fits, .ecsv, .csv: Z and EPOCH, or plate, mjd, fiberid, or FILE), or a spectra.parquet, "
        "file or folder; without any, the survey's spectra",
    )
    _add_models(verb)
    verb.add_argument("--output", metavar="FILE", help="table to write: .parquet, .fits, .ecsv or .csv")
    verb.add_argument("--per-object", action="store_true", help="one mass per object, from all of its spectra")
    common.add_workers(verb)
    verb.add_argument(
        "--total", action="store_true", help="also intervals with the virial method's own scatter of 0.4 dex"
    )

    verb = add(
        "explain",
        explain,
        help="show what a network looks at, and how its masses follow line width and luminosity",
        example=f"{me} explain spec-7666-57339-0121.fits",
    )
    verb.add_argument(
        "files", nargs="*", metavar="FILES", help="as for predict; without any, test spectra of the survey"
    )
    verb.add_argument(
        "--model", metavar="FILE", nargs=1, help="a .h5 (default: the shipped one, else the demonstration's)"
    )
    verb.add_argument(
        "--spectra", type=common.positive, default=200, metavar="N", help="at most so many (default: 200)"
    )
    verb.add_argument("--output", metavar="DIR", default="results/explain", help="figures go here (results/explain)")
    verb.add_argument("--no-slopes", action="store_true", help="leave out the simulated quasars changed one by one")

    verb = add(
        "report",
        report,
        help="write one page about a model on a survey: accuracy, intervals, reasons, the worst spectra",
        example=f"{me} report --survey data/simulated",
    )
    _add_models(verb)
    verb.add_argument("--output", metavar="DIR", help="page and figures go here (default: results/<survey>/report)")

    verb = add(
        "export",
        export,
        help="write a model as .keras or ONNX, after checking that it predicts the same",
        example=f"{me} export --output quasar_mass.onnx",
    )
    verb.add_argument(
        "--model", metavar="FILE", nargs=1, help="a .h5 (default: the shipped one, else the demonstration's)"
    )
    verb.add_argument("--output", metavar="FILE", required=True, help="model to write: .keras or .onnx")

    verb = add(
        "virial",
        virial,
        help="measure line widths, luminosities and virial masses of spec files by fitting their lines, no network",
        example=f"{me} virial spec-7666-57339-0121.fits --output virial.fits",
    )
    verb.add_argument("files", nargs="+", metavar="FILES", help="spec files or folders; each at its own redshift")
    verb.add_argument("--output", metavar="FILE", help="table to write: .parquet, .fits, .ecsv or .csv")
    return common.run(top, arguments)
