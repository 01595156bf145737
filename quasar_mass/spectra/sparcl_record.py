"""Records of SPARCL, NOIRLab's server of spectra, as its client returns them: of DESI, BOSS and SDSS."""

from collections.abc import Mapping

import numpy as np

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import BRIGHTSKY, format_spec_id
from quasar_mass.spectra.spectrum import PIXEL, Spectrum

REQUIRED = ("wavelength", "flux", "ivar")
# what to ask SPARCL for; without the others, the spectrum lacks its mask, redshift, class or telescope
INCLUDE = ("sparcl_id", "specid", "data_release", *REQUIRED, "mask", "redshift", "spectype", "telescope")
MAX_GRID_OFFSET = 0.02  # pixels that a wavelength may lie off SDSS's grid; float32 costs 0.003

# SPARCL's names of telescopes (its categoricals) and those that the surveys' own files have in TELESCOP
_TELESCOPES = {"sloan25m": "SDSS 2.5-M", "kp4m": "KPNO 4.0-m telescope"}


def is_record(thing: object) -> bool:
    """Whether something is a record of SPARCL: a mapping with a ``sparcl_id``, which each of them has."""
    return isinstance(thing, Mapping) and "sparcl_id" in thing


def spectrum_of(record: Mapping) -> Spectrum:
    """Turn a record of SPARCL into a spectrum.

    In records of DESI, any bit of the mask marks a bad pixel; in those of BOSS and SDSS, BRIGHTSKY does, as in their
    files. The spectrum is named by DESI's TARGETID, or by SDSS's plate-mjd-fiber.

    Parameters
    ----------
    record : mapping
        With the fields `INCLUDE`, of which `REQUIRED` are necessary; E(B-V) is taken from ``ebv`` where there is one.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError
        If a necessary field is missing, or the arrays are no spectrum.

    Examples
    --------
    >>> record = {"sparcl_id": "7b0f", "_dr": "DESI-DR1", "specid": 39627785483846048, "redshift": 1.6}
    >>> record |= {"wavelength": [3600.0, 3600.8, 3601.6], "flux": [3.0, 2.9, 3.1]}
    >>> record |= {"ivar": [4.0, 4.0, 4.0], "mask": [0, 4, 0]}
    >>> spectrum = spectrum_of(record)
    >>> spectrum.spec_id, spectrum.good
    ('39627785483846048', array([ True, False,  True]))
    """
    where = f"SPARCL record {record.get('sparcl_id')}"
    missing = [name for name in REQUIRED if record.get(name) is None]
    if missing:
        message = f"has no {', '.join(missing)}; retrieve it with include={list(INCLUDE)}"
        raise SpectrumError(where, message, reason="invalid values")
    release = str(record.get("data_release") or record.get("_dr") or "")
    kind = "desi" if release.startswith("DESI") else "sdss" if release.startswith(("SDSS", "BOSS")) else "unknown"
    try:
        arrays = {name: np.asarray(record[name], np.float64) for name in REQUIRED}
        bits = np.zeros(arrays["flux"].shape) if record.get("mask") is None else np.asarray(record["mask"])
        bits = bits.astype(np.int64)
        number = int((kind == "desi" and record.get("targetid")) or record.get("specid") or 0)
    except (TypeError, ValueError) as error:
        message = f"does not hold numbers ({error}); retrieve it again"
        raise SpectrumError(where, message, reason="invalid values") from error
    arrays["mask"] = bits & BRIGHTSKY != 0 if kind == "sdss" else bits != 0
    if kind == "sdss":
        arrays = _without_padding(arrays)
    telescope = str(record.get("telescope") or "")
    return Spectrum(
        **arrays,
        redshift=record.get("redshift"),
        ebv=record.get("ebv"),
        spec_id="" if not number else sdss_name(number) if kind == "sdss" else str(number),
        kind=kind,
        spectral_class=str(record.get("spectype") or ""),
        telescope=_TELESCOPES.get(telescope, telescope),
    )


def _without_padding(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Records of BOSS and SDSS hold the whole grid of their plate: end them where the data end, on the exact grid."""
    good = np.flatnonzero(arrays["ivar"] > 0)
    if good.size and len({values.shape for values in arrays.values()}) == 1:
        arrays = {name: values[good[0] : good[-1] + 1] for name, values in arrays.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.log10(arrays["wavelength"]) / PIXEL
    pixel = np.rint(exact)
    if (np.abs(exact - pixel) <= MAX_GRID_OFFSET).all():  # of NaN this is not true
        arrays["wavelength"] = 10.0 ** (PIXEL * pixel)
    return arrays


def sdss_name(specid: int) -> str:
    """The plate-mjd-fiber of a spectrum by SDSS's specObjID, a signed 64-bit integer as SPARCL lists it.

    Plate, fibre, night and reduction stand in 14, 12, 14 and 14 bits (SDSS, "SPECOBJID").

    >>> sdss_name(-6444532452352045056)
    '10660-58466-0431'
    """
    number = specid % (1 << 64)
    return format_spec_id(number >> 50, (number >> 24) % (1 << 14) + 50_000, (number >> 38) % (1 << 12))
