"""SDSS's spec-lite files (DR16, RUN2D v5_13_0) as bytes: upper-case names, no EXTNAME.

The simulation writes such files, and so does the download from SPARCL.
"""

import functools
from dataclasses import dataclass

import numpy as np

from quasar_mass.spectra import fits_bytes
from quasar_mass.spectra.fits_bytes import card

LINES = (  # HDU 3: name and vacuum wavelength (A) of the 32 lines of the pipeline's list, as in the published files
    ("Ly_alpha", 1215.67), ("N_V 1240", 1240.81), ("C_IV 1549", 1549.48), ("He_II 1640", 1640.42),
    ("C_III] 1908", 1908.734), ("Mg_II 2799", 2800.315), ("[O_II] 3725", 3727.092), ("[O_II] 3727", 3729.875),
    ("[Ne_III] 3868", 3869.857), ("H_zeta", 3890.166), ("[Ne_III] 3970", 3968.593), ("H_epsilon", 3971.198),
    ("H_delta", 4102.892), ("H_gamma", 4341.684), ("[O_III] 4363", 4364.435), ("He_II 4685", 4686.991),
    ("H_beta", 4862.683), ("[O_III] 4959", 4960.295), ("[O_III] 5007", 5008.240), ("He_II 5411", 5413.024),
    ("[O_I] 5577", 5578.888), ("[N_II] 5755", 5756.186), ("He_I 5876", 5877.309), ("[O_I] 6300", 6302.046),
    ("[S_III] 6312", 6313.806), ("[O_I] 6363", 6365.535), ("[N_II] 6548", 6549.859), ("H_alpha", 6564.614),
    ("[N_II] 6583", 6585.269), ("[S_II] 6716", 6718.294), ("[S_II] 6730", 6732.678), ("[Ar_III] 7135", 7137.757),
)  # fmt: skip
_COADD = tuple(
    fits_bytes.Column(name, form)
    for name, form in zip(
        ("FLUX", "LOGLAM", "IVAR", "AND_MASK", "OR_MASK", "WDISP", "SKY", "MODEL"), "EEEJJEEE", strict=True
    )
)
_COADD_TYPE = np.dtype([column.field for column in _COADD])


@dataclass(frozen=True)
class Pixels:
    """The eight columns of HDU 1, as many values in each.

    Attributes
    ----------
    first : int
        Index k of the first pixel, at 10^(k / 10000) Angstrom.
    flux, ivar : ndarray
        Flux density in 1e-17 erg / s / cm2 / Angstrom and its inverse variance.
    and_mask, or_mask : ndarray of int
        SPPIXMASK bits set in every exposure, and in any.
    wdisp : ndarray
        Standard deviation of the line-spread function in pixels.
    sky, model : ndarray
        The sky that was subtracted, and the flux without noise as a template shows it.
    """

    first: int
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    or_mask: np.ndarray
    wdisp: np.ndarray
    sky: np.ndarray
    model: np.ndarray


def spec_lite(
    epoch: tuple[int, int, int], pixels: Pixels, row: dict, cards: list[bytes], *, redshift: float, blocks: int = 0
) -> bytes:
    """Write a whole file.

    Parameters
    ----------
    epoch : (plate, mjd, fiberid)
        Of the spectrum.
    pixels : Pixels
        HDU 1.
    row : dict
        Cells of HDU 2 by column name, besides those given by the pixels and the epoch; other columns hold zeros.
    cards : list of bytes
        Cards of HDU 0, from `fits_bytes.card`, besides those that every file has.
    redshift : float
        Of all lines of HDU 3.
    blocks : int
        Minimum number of header blocks of HDU 0.
    """
    first = [
        card("SIMPLE", True, "conforms to FITS standard"),
        card("BITPIX", 16, "array data type"),
        card("NAXIS", 0, "no data here"),
        card("EXTEND", True),
    ]
    return b"".join(
        (
            fits_bytes.header(first + cards, blocks=blocks),
            *_coadd(pixels),
            *_object(epoch, pixels, row),
            *_lines(epoch, redshift),
        )
    )


def grid_cards(first: int) -> list[bytes]:
    """Cards of HDU 0 about the pixels: where they begin, their step, their unit."""
    return [
        card("NWORDER", 2, "linear-log10 coefficients"),
        card("WFITTYPE", "LOG-LINEAR", "linear-log10 dispersion"),
        card("COEFF0", first / 1e4, "central wavelength (log10) of first pixel"),
        card("COEFF1", 1e-4, "log10 dispersion per pixel"),
        card("DC-FLAG", 1, "log-linear flag"),
        card("BUNIT", "1E-17 erg/cm^2/s/Ang"),
    ]


def _coadd(pixels: Pixels) -> tuple[bytes, bytes]:
    size = len(pixels.flux)
    table = np.empty(size, _COADD_TYPE)
    table["FLUX"] = pixels.flux
    table["LOGLAM"] = (pixels.first + np.arange(size)) / 1e4
    table["IVAR"] = pixels.ivar
    table["AND_MASK"] = pixels.and_mask
    table["OR_MASK"] = pixels.or_mask
    table["WDISP"] = pixels.wdisp
    table["SKY"] = pixels.sky
    table["MODEL"] = pixels.model
    return _coadd_header(size), fits_bytes.fill(table.tobytes())


@functools.cache
def _coadd_header(size: int) -> bytes:
    return fits_bytes.header(fits_bytes.binary_table(_COADD, _COADD_TYPE.itemsize, size))


def _object(epoch: tuple, pixels: Pixels, row: dict) -> tuple[bytes, bytes]:
    plate, mjd, fiberid = epoch
    good = pixels.ivar > 0
    first, last = pixels.first, pixels.first + len(good) - 1
    chi = (pixels.flux[good] - pixels.model[good]) * np.sqrt(pixels.ivar[good])
    known = {
        "PLATE": plate,
        "MJD": mjd,
        "FIBERID": fiberid,
        "WAVEMIN": 10.0 ** (first / 1e4),
        "WAVEMAX": 10.0 ** (last / 1e4),
        "WCOVERAGE": 1e-4 * good.sum(),
        "DOF": good.sum(),
        "RCHI2": np.mean(chi**2),
        "ANYANDMASK": np.bitwise_or.reduce(pixels.and_mask),
        "ANYORMASK": np.bitwise_or.reduce(pixels.or_mask),
        "BOSS_SPECOBJ_ID": 1000 * (plate % 2_000_000) + fiberid,
        # as SDSS builds it: plate | fibre | night | run, less the TZERO of an unsigned column.
        "SPECOBJID": ((plate << 50) | (fiberid << 38) | ((mjd - 50_000) << 24) | (1300 << 10)) - (1 << 63),
        "TAI": np.full(5, 86_400.0 * mjd),
    }
    table = np.zeros(1, fits_bytes.row_type("spall"))
    for name, value in (known | row).items():
        table[name] = value
    return fits_bytes.table_header("spall", 1), fits_bytes.fill(table.tobytes())


def _lines(epoch: tuple, redshift: float) -> tuple[bytes, bytes]:
    table = _lines_table().copy()
    table["PLATE"], table["MJD"], table["FIBERID"] = epoch
    table["LINEZ"] = redshift
    return fits_bytes.table_header("spzline", len(LINES)), fits_bytes.fill(table.tobytes())


@functools.cache
def _lines_table() -> np.ndarray:
    """HDU 3 without measurements: an error of -1 marks a line that was not measured."""
    table = np.zeros(len(LINES), fits_bytes.row_type("spzline"))
    table["LINENAME"], table["LINEWAVE"] = zip(*LINES, strict=True)
    for name in ("LINEZ_ERR", "LINESIGMA_ERR", "LINEAREA_ERR", "LINEEW_ERR", "LINECONTLEVEL_ERR"):
        table[name] = -1.0
    return table
