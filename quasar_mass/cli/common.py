"""What the commands share: verbs with common options, types of arguments, and every failure as one sentence."""

import argparse
import atexit
import gc
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from quasar_mass import __version__
from quasar_mass.core import extras, signals
from quasar_mass.core.errors import QuasarMassError
from quasar_mass.core.files import printable
from quasar_mass.core.survey import Survey, default_survey

# The scripts of the repository, and the commands that an installation puts in their place.
CONSOLE_SCRIPTS = {"get_Chen_data.py": "get-chen-data", "quasar_analysis.py": "quasar-analysis"}
DEFAULT_SURVEY = "data if its tables or catalogues are there, else data/simulated"
GOES_ON = "the same command goes on from here"
STARTS_AGAIN = "the same command starts again"
NOTHING_WRITTEN = "nothing was written"
COLLECT_AFTER = 10_000  # new objects until Python looks for garbage; by itself it does so after 700

Add = Callable[..., argparse.ArgumentParser]


class UsageError(QuasarMassError):
    """Options that do not go together, or not with what was named; exit status 2, as of argparse."""


# --- the command and its verbs ----------------------------------------------------------------------------------------
def command(script: str) -> str:
    """How a user types one of the two commands: ``python get_Chen_data.py`` or, installed, ``get-chen-data``."""
    installed = Path(sys.argv[0]).stem in CONSOLE_SCRIPTS.values()
    return CONSOLE_SCRIPTS[script] if installed else f"python {script}"


def parser(description: str, program: str) -> tuple[argparse.ArgumentParser, Add]:
    """Make a parser with verbs.

    Parameters
    ----------
    description : str
        Of the command.
    program : str
        What a user types to start it.

    Returns
    -------
    parser : ArgumentParser
    add : callable
        ``add(function, example=...)`` adds the verb that the function is named after, with the first line of its
        docstring as help, and with the options that all share, ``--survey`` and ``--quiet``. Further keywords:
        ``survey``, the verb's own default survey, or False for a verb without one; ``interrupted``, what is said to a
        user who stops it.
    """
    top = argparse.ArgumentParser(prog=program, description=description)
    top.add_argument("--version", action="version", version=f"quasar-mass-ml {__version__}")
    verbs = top.add_subparsers(metavar="VERB")

    def add(
        function: Callable, *, example: str, survey: Survey | bool | None = None, interrupted: str = NOTHING_WRITTEN
    ) -> argparse.ArgumentParser:
        name, text = function.__name__, function.__doc__.splitlines()[0]
        verb = verbs.add_parser(
            name,
            help=text[0].lower() + text[1:].rstrip("."),
            description=text,
            epilog=f"example: {program} {name} {example}".rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if survey is not False:
            default = survey.folder if survey else DEFAULT_SURVEY
            verb.add_argument("--survey", metavar="DIR", type=Path, help=f"the survey's folder (default: {default})")
        verb.add_argument("--quiet", action="store_true", help="no progress bars, only the result")
        verb.set_defaults(function=function, usual_survey=survey or None, interrupted=interrupted)
        return verb

    return top, add


def add_workers(verb: argparse.ArgumentParser, cores: int | None = None) -> None:
    """Add the options that say where the work is done; both are `options.jobs`, as `parallel.ordered_map` takes it.

    Parameters
    ----------
    verb : ArgumentParser
    cores : int, optional
        Default number of processes; without it, the verb works in one process unless a scheduler is named.
    """
    verb.set_defaults(jobs=cores or 1)
    where = verb.add_mutually_exclusive_group()
    if cores:
        number = "number of processes (default: all cores)"
        where.add_argument("--jobs", type=positive, default=argparse.SUPPRESS, metavar="N", help=number)
    where.add_argument(
        "--scheduler",
        dest="jobs",
        type=scheduler,
        default=argparse.SUPPRESS,
        metavar="ADDRESS",
        help="hand the work to the workers of a Dask scheduler, for example tcp://HOST:8786; they must see the survey "
        "under the same path, on a shared disk (needs dask and distributed)",
    )


# --- types of arguments -----------------------------------------------------------------------------------------------
def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Make a type for arguments that are whole numbers from `low` to `high`, both included."""
    limits = f"from {low} up" if high is None else f"from {low} to {high:,}"

    def convert(text: str) -> int:
        number = int(text) if text.isdecimal() else -1
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"must be a whole number {limits}, not {text!r}")
        return number

    return convert


positive, non_negative = whole_number(1), whole_number(0)
seed = whole_number(0, 2**32 - 1)  # what NumPy, Keras and TensorFlow all take


def fraction(text: str) -> float:
    """Convert an argument that is a probability between 0 and 1."""
    number = float(text)  # argparse reports what is no number
    if not 0.0 < number < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, not {text!r}")
    return number


def redshift(text: str) -> float:
    """Convert an argument that is a redshift."""
    number = _number(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return number


def ebv(text: str) -> float:
    """Convert an argument that is E(B-V) in magnitudes."""
    number = _number(text)
    if not 0.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of magnitudes from 0 up, not {text!r}")
    return number


def _number(text: str) -> float:
    """The number that a text is; NaN, which is in no range, where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def mirror(text: str) -> str:
    """Convert an argument that is the scheme and host of a mirror, and nothing else."""
    match = re.fullmatch(r"(https?://[^/?#\s]+)/?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"must be http(s)://HOST or http(s)://HOST:PORT, not {text!r}")
    return match[1]


def scheduler(text: str) -> str:
    """Convert an argument that is the address of a Dask scheduler."""
    match = re.fullmatch(r"(tcp://|tls://)?([^/?#\s]+:\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"must be tcp://HOST:PORT or tls://HOST:PORT, not {text!r}")
    return f"{match[1] or 'tcp://'}{match[2]}"


# --- running a verb ---------------------------------------------------------------------------------------------------
def run(top: argparse.ArgumentParser, arguments: list[str] | None = None) -> int:
    """Run the verb that was asked for.

    Returns
    -------
    int
        Exit status: 0 on success; 1 after a failure, reported in one sentence on standard error; 130 after Ctrl-C, 143
        after SIGTERM; 2 for options that do not go together, and without a verb, after printing the verbs. (argparse
        itself exits with 2 on wrong usage.)
    """
    # to look for garbage in all that libraries define takes a fifth of the time of a short command
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # and none at the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that the terminal lacks
    options = top.parse_args(arguments)
    if "function" not in options:
        top.print_help(sys.stderr)
        return 2
    folder = getattr(options, "survey", None)
    options.survey_option = survey_option(folder)

    def fail(sentence: str, status: int = 1) -> int:
        print(f"error: {' '.join(as_typed(sentence, options.survey_option).split())}", file=sys.stderr)
        return status

    try:
        if "survey" in options:
            options.survey = Survey(folder) if folder else options.usual_survey or default_survey()
        with signals.handle_signals():
            options.function(options)
        sys.stdout.flush()
    except UsageError as error:
        return fail(str(error), 2)
    except QuasarMassError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        if not (sentence := extras.missing(error.name)):
            raise
        return fail(f"this command: {sentence}.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: nothing more to say
    except OSError as error:  # disk full, no permission, a file that vanished
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}cannot be read or written ({error.strerror or error}).")
    except UnicodeEncodeError as error:  # bytes of a file's name
        return fail(f"{printable(error.object)}: is not a name in UTF-8; rename it, or set PYTHONUTF8=1.")
    except MemoryError as error:
        return fail(f"out of memory ({error}); use fewer --jobs, or end other programs and run again.")
    except signals.Terminated:
        return fail(f"stopped by SIGTERM; {options.interrupted}.", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return fail(f"stopped by Ctrl-C; {options.interrupted}.", 128 + signal.SIGINT)
    return 0


def survey_option(folder: str | os.PathLike | None) -> str:
    """`` --survey DIR``, as `as_typed` takes it; empty where the user named no survey."""
    return f" --survey {shlex.quote(printable(folder))}" if folder else ""


_ADVISED = re.compile(
    r"python (get_Chen_data\.py|quasar_analysis\.py)"
    r"( (?:status|simulate|fetch(?: catalogs| tables| spectra| all)?|build|convert|evaluate|calibrate|predict)\b)"
    r"(?!(?: catalogs| tables| spectra| all)? --survey)"
)


def as_typed(text: str, survey_option: str) -> str:
    """Write the commands that a message advises as this user types them: installed or not, and for their survey.

    Parameters
    ----------
    text : str
        With commands as ``python get_Chen_data.py build``.
    survey_option : str
        `` --survey DIR`` where the user gave one, else empty.
    """
    text = _ADVISED.sub(lambda match: f"python {match[1]}{match[2]}{survey_option}", text)
    for script in CONSOLE_SCRIPTS:
        text = text.replace(f"python {script}", command(script))
    return text
