"""Analyse quasars: predict the masses of spectra, and evaluate a trained network on a survey's test objects.

From a shell, `python quasar_analysis.py VERB --help`; the notebook calls `results`.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quasar_mass.cli import common
from quasar_mass.cli.status import require_tables
from quasar_mass.cli.terminal import count, print_rows
from quasar_mass.core.errors import FileError
from quasar_mass.core.survey import MODELS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from quasar_mass.network.easyai import EasyAI
    from quasar_mass.predict.predictor import Predictor
    from quasar_mass.spectra.read import SpectrumRequest

MODEL_ENDINGS = (".h5", ".hdf5", ".keras")
GIVEN = ("redshift", "redshifts", "ebv")  # options that count more than what files say
OF_FILES = "is for spectra in files; a survey's tables have redshifts and are corrected for extinction"
NO_CALIBRATION = "this model file has no calibration; quasar_analysis.py calibrate --model FILE adds it"


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
        RMSE, sigma_NMAD, bias and R2 in all groups (`evaluation.score_table`).
    """
    from quasar_mass.core import evaluation

    evaluation.require_labels(y)
    predictions = spectra.loc[y.index].assign(PREDICTED=model.predict(X)).reset_index()
    return predictions, evaluation.score_table(predictions)


def evaluate(options) -> None:
    """Score a model on a survey's test objects."""
    import json

    require_tables(options.survey)
    paths = _models(options)
    from quasar_mass.predict.compatibility import check_fit, transfer_note
    from quasar_mass.report import assessment
    from quasar_mass.tables import dataset

    data = dataset.load(options.survey)
    predictor = _predictor(paths, options)
    check_fit(predictor.ensemble.first, data.about, options.survey.spectra)
    result = assessment.assess(predictor, data, options.survey)
    if options.json:
        print(json.dumps(assessment.summary(result, predictor, data, options.survey, paths), indent=1))
        return
    print(assessment.text(result, predictor, data, options.survey, paths))
    if predictor.calibration is None:
        print(f"\nno intervals: {NO_CALIBRATION}")
    print(f"\n{transfer_note(predictor.ensemble.first, data.kind)}")


def predict(options) -> None:
    """Predict masses, with intervals and flags, of spectra in files of any kind, or of a survey."""
    # before NumPy is loaded: its own threads of linear algebra are not used here, and spin when they start
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from quasar_mass.tables import formats

    output = formats.check_output(options.output) if options.output else None
    _split_models(options)
    files, whole_tables = _gathered(options, output)
    paths = _models(options)
    from quasar_mass.predict import mass_table
    from quasar_mass.predict.compatibility import transfer_note

    predictor = _predictor(paths, options)
    how = {"per_object": options.per_object, "jobs": options.jobs, "quiet": options.quiet}
    if options.files:
        parts = [mass_table.predict_table(path, predictor, **how) for path in whole_tables]
        parts += [mass_table.predict_files(files, predictor, **how)] if files else []
        table = mass_table.concatenate(parts)
        if len(table) == 1:
            mass_table.check_usable(table, files[0].file if files else whole_tables[0])
    else:
        table = mass_table.predict_survey(options.survey, predictor, **how)
    without = int(table["LMBH"].isna().sum())
    kinds = " and ".join(sorted(set(table["SURVEY_KIND"]) - {""}))
    if output:
        about = {"model": ", ".join(path.name for path in paths), "modkind": predictor.kind, "survkind": kinds}
        mass_table.write(table, output, about | {"confid": predictor.confidence, "line": predictor.line})
        what = "objects" if options.per_object else "spectra"
        counts = f" ({mass_table.count_reasons(table)})" if 0 < without < len(table) else ""  # or `check_usable` says
        masses = f"masses of {count(len(table) - without, what)}, {without:,} without one"
        print(f"{count(len(table), 'rows')} in {output}: {masses}{counts}")
    else:
        what = "objects" if options.per_object else "spectra"
        print_rows(table.drop(columns=[name for name in ("SURVEY_KIND", "MODEL_KIND") if name in table]), what)
        if table["REASON"].str.startswith(mass_table.NOT_COVERED).any():
            print(f"note: {common.as_typed(mass_table.VIRIAL, '')}", file=sys.stderr)
    if predictor.calibration is None:
        print(f"note: no intervals: {NO_CALIBRATION}")
    elif not options.total:
        print(
            f"note: intervals hold the single-epoch mass one would measure, with {100 * predictor.confidence:g}% "
            "probability; --total adds the virial method's own scatter"
        )
    for kind in filter(None, kinds.split(" and ")):
        print(transfer_note(predictor.ensemble.first, kind))
    mass_table.check_usable(table, output or "the spectra")


def calibrate(options) -> None:
    """Put intervals, flags and pooling into a model file, from a survey's validation objects."""
    require_tables(options.survey)
    paths = _models(options)
    from quasar_mass.predict.calibrate import calibrate_file

    calibration = calibrate_file(paths, options.survey, fresh=options.fresh, quiet=options.quiet)
    counts = calibration.facts["validation_objects"]
    others = f" together with {len(paths) - 1} more" if len(paths) > 1 else ""
    print(f"{paths[0]}: calibrated{others} on {options.survey.folder} ({calibration.facts['kind']})")
    if not counts["fit"]:
        print("caution: too few validation objects to learn widths: intervals of all spectra are equally wide")
    print(f"validation objects: {counts['fit']:,} for the widths, {counts['calibrate']:,} for the intervals")
    for line, errors in calibration.facts["pooling_tried"].items():
        said = ", ".join(f"{method} {rmse:.3f}" for method, rmse in errors.items())
        print(f"pooling for masses of line {line!r}: {calibration.pooling.method(line)}; RMSE in dex: {said}")


def explain(options) -> None:
    """Show which parts of a spectrum change its mass, and how masses follow line width and luminosity."""
    files, whole_tables = _gathered(options)
    (path,) = _models(options)
    if not options.quiet:
        print(f"explaining the masses of {path} ...", file=sys.stderr, flush=True)
    from quasar_mass.report import explain_files

    how = {"number": options.spectra, "slopes": not options.no_slopes, "quiet": options.quiet}
    tables = whole_tables or ([] if files else [options.survey.spectra])
    print(explain_files.explain(files, tables, options.survey, path, Path(options.output), **how))


def report(options) -> None:
    """Write a page about a model on a survey: accuracy, intervals, attributions, every test spectrum."""
    require_tables(options.survey)
    paths = _models(options)
    from quasar_mass.report import report as reporting
    from quasar_mass.tables import dataset

    data = dataset.load(options.survey)
    folder = Path(options.output or f"results/{options.survey.folder.name}/report")
    page = reporting.write(_predictor(paths, options), data, options.survey, folder, quiet=options.quiet)
    print(f"{page} ({data.kind}): open it in a browser")


def virial(options) -> None:
    """Measure line widths, luminosities and virial masses of spectra by fitting lines, without a network."""
    from quasar_mass.predict.mass_table import check_usable, count_reasons
    from quasar_mass.tables import formats
    from quasar_mass.virial import files as virial_files

    output = formats.check_output(options.output) if options.output else None
    files, whole_tables = _gathered(options, output)
    if whole_tables:
        message = "holds spectra for the network, on its grid and without their errors; name the files of the spectra"
        raise FileError(whole_tables[0], message)
    table = virial_files.measure_files(files, quiet=options.quiet)
    if len(table) == 1:
        check_usable(table, files[0].file)
    without = int(table["LMBH"].isna().sum())
    if output:
        virial_files.write(table, output)
        counts = f" ({count_reasons(table)})" if 0 < without < len(table) else ""  # or `check_usable` says
        masses = f"masses from {count(len(table) - without, 'spectra')}, {without:,} without one"
        print(f"{count(len(table), 'rows')} in {output}: {masses}{counts}")
    else:
        which = "FILE" if table["FILE"].is_unique else "EPOCH"  # a DESI file holds many
        names = [which, "Z", "SN", "LOG_L1350", "FWHM_CIV", "LMBH_CIV", "LOG_L3000", "FWHM_MgII", "LMBH_MgII"]
        print_rows(table[[*names, "LMBH", "FLAGS", "REASON"]], "spectra")
        print("--output FILE also gives errors, equivalent widths and shifts")
    check_usable(table, output or "the spectra")


def export(options) -> None:
    """Write a model as .keras or ONNX, after checking that it predicts the same masses."""
    from quasar_mass.network import export as exporting

    output = exporting.check_output(options.output)
    (path,) = _models(options)
    from quasar_mass.network.easyai import EasyAI

    difference = exporting.export(EasyAI.load(path), output)
    print(
        f"{output}: predicts what {path} does, to {difference:.1g} dex ({exporting.N_SPECTRA} made-up spectra compared)"
    )


def _models(options) -> list[Path]:
    from quasar_mass.predict.inputs import model_files

    return model_files(options.model)


def _split_models(options) -> None:
    """Move what --model took from the spectra back to them: ``predict --model mine.h5 spec.fits``."""
    first, *others = options.model or [None]
    if first:
        options.model = [first, *(name for name in others if _is_model(name))]
        options.files += [name for name in others if not _is_model(name)]


def _is_model(name: str) -> bool:
    return name in MODELS or name.endswith(MODEL_ENDINGS)


def _gathered(options, output: Path | None = None) -> "tuple[list[SpectrumRequest], list[Path]]":
    """The spectra that were asked for, in files and in tables, after saying what was left out.

    An `output` that is among what is read is refused.
    """
    from quasar_mass.predict import inputs

    chosen = {name: getattr(options, name) for name in GIVEN if getattr(options, name) is not None}
    if not options.files:
        if chosen:
            raise common.UsageError(f"--{next(iter(chosen))}", OF_FILES)
        require_tables(options.survey)
    found = inputs.gather(options.files, options.survey, quiet=options.quiet, **chosen)
    if output:
        inputs.check_apart(output, [*options.files, *filter(None, [options.redshifts])], found, options.survey)
    files, tables, notes = found
    if chosen and tables:
        raise common.UsageError(f"--{next(iter(chosen))}", f"{OF_FILES}; {tables[0]} has its own")
    if not tables:
        inputs.check_exists(files)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    _say_skipped(options.files)
    return files, tables


def _say_skipped(arguments: list[str]) -> None:
    from quasar_mass.predict.inputs import count_skipped

    if skipped := count_skipped(arguments):
        files = "1 file that is" if skipped == 1 else f"{skipped:,} files that are"
        print(f"note: skipped {files} not .fits, .fit or .npz", file=sys.stderr)


def _predictor(paths: list[Path], options) -> "Predictor":
    from quasar_mass.predict.predictor import Predictor

    chosen = {name: getattr(options, name) for name in ("confidence", "line", "total") if hasattr(options, name)}
    return Predictor.load(paths, **chosen)


# --- the command line -------------------------------------------------------------------------------------------------
def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    top, add = common.parser(__doc__.splitlines()[0], common.command("quasar_analysis.py"))
    one_model = "a .h5 file, or final or intermediate, the shipped ones (default: final, else the demonstration's)"
    output = "table to write: .parquet, .fits, .vot, .ecsv or .csv"

    verb = add(evaluate, example="--json")
    _add_model_options(verb)
    verb.add_argument("--json", action="store_true", help="print JSON, for other programs")

    verb = add(predict, example="spec-7666-57339-0121.fits --output masses.fits")
    files = (
        "spectra (SDSS spec files, DESI coadd or spectra files, tables of one spectrum), folders of them, names "
        "plate-mjd-fiber of the survey, lists of these (.txt), tables with redshifts (.parquet, .fits, .ecsv, .csv: Z "
        "and EPOCH, or plate, mjd, fiberid, or FILE), or a spectra.parquet, file or folder; without any, the survey's "
        "spectra"
    )
    verb.add_argument("files", nargs="*", metavar="FILES", help=files)
    _add_redshift_options(verb)
    _add_model_options(verb)
    verb.add_argument("--output", metavar="FILE", help=output)
    verb.add_argument("--per-object", action="store_true", help="one mass per object, from all of its spectra")
    common.add_workers(verb)
    total = "also intervals that include the virial method's own scatter of 0.4 dex"
    verb.add_argument("--total", action="store_true", help=total)

    verb = add(calibrate, example="--survey data/simulated --model models/demo/Best_ANN_final_stage.h5")
    several = "a .h5 file, or several that are used together; the first of them gets the calibration for all"
    verb.add_argument("--model", nargs="+", required=True, metavar="FILE", help=several)
    add_fresh(verb)

    verb = add(explain, example="spec-7666-57339-0121.fits", interrupted=common.STARTS_AGAIN)
    files = "as for predict; without any, test spectra of the survey"
    verb.add_argument("files", nargs="*", metavar="FILES", help=files)
    _add_redshift_options(verb)
    verb.add_argument("--model", metavar="FILE", nargs=1, help=one_model)
    number = "largest number of spectra to explain (default: 200)"
    verb.add_argument("--spectra", type=common.positive, default=200, metavar="N", help=number)
    folder = "folder for the figures (default: results/explain)"
    verb.add_argument("--output", metavar="DIR", default="results/explain", help=folder)
    verb.add_argument("--no-slopes", action="store_true", help="leave out the simulated quasars changed one by one")

    verb = add(report, example="--survey data/simulated", interrupted=common.STARTS_AGAIN)
    _add_model_options(verb)
    folder = "folder for the page, report.html (default: results/<survey>/report)"
    verb.add_argument("--output", metavar="DIR", help=folder)

    verb = add(virial, example="spec-7666-57339-0121.fits --output virial.fits")
    verb.add_argument("files", nargs="+", metavar="FILES", help="as for predict, without a spectra.parquet")
    _add_redshift_options(verb)
    verb.add_argument("--output", metavar="FILE", help=output)

    verb = add(export, example="--output quasar_mass.onnx", survey=False)
    verb.add_argument("--model", metavar="FILE", nargs=1, help=one_model)
    verb.add_argument("--output", metavar="FILE", required=True, help="model to write: .keras or .onnx")
    return common.run(top, arguments)


def add_fresh(verb: argparse.ArgumentParser) -> None:
    """Add the option of calibrations: how many quasars are simulated."""
    number = "number of quasars simulated to learn how to pool the spectra of an object (default: 400)"
    verb.add_argument("--fresh", type=common.non_negative, default=400, metavar="N", help=number)


def _add_redshift_options(verb: argparse.ArgumentParser) -> None:
    """Add the options that count more than what the files say."""
    either = verb.add_mutually_exclusive_group()
    one = "redshift of the spectra, instead of their own"
    either.add_argument("--redshift", type=common.redshift, metavar="Z", help=one)
    table = (
        "table of redshifts, instead of the spectra's own (.fits, .csv, .ecsv, .vot, .parquet: Z and TARGETID, EPOCH, "
        "or plate, mjd, fiberid, or CATALOGID, or FILE); for DESI otherwise the redrock file beside the spectra"
    )
    either.add_argument("--redshifts", metavar="FILE", help=table)
    ebv = "E(B-V) of the spectra in magnitudes (Schlegel, Finkbeiner & Davis 1998), instead of their own"
    verb.add_argument("--ebv", type=common.ebv, metavar="E", help=ebv)


def _add_model_options(verb: argparse.ArgumentParser) -> None:
    models = (
        "a .h5 file, or several, whose mean is taken, or one of the shipped models: final (default; else the "
        "demonstration's) gives the mass that the Chen+ 2019 table would have, one in four from C IV; intermediate "
        "gives the mass from Mg II for every spectrum"
    )
    verb.add_argument("--model", metavar="FILE", nargs="+", help=models)
    confidence = "probability that an interval holds the mass (default: 0.9)"
    verb.add_argument("--confidence", type=common.fraction, default=0.9, metavar="P", help=confidence)
    line = "intervals for the mass from this line; any (default): from the line that a catalogue would use first"
    verb.add_argument("--line", choices=("any", "MgII", "CIV"), default="any", help=line)
