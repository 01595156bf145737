"""Catalogues and spectrum files to the two Parquet tables: streamed, parallel, with a row for all that is rejected."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quasar_mass import __version__, locks, placing, tables
from quasar_mass.catalogs import read_chen, select
from quasar_mass.dataset import split_objects
from quasar_mass.errors import SurveyError
from quasar_mass.files import progress, sha256, together
from quasar_mass.parallel import ordered_map
from quasar_mass.placing import Selected
from quasar_mass.spectrum import extinction_curve, luminosity_distance
from quasar_mass.survey import SPLIT_SEED, STEP, Grid, Survey

_CHUNK = 128  # spectra per task: long enough to pay for the hand-over, short enough for a smooth bar


@dataclass(frozen=True)
class Report:
    """What a build did.

    Attributes
    ----------
    cuts : list of dict
        ``{"cut", "objects"}`` and, once spectra are counted, ``"spectra"``.
    spectra, objects : int
        In the tables.
    rejects : dict
        Reason to number of spectra.
    """

    cuts: list[dict]
    spectra: int
    objects: int
    rejects: dict


@locks.one_at_a_time
def build(survey: Survey, *, step: float = STEP, jobs: int = 1, extinction: bool = True, quiet: bool = False) -> Report:
    """Build quasars.parquet, spectra.parquet and rejects.parquet of a survey.

    Parameters
    ----------
    survey : Survey
        Its two catalogues and its spectrum files must be there; a spectrum that is not becomes a row of the rejects.
    step : float
        Grid step in dex.
    jobs : int
        Processes. The tables are the same bytes for any number.
    extinction : bool
        Correct for Galactic extinction; False leaves it out, as the reference does.
    quiet : bool
        No progress bar.

    Returns
    -------
    Report

    Raises
    ------
    FileError, TableError, SurveyError
        If a catalogue cannot be used, no spectrum is left, or a simulated one lies in a survey of the sky.
    LockError
        If another process writes in the survey.
    """
    grid = Grid(step)
    survey_about = survey.about()
    if survey_about.get("complete") is False:
        raise SurveyError(
            survey.folder,
            expected="a complete simulation",
            got="one that was interrupted",
            do=f'run: python get_Chen_data.py simulate --survey "{survey.folder}" with its --objects '
            f"{survey_about.get('objects')} --seed {survey_about.get('seed')}",
        )
    selection = select(read_chen(survey.chen), survey.dr16q)
    todo, quasars = selection.epochs, selection.quasars
    redshift = quasars["Z"].loc[todo["OBJECT"]].to_numpy()
    ebv = quasars["EBV"].loc[todo["OBJECT"]].to_numpy() if extinction else np.full(len(todo), np.nan)
    spectra = [
        Selected(*row)
        for row in zip(
            *(todo[name].tolist() for name in ("OBJECT", "EPOCH", "plate", "mjd", "fiberid", "LABEL_EPOCH")),
            redshift.tolist(),
            ebv.tolist(),
            luminosity_distance(redshift).tolist(),
            strict=True,
        )
    ]

    cuts = [*selection.cuts, {"cut": "all spectra of these objects", "objects": len(quasars), "spectra": len(todo)}]
    about = {
        "format": 1,
        "kind": survey_about["kind"],
        "survey": survey_about,
        "grid": tables.describe_grid(grid),
        "flux_unit": tables.FLUX_UNIT,
        "cosmology": "Planck15 (astropy)",
        "extinction_corrected": extinction,
        "version": __version__,
        "inputs": {path.name: sha256(path) for path in (survey.chen, survey.dr16q)},
        "split_seed": SPLIT_SEED,
    }
    rejects: list[dict] = []
    spectra_per_object: Counter = Counter()

    def stream() -> Iterator[dict]:
        curve = extinction_curve()
        tasks = [(survey, spectra[start : start + _CHUNK], grid, curve) for start in range(0, len(spectra), _CHUNK)]
        with progress(None, total=len(spectra), what="spectra to the grid", unit="spectra", quiet=quiet) as bar:
            for batch, refused in ordered_map(placing.place, tasks, jobs):
                rejects.extend(refused)
                spectra_per_object.update(batch["OBJECT"])
                bar.update(len(batch["OBJECT"]) + len(refused))
                if batch["OBJECT"]:
                    yield batch

    def finish() -> dict:
        kept = len(spectra_per_object)
        if not kept:
            raise SurveyError(
                survey.folder / "spectra",
                expected=f"at least one usable spectrum of {len(todo):,}",
                got=", ".join(f"{n:,} with '{why}'" for why, n in Counter(r["REASON"] for r in rejects).most_common()),
                do="run: python get_Chen_data.py fetch spectra",
            )
        cut = {"cut": "read, and covering the window", "objects": kept, "spectra": spectra_per_object.total()}
        cuts.append(cut)
        about["rejects"] = dict(sorted(Counter(row["REASON"] for row in rejects).items()))
        about["build"] = build_digest(about, spectra_per_object)
        return about

    about["cuts"] = cuts
    with together() as place:
        n_spectra = tables.write_spectra(survey.spectra, stream(), grid, finish, place)

        quasars = quasars.assign(N_EPOCHS=pd.Series(spectra_per_object, dtype=np.int64))
        quasars = quasars[quasars["N_EPOCHS"].notna()].astype({"N_EPOCHS": np.int64})
        quasars["SPLIT"] = split_objects(quasars["N_EPOCHS"])
        tables.write_quasars(survey.quasars, quasars, about, place)
        tables.write_rejects(survey.rejects, rejects, about, place)
    return Report(cuts, n_spectra, len(quasars), about["rejects"])


def build_digest(about: dict, spectra_per_object: dict) -> str:
    """Name of a build: the same for the two tables that belong together, another one for any other input."""
    text = json.dumps([about, sorted(spectra_per_object.items())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
