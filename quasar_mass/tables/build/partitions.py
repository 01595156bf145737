"""spectra.parquet as a folder of parts, written by the workers of a cluster.

The parts are written in two rounds, because the number of spectra and the description of the table are known only after
the first: each worker saves the spectra it has put on the grid in a file of its own; then each writes one part of the
rows laid end to end. So a part has the same bytes whoever wrote it and however the work was divided, and its row groups
are those of the single file.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from quasar_mass.core.errors import ClusterError
from quasar_mass.core.files import PARTIAL, progress
from quasar_mass.core.parallel import ordered_map
from quasar_mass.core.survey import Grid
from quasar_mass.tables import survey_tables
from quasar_mass.tables.parquet import RowRange, split_evenly

PART_ROWS = 8 * survey_tables.ROW_GROUP  # spectra per part: 100 MB, and little more in the memory of its writer
_BATCHES = "batches"  # the folder of the batches that the workers save in the first round


def batch_files(folder: Path, number: int) -> list[Path]:
    """Create the folder of the batches inside the future folder spectra.parquet, and give file names for them."""
    (folder / _BATCHES).mkdir()
    return [folder / _BATCHES / f"{n:06d}.arrow" for n in range(number)]


def save_batch(file: Path, batch: dict, grid: Grid) -> tuple[Path, int]:
    """Save a batch of spectra until its part is written; a worker's task in the first round.

    Parameters
    ----------
    file : Path
        One of `batch_files`.
    batch : dict
        As in `survey_tables.spectra_table`.
    grid : Grid

    Returns
    -------
    Path, int
        The file and its number of rows.
    """
    table = survey_tables.spectra_table(batch, grid)
    with _inside(file) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as to:
        to.write_table(table)
    return file, table.num_rows


def write(
    folder: Path,
    batches: list[tuple[Path, int]],
    grid: Grid,
    about: dict,
    jobs: int | str,
    needs: Iterable[Path],
    *,
    quiet: bool = False,
) -> None:
    """Write the parts from the batches, and remove these; the second round.

    Parameters
    ----------
    folder : Path
        The folder that is to become spectra.parquet.
    batches : list of (Path, int)
        The results of `save_batch`, in order.
    grid : Grid
    about : dict
        The table's description; every part has it.
    jobs, needs
        As in `ordered_map`.
    quiet : bool
        No progress bar.

    Raises
    ------
    ClusterError
        As in `ordered_map`, and if this machine does not see a part that a worker has written.
    """
    tasks = [
        (folder / f"part-{n:05d}.parquet", ranges, grid, about)
        for n, ranges in enumerate(split_evenly(batches, PART_ROWS))
    ]
    total, sizes = sum(rows for _, rows in batches), ordered_map(_write_part, tasks, jobs, needs)
    with progress(None, total=total, what="parts", unit="spectra", quiet=quiet) as bar:
        for (part, ranges, *_), size in zip(tasks, sizes, strict=True):
            if not part.is_file() or part.stat().st_size != size:
                raise ClusterError(
                    part,
                    f"a worker wrote its {size:,} bytes, but they are not here; put the survey on a disk that this "
                    "machine and all workers share under one name",
                )
            bar.update(sum(rows.stop - rows.start for rows in ranges))
    shutil.rmtree(folder / _BATCHES)


def _write_part(part: Path, ranges: list[RowRange], grid: Grid, about: dict) -> int:
    """Write one part, and give its size in bytes."""

    def batches() -> Iterator[pa.Table]:
        for file, start, stop in ranges:
            with pa.OSFile(str(file)) as source:
                yield pa.ipc.open_file(source).read_all().slice(start, stop - start)

    with _inside(part) as temporary:
        survey_tables.write_file(temporary, batches(), grid, lambda: about)
    return part.stat().st_size


@contextlib.contextmanager
def _inside(file: Path) -> Iterator[Path]:
    """Write whole or not at all as `files.atomic_write`, but only into a folder that exists.

    The folder is gone for a worker that goes on after the build has failed. The temporary file of a killed worker is
    replaced by the worker that repeats its task.
    """
    temporary = file.with_name(f".{file.stem}{PARTIAL}{file.suffix}")
    yield temporary
    os.replace(temporary, file)
