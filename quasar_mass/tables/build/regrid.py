"""From spectrum files to rows of spectra.parquet: the task of a worker process. Few imports, for a fast start."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.spectra.rest_frame import prepare
from quasar_mass.spectra.seen_lines import LINES

# of a batch, and the flux
_COLUMNS = ("OBJECT", "EPOCH", "LABEL_EPOCH", "Z", "SN", "N_BAD", *LINES, "EBV", "RUN2D", "FLAGS")


class Selected(NamedTuple):
    """A selected spectrum, and what the catalogues say of its object.

    Attributes
    ----------
    name, spec_id : str
        OBJECT, and plate-mjd-fiber.
    plate, mjd, fiberid : int
    label_epoch : bool
        Whether the label was measured on it.
    redshift, ebv, distance : float
        Z of DR16Q; E(B-V) to correct for, NaN for none; luminosity distance in Mpc.
    """

    name: str
    spec_id: str
    plate: int
    mjd: int
    fiberid: int
    label_epoch: bool
    redshift: float
    ebv: float
    distance: float


def regrid(
    survey: Survey,
    spectra: list[Selected],
    grid: Grid,
    curve: np.ndarray,
    save_to: Path | None = None,
    partial: bool = False,
) -> tuple[list[str], dict | tuple, list[dict]]:
    """Read files and put them on the grid.

    Parameters
    ----------
    survey : Survey
    spectra : list of Selected
    grid : Grid
    curve : ndarray
        `extinction.extinction_curve`.
    save_to : Path, optional
        Save the batch in this file instead of returning it.
    partial : bool
        As of `rest_frame.to_rest_frame`.

    Returns
    -------
    objects : list of str
        OBJECT of every spectrum on the grid.
    batch : dict
        Columns of spectra.parquet: lists, and the flux, float32 of shape (n, grid.size). With `save_to`, the result of
        `partitions.save_batch`.
    rejects : list of dict
        Rows of rejects.parquet.

    Raises
    ------
    SurveyError
        If a simulated spectrum lies in an observed survey.
    """
    observed = survey.kind != "simulated"
    flux = np.empty((len(spectra), grid.size), np.float32)
    rows, rejects = [], []
    for selected in spectra:
        path = survey.spectrum(selected.plate, selected.mjd, selected.fiberid)
        values = {"redshift": selected.redshift, "ebv": selected.ebv, "distance": selected.distance}
        prepared = prepare(path, grid, spec_id=selected.spec_id, curve=curve, partial=partial, **values)
        if prepared.spectrum and prepared.spectrum.kind == "simulated" and observed:
            raise SurveyError(
                path,
                "is a simulated spectrum among real data; keep the two apart, in different --survey folders",
            )
        row = {"OBJECT": selected.name, "EPOCH": selected.spec_id}
        if prepared.error:
            # paths relative to the survey, so that the table is the same wherever the folder stands
            detail = str(prepared.error).replace(f"{survey.folder}/", "")
            rejects.append({**row, "REASON": prepared.error.reason, "DETAIL": detail})
            continue
        flux[len(rows)] = prepared.rest_frame.flux
        rows.append(
            {
                **row,
                "LABEL_EPOCH": selected.label_epoch,
                "Z": selected.redshift,
                "SN": prepared.rest_frame.signal_to_noise,
                "N_BAD": prepared.rest_frame.n_bad,
                **dict(zip(LINES, prepared.rest_frame.lines_seen, strict=True)),
                "EBV": None if np.isnan(selected.ebv) else selected.ebv,
                "RUN2D": prepared.spectrum.run2d,
                "FLAGS": "; ".join(prepared.flags),
            }
        )
    batch = {name: [row[name] for row in rows] for name in _COLUMNS} | {"flux": flux[: len(rows)]}
    objects = batch["OBJECT"]
    if save_to:
        from quasar_mass.tables.build import partitions  # not at the top: local processes do not need it

        batch = partitions.save_batch(save_to, batch, grid)
    return objects, batch, rejects
