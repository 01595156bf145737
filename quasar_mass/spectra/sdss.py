"""SDSS spec files of every reduction, SDSS-I to SDSS-V, lite and full: from their bytes to a `Spectrum`.

Data model: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra (specLite, specFull).
"""

import re
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import BRIGHTSKY, EXTINCTION_G, format_spec_id
from quasar_mass.spectra import fits_headers, sdss_fast
from quasar_mass.spectra.spectrum import EBV_NOTE, PIXEL, REDSHIFT_NOTE, Spectrum, grid_wavelength

OTHER_GRID = 0.1  # fraction of the pixels off SDSS's grid from which on another one was used; chosen here
TELESCOPE = "SDSS 2.5-M"  # of all spectra until SDSS-IV; SDSS-V names it in the header


def recognises(hdus: list[fits_headers.Hdu]) -> bool:
    """Whether these are the headers of a spec file: pixels in logarithmic wavelength, with SDSS's masks."""
    coadd = _find(hdus, ("COADD",), 1)
    if coadd is None or b"'LOGLAM" not in (header := coadd.header.upper()):
        return False
    if len(hdus) < 3:  # cut off between two HDUs, and no table that somebody made of the pixels
        return any(hdus[0].text(key) is not None for key in ("PLATEID", "FIELDID", "TELESCOP"))
    named = coadd.text("EXTNAME") == "COADD" or any(hdus[0].text(key) is not None for key in ("PLATEID", "FIELDID"))
    return named or b"'AND_MASK" in header


def decode(content: bytes, path: Path) -> Spectrum:
    """Decode a spec-lite or full spec file of any reduction.

    HDUs are taken by name, or by number where they have none, and columns without regard to case, since the reductions
    differ in both. Files of the usual layout are decoded by `sdss_fast` and `spectrum`, with the same result.

    Parameters
    ----------
    content : bytes
        The whole file.
    path : Path
        Its name, for errors.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError, ValueError
        If this is no such file, is damaged, or its pixels contradict one another.
    """
    hdus = fits_headers.walk(content)
    if len(hdus) < 4:
        raise ValueError(f"{len(hdus)} HDUs instead of at least 4")
    coadd, summary = _find(hdus, ("COADD",), 1), _find(hdus, ("SPALL", "SPECOBJ"), 2)
    if any(hdu.text("XTENSION") != "BINTABLE" for hdu in (coadd, summary)):
        raise ValueError(f"no tables in HDUs {coadd.number} and {summary.number}")
    # astropy takes a millisecond and more for each of the other headers, and a full file has dozens
    with fits_headers.opened(content[: hdus[1].start] + content[coadd.start : coadd.end]) as opened:
        keys, pixels = opened[0].header, _pixel_columns(opened[1].data, coadd.number)
        return spectrum(keys, pixels, _row(content, summary, keys), path)


def _find(hdus: list[fits_headers.Hdu], names: tuple[str, ...], number: int) -> fits_headers.Hdu | None:
    """The first HDU with one of the names, or else that of the number, where there is one."""
    named = (hdu for hdu in hdus if hdu.text("EXTNAME") in names)
    return next(named, hdus[number] if number < len(hdus) else None)


def _pixel_columns(table, number: int) -> dict[str, np.ndarray]:
    """The columns of pixels of an HDU that astropy opened."""
    if table is None or len(table) == 0:
        raise ValueError(f"no pixels in HDU {number}")
    names = [name.upper() for name in table.names]
    for name in sdss_fast.PIXEL_COLUMNS:
        if names.count(name) != 1:
            raise ValueError(f"{'two columns' if name in names else 'no column'} {name.lower()} in HDU {number}")
    return {name: np.asarray(table[name]) for name in sdss_fast.PIXEL_COLUMNS}


def _row(content: bytes, summary: fits_headers.Hdu, keys: dict) -> dict:
    """The cells that count of the table with one row; RUN2D may be in HDU 0 instead."""
    if summary.sizes["NAXIS2"] != 1:
        raise ValueError(f"{summary.sizes['NAXIS2']} rows in HDU {summary.number} instead of one")
    data = content[summary.data :][: summary.sizes["NAXIS1"]]
    row = sdss_fast.one_row(summary.header, data, summary.sizes["TFIELDS"])
    return row if row.get("RUN2D") else row | {"RUN2D": str(keys.get("RUN2D", "")).strip()}


def spectrum(keys: dict, pixels: dict, row: dict, path: Path) -> Spectrum:
    """Check the parts of a file, and bring them into this project's terms.

    Pixels that SDSS marks as BRIGHTSKY in every exposure are masked, the one bit of its masks that it advises to
    honour.

    Parameters
    ----------
    keys, pixels, row : dict
        As of `sdss_fast.find`.
    path : Path
        The file's name, for errors.

    Raises
    ------
    SpectrumError, ValueError, OverflowError
        If the pixels contradict one another.
    """

    def column(name: str, kinds: str, dtype: type) -> np.ndarray:
        values = pixels[name]
        if values.ndim != 1 or values.dtype.kind not in kinds:
            raise ValueError(
                f"{name.lower()} of shape {values.shape} and type {values.dtype} instead of one number per row"
            )
        with np.errstate(invalid="ignore"):  # a NaN may be of a kind that signals
            return values.astype(dtype)

    log_wavelength, flux, ivar = (column(name, "f", np.float64) for name in ("LOGLAM", "FLUX", "IVAR"))
    and_mask = column("AND_MASK", "iu", np.int64)
    pixel = global_pixels(log_wavelength)
    check_values(flux, ivar, path)
    simulated = keys.get("SIMULATE", False)
    if not isinstance(simulated, bool):
        raise ValueError(f"SIMULATE = {simulated!r}")
    sdss_v = "CATALOGID" in row
    telescope = str(keys.get("TELESCOP", "")).strip() if sdss_v else "" if simulated else TELESCOPE
    ebv, notes = _ebv(row)
    if row.get("ZWARNING", 0) > 0:
        notes.append(f"{REDSHIFT_NOTE} with ZWARNING {row['ZWARNING']}")
    return Spectrum(
        wavelength=10.0**log_wavelength if pixel is None else grid_wavelength(pixel),
        flux=flux,
        ivar=ivar,
        mask=and_mask & BRIGHTSKY != 0,
        redshift=float(row.get("Z", np.nan)),
        ebv=ebv,
        spec_id=_spec_id_of_sdss_v(keys, row) if sdss_v else _spec_id(keys, row),
        kind="simulated" if simulated else "sdss",
        spectral_class=row.get("CLASS", ""),
        run2d=row.get("RUN2D", ""),
        telescope=telescope,
        notes=tuple(notes),
        pixel=pixel,
    )


def _spec_id(keys: dict, row: dict) -> str:
    """``plate-mjd-fiber``; the header counts more than the row."""
    numbers = []
    for name, key in (("PLATE", "PLATEID"), ("MJD", "MJD"), ("FIBERID", "FIBERID")):
        number = keys.get(key, row.get(name))
        if number is None:
            raise ValueError(f"neither {key} in HDU 0 nor {name} in HDU 2")
        numbers.append(int(number))
    return format_spec_id(*numbers)


def _spec_id_of_sdss_v(keys: dict, row: dict) -> str:
    """``field-mjd-catalogid``, numbers without leading zeros, so that it is the same in all data releases.

    A coadd over fields has a name in place of the number, such as ``allepoch``, which its SPEC_FILE tells. The FIELD of
    DR18 is that of the SDSS imaging, so the header counts more than the row.
    """
    named = re.match("spec-([A-Za-z][^-]*)-", row.get("SPEC_FILE", ""))
    fields = [named[1] if named else "", *(_number_text(value) for value in (keys.get("FIELDID"), row.get("FIELD")))]
    field = next((text for text in fields if text not in ("", "0")), "allepoch")
    mjd = row.get("MJD", keys.get("MJD"))
    if mjd is None:
        raise ValueError("neither MJD in HDU 0 nor MJD in HDU 2")
    return f"{field}-{int(mjd)}-{_number_text(row['CATALOGID'])}"


def _number_text(value) -> str:
    """A whole number that is given as a number or as text, or another name, as text without leading zeros."""
    text = "" if value is None else str(value).strip()
    return str(int(text)) if text.isdecimal() else text


def _ebv(row: dict) -> tuple[float, list[str]]:
    """E(B-V), NaN where it is not known, and the note where it is not that of Schlegel, Finkbeiner & Davis 1998.

    Until SDSS-IV there is EXTINCTION, in DR18 SFD_EBV, since then EBV with the map that it is from, EBV_TYPE.
    """
    extinction = row.get("EXTINCTION", ())
    ebv = float(ebv_from_extinction(extinction[1])) if np.size(extinction) == 5 else np.nan
    if np.isnan(ebv) and row.get("SFD_EBV", np.nan) > 0:
        ebv = float(row["SFD_EBV"])
    source = row.get("EBV_TYPE", "")
    if not np.isnan(ebv) or not row.get("EBV", np.nan) >= 0 or (row["EBV"] == 0 and not source):  # 0: never filled
        return ebv, []
    other = source.upper() != "SFD"
    return float(row["EBV"]), [f"{EBV_NOTE} of {source or 'an unknown map'}, not SFD"] if other else []


def ebv_from_extinction(extinction_g: np.ndarray | float) -> np.ndarray:
    """E(B-V) of Schlegel, Finkbeiner & Davis 1998 from the g-band extinction of the SDSS photometry.

    Parameters
    ----------
    extinction_g : array_like
        ``EXTINCTION[1]`` in magnitudes.

    Returns
    -------
    ndarray
        E(B-V) in magnitudes; NaN where the extinction is not positive (no photometry).
    """
    extinction_g = np.asarray(extinction_g, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(extinction_g > 0, extinction_g / EXTINCTION_G, np.nan)


def global_pixels(log_wavelength: np.ndarray) -> np.ndarray | None:
    """Index of each pixel on the global grid, or None where another grid is used.

    ValueError where the wavelengths do not ascend, or only some of them lie on the grid: then they are damaged.
    """
    if not (log_wavelength.min() > 3 and log_wavelength.max() < 5):  # of NaN neither is true
        raise ValueError("loglam outside 1,000-100,000 Angstrom")
    pixel = round(log_wavelength[0] / PIXEL) + np.arange(len(log_wavelength))  # nearly all files have every pixel
    if np.abs(log_wavelength - PIXEL * pixel).max() <= 0.05 * PIXEL:
        return pixel
    if not (np.diff(log_wavelength) > 0).all():
        raise ValueError("loglam that does not ascend")
    pixel = np.rint(log_wavelength / PIXEL).astype(np.int64)
    off_grid = np.abs(log_wavelength - PIXEL * pixel) > 0.05 * PIXEL
    if off_grid.mean() >= OTHER_GRID:
        return None
    if off_grid.any():
        raise ValueError(f"{off_grid.sum()} values of loglam off the SDSS pixel grid, 10^(1e-4 k) Angstrom")
    if (np.diff(pixel) <= 0).any():
        raise ValueError("loglam that does not ascend by at least 1e-4 per pixel")
    return pixel


def check_values(flux: np.ndarray, ivar: np.ndarray, path: Path) -> None:
    """Refuse values that SDSS's pipeline does not write, in a file of this name; SpectrumError."""
    message = ""
    if not (ivar.min() >= 0 and ivar.max() < np.inf):
        wrong = int((~(ivar >= 0)).sum() + np.isinf(ivar).sum())
        message = f"has {wrong} pixels whose ivar is negative or not finite"
    elif not np.isfinite(flux).all() and (wrong := int(((ivar > 0) & ~np.isfinite(flux)).sum())):
        message = f"has {wrong} pixels whose flux is not finite although their ivar is positive"
    if message:
        raise SpectrumError(path, f"{message}; fetch the file again", reason="invalid values")
