"""The main job on a tiny survey, as a person does it: the notebook, and then the verbs of the two commands."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from quasar_mass.cli import get_chen_data, quasar_analysis
from quasar_mass.tables.schemas import REFERENCE_COLUMNS

HOME = Path(__file__).resolve().parents[2]
OBJECTS = 80
SHORT = {"INTERMEDIATE_EPOCHS": 1, "FINAL_EPOCHS": 1}


def run(script: str, *arguments: str | Path, status: int = 0) -> SimpleNamespace:
    """Run a command in this process, and check its exit status; what it printed."""
    main = {"get_Chen_data.py": get_chen_data.main, "quasar_analysis.py": quasar_analysis.main}[script]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        got = main([str(argument) for argument in arguments])
    assert got == status, out.getvalue() + err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def run_notebook(output: Path, parameters: dict) -> None:
    """Execute the notebook with one training epoch a stage."""
    command = [sys.executable, "-m", "quasar_mass.cli.notebook", "execute", "Quasar_mass_ML.ipynb", output]
    command += [f"{name}={value}" for name, value in (SHORT | parameters).items()]
    done = subprocess.run(list(map(str, command)), cwd=HOME, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main_job") / "survey"
    run("get_Chen_data.py", "simulate", "--survey", folder, "--objects", OBJECTS, "--quiet")
    run("get_Chen_data.py", "build", "--survey", folder, "--quiet")
    return folder


@pytest.fixture(scope="module")
def notebook(survey):
    """The notebook, executed with one training epoch a stage; its results and models beside the survey."""
    base = survey.parent
    parameters = {
        "SURVEY": survey,
        "RESULTS": base / "results",
        "MODELS": base / "models",
        "CHECKPOINTS": base / "checkpoints",
    }
    run_notebook(base / "executed.ipynb", parameters)
    return base


def test_notebook_runs_top_to_bottom_and_leaves_models_figures_and_summary(notebook):
    executed = nbformat.read(notebook / "executed.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == 7
    for name in ("Best_ANN_intermediate_stage.h5", "Best_ANN_final_stage.h5"):
        assert (notebook / "models" / name).stat().st_size < 10e6
    assert len(list((notebook / "results" / "figures").glob("*.png"))) == 7
    summary = json.loads((notebook / "results" / "summary.json").read_text())
    assert summary["kind"] == "simulated"
    assert np.isfinite(summary["test"]["rmse"])


@pytest.mark.slow
def test_notebook_runs_on_the_references_own_tables(survey, tmp_path):
    """As a reader does who downloads the published tables: convert both, then run the notebook at their grid step."""
    from quasar_mass.core.survey import Survey
    from quasar_mass.tables import dataset

    data = dataset.load(Survey(survey))
    step = 5e-5
    log_wavelength = np.arange(3.15999, 3.53002, step)
    wide = [np.interp(log_wavelength, data.grid.log_wavelength, row).astype(float) for row in data.flux]
    index = pd.MultiIndex.from_tuples([(name.encode(), epoch) for name, epoch in data.spectra.index])
    index.names = ["OBJECT", "EPOCH"]
    frame = pd.DataFrame(np.array(wide), index=index, columns=[str(value) for value in log_wavelength])
    frame.to_parquet(tmp_path / "spectra.parquet")
    quasars = data.quasars[list(REFERENCE_COLUMNS)].set_index(data.quasars.index.map(str.encode))
    quasars.to_parquet(tmp_path / "quasars.parquet")
    folder = tmp_path / "survey"
    for name in ("quasars", "spectra"):
        run("get_Chen_data.py", "convert", tmp_path / f"{name}.parquet", "--survey", folder, "--quiet")
    folders = {name.upper(): tmp_path / name for name in ("results", "models", "checkpoints")}
    run_notebook(tmp_path / "executed.ipynb", folders | {"SURVEY": folder, "CREATING": "Load"})
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["kind"] == "sdss"
    assert np.isfinite(summary["test"]["rmse"])


def test_evaluate_for_machines_agrees_with_the_notebook(notebook, survey):
    model = notebook / "models" / "Best_ANN_final_stage.h5"
    done = run("quasar_analysis.py", "evaluate", "--survey", survey, "--model", model, "--json")
    summary = json.loads(done.stdout)
    assert (summary["survey_kind"], summary["model_kind"]) == ("simulated", "simulated")
    assert "survey alone" in summary["model_recipe"]
    first = summary["results"][0]
    assert first["group"] == "per spectrum"
    of_notebook = json.loads((notebook / "results" / "summary.json").read_text())
    assert first["rmse"] == pytest.approx(of_notebook["test"]["rmse"], abs=1e-6)
    assert "RMSE" in (notebook / "results" / "summary.txt").read_text()


def test_predictions_of_a_survey_open_in_astropy(notebook, survey, tmp_path):
    model, output = notebook / "models" / "Best_ANN_final_stage.h5", tmp_path / "masses.fits"
    run("quasar_analysis.py", "predict", "--survey", survey, "--model", model, "--output", output, "--quiet")
    table = Table.read(output, unit_parse_strict="silent")
    spectra = pd.read_parquet(survey / "bigger_data" / "spectra.parquet", columns=["EPOCH"])
    assert [str(epoch).strip() for epoch in table["EPOCH"]] == spectra["EPOCH"].tolist()
    assert np.isfinite(np.asarray(table["LMBH"], dtype=float)).all()
    assert {str(kind).strip() for kind in table["SURVEY_KIND"]} == {"simulated"}


def test_a_file_and_its_row_of_the_table_get_the_same_mass(notebook, survey, tmp_path):
    model = notebook / "models" / "Best_ANN_final_stage.h5"
    run(
        "quasar_analysis.py", "predict", "--survey", survey, "--model", model, "--output", tmp_path / "t.csv", "--quiet"
    )
    row = pd.read_csv(tmp_path / "t.csv").iloc[3]
    plate = row["EPOCH"].split("-")[0]
    file = survey / "spectra" / plate / f"spec-{row['EPOCH']}.fits"
    run("quasar_analysis.py", "predict", file, "--model", model, "--output", tmp_path / "f.csv")
    assert pd.read_csv(tmp_path / "f.csv")["LMBH"][0] == pytest.approx(row["LMBH"], abs=1e-4)


def test_bad_files_get_a_reason_and_the_good_ones_their_mass(notebook, survey, tmp_path):
    good = sorted((survey / "spectra").rglob("spec-*.fits"))[:2]
    broken = tmp_path / "broken.fits"
    broken.write_bytes(good[0].read_bytes()[:100_000])
    model = notebook / "models" / "Best_ANN_final_stage.h5"
    output = tmp_path / "out.ecsv"
    run("quasar_analysis.py", "predict", *good, broken, tmp_path / "none.fits", "--model", model, "--output", output)
    table = Table.read(output)
    assert list(table["LMBH"].mask) == [False, False, True, True]
    assert ["unreadable" in str(table["REASON"][2]), "missing" in str(table["REASON"][3])] == [True, True]
    alone = run("quasar_analysis.py", "predict", broken, "--model", model, "--output", tmp_path / "no.csv", status=1)
    assert alone.stderr.startswith("error: ")
    assert not (tmp_path / "no.csv").exists()


@pytest.mark.skipif("QUASAR_MASS_REAL_DATA" not in os.environ, reason="QUASAR_MASS_REAL_DATA is not set")
def test_real_spectra_are_predicted_or_refused_with_a_reason(notebook, tmp_path):
    real = Path(os.environ["QUASAR_MASS_REAL_DATA"]) / "sdss"
    model = notebook / "models" / "Best_ANN_final_stage.h5"
    done = run("quasar_analysis.py", "predict", real, "--model", model, "--output", tmp_path / "real.csv", "--quiet")
    assert "SIMULATED" in done.stdout  # the model never saw real spectra, and says so
    table = pd.read_csv(tmp_path / "real.csv")
    assert len(table) == len(list(real.rglob("*.fits")))
    assert table["LMBH"].notna().sum() >= 3
    assert table.loc[table["LMBH"].isna(), "REASON"].str.contains("does not cover the window").all()


def test_committed_notebook_was_run_top_to_bottom_on_the_simulated_survey():
    book = nbformat.read(HOME / "Quasar_mass_ML.ipynb", as_version=4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert "parameters" in book.cells[1].metadata["tags"]


def test_a_calibrated_model_is_evaluated_with_intervals_and_pools_an_objects_spectra(notebook, survey, tmp_path):
    model = notebook / "models" / "Best_ANN_final_stage.h5"
    options = ("--survey", survey, "--model", model, "--confidence", "0.6")
    summary = json.loads(run("quasar_analysis.py", "evaluate", *options, "--json").stdout)
    everything = summary["coverage"][0]
    assert (everything["group"], everything["which"]) == ("all", "all")
    # the same from what `predict` gives: every object counts once
    run("quasar_analysis.py", "predict", *options, "--output", tmp_path / "spectra.parquet", "--quiet")
    quasars = pd.read_parquet(survey / "bigger_data" / "quasars.parquet")
    table = pd.read_parquet(tmp_path / "spectra.parquet")
    table = table[table["OBJECT"].isin(quasars.index[quasars["SPLIT"] == "test"])]
    inside = table["OBJECT"].map(quasars["LMBH"]).between(table["LMBH_LOW"], table["LMBH_HIGH"])
    assert everything["label"] == pytest.approx(inside.groupby(table["OBJECT"]).mean().mean(), abs=1e-6)
    width = (table["LMBH_HIGH"] - table["LMBH_LOW"]).groupby(table["OBJECT"]).mean().mean()
    assert everything["width"] == pytest.approx(width, abs=1e-6)
    run(
        "quasar_analysis.py", "predict", *options, "--per-object", "--total", "--output", tmp_path / "o.ecsv", "--quiet"
    )
    table = Table.read(tmp_path / "o.ecsv")
    assert (table["TOTAL_LOW"] < table["LMBH_LOW"]).all()
    assert table.meta["CONFID"] == "0.6"


def test_the_report_of_a_survey_loads_in_a_browser(notebook, survey, tmp_path):
    import browser

    if browser.executable() is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    model = notebook / "models" / "Best_ANN_final_stage.h5"
    run("quasar_analysis.py", "report", "--survey", survey, "--model", model, "--output", tmp_path, "--quiet")
    quasars = pd.read_parquet(survey / "bigger_data" / "quasars.parquet")
    spectra = pd.read_parquet(survey / "bigger_data" / "spectra.parquet", columns=["OBJECT"])
    tested = spectra["OBJECT"].isin(quasars.index[quasars["SPLIT"] == "test"])
    with browser.Browser(390, 844) as chromium:
        chromium.open(tmp_path / "report.html")
        assert chromium.run("points.length") == tested.sum()
        assert chromium.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert chromium.messages == chromium.requests == []
