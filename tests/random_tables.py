"""Tables of random numbers, as large as a test needs them."""

import numpy as np
import pandas as pd

from quasar_mass.core.survey import Grid, Survey
from quasar_mass.spectra.seen_lines import LINES
from quasar_mass.tables import dataset, schemas, survey_tables


def rows(n: int, grid: Grid, start: int = 0) -> dict:
    """Columns of spectra.parquet for objects `start` to `start + n`; some numbers are unknown."""
    numbers = range(start, start + n)
    return {
        "OBJECT": [f"object {number:06d}" for number in numbers],
        "EPOCH": [f"{4000 + number // 1000}-56000-{number % 1000:04d}" for number in numbers],
        "LABEL_EPOCH": [number % 2 == 0 for number in numbers],
        "Z": [1.5 + number / 1e6 for number in numbers],
        "SN": [None if number % 5 == 0 else number + 0.25 for number in numbers],
        "N_BAD": [None if number % 5 == 0 else number for number in numbers],
        **{name: [None if number % 5 == 0 else 1.0 for number in numbers] for name in LINES},
        "EBV": [None if number % 7 == 0 else 0.03 for number in numbers],
        "RUN2D": ["v5_13_0"] * n,
        "FLAGS": [""] * n,
        "flux": np.random.default_rng(3).random((start + n, grid.size), dtype=np.float32)[start:],
    }


def quasars(spectra: dict) -> pd.DataFrame:
    """The objects of these spectra, whose mass is in the flux."""
    names = pd.Index(spectra["OBJECT"], name="OBJECT")
    frame = pd.DataFrame(index=names, columns=list(schemas.QUASAR_COLUMNS), dtype=float)
    frame = frame.assign(LMBH=8.5 + spectra["flux"].mean(axis=1), N_EPOCHS=1, LABEL_LINE="MgII", Z=spectra["Z"])
    frame["CHEN EPOCH"] = spectra["EPOCH"]
    frame["SPLIT"] = dataset.split_objects(frame["N_EPOCHS"])
    return frame


def about(grid: Grid, **more) -> dict:
    """What the tables say of themselves."""
    facts = {"grid": schemas.describe_grid(grid), "flux_unit": schemas.FLUX_UNIT, "cosmology": "Planck15"}
    return schemas.new_about({"kind": "sdss"}, {}, build="b" * 40, extinction_corrected=True, **facts, **more)


def write_survey(survey: Survey, n: int, grid: Grid) -> Survey:
    """Both tables of a survey."""
    spectra = rows(n, grid)
    survey_tables.write_quasars(survey.quasars, quasars(spectra), about(grid))
    survey_tables.write_spectra(survey.spectra, [spectra], grid, lambda: about(grid))
    return survey
