"""`fetch`: what the command line and `get_Chen_data("Download")` call."""

from collections.abc import Callable
from pathlib import Path

from quasar_mass.core import locks
from quasar_mass.core.errors import SurveyError
from quasar_mass.core.survey import REDSHIFT_RANGE, WIDE_REDSHIFT_RANGE, Survey
from quasar_mass.fetch import plan
from quasar_mass.fetch.catalog_files import fetch_catalogs, require_space
from quasar_mass.fetch.client import Client, RetryPolicy
from quasar_mass.fetch.manifest import SpecId, read
from quasar_mass.fetch.osf import fetch_tables
from quasar_mass.fetch.spectra import fetch_spectra, raise_if_failed, write_list
from quasar_mass.fetch.verify import mark_kind, refuse_simulation, says_simulated
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
    reach: bool = False,
    quiet: bool = False,
    policy: RetryPolicy | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Fetch the real survey, or a part of it; a second call resumes where the first one ended.

    Parameters
    ----------
    what : {"catalogs", "tables", "spectra", "all"}
        The two catalogues; the reference's own tables, converted; the spec files of the selected quasars; or catalogues
        and spectra.
    survey : Survey
        Where it goes.
    mirror : str, optional
        Scheme and host that replace those of every public address.
    jobs : int
        Connections at a time, for spectra.
    source : {"archive", "sparcl"}
        Where spectra come from.
    recheck : bool
        Compare all spectra that are there with their checksums, and ask again for those that were not published.
    reach : bool
        Fetch the spectra of all quasars of `WIDE_REDSHIFT_RANGE`, as `build --reach` takes them.
    quiet : bool
        No progress bars.
    policy : RetryPolicy, optional
        Number of tries and waiting times.
    say : callable
        Given the lines of the result.

    Raises
    ------
    FetchError
        If something that the server has could not be fetched.
    FileError, TableError, SurveyError
        If what is there, or what came, is not what it should be.
    LockError
        If another process writes in the survey.
    """
    refuse_simulation(survey)
    if what == "spectra":
        _require_catalogs(survey)
    service = None
    if source == SPARCL and what in ("spectra", "all"):
        from quasar_mass.fetch import sparcl, sparcl_client

        service = sparcl_client.connect()  # first: if it fails, no gigabytes have been fetched in vain
    survey.folder.mkdir(parents=True, exist_ok=True)
    with locks.survey_lock(survey), Client(mirror, policy=policy) as client:
        lines = []
        if what in ("catalogs", "all"):
            lines = fetch_catalogs(survey, client, quiet=quiet)
        if what == "tables":
            lines = fetch_tables(survey, client, quiet=quiet)
        for line in lines:
            say(line)
        if what in ("spectra", "all"):
            spec_ids = selected_spectra(survey, reach)
            if says_simulated(survey.dr16q):  # also where it was put there by hand
                mark_kind(survey, True, mirror)
            absent = sum(not survey.spectrum(*spec_id).is_file() for spec_id in spec_ids)
            require_space(survey.folder, absent * plan.SPECTRUM_SIZE)
            if service is None:
                report = fetch_spectra(survey, spec_ids, client, jobs=jobs, recheck=recheck, quiet=quiet)
            else:
                report = sparcl.fetch_spectra(survey, spec_ids, service, recheck=recheck, quiet=quiet)
            for line in plan.describe_report(report, write_list(survey, read(survey).values())):
                say(line)
            raise_if_failed(survey, report, plan.command(what, survey, mirror, source, reach))


def dry_run(
    what: str, survey: Survey, *, mirror: str | None = None, source: str = ARCHIVE, reach: bool = False
) -> list[str]:
    """What `fetch` would do, in lines; asks no server and writes nothing."""
    refuse_simulation(survey)
    ready = survey.chen.exists() and survey.dr16q.exists() and what in ("spectra", "all")
    return plan.plan(what, survey, selected_spectra(survey, reach) if ready else None, mirror, source)


def fetch_targets(
    path: Path, folder: Path, *, dry_run: bool = False, quiet: bool = False, say: Callable[[str], None] = print
) -> None:
    """Fetch the spectra of DESI's targets from SPARCL; a second call resumes where the first one ended.

    Parameters
    ----------
    path : Path
        Names the targets; as of `sparcl_targets.read_targets`.
    folder : Path
        Where their files go.
    dry_run : bool
        Only say what would be fetched.
    quiet : bool
        No progress bar.
    say : callable
        Given the lines of the result.

    Raises
    ------
    FetchError, FileError, TableError
        As `sparcl_targets.read_targets` and `sparcl_targets.fetch_targets`.
    """
    from quasar_mass.fetch import sparcl_client, sparcl_targets

    targets = sparcl_targets.read_targets(path)
    if dry_run:
        number = len(sparcl_targets.to_fetch(targets, folder))
        size = f"about {number * sparcl_targets.TARGET_SIZE / 1e6:,.0f} MB"
        say(f"targets: {len(targets):,} named, {number:,} to fetch from SPARCL, {size}\n  to   {folder}")
        return
    for line in sparcl_targets.fetch_targets(targets, folder, sparcl_client.connect(), quiet=quiet):
        say(line)


def selected_spectra(survey: Survey, reach: bool = False) -> list[SpecId]:
    """Give all spectra of the selected quasars, not only those on which the labels were measured."""
    redshifts = WIDE_REDSHIFT_RANGE if reach else REDSHIFT_RANGE
    table = select(read_chen(survey.chen), survey.dr16q, redshifts).epochs
    return list(zip(*(map(int, table[name]) for name in ("plate", "mjd", "fiberid")), strict=True))


def _require_catalogs(survey: Survey) -> None:
    for path in (survey.chen, survey.dr16q):
        if not path.exists():
            message = "is missing, and says which spectra to fetch"
            raise SurveyError(path, f"{message}; run: {plan.command('catalogs', survey)}")
