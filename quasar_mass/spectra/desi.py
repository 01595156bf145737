"""DESI's coadd and spectra files: many targets in one file, three arms of the spectrograph each."""

import gzip
import mmap
import os
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quasar_mass.core.errors import FileError, SpectrumError, TableError
from quasar_mass.spectra import fits_bytes, fits_headers
from quasar_mass.spectra.fits_bytes import CARD, whole_blocks
from quasar_mass.spectra.redshifts import Redshifts
from quasar_mass.spectra.spectrum import Spectrum

# First and last wavelength of the arms and their step in Angstrom (DESI data model, coadd files).
ARMS = {"B": (3600.0, 5800.0), "R": (5760.0, 7620.0), "Z": (7520.0, 9824.0)}
STEP = 0.8
# FIBERSTATUS of fibers that can be used: no bit, or bit 3, a positioner of restricted range (data model, bit masks).
GOOD_STATUS = (0, 8)
TARGET, SKY = "TGT", "SKY"  # OBJTYPE

# Beginnings of the names of other files in DESI's folders, which hold no spectra.
_TABLES = ("redrock-", "rrdetails-", "zbest-", "zmtl-", "emline-", "qso_mgii-", "qso_qn-", "hpixexp-", "tile-qa-")
_REDSHIFTS = ("redrock-", "zbest-")  # beginnings of the names of the files beside the spectra that have their redshifts
_TYPES = {-32: ">f4", -64: ">f8", 8: "u1", 16: ">i2", 32: ">i4", 64: ">i8"}  # of BITPIX
# The primary header of a file that astropy is to open one HDU of.
_EMPTY = [fits_bytes.card("SIMPLE", True), fits_bytes.card("BITPIX", 8), fits_bytes.card("NAXIS", 0)]

_local = threading.local()  # the file that this thread has open


class Target(NamedTuple):
    """A target to be read: TARGETID, redshift (NaN where it is not known), and doubts about that."""

    number: int
    redshift: float
    notes: tuple[str, ...]


class _Arm(NamedTuple):
    """An arm's arrays of all rows; what a row of `mask` has where a pixel is good is `good`."""

    at: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray | None
    good: int


# --- which files ------------------------------------------------------------------------------------------------------
def without_tables(files: Iterable[Path]) -> list[Path]:
    """Leave out of the files of a folder DESI's tables, and single exposures (``spectra-``) beside their coadd."""
    files = list(files)
    coadds = {file for file in files if file.name.startswith("coadd-")}
    doubled = {file.with_name(file.name.replace("coadd-", "spectra-", 1)) for file in coadds}
    return [file for file in files if not file.name.startswith(_TABLES) and file not in doubled]


def recognises(hdus: Iterable[fits_headers.Hdu]) -> bool:
    """Whether these are the headers of a DESI file: a table FIBERMAP, and arms; asks for no more than it needs."""
    fibermap = arm = False
    for hdu in hdus:
        name = _name(hdu)
        fibermap, arm = fibermap or name == "FIBERMAP", arm or name.endswith("_WAVELENGTH")
        if fibermap and arm:
            return True
    return False


def is_desi(path: Path) -> bool:
    """Whether a file holds DESI's spectra; False for one that cannot be read."""
    if not os.path.isfile(path):  # a pipe would never end
        return False
    try:
        with open(path, "rb") as file:
            return recognises(fits_headers.stream(_plain(file)))
    except (OSError, EOFError, ValueError):
        return False


def redshift_file(path: Path) -> Path | None:
    """The table of redshifts that belongs to a file of spectra and stands beside it; None where there is none."""
    rest = path.name.split("-", 1)[-1]
    plain = rest.removesuffix(".gz")
    names = [begin + end for begin in _REDSHIFTS for end in (rest, plain, f"{plain}.gz")]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


# --- which targets ----------------------------------------------------------------------------------------------------
def quasars(path: Path, redshifts: Redshifts | None = None, *, given: bool = False) -> tuple[list[Target], Counter]:
    """Choose the quasars among the targets of a file.

    Parameters
    ----------
    path : Path
    redshifts : Redshifts, optional
        By default the file's own (redrock), beside it.
    given : bool
        The redshift is given by the user: without a table, all targets are chosen.

    Returns
    -------
    list of Target
        In the order of the file.
    Counter
        How many other targets there are, by what they are: ``GALAXY``, ``STAR``, ``sky``, ``not in FILE``.

    Raises
    ------
    SpectrumError
        If there is no table of redshifts beside the file, or it cannot be read.
    ValueError, TableError
        If the file is damaged, or `redshifts` has no TARGETID.
    """
    file = load(path)
    beside = redshift_file(path) if redshifts is None else None
    if beside:
        try:
            redshifts = Redshifts.read(beside)
        except (FileError, TableError) as error:
            raise SpectrumError(path, f"its redshifts: {beside.name} {error.message}", reason="no redshift") from error
    numbers, first = np.unique(file.targets, return_index=True)
    first.sort()
    numbers, kinds = file.targets[first], file.kinds[first]
    if redshifts is None and not given:
        missing = f"{_REDSHIFTS[0]}{path.name.split('-', 1)[-1]}"
        message = (
            f"has {len(numbers):,} targets and no redshifts ({missing} is not beside it); give a table with TARGETID "
            "and Z: --redshifts FILE, or redshifts= in Python"
        )
        raise SpectrumError(path, message, reason="no redshift")
    chosen, others = [], Counter()
    rows = None if redshifts is None else redshifts.of_targets(numbers, file.survey, file.program)
    for n, number in enumerate(numbers.tolist()):
        if kinds[n] != TARGET:
            others["sky" if kinds[n] == SKY else "no target"] += 1
        elif rows is None:
            chosen.append(Target(number, np.nan, ()))
        elif not rows["known"].iat[n]:
            others[f"not in {redshifts.path.name}"] += 1
        elif not rows["quasar"].iat[n]:
            others[rows["class"].iat[n] or "unknown"] += 1
        else:
            warning, redshift = int(rows["warning"].iat[n]), float(rows["z"].iat[n])
            notes = (f"ZWARN {warning}",) if warning else ()
            chosen.append(Target(number, redshift if np.isfinite(redshift) else np.nan, notes))
    return chosen, others


# --- their spectra ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, repr=False)
class DesiFile:
    """An open file, whose arrays are read where they are needed.

    Attributes
    ----------
    path : Path
    targets : ndarray of int64, shape (n,)
        TARGETID of each row; several rows where a target has several exposures.
    kinds : ndarray of str, shape (n,)
        OBJTYPE.
    status : ndarray of int, shape (n,)
        COADD_FIBERSTATUS, or FIBERSTATUS of single exposures.
    ebv : ndarray, shape (n,)
        E(B-V) of Schlegel, Finkbeiner & Davis 1998; NaN where it is not known.
    wavelength : ndarray, shape (m,)
        Of all arms together, in Angstrom.
    arms : list of _Arm
    survey, program, telescope : str
        Of the primary header; empty where it does not say.
    """

    path: Path
    targets: np.ndarray
    kinds: np.ndarray
    status: np.ndarray
    ebv: np.ndarray
    wavelength: np.ndarray
    arms: list[_Arm]
    survey: str
    program: str
    telescope: str

    def spectrum(self, target: int) -> Spectrum:
        """The spectrum of a target: all its arms and exposures, combined by inverse variance.

        Pixels with any bit of SPECMASK are bad. What no arm has is a gap.

        Raises
        ------
        SpectrumError
            If the file does not have the target, or none of its fibers can be used.
        """
        rows = np.flatnonzero(self.targets == target)
        if not rows.size:
            message = f"holds no target {target}; name another file"
            raise SpectrumError(self.path, message, reason="not the spectrum named")
        good = rows[np.isin(self.status[rows], GOOD_STATUS)]
        if not good.size:
            message = f"FIBERSTATUS {self.status[rows[0]]} of target {target}; leave it out"
            raise SpectrumError(self.path, message, reason="bad fiber")
        total, weight = np.zeros((2, len(self.wavelength)))
        for arm in self.arms:
            flux, ivar = arm.flux[good].astype(np.float64), arm.ivar[good].astype(np.float64)
            usable = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
            if arm.mask is not None:
                usable &= arm.mask[good] == arm.good
            ivar, flux = np.where(usable, ivar, 0.0), np.where(usable, flux, 0.0)
            weight[arm.at] += ivar.sum(axis=0)
            total[arm.at] += (ivar * flux).sum(axis=0)
        return Spectrum(
            self.wavelength,
            total / np.where(weight > 0, weight, 1.0),
            weight,
            ebv=self.ebv[rows[0]],
            spec_id=str(target),
            kind="desi",
            telescope=self.telescope,
        )


def load(path: Path) -> DesiFile:
    """Open a file, or take it from those that are open.

    Raises
    ------
    ValueError
        If it is damaged or lacks something.
    SpectrumError
        If it is another kind of file.
    """
    status = os.stat(path)
    key = (str(path), status.st_size, status.st_mtime_ns)
    if getattr(_local, "key", None) != key:  # the spectra of a file are read one after the other
        _local.key, _local.file = None, None
        _local.file, _local.key = _load(Path(path)), key
    return _local.file


def _load(path: Path) -> DesiFile:
    with open(path, "rb") as file:
        plain = _plain(file)
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if plain is file else None
        hdus, arrays, primary = {}, {}, None
        for hdu in fits_headers.stream(plain):
            primary, name = primary or hdu, _name(hdu)
            if name != "FIBERMAP" and not name.endswith(("_WAVELENGTH", "_FLUX", "_IVAR", "_MASK")):
                continue
            hdus[name], arrays[name] = hdu, _content(plain, whole, hdu)
    if "FIBERMAP" not in hdus:
        message = "is no file of DESI's targets; leave out which of them is meant (target=, TARGETID)"
        raise SpectrumError(path, message, reason="not the spectrum named")
    with fits_headers.opened(_alone(hdus["FIBERMAP"], arrays["FIBERMAP"])) as opened:
        fibers = _fibers(opened[1].data)
    n_rows = len(fibers[0])
    bands = [name.removesuffix("_WAVELENGTH") for name in hdus if name.endswith("_WAVELENGTH")]
    together = [band for band in bands if len(band) > 1]  # BRZ: arms that have been combined
    wavelengths, parts = {}, {}
    for band in together[:1] or bands:
        wavelengths[band] = np.round(_image(hdus, arrays, f"{band}_WAVELENGTH").astype(np.float64), 3)
        shape = (n_rows, len(wavelengths[band]))
        parts[band] = [_image(hdus, arrays, f"{band}_{part}") for part in ("FLUX", "IVAR", "MASK")]
        for part, array in zip(("FLUX", "IVAR", "MASK"), parts[band], strict=True):
            if array is None and part != "MASK":
                raise ValueError(f"no HDU {band}_{part}")
            if array is not None and array.shape != shape:
                raise ValueError(f"{band}_{part} of shape {array.shape}; by FIBERMAP and {band}_WAVELENGTH {shape}")
    grid = np.unique(np.concatenate([*wavelengths.values(), *_missing(wavelengths)]))
    arms = []
    for band, (flux, ivar, mask) in parts.items():
        zero = hdus[f"{band}_MASK"].text("BZERO") if mask is not None else None
        good = -int(float(zero or 0)) if mask is not None and mask.dtype.kind == "i" else 0
        arms.append(_Arm(np.searchsorted(grid, wavelengths[band]), flux, ivar, mask, good))
    facts = (primary.text(key) or "" for key in ("SURVEY", "PROGRAM", "TELESCOP"))
    return DesiFile(path, *fibers, grid, arms, *facts)


def _plain(file):
    """The file itself, or its decompressed content."""
    begin = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if begin == b"\x1f\x8b" else file


def _name(hdu: fits_headers.Hdu) -> str:
    return (hdu.text("EXTNAME") or "").upper()


def _content(file, whole: mmap.mmap | None, hdu: fits_headers.Hdu) -> memoryview | bytes:
    """The data of an HDU: where the file is not compressed, only once they are looked at."""
    size = hdu.data_bytes
    if whole is not None:
        content = memoryview(whole)[hdu.data : hdu.data + size]
    else:
        file.seek(hdu.data)
        content = file.read(size)
    if len(content) < size:
        raise ValueError(f"cut off: in HDU {hdu.number}")
    return content


def _image(hdus: dict, arrays: dict, name: str) -> np.ndarray | None:
    """An image as an array that still lies in the file; a compressed one is unpacked."""
    if name not in hdus:
        return None
    hdu = hdus[name]
    if hdu.text("ZIMAGE") == "T":
        with fits_headers.opened(_alone(hdu, arrays[name])) as opened:
            return opened[1].data != 0
    axes = [hdu.sizes.get(f"NAXIS{axis}", 0) for axis in range(hdu.sizes.get("NAXIS", 0), 0, -1)]
    if hdu.sizes.get("BITPIX") not in _TYPES:
        raise ValueError(f"no BITPIX in {name}")
    return np.frombuffer(arrays[name], _TYPES[hdu.sizes["BITPIX"]]).reshape(axes)


def _alone(hdu: fits_headers.Hdu, content) -> bytes:
    """The bytes of a file that has nothing but this HDU."""
    header = hdu.header + b"END".ljust(CARD)
    header = header.ljust(whole_blocks(len(header)))
    return fits_bytes.header(_EMPTY) + header + fits_bytes.fill(bytes(content))


def _missing(wavelengths: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Wavelengths of arms that the file does not have, outside those it has: the spectrum has a gap there."""
    if not wavelengths or not set(wavelengths) <= set(ARMS):
        return []
    missing = []
    for band in set(ARMS) - set(wavelengths):
        first, last = ARMS[band]
        pixels = np.round(first + STEP * np.arange(round((last - first) / STEP) + 1), 3)
        for own in wavelengths.values():
            pixels = pixels[(pixels < own[0] - 0.5 * STEP) | (pixels > own[-1] + 0.5 * STEP)]
        missing.append(pixels)
    return missing


def _fibers(fibermap) -> tuple[np.ndarray, ...]:
    """TARGETID, OBJTYPE, FIBERSTATUS and E(B-V) of each row."""
    names = fibermap.names
    if "TARGETID" not in names:
        raise ValueError("no column TARGETID in FIBERMAP")
    targets = np.array(fibermap["TARGETID"], np.int64)
    kinds, status, ebv = np.full(len(targets), TARGET), np.zeros(len(targets), np.int64), np.full(len(targets), np.nan)
    if "OBJTYPE" in names:
        kinds = np.char.strip(np.asarray(fibermap["OBJTYPE"]).astype(str))
    key = next((name for name in ("COADD_FIBERSTATUS", "FIBERSTATUS") if name in names), None)
    if key:
        status = np.array(fibermap[key], np.int64)
    if "EBV" in names:
        ebv = np.array(fibermap["EBV"], np.float64)
    return targets, kinds, status, np.where(ebv > 0, ebv, np.nan)  # 0 stands for targets without photometry
