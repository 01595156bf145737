"""Tables of redshifts: which one belongs to a target of DESI, or to the spectrum in a file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quasar_mass.core.errors import TableError
from quasar_mass.spectra import table_files

if TYPE_CHECKING:
    import pandas as pd

# Names under which tables carry what is needed, in lower case; the first that a table has counts.
Z = ("z", "redshift", "z_qso", "z_sys")
_NAMES = {
    "z": Z,
    "targetid": ("targetid",),
    "epoch": ("epoch", "spec_id"),
    "plate": ("plate", "field"),
    "mjd": ("mjd",),
    "fiberid": ("fiberid", "fiber", "fiber_id"),
    "catalogid": ("catalogid",),
    "sdss_id": ("sdss_id",),
    "file": ("file", "path", "name"),
    "warning": ("zwarn", "zwarning"),
    "class": ("spectype",),
    "quasar": ("qso_maskbits",),
    "survey": ("survey",),
    "program": ("program",),
}
_IDENTITIES = ("targetid", "epoch", "fiberid", "catalogid", "sdss_id", "file")
_ID = re.compile(r"(?:spec-)?(\w+)-(\d{5})-(\d+)")  # plate-mjd-fiber, or SDSS-V's field-mjd-catalogid


@dataclass(frozen=True)
class Redshifts:
    """A table of redshifts.

    Attributes
    ----------
    path : Path
    table : DataFrame
        Its columns that count, under the names of this module: ``z``, and some of ``targetid``, ``epoch``, ``plate``,
        ``mjd``, ``fiberid``, ``catalogid``, ``sdss_id``, ``file``, ``warning``, ``class``, ``quasar``, ``survey``,
        ``program``.
    """

    path: Path
    table: "pd.DataFrame"

    @classmethod
    def read(cls, path: str | Path) -> "Redshifts":
        """Read a table: FITS, VOTable, ECSV, CSV or Parquet by its ending.

        Raises
        ------
        FileError, TableError
            If it cannot be read, or has no redshifts, or does not say whose they are.
        """
        path = Path(path)
        known = {name for names in _NAMES.values() for name in names}
        table = table_files.read(path, known)
        columns = {}
        for key, names in _NAMES.items():
            at = {str(name).lower(): name for name in reversed(table.columns)}
            found = next((at[name] for name in names if name in at), None)
            if found is not None:
                columns[key] = table[found]
        identified = [key for key in _IDENTITIES if key in columns and (key != "fiberid" or "plate" in columns)]
        if "z" not in columns or not identified:
            given = ", ".join(table.attrs["columns"][:12])[:200]
            message = (
                "needs a column Z, and TARGETID, EPOCH (plate-mjd-fiber), or plate, mjd and fiberid, CATALOGID or FILE "
                f"to say whose redshift it is; it has {given}; add or rename columns"
            )
            raise TableError(path, message)
        import pandas as pd

        if "targetid" in columns and not pd.api.types.is_numeric_dtype(columns["targetid"]):
            texts = _text(columns["targetid"])
            columns["targetid"] = pd.array([int(t) if re.fullmatch(r"-?\d+", t) else pd.NA for t in texts], "Int64")
        columns["z"] = pd.to_numeric(columns["z"], errors="coerce").to_numpy(float, na_value=np.nan)
        return cls(path, pd.DataFrame(columns))

    # --- of DESI's targets --------------------------------------------------------------------------------------------
    def of_targets(self, targets: np.ndarray, survey: str = "", program: str = "") -> "pd.DataFrame":
        """The rows of some targets.

        Parameters
        ----------
        targets : ndarray of int64, shape (n,)
            TARGETIDs, each once.
        survey, program : str
            Which of a target's rows counts if it has several, in a catalogue of all surveys.

        Returns
        -------
        DataFrame of n rows
            ``z``, ``warning`` (0 where the table does not say), ``quasar`` (whether the table calls it one), ``class``
            (what it calls it) and ``known``, False where the table does not have the target.

        Raises
        ------
        TableError
            If the table has no TARGETID.
        """
        import pandas as pd

        if "targetid" not in self.table:
            raise TableError(self.path, "has no column TARGETID, by which DESI's spectra are found; add it")
        rows = self.table[self.table["targetid"].isin(targets).to_numpy(bool, na_value=False)]
        for column, value in (("survey", survey), ("program", program)):
            if value and column in rows:  # a stable sort keeps the table's order otherwise
                other = rows[column].astype(str).str.strip().str.lower() != value.lower()
                rows = rows.assign(other=other).sort_values("other", kind="stable")
        rows = rows.drop_duplicates("targetid").set_index("targetid").reindex(targets)
        known = np.isin(targets, self.table["targetid"].dropna().to_numpy(np.int64))
        warning = rows["warning"].fillna(0).to_numpy(np.int64) if "warning" in rows else 0
        label, quasar = pd.Series("", index=rows.index), True
        if "class" in rows:
            label = rows["class"].fillna("").astype(str).str.strip().str.upper()
            quasar = (label == "QSO").to_numpy()
        if "quasar" in rows:  # DESI's catalogue of quasars finds some that `class`, redrock's, calls galaxies
            quasar = rows["quasar"].fillna(0).to_numpy(np.int64) > 0
        columns = {"z": rows["z"].to_numpy(), "warning": warning, "quasar": quasar, "class": label.to_numpy()}
        return pd.DataFrame(columns | {"known": known})

    # --- of other files -----------------------------------------------------------------------------------------------
    def of_spectrum(self, names: Iterable[str]) -> float | None:
        """The redshift of a spectrum that is known under some names.

        Parameters
        ----------
        names : iterable of str
            A file's name, with or without its ending; plate-mjd-fiber; a TARGETID.

        Returns
        -------
        float or None
            NaN where the table has the spectrum, but no redshift; None where it does not have it.
        """
        for name in map(_normal, names):
            for index in self._indices:
                if name in index:
                    redshift = float(self.table["z"].iloc[index[name]])
                    return redshift if np.isfinite(redshift) else np.nan
            match = _ID.fullmatch(name)
            if match and int(match[3]) > 9999 and (found := self.of_spectrum([match[3]])) is not None:  # CATALOGID
                return found
        return None

    @cached_property
    def _indices(self) -> list[dict[str, int]]:
        """For each identity that the table has: in which row a name stands first."""
        columns, table = [], self.table
        if {"plate", "mjd", "fiberid"} <= set(table):
            columns.append(_joined(table, "plate", "mjd", "fiberid"))
        if {"plate", "mjd", "catalogid"} <= set(table):
            columns.append(_joined(table, "plate", "mjd", "catalogid"))
        columns += [_text(table[key]) for key in ("epoch", "targetid", "catalogid", "sdss_id") if key in table]
        if "file" in table:
            files = [Path(name).name for name in _text(table["file"])]
            columns += [files, list(map(stem, files))]
        indices = []
        for column in columns:
            rows: dict[str, int] = {}
            for row, name in enumerate(column):
                rows.setdefault(_normal(name), row)
            rows.pop("", None)
            indices.append(rows)
        return indices


def stem(name: str | Path) -> str:
    """A file's name without its ending, also without that of a compressed file."""
    return re.sub(r"\.[A-Za-z]+(\.gz)?$", "", Path(name).name)


def _text(column: "pd.Series") -> list[str]:
    """A column as text, empty where nothing stands."""
    return column.astype("string").fillna("").tolist()


def _joined(table: "pd.DataFrame", *columns: str) -> list[str]:
    return ["-".join(numbers) for numbers in zip(*(_text(table[name]) for name in columns), strict=True)]


def _normal(name: str) -> str:
    """The same text for ``spec-0266-51602-0001``, ``266-51602-1`` and the like."""
    match = _ID.fullmatch(name.strip())
    return "-".join(part.lstrip("0") for part in match.groups()) if match else name.strip()
