"""The catalogues a survey publishes, in their published formats, and the truth that only a simulation knows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Survey
from quasar_mass.simulation import labels
from quasar_mass.simulation.observing import EXTINCTION, LAMBDA_EFF, Record, thing_id
from quasar_mass.spectra import fits_bytes
from quasar_mass.spectra.fits_bytes import card

HEADER_LINES = 102  # of the published mass table; data start on line 103
RULE, DOUBLE_RULE = "-" * 80, "=" * 80
MASS_COLUMNS = (  # first byte, last byte, format, units, label, explanation
    (1, 18, "A18", "---", "SDSS", "SDSS name, hhmmss.ss+ddmmss.s (J2000)"),
    (20, 24, "I5", "---", "Plate", "Plate of the spectrum measured"),
    (26, 30, "I5", "d", "MJD", "Modified Julian day of the spectrum measured"),
    (32, 35, "I4", "---", "Fiber", "Fiber of the spectrum measured"),
    (37, 42, "F6.4", "---", "ZVI", "Redshift from visual inspection (1)"),
    (91, 94, "F4.2", "[Msun]", "logMBH-Hb", "Black-hole mass from H-beta (2)"),
    (108, 111, "F4.2", "[Msun]", "logMBH-Ha-2", "Black-hole mass from H-alpha (2)"),
    (113, 117, "F5.2", "[Msun]", "logMBH-MgII-2", "Black-hole mass from Mg II (2)"),
    (119, 123, "F5.2", "[Msun]", "logMBH-CIV-2", "Black-hole mass from C IV (2)"),
)
NOTES = (
    "Note (1): Simulated like everything here: nobody inspected these spectra. It",
    "    scatters around the redshift of the simulated quasar catalogue.",
    "Note (2): Logarithm of the mass in solar masses. 0.00 stands for a line that",
    "    was not measured. The mass is that of the virial relation",
    "    log M = a + 0.5 log (lambda L_lambda / 1e44 erg/s) + 2 log (FWHM / km/s)",
    "    for the width that the simulated line has and the luminosity that the",
    "    quasar has on that night, plus an error that is drawn at random, larger",
    "    for noisier spectra. No line was fitted.",
    "",
    "This table was made by a program, to rehearse an analysis. It has the layout of",
    "the published table of Chen et al. 2019 (ApJS, 244, 36): 102 lines of header,",
    "and in each row these nine of its columns at their bytes, the others blank.",
    "Not one of its quasars exists.",
)

# DR16Q columns that are not 0 (or blank) where there is nothing to say: -1, as in the published catalogue.
MINUS_ONE = ("Z_", "CONF_DLA", "NHI_DLA", "BAL_PROB", "BI_", "AI_", "ERR_", "FUV", "NUV", "FIRST_", "SDSS2")
DUPLICATES = 74  # slots for an object's other spectra


def write_masses(survey: Survey, records: Iterable[Record]) -> None:
    """Write the mass table, in the machine-readable format of the AAS journals."""
    rows = sorted(_mass_row(record) for record in records if record.target.kind != "catalogue only")
    with atomic_write(survey.chen) as temporary:
        temporary.write_text("\n".join((*mass_table_header(survey.chen), *rows)) + "\n", encoding="ascii", newline="\n")


def mass_table_header(path: Path) -> list[str]:
    """Give the 102 lines above the mass table's data."""
    lines = [
        "Title: SIMULATED quasars in the format of Quasar Properties from the Sloan",
        "    Digital Sky Survey. II. (not the published table)",
        "Authors: SIMULATED by a program; these are not measurements of the sky",
        "Table: SIMULATED single-epoch virial black-hole masses",
        DOUBLE_RULE,
        f"Byte-by-byte Description of file: {path.name}",
        RULE,
        "   Bytes Format Units  Label         Explanations",
        RULE,
        *(
            f" {first:3d}-{last:3d} {form:6s} {units:6s} {label:13s} {text}"
            for first, last, form, units, label, text in MASS_COLUMNS
        ),
        RULE,
        *NOTES,
    ]
    return lines + [""] * (HEADER_LINES - 1 - len(lines)) + [RULE]


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
    known = sorted((r for r in records if r.target.kind != "unmatched"), key=lambda record: record.target.name)
    table = _empty_rows(len(known))
    for row, record in zip(table, known, strict=True):
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
        "NSPEC_SDSS": 0,
    }
    for name, value in same.items():
        table[name] = value
    return table


def _fill_row(row: np.void, record: Record) -> None:
    target, quasar = record.target, record.quasar
    others = [epoch for n, epoch in enumerate(target.epochs) if n != record.primary]
    if len(others) > DUPLICATES:
        raise ValueError(f"{target.name}: at most {DUPLICATES} duplicates, got {len(others)}")
    row["SDSS_NAME"] = target.name
    row["RA"], row["DEC"] = target.ra, target.dec
    row["PLATE"], row["MJD"], row["FIBERID"] = target.epochs[record.primary]
    row["THING_ID"] = thing_id(target)
    row["OBJID"] = str(1_237_600_000_000_000_000 + target.index)
    for name in ("Z", "Z_PIPE", "Z_QN", "Z_PCA", "Z_MGII"):
        row[name] = target.z
    row["ZWARNING"] = target.zwarning
    if target.z >= labels.CIV_FROM:  # below it C IV and its outflows are not seen
        row["BAL_PROB"] = float(quasar.bal > 0.0)
        row["BI_CIV"] = quasar.bal
    row["NSPEC"] = row["NSPEC_BOSS"] = len(others)
    for n, (plate, mjd, fiberid) in enumerate(others):
        row["PLATE_DUPLICATE"][n], row["MJD_DUPLICATE"][n], row["FIBERID_DUPLICATE"][n] = plate, mjd, fiberid
        row["SPECTRO_DUPLICATE"][n] = 2  # BOSS
    row["LAMBDA_EFF"] = LAMBDA_EFF[target.monitored]
    row["PSFMAG"] = record.magnitudes
    row["PSFFLUX"] = 10.0 ** (0.4 * (22.5 - record.magnitudes))
    row["EXTINCTION"] = EXTINCTION * target.ebv
    row["SN_MEDIAN_ALL"] = record.signal_to_noise[record.primary]
    # i band shifted to z = 2 (Richards et al. 2006), from the power law at the wavelength that i has there.
    row["M_I"] = _absolute_magnitude(quasar)


def _absolute_magnitude(quasar) -> float:
    """Give the AB magnitude at 10 pc of the power law at 7480 / 3 Angstrom, and the 2.5 log10(1 + z) of M_i(z = 2)."""
    wavelength = 7480.0 / 3.0
    density = 10.0**quasar.log_l3000 / 3000.0 * (wavelength / 3000.0) ** quasar.slope
    per_hertz = density * wavelength**2 / 2.99792458e18 / (4.0 * np.pi * 3.0856775814913673e19**2)
    return float(-2.5 * np.log10(per_hertz) - 48.60 - 2.5 * np.log10(3.0))


def write_truth(survey: Survey, records: Sequence[Record], *, seed: int) -> None:
    """Write what the objects of the mass table truly are; for evaluation alone, never for training.

    Columns: OBJECT; LMBH, the virial mass without error in the line that the label comes from; LMBH_MgII and LMBH_CIV,
    the same in either line; log_L3000, log_L1350 (erg/s); FWHM_MgII, FWHM_CIV (km/s); Z, the true redshift.
    """
    import pyarrow as pa  # not at the top: nothing else here needs it
    import pyarrow.parquet as pq

    from quasar_mass import virial
    from quasar_mass.tables import parquet

    known = sorted((r for r in records if r.target.kind != "catalogue only"), key=lambda record: record.target.name)
    quasars = [record.quasar for record in known]
    columns = {
        "OBJECT": [record.target.name for record in known],
        "LMBH": [record.label.true_mass for record in known],
        "LMBH_MgII": [float(virial.mass("MgII", q.log_l3000, q.fwhm["MgII"])) for q in quasars],
        "LMBH_CIV": [float(virial.mass("CIV", q.log_l1350, q.fwhm["CIV"])) for q in quasars],
        "log_L3000": [float(q.log_l3000) for q in quasars],
        "log_L1350": [float(q.log_l1350) for q in quasars],
        "FWHM_MgII": [float(q.fwhm["MgII"]) for q in quasars],
        "FWHM_CIV": [float(q.fwhm["CIV"]) for q in quasars],
        "Z": [float(q.redshift) for q in quasars],
    }
    table = pa.table(columns).replace_schema_metadata({"kind": "simulated", "seed": str(seed)})
    with atomic_write(survey.truth) as temporary:
        pq.write_table(table, temporary, **parquet.WRITING)
