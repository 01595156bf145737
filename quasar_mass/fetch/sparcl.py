"""Spectra from SPARCL, NOIRLab's server of SDSS spectra: the route with few requests.

SPARCL gives arrays, not files; they are written as the spec-lite files that all else here reads. What it does not give
stays empty: HDU 2 knows no extinction, HDU 3 no lines, and the one mask it has stands for both masks. Its client
unpacks pickles that the server sends, so the server must be trusted as one's own programs are.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace

import numpy as np
import requests

from quasar_mass.core.errors import FetchError, SurveyError
from quasar_mass.core.survey import Survey
from quasar_mass.fetch import urls
from quasar_mass.fetch.manifest import FAILED, MISSING, VERIFIED, Epoch, Manifest, Row
from quasar_mass.fetch.responses import Temporary
from quasar_mass.fetch.spectra import Report, already, gather, save, to_do
from quasar_mass.fetch.verify import check_spectrum
from quasar_mass.spectra.fits_bytes import card
from quasar_mass.spectra.spec_lite import grid_cards, spec_lite

BATCH = 300  # spectra per request: the client sends up to 500 at once, and time-outs were seen at 500
TRIES, BACKOFF = 4, 5.0  # times a request is made; seconds before the second one, doubled each time
DATASETS = ("BOSS-DR16", "SDSS-DR16", "BOSS-DR17", "SDSS-DR17")  # the first that holds a spectrum gives it
NEEDED = ("specid", "flux", "ivar", "mask", "wavelength")
USEFUL = ("wave_sigma", "model", "sky", "ra", "dec", "redshift", "redshift_err", "redshift_warning", "spectype")
OFF_GRID = 0.02  # pixels that a wavelength may lie off SDSS's grid; float32 costs 0.003
NOT_HELD = "SPARCL does not hold it: the archive may"


def connect():
    """SPARCL's own client, of the package ``sparclclient``.

    Raises
    ------
    FetchError
        If the package is not installed, or the server does not answer.
    """
    try:
        from sparcl.client import SparclClient
    except ImportError as error:
        raise FetchError(
            "--from sparcl",
            expected="the package sparclclient",
            got="none",
            do="run, on Python 3.13 or newer: python -m pip install sparclclient (it takes numpy below 2.4), or leave"
            " --from sparcl out",
        ) from error
    try:
        return SparclClient(announcement=False, connect_timeout=3)
    except Exception as error:
        raise _failed("an answer", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def fetch_spectra(
    survey: Survey,
    epochs: Iterable[Epoch],
    client,
    *,
    recheck: bool = False,
    quiet: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> Report:
    """Bring spectra from SPARCL.

    Parameters
    ----------
    survey : Survey
        Where they go; SPARCL holds the sky, so not a simulated one.
    epochs : iterable of (plate, mjd, fiberid)
        Which ones. What is verified already stays as it is.
    client : SparclClient
        Or what has its ``get_available_fields``, ``all_datasets``, ``find`` and ``retrieve``.
    recheck : bool
        Read what is there again, and ask again for what the archive did not publish.
    quiet : bool
        No progress bar.
    wait : callable
        Passes so many seconds.

    Returns
    -------
    Report
        What SPARCL does not hold is ``missing`` in it, since the archive may hold it.
    """
    if survey.kind != "sdss":
        do = "choose another --survey"
        raise SurveyError(survey.folder, expected="a survey of the sky", got="a simulated one", do=do)
    wanted = list(dict.fromkeys(epochs))
    with Manifest(survey) as manifest:
        manifest.want(wanted)
        todo = to_do(survey, manifest, wanted, recheck)
        service = _Service(client, wait)
        return gather(manifest, wanted, _rows(survey, service, todo), len(todo), quiet, patience=2 * BATCH + 1)


def _rows(survey: Survey, service: "_Service", todo: list[Row]) -> Generator[tuple[Row, int]]:
    """The rows of all spectra, batch by batch."""
    for start in range(0, len(todo), BATCH):
        batch = []
        for row in todo[start : start + BATCH]:
            if there := already(survey, row, simulated=False):
                yield there, 0
            else:
                batch.append(row.epoch)
        if not batch:
            continue
        try:
            records = service.records(batch)
        except FetchError as error:
            yield from ((Row(*epoch, state=FAILED, reason=error.reason), 0) for epoch in batch)
            continue
        for epoch in batch:
            if epoch not in records:
                yield Row(*epoch, state=MISSING, reason=NOT_HELD), 0
                continue
            run2d, record = records[epoch]
            row = Row(*epoch, run2d, f"sparcl:{record['sparcl_id']}")
            yield _saved(survey, row, record)


def _saved(survey: Survey, row: Row, record: dict) -> tuple[Row, int]:
    """Write one record as a spec-lite file."""
    try:
        content = as_file(row.epoch, row.run2d, record)
        check_spectrum(content, row.epoch)
    except Temporary as trouble:
        return replace(row, state=FAILED, reason=str(trouble)), 0
    save(survey.spectrum(*row.epoch), content)
    digest = hashlib.sha256(content).hexdigest()
    reason = f"from SPARCL, {record.get('_dr', 'data release not said')}"
    return replace(row, bytes=len(content), sha256=digest, state=VERIFIED, reason=reason), len(content)


class _Service:
    """SPARCL's client with patience, asked for spectra by plate, mjd and fiberid."""

    def __init__(self, client, wait: Callable[[float], object]) -> None:
        self.client, self.wait = client, wait
        held = set(client.all_datasets)
        self.datasets = [name for name in DATASETS if name in held]
        if not self.datasets:
            raise _failed(f"one of the data sets {', '.join(DATASETS)}", ", ".join(sorted(held)) or "none")

    def records(self, epochs: list[Epoch]) -> dict[Epoch, tuple[str, dict]]:
        """Of those that SPARCL holds, the reduction and the record."""
        names = {}  # specid to epoch and RUN2D
        for epoch in epochs:
            for run2d in urls.reductions(epoch[0]):
                names[urls.specid(*epoch, run2d)] = epoch, run2d
        most = len(names) * len(self.datasets)
        constraints = {"specid": list(names), "data_release": self.datasets}
        fields = ["sparcl_id", "specid", "data_release"]
        found = self._ask(lambda: self.client.find(outfields=fields, constraints=constraints, limit=most)).records
        chosen: dict[Epoch, tuple] = {}  # the best reduction of the first data set, and where it is
        for one in found:
            if int(one["specid"]) not in names or one["data_release"] not in self.datasets:
                raise _failed("the spectra asked for", f"specid {one['specid']} of {one['data_release']}")
            epoch, run2d = names[int(one["specid"])]
            rank = urls.reductions(epoch[0]).index(run2d), self.datasets.index(one["data_release"])
            chosen[epoch] = min(chosen.get(epoch, (rank, run2d, one)), (rank, run2d, one), key=lambda entry: entry[0])
        records = {}
        for dataset in self.datasets:
            of_it = {
                str(one["sparcl_id"]): epoch for epoch, (_, _, one) in chosen.items() if one["data_release"] == dataset
            }
            if not of_it:
                continue
            include = self._include(dataset)
            got = self._ask(
                lambda ids=list(of_it), dataset=dataset, include=include: self.client.retrieve(
                    uuid_list=ids, include=list(include), dataset_list=[dataset], limit=len(ids)
                )
            ).records
            for record in got:
                epoch = of_it.get(str(record["sparcl_id"]))
                if epoch is None or names.get(int(record["specid"])) != (epoch, chosen[epoch][1]):
                    raise _failed("the spectra asked for", f"specid {record['specid']}")
                records[epoch] = chosen[epoch][1], record
        return records

    def _include(self, dataset: str) -> list[str]:
        there = set(self.client.get_available_fields(dataset_list=[dataset]))
        if lacking := [name for name in NEEDED if name not in there]:
            raise _failed(f"the fields {', '.join(NEEDED)}", f"no {', '.join(lacking)} in {dataset}")
        return ["sparcl_id", *NEEDED, *(name for name in USEFUL if name in there)]

    def _ask(self, request: Callable):
        for number in range(1, TRIES + 1):
            try:
                return request()
            except (requests.exceptions.RequestException, *_own_errors()) as error:
                if number == TRIES:
                    got = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                    raise _failed("spectra", got) from error
            self.wait(BACKOFF * 2 ** (number - 1))


def _own_errors() -> tuple[type[Exception], ...]:
    """What SPARCL's client raises of its own; nothing where it is not installed (a stand-in is used then)."""
    try:
        from sparcl.exceptions import BaseSparclException
    except ImportError:
        return ()
    return (BaseSparclException,)


def as_file(epoch: Epoch, run2d: str, record: dict) -> bytes:
    """A record of SPARCL as a spec-lite file.

    Its arrays hold the whole grid of the plate; a spec-lite file ends with the first and last pixel that has data.

    Raises
    ------
    Temporary
        If the arrays contradict one another; its text is the reason.
    """
    arrays = {name: np.asarray(record[name], float) for name in ("wavelength", "flux", "ivar")}
    arrays["mask"] = np.asarray(record["mask"])
    for name in ("wave_sigma", "model", "sky"):
        value = record.get(name)
        arrays[name] = np.zeros(len(arrays["flux"])) if value is None else np.asarray(value, float)
    if len({value.shape for value in arrays.values()}) != 1 or arrays["flux"].ndim != 1 or not len(arrays["flux"]):
        raise Temporary(f"damaged: arrays of lengths {', '.join(str(np.size(value)) for value in arrays.values())}")
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = 1e4 * np.log10(arrays["wavelength"])
    if not (np.isfinite(exact).all() and (np.abs(exact - np.rint(exact)) <= OFF_GRID).all()):
        raise Temporary("damaged: wavelengths off SDSS's grid")
    index = np.rint(exact).astype(int)
    if (np.diff(index) != 1).any():
        raise Temporary("damaged: wavelengths with gaps")
    good = np.flatnonzero(arrays["ivar"] > 0)
    if not len(good):
        raise Temporary("damaged: no pixel with data")
    kept = slice(good[0], good[-1] + 1)
    arrays = {name: value[kept] for name, value in arrays.items()}
    mask = arrays["mask"].astype(np.int64).astype(np.int32)
    first, others = int(index[kept.start]), [arrays[name] for name in ("wave_sigma", "sky", "model")]
    pixels = _Pixels(first, arrays["flux"], arrays["ivar"], mask, mask, *others)
    cards = _cards(epoch, run2d, record, first)
    return spec_lite(epoch, pixels, _row(run2d, record), cards, redshift=_number(record, "redshift"))


@dataclass(frozen=True)
class _Pixels:
    first: int
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    or_mask: np.ndarray
    wdisp: np.ndarray
    sky: np.ndarray
    model: np.ndarray


def _number(record: dict, name: str, otherwise: float = np.nan) -> float:
    value = record.get(name)
    return otherwise if value is None else float(value)


def _row(run2d: str, record: dict) -> dict:
    """HDU 2: what SPARCL knows, and NaN where a zero would say something."""
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


def _cards(epoch: Epoch, run2d: str, record: dict, first: int) -> list[bytes]:
    plate, mjd, fiberid = epoch
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


def _failed(expected: str, got: str) -> FetchError:
    do = "run the same command again later, or leave --from sparcl out"
    return FetchError("SPARCL", expected=expected, got=got, do=do, reason=f"SPARCL: {got}")
