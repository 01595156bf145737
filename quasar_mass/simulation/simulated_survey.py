"""A simulated survey: the files that a survey would publish, of quasars that do not exist.

Published physics, drawn more widely than its best estimates where it is a nuisance, makes the spectra (`intrinsic`,
with `lines`, `profiles` and `absorption`); a telescope after BOSS records them (`recording`, with `sky`,
`flux_calibration` and `masks`), epoch after epoch of a varying source (`received_flux`, `observing`); and for the
objects of a made-up survey (`population`) the line fit of `virial` measures masses on them (`labels`).
`published_catalogs` and `sdss` write what Chen+ 2019, DR16Q and the SDSS archive publish, in their formats; `check`
compares all that with real data, and `library` gives noise-free spectra to pre-train on. What it cannot do is tell
how well a network does on the sky.
"""

import json
import operator
import os
from collections.abc import Iterator
from itertools import chain

from quasar_mass import __version__
from quasar_mass.core import locks
from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import atomic_write, progress
from quasar_mass.core.parallel import is_cluster, ordered_map
from quasar_mass.core.survey import DEMO_OBJECTS, REAL_FOLDER, Survey

MAX_OBJECTS = 100_000
CHUNK_SPECTRA = 60  # spectra that a worker is given at a time, about a third of a second's work
NOTE = "The spectra and the masses in this folder are simulated; no number made from them says anything about the sky."


def simulate(
    survey: Survey, *, objects: int = DEMO_OBJECTS, seed: int = 1, jobs: int | str = 1, quiet: bool = False
) -> dict:
    """Simulate a survey into a folder.

    The same `objects`, `seed` and version give the same bytes, whatever `jobs` is and however often the run was
    interrupted: a second call keeps the spectra that are there whole and ends where an unbroken one would have.

    Parameters
    ----------
    survey : Survey
        The folder; made if it is not there.
    objects : int
        How many quasars pass the cuts on redshift and label, about (a few per cent of them do not cover the window);
        some 15 % more are made to fail the cuts. 1 to 100,000; takes 0.3 MB of disk each.
    seed : int
        0 to 2**32 - 1.
    jobs : int or str
        Processes to work in, or the address of a Dask scheduler whose workers see the survey's folder.
    quiet : bool
        No progress bar.

    Returns
    -------
    dict
        What `survey.json` says.

    Raises
    ------
    SurveyError
        If the folder is the real survey's, holds another survey, or a number is out of range.
    LockError
        If another process writes in the folder.
    """
    if survey.folder.resolve() == REAL_FOLDER.resolve():
        raise SurveyError(
            survey.folder,
            "is the real survey's folder, and simulated data never go there; choose another --survey, for example"
            " data/simulated",
        )
    # Exact integers, so that what survey.json records is what was used.
    objects = _checked("the number of objects", objects, 1, MAX_OBJECTS)
    seed = _checked("the seed", seed, 0, 2**32 - 1)
    if not is_cluster(jobs):
        jobs = _checked("the number of jobs", jobs, 1, 256)
    recipe = {"kind": "simulated", "objects": objects, "seed": seed, "version": __version__}
    if (done := _already_there(survey, recipe)) is not None:
        locks.clear(survey)
        return done
    survey.folder.mkdir(parents=True, exist_ok=True)
    return _simulate(survey, recipe, jobs, quiet)


@locks.file_lock
def _simulate(survey: Survey, recipe: dict, jobs: int, quiet: bool) -> dict:
    """Simulate what is not there yet; the card."""
    if (done := _already_there(survey, recipe)) is not None:  # another process may have finished it
        return done

    from quasar_mass.simulation import population, published_catalogs  # not at the top: --help needs no numpy

    seed = recipe["seed"]
    targets = population.targets(recipe["objects"], seed)
    spectra = sum(len(target.epochs) for target in targets if target.has_files)
    about = recipe | {"complete": False, "spectra": spectra, "note": NOTE}
    _write_card(survey, about)  # first, so that a folder cut short never passes for the sky
    made = _records(survey, seed, targets, jobs)
    records = list(progress(made, total=len(targets), what="Simulate", unit="quasars", quiet=quiet))
    published_catalogs.write_masses(survey, records)
    published_catalogs.write_quasars(survey, records)
    published_catalogs.write_truth(survey, records, seed=seed)
    if hasattr(os, "sync"):
        os.sync()  # once for all spectra, before the card vouches for them
    about["complete"] = True
    _write_card(survey, about)
    return about


def _checked(what: str, value: int, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise SurveyError(
            what, expected=f"a whole number from {least} to {most:,}", got=repr(value), do="pass another one"
        )
    return number


def _already_there(survey: Survey, recipe: dict) -> dict | None:
    """Give the card of a complete survey of this recipe, None if there is work to do; refuse another survey."""
    if not survey.card.exists():
        inputs = (survey.chen, survey.dr16q, survey.quasars, survey.spectra, survey.folder / "spectra")
        found = next((path for path in inputs if path.exists()), None)
        if found is not None:
            raise SurveyError(
                survey.folder,
                expected="an empty folder or a simulated survey",
                got=f"a real survey's {found.name} without {survey.card.name}",
                do="choose another --survey",
            )
        return None
    about = survey.about()
    if any(about.get(key) != value for key, value in recipe.items()):
        raise SurveyError(
            survey.folder,
            expected=f"a survey of {_say(recipe)}",
            got=f"one of {_say(about)}",
            do=("delete the folder or " if about["kind"] == "simulated" else "") + "choose another --survey",
        )
    return about if about.get("complete") is True else None


def _say(about: dict) -> str:
    if about["kind"] != "simulated":
        return f"kind {about['kind']}"
    return f"{about.get('objects')} simulated objects, seed {about.get('seed')}, version {about.get('version')}"


def _write_card(survey: Survey, about: dict) -> None:
    with atomic_write(survey.card) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _records(survey: Survey, seed: int, targets: list, jobs: int | str) -> Iterator:
    """Simulate all targets, in order."""
    from quasar_mass.simulation.observing import simulate_targets

    everywhere = Survey(survey.folder.absolute())  # processes elsewhere have a current folder of their own
    tasks = [(everywhere, seed, chunk) for chunk in _chunks(targets)]
    return chain.from_iterable(ordered_map(simulate_targets, tasks, jobs, [everywhere.card]))


def _chunks(targets: list) -> Iterator[list]:
    """Targets in order, in lists of about `CHUNK_SPECTRA` spectra."""
    chunk, spectra = [], 0
    for target in targets:
        chunk.append(target)
        spectra += len(target.epochs)
        if spectra >= CHUNK_SPECTRA:
            yield chunk
            chunk, spectra = [], 0
    if chunk:
        yield chunk
