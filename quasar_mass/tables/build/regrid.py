"""Spectrum files to rows of the table: the work of a worker process, which imports little so as to start at once."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from quasar_mass.core.errors import SpectrumError, SurveyError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.spectra.sdss import read_spectrum
from quasar_mass.spectra.spectrum import quality_flags, to_rest_frame

_COLUMNS = ("OBJECT", "EPOCH", "LABEL_EPOCH", "Z", "SN", "N_BAD", "EBV", "RUN2D", "FLAGS")  # of a batch, and the flux


class Selected(NamedTuple):
    """A spectrum of the selection, and what the catalogues say of its object.

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
        `spectrum.extinction_curve`.
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
        If a simulated spectrum lies in a survey of the sky.
    """
    kind = survey.kind
    flux = np.empty((len(spectra), grid.size), np.float32)
    rows, rejects = [], []
    for one in spectra:
        path = survey.spectrum(one.plate, one.mjd, one.fiberid)
        try:
            spectrum = read_spectrum(path)
            if spectrum.epoch != one.epoch:
                raise SpectrumError(
                    path,
                    reason="not the spectrum named",
                    expected=f"spectrum {one.epoch}",
                    got=spectrum.epoch,
                    do="fetch it again",
                )
            if spectrum.kind == "simulated" and kind != "simulated":
                raise SurveyError(
                    path,
                    expected="a spectrum of the sky, as survey.json or its absence says",
                    got="a simulated one",
                    do="keep the two apart: fetch the sky, or simulate, into another --survey",
                )
            placed = to_rest_frame(spectrum, one.redshift, grid, ebv=one.ebv, distance=one.distance, curve=curve)
        except SpectrumError as error:
            # inside the survey, so that the table reads the same wherever the folder stands
            detail = str(error).replace(f"{survey.folder}/", "")
            rejects.append({"OBJECT": one.name, "EPOCH": one.epoch, "REASON": error.reason, "DETAIL": detail})
            continue
        corrected = not np.isnan(one.ebv)
        flux[len(rows)] = placed.flux
        rows.append(
            {
                "OBJECT": one.name,
                "EPOCH": one.epoch,
                "LABEL_EPOCH": one.label_epoch,
                "Z": one.redshift,
                "SN": placed.signal_to_noise,
                "N_BAD": placed.n_bad,
                "EBV": one.ebv if corrected else None,
                "RUN2D": spectrum.run2d,
                "FLAGS": "; ".join(quality_flags(placed.n_bad, placed.n_pixels, extinction_known=corrected)),
            }
        )
    batch = {name: [row[name] for row in rows] for name in _COLUMNS} | {"flux": flux[: len(rows)]}
    if keep:
        from quasar_mass.tables.build import partitions  # not at the top: local processes need none of it

        return batch["OBJECT"], partitions.keep(keep, batch, grid), rejects
    return batch["OBJECT"], batch, rejects
