"""A survey by hand whose quasars have all redshifts of `build --reach`, and two beyond."""

from pathlib import Path

import numpy as np

from quasar_mass.core.survey import Survey

# number: redshift. The files show 3571-10062 Angstrom; that of quasar 4 ends at 5000.
REDSHIFTS = {1: 1.6, 2: 0.7, 3: 2.55, 4: 2.0, 5: 0.34, 6: 2.65, 7: 1.3, 8: 0.36, 9: 1.65, 10: 1.7, 11: 0.9, 12: 2.4}
REFERENCE = [1, 9, 10]  # what a build without --reach takes
TAKEN = [1, 2, 3, 7, 8, 9, 10, 11, 12]
WITHOUT_MG_II = [3]  # 2834 Angstrom at the red end


def spectrum(number: int) -> tuple[int, int, int]:
    return 4000 + number, 56000 + number, 10 * number


def name(number: int) -> str:
    return "{:04d}-{:05d}-{:04d}".format(*spectrum(number))


def write(folder: Path, make) -> Survey:
    """The catalogues and the spectra; `make` is the fixture."""
    chen, dr16q = [], []
    for number, z in REDSHIFTS.items():
        plate, mjd, fiberid = spectrum(number)
        row = {"SDSS": make.object_name(number), "Plate": plate, "MJD": mjd, "Fiber": fiberid}
        row["logMBH-MgII-2"] = 8.0 + number / 10
        chen.append(row | {"ZVI": round(z + 0.001 * (-1) ** number, 4)})
        dr16q.append(make.dr16q_row(number, spectrum=spectrum(number), z=z))
        pixels = make.n_pixels if number != 4 else 1470
        flux = make.smooth_flux(make.first_pixel + np.arange(pixels)) * (1 + 0.1 * number)
        flux = flux + np.random.default_rng(number).normal(0.0, 0.5, pixels)
        path = make.spec_path(folder, spectrum(number))
        make.spec(path, spectrum=spectrum(number), flux=flux, z=z)
    survey = Survey(folder)
    survey.chen.write_text(make.chen_text(chen), encoding="ascii")
    make.dr16q(survey.dr16q, dr16q)
    return survey
