"""Fetches spec-lite files from the SDSS Science Archive Server, each from the reduction of its plate."""

import contextlib
import csv
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

from quasar_mass.core.errors import FetchError, SpectrumError
from quasar_mass.core.files import atomic_write, progress, sha256
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.manifest import FAILED, MISSING, NOT_PUBLISHED, VERIFIED, Manifest, Row, SpecId
from quasar_mass.fetch.verify import check_spectrum, is_simulated
from quasar_mass.spectra.read import read
from quasar_mass.tables import survey_tables

MAX_FAILURES_IN_A_ROW = 25  # more mean that the server has a problem, not the files
ADOPTED = "was there already"
CHANGED = "changed"  # state of a file that differs from the manifest; the manifest itself never holds it
DAMAGED = ("unreadable file", "not the spectrum named", "invalid values")  # reasons of `build` that may mean damage


@dataclass(frozen=True)
class Report:
    """What a fetch of spectra did.

    Attributes
    ----------
    states : Counter
        State to number of selected spectra, now.
    fetched, n_bytes : int
        Files and bytes that came in this run.
    fallback : int
        Verified spectra that are from another reduction than the first choice.
    reasons : Counter
        Why spectra failed, in short, to their number.
    gave_up : bool
        Whether the run ended early because too many requests failed in a row.
    """

    states: Counter
    fetched: int
    n_bytes: int
    fallback: int
    reasons: Counter
    gave_up: bool


def fetch_spectra(
    survey: Survey,
    spec_ids: Iterable[SpecId],
    client: Client,
    *,
    jobs: int = 8,
    recheck: bool = False,
    quiet: bool = False,
) -> Report:
    """Fetch the spec-lite files of some spectra.

    A file that is there is compared with its checksum in the manifest, and fetched again if it differs. Files with the
    size and the time of modification that they had when they were verified are trusted, unless the last build could not
    read them or the last run did not end in order. A file that is there and not in the manifest is checked. Nothing
    partial ever stands under a final name.

    Parameters
    ----------
    survey : Survey
        Where they go; its kind, ``sdss`` or ``simulated``, is what every file must be of.
    spec_ids : iterable of (plate, mjd, fiberid)
        Which ones.
    client : Client
    jobs : int
        Connections at a time.
    recheck : bool
        Compare all files that are there with their checksums, and ask again for what was not published.
    quiet : bool
        No progress bar.

    Returns
    -------
    Report
    """
    selected = list(dict.fromkeys(spec_ids))
    simulated = survey.kind == "simulated"

    def process(row: Row) -> tuple[Row, int]:
        if present := verified_on_disk(survey, row, simulated):
            return present, 0
        row = _fetch_one(survey, row, client, simulated)
        return row, row.bytes

    with Manifest(survey) as manifest:
        manifest.select(selected)
        todo = to_do(survey, manifest, selected, recheck)
        return record_all(manifest, selected, _in_threads(process, todo, jobs), len(todo), quiet)


def _in_threads(function: Callable, tasks: list, jobs: int) -> Generator:
    """Give the results of ``function(task)`` in the order in which they are ready.

    The threads end with the program, so Ctrl-C does not have to wait for a server's answer.
    """
    pool = ThreadPool(jobs)
    try:
        yield from pool.imap_unordered(function, tasks)
    finally:
        pool.terminate()


def record_all(
    manifest: Manifest,
    selected: list[SpecId],
    results: Generator[tuple[Row, int]],
    total: int,
    quiet: bool,
    *,
    max_failures: int = MAX_FAILURES_IN_A_ROW,
) -> Report:
    """Record rows and the bytes received for them; give up after `max_failures` failures in a row."""
    fetched = n_bytes = failures = in_a_row = 0
    bar = progress(None, total=total, what="Fetch", unit="spectra", quiet=quiet)
    with contextlib.closing(results), bar:
        for row, came in results:
            manifest.record(row)
            bar.update()
            in_a_row = in_a_row + 1 if row.state == FAILED else 0
            failures += row.state == FAILED
            fetched, n_bytes = fetched + bool(came), n_bytes + came
            bar.set_postfix_str(f"{n_bytes / 1e6:,.1f} MB, {failures:,} failed", refresh=False)
            if in_a_row >= max_failures:
                break
    final = [manifest.rows[spec_id] for spec_id in selected]
    return Report(
        states=Counter(row.state for row in final),
        fetched=fetched,
        n_bytes=n_bytes,
        fallback=sum(row.state == VERIFIED and row.run2d == urls.BOSS_REDUCTIONS[1] for row in final),
        reasons=Counter(row.reason.partition(":")[0] for row in final if row.state == FAILED),
        gave_up=in_a_row >= max_failures,
    )


def to_do(survey: Survey, manifest: Manifest, selected: list[SpecId], recheck: bool) -> list[Row]:
    """The rows of the spectra that are to be fetched, or read again."""
    doubtful = manifest.unsure | rejected(survey, DAMAGED)
    rows = (manifest.rows[spec_id] for spec_id in selected)
    return [row for row in rows if recheck or row.spec_id in doubtful or not _up_to_date(survey, row)]


def rejected(survey: Survey, reasons: Iterable[str]) -> set[SpecId]:
    """The spectra that the last build rejected for one of some reasons."""
    if not survey.rejects.exists():
        return set()
    table = survey_tables.read_rejects(survey.rejects)
    names = table.loc[table["REASON"].isin(list(reasons)), "EPOCH"]
    return {tuple(map(int, name.split("-"))) for name in names}


def _up_to_date(survey: Survey, row: Row) -> bool:
    """Whether a spectrum need be neither fetched nor read, judged by its file's size and time of modification."""
    if row.state != VERIFIED:
        return row.state == NOT_PUBLISHED
    try:
        file = os.stat(survey.spectrum(*row.spec_id))
    except FileNotFoundError:
        return False
    return (file.st_size, file.st_mtime_ns) == (row.bytes, row.mtime_ns)


def states_on_disk(survey: Survey, rows: Iterable[Row], *, quiet: bool = False) -> Iterator[str]:
    """Give the state of each spectrum as its file is now; that of a verified one may be missing or `CHANGED`."""
    rows, doubtful = list(rows), rejected(survey, DAMAGED)
    for row in progress(rows, total=len(rows), what="Check", unit="spectra", quiet=quiet, delay=2.0):
        path = survey.spectrum(*row.spec_id)
        if row.state != VERIFIED or (row.spec_id not in doubtful and _up_to_date(survey, row)):
            yield row.state
        elif not path.is_file():
            yield MISSING
        else:
            yield VERIFIED if sha256(path) == row.sha256 else CHANGED


def save(survey: Survey, row: Row, content: bytes, note: str) -> Row:
    """Write a spectrum that passed the checks under its final name, whole; the row that says so.

    It is not forced onto the disk, which takes longer than all the rest: should the machine lose power, the journal is
    still there, and the next run reads again what it lists.
    """
    with atomic_write(survey.spectrum(*row.spec_id), lasting=False) as temporary:
        temporary.write_bytes(content)
    known = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "mtime_ns": _mtime_ns(survey, row)}
    return replace(row, **known, state=VERIFIED, reason=note)


def _mtime_ns(survey: Survey, row: Row) -> int:
    return os.stat(survey.spectrum(*row.spec_id)).st_mtime_ns


def verified_on_disk(survey: Survey, row: Row, simulated: bool) -> Row | None:
    """Give the row of a file that exists and passes the checks, for example after a kill; None for any other file."""
    path = survey.spectrum(*row.spec_id)
    if not path.is_file():
        return None
    mtime_ns = _mtime_ns(survey, row)  # before it is read: what is written meanwhile must not count as verified
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if row.sha256:
        note = row.reason if row.state == VERIFIED else ADOPTED
        return replace(row, mtime_ns=mtime_ns, state=VERIFIED, reason=note) if digest == row.sha256 else None
    try:
        header, spectrum = check_spectrum(content, row.spec_id), read(path)
        run2d = header.text("RUN2D") or spectrum.run2d  # reductions 26, 103 and 104 have it in HDU 2 alone
    except (ValueError, SpectrumError):
        return None
    if run2d not in urls.reductions(row.plate) or is_simulated(header) != simulated:
        return None
    url = urls.spectrum(*row.spec_id, run2d)
    return Row(*row.spec_id, run2d, url, len(content), digest, VERIFIED, ADOPTED, mtime_ns)


def _fetch_one(survey: Survey, row: Row, client: Client, simulated: bool) -> Row:
    """Fetch one file from the first reduction that has it."""
    first, *others = urls.reductions(row.plate)
    for run2d in (first, *others):
        url = urls.spectrum(*row.spec_id, run2d)
        asked = Row(*row.spec_id, run2d, url)
        check = functools.partial(_check, spec_id=row.spec_id, simulated=simulated, url=url)
        try:
            content = client.get(url, check)
        except FetchError as error:
            if error.missing:
                continue
            # do not try another reduction, whose file would then be kept instead of this one
            return not_come(row, FAILED, error.reason, asked)
        note = "" if run2d == first or row.plate < urls.FIRST_BOSS_PLATE else f"{first} has none"
        return save(survey, asked, content, note)
    return not_come(row, NOT_PUBLISHED, f"not in {', '.join((first, *others))}")


def not_come(row: Row, state: str, reason: str, asked: Row | None = None) -> Row:
    """Give the row of a spectrum that did not come.

    The checksum of a file that was verified once stays, lest a damaged one that is still there be taken for good by the
    next run. Otherwise the row is that of the file that was asked for last, if any.
    """
    return replace(row if row.sha256 else asked or Row(*row.spec_id), state=state, reason=reason)


def _check(content: bytes, *, spec_id: SpecId, simulated: bool, url: str) -> None:
    """Check that a file is whole, the one asked for, and of the survey's kind."""
    if is_simulated(check_spectrum(content, spec_id)) != simulated:
        came, there = ("observed", "simulated") if simulated else ("simulated", "observed")
        message = f"is {came}, but the survey holds {there} spectra; fetch it into another --survey"
        raise FetchError(url, message, reason=f"other kind: {came}, in a survey of {there} spectra")


def list_path(survey: Survey) -> Path:
    """Path of the list of missing spectra."""
    return survey.folder / "spectra" / "not_there.csv"


def write_list(survey: Survey, rows: Iterable[Row]) -> Path | None:
    """Write the missing spectra with the reasons to ``spectra/not_there.csv``; remove that file if none is missing."""
    path = list_path(survey)
    absent = sorted((row for row in rows if row.state != VERIFIED), key=lambda row: row.spec_id)
    if not absent:
        path.unlink(missing_ok=True)
        return None
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("plate", "mjd", "fiberid", "state", "reason", "url"))
        writer.writerows((*row.spec_id, row.state, row.reason, row.url) for row in absent)
    return path


def raise_if_failed(survey: Survey, report: Report, again: str) -> None:
    """Raise an error if a spectrum that the server has could not be fetched.

    Raises
    ------
    FetchError
        With the numbers, the list and the command to type.
    """
    failed, missing = report.states[FAILED], report.states[MISSING]
    if not (failed or report.gave_up):
        return
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in report.reasons.most_common())
    rest = f", and {missing:,} were not requested, because nothing arrived any more" if missing else ""
    advice = f"{list_path(survey)} lists them; to retry only those, run: {again}"
    raise FetchError(survey.folder / "spectra", f"{failed:,} spectra failed ({reasons}){rest}; {advice}")
