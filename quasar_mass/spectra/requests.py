"""What is asked for, spectrum by spectrum: the quasars in DESI's files, and redshifts and E(B-V) that a user gives."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from quasar_mass.core.errors import FileError, SpectrumError
from quasar_mass.core.files import progress
from quasar_mass.spectra import desi, table_files
from quasar_mass.spectra.read import SpectrumRequest, read_one
from quasar_mass.spectra.redshifts import Redshifts, stem

_PATIENCE = 2.0  # seconds without a progress bar


def resolve(
    files: Sequence[Path | SpectrumRequest],
    *,
    redshift: float | None = None,
    redshifts: Redshifts | None = None,
    ebv: float | None = None,
    quiet: bool = True,
) -> tuple[list[SpectrumRequest], list[str]]:
    """Say for every file which of its spectra are to be read, and with which redshift.

    Parameters
    ----------
    files : sequence of Path or SpectrumRequest
    redshift : float, optional
        Of all of them.
    redshifts : Redshifts, optional
        Where to look redshifts up; the spectra that it does not have keep their own.
    ebv : float, optional
        E(B-V) of all of them in magnitudes.
    quiet : bool
        No progress bar.

    Returns
    -------
    list of SpectrumRequest
        In order; a file of DESI gives one for each of its quasars.
    list of str
        What a user should know: which targets were left out, and which spectra are not in the table.

    Raises
    ------
    FileError, SpectrumError, TableError
        If there are no quasars; if the only file, one of DESI, has no redshifts; if `redshifts` has no TARGETID.
    """
    requests: list[SpectrumRequest] = []
    targets, names, missing = Counter(), [], 0
    bar = progress(files, total=len(files), what="files", unit="files", quiet=quiet, delay=_PATIENCE)
    for file in bar:
        request = file if isinstance(file, SpectrumRequest) else SpectrumRequest(Path(file))
        if request.target is None and _may_hold_many(request.file) and desi.is_desi(request.file):
            try:
                chosen, others = desi.quasars(request.file, redshifts, given=redshift is not None)
            except (ValueError, SpectrumError) as error:
                if len(files) == 1 and isinstance(error, SpectrumError):
                    raise
                requests.append(request)  # its reader will say so, and the others have their turn
                continue
            names.append(request.file.name)
            targets += others
            targets["quasars"] += len(chosen)
            requests += [
                replace(request, target=target.number, redshift=target.redshift, notes=target.notes)
                for target in chosen
            ]
        elif redshifts is not None:
            found = redshifts.of_spectrum(_names(request, redshifts))
            missing += found is None
            requests.append(request if found is None else replace(request, redshift=found))
        else:
            requests.append(request)
    if redshift is not None:
        requests = [replace(request, redshift=redshift, notes=()) for request in requests]
    if ebv is not None:
        requests = [replace(request, ebv=ebv) for request in requests]
    notes = [_summary(names, targets)] if names else []
    if missing:
        number = f"{missing:,} of {len(requests):,} spectra are" if len(requests) > 1 else "the spectrum is"
        notes.append(f"{number} not in {redshifts.path}; their own redshifts are used")
    if names and not requests:
        where, summary = notes[0].split(": ", 1)
        table = "the table" if redshifts is None else redshifts.path
        raise FileError(where, f"{summary}; name other files, or other redshifts than those of {table} (--redshifts)")
    return requests, notes


def of_files(files: Sequence[Path | SpectrumRequest], *, quiet: bool = True) -> list[SpectrumRequest]:
    """Requests as they are, and those of files: all quasars of a DESI file; errors as of `resolve`."""
    if all(isinstance(file, SpectrumRequest) for file in files):
        return list(files)
    return resolve(files, quiet=quiet)[0]


def _may_hold_many(path: Path) -> bool:
    """Whether a file is worth opening: SDSS's and their like hold one spectrum, and there may be thousands."""
    return not path.name.lower().startswith("spec-")


def _names(request: SpectrumRequest, redshifts: Redshifts) -> Iterable[str]:
    """The names of a spectrum, those last that need its file."""
    yield from (request.file.name, stem(request.file))
    if request.target is not None:
        yield str(request.target)
    try:
        yield read_one(request).spec_id
        if "sdss_id" in redshifts.table:
            yield from map(str, table_files.read(request.file, ["sdss_id"]).get("SDSS_ID", ()))
    except (SpectrumError, FileError):  # the spectrum's reader will say so
        return


def _summary(names: list[str], targets: Counter) -> str:
    """How many targets of DESI's files are quasars, and what the others are."""
    quasars, total = targets.pop("quasars"), targets.total()
    where = names[0] if len(names) == 1 else f"{len(names):,} files"
    others = ", ".join(f"{number:,} {what}" for what, number in targets.most_common())
    left_out = f"; left out: {others}" if others else ""
    return f"{where}: {quasars:,} quasar{'s' * (quasars != 1)} of {total + quasars:,} targets{left_out}"
