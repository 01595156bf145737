#!/usr/bin/env python3
"""Analyse quasars: evaluate a trained network on a survey's test objects, or predict masses of spectra.

From a shell, `python quasar_analysis.py VERB --help`; the notebook calls `results`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quasar_mass import cli

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from quasar_mass.easyai import EasyAI


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
        RMSE, robust scatter, bias and R2 in all groups (`evaluation.results`).
    """
    from quasar_mass.errors import TableError
    from quasar_mass.evaluation import results as score

    if y.empty:
        raise TableError("the survey", expected="test objects", got="none", do="use a survey of at least 10 objects")
    predictions = spectra.loc[y.index].assign(PREDICTED=model.predict(X)).reset_index()
    return predictions, score(predictions)


def evaluate(options) -> None:
    """Score a model on the test objects of a survey."""
    import json

    from quasar_mass import prediction
    from quasar_mass.dataset import load

    # the cheap checks come before TensorFlow
    model_path = Path(options.model or prediction.default_model())
    data = load(options.survey)
    model = _load_model(model_path)
    prediction.check_fit(model, data.about, options.survey.spectra)
    _, scores = results(model, *data.part("test"), data.spectra)
    kind = prediction.model_kind(model)
    if options.json:
        rows = [
            {"group": group, "which": which} | {key: None if value != value else value for key, value in row.items()}
            for (group, which), row in zip(scores.index, scores.to_dict("records"), strict=True)
        ]
        summary = {"survey": str(options.survey.folder), "survey_kind": data.kind, "model": str(model_path)}
        print(json.dumps(summary | {"model_kind": kind, "split": "test", "results": rows}, indent=1))
        return
    print(f"model {model_path} (trained on {kind} spectra)")
    print(f"survey {options.survey.folder} ({data.kind}), test objects; residual = prediction - label, dex\n")
    print(scores.drop(columns="label_sd").to_string(float_format=lambda value: f"{value:.4f}", na_rep="-"))
    print(f"\n{prediction.caution(model, data.kind)}")


def _load_model(path: Path) -> "EasyAI":
    from quasar_mass.errors import ModelError

    if not path.is_file():
        raise ModelError(
            path, expected="a trained model", got="no such file", do="run: make run, or name one with --model"
        )
    from quasar_mass.easyai import EasyAI

    return EasyAI.load(path)


def predict(options) -> None:
    """Predict the masses of spec files, or of all spectra of a survey."""
    from quasar_mass import prediction, table_files

    output = table_files.check_output(options.output) if options.output else None
    files = prediction.expand(options.files)
    model_path = Path(options.model or prediction.default_model())
    model = _load_model(model_path)
    if files:
        table = prediction.predict_files(files, model, quiet=options.quiet)
        refused = table[table["LMBH"].isna()]
        kinds = " and ".join(sorted(set(table["SURVEY_KIND"]) - {""}))
    else:
        table = prediction.predict_survey(options.survey, model, quiet=options.quiet)
        refused, kinds = table.iloc[:0], options.survey.kind
    n_spectra = len(table) - len(refused)
    if options.per_object:
        table = prediction.per_object(table)
    about = {"model": model_path.name, "modkind": prediction.model_kind(model), "survkind": kinds}
    if output:
        prediction.write(table, output, about)
        print(f"{len(table):,} rows in {output}: masses from {n_spectra:,} spectra, {len(refused):,} without one")
    else:
        shown = table.head(50).drop(columns=[name for name in ("SURVEY_KIND", "MODEL_KIND") if name in table])
        print(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
        if len(table) > len(shown):
            print(f"... {len(table) - len(shown):,} more rows; --output FILE keeps them all")
    if len(refused) and not output:
        print(f"{len(refused):,} of {len(files):,} files got no mass; REASON says why", file=sys.stderr)
    for kind in kinds.split(" and "):
        print(prediction.caution(model, kind))


def export(options) -> None:
    """Write a model in another format, which must predict the same masses."""
    from quasar_mass import export as exporting
    from quasar_mass import prediction

    output = exporting.check_output(options.output)
    model_path = Path(options.model or prediction.default_model())
    difference = exporting.export(_load_model(model_path), output)
    if not options.quiet:
        print(
            f"{output}: predicts what {model_path} does, to {difference:.1g} dex "
            f"({exporting.N_SPECTRA} made-up spectra compared)"
        )


def virial(options) -> None:
    """Measure lines and virial masses of spec files in the classical way."""
    from quasar_mass import prediction, table_files
    from quasar_mass.virial import files as virial_files

    output = table_files.check_output(options.output) if options.output else None
    table = virial_files.measure_files(prediction.expand(options.files), quiet=options.quiet)
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    top, add = cli.parser(__doc__.splitlines()[0])
    me = "python quasar_analysis.py"

    verb = add("evaluate", evaluate, help="score a model on a survey's test objects", example=f"{me} evaluate --json")
    verb.add_argument("--model", metavar="FILE", help="a .h5 (default: the shipped one, else the demonstration's)")
    verb.add_argument("--json", action="store_true", help="for machines")

    verb = add(
        "predict",
        predict,
        help="predict masses of spec files, of all files in a folder, or of a survey",
        example=f"{me} predict spec-7666-57339-0121.fits --output masses.fits",
    )
    verb.add_argument(
        "files", nargs="*", metavar="FILES", help="spec files or folders; without any, the survey's spectra"
    )
    verb.add_argument("--model", metavar="FILE", help="a .h5 (default: the shipped one, else the demonstration's)")
    verb.add_argument("--output", metavar="FILE", help="table to write: .parquet, .fits, .ecsv or .csv")
    verb.add_argument("--per-object", action="store_true", help="one mass per object: the mean over its spectra")

    verb = add(
        "export",
        export,
        help="write a model as .keras or ONNX, after checking that it predicts the same",
        example=f"{me} export --output quasar_mass.onnx",
    )
    verb.add_argument("--model", metavar="FILE", help="a .h5 (default: the shipped one, else the demonstration's)")
    verb.add_argument("--output", metavar="FILE", required=True, help="model to write: .keras or .onnx")

    verb = add(
        "virial",
        virial,
        help="measure line widths, luminosities and virial masses of spec files by fitting their lines, no network",
        example=f"{me} virial spec-7666-57339-0121.fits --output virial.fits",
    )
    verb.add_argument("files", nargs="+", metavar="FILES", help="spec files or folders; each at its own redshift")
    verb.add_argument("--output", metavar="FILE", help="table to write: .parquet, .fits, .ecsv or .csv")
    return cli.run(top, arguments)


if __name__ == "__main__":
    sys.exit(main())
