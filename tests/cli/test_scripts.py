"""The two scripts from a shell: help, exit statuses, and errors of one line."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import hearing

import quasar_analysis
from quasar_mass.cli import common

HOME = Path(__file__).resolve().parent.parent.parent
VERBS = {
    "get_Chen_data.py": ("status", "simulate", "fetch", "build", "convert"),
    "quasar_analysis.py": ("evaluate", "predict", "explain", "report", "virial", "export"),
}
EVERY = [(script, verb) for script, verbs in VERBS.items() for verb in verbs]


def shell(*arguments, python=()):
    """Run a script from the repository's folder."""
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


@pytest.mark.parametrize(("script", "verb"), EVERY)
def test_help_shows_an_example_and_imports_nothing_heavy(script, verb):
    done = shell(script, verb, "--help", python=("-X", "importtime"))
    assert done.returncode == 0
    assert f"example: python {script} {verb}" in done.stdout
    assert "--survey DIR" in done.stdout
    assert "--quiet" in done.stdout
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "quasar_mass" in imported
    assert not imported & {"tensorflow", "keras", "astropy", "pandas", "numpy", "pyarrow", "tqdm"}


@pytest.mark.parametrize("script", VERBS)
def test_help_of_a_script_lists_its_verbs(script):
    done = shell(script, "--help")
    assert done.returncode == 0
    for verb in VERBS[script]:
        assert f"\n    {verb} " in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("get_Chen_data.py",),
        ("get_Chen_data.py", "nonsense"),
        ("get_Chen_data.py", "build", "--jobs", "0"),
        ("get_Chen_data.py", "build", "--step", "small"),
        ("get_Chen_data.py", "simulate", "--objects", "-5"),
        ("get_Chen_data.py", "fetch", "everything"),
        ("get_Chen_data.py", "fetch", "all", "--jobs", "100"),
        ("get_Chen_data.py", "fetch", "all", "--mirror", "ftp://mirror.example"),
        ("get_Chen_data.py", "fetch", "all", "--mirror", "https://mirror.example/with/path"),
        ("get_Chen_data.py", "convert"),
        ("quasar_analysis.py",),
        ("quasar_analysis.py", "evaluate", "--nonsense"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_the_usage(arguments):
    done = shell(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: " in done.stderr
    assert "Traceback" not in done.stderr


def assert_one_sentence(done, *words):
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("\n")
    for word in ("expected", "got", *words):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("get_Chen_data.py", "build", "--survey", "{here}/nowhere"), "apjsab41fet1_mrt.txt"),
        (("get_Chen_data.py", "build", "--survey", "{here}", "--step", "1"), "grid step"),
        (("get_Chen_data.py", "fetch", "spectra", "--survey", "{here}/sky"), "apjsab41fet1_mrt.txt"),
        (("get_Chen_data.py", "convert", "{here}/none.parquet", "--survey", "{here}"), "none.parquet"),
        (("get_Chen_data.py", "convert", "{here}/text.parquet", "--survey", "{here}"), "text.parquet"),
        (("get_Chen_data.py", "convert", "{here}", "--survey", "{here}"), "no such file"),
        (("quasar_analysis.py", "evaluate", "--survey", "{here}/nowhere"), "spectra.parquet"),
        (("quasar_analysis.py", "evaluate", "--survey", "{here}", "--model", "{here}/none.h5"), "spectra.parquet"),
        (("quasar_analysis.py", "predict", "{here}/none.fits", "--model", "{here}/none.h5"), "none"),
    ],
)
def test_failure_is_one_sentence_and_status_1(tmp_path, arguments, word):
    (tmp_path / "text.parquet").write_text("no table\n" * 100)
    assert_one_sentence(shell(*(argument.format(here=tmp_path) for argument in arguments)), word)


def test_damaged_card_is_one_sentence(tmp_path):
    (tmp_path / "survey.json").write_text("{")
    for verb in ("status", "build"):
        assert_one_sentence(shell("get_Chen_data.py", verb, "--survey", tmp_path), "survey.json")


def test_truncated_catalogue_is_one_sentence(tiny_survey):
    content = tiny_survey.dr16q.read_bytes()
    tiny_survey.dr16q.write_bytes(content[: len(content) // 2])
    assert_one_sentence(shell("get_Chen_data.py", "build", "--survey", tiny_survey.folder), "DR16Q_v4.fits")


def test_truncated_table_is_one_sentence_in_status(tiny_survey):
    for path in (tiny_survey.spectra, tiny_survey.quasars):
        path.write_bytes(b"PAR1 cut off")
    done = shell("get_Chen_data.py", "status", "--survey", tiny_survey.folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_status_of_an_empty_folder_says_what_is_missing_and_what_to_type(tmp_path, folder):
    done = shell("get_Chen_data.py", "status", "--survey", tmp_path / folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("missing") == 5
    assert "next: python get_Chen_data.py simulate" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_fetch_prints_addresses_and_touches_nothing(tmp_path):
    done = shell("get_Chen_data.py", "fetch", "all", "--dry-run", "--survey", tmp_path / "sky")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("https://") >= 3
    assert str(tmp_path / "sky") in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_build_from_a_shell_says_the_counts_and_status_knows_them(tiny_survey):
    before = shell("get_Chen_data.py", "status", "--survey", tiny_survey.folder)
    assert "next: python get_Chen_data.py build" in before.stdout
    next(tiny_survey.folder.glob("spectra/10003/*.fits")).unlink()
    done = shell(
        "get_Chen_data.py", "build", "--survey", tiny_survey.folder, "--step", "1e-3", "--jobs", "2", "--quiet"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "rejected, missing file: 1 spectra" in done.stdout
    assert "12 objects and 17 spectra (sdss)" in done.stdout
    after = shell("get_Chen_data.py", "status", "--survey", tiny_survey.folder)
    assert (after.returncode, after.stderr) == (0, "")
    assert "12 objects, 17 spectra on the grid" in after.stdout
    assert "evaluate" in after.stdout


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


def closed(arguments: str, *paths: object) -> subprocess.CompletedProcess:
    """Run a script in a shell that does more than to start it; `paths` are its $1, $2 ..."""
    command = ["sh", "-c", f'"{sys.executable}" {arguments}', "sh", *map(os.fsencode, map(str, paths))]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=60, check=False)


def test_closed_streams_are_no_failure_and_get_into_no_file(tiny_survey, tmp_path):
    done = closed('get_Chen_data.py status --survey "$1" <&- >&- 2>&-', tiny_survey.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    code = "import os, get_Chen_data as script; script.main(['status']); raise SystemExit(os.open(os.devnull, 0))"
    assert closed(f'-c "{code}" <&- >&- 2>&-').returncode > 2
    spectrum, *tables = (sorted(tiny_survey.folder.rglob("spec-*.fits"))[0], tmp_path / "1.csv", tmp_path / "2.csv")
    assert quasar_analysis.main(["predict", str(spectrum), "--output", str(tables[0])]) == 0
    # TensorFlow, and all that is imported, would write to streams 1 and 2, whatever they are
    done = closed('quasar_analysis.py predict "$1" --output "$2" <&- >&- 2>&-', spectrum, tables[1])
    assert done.returncode == 0, done
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_a_full_disk_behind_the_standard_output_is_one_sentence(tiny_survey):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    done = closed('get_Chen_data.py status --survey "$1" >/dev/full', tiny_survey.folder)
    assert_one_sentence(done, "No space left on device")


def test_a_reader_who_goes_away_is_no_failure(tiny_survey):
    done = closed('get_Chen_data.py status --survey "$1" | head -n 0', tiny_survey.folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_letters_that_the_terminal_lacks_are_escaped(tmp_path):
    folder = tmp_path / "\u30af\u30a8\u30fc\u30b5\u30fc"
    done = closed('get_Chen_data.py status --survey "$1"', folder)
    assert str(folder) in done.stdout
    environment = {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "get_Chen_data.py", "status", "--survey", folder]
    done = subprocess.run(
        command, cwd=HOME, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
    assert "\\u30af\\u30a8\\u30fc\\u30b5\\u30fc" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are any bytes on Linux alone")
def test_names_that_are_no_text(tiny_survey, tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.rename(os.fsencode(sorted(tiny_survey.folder.rglob("spec-*.fits"))[0].parent), folder)
    done = closed('quasar_analysis.py predict "$1" --output "$2"', os.fsdecode(folder), tmp_path / "masses.csv")
    assert_one_sentence(done, "\\udcff", "UTF-8")
    for ending in ("csv", "ecsv", "fits", "parquet"):  # found in a folder, they are read, and escaped in the table
        assert quasar_analysis.main(["predict", str(tmp_path), "--output", str(tmp_path / f"masses.{ending}")]) == 0
        assert b"\\udcff/spec-" in (tmp_path / f"masses.{ending}").read_bytes()


def test_a_pipe_is_said_to_be_one(tmp_path):
    os.mkfifo(tmp_path / "spec-1-2-3.fits")
    done = closed('quasar_analysis.py virial "$1"', tmp_path / "spec-1-2-3.fits")
    assert_one_sentence(done, "a pipe or a device")


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.6])
@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_work_in_several_processes_ends_in_order(tmp_path, number, word, moment):
    """SIGTERM comes to one process, Ctrl-C to all: also while they start, they print nothing of where they were."""
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


@pytest.mark.parametrize(("number", "status", "word"), [("SIGTERM", 143, "SIGTERM"), ("SIGINT", 130, "Ctrl-C")])
def test_an_end_that_python_throws_away_is_asked_for_again(capsys, number, status, word):
    """As in threadpoolctl, whose function C calls back: two of fourteen SIGTERMs at the start of a simulation."""
    number = getattr(signal, number)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background

    @ctypes.CFUNCTYPE(None)
    def called_from_c():
        signal.raise_signal(number)
        time.sleep(0.01)

    def work(options):
        called_from_c()
        reached.append("behind the call")
        time.sleep(30)
        reached.append("the end")

    reached = []
    top, add = common.parser("test")
    add("work", work, help="works", example="work")
    try:
        assert common.run(top, ["work", "--survey", "nowhere"]) == status
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == ["behind the call"]
    assert capsys.readouterr().err == f"error: stopped by {word}; the same command goes on from here.\n"
