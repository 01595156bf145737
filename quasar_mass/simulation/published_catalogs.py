"""The catalogues of a survey in their published formats, and the true values that only a simulation has."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from quasar_mass.core.constants import MPC
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Survey
from quasar_mass.simulation import labels
from quasar_mass.simulation.observing import Record, object_columns
from quasar_mass.simulation.quasar.received_flux import C_ANGSTROM_S
from quasar_mass.spectra import fits_bytes
from quasar_mass.spectra.fits_bytes import card

# DR16Q columns that hold -1 (not 0 or blank) where there is no value, as in the published catalogue.
MINUS_ONE = ("Z_", "CONF_DLA", "NHI_DLA", "BAL_PROB", "BI_", "AI_", "ERR_", "FUV", "NUV", "FIRST_", "SDSS2")


def write_masses(survey: Survey, records: Iterable[Record]) -> None:
    """Write the mass table, in the machine-readable format of the AAS journals."""
    header = (Path(__file__).parent / "mass_table_header.txt").read_text(encoding="ascii")
    rows = sorted(_mass_row(record) for record in records if record.target.kind != "catalogue only")
    with atomic_write(survey.chen) as temporary:
        text = header.format(file=survey.chen.name) + "".join(f"{row}\n" for row in rows)
        temporary.write_text(text, encoding="ascii", newline="\n")


def _mass_row(record: Record) -> str:
    target, masses = record.target, record.label.masses
    plate, mjd, fiberid = target.epochs[record.measured]
    if target.kind == "other epoch":
        mjd -= 1  # a night that no spectrum has
    row = f"{target.name:18s} {plate:5d} {mjd:5d} {fiberid:4d} {target.zvi:6.4f}".ljust(90)
    row = f"{row}{masses['Hb']:4.2f}".ljust(107)
    return f"{row}{masses['Ha']:4.2f} {masses['MgII']:5.2f} {masses['CIV']:5.2f}"


def write_quasars(survey: Survey, records: Iterable[Record]) -> None:
    """Write the quasar catalogue, in the format of DR16Q: 183 columns, 2290 bytes per row."""
    listed = sorted((r for r in records if r.target.kind != "unmatched"), key=lambda record: record.target.name)
    table = _empty_rows(len(listed))
    for row, record in zip(table, listed, strict=True):
        _fill_row(row, record)
    primary = fits_bytes.header(
        [
            card("SIMPLE", True, "conforms to FITS standard"),
            card("BITPIX", 8, "array data type"),
            card("NAXIS", 0, "no data here"),
            card("EXTEND", True),
            card("SIMULATE", True, "simulated catalogue, not observed"),
            card("COMMENT", "Simulated by simple physics in the format of SDSS DR16Q (Lyke et al. 2020)."),
        ]
    )
    with atomic_write(survey.dr16q) as temporary, open(temporary, "wb") as file:
        file.write(primary)
        file.write(fits_bytes.table_header("dr16q", len(table), extname="CATALOG"))
        file.write(table.tobytes())
        file.write(b"\0" * (-table.nbytes % fits_bytes.BLOCK))


def _empty_rows(count: int) -> np.ndarray:
    table = np.zeros(count, fits_bytes.row_type("dr16q"))
    for column in fits_bytes.columns("dr16q"):
        if column.form[-1] in "ED" and column.name.startswith(MINUS_ONE):
            table[column.name] = -1
        if column.name.endswith("_DUPLICATE"):
            table[column.name] = -1
    same = {
        "AUTOCLASS_PQN": "QSO",
        "AUTOCLASS_DR14Q": "QSO",
        "IS_QSO_QN": 1,
        "Z_CONF_10K": -1,
        "PIPE_CORR_10K": -1,
        "IS_QSO_10K": -1,
        "IS_QSO_FINAL": 1,
        "SOURCE_Z": "PIPE",
        "RERUN_NUMBER": "301",
        "CHUNK": "simulated",
    }
    for name, value in same.items():
        table[name] = value
    return table


def _fill_row(row: np.void, record: Record) -> None:
    target, quasar = record.target, record.quasar
    others = [epoch for n, epoch in enumerate(target.epochs) if n != record.primary]
    row["SDSS_NAME"] = target.name
    for name, value in object_columns(record).items():
        row[name] = value
    row["PLATE"], row["MJD"], row["FIBERID"] = target.epochs[record.primary]
    row["OBJID"] = str(1_237_600_000_000_000_000 + target.index)
    for name in ("Z_PIPE", "Z_QN", "Z_PCA", "Z_MGII"):
        row[name] = target.z
    if target.z >= labels.MIN_CIV_REDSHIFT:  # below it the spectrum does not contain C IV's outflows
        row["BAL_PROB"] = float(quasar.balnicity > 0.0)
        row["BI_CIV"] = quasar.balnicity
    row["NSPEC"] = row["NSPEC_BOSS"] = len(others)
    for n, epoch in enumerate(others):
        for name, value in zip(("PLATE", "MJD", "FIBERID", "SPECTRO"), (*epoch, 2), strict=True):  # 2: BOSS
            row[f"{name}_DUPLICATE"][n] = value
    row["SN_MEDIAN_ALL"] = record.signal_to_noise[record.primary]
    # i band shifted to z = 2 (Richards et al. 2006), from the power law at the wavelength that i has there.
    row["M_I"] = _absolute_magnitude(quasar)


def _absolute_magnitude(quasar) -> float:
    """Give the AB magnitude at 10 pc of the power law at 7480 / 3 Angstrom, and the 2.5 log10(1 + z) of M_i(z = 2)."""
    wavelength = 7480.0 / 3.0
    density = 10.0**quasar.log_l3000 / 3000.0 * (wavelength / 3000.0) ** quasar.slope
    per_hertz = density * wavelength**2 / C_ANGSTROM_S / (4.0 * np.pi * (MPC / 1e5) ** 2)
    return float(-2.5 * np.log10(per_hertz) - 48.60 - 2.5 * np.log10(3.0))


def write_truth(survey: Survey, records: Sequence[Record], *, seed: int) -> None:
    """Write the true properties of the objects in the mass table; for evaluation only, never for training.

    Columns: OBJECT; LMBH, the virial mass without error in the line of the label; LMBH_MgII and LMBH_CIV, the same in
    each of the two lines; log_L3000, log_L1350 (erg/s); FWHM_MgII, FWHM_CIV (km/s); Z, the true redshift.
    """
    import pyarrow as pa  # not at the top: nothing else here needs it
    import pyarrow.parquet as pq

    from quasar_mass import virial
    from quasar_mass.tables import parquet

    listed = sorted((r for r in records if r.target.kind != "catalogue only"), key=lambda record: record.target.name)
    rows = [
        {
            "OBJECT": record.target.name,
            "LMBH": record.label.true_mass,
            "LMBH_MgII": float(virial.mass("MgII", record.quasar.log_l3000, record.quasar.fwhm["MgII"])),
            "LMBH_CIV": float(virial.mass("CIV", record.quasar.log_l1350, record.quasar.fwhm["CIV"])),
            "log_L3000": float(record.quasar.log_l3000),
            "log_L1350": float(record.quasar.log_l1350),
            "FWHM_MgII": float(record.quasar.fwhm["MgII"]),
            "FWHM_CIV": float(record.quasar.fwhm["CIV"]),
            "Z": float(record.quasar.redshift),
        }
        for record in listed
    ]
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"kind": "simulated", "seed": str(seed)})
    with atomic_write(survey.truth) as temporary:
        pq.write_table(table, temporary, **parquet.WRITING)
