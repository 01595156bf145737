"""Where the real survey's files are published, and how to bring them by hand.

Downloading itself is not written yet; this room knows the addresses, the sizes and the commands.
"""

from dataclasses import dataclass

from quasar_mass.survey import Survey

CHEN_ADDRESS = "https://iopscience.iop.org/0067-0049/244/2/36/suppdata/apjsab41fet1_mrt.txt"
DR16Q_ADDRESS = "https://data.sdss.org/sas/dr16/eboss/qso/DR16Q/DR16Q_v4.fits"
TABLES_ADDRESS = "https://osf.io/6hbqx/"
BOSS_SPECTRA = "https://data.sdss.org/sas/dr16/eboss/spectro/redux/v5_13_0/spectra/lite/"


@dataclass(frozen=True)
class Download:
    """One thing to download: what, how big, where it goes, and the command that brings it."""

    name: str
    size: str
    address: str
    target: str
    command: str


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
