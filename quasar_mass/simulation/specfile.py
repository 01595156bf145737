"""The spec-lite file of one simulated spectrum, in the format of SDSS DR16 (RUN2D v5_13_0), as bytes.

Same four HDUs, columns, types and header keys as the published files, upper-case names and no EXTNAME; in the primary
header the card SIMULATE = T says what it is. Columns that a simulation knows nothing about hold zeros.
"""

import functools

import numpy as np

from quasar_mass.simulation import fitsbytes
from quasar_mass.simulation.fitsbytes import card
from quasar_mass.simulation.instrument import Observation

RUN2D = "v5_13_0"
EXPOSURE = 900.2  # seconds: 900 s and the shutter's way (measured on public files)
PRIMARY_BLOCKS = 4  # of header, mostly room: so the files have the published size, 216,000 to 218,880 bytes
LINES = (  # HDU 3: name and vacuum wavelength (A) of the 32 lines of the pipeline's list, as in the published files
    ("Ly_alpha", 1215.67), ("N_V 1240", 1240.81), ("C_IV 1549", 1549.48), ("He_II 1640", 1640.42),
    ("C_III] 1908", 1908.734), ("Mg_II 2799", 2800.315), ("[O_II] 3725", 3727.092), ("[O_II] 3727", 3729.875),
    ("[Ne_III] 3868", 3869.857), ("H_zeta", 3890.166), ("[Ne_III] 3970", 3968.593), ("H_epsilon", 3971.198),
    ("H_delta", 4102.892), ("H_gamma", 4341.684), ("[O_III] 4363", 4364.435), ("He_II 4685", 4686.991),
    ("H_beta", 4862.683), ("[O_III] 4959", 4960.295), ("[O_III] 5007", 5008.240), ("He_II 5411", 5413.024),
    ("[O_I] 5577", 5578.888), ("[N_II] 5755", 5756.186), ("He_I 5876", 5877.309), ("[O_I] 6300", 6302.046),
    ("[S_III] 6312", 6313.806), ("[O_I] 6363", 6365.535), ("[N_II] 6548", 6549.859), ("H_alpha", 6564.614),
    ("[N_II] 6583", 6585.269), ("[S_II] 6716", 6718.294), ("[S_II] 6730", 6732.678), ("[Ar_III] 7135", 7137.757),
)  # fmt: skip
_COADD = tuple(
    fitsbytes.Column(name, form)
    for name, form in zip(
        ("FLUX", "LOGLAM", "IVAR", "AND_MASK", "OR_MASK", "WDISP", "SKY", "MODEL"), "EEEJJEEE", strict=True
    )
)
_COADD_TYPE = np.dtype([column.field for column in _COADD])


def spec_lite(epoch: tuple[int, int, int], observation: Observation, row: dict) -> bytes:
    """Write a whole file.

    Parameters
    ----------
    epoch : (plate, mjd, fiberid)
        Of the spectrum.
    observation : Observation
        Its pixels.
    row : dict
        What HDU 2 says of the object, by column name, beside what the pixels say themselves; RA, DEC and THING_ID
        are needed for the primary header too.
    """
    return b"".join(
        (
            _primary(epoch, observation, row),
            *_coadd(observation),
            *_object(epoch, observation, row),
            *_lines(epoch, row["Z"]),
        )
    )


def _primary(epoch: tuple, observation: Observation, row: dict) -> bytes:
    plate, mjd, fiberid = epoch
    conditions = observation.conditions
    exposure = EXPOSURE * conditions.exposures
    return fitsbytes.header(
        [
            card("SIMPLE", True, "conforms to FITS standard"),
            card("BITPIX", 16, "array data type"),
            card("NAXIS", 0, "no data here"),
            card("EXTEND", True),
            card("SIMULATE", True, "simulated spectrum, not observed"),
            card("COMMENT", "Simulated by simple physics in the format of SDSS DR16 spec-lite files."),
            card("COMMENT", "No photon was observed: never mix this file with the sky."),
            card("FLAVOR", "science", "exposure type, SDSS spectro style"),
            card("PLATEID", plate, "plate"),
            card("MJD", mjd, "modified Julian day"),
            card("MJDLIST", str(mjd)),
            card("FIBERID", fiberid, "fiber number (1-1000)"),
            card("PLUG_RA", row["RA"], "RA of object [deg]"),
            card("PLUG_DEC", row["DEC"], "dec of object [deg]"),
            card("THING_ID", row["THING_ID"], "unique object identifier"),
            card("RUN2D", RUN2D, "reduction whose format this is"),
            card("NEXP", 2 * conditions.exposures, "number of individual exposures, both cameras"),
            card("NEXP_B1", conditions.exposures, "b1 camera number of exposures"),
            card("NEXP_R1", conditions.exposures, "r1 camera number of exposures"),
            card("EXPT_B1", exposure, "b1 camera exposure time (seconds)"),
            card("EXPT_R1", exposure, "r1 camera exposure time (seconds)"),
            card("EXPTIME", exposure, "minimum of exposure times for all cameras"),
            card("HELIO_RV", 0.0, "heliocentric correction (added to velocities)"),
            card("VACUUM", True, "wavelengths are in vacuum"),
            card("NWORDER", 2, "linear-log10 coefficients"),
            card("WFITTYPE", "LOG-LINEAR", "linear-log10 dispersion"),
            card("COEFF0", observation.first / 1e4, "central wavelength (log10) of first pixel"),
            card("COEFF1", 1e-4, "log10 dispersion per pixel"),
            card("DC-FLAG", 1, "log-linear flag"),
            card("BUNIT", "1E-17 erg/cm^2/s/Ang"),
        ],
        blocks=PRIMARY_BLOCKS,
    )


def _coadd(observation: Observation) -> tuple[bytes, bytes]:
    size = len(observation.flux)
    pixels = np.empty(size, _COADD_TYPE)
    pixels["FLUX"] = observation.flux
    pixels["LOGLAM"] = (observation.first + np.arange(size)) / 1e4
    pixels["IVAR"] = observation.ivar
    pixels["AND_MASK"] = observation.and_mask
    pixels["OR_MASK"] = observation.or_mask
    pixels["WDISP"] = observation.wdisp
    pixels["SKY"] = observation.sky
    pixels["MODEL"] = observation.model
    return _coadd_header(size), fitsbytes.fill(pixels.tobytes())


@functools.cache
def _coadd_header(size: int) -> bytes:
    return fitsbytes.header(fitsbytes.binary_table(_COADD, _COADD_TYPE.itemsize, size))


def _object(epoch: tuple, observation: Observation, row: dict) -> tuple[bytes, bytes]:
    table = _object_row().copy()
    plate, mjd, fiberid = epoch
    good = observation.ivar > 0
    first, last = observation.first, observation.first + len(good) - 1
    signal = observation.signal_to_noise
    chi = (observation.flux[good] - observation.model[good]) * np.sqrt(observation.ivar[good])
    known = {
        "PLATE": plate,
        "MJD": mjd,
        "FIBERID": fiberid,
        "PLUG_RA": row["RA"],
        "PLUG_DEC": row["DEC"],
        "WAVEMIN": 10.0 ** (first / 1e4),
        "WAVEMAX": 10.0 ** (last / 1e4),
        "WCOVERAGE": 1e-4 * good.sum(),
        "DOF": good.sum(),
        "RCHI2": np.mean(chi**2),
        "SN_MEDIAN": np.full(5, signal),
        "SN_MEDIAN_ALL": signal,
        "ANYANDMASK": np.bitwise_or.reduce(observation.and_mask),
        "ANYORMASK": np.bitwise_or.reduce(observation.or_mask),
        "BOSS_SPECOBJ_ID": 1000 * (plate % 2_000_000) + fiberid,
        # As SDSS makes it, plate | fibre | night | run, less the TZERO of an unsigned column.
        "SPECOBJID": ((plate << 50) | (fiberid << 38) | ((mjd - 50_000) << 24) | (1300 << 10)) - (1 << 63),
        "TAI": np.full(5, 86_400.0 * mjd),
    }
    for name, value in (row | known).items():
        table[name] = value
    return fitsbytes.table_header("spall", 1), fitsbytes.fill(table.tobytes())


@functools.cache
def _object_row() -> np.ndarray:
    """HDU 2 with what is the same in every file."""
    table = np.zeros(1, fitsbytes.row_type("spall"))
    same = {
        "PROGRAMNAME": "eboss",
        "CHUNK": "simul",
        "PLATEQUALITY": "good",
        "RUN2D": RUN2D,
        "RUN1D": RUN2D,
        "OBJTYPE": "NA",
        "CLASS": "QSO",
        "SUBCLASS": "BROADLINE",
        "CLASS_NOQSO": "GALAXY",
        "TFILE": "simulated",
        "RERUN": "301",
        "SPECBOSS": 1,
    }
    for name, value in same.items():
        table[name] = value
    return table


def _lines(epoch: tuple, redshift: float) -> tuple[bytes, bytes]:
    table = _lines_table().copy()
    table["PLATE"], table["MJD"], table["FIBERID"] = epoch
    table["LINEZ"] = redshift
    return fitsbytes.table_header("spzline", len(LINES)), fitsbytes.fill(table.tobytes())


@functools.cache
def _lines_table() -> np.ndarray:
    """HDU 3 without measurements: errors of -1 mark what was not measured."""
    table = np.zeros(len(LINES), fitsbytes.row_type("spzline"))
    table["LINENAME"], table["LINEWAVE"] = zip(*LINES, strict=True)
    for name in ("LINEZ_ERR", "LINESIGMA_ERR", "LINEAREA_ERR", "LINEEW_ERR", "LINECONTLEVEL_ERR"):
        table[name] = -1.0
    return table
