"""The two commands: help, exit statuses, failures of one sentence, and advice that can be typed as it is printed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from killing import hearing

from quasar_mass import __main__, __version__
from quasar_mass.cli import common, get_chen_data, quasar_analysis
from quasar_mass.core.survey import REAL_FOLDER
from quasar_mass.predict.inputs import default_model

HOME = Path(__file__).resolve().parent.parent.parent
MAIN = {"get_Chen_data.py": get_chen_data.main, "quasar_analysis.py": quasar_analysis.main}
VERBS = {script: verbs for script, (*_, verbs) in zip(MAIN, __main__.COMMANDS.values(), strict=True)}
EVERY = [(script, verb) for script, verbs in VERBS.items() for verb in verbs]
WITHOUT_SURVEY = ("export",)


def shell(*arguments, python=()):
    """Run a script from the repository's folder, as a person does."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    command = [sys.executable, *python, *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=HOME,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def status_of(script, *arguments) -> int:
    """The exit status of a command that may end in argparse."""
    try:
        return MAIN[script](list(map(str, arguments)))
    except SystemExit as ended:
        return ended.code


@pytest.fixture
def failure(capsys):
    """Run a command that fails; the one sentence that it prints."""

    def run(script, *arguments) -> str:
        capsys.readouterr()
        assert status_of(script, *arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.endswith(".\n")
        assert printed.err.count("\n") == 1
        assert not re.search(r"[a-z](Error|Exception)\b", printed.err)  # no names of Python's classes
        return printed.err

    return run


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "verb"), EVERY)
def test_help_of_a_verb_has_an_example_and_the_common_options(capsys, script, verb):
    assert status_of(script, verb, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python {script} {verb}")
    assert f"example: python {script} {verb}" in text
    assert "--quiet" in text
    assert ("--survey DIR" in text) == (verb not in WITHOUT_SURVEY)


def test_an_installed_command_calls_itself_by_its_own_name(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/get-chen-data"])
    assert status_of("get_Chen_data.py", "build", "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: get-chen-data build")
    assert "example: get-chen-data build --jobs 4" in text
    assert status_of("quasar_analysis.py", "evaluate", "--survey", tmp_path) == 1
    advice = capsys.readouterr().err
    assert f"run: get-chen-data simulate --survey {tmp_path}" in advice
    assert ".py" not in advice


def test_versions_and_the_list_of_commands(capsys):
    for script in MAIN:
        assert status_of(script, "--version") == 0
    assert __main__.main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["quasar-mass-ml", __version__] * 3
    assert __main__.main([]) == 0
    text = capsys.readouterr().out
    assert all(word in text for script, verb in EVERY for word in (script, verb))


def test_help_from_a_shell_imports_nothing_heavy():
    done = shell("quasar_analysis.py", "predict", "--help", python=("-X", "importtime"))
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "quasar_mass" in imported
    assert not imported & {"tensorflow", "keras", "astropy", "pandas", "numpy", "pyarrow", "tqdm"}


def test_without_a_verb_the_verbs_are_listed(capsys):
    for script, verbs in VERBS.items():
        assert status_of(script) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert all(re.search(rf"^ +{verb}\b", printed.err, re.MULTILINE) for verb in verbs)


# --- wrong usage and failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("get_Chen_data.py", "nonsense"),
        ("get_Chen_data.py", "build", "--jobs", "0"),
        ("get_Chen_data.py", "build", "--step", "small"),
        ("get_Chen_data.py", "simulate", "--objects", "-5"),
        ("get_Chen_data.py", "fetch", "everything"),
        ("get_Chen_data.py", "fetch", "all", "--jobs", "100"),
        ("get_Chen_data.py", "fetch", "all", "--mirror", "ftp://mirror.example"),
        ("get_Chen_data.py", "fetch", "all", "--mirror", "https://mirror.example/with/path"),
        ("get_Chen_data.py", "convert"),
        ("quasar_analysis.py", "evaluate", "--nonsense"),
        ("quasar_analysis.py", "evaluate", "--confidence", "90"),
        ("quasar_analysis.py", "predict", "--scheduler", "no port"),
        ("quasar_analysis.py", "export", "--survey", "data", "--output", "model.keras"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_the_usage(capsys, arguments):
    assert status_of(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: " in printed.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("get_Chen_data.py", "build", "--survey", "{here}/nowhere"), "apjsab41fet1_mrt.txt"),
        (("get_Chen_data.py", "build", "--survey", "{here}", "--step", "1"), "grid step"),
        (("get_Chen_data.py", "fetch", "spectra", "--survey", "{here}/real"), "apjsab41fet1_mrt.txt"),
        (("get_Chen_data.py", "convert", "{here}/none.parquet", "--survey", "{here}"), "none.parquet"),
        (("get_Chen_data.py", "convert", "{here}/text.parquet", "--survey", "{here}"), "text.parquet"),
        (("get_Chen_data.py", "simulate", "--survey", str(REAL_FOLDER)), str(REAL_FOLDER)),
        (("quasar_analysis.py", "evaluate", "--survey", "{here}/nowhere"), "holds no survey yet"),
        (("quasar_analysis.py", "predict", "--survey", "{here}"), "holds no survey yet"),
        (("quasar_analysis.py", "calibrate", "--survey", "{here}", "--model", "none.h5"), "holds no survey yet"),
        (("quasar_analysis.py", "explain", "--survey", "{here}"), "holds no survey yet"),
        (("quasar_analysis.py", "report", "--survey", "{here}"), "holds no survey yet"),
        (("quasar_analysis.py", "export", "--model", "none.h5", "--output", "{here}/model.keras"), "none.h5"),
        (("quasar_analysis.py", "export", "--output", "{here}/nofolder/model.keras"), "there is no folder"),
    ],
)
def test_a_failure_is_one_sentence_and_status_1(tmp_path, failure, arguments, word):
    (tmp_path / "text.parquet").write_text("no table\n" * 100)
    assert word in failure(*(argument.format(here=tmp_path) for argument in arguments))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are any bytes on Linux alone")
def test_a_name_that_is_not_utf_8_is_one_sentence(tmp_path, failure):
    text = failure("quasar_analysis.py", "predict", os.fsdecode(os.fsencode(tmp_path) + b"/\xff.fits"))
    assert "\\udcff" in text


def test_a_pipe_is_said_to_be_one(tmp_path, failure):
    for name in ("spec-1-2-3.fits", "pipe.fits"):
        os.mkfifo(tmp_path / name)
        assert "a pipe or a device" in failure("quasar_analysis.py", "virial", tmp_path / name)


@pytest.mark.parametrize("verb", ["predict", "virial"])
def test_tables_on_a_terminal_are_narrow_and_count_the_reasons(tmp_path, capsys, make, verb):
    folder = tmp_path / ("a folder with a long name" * 6)
    make.spec(folder / "spec-4000-56000-0001.fits")
    make.spec(folder / "spec-4000-56000-0002.fits", spectrum=(4000, 56000, 2), z=9.0)
    (folder / "broken.fits").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("notes")
    assert status_of("quasar_analysis.py", verb, folder) == 0
    printed = capsys.readouterr()
    table = [line for line in printed.out.splitlines() if ".fits" in line]
    assert [name in line for name, line in zip(("broken", "0001", "0002"), table, strict=True)] == [True] * 3
    assert max(map(len, printed.out.splitlines()[:-3])) <= 160
    assert " unreadable file: cannot be read as a spectrum" in table[0]
    assert "note: skipped 1 file that is not .fits, .fit or .npz\n" in printed.err
    assert "2 of 3 " in printed.err
    assert "unreadable file: 1" in printed.err
    single = "quasar_analysis.py virial can measure single lines"
    assert (single in printed.err) == (verb == "predict")


@pytest.mark.parametrize("verb", ["predict", "virial"])
def test_flags_and_reasons_are_printed_whole(tmp_path, capsys, make, verb):
    for name, factor in (("spec-4000-56000-0001.fits", 1e9), ("new\nline.fits", 1.0)):
        flux = factor * make.smooth_flux(make.first_pixel + np.arange(make.n_pixels))
        ivar = np.full(make.n_pixels, 4.0 / factor**2)
        make.spec(tmp_path / "in" / name, flux=flux, ivar=ivar, extinction=None)
    (tmp_path / "in" / "broken.fits").write_bytes(b"nothing")
    assert status_of("quasar_analysis.py", verb, tmp_path / "in", "--quiet") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert status_of("quasar_analysis.py", verb, tmp_path / "in", "--quiet", "--output", tmp_path / "t.csv") == 0
    table = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert (table["FLAGS"].str.len() > 60).any()
    for words in (*table["FLAGS"], *table["REASON"]):
        assert words in printed


@pytest.mark.parametrize(("confidence", "percent"), [("0.29", "29%"), ("0.9", "90%"), ("0.999", "99.9%")])
def test_what_is_printed_counts_one_and_does_not_round_the_confidence_up(tmp_path, capsys, make, confidence, percent):
    spectrum, output = make.spec(tmp_path / "spec-4000-56000-0001.fits"), tmp_path / "t.csv"
    options = ("--quiet", "--confidence", confidence, "--output", output)
    assert status_of("quasar_analysis.py", "predict", spectrum, *options) == 0
    printed = capsys.readouterr().out
    assert f"1 row in {output}: masses of 1 spectrum, 0 without one\n" in printed
    assert f"with {percent} probability" in printed


def test_spectra_behind_model_are_spectra(tmp_path, make, capsys):
    spectrum = make.spec(tmp_path / "spec-4000-56000-0001.fits")
    assert status_of("quasar_analysis.py", "predict", "--model", default_model(), spectrum) == 0
    assert spectrum.name in capsys.readouterr().out
    assert status_of("quasar_analysis.py", "predict", "--model", "intermediate", "final", spectrum) == 0
    assert "LMBH_ENS_STD" in capsys.readouterr().out
    assert status_of("quasar_analysis.py", "predict", "--model", "mine", spectrum) == 1
    assert "mine: does not exist" in capsys.readouterr().err


def work(function, *arguments):
    """Run a verb that does what `function` does."""
    top, add = common.parser("test", "test")
    function.__name__, function.__doc__ = "work", "Work."
    verb = add(function, example="", survey=False, interrupted=common.GOES_ON)
    common.add_workers(verb, 2)
    return common.run(top, ["work", *arguments])


def test_memory_and_disk_that_run_out_are_one_sentence_that_says_what_to_do(capsys):
    def too_much(options):
        raise MemoryError("Unable to allocate 9. TiB")

    def full(options):
        with open("/dev/full", "w") as file:
            file.write("x")

    assert work(too_much) == 1
    assert "out of memory (Unable to allocate 9. TiB); use fewer --jobs, or end other" in capsys.readouterr().err
    if Path("/dev/full").exists():
        assert work(full) == 1
        assert capsys.readouterr().err == "error: cannot be read or written (No space left on device).\n"


@pytest.mark.parametrize(("number", "status", "word"), [("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C")])
def test_a_verb_that_is_stopped_says_whether_it_goes_on(capsys, number, status, word):
    def stopped(options):
        signal.raise_signal(getattr(signal, number))
        time.sleep(30)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    try:
        assert work(stopped) == status
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == f"error: stopped by {word}; the same command goes on from here.\n"


def test_stopped_verbs_promise_what_they_keep(capsys, monkeypatch, tiny_survey):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("quasar_mass.predict.inputs.gather", interrupt)
    assert status_of("quasar_analysis.py", "predict", "spec.fits") == 130
    assert capsys.readouterr().err == "error: stopped by Ctrl-C; nothing was written.\n"
    monkeypatch.setattr("quasar_mass.fetch.run.fetch", interrupt)
    assert status_of("get_Chen_data.py", "fetch", "all", "--survey", tiny_survey.folder) == 130
    assert capsys.readouterr().err == "error: stopped by Ctrl-C; the same command goes on from here.\n"


@pytest.mark.parametrize("moment", [0.0, pytest.param(0.3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_work_in_several_processes_ends_in_order(tmp_path, number, word, moment):
    """SIGTERM comes to one process, Ctrl-C to all: also while they start, none of them prints a traceback."""
    options = ("--survey", tmp_path, "--objects", "3000", "--jobs", "3")
    with subprocess.Popen(
        hearing("get_Chen_data.py", "simulate", *options),
        cwd=HOME,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not (tmp_path / "survey.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(moment)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.endswith(f"error: stopped by {word}; the same command goes on from here.\n")
    assert not any(word in said for word in ("Traceback", "leaked", "Warning"))


# --- status and what to type next -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_status_of_an_empty_folder_says_that_nothing_is_there_and_what_to_type(tmp_path, capsys, folder):
    survey = tmp_path / folder
    assert status_of("get_Chen_data.py", "status", "--survey", survey) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"survey {survey} (nothing there yet)" in printed.out
    assert printed.out.count("missing") == 5
    assert f"next: python get_Chen_data.py simulate --survey {survey}, or, for real SDSS data, " in printed.out
    assert f"python get_Chen_data.py fetch all --survey {survey}\n" in printed.out
    assert list(tmp_path.iterdir()) == []


def test_advice_repeats_the_survey_that_was_typed_and_leads_on(tiny_survey, capsys):
    """Type what `status` says until it is `evaluate`."""
    folder = tiny_survey.folder
    quasars = tiny_survey.quasars
    assert status_of("quasar_analysis.py", "evaluate", "--survey", folder) == 1
    assert f"has no tables yet; run: python get_Chen_data.py build --survey {folder}." in capsys.readouterr().err
    assert status_of("get_Chen_data.py", "build", "--survey", folder, "--step", "1e-3", "--quiet") == 0
    assert status_of("get_Chen_data.py", "status", "--survey", folder) == 0
    assert f"python quasar_analysis.py evaluate --survey {folder}\n" in capsys.readouterr().out
    tiny_survey.dr16q.unlink()
    quasars.unlink()
    assert status_of("get_Chen_data.py", "status", "--survey", folder) == 0
    assert f"next: python get_Chen_data.py convert --survey {folder} FILE, FILE being" in capsys.readouterr().out


def test_the_notebook_s_function_gives_the_tables_and_the_parts(tiny_survey):
    from get_Chen_data import get_Chen_data
    from quasar_mass.core.errors import SurveyError

    quasars, spectra, *parts = get_Chen_data("Create dataframes", tiny_survey.folder, step=1e-3, quiet=True)
    assert (len(quasars), len(spectra), len(parts)) == (12, 18, 6)
    assert sum(len(X) for X in parts[:3]) == sum(len(y) for y in parts[3:]) == 18
    assert spectra["flux"].iloc[0].shape == (371,)
    again = get_Chen_data("Load", tiny_survey.folder)
    assert again[0].equals(quasars)
    for creating in ("load", "download", ""):
        with pytest.raises(SurveyError):
            get_Chen_data(creating, tiny_survey.folder)


@pytest.mark.parametrize(("creating", "words"), [("Load", "run: {} simulate"), ("Create dataframes", "{} fetch")])
def test_the_notebook_s_function_names_the_survey_in_its_advice(tmp_path, creating, words):
    from get_Chen_data import get_Chen_data
    from quasar_mass.core.errors import QuasarMassError

    with pytest.raises(QuasarMassError) as raised:
        get_Chen_data(creating, tmp_path / "nothere", quiet=True)
    assert words.format("python get_Chen_data.py") in str(raised.value)
    assert f" --survey {tmp_path / 'nothere'}" in str(raised.value)
    assert str(raised.value) == f"{raised.value.where}: {raised.value.message}."


@pytest.mark.parametrize("arguments", [("simulate",), ("fetch", "catalogs"), ("status",), ("build",)])
def test_a_survey_that_is_a_file_is_said_to_be_one(tmp_path, failure, arguments):
    (tmp_path / "README.md").write_text("text")
    for folder in (tmp_path / "README.md", tmp_path / "README.md" / "survey"):
        text = failure("get_Chen_data.py", *arguments, "--survey", folder)
        assert (
            text == f"error: {tmp_path / 'README.md'}: is a file, and a survey is a folder; name the survey's folder.\n"
        )
