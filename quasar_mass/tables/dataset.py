"""Training, validation and test sets from the tables of a survey, split by object."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import EPOCH_BINS, SPLIT_SEED, SPLIT_TENTHS, SPLITS, Grid, Survey
from quasar_mass.spectra.network_input import INPUT, network_input
from quasar_mass.tables import schemas, survey_tables
from quasar_mass.tables.scratch_array import ScratchArray, ScratchFile


@dataclass(frozen=True)
class Dataset:
    """A survey, in memory (`load`) or with its fluxes on disk (`stream`).

    Attributes
    ----------
    quasars : DataFrame
        One row per object, index OBJECT.
    spectra : DataFrame
        One row per spectrum, index (OBJECT, EPOCH): the columns of spectra.parquet except the flux, and the object's
        LMBH, LABEL_LINE, N_EPOCHS and SPLIT.
    flux : ndarray of float32, shape (n_spectra, grid.size), or ScratchArray of shape (n_spectra, grid.size, 1)
        Luminosity density in `schemas.FLUX_UNIT`, in the order of `spectra`, NaN where a spectrum has no data; on disk
        it is what the network takes (`spectra.network_input`).
    grid : Grid
        The wavelengths.
    about : dict
        The description of spectra.parquet: survey kind, units, cosmology, counts after each cut, checksums.
    """

    quasars: pd.DataFrame
    spectra: pd.DataFrame
    flux: np.ndarray | ScratchArray
    grid: Grid
    about: dict

    @property
    def kind(self) -> str:
        """``"simulated"`` or ``"sdss"``."""
        return self.about["kind"]

    def part(self, split: str) -> tuple[np.ndarray, pd.Series]:
        """Give the network input and the labels of one split.

        Parameters
        ----------
        split : {"training", "validation", "test"}

        Returns
        -------
        X : ndarray of float32, or ScratchArray, shape (n, grid.size, 1)
            What the network takes (`spectra.network_input`).
        y : Series of float32, index (OBJECT, EPOCH)
            The object's label LMBH = log10(M_BH / M_Sun).
        """
        rows = (self.spectra["SPLIT"] == split).to_numpy()
        if isinstance(self.flux, ScratchArray):
            flux = self.flux.only(rows)
        else:
            flux = network_input(self.flux[rows], self.spectra["Z"].to_numpy()[rows])[..., None]
        return flux, self.spectra.loc[rows, "LMBH"].astype(np.float32)


def load(survey: Survey) -> Dataset:
    """Load a survey's two tables into memory.

    Raises
    ------
    FileError, TableError
        If a table is missing or damaged, the two come from different builds, or a value is not finite.
    """
    about, grid = _check(survey)
    flux = np.empty((survey_tables.count_spectra(survey.spectra), grid.size), dtype=np.float32)
    filled = 0

    def keep(block: np.ndarray, redshift: np.ndarray) -> None:
        nonlocal filled
        flux[filled : filled + len(block)] = block
        filled += len(block)

    quasars, spectra = _read(survey, about, keep)
    return Dataset(quasars, spectra, flux, grid, about)


def stream(survey: Survey, scratch: Path | None = None) -> Dataset:
    """Load a survey's two tables without the fluxes, which `EasyAI` reads batch by batch from a temporary file.

    Training gives bit for bit the same losses and weights as with `load`.

    Parameters
    ----------
    survey : Survey
    scratch : path, optional
        Folder of the temporary file (4 bytes per pixel), which is removed with the data set. Default: the folder of
        the tables.

    Raises
    ------
    FileError, TableError
        As in `load`, and if the temporary file cannot be written.
    """
    about, grid = _check(survey)
    file = ScratchFile(Path(scratch or survey.spectra.parent), grid.size)
    quasars, spectra = _read(survey, about, lambda block, redshift: file.append(network_input(block, redshift)))
    return Dataset(quasars, spectra, ScratchArray(file, np.arange(len(spectra)), grid.size), grid, about)


def _check(survey: Survey) -> tuple[dict, Grid]:
    about = survey_tables.check_pair(survey)
    schemas.require(survey.spectra, about, schemas.TRAINING)
    return about, survey_tables.read_grid(about)


def _read(
    survey: Survey, about: dict, keep: Callable[[np.ndarray, np.ndarray], None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read both tables, which must be of the build that `about` names; `keep` gets blocks of fluxes, and redshifts."""
    quasars = survey_tables.read_quasars(survey.quasars)
    rows = []
    for frame, block in survey_tables.iterate_spectra(survey.spectra):
        finite = (np.isfinite(block) | (np.isnan(block) & about.get("partial", False))).all(axis=1)
        if not finite.all():
            name = frame["EPOCH"][~finite].iloc[0]
            raise TableError(f"{survey.spectra}, {name}", "has a flux that is not finite; build it again")
        keep(block, frame["Z"].to_numpy())
        rows.append(frame)
    if survey_tables.check_pair(survey)["build"] != about["build"]:
        raise TableError(survey.spectra, "was replaced while it was read; run this again when no build is running")
    if not rows:
        raise TableError(survey.spectra, "holds no spectrum; build it again")
    spectra = pd.concat(rows, ignore_index=True)
    unknown = ~spectra["OBJECT"].isin(quasars.index)
    if unknown.any():
        name = spectra.loc[unknown, "OBJECT"].iloc[0]
        raise TableError(survey.spectra, f"holds object {name}, which is not in quasars.parquet; build both again")
    repeated = spectra.duplicated(["OBJECT", "EPOCH"])
    if repeated.any():
        name = spectra["EPOCH"][repeated].iloc[0]
        raise TableError(survey.spectra, f"holds spectrum {name} twice; build both again")
    spectra = spectra.join(quasars[["LMBH", "LABEL_LINE", "N_EPOCHS", "SPLIT"]], on="OBJECT")
    return quasars, spectra.set_index(["OBJECT", "EPOCH"])


def object_weights(label: pd.Series) -> np.ndarray:
    """Weights with which all objects count alike in a loss: one over an object's number of spectra.

    Parameters
    ----------
    label : Series, index (OBJECT, EPOCH)
        From `Dataset.part`.

    Returns
    -------
    ndarray of float32, shape (n,)
        Their mean is 1.
    """
    weight = 1.0 / label.groupby(level="OBJECT").transform("size").to_numpy(np.float64)
    return (weight / weight.mean()).astype(np.float32)


def split_objects(n_epochs: pd.Series, seed: int = SPLIT_SEED, quasars: pd.Series | None = None) -> pd.Series:
    """Assign every object to training (70 %), validation (20 %) or test (10 %).

    Objects are shuffled within strata of N_EPOCHS (1, 2, 3, 4-59, 60 and more), the strata are laid end to end, and
    the splits are assigned in a repeating, shuffled pattern of ten. So each stratum is divided as evenly as whole
    objects allow, and the totals are exact.

    Parameters
    ----------
    n_epochs : Series of int, index OBJECT
        Spectra per object. The result does not depend on the order of the rows.
    seed : int
        Seed of the shuffles.
    quasars : Series of str, index OBJECT, optional
        Equal for objects that are one quasar under several names; these get the same split.

    Returns
    -------
    Series of str, index as given
    """
    if quasars is not None:
        of_quasars = split_objects(n_epochs.groupby(quasars).sum(), seed)
        return quasars.reindex(n_epochs.index).map(of_quasars).rename("SPLIT").astype("str")
    random = np.random.default_rng(seed)
    ordered = n_epochs.sort_index()
    stratum = np.digitize(ordered.to_numpy(), EPOCH_BINS)
    order = np.lexsort((random.permutation(len(ordered)), stratum))
    pattern = random.permutation(np.repeat(SPLITS, SPLIT_TENTHS))
    assigned = np.empty(len(ordered), dtype=object)
    assigned[order] = np.resize(pattern, len(ordered))
    return pd.Series(assigned, index=ordered.index, name="SPLIT", dtype="str").reindex(n_epochs.index)


def describe(about: dict, quasars: pd.DataFrame, spectra: pd.DataFrame) -> dict:
    """Describe a survey for the file of a model that was trained on it (`EasyAI.save`).

    Parameters
    ----------
    about : dict
        The description of spectra.parquet (`survey_tables.read_about`).
    quasars, spectra : DataFrame
        Those of a `Dataset`.
    """
    training = spectra[spectra["SPLIT"] == "training"]
    signal_to_noise = training["SN"].dropna()
    tenths = dict(zip(SPLITS, SPLIT_TENTHS, strict=True))
    return {
        "kind": about["kind"],
        "survey": about["survey"],
        "tables": about["build"],
        "grid": about["grid"],
        "flux_unit": about["flux_unit"],
        "input": INPUT,
        "cosmology": about["cosmology"],
        "extinction_corrected": about["extinction_corrected"],
        "label": "LMBH = log10(M_BH / M_Sun), single-epoch virial mass as the Chen+ 2019 table gives it",
        "split": {"by": "object", "seed": about["split_seed"], "tenths": tenths},
        "trained_on": {
            "objects": int((quasars["SPLIT"] == "training").sum()),
            "spectra": len(training),
            "redshift": [float(training["Z"].min()), float(training["Z"].max())],
            "sn": [float(signal_to_noise.min()), float(signal_to_noise.max())] if len(signal_to_noise) else None,
            "label": [float(training["LMBH"].min()), float(training["LMBH"].max())],
            "partial": bool(about.get("partial", False)),
        },
    }
