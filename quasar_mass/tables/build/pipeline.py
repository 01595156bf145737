"""From the catalogues and the spectrum files to the tables of a survey, streamed and in parallel."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core import locks
from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import atomic_group, progress, sha256
from quasar_mass.core.parallel import is_cluster, ordered_map
from quasar_mass.core.survey import REDSHIFT_RANGE, STEP, WIDE_REDSHIFT_RANGE, Grid, Survey
from quasar_mass.spectra.cosmology import luminosity_distance
from quasar_mass.spectra.extinction import extinction_curve
from quasar_mass.tables import schemas, survey_tables
from quasar_mass.tables.build import partitions, regrid
from quasar_mass.tables.build.regrid import Selected
from quasar_mass.tables.build.selection import Selection, select
from quasar_mass.tables.catalogs import read_chen
from quasar_mass.tables.dataset import split_objects

_CHUNK = 128  # spectra per task: enough to outweigh the transfer, few enough for a smooth progress bar
_CLUSTER_CHUNK = 1024  # on a cluster, where each task saves a file of 15 MB


def build(
    survey: Survey,
    *,
    step: float = STEP,
    jobs: int | str = 1,
    extinction: bool = True,
    reach: bool = False,
    quiet: bool = False,
) -> dict:
    """Build quasars.parquet, spectra.parquet and rejects.parquet of a survey.

    Every selected spectrum is either in spectra.parquet or listed in rejects.parquet with its reason.

    Parameters
    ----------
    survey : Survey
        Needs its two catalogues and its spectrum files.
    step : float
        Grid step in dex.
    jobs : int or str
        Number of processes, or the address of a Dask scheduler whose workers see the survey's folder. The tables are
        the same bytes for any number; on a cluster spectra.parquet is a folder of parts with the same rows in the same
        order.
    extinction : bool
        Correct for Galactic extinction; the reference does not.
    reach : bool
        Take all redshifts of `WIDE_REDSHIFT_RANGE`, and spectra that show Mg II, or C IV and C III]; the flux is NaN
        where a spectrum has no data. If not, the reference's selection: 1.2 <= Z < 1.8, and the whole window.
    quiet : bool
        No progress bar.

    Returns
    -------
    dict
        The tables' description of themselves. Its ``cuts`` are a list of ``{"cut", "objects"}`` and, where spectra are
        counted, ``"spectra"``; the last one counts the tables. Its ``rejects`` give the number of spectra by reason.

    Raises
    ------
    FileError, TableError, SurveyError
        If a catalogue cannot be used, no spectrum is left, or a simulated one is among real data.
    LockError
        If another process writes in the survey.
    ClusterError
        As in `ordered_map`.
    """
    grid = Grid(step)
    survey_about = survey.about()
    if survey_about.get("complete") is False:
        raise SurveyError(
            survey.folder,
            f'is a simulation that was interrupted; run: python get_Chen_data.py simulate --survey "{survey.folder}" '
            f"--objects {survey_about.get('objects')} --seed {survey_about.get('seed')}",
        )
    selection = select(read_chen(survey.chen), survey.dr16q, WIDE_REDSHIFT_RANGE if reach else REDSHIFT_RANGE)
    quasars, n_selected = selection.quasars, len(selection.epochs)
    cut = {"cut": "all spectra of these objects", "objects": len(quasars), "spectra": n_selected}
    about = schemas.new_about(
        survey_about,
        {path.name: sha256(path) for path in (survey.chen, survey.dr16q)},
        grid=schemas.describe_grid(grid),
        flux_unit=schemas.FLUX_UNIT,
        cosmology="Planck15 (astropy)",
        extinction_corrected=extinction,
        cuts=[*selection.cuts, cut],
        **({"partial": True} if reach else {}),
    )
    work = _Regridding(survey, _spectra(selection, extinction), grid, jobs, quiet, reach)

    def finish() -> dict:
        work.describe(about)
        return about

    with locks.survey_lock(survey), atomic_group() as place:
        if is_cluster(jobs):
            with place(work.survey.spectra, folder=True) as folder:
                batches = list(work.batches(_CLUSTER_CHUNK, folder))
                partitions.write(folder, batches, grid, finish(), jobs, work.needs, quiet=quiet)
        else:
            survey_tables.write_spectra(survey.spectra, work.batches(_CHUNK), grid, finish, place)
        quasars = quasars.assign(N_EPOCHS=pd.Series(work.spectra_per_object, dtype=np.int64))
        quasars = quasars[quasars["N_EPOCHS"].notna()].astype({"N_EPOCHS": np.int64})
        quasars["SPLIT"] = split_objects(quasars["N_EPOCHS"], quasars=quasars["QUASAR"])
        survey_tables.write_quasars(survey.quasars, quasars, about, place)
        survey_tables.write_rejects(survey.rejects, work.rejects, about, place)
    return about


def _spectra(selection: Selection, extinction: bool) -> list[Selected]:
    """Give the selected spectra with what the catalogues say of their objects."""
    epochs, objects = selection.epochs, selection.quasars.loc[selection.epochs["OBJECT"]]
    redshift = objects["Z"].to_numpy()
    ebv = objects["EBV"].to_numpy() if extinction else np.full(len(epochs), np.nan)
    columns = [epochs[name].tolist() for name in ("OBJECT", "EPOCH", "plate", "mjd", "fiberid", "LABEL_EPOCH")]
    columns += [redshift.tolist(), ebv.tolist(), luminosity_distance(redshift).tolist()]
    return [Selected(*row) for row in zip(*columns, strict=True)]


class _Regridding:
    """Puts the selected spectra on the grid, and counts those that could be used.

    Attributes
    ----------
    rejects : list of dict
        Rows of rejects.parquet.
    spectra_per_object : Counter
        Of the spectra on the grid.
    """

    def __init__(
        self, survey: Survey, spectra: list[Selected], grid: Grid, jobs: int | str, quiet: bool, partial: bool
    ) -> None:
        self.survey = Survey(survey.folder.absolute())  # workers have another current folder
        self.needs = (self.survey.chen, self.survey.dr16q, self.survey.card)
        self._spectra, self._grid, self._jobs, self._quiet, self._partial = spectra, grid, jobs, quiet, partial
        self.rejects: list[dict] = []
        self.spectra_per_object: Counter = Counter()

    def batches(self, size: int, folder: Path | None = None) -> Iterator:
        """Give batches of spectra on the grid, in order; with a folder, where the workers have saved them."""
        curve = extinction_curve()
        chunks = [self._spectra[start : start + size] for start in range(0, len(self._spectra), size)]
        files = partitions.batch_files(folder, len(chunks)) if folder else [None] * len(chunks)
        pairs = zip(chunks, files, strict=True)
        tasks = [(self.survey, chunk, self._grid, curve, file, self._partial) for chunk, file in pairs]
        results = ordered_map(regrid.regrid, tasks, self._jobs, self.needs)
        total = len(self._spectra)
        with progress(None, total=total, what="spectra to the grid", unit="spectra", quiet=self._quiet) as bar:
            for chunk, (objects, batch, rejects) in zip(chunks, results, strict=True):
                self.rejects += rejects
                self.spectra_per_object.update(objects)
                bar.update(len(chunk))
                yield batch

    def describe(self, about: dict) -> None:
        """Add the numbers of used and rejected spectra, and a name for the build, to the tables' description."""
        reasons = Counter(row["REASON"] for row in self.rejects)
        if not self.spectra_per_object:
            listed = ", ".join(f"{number:,} with '{reason}'" for reason, number in reasons.most_common())
            raise SurveyError(
                self.survey.folder / "spectra",
                f"has no usable spectrum of {len(self._spectra):,} ({listed}); "
                "run: python get_Chen_data.py fetch spectra",
            )
        counts = {"objects": len(self.spectra_per_object), "spectra": self.spectra_per_object.total()}
        cut = "read, and showing Mg II, or C IV and C III]" if self._partial else "read, and covering the window"
        about["cuts"].append({"cut": cut, **counts})
        about["rejects"] = dict(sorted(reasons.items()))
        # equal for the two tables of one build, different for any other input
        text = json.dumps([about, sorted(self.spectra_per_object.items())], sort_keys=True)
        about["build"] = hashlib.sha256(text.encode()).hexdigest()
