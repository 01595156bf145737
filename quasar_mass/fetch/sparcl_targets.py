"""Spectra from SPARCL by DESI's TARGETIDs or by SPARCL's own ids: a small FITS table for each, outside any survey."""

import contextlib
import csv
import io
import re
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import FetchError, FileError, SpectrumError, TableError, first_line
from quasar_mass.core.files import atomic_write, progress
from quasar_mass.fetch.catalog_files import require_space
from quasar_mass.fetch.sparcl_client import BATCH, Service
from quasar_mass.spectra.sparcl_record import INCLUDE, REQUIRED, spectrum_of

DESI = ("DESI-DR1", "DESI-EDR")  # data sets with TARGETIDs; the first that holds a target gives its spectrum
OPTIONAL = (*INCLUDE, "targetid", "ebv", "ra", "dec", "survey", "program", "redshift_warning")
MAX_RECORDS = 20  # of one target: by survey, program and release
TARGET_SIZE = 143_000  # bytes of a file with DESI's 7,781 pixels
NOT_HELD, NOT_THERE = "SPARCL does not hold it", "not_there.csv"

_TARGETID, _SPARCL_ID = re.compile(r"[0-9]{1,19}"), re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COLUMNS = ("targetid", "sparcl_id")  # of a table of targets, in lower case
# header key, field of the record, comment
_CARDS = (
    ("DATAREL", "data_release", "SPARCL's data set"),
    ("SPARCLID", "sparcl_id", "SPARCL's id of the spectrum"),
    ("ZWARN", "redshift_warning", "warnings about the redshift; 0: none"),
    ("SURVEY", "survey", "DESI's survey"),
    ("PROGRAM", "program", "DESI's program"),
    ("RA", "ra", "[deg] right ascension"),
    ("DEC", "dec", "[deg] declination"),
)


# --- which targets ----------------------------------------------------------------------------------------------------
def read_targets(path: Path) -> list[str]:
    """Read the targets that a file names.

    Parameters
    ----------
    path : Path
        A FITS table with a column TARGETID or SPARCL_ID; or a text: a table with such a column (CSV, ECSV), or one
        target in each line.

    Returns
    -------
    list of str
        TARGETIDs and SPARCL's ids, each once, in order.

    Raises
    ------
    FileError, TableError
        If there is no such file, or it names no targets.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(path, "does not exist; name a table or a text with DESI's TARGETIDs")
    names = _from_fits(path) if path.suffix.lower() in (".fits", ".fit") else _from_text(path)
    wrong = [name for name in names if not (_TARGETID.fullmatch(name) or _SPARCL_ID.fullmatch(name))]
    if wrong or not names:
        problem = f"has {wrong[0]!r:.60}, which is neither" if wrong else "names neither"
        advice = "give a column TARGETID, or one target in each line"
        raise TableError(path, f"{problem} a TARGETID of DESI nor an id of SPARCL; {advice}")
    return list(dict.fromkeys(name.lower() for name in names))


def _from_fits(path: Path) -> list[str]:
    from astropy.io import fits

    try:
        with open(path, "rb") as file, fits.open(file) as hdus:
            columns = {name.lower(): name for name in hdus[1].columns.names}
            return [str(value) for value in hdus[1].data[next(columns[name] for name in _COLUMNS if name in columns)]]
    except (OSError, IndexError, AttributeError, ValueError, TypeError, StopIteration, fits.VerifyError) as error:
        message = f"is no FITS table with a column TARGETID or SPARCL_ID ({first_line(error)})"
        raise FileError(path, f"{message}; correct the file, or name another one") from error


def _from_text(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise FileError(path, "is neither a FITS table (.fits) nor a text; name a file with TARGETIDs") from error
    cells = [re.split(r"\s*,\s*|\s+", line.lower().replace('"', "")) for line in lines if line and line[0] != "#"]
    named = [name for name in _COLUMNS if cells and name in cells[0]]
    column = cells.pop(0).index(named[0]) if named else 0
    return [row[column] if len(row) > column else "" for row in cells]


# --- fetching ---------------------------------------------------------------------------------------------------------
def target_path(folder: Path, target: str) -> Path:
    """The file of a target."""
    return folder / f"sparcl-{target}.fits"


def fetch_targets(
    targets: list[str],
    folder: Path,
    client,
    *,
    quiet: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> list[str]:
    """Fetch the spectra of targets, each into a file of its own; a second call resumes where the first one ended.

    Parameters
    ----------
    targets : list of str
        Of `read_targets`. Of a TARGETID with several spectra, the newest release gives its primary one.
    folder : Path
        Where they go. ``not_there.csv`` lists the targets without a file, with the reason.
    client : SparclClient
    quiet : bool
        No progress bar.
    sleep : callable
        Passes so many seconds.

    Returns
    -------
    list of str
        What was done, in lines.

    Raises
    ------
    FetchError
        If SPARCL does not answer, or none of the targets has a file in the end.
    """
    service = Service(client, (*DESI, *sorted(set(client.all_datasets) - set(DESI))), sleep)
    todo = to_fetch(targets, folder)
    require_space(folder, len(todo) * TARGET_SIZE)
    fetched = n_bytes = 0
    absent: dict[str, str] = {}
    with progress(None, total=len(todo), what="Fetch", unit="spectra", quiet=quiet) as bar:
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            came = dict(_files(service, batch))
            for target in batch:
                content = came.get(target, NOT_HELD)
                if isinstance(content, str):
                    absent[target] = content
                    continue
                with atomic_write(target_path(folder, target)) as temporary:
                    temporary.write_bytes(content)
                fetched, n_bytes = fetched + 1, n_bytes + len(content)
            bar.update(len(batch))
    _write_absent(folder, absent)
    if len(absent) == len(targets):
        message = f"gave none of {len(targets):,} targets ({targets[0]}: {absent[targets[0]]}); check their numbers"
        raise FetchError("SPARCL", message)
    held = sum(reason == NOT_HELD for reason in absent.values())
    lines = [
        f"targets: {len(targets):,} asked for: {len(targets) - len(absent):,} there, {held:,} not held by SPARCL, "
        f"{len(absent) - held:,} damaged",
        f"         {fetched:,} fetched in this run, {n_bytes / 1e6:,.1f} MB, into {folder}",
    ]
    return [*lines, f"         those that are not there, and why: {folder / NOT_THERE}"] if absent else lines


def to_fetch(targets: Iterable[str], folder: Path) -> list[str]:
    """The targets without a whole file."""
    return [target for target in targets if not _is_whole(target_path(folder, target))]


def _is_whole(path: Path) -> bool:
    """Whether a file is there and agrees with the checksums in its header."""
    from astropy.io import fits

    if not path.is_file():
        return False
    damaged = (OSError, IndexError, ValueError, TypeError, AttributeError, fits.VerifyError, Warning)
    with warnings.catch_warnings(), contextlib.suppress(*damaged):
        warnings.simplefilter("error")  # astropy warns of a checksum that does not agree
        with open(path, "rb") as file, fits.open(file, checksum=True, memmap=False) as hdus:
            return "DATASUM" in hdus[1].header and len(hdus[1].data) > 0
    return False


def _files(service: Service, targets: list[str]) -> Generator[tuple[str, bytes | str]]:
    """Give the targets that SPARCL holds, each with the content of its file, or with the reason why it has none."""
    best: dict[str, dict] = {}
    items = _items(service, targets)
    # the last one of a key stays in a dict
    for item in sorted(items, key=lambda item: _rank(service, item), reverse=True):
        best[_target(item, targets)] = item
    names = {str(item["sparcl_id"]): target for target, item in best.items()}
    for record in service.retrieve(best.values(), ("specid", *REQUIRED), OPTIONAL):
        try:
            yield names[str(record["sparcl_id"])], as_table(record)
        except SpectrumError as error:
            yield names[str(record["sparcl_id"])], error.message


def _items(service: Service, targets: list[str]) -> list[dict]:
    numbers = [int(target) for target in targets if _TARGETID.fullmatch(target)]
    ids = [target for target in targets if _SPARCL_ID.fullmatch(target)]
    items = []
    if numbers:
        releases = [name for name in DESI if name in service.datasets]
        items += service.find({"specid": numbers, "data_release": releases}, MAX_RECORDS * len(numbers))
    return items + (service.find({"sparcl_id": ids}, len(ids)) if ids else [])


def _target(item: dict, targets: list[str]) -> str:
    """By which of its names an item was asked for."""
    number = str(item["specid"])
    return number if number in targets else str(item["sparcl_id"])


def _rank(service: Service, item: dict) -> tuple[int, bool]:
    return service.datasets.index(item["data_release"]), not item["specprimary"]


def as_table(record: dict) -> bytes:
    """A record of SPARCL as a FITS table: WAVELENGTH, FLUX, IVAR, and MASK, which is not 0 where a pixel is bad.

    The header holds Z, EBV, TARGETID or OBJECT, SPECTYPE, TELESCOP and more, each where SPARCL knows it.

    Raises
    ------
    SpectrumError
        If the record is no spectrum.
    """
    from astropy.io import fits

    spectrum = spectrum_of(record)
    columns = [
        fits.Column("WAVELENGTH", "D", "Angstrom", array=spectrum.wavelength),
        fits.Column("FLUX", "E", "10**-17 erg/(s cm2 Angstrom)", array=spectrum.flux),
        fits.Column("IVAR", "E", "10**34 (s2 cm4 Angstrom2)/erg2", array=spectrum.ivar),
        fits.Column("MASK", "I", array=spectrum.mask.astype(np.int16)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    name = ("TARGETID", int(spectrum.spec_id)) if spectrum.kind == "desi" else ("OBJECT", spectrum.spec_id)
    known = [
        (*name, "DESI's target" if spectrum.kind == "desi" else "plate-mjd-fiber"),
        ("Z", spectrum.redshift, "redshift"),
        ("EBV", spectrum.ebv, "[mag] Galactic E(B-V)"),
        ("SPECTYPE", spectrum.spectral_class, "class by the survey's pipeline"),
        ("TELESCOP", spectrum.telescope, "telescope"),
        *((key, record.get(field), comment) for key, field, comment in _CARDS),
        ("VACUUM", True, "wavelengths are in vacuum"),
    ]
    for key, value, comment in known:
        value = value.item() if isinstance(value, np.generic) else value
        if value not in (None, "") and value == value:  # NaN is not equal to itself, and FITS has no word for it
            table.header[key] = value, comment
    table.add_checksum(when="checksum of this table")  # the default has the time, and no two files would be equal
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(content)
    return content.getvalue()


def _write_absent(folder: Path, absent: dict[str, str]) -> None:
    path = folder / NOT_THERE
    if not absent:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("target", "reason"))
        writer.writerows(absent.items())
