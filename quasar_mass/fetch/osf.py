"""The reference's own tables from its project on the Open Science Framework (OSF), listed by OSF's API."""

import json
from pathlib import Path
from typing import NamedTuple

from quasar_mass.core.errors import FetchError, SurveyError, first_line
from quasar_mass.core.files import sha256
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.catalog_files import download_checked
from quasar_mass.fetch.client import Client, discard
from quasar_mass.fetch.urls import BigFile
from quasar_mass.tables import survey_tables
from quasar_mass.tables.build import convert

PROJECT_PAGE = f"https://osf.io/{urls.OSF_PROJECT}/"  # for people


class Entry(NamedTuple):
    """One file of the project: size in bytes, SHA-256 (hexadecimal), and address."""

    size: int
    sha256: str
    address: str


def fetch_tables(survey: Survey, client: Client, *, quiet: bool = False) -> list[str]:
    """Fetch the reference's quasars.parquet and spectra.parquet, and convert them into the survey's tables.

    They are kept as ``*_reference.parquet``; what is there with the listed checksum is neither fetched nor converted
    again.

    Returns
    -------
    list of str
        A line for each step.

    Raises
    ------
    FetchError
        If the listing or a file cannot be fetched, or is not what it should be.
    SurveyError
        If tables built from the catalogues are in the way, or the survey is a simulation.
    """
    _refuse_other_tables(survey)
    entries = listing(client)
    lines = []
    for name, table in zip(urls.OSF_TABLES, (survey.quasars, survey.spectra), strict=True):
        if name not in entries:
            listed = ", ".join(sorted(entries)) or "no file"
            advice = f"look at {PROJECT_PAGE}, get the file by hand, and run: python get_Chen_data.py convert FILE"
            raise FetchError(urls.OSF_LISTING, f"does not list {name} (it lists {listed}); {advice}")
        entry, path = entries[name], convert.kept_name(table)
        file = BigFile(name, entry.address, path, entry.size)
        if path.exists() and path.stat().st_size == entry.size and sha256(path) == entry.sha256:
            discard(file.part)  # of a run that was killed just before it ended
            lines.append(f"{name}: {path}, there already, verified")
        else:

            def accept(part: Path, entry: Entry = entry) -> None:
                if sha256(part) != entry.sha256:
                    message = "came with another checksum than listed, and was not kept; run the same command again"
                    raise FetchError(entry.address, message)

            download_checked(file, client, accept, quiet=quiet)
            lines.append(f"{name}: {path} ({entry.size / 1e6:,.1f} MB), fetched, verified by its checksum")
        if table.exists() and survey_tables.read_about(table).get("inputs", {}).get(path.name) == entry.sha256:
            lines.append(f"{name}: converted already to {table}")
        else:
            lines.append(convert.convert_here(path, survey, quiet=quiet))
    return lines


def listing(client: Client) -> dict[str, Entry]:
    """Give the files of the project by name, those in folders included.

    Raises
    ------
    FetchError
        If the listing cannot be fetched or read.
    """
    entries: dict[str, Entry] = {}
    pages = [urls.OSF_LISTING]
    while pages:
        page = pages.pop()
        content = json.loads(client.get(page, json.loads))
        try:
            for item in content["data"]:
                attributes = item["attributes"]
                if attributes["kind"] == "folder":
                    pages.append(item["relationships"]["files"]["links"]["related"]["href"])
                else:
                    checksum = str(attributes["extra"]["hashes"]["sha256"]).lower()
                    entry = Entry(int(attributes["size"]), checksum, item["links"]["download"])
                    entries.setdefault(attributes["name"], entry)
            if following := content["links"]["next"]:
                pages.append(following)
        except (KeyError, TypeError, ValueError) as error:
            message = f"is not OSF's list of files ({first_line(error)})"
            raise FetchError(page, f"{message}; look at {PROJECT_PAGE}, or check the mirror") from error
    return entries


def _refuse_other_tables(survey: Survey) -> None:
    """Keep the reference's tables from replacing tables built here, and from mixing with simulated ones."""
    if survey.kind != "sdss":
        message = "holds simulated spectra, and the reference's tables are of real ones"
        raise SurveyError(survey.folder, f"{message}; fetch them into another --survey")
    for table in (survey.quasars, survey.spectra):
        if table.exists() and not survey_tables.read_about(table).get("origin", "").startswith("converted"):
            message = "was built here from the catalogues; move it away, or choose another --survey"
            raise SurveyError(table, message)
