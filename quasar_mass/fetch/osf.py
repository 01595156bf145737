"""The reference's own tables from its project on the Open Science Framework, found through OSF's listing."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from quasar_mass.core.errors import FetchError, SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.catalog_files import bring, partial
from quasar_mass.fetch.client import Client, forget
from quasar_mass.fetch.responses import Temporary
from quasar_mass.tables import survey_tables
from quasar_mass.tables.build import reference
from quasar_mass.tables.build.convert import convert_here

PAGE_LIMIT = 5_000_000  # bytes of one page of a listing: ten files take some 30 kB
MAX_PAGES = 50
MAX_BYTES = 20_000_000_000  # bytes of a table, far beyond 2.4 GB
LISTING = f"https://osf.io/{urls.OSF_PROJECT}/"  # for people


@dataclass(frozen=True)
class Entry:
    """One file of the project: name, size in bytes, checksums (hexadecimal, empty where not listed), and address."""

    name: str
    size: int
    sha256: str
    md5: str
    address: str


def fetch_tables(survey: Survey, client: Client, *, quiet: bool = False) -> list[str]:
    """Bring the reference's quasars.parquet and spectra.parquet, and convert them into the survey's tables.

    They are kept as ``*_reference.parquet``; what is there with the listed checksum is neither fetched nor converted
    again.

    Returns
    -------
    list of str
        A line for each step.

    Raises
    ------
    FetchError
        If the listing or a file cannot be had, or is not what it should be.
    SurveyError
        If tables built from the catalogues are in the way, or the survey is a simulation.
    """
    _refuse_built(survey)
    entries = listing(client)
    lines = []
    for name, table in zip(urls.OSF_TABLES, (survey.quasars, survey.spectra), strict=True):
        if name not in entries:
            got = ", ".join(sorted(entries)) or "no file"
            do = f"look at {LISTING}, get the file by hand, and run: python get_Chen_data.py convert FILE"
            raise FetchError(urls.OSF_LISTING, expected=f"{name} in the project", got=got, do=do)
        entry = entries[name]
        path = reference.kept_name(table)
        if _verified(path, entry):
            forget(partial(path))  # of a run that was killed just when it had finished
            lines.append(f"{name}: {path}, there already, verified")
        else:
            _bring(path, entry, client, quiet)
            lines.append(f"{name}: {path} ({entry.size / 1e6:,.1f} MB), fetched, verified by its checksum")
        if table.exists() and survey_tables.read_about(table).get("inputs", {}).get(path.name) == _digests(path)[0]:
            lines.append(f"{name}: converted already to {table}")
        else:
            lines.append(convert_here(path, survey, quiet=quiet))
    return lines


def listing(client: Client) -> dict[str, Entry]:
    """What the project's storage holds, by name, folders included.

    Raises
    ------
    FetchError
        If the listing cannot be had, or names what no listing should.
    """
    entries: dict[str, Entry] = {}
    waiting, seen = [urls.OSF_LISTING], set()
    while waiting:
        page = waiting.pop()
        if page in seen or len(seen) >= MAX_PAGES:
            raise _strange(page, f"at most {MAX_PAGES} pages, none twice", "more")
        seen.add(page)
        content = json.loads(client.get(page, limit=PAGE_LIMIT, check=_json))
        try:
            for item in content["data"]:
                attributes = item["attributes"]
                if attributes["kind"] == "folder":
                    waiting.append(_address(page, item["relationships"]["files"]["links"]["related"]["href"]))
                else:
                    entry = _entry(page, attributes, item["links"]["download"])
                    entries.setdefault(entry.name, entry)
            following = (content.get("links") or {}).get("next")
        except (KeyError, TypeError, AttributeError) as error:
            raise _strange(page, "OSF's list of files", f"{type(error).__name__}: {error}") from error
        if following:
            waiting.append(_address(page, following))
    return entries


def _json(content: bytes) -> None:
    try:
        json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Temporary(f"not JSON: begins {content[:40]!r}") from error


def _address(page: str, address: object) -> str:
    if not isinstance(address, str) or urlsplit(address).scheme not in ("http", "https"):
        raise _strange(page, "web addresses", repr(address))
    return address


def _entry(page: str, attributes: dict, address: object) -> Entry:
    """One file's entry, its name being no path and its numbers sensible."""
    name, size = attributes["name"], attributes["size"]
    if not isinstance(name, str) or not name or name in (".", "..") or re.search(r"[/\\\0]", name):
        raise _strange(page, "names of files", repr(name))
    if type(size) is not int or not 0 <= size <= MAX_BYTES:
        raise _strange(page, f"a size up to {MAX_BYTES:,} bytes for {name}", repr(size))
    hashes = attributes["extra"]["hashes"]
    digests = []
    for kind, length in (("sha256", 64), ("md5", 32)):
        digest = hashes.get(kind) or ""
        if digest and not re.fullmatch(f"[0-9a-f]{{{length}}}", str(digest).lower()):
            raise _strange(page, f"a {kind} for {name}", repr(digest))
        digests.append(str(digest).lower())
    return Entry(name, size, *digests, _address(page, address))


def _bring(path: Path, entry: Entry, client: Client, quiet: bool) -> None:
    if not (entry.sha256 or entry.md5):
        raise _strange(urls.OSF_LISTING, f"a checksum for {entry.name}", "none")

    def accept(part: Path) -> None:
        if not _verified(part, entry):
            do = "nothing of it was kept; run the same command again"
            raise FetchError(entry.address, expected="the listed size and checksum", got="others", do=do)

    sizes = {"limit": MAX_BYTES, "size": entry.size, "about": entry.size}
    bring(entry.name, entry.address, path, client, accept, quiet=quiet, **sizes)


def _verified(path: Path, entry: Entry) -> bool:
    """Whether a file is the listed one."""
    if not path.exists() or path.stat().st_size != entry.size:
        return False
    return all(listed in ("", found) for listed, found in zip((entry.sha256, entry.md5), _digests(path), strict=True))


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256 and MD5 of a file, read once in pieces."""
    hashes = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            for digest in hashes:
                digest.update(piece)
    return hashes[0].hexdigest(), hashes[1].hexdigest()


def _refuse_built(survey: Survey) -> None:
    """Keep the reference's tables from taking the place of tables made here, and of a simulation's."""
    if survey.kind != "sdss":
        do = "name the folder of the real survey, for example --survey data"
        raise SurveyError(survey.folder, expected="a survey of the sky", got="a simulated one", do=do)
    for table in (survey.quasars, survey.spectra):
        if table.exists() and not survey_tables.read_about(table).get("origin", "").startswith("converted"):
            do = "move it away, or choose another --survey"
            raise SurveyError(table, expected="no table built from the catalogues", got="one", do=do)


def _strange(page: str, expected: str, got: str) -> FetchError:
    do = f"nothing was fetched; look at {LISTING}, or check the mirror"
    return FetchError(page, expected=expected, got=got, do=do)
