"""A simulated survey: the files that a survey would publish, of quasars that do not exist.

Spectra come from published physics (`quasar.intrinsic`, with `lines`, `profiles` and `absorption`); nuisances are drawn
more widely than their best estimates. A spectrograph after BOSS records them (`spectrograph.recording`, with `sky`,
`flux_calibration` and `masks`), for a varying source epoch after epoch (`quasar.received_flux`, `observing`). For the
objects of a made-up survey (`population`) the line fit of `virial` measures masses (`labels`). `published_catalogs` and
`spectrograph.spec_file` write what Chen+ 2019, DR16Q and the SDSS archive publish, in their formats. `check` compares
all that with real data, and `library` gives noise-free spectra for pre-training. A simulation cannot tell how well a
network does with real SDSS data.
"""

import itertools
import json
import os
from collections.abc import Iterator

from quasar_mass import __version__
from quasar_mass.core import locks
from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import atomic_write, progress
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import DEMO_OBJECTS, REAL_FOLDER, Survey

MAX_OBJECTS = 100_000
CHUNK_SPECTRA = 60  # per task of a worker, about a third of a second's work
NOTE = "The spectra and masses in this folder are simulated; no number made from them describes real quasars."


def simulate(
    survey: Survey, *, objects: int = DEMO_OBJECTS, seed: int = 1, jobs: int | str = 1, quiet: bool = False
) -> dict:
    """Simulate a survey into a folder.

    The same `objects`, `seed` and version give the same bytes, whatever `jobs` is and however often the run was
    interrupted: a second call keeps complete spectra and ends where an uninterrupted one would have.

    Parameters
    ----------
    survey : Survey
        The folder; made if it does not exist.
    objects : int
        About how many quasars pass the cuts on redshift and label (a few per cent of them do not cover the window);
        some 15 % more are made to fail the cuts. 1 to 100,000; each takes 0.3 MB of disk.
    seed : int
        0 to 2**32 - 1.
    jobs : int or str
        Number of processes, or the address of a Dask scheduler whose workers have access to the survey's folder.
    quiet : bool
        No progress bar.

    Returns
    -------
    dict
        The content of `survey.json`.

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
    for what, value, low, high in (("number of objects", objects, 1, MAX_OBJECTS), ("seed", seed, 0, 2**32 - 1)):
        if value != int(value) or not low <= value <= high:
            raise SurveyError(f"the {what}", f"must be a whole number from {low} to {high:,}, not {value!r}")
    recipe = {"kind": "simulated", "objects": int(objects), "seed": int(seed), "version": __version__}
    if (about := _completed(survey, recipe)) is not None:
        locks.clear(survey)
        return about
    survey.folder.mkdir(parents=True, exist_ok=True)
    with locks.survey_lock(survey):
        return _simulate(survey, recipe, jobs, quiet)


def _simulate(survey: Survey, recipe: dict, jobs: int | str, quiet: bool) -> dict:
    if (about := _completed(survey, recipe)) is not None:  # another process may have finished it
        return about

    from quasar_mass.simulation import population, published_catalogs  # not at the top: --help needs no numpy

    seed = recipe["seed"]
    targets = population.targets(recipe["objects"], seed)
    spectra = sum(len(target.epochs) for target in targets if target.has_files)
    about = recipe | {"complete": False, "spectra": spectra, "note": NOTE}
    _write_card(survey, about)  # first, so that an unfinished folder is never taken for a real survey
    made = _simulate_all(survey, seed, targets, jobs)
    records = list(progress(made, total=len(targets), what="Simulate", unit="quasars", quiet=quiet))
    published_catalogs.write_masses(survey, records)
    published_catalogs.write_quasars(survey, records)
    published_catalogs.write_truth(survey, records, seed=seed)
    if hasattr(os, "sync"):
        os.sync()  # once for all spectra, before the card says that they are complete
    about["complete"] = True
    _write_card(survey, about)
    return about


def _completed(survey: Survey, recipe: dict) -> dict | None:
    """Give `survey.json` of a complete survey of this recipe, None if it is to be made; refuse any other survey."""
    if not survey.card.exists():
        inputs = (survey.chen, survey.dr16q, survey.quasars, survey.spectra, survey.folder / "spectra")
        if any(path.exists() for path in inputs):
            raise SurveyError(
                survey.folder, f"holds a real survey's files (it has no {survey.card.name}); choose another --survey"
            )
        return None
    about = survey.about()
    if about["kind"] != "simulated":
        raise SurveyError(survey.folder, "holds a real survey; choose another --survey")
    if any(about.get(key) != value for key, value in recipe.items()):
        other, this = (
            f"{card.get('objects')} objects, seed {card.get('seed')}, version {card.get('version')}"
            for card in (about, recipe)
        )
        raise SurveyError(
            survey.folder,
            f"holds another simulation ({other}; not {this}); delete the folder or choose another --survey",
        )
    return about if about.get("complete") is True else None


def _write_card(survey: Survey, about: dict) -> None:
    with atomic_write(survey.card) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _simulate_all(survey: Survey, seed: int, targets: list, jobs: int | str) -> Iterator:
    """Simulate all targets, in order."""
    from quasar_mass.simulation.observing import simulate_targets

    absolute = Survey(survey.folder.absolute())  # other processes may have another current folder
    tasks = [(absolute, seed, chunk) for chunk in _chunks(targets)]
    return itertools.chain.from_iterable(ordered_map(simulate_targets, tasks, jobs, [absolute.card]))


def _chunks(targets: list) -> list[list]:
    """Targets in order, in lists of about `CHUNK_SPECTRA` spectra."""
    spectra = itertools.accumulate(len(target.epochs) for target in targets)
    chunks = itertools.groupby(zip(targets, spectra, strict=True), lambda pair: pair[1] // CHUNK_SPECTRA)
    return [[target for target, _ in chunk] for _, chunk in chunks]
