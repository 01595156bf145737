"""`fetch`: what the command line and `get_Chen_data("Download")` call."""

import functools
import sys
from collections.abc import Callable

from quasar_mass.core import locks
from quasar_mass.core.errors import SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import plan, provenance
from quasar_mass.fetch.catalog_files import fetch_catalogs, require_space
from quasar_mass.fetch.client import PATIENT, Client
from quasar_mass.fetch.manifest import Epoch, read
from quasar_mass.fetch.osf import fetch_tables
from quasar_mass.fetch.responses import Policy
from quasar_mass.fetch.spectra import Report, fetch_spectra, raise_if_failed, settled, write_list
from quasar_mass.fetch.verify import says_simulated
from quasar_mass.tables.build.selection import select
from quasar_mass.tables.catalogs import read_chen

ARCHIVE, SPARCL = "archive", "sparcl"


def fetch(
    what: str,
    survey: Survey,
    *,
    mirror: str | None = None,
    jobs: int = 8,
    source: str = ARCHIVE,
    recheck: bool = False,
    quiet: bool = False,
    policy: Policy = PATIENT,
    say: Callable[[str], None] = print,
) -> None:
    """Bring a part of the real survey; a second call goes on where the first one ended, however it ended.

    Parameters
    ----------
    what : {"catalogs", "tables", "spectra", "all"}
        The two catalogues; the reference's own tables, converted; the spec files of the selected quasars; or catalogues
        and spectra.
    survey : Survey
        Where it goes.
    mirror : str, optional
        Scheme and host that stand in for those of every public address.
    jobs : int
        Connections at a time, for spectra.
    source : {"archive", "sparcl"}
        Where spectra come from.
    recheck : bool
        Compare the spectra that are there with their checksums, and ask again for those that were not published.
    quiet : bool
        No progress bars.
    policy : Policy
        How patient to be with servers.
    say : callable
        Given the lines of the result.

    Raises
    ------
    FetchError
        If something that the server has could not be brought.
    FileError, TableError, SurveyError
        If what is there, or what came, is not what it should be.
    LockError
        If another process writes in the survey.
    """
    provenance.refuse_simulation(survey)
    if what == "spectra":
        _require_catalogues(survey)
    again = plan.command(what, survey, mirror, source)

    def wait(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr)

    bring = _from_archive(jobs)
    if source == SPARCL and what in ("spectra", "all"):
        bring = _from_sparcl()  # first: what it needs should be missed before gigabytes have come
    survey.folder.mkdir(parents=True, exist_ok=True)
    with locks.survey_lock(survey), Client(mirror, policy=policy, say=wait) as client:
        if what in ("catalogs", "all"):
            for line in fetch_catalogs(survey, client, quiet=quiet):
                say(line)
        if what == "tables":
            for line in fetch_tables(survey, client, quiet=quiet):
                say(line)
        if what in ("spectra", "all"):
            epochs = selected(survey)
            if says_simulated(survey.dr16q):  # also where it was put there by hand
                provenance.settle(survey, True, mirror)
            _require_space(survey, epochs)
            report = bring(survey, epochs, client, recheck=recheck, quiet=quiet)
            for line in plan.report(survey, report, write_list(survey, read(survey).values())):
                say(line)
            raise_if_failed(survey, report, again)
    say(f"next: {plan.following(survey)}")


def dry_run(what: str, survey: Survey, *, mirror: str | None = None, source: str = ARCHIVE) -> list[str]:
    """What `fetch` would do, in lines; asks no server and writes nothing."""
    provenance.refuse_simulation(survey)
    there = survey.chen.exists() and survey.dr16q.exists()
    epochs = selected(survey) if there and what in ("spectra", "all") else None
    return plan.plan(what, survey, epochs, mirror, source)


def selected(survey: Survey) -> list[Epoch]:
    """The spectra that the selection asks for: all of the selected quasars, label epoch or not."""
    epochs = select(read_chen(survey.chen), survey.dr16q).epochs
    return list(zip(*(map(int, epochs[name]) for name in ("plate", "mjd", "fiberid")), strict=True))


def _require_catalogues(survey: Survey) -> None:
    for path in (survey.chen, survey.dr16q):
        if not path.exists():
            do = f"run: {plan.command('catalogs', survey)}"
            raise SurveyError(
                path, expected="the catalogue that says which spectra to fetch", got="no such file", do=do
            )


def _require_space(survey: Survey, epochs: list[Epoch]) -> None:
    known = read(survey)
    todo = sum(epoch not in known or not settled(survey, known[epoch], False) for epoch in epochs)
    require_space(survey.folder, todo * plan.SPECTRUM_SIZE)


def _from_archive(jobs: int) -> Callable[..., Report]:
    return functools.partial(fetch_spectra, jobs=jobs)


def _from_sparcl() -> Callable[..., Report]:
    from quasar_mass.fetch import sparcl

    service = sparcl.connect()

    def bring(survey: Survey, epochs: list[Epoch], client: Client, **options: bool) -> Report:
        return sparcl.fetch_spectra(survey, epochs, service, **options)

    return bring
