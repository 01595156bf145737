"""The join of the two catalogues and the selection: one commented cut per line, and the count after each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quasar_mass.core.errors import TableError
from quasar_mass.core.survey import LABEL_COLUMNS, LABEL_LINES, REDSHIFT_RANGE, REDSHIFT_SIGMAS, format_spec_id
from quasar_mass.tables.build.duplicates import group_duplicates
from quasar_mass.tables.catalogs import FETCH, read_dr16q, spectrum_key


@dataclass
class Selection:
    """What the cuts leave.

    Attributes
    ----------
    quasars : DataFrame
        One row per object, sorted by its index OBJECT: the columns of quasars.parquet but N_EPOCHS and SPLIT, and
        QUASAR, a name shared by objects that are one quasar (`duplicates`).
    epochs : DataFrame
        One row per spectrum of these objects, sorted: OBJECT, EPOCH, plate, mjd, fiberid, LABEL_EPOCH (bool).
    cuts : list of dict
        ``{"cut": its condition, "objects": how many are left}`` in the order of the cuts.
    """

    quasars: pd.DataFrame
    epochs: pd.DataFrame
    cuts: list[dict]


def select(chen: pd.DataFrame, dr16q: Path, redshifts: tuple[float, float] = REDSHIFT_RANGE) -> Selection:
    """Join the two catalogues and apply the selection of the published run, with its faults corrected.

    Parameters
    ----------
    chen : DataFrame
        Of `catalogs.read_chen`.
    dr16q : Path
        The DR16Q catalogue.
    redshifts : (float, float)
        Lowest Z, and the one that Z must stay below.

    Returns
    -------
    Selection

    Raises
    ------
    TableError
        If a cut leaves nothing.
    """
    cuts = []

    def keep(table: pd.DataFrame, mask: np.ndarray | pd.Series, cut: str) -> pd.DataFrame:
        kept = table[np.asarray(mask)]
        cuts.append({"cut": cut, "objects": len(kept)})
        if kept.empty:
            left = f"none of {len(table):,} objects is left after the cut '{cut}'"
            raise TableError("the selection", f"{left}; check that both catalogues belong to the same survey")
        return kept

    table = chen.assign(key=spectrum_key(chen["Plate"], chen["MJD"], chen["Fiber"]))
    table = keep(table, np.ones(len(table), bool), "rows of the Chen+ 2019 table")
    # of several rows for one spectrum the first one counts
    table = keep(table, ~table.duplicated("key"), "one row per spectrum")
    # the label: a mass from at least one line (0 = not measured)
    measured = (table[list(LABEL_COLUMNS)] > 0).to_numpy()
    table = keep(table, measured.any(axis=1), "a mass from Hb, Ha, Mg II or C IV")
    # the measured spectrum is the primary or one of the duplicates of a DR16Q object
    catalogue = read_dr16q(dr16q, table["key"].to_numpy())
    epochs = catalogue.epochs
    epochs["key"] = spectrum_key(epochs["plate"], epochs["mjd"], epochs["fiberid"])
    objects = catalogue.objects
    quasar = group_duplicates(objects["RA"], objects["DEC"], epochs["row"], epochs["key"])
    # a spectrum of two objects stays with the first, or it could be in two splits
    epochs = epochs.drop_duplicates("key")
    owner = epochs.set_index("key")["row"]
    table = keep(table, table["key"].isin(owner.index), "spectrum among the DR16Q primary and duplicate spectra")
    table = table.assign(row=owner.loc[table["key"]].to_numpy())
    # two measured spectra of one object: the table's first one is its label
    table = keep(table, ~table.duplicated("row"), "one label per DR16Q object")
    table = table.set_index("row").join(objects.assign(quasar=quasar).drop(columns=["PLATE", "MJD", "FIBERID"]))
    # the pipeline had no doubt about its redshift
    table = keep(table, table["ZWARNING"] == 0, "ZWARNING = 0")
    # C IV to Mg II in the spectrograph's range, by default
    low, high = redshifts
    table = keep(table, (table["Z"] >= low) & (table["Z"] < high), f"{low} <= Z < {high}")
    # visual and catalogue redshift agree, on both sides
    difference = table["ZVI"] - table["Z"]
    sigma = float(difference.std(ddof=0))
    table = keep(table, difference.abs() <= REDSHIFT_SIGMAS * sigma, f"|ZVI - Z| within {REDSHIFT_SIGMAS:g} sd")
    return Selection(*_tables(table, epochs), cuts)


def _tables(table: pd.DataFrame, epochs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the selected objects and their spectra the columns and the order of the tables."""
    masses = table[list(LABEL_COLUMNS)].fillna(0.0)
    first = (masses > 0).to_numpy().argmax(axis=1)
    quasars = pd.DataFrame({"OBJECT": table["SDSS_NAME"], "ZVI": table["ZVI"]})
    quasars[list(LABEL_COLUMNS)] = masses
    quasars["LMBH"] = masses.to_numpy()[np.arange(len(table)), first]
    quasars["LABEL_LINE"] = np.array(LABEL_LINES)[first]
    quasars["QUASAR"] = table.groupby("quasar")["SDSS_NAME"].transform("min")
    named = zip(table["Plate"], table["MJD"], table["Fiber"], strict=True)
    quasars["CHEN EPOCH"] = [format_spec_id(*map(int, parts)) for parts in named]
    for column in ("Z", "RA", "DEC", "EBV", "SN_MEDIAN_ALL", "BAL_PROB"):
        quasars[column] = table[column].astype(np.float64)
    # DR16Q's names are unique; if they were not, later steps would mix two objects
    repeated = quasars["OBJECT"].duplicated()
    if repeated.any():
        raise TableError("DR16Q", f"has SDSS_NAME {quasars.loc[repeated, 'OBJECT'].iloc[0]} more than once; {FETCH}")
    epochs = epochs[epochs["row"].isin(quasars.index)].copy()
    epochs["OBJECT"] = quasars["OBJECT"].loc[epochs["row"]].to_numpy()
    named = zip(epochs["plate"], epochs["mjd"], epochs["fiberid"], strict=True)
    epochs["EPOCH"] = [format_spec_id(*map(int, parts)) for parts in named]
    epochs["LABEL_EPOCH"] = epochs["EPOCH"].to_numpy() == quasars["CHEN EPOCH"].loc[epochs["row"]].to_numpy()
    epochs = epochs.drop(columns=["row", "key"]).sort_values(["OBJECT", "EPOCH"], ignore_index=True)
    return quasars.set_index("OBJECT").sort_index(), epochs
