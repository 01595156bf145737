"""Files of other kinds that lie beside spectra of quasars: recognised, and refused with the reason."""

from pathlib import Path
from typing import NoReturn

from quasar_mass.core.errors import SpectrumError
from quasar_mass.spectra import fits_headers
from quasar_mass.spectra.fits_headers import Hdu


def recognises(hdus: list[Hdu]) -> bool:
    """Whether these are the headers of a file that is known to hold no spectrum with a mass."""
    return bool(_refusal(hdus))


def decode(content: bytes, path: Path) -> NoReturn:
    """Raise SpectrumError with the reason."""
    reason, message = _refusal(fits_headers.walk(content))
    raise SpectrumError(path, message, reason=reason)


def _refusal(hdus: list[Hdu]) -> tuple[str, str] | None:
    """The short reason and the sentence, or None for a file that may be read."""
    if any("LAMOST" in (hdus[0].text(key) or "").upper() for key in ("TELESCOP", "ORIGIN", "DATA_V")):
        # http://www.lamost.org/dr8/v1.0/doc/lr-data-production-description, section 1
        return "relative flux", "is a LAMOST spectrum, whose flux is relative: it gives no luminosity and so no mass"
    units = [hdu.text("BUNIT") or "" for hdu in hdus[1:3]]
    if hdus[0].text("APRED") or [unit[:3] for unit in units] == ["Flu", "Err"]:
        window = "it does not show C IV to Mg II; name an optical spectrum"
        return "does not cover the window", f"is an APOGEE spectrum of the near infrared: {window}"
    fibres = hdus[0].sizes.get("NAXIS2", 0)
    if hdus[0].text("COEFF0") and fibres > 5:
        name = "name the spec file of one of them"
        return "another kind of file", f"holds the spectra of {fibres} fibres (an spPlate or spField file); {name}"
    columns = hdus[1].header.upper() if len(hdus) > 1 else b""
    if b"'LOGLAM" not in columns and all(f"'{name:<8}'".encode() in columns for name in ("Z", "CLASS", "RCHI2")):
        name = "name a spec file"
        return "another kind of file", f"holds redshifts and no spectra (an spZbest, spAll or similar file); {name}"
    if all(f"'{name:<8}'".encode() in columns for name in ("TARGETID", "Z", "SPECTYPE")):
        name = "name the coadd file beside it, or give this one as --redshifts"
        return "another kind of file", f"holds redshifts and no spectra (DESI's redrock file or a catalogue); {name}"
    return None
