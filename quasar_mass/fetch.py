"""Where the real survey's files are published, and how to bring them by hand.

Downloading itself is not written yet; this room knows the addresses, the sizes and the commands.
"""

from dataclasses import dataclass

from quasar_mass.survey import FIRST_BOSS_PLATE, Survey, epoch_name

CHEN_ADDRESS = "https://iopscience.iop.org/0067-0049/244/2/36/suppdata/apjsab41fet1_mrt.txt"
DR16Q_ADDRESS = "https://data.sdss.org/sas/dr16/eboss/qso/DR16Q/DR16Q_v4.fits"
TABLES_ADDRESS = "https://osf.io/6hbqx/"
BOSS_SPECTRA = "https://data.sdss.org/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/"
# SDSS-I/II spectra live under one of three reductions that the plate number does not tell; try them in turn.
LEGACY_SPECTRA = tuple(
    f"https://data.sdss.org/sas/dr16/sdss/spectro/redux/{run}/spectra/lite/" for run in (26, 103, 104)
)

# git's object name of the Chen+ table with LF line ends, from the reference's repository
CHEN_GIT_SHA1 = "652bd17e75935ed66f20b77bf87d79cd290ebb60"


@dataclass(frozen=True)
class Download:
    """One thing to download: what, how big, where it goes, and the command that brings it."""

    name: str
    size: str
    address: str
    target: str
    command: str


def addresses(plate: int, mjd: int, fiberid: int) -> list[str]:
    """Where one spectrum's spec-lite file is published; where there are several, they are to be tried in turn."""
    name = f"{plate:04d}/spec-{epoch_name(plate, mjd, fiberid)}.fits"
    return [base + name for base in ((BOSS_SPECTRA,) if plate >= FIRST_BOSS_PLATE else LEGACY_SPECTRA)]


def plan(what: str, survey: Survey) -> list[Download]:
    """What to download for a survey of the sky.

    Parameters
    ----------
    what : {"catalogs", "tables", "spectra", "all"}
    survey : Survey
        Where the files go.

    Returns
    -------
    list of Download
    """
    big = survey.quasars.parent
    chen = Download(
        "Chen+ 2019 table",
        "about 22 MB",
        CHEN_ADDRESS,
        str(survey.chen),
        f'curl -L --fail -o "{survey.chen}" {CHEN_ADDRESS}',
    )
    dr16q = Download(
        "DR16Q catalogue",
        "1.7 GB",
        DR16Q_ADDRESS,
        str(survey.dr16q),
        f'curl -L --fail -C - --create-dirs -o "{survey.dr16q}" {DR16Q_ADDRESS}',
    )
    tables = Download(
        "the reference's quasars.parquet and spectra.parquet (instead of everything else)",
        "3 MB and 2.4 GB",
        TABLES_ADDRESS,
        str(big),
        f'in a browser, into "{big}"; then, for quasars.parquet first and spectra.parquet second:'
        f' python get_Chen_data.py convert "{big}/FILE" --survey "{survey.folder}"',
    )
    spectra = Download(
        "41,464 spec-lite files",
        "9 GB",
        BOSS_SPECTRA,
        str(survey.folder / "spectra"),
        f'wget -nv -x -nH --cut-dirs=8 -P "{survey.folder / "spectra"}" -B {BOSS_SPECTRA} -i speclist.txt'
        "   # speclist.txt: one line PLATE/spec-PLATE-MJD-FIBER.fits per spectrum",
    )
    parts = {"catalogs": [chen, dr16q], "tables": [tables], "spectra": [spectra]}
    return [chen, dr16q, spectra] if what == "all" else parts[what]
