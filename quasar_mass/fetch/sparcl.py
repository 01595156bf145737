"""A survey's spectra from SPARCL, NOIRLab's server of spectra, which needs few requests.

SPARCL gives arrays, not files; they are written as spec-lite files. What it does not give stays empty: HDU 2 has no
extinction, HDU 3 no lines, and its one mask stands for both masks.
"""

import time
from collections.abc import Callable, Generator, Iterable

import numpy as np

from quasar_mass.core.errors import FetchError, SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.manifest import FAILED, MISSING, Manifest, Row, SpecId
from quasar_mass.fetch.sparcl_client import BATCH, Service
from quasar_mass.fetch.spectra import Report, not_come, record_all, save, to_do, verified_on_disk
from quasar_mass.fetch.verify import check_spectrum
from quasar_mass.spectra.fits_bytes import card
from quasar_mass.spectra.sparcl_record import MAX_GRID_OFFSET
from quasar_mass.spectra.spec_lite import Pixels, grid_cards, spec_lite

DATASETS = ("BOSS-DR16", "SDSS-DR16", "BOSS-DR17", "SDSS-DR17")  # the first that holds a spectrum gives it
# fields of a record
REQUIRED = ("specid", "flux", "ivar", "mask", "wavelength")
# where a data set has them
OPTIONAL = ("wave_sigma", "model", "sky", "ra", "dec", "spectype", "redshift", "redshift_err", "redshift_warning")
NOT_HELD = "SPARCL does not hold it: the archive may"


def fetch_spectra(
    survey: Survey,
    spec_ids: Iterable[SpecId],
    client,
    *,
    recheck: bool = False,
    quiet: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> Report:
    """Fetch spectra from SPARCL.

    Parameters
    ----------
    survey : Survey
        Where they go; SPARCL holds observed spectra, so not a simulated one.
    spec_ids : iterable of (plate, mjd, fiberid)
        Which spectra. Those that are there, as they were verified, are not fetched again.
    client : SparclClient
        Or what has its ``get_available_fields``, ``all_datasets``, ``find`` and ``retrieve``.
    recheck : bool
        Compare all files that are there with their checksums, and ask again for what the archive did not publish.
    quiet : bool
        No progress bar.
    sleep : callable
        Passes so many seconds.

    Returns
    -------
    Report
        What SPARCL does not hold is ``missing`` in it, since the archive may hold it.
    """
    if survey.kind != "sdss":
        message = "holds simulated spectra, and SPARCL has real ones; fetch them into another --survey"
        raise SurveyError(survey.folder, message)
    selected = list(dict.fromkeys(spec_ids))
    with Manifest(survey) as manifest:
        manifest.select(selected)
        todo = to_do(survey, manifest, selected, recheck)
        rows = _rows(survey, Service(client, DATASETS, sleep), todo)
        return record_all(manifest, selected, rows, len(todo), quiet, max_failures=2 * BATCH + 1)


def _rows(survey: Survey, service: Service, todo: list[Row]) -> Generator[tuple[Row, int]]:
    """Give the row of each spectrum and the bytes received for it, batch by batch."""
    for start in range(0, len(todo), BATCH):
        batch = []
        for row in todo[start : start + BATCH]:
            if present := verified_on_disk(survey, row, simulated=False):
                yield present, 0
            else:
                batch.append(row)
        try:
            records = _records(service, [row.spec_id for row in batch]) if batch else {}
        except FetchError as error:
            yield from ((not_come(row, FAILED, error.reason), 0) for row in batch)
            continue
        for row in batch:
            if row.spec_id in records:
                yield _save_record(survey, row, *records[row.spec_id])
            else:
                yield not_come(row, MISSING, NOT_HELD), 0


def _save_record(survey: Survey, row: Row, run2d: str, record: dict) -> tuple[Row, int]:
    """Write one record as a spec-lite file."""
    asked = Row(*row.spec_id, run2d, f"sparcl:{record['sparcl_id']}")
    try:
        content = as_file(row.spec_id, run2d, record)
        check_spectrum(content, row.spec_id)
    except ValueError as error:
        return not_come(row, FAILED, str(error), asked), 0
    return save(survey, asked, content, f"from SPARCL, {record.get('_dr', 'data release not given')}"), len(content)


def _records(service: Service, spec_ids: list[SpecId]) -> dict[SpecId, tuple[str, dict]]:
    """The reduction and the record of those spectra that SPARCL holds."""
    names = {
        urls.specid(*spec_id, run2d): (spec_id, run2d) for spec_id in spec_ids for run2d in urls.reductions(spec_id[0])
    }
    best, records = _best(service, names), {}
    for record in service.retrieve(best.values(), REQUIRED, OPTIONAL):
        spec_id, run2d = names.get(int(record["specid"]), (None, ""))
        if spec_id in best and str(record["sparcl_id"]) == str(best[spec_id]["sparcl_id"]):
            records[spec_id] = run2d, record
    return records


def _best(service: Service, names: dict[int, tuple[SpecId, str]]) -> dict[SpecId, dict]:
    """Of each spectrum, SPARCL's item with the best reduction, in the first data set that holds it."""
    limit = len(names) * len(service.datasets)
    items = service.find({"specid": list(names), "data_release": service.datasets}, limit)

    def rank(item: dict) -> tuple[int, int]:
        (plate, *_), run2d = names[int(item["specid"])]
        return urls.reductions(plate).index(run2d), service.datasets.index(item["data_release"])

    known = [item for item in items if int(item["specid"]) in names and item["data_release"] in service.datasets]
    # the last one of a key stays in a dict
    return {names[int(item["specid"])][0]: item for item in sorted(known, key=rank, reverse=True)}


def as_file(spec_id: SpecId, run2d: str, record: dict) -> bytes:
    """A record of SPARCL as a spec-lite file.

    Its arrays hold the whole grid of the plate; a spec-lite file ends with the first and last pixel that has data.

    Raises
    ------
    ValueError
        If the arrays contradict one another; its text is the reason that the manifest carries.
    """
    names = ("wavelength", "flux", "ivar", "wave_sigma", "model", "sky")
    values = {name: record.get(name) for name in names}
    zeros = np.zeros(len(record["flux"]))
    arrays = {name: zeros if value is None else np.asarray(value, float) for name, value in values.items()}
    arrays["mask"] = np.asarray(record["mask"]).astype(np.int64).astype(np.int32)
    if len({value.shape for value in arrays.values()}) != 1 or zeros.size == 0:
        raise ValueError(f"damaged: arrays of lengths {', '.join(str(value.size) for value in arrays.values())}")
    index = _grid_index(arrays.pop("wavelength"))
    good = np.flatnonzero(arrays["ivar"] > 0)
    if not good.size:
        raise ValueError("damaged: no pixel with data")
    kept = slice(good[0], good[-1] + 1)
    arrays = {name: value[kept] for name, value in arrays.items()}
    mask, wdisp, first = arrays.pop("mask"), arrays.pop("wave_sigma"), int(index[kept.start])
    pixels = Pixels(first=first, and_mask=mask, or_mask=mask, wdisp=wdisp, **arrays)
    redshift = _number(record, "redshift")
    return spec_lite(spec_id, pixels, _row(run2d, record), _cards(spec_id, run2d, record, first), redshift=redshift)


def _grid_index(wavelength: np.ndarray) -> np.ndarray:
    """The index k of every pixel on SDSS's grid, 10^(k/10000) Angstrom."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = 1e4 * np.log10(wavelength)
    if not (np.isfinite(exact).all() and (np.abs(exact - np.rint(exact)) <= MAX_GRID_OFFSET).all()):
        raise ValueError("damaged: wavelengths off SDSS's grid")
    index = np.rint(exact).astype(int)
    if (np.diff(index) != 1).any():
        raise ValueError("damaged: wavelengths with gaps")
    return index


def _number(record: dict, name: str, otherwise: float = np.nan) -> float:
    value = record.get(name)
    return otherwise if value is None else float(value)


def _row(run2d: str, record: dict) -> dict:
    """HDU 2: what SPARCL gives, and NaN where a zero would be a value."""
    ra, dec = _number(record, "ra"), _number(record, "dec")
    return {
        "RUN2D": run2d,
        "CLASS": str(record.get("spectype") or ""),
        "Z": _number(record, "redshift"),
        "Z_ERR": _number(record, "redshift_err"),
        "ZWARNING": int(_number(record, "redshift_warning", 0)),
        "RA": ra,
        "DEC": dec,
        "PLUG_RA": ra,
        "PLUG_DEC": dec,
        "EXTINCTION": np.full(5, np.nan),
        "SPECOBJID": 0,
    }


def _cards(spec_id: SpecId, run2d: str, record: dict, first: int) -> list[bytes]:
    plate, mjd, fiberid = spec_id
    return [
        card("ORIGIN", "SPARCL", "written from a record of SPARCL, not SDSS's file"),
        card("DATAREL", str(record.get("_dr", "")), "SPARCL's data set"),
        card("COMMENT", f"SPARCL record {record['sparcl_id']}."),
        card("COMMENT", "Its one mask stands for AND_MASK and OR_MASK; extinction and lines are not known."),
        card("PLATEID", plate, "plate"),
        card("MJD", mjd, "modified Julian day"),
        card("FIBERID", fiberid, "fiber number"),
        card("RUN2D", run2d, "reduction"),
        card("VACUUM", True, "wavelengths are in vacuum"),
        *grid_cards(first),
    ]
