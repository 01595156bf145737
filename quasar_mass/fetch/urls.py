"""Addresses of the published files, and of the same files on a mirror."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from quasar_mass.core.files import PARTIAL
from quasar_mass.core.survey import Survey, format_spec_id

CHEN = "https://iopscience.iop.org/0067-0049/244/2/36/suppdata/apjsab41fet1_mrt.txt"
CHEN_BLOB = "652bd17e75935ed66f20b77bf87d79cd290ebb60"  # git blob sha1 of its LF form, from the reference's repository
CHEN_ROWS = 173_559  # Chen et al. 2019, ApJS 244, 36, abstract
CHEN_SIZE = 22_000_000  # bytes, about: its rows of some 125 bytes

DR16Q = "https://data.sdss.org/sas/dr16/eboss/qso/DR16Q/DR16Q_v4.fits"
DR16Q_ROWS = 750_414  # Lyke et al. 2020, ApJS 250, 8
DR16Q_SIZE = 1_718_500_000  # bytes, about: rows of 2,290 bytes

OSF_PROJECT = "6hbqx"  # the reference's own tables
OSF_LISTING = f"https://api.osf.io/v2/nodes/{OSF_PROJECT}/files/osfstorage/"
OSF_TABLES = ("quasars.parquet", "spectra.parquet")  # in the order in which `convert` needs them
OSF_SIZE = 2_400_000_000  # bytes, about

SPECTRUM_SIZE = 219_096  # bytes: mean of 81 spec-lite files of v5_13_0
SPECTRA = 41_464  # spectra of the published run

MAX_CONNECTIONS = 32  # at a time: SDSS names no limit; its own tool opens 5 streams, people's scripts 5 to 10

# A mirror stands in for all of these, also where a listing or a redirect names one of them.
PUBLIC_HOSTS = ("iopscience.iop.org", "data.sdss.org", "osf.io", "api.osf.io", "files.osf.io")

# Directory of each reduction's spec-lite files in the SDSS Science Archive Server.
REDUCTIONS = {
    "v5_13_0": "dr16/eboss/spectro/redux/v5_13_0",
    "v5_13_2": "dr17/eboss/spectro/redux/v5_13_2",
    "26": "dr16/sdss/spectro/redux/26",
    "103": "dr16/sdss/spectro/redux/103",
    "104": "dr16/sdss/spectro/redux/104",
}
FIRST_BOSS_PLATE = 3510  # first plate of the BOSS spectrograph
# DR16 first, as the reference used; DR17 is a new coadd, taken only where DR16 has no such file.
BOSS_REDUCTIONS = ("v5_13_0", "v5_13_2")
# Legacy and SEGUE-1, stellar clusters, SEGUE-2: the plate number does not tell which, so they are tried in turn.
SDSS_REDUCTIONS = ("26", "103", "104")


@dataclass(frozen=True)
class BigFile:
    """A big file that is published.

    Attributes
    ----------
    name, address : str
        Its usual name, and its public address.
    path : Path
        Where it goes.
    size : int
        Bytes that it has, about.
    """

    name: str
    address: str
    path: Path
    size: int

    @property
    def part(self) -> Path:
        """Temporary path of the download, which several runs may continue."""
        return self.path.with_name(f".{self.path.stem}{PARTIAL}{self.path.suffix}")


def catalogs(survey: Survey) -> tuple[BigFile, BigFile]:
    """The Chen+ 2019 table and DR16Q."""
    return (
        BigFile("Chen+ 2019 table", CHEN, survey.chen, CHEN_SIZE),
        BigFile("DR16Q catalogue", DR16Q, survey.dr16q, DR16Q_SIZE),
    )


def reductions(plate: int) -> tuple[str, ...]:
    """RUN2D of the reductions a plate may belong to, in the order in which they are tried."""
    return BOSS_REDUCTIONS if plate >= FIRST_BOSS_PLATE else SDSS_REDUCTIONS


def spectrum(plate: int, mjd: int, fiberid: int, run2d: str) -> str:
    """Public address of a spec-lite file.

    >>> spectrum(7666, 57339, 121, "v5_13_0").partition("redux/")[2]
    'v5_13_0/spectra/lite/7666/spec-7666-57339-0121.fits'
    """
    name = f"spec-{format_spec_id(plate, mjd, fiberid)}.fits"
    return f"https://data.sdss.org/sas/{REDUCTIONS[run2d]}/spectra/lite/{plate:04d}/{name}"


def mirrored(address: str, mirror: str | None) -> str:
    """Replace scheme and host of a public address by those of a mirror; other addresses stay as they are."""
    parts = urlsplit(address)
    if mirror is None or parts.hostname not in PUBLIC_HOSTS:
        return address
    to = urlsplit(mirror)
    return urlunsplit((to.scheme, to.netloc, parts.path, parts.query, ""))


def specid(plate: int, mjd: int, fiberid: int, run2d: str) -> int:
    """SDSS's specObjID of a spectrum as SPARCL lists it, a signed 64-bit integer.

    Plate, fibre, night and reduction in 14, 12, 14 and 14 bits; a reduction ``vN_M_P`` counts as
    (N - 5) 10000 + 100 M + P (SDSS, "SPECOBJID").

    >>> specid(1338, 52765, 1, "26")
    1506454396622366720
    >>> specid(10660, 58466, 431, "v5_13_0")
    -6444532452352045056
    """
    if run2d.startswith("v"):
        major, minor, patch = (int(part) for part in run2d[1:].split("_"))
        run = (major - 5) * 10_000 + minor * 100 + patch
    else:
        run = int(run2d)
    number = (plate << 50) | (fiberid << 38) | ((mjd - 50_000) << 24) | (run << 10)
    return number - (1 << 64) if number >= 1 << 63 else number
