"""SPARCL's own client, of the package ``sparclclient``, with retries.

It unpacks pickles that the server sends, so you must trust the server as you trust a program that you run.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from quasar_mass.core.errors import FetchError, first_line

BATCH = 300  # spectra per request: the client sends up to 500 at once, and time-outs were seen at 500
TRIES, BACKOFF = 4, 5.0  # times a request is made; seconds before the second one, doubled each time
FOUND = ["sparcl_id", "specid", "data_release", "specprimary"]  # fields of an item that is found


def connect():
    """Give the client.

    Raises
    ------
    FetchError
        If the package is not installed, or the server does not answer.
    """
    try:
        from sparcl.client import SparclClient
    except ImportError as error:
        message = "needs the package sparclclient: on Python 3.13 or newer, pip install 'quasar-mass-ml[sparcl]'"
        raise FetchError("--from sparcl", f"{message} (it takes numpy below 2.4)") from error
    try:
        return SparclClient(announcement=False, connect_timeout=3)
    except Exception as error:
        raise _failed(f"does not answer ({first_line(error)})") from error


class Service:
    """SPARCL's client with retries, for some of its data sets.

    Parameters
    ----------
    client : SparclClient
        Or what has its ``get_available_fields``, ``all_datasets``, ``find`` and ``retrieve``.
    datasets : iterable of str
        The best one first.
    sleep : callable
        Passes so many seconds.

    Attributes
    ----------
    datasets : list of str
        Those that SPARCL holds.

    Raises
    ------
    FetchError
        If it holds none; in the methods, if it does not answer after all tries.
    """

    def __init__(self, client, datasets: Iterable[str], sleep: Callable[[float], object] = time.sleep) -> None:
        self.client, self.sleep = client, sleep
        self.datasets = [name for name in datasets if name in client.all_datasets]
        if not self.datasets:
            raise _failed(f"holds none of {', '.join(datasets)}")

    def find(self, constraints: dict[str, list], limit: int) -> list[dict]:
        """The items that meet some constraints, with the fields `FOUND`."""
        return self._ask(self.client.find, outfields=list(FOUND), constraints=constraints, limit=limit)

    def retrieve(self, items: Iterable[dict], required: Iterable[str], optional: Iterable[str]) -> Iterator[dict]:
        """The records of items: fields that they must have, and others where the data set has them."""
        by_dataset: dict[str, list[str]] = {}
        for item in items:
            by_dataset.setdefault(item["data_release"], []).append(str(item["sparcl_id"]))
        for dataset, ids in by_dataset.items():
            available = self.client.get_available_fields(dataset_list=[dataset])
            include = list(dict.fromkeys(["sparcl_id", *required, *(name for name in optional if name in available)]))
            asked = {"uuid_list": ids, "include": include, "dataset_list": [dataset], "limit": len(ids)}
            yield from self._ask(self.client.retrieve, **asked)

    def _ask(self, request: Callable, **options) -> list[dict]:
        for wait in (*(BACKOFF * 2**number for number in range(TRIES - 1)), None):
            try:
                return request(**options).records
            except Exception as error:  # it has errors of its own, and passes on those of requests
                if wait is None:
                    raise _failed(f"does not answer ({first_line(error)})") from error
            self.sleep(wait)


def _failed(message: str) -> FetchError:
    return FetchError("SPARCL", f"{message}; run the same command again later", reason=f"SPARCL: {message}")
