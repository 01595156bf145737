"""Text for people about what will be fetched, what is there, and what to type next. Uses no network."""

import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from quasar_mass.core.survey import REAL_FOLDER, Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.manifest import MISSING, NOT_PUBLISHED, STATES, VERIFIED, Row, SpecId, read
from quasar_mass.fetch.spectra import CHANGED, DAMAGED, Report, rejected, states_on_disk
from quasar_mass.fetch.urls import SPECTRUM_SIZE

MAX_ADDRESSES = 3  # of spectra, at either end of a plan
EXAMPLE = (7666, 57339, 121)  # a spectrum of BOSS


def command(what: str, survey: Survey, mirror: str | None = None, source: str = "archive", reach: bool = False) -> str:
    """The command line that fetches something."""
    options = "" if survey.folder == REAL_FOLDER else f" --survey {shlex.quote(str(survey.folder))}"
    options += f" --mirror {mirror}" if mirror else ""
    options += " --from sparcl" if source == "sparcl" else ""
    options += " --reach" if reach else ""
    return f"python get_Chen_data.py fetch {what}{options}"


def repair_command(survey: Survey, about: dict) -> str | None:
    """Give the command that fetches damaged files again; None if the build that `about` describes found no damage."""
    repair = command("spectra", survey, reach=about.get("partial", False))
    return repair if damaged(about["rejects"]) and read(survey) else None


def damaged(reasons: Iterable[str]) -> bool:
    """Whether the reasons for rejecting spectra show damaged files."""
    return not set(DAMAGED).isdisjoint(reasons)


def came_since_build(survey: Survey) -> bool:
    """Whether a spectrum was fetched that the last build missed, or found damaged."""
    candidates = rejected(survey, (*DAMAGED, "missing file"))
    if not candidates:  # the manifest of a whole survey takes seconds to read
        return False
    rows, built = read(survey), survey.rejects.stat().st_mtime_ns
    return any(
        spec_id in rows and rows[spec_id].state == VERIFIED and rows[spec_id].mtime_ns > built for spec_id in candidates
    )


def count_states(survey: Survey, *, quiet: bool = True) -> Counter:
    """State to number of spectra as their files are now: also those that are `CHANGED`."""
    return Counter(states_on_disk(survey, read(survey).values(), quiet=quiet))


def describe_states(states: Counter) -> str:
    """Numbers of the states, verified first."""
    order = sorted(STATES, key=lambda state: state != VERIFIED)
    text = ", ".join(f"{states[state]:,} {state}" for state in order)
    changed = f"{states[CHANGED]:,} changed (they differ from the manifest)"
    return f"{states.total():,} selected: {text}{f', {changed}' if states[CHANGED] else ''}"


def describe_report(report: Report, absent: Path | None) -> list[str]:
    """Describe the result of fetching spectra, in lines."""
    lines = [
        f"spectra: {describe_states(report.states)}",
        f"         {report.fetched:,} fetched in this run, {report.n_bytes / 1e6:,.1f} MB",
    ]
    if report.fallback:
        first, second = urls.BOSS_REDUCTIONS
        lines.append(f"         {report.fallback:,} are of reduction {second}, since {first} has none")
    if absent:
        lines.append(f"         those that are not there, and why: {absent}")
    if report.states[MISSING] and not report.gave_up:
        lines.append("         missing: SPARCL does not hold them; without --from sparcl, the archive is asked")
    if report.states[NOT_PUBLISHED]:
        lines.append("         not published: no reduction has them; to ask again, add --recheck")
    return lines


def plan(what: str, survey: Survey, spec_ids: list[SpecId] | None, mirror: str | None, source: str) -> list[str]:
    """Describe what `fetch` would do: counts, bytes, addresses. `spec_ids` are the selected spectra, if known."""
    lines = []
    if what in ("catalogs", "all"):
        for file in urls.catalogs(survey):
            state = "there already" if file.path.exists() else f"about {file.size / 1e6:,.0f} MB"
            lines.append(f"{file.name}: {state}\n  from {urls.mirrored(file.address, mirror)}\n  to   {file.path}")
    if what == "tables":
        lines.append(
            f"the reference's {' and '.join(urls.OSF_TABLES)}: about {urls.OSF_SIZE / 1e6:,.0f} MB\n"
            f"  from the addresses that {urls.mirrored(urls.OSF_LISTING, mirror)} lists\n"
            f"  to   {survey.quasars.parent}"
        )
    if what in ("spectra", "all"):
        lines += _spectra_lines(survey, spec_ids, mirror, source)
    return lines


def to_fetch(survey: Survey, spec_ids: list[SpecId]) -> list[SpecId]:
    """The spectra among these that are not there, or not as they were verified."""
    known = read(survey)
    rows = [known.get(spec_id) or Row(*spec_id) for spec_id in spec_ids]
    states = states_on_disk(survey, rows)
    return [row.spec_id for row, state in zip(rows, states, strict=True) if state not in (VERIFIED, NOT_PUBLISHED)]


def _spectra_lines(survey: Survey, spec_ids: list[SpecId] | None, mirror: str | None, source: str) -> list[str]:
    folder = survey.folder / "spectra"
    if spec_ids is None:
        size = f"{urls.SPECTRA * SPECTRUM_SIZE / 1e9:,.1f} GB"
        number = f"about {urls.SPECTRA:,} files, {size} (exactly: once the catalogues are there)"
        return [f"spec-lite files: {number}\n  from addresses like {_address(EXAMPLE, mirror)}\n  to   {folder}"]
    todo = to_fetch(survey, spec_ids)
    size = f"about {len(todo) * SPECTRUM_SIZE / 1e6:,.0f} MB"
    lines = [f"spec-lite files: {len(spec_ids):,} selected, {len(todo):,} to fetch, {size}\n  to   {folder}"]
    if source == "sparcl":
        return [*lines, "  from SPARCL, by their specid"]
    few = len(todo) <= 2 * MAX_ADDRESSES
    listed = todo if few else [*todo[:MAX_ADDRESSES], None, *todo[-MAX_ADDRESSES:]]
    lines += ["  ..." if spec_id is None else f"  from {_address(spec_id, mirror)}" for spec_id in listed]
    others = {run2d for plate, *_ in todo for run2d in urls.reductions(plate)[1:]}
    if others:
        lines.append(f"  where that has none: the same under {', '.join(sorted(others))}")
    return lines


def _address(spec_id: SpecId, mirror: str | None) -> str:
    return urls.mirrored(urls.spectrum(*spec_id, urls.reductions(spec_id[0])[0]), mirror)
