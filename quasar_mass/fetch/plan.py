"""What is to be fetched, what is there, and what to type next: sentences for people, without a network."""

from collections import Counter
from pathlib import Path

from quasar_mass.core.survey import REAL_FOLDER, Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.manifest import FAILED, MISSING, NOT_PUBLISHED, STATES, VERIFIED, Epoch, read
from quasar_mass.fetch.spectra import Report, settled
from quasar_mass.fetch.urls import SPECTRUM_SIZE

ME = "python get_Chen_data.py"
SHOWN = 3  # addresses of spectra at either end of a plan


def where(survey: Survey) -> str:
    """The option that names a survey, where it is not the one that `fetch` takes by itself."""
    return "" if survey.folder.absolute() == REAL_FOLDER else f' --survey "{survey.folder}"'


def command(what: str, survey: Survey, mirror: str | None = None, source: str = "archive") -> str:
    """The command line that fetches something."""
    more = f" --mirror {mirror}" if mirror else ""
    return f"{ME} fetch {what}{where(survey)}{more}{' --from sparcl' if source == 'sparcl' else ''}"


def following(survey: Survey) -> str:
    """What to type next, by what is there."""
    if survey.spectra.exists() and survey.quasars.exists():
        return f'make train SURVEY="{survey.folder}", or {ME} status --survey "{survey.folder}"'
    if not (survey.chen.exists() and survey.dr16q.exists()):
        return command("catalogs", survey)
    states = states_of(survey)
    if not states or states[MISSING] or states[FAILED]:
        return command("spectra", survey)
    return f'{ME} build --survey "{survey.folder}"'


def states_of(survey: Survey) -> Counter:
    """State to number of spectra, a verified file that is not there with its size counted as missing."""
    return Counter(
        MISSING if row.state == VERIFIED and not settled(survey, row, False) else row.state
        for row in read(survey).values()
    )


def status(survey: Survey) -> str | None:
    """What the manifest says of the spectra in one line, None where nothing was fetched."""
    states = states_of(survey)
    if not states:
        return None
    return f"{states.total():,} wanted: {numbers(states)}"


def numbers(states: Counter) -> str:
    """Numbers of the states, verified first."""
    order = (VERIFIED, *(state for state in STATES if state != VERIFIED))
    return ", ".join(f"{states[state]:,} {state}" for state in order)


def report(survey: Survey, done: Report, left: Path | None) -> list[str]:
    """What a fetch of spectra did and left, in lines."""
    lines = [
        f"spectra: {done.states.total():,} wanted: {numbers(done.states)}",
        f"         {done.brought:,} came in this run, {done.size / 1e6:,.1f} MB",
    ]
    if done.fallback:
        first, second = urls.BOSS_REDUCTIONS
        lines.append(f"         {done.fallback:,} are of reduction {second}, since {first} has none")
    if left:
        lines.append(f"         what is not there, and why: {left}")
    if done.states[MISSING] and not done.gave_up:
        lines.append("         missing: SPARCL does not hold them; without --from sparcl, the archive is asked")
    if done.states[NOT_PUBLISHED]:
        lines.append("         not published: no reduction has them; to ask again, add --recheck")
    return lines


def plan(what: str, survey: Survey, epochs: list[Epoch] | None, mirror: str | None, source: str) -> list[str]:
    """What `fetch` would do: counts, bytes, addresses. `epochs` are the spectra wanted, where that is known yet."""
    lines = []

    def line(name: str, there: Path, size: int, address: str) -> None:
        state = "there already" if there.exists() else f"about {size / 1e6:,.0f} MB"
        lines.append(f"{name}: {state}\n  from {urls.mirrored(address, mirror)}\n  to   {there}")

    if what in ("catalogs", "all"):
        line("Chen+ 2019 table", survey.chen, urls.CHEN_SIZE, urls.CHEN)
        line("DR16Q catalogue", survey.dr16q, urls.DR16Q_SIZE, urls.DR16Q)
    if what == "tables":
        folder = survey.quasars.parent
        listing = urls.mirrored(urls.OSF_LISTING, mirror)
        lines.append(
            f"the reference's {' and '.join(urls.OSF_TABLES)}: about {urls.OSF_SIZE / 1e6:,.0f} MB\n"
            f"  from the addresses that {listing} lists\n  to   {folder}"
        )
    if what in ("spectra", "all"):
        lines += _spectra_lines(survey, epochs, mirror, source)
    return lines


def _spectra_lines(survey: Survey, epochs: list[Epoch] | None, mirror: str | None, source: str) -> list[str]:
    if epochs is None:
        size = urls.SPECTRA * SPECTRUM_SIZE / 1e9
        some = f"about {urls.SPECTRA:,} files, {size:,.1f} GB (exactly: once the catalogues are there)"
        example = _address((7666, 57339, 121), mirror)
        return [f"spec-lite files: {some}\n  from addresses like {example}\n  to   {survey.folder / 'spectra'}"]
    known = read(survey)
    todo = [epoch for epoch in epochs if epoch not in known or not settled(survey, known[epoch], False)]
    size = f"about {len(todo) * SPECTRUM_SIZE / 1e6:,.0f} MB"
    lines = [f"spec-lite files: {len(epochs):,} wanted, {len(todo):,} to fetch, {size}"]
    lines.append(f"  to   {survey.folder / 'spectra'}")
    if source == "sparcl":
        return [*lines, "  from SPARCL, by their specid"]
    shown = todo if len(todo) <= 2 * SHOWN else [*todo[:SHOWN], None, *todo[-SHOWN:]]
    lines += ["  ..." if epoch is None else f"  from {_address(epoch, mirror)}" for epoch in shown]
    others = {run2d for epoch in todo for run2d in urls.reductions(epoch[0])[1:]}
    if others:
        lines.append(f"  where that has none: the same under {', '.join(sorted(others))}")
    return lines


def _address(epoch: Epoch, mirror: str | None) -> str:
    return urls.mirrored(urls.spectrum(*epoch, urls.reductions(epoch[0])[0]), mirror)
