"""DESI's files of spectra and redshifts by the public data model, written with astropy and without the package.

https://desidatamodel.readthedocs.io, DESI_SPECTRO_REDUX/SPECPROD/healpix: coadd, spectra, redrock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

STEP = 0.8  # Angstrom
ARMS = {"B": (3600.0, 2751), "R": (5760.0, 2326), "Z": (7520.0, 2881)}  # first wavelength, number of pixels


@dataclass
class Target:
    """What is to be written of a target: the flux that it has without noise, and the noise of one exposure."""

    number: int
    flux: Callable[[np.ndarray], np.ndarray] = lambda wavelength: np.full(len(wavelength), 3.0)
    sigma: Callable[[np.ndarray], np.ndarray] = lambda wavelength: np.full(len(wavelength), 0.5)
    kind: str = "TGT"
    ebv: float = 0.03
    status: tuple[int, ...] = (0,)  # of each exposure
    redshift: float = 1.6
    warning: int = 0
    spectype: str = "QSO"
    dead: str = ""  # arms without data
    masked: dict = field(default_factory=dict)  # arm to {pixel: bits of SPECMASK}


def wavelength(arm: str) -> np.ndarray:
    first, n = ARMS[arm]
    return first + STEP * np.arange(n)


def write_spectra(
    path: Path,
    targets: list[Target],
    *,
    arms: str = "BRZ",
    together: bool = False,
    mask: str = "plain",
    resolution: bool = False,
    order: Callable = list,
    seed: int = 0,
    noise: float = 1.0,
    drop: tuple = (),
    header: dict | None = None,
) -> Path:
    """A coadd file, or a spectra file where targets have several exposures, one a row.

    `together` writes one arm BRZ; `mask` is ``plain``, ``compressed`` or ``none``; `order` changes the order of HDUs;
    `noise` scales the noise that is added, not its quoted size; `drop` leaves out columns of FIBERMAP.
    """
    rng = np.random.default_rng(seed)
    rows = [(target, status) for target in targets for status in target.status]
    single = len(rows) > len(targets)
    columns = [
        ("TARGETID", "K", [target.number for target, _ in rows]),
        ("FIBERSTATUS" if single else "COADD_FIBERSTATUS", "J", [status for _, status in rows]),
        ("TARGET_RA", "D", [150.0] * len(rows)),
        ("OBJTYPE", "3A", [target.kind for target, _ in rows]),
        ("EBV", "E", [target.ebv for target, _ in rows]),
    ]
    columns = [fits.Column(name, form, array=values) for name, form, values in columns if name not in drop]
    primary = fits.PrimaryHDU()
    primary.header.update({"SPGRP": "healpix", "HPXPIXEL": 26065, "SURVEY": "main", "PROGRAM": "dark"} | (header or {}))
    hdus = [fits.BinTableHDU.from_columns(columns, name="FIBERMAP")]
    if not single:
        hdus.append(fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=[1])], name="EXP_FIBERMAP"))
    for arm in ["BRZ"] if together else arms:
        axis = np.arange(3600.0, 9824.4, STEP) if together else wavelength(arm)
        flux, ivar = np.zeros((2, len(rows), len(axis)), np.float32)
        bits = np.zeros((len(rows), len(axis)), np.uint32)
        for row, (target, _) in enumerate(rows):
            sigma = target.sigma(axis)
            flux[row] = target.flux(axis) + noise * sigma * rng.standard_normal(len(axis))
            ivar[row] = sigma**-2.0
            for pixel, value in target.masked.get(arm, {}).items():
                bits[row, pixel] = value
            if arm in target.dead:
                flux[row], ivar[row], bits[row] = 0.0, 0.0, 1 << 8
        hdus.append(fits.ImageHDU(axis, name=f"{arm}_WAVELENGTH"))
        for name, array, unit in (
            ("FLUX", flux, "10**-17 erg/(s cm2 Angstrom)"),
            ("IVAR", ivar, "10**+34 (s2 cm4 Angstrom2) / erg2"),
        ):
            hdus.append(fits.ImageHDU(array, name=f"{arm}_{name}"))
            hdus[-1].header["BUNIT"] = unit
        if mask == "compressed":
            hdus.append(fits.CompImageHDU(bits, name=f"{arm}_MASK", compression_type="GZIP_1"))
        elif mask == "plain":
            hdus.append(fits.ImageHDU(bits, name=f"{arm}_MASK"))
        if resolution:
            hdus.append(fits.ImageHDU(np.zeros((len(rows), 11, len(axis)), np.float32), name=f"{arm}_RESOLUTION"))
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, *order(hdus)]).writeto(path, overwrite=True)
    return path


def write_redrock(path: Path, targets: list[Target], *, name: str = "REDSHIFTS", drop: tuple = ()) -> Path:
    """The redshifts of targets, in another order than that of the spectra."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted(targets, key=lambda target: -target.number)
    columns = [
        ("TARGETID", "K", [target.number for target in rows]),
        ("CHI2", "D", [9000.0] * len(rows)),
        ("COEFF", "10D", np.zeros((len(rows), 10))),
        ("Z", "D", [target.redshift for target in rows]),
        ("ZERR", "D", [1e-4] * len(rows)),
        ("ZWARN", "K", [target.warning for target in rows]),
        ("SPECTYPE", "6A", [target.spectype for target in rows]),
        ("DELTACHI2", "D", [100.0] * len(rows)),
    ]
    fibermap = fits.BinTableHDU.from_columns([fits.Column("TARGETID", "K", array=columns[0][2])], name="FIBERMAP")
    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, form, array=values) for key, form, values in columns if key not in drop], name=name
    )
    fits.HDUList([fits.PrimaryHDU(), table, fibermap]).writeto(path, overwrite=True)
    return path
