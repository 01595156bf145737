"""The spec-lite file of one simulated spectrum, in the format of SDSS DR16 (RUN2D v5_13_0), as bytes.

The file has the four HDUs, columns, types and header keys of the published ones; SIMULATE = T in the primary header
marks it as simulated. Columns that do not apply to a simulation hold zeros.
"""

import numpy as np

from quasar_mass.simulation.spectrograph.recording import Observation
from quasar_mass.spectra import spec_lite as published
from quasar_mass.spectra.fits_bytes import card

RUN2D = "v5_13_0"
EXPOSURE = 900.2  # seconds: 900 s and the shutter's transit (measured on public files)
PRIMARY_BLOCKS = 4  # of header, mostly empty, so that files have the published size, 216,000 to 218,880 bytes
FIXED = {  # in HDU 2 of every file
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


def spec_lite(epoch: tuple[int, int, int], observation: Observation, row: dict) -> bytes:
    """Write a whole file.

    Parameters
    ----------
    epoch : (plate, mjd, fiberid)
        Of the spectrum.
    observation : Observation
        Its pixels.
    row : dict
        The object's columns of HDU 2 by name, besides those that follow from the pixels. RA, DEC and THING_ID go into
        the primary header too.
    """
    signal = observation.signal_to_noise
    more = {
        "PLUG_RA": row["RA"],
        "PLUG_DEC": row["DEC"],
        "SN_MEDIAN": np.full(5, signal),
        "SN_MEDIAN_ALL": signal,
    }
    cards = _cards(epoch, observation, row)
    return published.spec_lite(epoch, observation, FIXED | row | more, cards, redshift=row["Z"], blocks=PRIMARY_BLOCKS)


def _cards(epoch: tuple, observation: Observation, row: dict) -> list[bytes]:
    plate, mjd, fiberid = epoch
    conditions = observation.conditions
    exposure = EXPOSURE * conditions.exposures
    return [
        card("SIMULATE", True, "simulated spectrum, not observed"),
        card("COMMENT", "Simulated by simple physics in the format of SDSS DR16 spec-lite files."),
        card("COMMENT", "No photon was observed: never mix this file with real data."),
        # other programs recognise the files by this card and VERS2D
        card("TELESCOP", "SDSS 2.5-M", "telescope whose files these look like"),
        card("FLAVOR", "science", "exposure type, SDSS spectro style"),
        card("PLATEID", plate, "plate"),
        card("MJD", mjd, "modified Julian day"),
        card("MJDLIST", str(mjd)),
        card("FIBERID", fiberid, "fiber number (1-1000)"),
        card("PLUG_RA", row["RA"], "RA of object [deg]"),
        card("PLUG_DEC", row["DEC"], "dec of object [deg]"),
        card("THING_ID", row["THING_ID"], "unique object identifier"),
        card("VERS2D", RUN2D, "version of the reduction whose format this is"),
        card("RUN2D", RUN2D, "reduction whose format this is"),
        card("NEXP", 2 * conditions.exposures, "number of individual exposures, both cameras"),
        card("NEXP_B1", conditions.exposures, "b1 camera number of exposures"),
        card("NEXP_R1", conditions.exposures, "r1 camera number of exposures"),
        card("EXPT_B1", exposure, "b1 camera exposure time (seconds)"),
        card("EXPT_R1", exposure, "r1 camera exposure time (seconds)"),
        card("EXPTIME", exposure, "minimum of exposure times for all cameras"),
        card("HELIO_RV", 0.0, "heliocentric correction (added to velocities)"),
        card("VACUUM", True, "wavelengths are in vacuum"),
        *published.grid_cards(observation.first),
    ]
