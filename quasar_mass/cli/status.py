"""What a survey has, what it lacks, and what to type next."""

import os
from collections import Counter
from pathlib import Path

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.survey import HOME, REAL_FOLDER, SIMULATED_FOLDER, Survey

ME = "python get_Chen_data.py"


def require_tables(survey: Survey) -> None:
    """Refuse a survey without its two tables, before anything slow is imported.

    Raises
    ------
    SurveyError
        Names the command to type.
    """
    if not (survey.quasars.exists() and survey.spectra.exists()):
        problem = "has no tables yet" if _has_anything(survey) else "holds no survey yet"
        raise SurveyError(survey.folder, f"{problem}; run: {next_step(survey)}")


def next_step(survey: Survey, states: Counter | None = None) -> str:
    """Give the next command on the way to the tables of a survey; `common.as_typed` adds the user's ``--survey``.

    Parameters
    ----------
    survey : Survey
    states : Counter, optional
        `plan.count_states`, where it is known already.
    """
    from quasar_mass.fetch import plan
    from quasar_mass.fetch.spectra import CHANGED
    from quasar_mass.tables import survey_tables

    if not _has_anything(survey):
        real = survey.folder.absolute() == REAL_FOLDER
        simulate = "" if real else f"{ME} simulate, or, for real SDSS data, "
        return f"{simulate}{ME} fetch all"
    about = survey.about()
    if about["kind"] == "simulated" and about.get("origin") != "fetched" and not about.get("complete"):
        size = f" --objects {about['objects']} --seed {about['seed']}" if "objects" in about else ""
        return f"{ME} simulate{size}"
    states = plan.count_states(survey) if states is None else states
    if states[CHANGED]:
        return f"{ME} fetch spectra"
    if survey.spectra.exists() and survey.quasars.exists():
        if plan.came_since_build(survey):
            return f"{ME} build"
        builds = {survey_tables.read_about(path)["build"] for path in (survey.spectra, survey.quasars)}
        if len(builds) > 1:
            again = "build" if survey.chen.exists() and survey.dr16q.exists() else "convert FILE"
            return f"{ME} {again}; the two tables are of different builds"
        demo = survey.folder.absolute() == SIMULATED_FOLDER
        train = "make run, or open Quasar_mass_ML.ipynb" if demo else f"make train SURVEY={survey.folder}"
        train = f"{train}; " if (HOME / "Makefile").exists() else ""
        return f"{train}python quasar_analysis.py evaluate"
    if not states and survey.chen.exists() and survey.dr16q.exists() and _plates(survey):
        return f"{ME} build"
    if survey.quasars.exists() != survey.spectra.exists():
        missing = survey.spectra if survey.quasars.exists() else survey.quasars
        return f"{ME} convert FILE, FILE being the reference's {missing.name}"
    if not (survey.chen.exists() and survey.dr16q.exists()):
        return f"{ME} fetch catalogs"
    if states and not states["missing"]:
        return f"{ME} fetch spectra, or, without those that failed, {ME} build" if states["failed"] else f"{ME} build"
    return f"{ME} fetch spectra"


def print_status(survey: Survey, states: Counter) -> None:
    """Print what a survey has and what it lacks; `states` as of `plan.count_states`."""
    from quasar_mass.fetch import plan
    from quasar_mass.tables import survey_tables

    about = survey.about()
    print(f"survey {survey.folder} ({about['kind'] if _has_anything(survey) else 'nothing there yet'})")
    if about.get("origin") == "fetched":
        print(f"  fetched from {about.get('from')}, whose files say that they are simulated")
    elif about["kind"] == "simulated":
        state = "complete" if about.get("complete") else "INCOMPLETE"
        print(f"  simulated with --objects {about.get('objects')} --seed {about.get('seed')}, {state}")
    plates = _plates(survey)
    spectra = plan.describe_states(states) if states else f"{plates:,} plates" if plates else "missing"
    for name, state in (
        ("Chen+ 2019 table", _size(survey.chen)),
        ("DR16Q catalogue", _size(survey.dr16q)),
        ("spectrum files", spectra),
        ("quasars.parquet", _size(survey.quasars)),
        ("spectra.parquet", _size(survey.spectra)),
    ):
        print(f"  {name:<20} {state}")
    if survey.spectra.exists() and survey.quasars.exists():
        for cut in survey_tables.read_about(survey.spectra)["cuts"][-1:]:
            print(f"  {cut['objects']:,} objects, {cut['spectra']:,} spectra on the grid")


def _has_anything(survey: Survey) -> bool:
    paths = (survey.card, survey.chen, survey.dr16q, survey.quasars, survey.spectra, survey.folder / "spectra")
    return any(path.exists() for path in paths)


def _plates(survey: Survey) -> int:
    folder = survey.folder / "spectra"
    return sum(1 for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else 0


def _size(path: Path) -> str:
    if not path.is_dir():
        return f"{path.stat().st_size / 1e6:,.1f} MB" if path.exists() else "missing"
    parts = [part.stat().st_size for part in path.glob("*.parquet")]
    return f"{sum(parts) / 1e6:,.1f} MB in {len(parts):,} parts"
