"""What the two scripts share: verbs, common options, and errors as one sentence."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from quasar_mass.core import signals
from quasar_mass.core.errors import FileError, QuasarMassError
from quasar_mass.core.files import printable
from quasar_mass.core.survey import Survey, default_survey
from quasar_mass.fetch.urls import MAX_CONNECTIONS

EITHER = "data if its tables or catalogues are there, else data/simulated"


def parser(description: str) -> tuple[argparse.ArgumentParser, Callable[..., argparse.ArgumentParser]]:
    """A parser with verbs.

    Parameters
    ----------
    description : str
        Of the script.

    Returns
    -------
    parser : ArgumentParser
    add : callable
        ``add(name, function, help, example)`` adds a verb with the options common to all, ``--survey`` and ``--quiet``;
        with ``survey=``, the verb's own default survey.
    """
    top = argparse.ArgumentParser(description=description)
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def add(
        name: str, function: Callable, *, help: str, example: str, survey: Survey | None = None
    ) -> argparse.ArgumentParser:
        verb = verbs.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_argument(
            "--survey",
            metavar="DIR",
            type=Survey,
            default=survey,
            help=f"the survey's folder (default: {survey.folder if survey else EITHER})",
        )
        verb.add_argument("--quiet", action="store_true", help="no progress, only the result")
        verb.set_defaults(function=function)
        return verb

    return top, add


def positive(text: str) -> int:
    """An argument that counts something."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return number


def connections(text: str) -> int:
    """An argument that counts connections to a server that others use too."""
    number = positive(text)
    if number > MAX_CONNECTIONS:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_CONNECTIONS}, got {number}")
    return number


def mirror(text: str) -> str:
    """An argument that is the scheme and host of a mirror, and nothing else."""
    parts = urlsplit(text)
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or not bare:
        raise argparse.ArgumentTypeError(f"expected http(s)://HOST or http(s)://HOST:PORT, got {text!r}")
    return f"{parts.scheme}://{parts.netloc}"


def scheduler(text: str) -> str:
    """An argument that is the address of a Dask scheduler."""
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    try:
        whole = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
    except ValueError:  # a port that is no number
        whole = False
    if not whole:
        raise argparse.ArgumentTypeError(f"expected tcp://HOST:PORT or tls://HOST:PORT, got {text!r}")
    return f"{parts.scheme}://{parts.netloc}"


def add_workers(verb: argparse.ArgumentParser, cores: int | None = None) -> None:
    """Add the options that say where the work is done; both are `options.jobs`, as `parallel.ordered_map` takes it.

    Parameters
    ----------
    verb : ArgumentParser
    cores : int, optional
        How many processes are usual; without it, the verb works in one process unless a scheduler is named.
    """
    verb.set_defaults(jobs=cores or 1)
    where = verb.add_mutually_exclusive_group()
    if cores:
        said = "processes (default: all cores)"
        where.add_argument("--jobs", type=positive, default=argparse.SUPPRESS, metavar="N", help=said)
    where.add_argument(
        "--scheduler",
        dest="jobs",
        type=scheduler,
        default=argparse.SUPPRESS,
        metavar="ADDRESS",
        help="hand the work to the workers of a Dask scheduler, for example tcp://HOST:8786; they must see the survey "
        "under the same path, on a shared disk (needs dask and distributed)",
    )


def non_negative(text: str) -> int:
    """An argument that counts something, of which there may be none."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 up, got {text!r}")
    return int(text)


def fraction(text: str) -> float:
    """An argument that is a probability between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1.0:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return number


def run(top: argparse.ArgumentParser, arguments: list[str] | None = None) -> int:
    """Run the verb that was asked for.

    Returns
    -------
    int
        Exit status: 0 on success; 1 after a failure, said in one sentence on standard error; 130 after Ctrl-C, 143
        after SIGTERM. (argparse itself exits with 2 on wrong usage.)
    """
    _open_streams()
    options = top.parse_args(arguments)
    if options.survey is None:
        options.survey = default_survey()
    try:
        _check_names(sys.argv[1:] if arguments is None else arguments)
        with signals.handle_signals():
            options.function(options)
        sys.stdout.flush()
    except QuasarMassError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: nothing more to say
        return 0
    except OSError as error:
        # disk full, no permission, a file that vanished: the system's own word for it, and the file
        where = error.filename or "the system"
        return _fail(
            f"{where}: expected to read or write it, got {error.strerror or error}; put that right and run again."
        )
    except MemoryError as error:
        said = str(error) or "no more"
        return _fail(f"the memory: expected room for the work, got {said}; end other programs and run again.")
    except signals.Terminated:
        return _fail("stopped by SIGTERM; the same command goes on from here.", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from here.", 128 + signal.SIGINT)
    return 0


def _open_streams() -> None:
    """Make the standard streams fit to be written to.

    One that the shell closed (``>&-``) is opened again, onto nothing: the next file opened would else get its number,
    and in it what C libraries print. Letters that the terminal does not know are written as escapes.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: the stream's
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w"))  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _check_names(arguments: list[str]) -> None:
    """Refuse names that are no text: libraries differ in what they make of them."""
    for text in map(str, arguments):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise FileError(
                printable(text),
                expected="a name in UTF-8",
                got="other bytes",
                do="rename it, or if it is UTF-8, set the environment variable PYTHONUTF8=1",
            ) from error


def _fail(sentence: str, status: int = 1) -> int:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    return status
