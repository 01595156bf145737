"""Get a survey: simulate it, or fetch and build it from the Chen+ 2019 and DR16Q catalogues and the SDSS spectra.

From a shell, `python get_Chen_data.py VERB --help`; from Python or the notebook, `get_Chen_data(creating=...)`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from quasar_mass.cli import common
from quasar_mass.cli.status import next_step, print_status, require_tables
from quasar_mass.core.errors import FetchError, QuasarMassError
from quasar_mass.core.parallel import cores
from quasar_mass.core.survey import (
    DEMO_OBJECTS,
    REAL_FOLDER,
    REFERENCE_STEP,
    SIMULATED_FOLDER,
    STEP,
    WIDE_REDSHIFT_RANGE,
    Survey,
    default_survey,
)
from quasar_mass.fetch.urls import MAX_CONNECTIONS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CREATING = ("Load", "Create dataframes", "Download", "Simulate")


def get_Chen_data(
    creating: str = "Load",
    survey: str | os.PathLike | None = None,
    *,
    step: float = STEP,
    quiet: bool = False,
    mirror: str | None = None,
) -> "tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray, np.ndarray, pd.Series, pd.Series, pd.Series]":
    """Give a survey's tables, split by object into training, validation and test sets.

    Parameters
    ----------
    creating : {"Load", "Create dataframes", "Download", "Simulate"}
        "Load" reads the two Parquet tables; "Create dataframes" first builds them from the catalogues and the spectrum
        files; "Download" first fetches those (half a day; goes on where an earlier call ended); "Simulate" first
        simulates the survey and builds it, unless it is there.
    survey : path, optional
        The survey's folder. Default: ``data`` if its tables or catalogues are there, or to download; else
        ``data/simulated``.
    step : float
        Grid step in dex for what is built.
    quiet : bool
        No progress bars.
    mirror : str, optional
        For "Download": scheme and host that stand in for the public ones, for example ``https://mirror.example``.

    Returns
    -------
    quasars : DataFrame
        One row per object, index OBJECT.
    spectra : DataFrame
        One row per spectrum, index (OBJECT, EPOCH), with a column ``flux`` of arrays.
    X_train, X_val, X_test : ndarray of float32, shape (n, n_pixels, 1)
        Luminosity density on the common rest-frame grid.
    y_train, y_val, y_test : Series of float32, index (OBJECT, EPOCH)
        log10(M_BH / M_Sun), the Chen+ label of the object.
    """
    from quasar_mass.core.errors import SurveyError
    from quasar_mass.tables import dataset

    if creating not in CREATING:
        raise SurveyError("creating", f"must be one of {', '.join(CREATING)}, not {creating!r}")
    usual = {"Simulate": Survey(SIMULATED_FOLDER), "Download": Survey(REAL_FOLDER)}
    chosen = Survey(survey) if survey else usual.get(creating) or default_survey()
    try:
        if creating == "Download":
            from quasar_mass.fetch.run import fetch

            fetch("all", chosen, mirror=mirror and common.mirror(mirror), quiet=quiet)
        if creating == "Simulate":
            _simulate_if_needed(chosen, step, quiet)
        if creating in ("Create dataframes", "Download"):
            _build(chosen, step=step, jobs=cores(), quiet=quiet)
        require_tables(chosen)
        data = dataset.load(chosen)
    except QuasarMassError as error:  # whose advice does not know which survey was named
        error.reword(common.as_typed(error.message, common.survey_option(survey)))
        raise
    spectra = data.spectra.assign(flux=list(data.flux))
    parts = [data.part(split) for split in ("training", "validation", "test")]
    return data.quasars, spectra, *(X for X, _ in parts), *(y for _, y in parts)


def _simulate_if_needed(survey: Survey, step: float, quiet: bool) -> None:
    """Simulate and build a survey unless it has tables of one build, made from this survey on this grid."""
    from quasar_mass.core import locks
    from quasar_mass.simulation.simulated_survey import simulate
    from quasar_mass.tables import survey_tables

    if not survey.about().get("complete"):
        simulate(survey, jobs=cores(), quiet=quiet)
    paths = (survey.spectra, survey.quasars, survey.rejects)
    about = [survey_tables.read_about(path) for path in paths if path.exists()]
    built = len(about) == len(paths) and len({table["build"] for table in about}) == 1
    if not (built and about[0]["grid"]["step"] == step and about[0]["survey"] == survey.about()):
        _build(survey, step=step, jobs=cores(), quiet=quiet)
    locks.clear(survey)


def _build(survey: Survey, **options: object) -> None:
    """Build and print the cut-by-cut table of counts."""
    from quasar_mass.fetch import plan
    from quasar_mass.tables.build.pipeline import build

    about = build(survey, **options)
    print(f"{'cut':<60} {'objects':>9} {'spectra':>9}")
    for cut in about["cuts"]:
        print(f"{cut['cut']:<60} {cut['objects']:>9,} {cut.get('spectra', ''):>9}")
    for reason, number in about["rejects"].items():
        print(f"rejected, {reason}: {number:,} spectra")
    if repair := plan.repair_command(survey, about):
        print(f"to fetch damaged files again: {common.as_typed(repair, '')}; then build again")
    elif survey.about().get("complete") and plan.damaged(about["rejects"]):
        print(f"damaged files of a simulation are not fetched: delete {survey.folder} and simulate it again")
    print(f"\n{cut['objects']:,} objects and {cut['spectra']:,} spectra ({survey.kind}) in {survey.quasars.parent}")


def status(options) -> None:
    """Print what is there, what is missing, and what to type next."""
    from quasar_mass.fetch import plan

    states = plan.count_states(options.survey, quiet=options.quiet)
    print_status(options.survey, states)
    print(f"next: {common.as_typed(next_step(options.survey, states), options.survey_option)}")


def simulate(options) -> None:
    """Simulate a survey: catalogues and spectra."""
    from quasar_mass.simulation.simulated_survey import simulate as run

    if options.check:
        _check(options, run)
        return
    about = run(options.survey, objects=options.objects, seed=options.seed, jobs=options.jobs, quiet=options.quiet)
    print(
        f"simulated survey in {options.survey.folder}: {about['objects']:,} objects, {about['spectra']:,} spectra,"
        f" seed {about['seed']}\nnext: {common.command('get_Chen_data.py')} build --survey {options.survey.folder}"
    )


def _check(options, run) -> None:
    """Print a comparison of a survey with real data; simulate and build it first if that has not been done."""
    from quasar_mass.report import comparison_figures, figures
    from quasar_mass.simulation.check import comparison, fit_errors

    real = comparison.real_folder()  # first: without it, a survey would be simulated in vain
    survey = options.survey
    if not survey.about().get("complete"):
        run(survey, objects=options.objects, seed=options.seed, jobs=options.jobs, quiet=options.quiet)
    if not survey.quasars.exists():
        _build(survey, jobs=options.jobs, quiet=options.quiet)
    result = comparison.compare(survey, real, quiet=options.quiet)
    print(f"{result}\n\n{fit_errors.text()}")
    folder = Path("results") / survey.folder.resolve().name / "check"
    if result.plane is not None:
        figures.save(
            comparison_figures.lines_beside(result.plane.spectra, result.plane.real, result.plane.simulated),
            folder / "lines.png",
        )
        print(f"figure: {folder / 'lines.png'}")
    if not result.pairs:
        low, high = comparison.SHOWN_REDSHIFTS
        print(f"no figure: none of the real spectra is at {low:g} <= z <= {high:g}")
        return
    path = folder / "simulated_and_real.png"
    figures.save(comparison_figures.spectra_beside(comparison.figure_panels(result.pairs)), path)
    print(f"figure: {path}")


def fetch(options) -> None:
    """Fetch the real survey, or a part of it; continues where an earlier run ended."""
    from quasar_mass.fetch import run

    if options.targets:
        if options.what != "spectra":
            raise FetchError("--targets", f"goes with `fetch spectra`, not with `fetch {options.what}`; leave one out")
        run.fetch_targets(options.targets, options.output, dry_run=options.dry_run, quiet=options.quiet)
        return
    if options.dry_run:
        how = {"mirror": options.mirror, "source": options.source, "reach": options.reach}
        print("\n".join(run.dry_run(options.what, options.survey, **how)))
        return
    run.fetch(
        options.what,
        options.survey,
        mirror=options.mirror,
        jobs=options.jobs,
        source=options.source,
        recheck=options.recheck,
        reach=options.reach,
        quiet=options.quiet,
        say=lambda line: print(common.as_typed(line, options.survey_option)),
    )
    print(f"next: {common.as_typed(next_step(options.survey), options.survey_option)}")


def build(options) -> None:
    """Make the Parquet tables from catalogues and spectrum files."""
    _build(
        options.survey,
        step=options.step,
        jobs=options.jobs,
        extinction=not options.no_extinction,
        reach=options.reach,
        quiet=options.quiet,
    )


def convert(options) -> None:
    """Convert the reference's own Parquet files into tables of this project."""
    from quasar_mass.tables.build.convert import convert as run

    print(run(options.file, options.survey, quiet=options.quiet))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    top, add = common.parser(__doc__.splitlines()[0], common.command("get_Chen_data.py"))
    real, simulated = Survey(REAL_FOLDER), Survey(SIMULATED_FOLDER)
    add(status, example="")

    verb = add(simulate, example="--objects 500", survey=simulated, interrupted=common.GOES_ON)
    size = f"number of quasars (default: {DEMO_OBJECTS:,})"
    verb.add_argument("--objects", type=common.positive, default=DEMO_OBJECTS, metavar="N", help=size)
    verb.add_argument("--seed", type=int, default=1, metavar="S", help="seed of all random numbers (default: 1)")
    common.add_workers(verb, cores())
    check = "compare the survey with the real data in the folder that QUASAR_MASS_REAL_DATA names"
    verb.add_argument("--check", action="store_true", help=check)

    verb = add(fetch, example="all --dry-run", survey=real, interrupted=common.GOES_ON)
    what = (
        "Chen+ 2019 and DR16Q (1.7 GB); or the reference's own tables (2.4 GB), converted; or the spectra of the "
        "selected quasars (9 GB); or catalogs and spectra"
    )
    verb.add_argument("what", choices=("catalogs", "tables", "spectra", "all"), help=what)
    verb.add_argument("--mirror", type=common.mirror, metavar="URL", help="scheme and host in place of the public ones")
    connections = f"number of connections (default: 8, at most {MAX_CONNECTIONS})"
    verb.add_argument("--jobs", type=common.whole_number(1, MAX_CONNECTIONS), default=8, metavar="N", help=connections)
    verb.add_argument("--dry-run", action="store_true", help="print counts, bytes and addresses; fetch nothing")
    source = "where spectra come from: the SDSS archive (default), or SPARCL in a few requests (needs sparclclient)"
    verb.add_argument("--from", dest="source", choices=("archive", "sparcl"), default="archive", help=source)
    targets = (
        "instead of the survey's, fetch the spectra of these DESI targets from SPARCL, a FITS table each: a table with "
        "a column TARGETID, or a text with one in each line (SPARCL's own ids are taken too)"
    )
    verb.add_argument("--targets", type=Path, metavar="FILE", help=targets)
    folder = "folder of the spectra of --targets (default: sparcl)"
    verb.add_argument("--output", type=Path, default=Path("sparcl"), metavar="DIR", help=folder)
    again = (
        "compare all spectra that are there with their checksums (without it: those that changed since they were "
        "verified, or that build could not read), and ask again for those that were not published"
    )
    verb.add_argument("--recheck", action="store_true", help=again)
    verb.add_argument("--reach", action="store_true", help="the spectra that `build --reach` takes")

    verb = add(build, example="--jobs 4", interrupted=common.STARTS_AGAIN)
    common.add_workers(verb, cores())
    step = f"grid step in dex (default: {STEP:g}; the reference used {REFERENCE_STEP:g})"
    verb.add_argument("--step", type=float, default=STEP, help=step)
    extinction = "do not correct for Galactic extinction (the reference did not)"
    verb.add_argument("--no-extinction", action="store_true", help=extinction)
    low, high = WIDE_REDSHIFT_RANGE
    reach = (
        f"take all redshifts from {low:g} to {high:g}, and spectra that show Mg II, or C IV and C III] (default: the "
        "reference's 1.2 to 1.8, and the whole window)"
    )
    verb.add_argument("--reach", action="store_true", help=reach)

    verb = add(convert, example="spectra.parquet", survey=real, interrupted=common.STARTS_AGAIN)
    verb.add_argument("file", metavar="FILE", help="its quasars.parquet (first) or its wide spectra.parquet")
    return common.run(top, arguments)
