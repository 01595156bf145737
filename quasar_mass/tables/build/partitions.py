"""spectra.parquet as a folder of parts, written by many processes at once: what a build on a cluster leaves.

Two rounds, for only after the first is it known how many spectra there are, and what the metadata have to say of them:
each worker keeps the spectra it has placed on the grid as they are, in a file of its own; then each writes one part of
the rows laid end to end. So a part holds the same rows, and has the same bytes, whoever wrote it and however the work
was cut up, and its row groups are those of the single file.
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
from quasar_mass.tables.row_ranges import RowRange, split_evenly

PART_ROWS = 8 * survey_tables.ROW_GROUP  # spectra per part: 100 MB, and little more in the memory of its writer
_KEPT = "kept"  # the folder of what the workers keep between the rounds


def prepare(folder: Path) -> Path:
    """Make, in the folder that is to become spectra.parquet, the one for what is kept between the rounds."""
    between = folder / _KEPT
    between.mkdir()
    return between


def kept(between: Path, number: int) -> Path:
    """Where a batch is kept."""
    return between / f"{number:06d}.arrow"


def keep(file: Path, batch: dict, grid: Grid) -> tuple[Path, int]:
    """Keep a batch of spectra until its part is written; what a worker does in the first round.

    Parameters
    ----------
    file : Path
        As `kept` names it.
    batch : dict
        As of `survey_tables.spectra_table`.
    grid : Grid

    Returns
    -------
    Path, int
        Where it is, and how many rows it has.
    """
    table = survey_tables.spectra_table(batch, grid)
    with _inside(file) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as to:
        to.write_table(table)
    return file, table.num_rows


def write(
    folder: Path,
    kept: list[tuple[Path, int]],
    grid: Grid,
    about: dict,
    jobs: int | str,
    needs: Iterable[Path],
    *,
    quiet: bool = False,
) -> int:
    """Write the parts of all that was kept, and remove it; the second round.

    Parameters
    ----------
    folder : Path
        The folder that is to become spectra.parquet.
    kept : list of (Path, int)
        As `keep` gave them, in order.
    grid : Grid
    about : dict
        The metadata of the table; every part has them.
    jobs, needs
        As of `ordered_map`.
    quiet : bool
        No progress bar.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ClusterError
        As of `ordered_map`, and if a part that a worker has written is not here.
    """
    tasks = [
        (folder / f"part-{n:05d}.parquet", share, grid, about) for n, share in enumerate(split_evenly(kept, PART_ROWS))
    ]
    total, sizes = sum(rows for _, rows in kept), ordered_map(_write_part, tasks, jobs, needs)
    with progress(None, total=total, what="parts", unit="spectra", quiet=quiet) as bar:
        for (part, share, *_), size in zip(tasks, sizes, strict=True):
            if not part.is_file() or part.stat().st_size != size:
                raise ClusterError(
                    part,
                    expected=f"the {size:,} bytes that a worker wrote",
                    got=f"{part.stat().st_size:,}" if part.is_file() else "no such file",
                    do="put the survey on a disk that this machine and all workers share under one name",
                )
            bar.update(sum(rows.stop - rows.start for rows in share))
    shutil.rmtree(folder / _KEPT)
    return total


def _write_part(part: Path, share: list[RowRange], grid: Grid, about: dict) -> int:
    """Write one part; gives its bytes."""

    def batches() -> Iterator[pa.Table]:
        for file, start, stop in share:
            with pa.OSFile(str(file)) as source:
                yield pa.ipc.open_file(source).read_all().slice(start, stop - start)

    with _inside(part) as temporary:
        survey_tables.write_file(temporary, batches(), grid, lambda: about)
    return part.stat().st_size


@contextlib.contextmanager
def _inside(file: Path) -> Iterator[Path]:
    """Do as `files.atomic_write`, but in a folder that must be there.

    It is gone for a worker that has not heard yet that all is over. One that is killed leaves its temporary file to
    the one that does its share again.
    """
    temporary = file.with_name(f".{file.stem}{PARTIAL}{file.suffix}")
    yield temporary
    os.replace(temporary, file)
