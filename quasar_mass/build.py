"""Catalogues and spectrum files to the two Parquet tables: streamed, parallel, with a row for all that is rejected."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quasar_mass import __version__, tables
from quasar_mass.catalogs import read_chen, select
from quasar_mass.dataset import split_objects
from quasar_mass.errors import SpectrumError, SurveyError
from quasar_mass.files import progress, sha256
from quasar_mass.parallel import ordered_map
from quasar_mass.spec_file import read_spectrum
from quasar_mass.spectrum import luminosity_distance, to_rest_frame
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
    """
    grid = Grid(step)
    survey_about = survey.about()
    selection = select(read_chen(survey.chen), survey.dr16q)
    todo, quasars = selection.epochs, selection.quasars
    redshift = quasars["Z"].loc[todo["OBJECT"]].to_numpy()
    ebv = quasars["EBV"].loc[todo["OBJECT"]].to_numpy() if extinction else np.full(len(todo), np.nan)
    todo = todo.assign(Z=redshift, EBV=ebv)

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
        chunks = [todo.iloc[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
        tasks = [(survey, chunk, grid) for chunk in chunks]
        with progress(None, total=len(todo), what="spectra to the grid", unit="spectra", quiet=quiet) as bar:
            for chunk, (batch, refused) in zip(chunks, ordered_map(_place, tasks, jobs), strict=True):
                rejects.extend(refused)
                spectra_per_object.update(batch["OBJECT"])
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
    n_spectra = tables.write_spectra(survey.spectra, stream(), grid, finish)

    quasars = quasars.assign(N_EPOCHS=pd.Series(spectra_per_object, dtype=np.int64))
    quasars = quasars[quasars["N_EPOCHS"].notna()].astype({"N_EPOCHS": np.int64})
    quasars["SPLIT"] = split_objects(quasars["N_EPOCHS"], quasars=quasars["QUASAR"])
    tables.write_quasars(survey.quasars, quasars, about)
    tables.write_rejects(survey.rejects, rejects, about)
    return Report(cuts, n_spectra, len(quasars), about["rejects"])


def build_digest(about: dict, spectra_per_object: dict) -> str:
    """Name of a build: the same for the two tables that belong together, another one for any other input."""
    text = json.dumps([about, sorted(spectra_per_object.items())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _place(survey: Survey, chunk: pd.DataFrame, grid: Grid) -> tuple[dict, list[dict]]:
    """Read one chunk's files and put them on the grid: a batch for the table, and the rejects."""
    batch: dict[str, list] = {name: [] for name in tables.spectra_schema(grid).names}
    rejects = []
    kind = survey.kind
    distances = luminosity_distance(chunk["Z"].to_numpy())
    for row, distance in zip(chunk.itertuples(index=False), distances, strict=True):
        try:
            spectrum = read_spectrum(survey.spectrum(row.plate, row.mjd, row.fiberid))
            if spectrum.epoch != row.EPOCH:
                raise SpectrumError(
                    survey.spectrum(row.plate, row.mjd, row.fiberid),
                    reason="not the spectrum named",
                    expected=f"spectrum {row.EPOCH}",
                    got=spectrum.epoch,
                    do="fetch it again",
                )
            if spectrum.kind == "simulated" and kind != "simulated":
                raise SurveyError(
                    survey.spectrum(row.plate, row.mjd, row.fiberid),
                    expected="a spectrum of the sky, as survey.json or its absence says",
                    got="a simulated one",
                    do="keep the two apart: fetch the sky, or simulate, into another --survey",
                )
            placed = to_rest_frame(spectrum, row.Z, grid, ebv=row.EBV, distance=distance)
        except SpectrumError as error:
            # inside the survey, so that the table reads the same wherever the folder stands
            detail = str(error).replace(f"{survey.folder}/", "")
            rejects.append({"OBJECT": row.OBJECT, "EPOCH": row.EPOCH, "REASON": error.reason, "DETAIL": detail})
            continue
        flags = tables.quality_flags(placed.n_bad, placed.n_pixels, extinction_known=not np.isnan(row.EBV))
        values = {
            "OBJECT": row.OBJECT,
            "EPOCH": row.EPOCH,
            "LABEL_EPOCH": bool(row.LABEL_EPOCH),
            "Z": row.Z,
            "SN": placed.signal_to_noise,
            "N_BAD": placed.n_bad,
            "EBV": None if np.isnan(row.EBV) else row.EBV,
            "RUN2D": spectrum.run2d,
            "FLAGS": "; ".join(flags),
            "flux": placed.flux,
        }
        for name, value in values.items():
            batch[name].append(value)
    batch["flux"] = np.array(batch["flux"], dtype=np.float32).reshape(-1, grid.size)
    return batch, rejects
