"""The many small files: spec-lite files from the SDSS Science Archive Server, each under its reduction."""

import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from quasar_mass.core.errors import FetchError, SpectrumError
from quasar_mass.core.files import atomic_write, progress
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.client import Client
from quasar_mass.fetch.manifest import FAILED, MISSING, NOT_PUBLISHED, VERIFIED, Epoch, Manifest, Row
from quasar_mass.fetch.responses import Temporary
from quasar_mass.fetch.threads import crew
from quasar_mass.fetch.verify import SPECTRUM_LIMIT, check_spectrum

IN_A_ROW = 25  # files failing one after another that mean that the server, not the files, is the trouble
ADOPTED = "was there already"
SHOW_EVERY = 0.5  # seconds between two rates on the progress bar


@dataclass(frozen=True)
class Report:
    """What a fetch of spectra did.

    Attributes
    ----------
    states : Counter
        State to number of wanted spectra, now.
    brought, size : int
        Files and bytes that came in this run.
    fallback : int
        Verified spectra that are from another reduction than the first choice.
    reasons : Counter
        Why spectra failed, in short, to their number.
    gave_up : bool
        Whether the run ended early because nothing came any more.
    """

    states: Counter
    brought: int
    size: int
    fallback: int
    reasons: Counter
    gave_up: bool


def fetch_spectra(
    survey: Survey,
    epochs: Iterable[Epoch],
    client: Client,
    *,
    jobs: int = 8,
    recheck: bool = False,
    quiet: bool = False,
) -> Report:
    """Bring the spec-lite files of some spectra.

    What the manifest calls verified, and is there with its size, is not fetched again, nor is it read again unless the
    last run came to no orderly end; nor is a file that is there and
    proves whole. Nothing partial ever stands under a final name.

    Parameters
    ----------
    survey : Survey
        Where they go; its kind, ``sdss`` or ``simulated``, is what every file must be of.
    epochs : iterable of (plate, mjd, fiberid)
        Which ones.
    client : Client
    jobs : int
        Connections at a time.
    recheck : bool
        Read what is there again and compare its checksum, and ask again for what was not published.
    quiet : bool
        No progress bar.

    Returns
    -------
    Report
    """
    wanted = list(dict.fromkeys(epochs))
    simulated = survey.kind == "simulated"

    def bring(row: Row) -> tuple[Row, int]:
        if there := already(survey, row, simulated):
            return there, 0
        row = _bring(survey, row, client, simulated)
        return row, row.bytes

    with Manifest(survey) as manifest:
        manifest.want(wanted)
        todo = to_do(survey, manifest, wanted, recheck)
        return gather(manifest, wanted, crew(bring, todo, jobs, client.stopping), len(todo), quiet)


def gather(
    manifest: Manifest,
    wanted: list[Epoch],
    results: Generator[tuple[Row, int]],
    total: int,
    quiet: bool,
    *,
    patience: int = IN_A_ROW,
) -> Report:
    """Take down rows and the bytes that came for them; give up after `patience` failures in a row."""
    brought = size = failures = in_a_row = 0
    begin = shown = time.monotonic()
    bar = progress(None, total=total, what="Fetch", unit="spectra", quiet=quiet)
    with contextlib.closing(results), bar:  # whatever happens here, what is still under way is ended
        for row, came in results:
            manifest.record(row)
            bar.update()
            if row.state == FAILED:
                failures, in_a_row = failures + 1, in_a_row + 1
            else:
                in_a_row = 0
            brought, size = brought + bool(came), size + came
            now = time.monotonic()
            if now - shown > SHOW_EVERY:
                rate, shown = size / 1e6 / (now - begin), now
                bar.set_postfix_str(f"{rate:.1f} MB/s, {failures:,} failed", refresh=False)
            if in_a_row >= patience:
                break
    final = [manifest.rows[epoch] for epoch in wanted]
    return Report(
        states=Counter(row.state for row in final),
        brought=brought,
        size=size,
        fallback=sum(row.state == VERIFIED and row.run2d == urls.BOSS_REDUCTIONS[1] for row in final),
        reasons=Counter(row.reason.partition(":")[0] for row in final if row.state == FAILED),
        gave_up=in_a_row >= patience,
    )


def to_do(survey: Survey, manifest: Manifest, wanted: list[Epoch], recheck: bool) -> list[Row]:
    """The rows of the spectra about which something is to be done, if only to read them again."""
    rows = (manifest.rows[epoch] for epoch in wanted)
    return [row for row in rows if row.epoch in manifest.unsure or not settled(survey, row, recheck)]


def settled(survey: Survey, row: Row, recheck: bool) -> bool:
    """Whether nothing is to be done for a spectrum."""
    if recheck or row.state in (MISSING, FAILED):
        return False
    if row.state == NOT_PUBLISHED:
        return True
    try:
        return os.stat(survey.spectrum(*row.epoch)).st_size == row.bytes
    except FileNotFoundError:
        return False


def save(path: Path, content: bytes) -> None:
    """Put a file under its final name, whole.

    It is not forced onto the disk, which takes longer than all the rest: should the machine lose power, the journal is
    still there, and the next run reads again what it lists.
    """
    with atomic_write(path, lasting=False) as temporary, open(temporary, "wb", buffering=0) as file:
        file.write(content)


def already(survey: Survey, row: Row, simulated: bool) -> Row | None:
    """The row of a file that is there already and proves whole: after a kill, or brought by other means."""
    path = survey.spectrum(*row.epoch)
    if not path.is_file():
        return None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if row.state == VERIFIED:
        return row if digest == row.sha256 else None
    try:
        spec = check_spectrum(content, row.epoch)
        run2d = spec.run2d or _old_run2d(path)
    except (Temporary, SpectrumError):
        return None
    if run2d not in urls.reductions(row.plate) or spec.simulated != simulated:
        return None
    url = urls.spectrum(*row.epoch, run2d)
    return Row(*row.epoch, run2d, url, len(content), digest, VERIFIED, ADOPTED)


def _old_run2d(path: Path) -> str:
    """RUN2D of the SDSS-I/II reductions, which stands in HDU 2 alone."""
    from quasar_mass.spectra.read import read  # not at the top: astropy, for the few old files alone

    return read(path).run2d


def _checker(epoch: Epoch, url: str, simulated: bool) -> Callable[[bytes], None]:
    """What a file must pass: whole, the one asked for, and of this survey's kind."""

    def check(content: bytes) -> None:
        if check_spectrum(content, epoch).simulated == simulated:
            return
        got, here = ("the sky", "simulated") if simulated else ("simulated", "of the sky")
        do = "fetch it into another --survey"
        reason = f"other kind: content of {got} for a survey that is {here}"
        raise FetchError(url, expected=f"content {here}", got=f"content of {got}", do=do, reason=reason)

    return check


def _bring(survey: Survey, row: Row, client: Client, simulated: bool) -> Row:
    """Fetch one file from the first reduction that has it."""
    first, *others = urls.reductions(row.plate)
    asked = Row(*row.epoch)
    for run2d in (first, *others):
        url = urls.spectrum(*row.epoch, run2d)
        asked = replace(asked, run2d=run2d, url=url)

        try:
            content = client.get(url, limit=SPECTRUM_LIMIT, check=_checker(row.epoch, url, simulated))
        except FetchError as error:
            if error.missing:
                continue
            # another reduction is no answer to trouble with this one: it would replace it for good
            return replace(asked, state=FAILED, reason=error.reason)
        save(survey.spectrum(*row.epoch), content)
        note = "" if run2d == first or row.plate < urls.BOSS_FROM else f"{first} has none"
        digest = hashlib.sha256(content).hexdigest()
        return replace(asked, bytes=len(content), sha256=digest, state=VERIFIED, reason=note)
    tried = ", ".join((first, *others))
    return Row(*row.epoch, state=NOT_PUBLISHED, reason=f"not in {tried}")


def write_list(survey: Survey, rows: Iterable[Row]) -> Path | None:
    """Write what is not there and why as ``spectra/not_there.csv``, for people; remove the list where all is there."""
    import csv

    path = survey.folder / "spectra" / "not_there.csv"
    left = sorted((row for row in rows if row.state != VERIFIED), key=lambda row: row.epoch)
    if not left:
        path.unlink(missing_ok=True)
        return None
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("plate", "mjd", "fiberid", "state", "reason", "url"))
        writer.writerows((*row.epoch, row.state, row.reason, row.url) for row in left)
    return path


def raise_if_failed(survey: Survey, report: Report, again: str) -> None:
    """End with a failure where a spectrum that the server has could not be brought.

    Raises
    ------
    FetchError
        With the numbers, the list and the command to type.
    """
    failed, missing = report.states[FAILED], report.states[MISSING]
    if not (failed or report.gave_up):
        return
    why = ", ".join(f"{number:,} {reason}" for reason, number in report.reasons.most_common())
    got = f"{failed:,} failed ({why})" + (
        f", {missing:,} not asked for, since nothing came any more" if missing else ""
    )
    list_of_them = survey.folder / "spectra" / "not_there.csv"
    raise FetchError(
        survey.folder / "spectra",
        expected="every published spectrum",
        got=got,
        do=f"see {list_of_them} and retry only those: {again}",
    )
