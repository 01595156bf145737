"""Catalogues and spectrum files to the two Parquet tables: streamed, parallel, with a row for all that is rejected."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass import __version__
from quasar_mass.core import locks
from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import atomic_group, progress, sha256
from quasar_mass.core.parallel import check_missing, is_cluster, ordered_map
from quasar_mass.core.survey import SPLIT_SEED, STEP, Grid, Survey
from quasar_mass.spectra.extinction import extinction_curve
from quasar_mass.spectra.rest_frame import luminosity_distance
from quasar_mass.tables import survey_tables
from quasar_mass.tables.build import partitions, regrid
from quasar_mass.tables.build.regrid import Selected
from quasar_mass.tables.build.selection import select
from quasar_mass.tables.catalogs import read_chen
from quasar_mass.tables.dataset import split_objects

_CHUNK = 128  # spectra per task: long enough to pay for the hand-over, short enough for a smooth bar
_CLUSTER_CHUNK = 1024  # on a cluster, where a task leaves a file of 15 MB for the parts


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


@locks.file_lock
def build(
    survey: Survey, *, step: float = STEP, jobs: int | str = 1, extinction: bool = True, quiet: bool = False
) -> Report:
    """Build quasars.parquet, spectra.parquet and rejects.parquet of a survey.

    Parameters
    ----------
    survey : Survey
        Its two catalogues and its spectrum files must be there; a spectrum that is not becomes a row of the rejects.
    step : float
        Grid step in dex.
    jobs : int or str
        Processes, or the address of a Dask scheduler whose workers see the survey's folder. The tables are the same
        bytes for any number; on a cluster spectra.parquet is a folder of parts, with the same rows in the same order.
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
    ClusterError
        As of `ordered_map`, and if a worker does not see a spectrum that is there.
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
        "grid": survey_tables.describe_grid(grid),
        "flux_unit": survey_tables.FLUX_UNIT,
        "cosmology": "Planck15 (astropy)",
        "extinction_corrected": extinction,
        "version": __version__,
        "inputs": {path.name: sha256(path) for path in (survey.chen, survey.dr16q)},
        "split_seed": SPLIT_SEED,
    }
    rejects: list[dict] = []
    spectra_per_object: Counter = Counter()

    everywhere = Survey(survey.folder.absolute())  # processes elsewhere have a current folder of their own
    needs = (everywhere.chen, everywhere.dr16q, everywhere.card)

    def placed(size: int, keep: Path | None = None) -> Iterator:
        """Batches of spectra, in order; or, with a folder for them, where the workers have kept them."""
        curve = extinction_curve()
        chunks = [spectra[start : start + size] for start in range(0, len(spectra), size)]
        tasks = [(everywhere, chunk, grid, curve, keep and partitions.kept(keep, n)) for n, chunk in enumerate(chunks)]
        made = ordered_map(regrid.regrid, tasks, jobs, needs)
        with progress(None, total=len(spectra), what="spectra to the grid", unit="spectra", quiet=quiet) as bar:
            for chunk, (objects, batch, refused) in zip(chunks, made, strict=True):
                for row in refused:
                    if is_cluster(jobs) and row["REASON"] == "missing file":
                        check_missing(everywhere.spectrum(*map(int, row["EPOCH"].split("-"))))
                rejects.extend(refused)
                spectra_per_object.update(objects)
                bar.update(len(chunk))
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
    with atomic_group() as place:
        if is_cluster(jobs):
            with place(everywhere.spectra, folder=True) as folder:
                kept = list(placed(_CLUSTER_CHUNK, partitions.prepare(folder)))
                n_spectra = partitions.write(folder, kept, grid, finish(), jobs, needs, quiet=quiet)
        else:
            n_spectra = survey_tables.write_spectra(survey.spectra, placed(_CHUNK), grid, finish, place)

        quasars = quasars.assign(N_EPOCHS=pd.Series(spectra_per_object, dtype=np.int64))
        quasars = quasars[quasars["N_EPOCHS"].notna()].astype({"N_EPOCHS": np.int64})
        quasars["SPLIT"] = split_objects(quasars["N_EPOCHS"], quasars=quasars["QUASAR"])
        survey_tables.write_quasars(survey.quasars, quasars, about, place)
        survey_tables.write_rejects(survey.rejects, rejects, about, place)
    return Report(cuts, n_spectra, len(quasars), about["rejects"])


def build_digest(about: dict, spectra_per_object: dict) -> str:
    """Name of a build: the same for the two tables that belong together, another one for any other input."""
    text = json.dumps([about, sorted(spectra_per_object.items())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
