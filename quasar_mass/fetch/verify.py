"""Checks of downloaded files by their structure, since SDSS publishes no checksums of them.

A byte that changes during the transfer is not detected here, but by the checks of TCP and TLS.

Simulated files say so themselves: the mass table in its title, DR16Q and the spec files as SIMULATE = T in their first
header. A mirror may serve such files; the folder they are fetched into is then marked as simulated by a `survey.json`,
before the first of them gets its final name, so that they cannot be mistaken for observations.
"""

import hashlib
import json
from pathlib import Path

from quasar_mass.core.errors import SurveyError
from quasar_mass.core.files import atomic_write
from quasar_mass.core.survey import Survey, format_spec_id
from quasar_mass.spectra import fits_headers
from quasar_mass.spectra.fits_bytes import BLOCK

SPECTRUM_HDUS = 4  # of a spec-lite file
FETCHED = "fetched"  # origin of a simulated survey that came from a mirror


def check_spectrum(content: bytes, spec_id: tuple[int, int, int]) -> fits_headers.Hdu:
    """Check that a spec file is complete, and of the spectrum (plate, mjd, fiberid) that was asked for.

    Returns
    -------
    Hdu
        Its first header. RUN2D is missing there in reductions 26, 103 and 104.

    Raises
    ------
    ValueError
        If it is not; its text is the reason that the manifest carries.
    """
    if len(content) % BLOCK and content.startswith(b"SIMPLE"):
        raise ValueError(f"cut off: {len(content):,} bytes are no whole blocks")
    headers = fits_headers.walk(content, strict=True)
    if len(headers) < SPECTRUM_HDUS:
        raise ValueError(f"cut off: {len(headers)} HDUs instead of {SPECTRUM_HDUS}")
    if headers[1].sizes.get("NAXIS2", 0) < 1 or headers[2].sizes.get("NAXIS2") != 1:
        raise ValueError("damaged: no rows in HDU 1, or other than one row in HDU 2")
    primary = headers[0]
    named = tuple(primary.text(key) for key in ("PLATEID", "MJD", "FIBERID"))
    if None not in named and named != tuple(map(str, spec_id)):
        raise ValueError(f"another spectrum: {'-'.join(named)} instead of {format_spec_id(*spec_id)}")
    return primary


def is_simulated(primary: fits_headers.Hdu) -> bool:
    """Whether the first header of a FITS file says that it is simulated."""
    return primary.text("SIMULATE") == "T"


def says_simulated(path: Path) -> bool:
    """Whether a catalogue or a spec file says itself that it is simulated, in its title or its first header."""
    with open(path, "rb") as file:
        begin = file.read(fits_headers.MAX_HEADER_BYTES)
    if begin.startswith(b"SIMPLE"):
        try:
            primary = fits_headers.read_header(begin)
        except ValueError:  # damaged: it says nothing, and whoever reads it reports that
            return False
        return primary is not None and is_simulated(primary)
    return b"SIMULATED" in begin.partition(b"\n")[0]


def git_blob(content: bytes) -> str:
    r"""The SHA-1 by which git names a file's content, its line ends turned to LF as git stores them.

    >>> git_blob(b"hello\r\n")
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """
    content = content.replace(b"\r\n", b"\n")
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def refuse_simulation(survey: Survey) -> None:
    """Refuse to download into a folder that `simulate` made.

    Raises
    ------
    SurveyError
        If the survey was simulated here.
    """
    about = survey.about()
    if about["kind"] == "simulated" and about.get("origin") != FETCHED:
        message = "holds a survey that was simulated here, so nothing is fetched into it; name another folder: --survey"
        raise SurveyError(survey.folder, f"{message} NEW_FOLDER")


def mark_kind(survey: Survey, simulated: bool, mirror: str | None) -> None:
    """Mark a survey as simulated if the files that come are, or refuse to mix them with observed ones.

    Raises
    ------
    SurveyError
        If the folder holds files of the other kind.
    """
    if (survey.kind == "simulated") == simulated:
        return
    catalogs = (path for path in (survey.chen, survey.dr16q) if path.exists())
    holds_observed = survey.quasars.exists() or survey.spectra.exists() or not all(map(says_simulated, catalogs))
    if not simulated or holds_observed:
        come, there = ("simulated", "observed") if simulated else ("observed", "simulated")
        message = f"holds {there} spectra, and the files that came are {come}; fetch them into another --survey"
        raise SurveyError(survey.folder, message)
    about = {
        "kind": "simulated",
        "origin": FETCHED,
        "from": mirror or "the public addresses",
        "note": "Fetched from a mirror whose files say that they are simulated: no measurement of real quasars.",
    }
    with atomic_write(survey.card) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
