"""From spectrum files to rows of spectra.parquet: the task of a worker process, which imports little to start fast."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.spectra.rest_frame import prepare

_COLUMNS = ("OBJECT", "EPOCH", "LABEL_EPOCH", "Z", "SN", "N_BAD", "EBV", "RUN2D", "FLAGS")  # of a batch, and the flux


class Selected(NamedTuple):
    """A selected spectrum, and what the catalogues say of its object.

    Attributes
    ----------
    name, epoch : str
        OBJECT, and plate-mjd-fiber.
    plate, mjd, fiberid : int
    label_epoch : bool
        Whether the label was measured on it.
    redshift, ebv, distance : float
        Z of DR16Q; E(B-V) to correct for, NaN for none; luminosity distance in Mpc.
    """

    name: str
    epoch: str
    plate: int
    mjd: int
    fiberid: int
    label_epoch: bool
    redshift: float
    ebv: float
    distance: float


def regrid(
    survey: Survey, spectra: list[Selected], grid: Grid, curve: np.ndarray, keep: Path | None = None
) -> tuple[list[str], dict | tuple, list[dict]]:
    """Read files and put them on the grid.

    Parameters
    ----------
    survey : Survey
    spectra : list of Selected
    grid : Grid
    curve : ndarray
        `extinction.extinction_curve`.
    keep : Path, optional
        Leave the batch in this file.

    Returns
    -------
    objects : list of str
        Whose spectra they are.
    batch : dict
        Columns of spectra.parquet: lists, and the flux, float32 of shape (n, grid.size). With `keep`, what
        `partitions.keep` says of it.
    rejects : list of dict
        Rows of rejects.parquet.

    Raises
    ------
    SurveyError
        If a simulated spectrum lies in an observed survey.
    """
    kind = survey.kind
    flux = np.empty((len(spectra), grid.size), np.float32)
    rows, rejects = [], []
    for one in spectra:
        path = survey.spectrum(one.plate, one.mjd, one.fiberid)
        prepared = prepare(
            path, grid, redshift=one.redshift, spec_id=one.epoch, ebv=one.ebv, distance=one.distance, curve=curve
        )
        if prepared.spectrum and prepared.spectrum.kind == "simulated" and kind != "simulated":
            raise SurveyError(
                path,
                "is a simulated spectrum, and survey.json or its absence says that this survey is observed; keep the "
                "two apart: fetch, or simulate, into another --survey",
            )
        if prepared.error:
            # inside the survey, so that the table reads the same wherever the folder stands
            detail = str(prepared.error).replace(f"{survey.folder}/", "")
            rejects.append({"OBJECT": one.name, "EPOCH": one.epoch, "REASON": prepared.error.reason, "DETAIL": detail})
            continue
        placed = prepared.rest_frame
        flux[len(rows)] = placed.flux
        rows.append(
            {
                "OBJECT": one.name,
                "EPOCH": one.epoch,
                "LABEL_EPOCH": one.label_epoch,
                "Z": one.redshift,
                "SN": placed.signal_to_noise,
                "N_BAD": placed.n_bad,
                "EBV": None if np.isnan(one.ebv) else one.ebv,
                "RUN2D": prepared.spectrum.run2d,
                "FLAGS": "; ".join(prepared.flags),
            }
        )
    batch = {name: [row[name] for row in rows] for name in _COLUMNS} | {"flux": flux[: len(rows)]}
    if keep:
        from quasar_mass.tables.build import partitions  # not at the top: local processes do not need it

        return batch["OBJECT"], partitions.save_batch(keep, batch, grid), rejects
    return batch["OBJECT"], batch, rejects
