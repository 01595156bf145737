"""Tables of one spectrum: CSV, ECSV, FITS, VOTable, text and .npz, from their columns to a `Spectrum`."""

import re
from pathlib import Path

import numpy as np

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import BRIGHTSKY
from quasar_mass.spectra import fits_headers, table_formats, units
from quasar_mass.spectra.column_names import ERRORS, KEYS, is_spectrum, plain, roles, wavelength_name
from quasar_mass.spectra.spectrum import EBV_NOTE, FLUX_UNIT, Spectrum
from quasar_mass.spectra.table_formats import Column, Content

WAVELENGTH_ASSUMED, FLUX_ASSUMED = "Angstrom", "1e-17 erg/s/cm2/A"
_HEAD = 65_536  # bytes of a text in which its first pixel must stand
_SDSS_NAME = re.compile(r"\d{4,5}-\d{5}-\d{4}")  # plate-mjd-fiber
_CLASSES = ("QSO", "GALAXY", "STAR")
_AIR, _VACUUM = re.compile(r"\bair\b|obs\.atmos", re.IGNORECASE), re.compile(r"vac", re.IGNORECASE)
_IMAGE = "is a FITS image, without the errors of its pixels; write a table with the columns wavelength, flux and error"

_NOTHING = "is a FITS file of headers alone, without a table; name another file"


# --- what is a table of a spectrum ------------------------------------------------------------------------------------
def recognises(hdus: list[fits_headers.Hdu]) -> bool:
    """Whether these are the headers of a FITS file with a spectrum in a table; an image is, too, to be refused."""
    tables = table_formats.fits_tables(hdus)
    return not tables or any(map(_has_wavelengths, tables.values()))


def is_text_spectrum(path: Path) -> bool:
    """Whether a text (.txt, .csv, .ecsv) is a table of pixels, and not a list or a table of spectra."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    lines = head.decode("latin-1").splitlines()
    layout = table_formats.layout(lines[:-1] if len(head) == _HEAD else lines)
    names = [name for name, _ in layout.header]
    if not names:
        return layout.n_columns > 0
    # one that lacks something is for its reader to refuse
    return is_spectrum(names) or (layout.n_columns > 0 and _has_wavelengths(names))


def decode(content: bytes, path: Path) -> Spectrum:
    """Decode a table of one spectrum.

    Parameters
    ----------
    content : bytes
        The whole file.
    path : Path
        Its name, for errors and as the name of the spectrum.

    Returns
    -------
    Spectrum

    Raises
    ------
    SpectrumError, ValueError
        If it is no such table; ValueError also where it is damaged.
    """
    if content[:6] != b"SIMPLE":
        return spectrum(table_formats.read(content), path)
    hdus = fits_headers.walk(content)
    if content[hdus[-1].data + fits_headers.whole_blocks(hdus[-1].data_bytes) :].strip(b"\0"):
        raise ValueError(f"damaged: behind HDU {hdus[-1].number} is something that is no HDU")
    tables = table_formats.fits_tables(hdus)
    spectra = [number for number, names in tables.items() if is_spectrum(names)]
    if not tables or len(spectra) > 1:
        message = f"holds {len(spectra)} spectra, in its HDUs {spectra}; write each into a file of its own"
        without = _IMAGE if any(hdu.data_bytes for hdu in hdus) else _NOTHING
        raise SpectrumError(path, message if tables else without, reason="unreadable file")
    # a table that lacks something says what
    number = spectra[0] if spectra else next(n for n, names in tables.items() if _has_wavelengths(names))
    return spectrum(table_formats.read_fits(content, number), path)


def _has_wavelengths(names: list[str]) -> bool:
    return any(wavelength_name(name) for name in names)


# --- from columns to a spectrum ---------------------------------------------------------------------------------------
def spectrum(content: Content, path: Path) -> Spectrum:
    """Make a spectrum of a table's columns; parameters, errors as of `decode`."""
    try:
        return _spectrum(content, path)
    except ValueError as error:
        raise SpectrumError(path, str(error), reason="unreadable file") from error
    except SpectrumError as error:  # of the values, from `Spectrum`, which does not know the file
        raise SpectrumError(path, error.message, reason=error.reason) from error


def _spectrum(content: Content, path: Path) -> Spectrum:
    found = _roles(content)
    columns = {role: content.columns[n] for role, n in found.items()}
    kind = next(error for error in ERRORS if error in columns)
    values = {role: _numbers(columns[role]) for role in ("wavelength", "flux", kind)}
    if len({len(array) for array in values.values()}) > 1:
        lengths = ", ".join(f"{columns[role].name} {len(array):,}" for role, array in values.items())
        raise ValueError(f"has columns of different lengths: {lengths}")
    wavelength, wavelength_stated = _wavelength(columns["wavelength"], values["wavelength"], content)
    placed = np.flatnonzero(np.isfinite(wavelength) & (wavelength > 0))  # others are no pixels
    order = placed[np.argsort(wavelength[placed], kind="stable")]
    wavelength = wavelength[order]
    if (same := np.flatnonzero(np.diff(wavelength) == 0)).size:
        raise ValueError(f"has the wavelength {wavelength[same[0]]:.8g} twice; give each pixel once")
    flux_unit, flux_stated = _flux_unit(columns["flux"], content)
    factors = units.flux_factors(flux_unit, wavelength)
    error_unit = _error_unit(columns[kind], kind, flux_unit)
    same = error_unit is None or error_unit == flux_unit
    error_factors = factors if same else units.flux_factors(error_unit, wavelength)
    stated = ((wavelength_stated, WAVELENGTH_ASSUMED), (flux_stated, FLUX_ASSUMED))
    assumed = ", ".join(name for known, name in stated if not known)
    notes = [content.assumed, f"unit{'s' * (', ' in assumed)} assumed: {assumed}" if assumed else ""]
    notes.append("" if error_unit else f"unit of {columns[kind].name} not understood: that of the flux assumed")
    said = identity(content)
    return Spectrum(
        wavelength=wavelength,
        flux=values["flux"][order] * factors,
        ivar=units.inverse_variance(values[kind][order], kind, error_factors),
        mask=_bad(columns, content)[order],
        notes=(*filter(None, notes), *said.pop("notes", ())),
        **{"spec_id": _stem(path)} | said,
    )


def _roles(content: Content) -> dict[str, int]:
    """Which columns hold what; ValueError if one is missing."""
    names = [column.name for column in content.columns]
    found = roles(names)
    error = "error or ivar" if not any(kind in found for kind in ERRORS) else ""
    missing = [word for word in ("wavelength", "flux") if word not in found] + ([error] if error else [])
    if missing:
        words = " and no ".join(missing)
        has = f"it has {', '.join(names[:12])[:200]}" if names else "it has none"
        rest = any((axis := wavelength_name(name)) and axis.rest_frame for name in names)
        hint = "; give the wavelengths as observed, not in the rest frame" if rest and "wavelength" in missing else ""
        raise ValueError(f"has no {words} column; {has}{hint}")
    return found


def _numbers(column: Column) -> np.ndarray:
    """A column's numbers, shape (n,), whether each stands in a row of its own or all in one row."""
    values = column.values
    if values.dtype == object and len(values) == 1:  # a vector of variable length
        values = np.ma.filled(np.ma.asarray(values[0]).astype(np.float64), np.nan)
    if values.ndim == 2 and 1 in values.shape:
        values = values.ravel()
    if values.ndim != 1 or (values.dtype == object and len(values) and np.ndim(values[0])):
        raise ValueError(f"holds {len(values):,} spectra, one in each row; write each into a file of its own")
    if values.dtype.kind not in "iufb":
        raise ValueError(f"has text in the column {column.name}; give numbers")
    with np.errstate(invalid="ignore"):  # a NaN may be of a kind that signals
        return values.astype(np.float64)


def _wavelength(column: Column, values: np.ndarray, content: Content) -> tuple[np.ndarray, bool]:
    """Wavelengths in Angstrom in vacuum, and whether their unit is stated."""
    from astropy import units as astropy_units

    name = wavelength_name(column.name)
    text = _stated(column, content, "wavelength") or name.unit
    if name.needs_unit and not text:
        raise ValueError(f"has no unit of its column {column.name}; state it (Hz, eV)")
    unit, logarithm = units.parse(text) if text else (astropy_units.AA, False)
    with np.errstate(over="ignore"):
        values = 10.0**values if logarithm or name.logarithm else values
    wavelength = units.to_angstrom(values, unit)
    return units.vacuum(wavelength) if name.air or _is_air(column, content) else wavelength, bool(text)


def _is_air(column: Column, content: Content) -> bool:
    """Whether a file says that its wavelengths are in air."""
    if any(_AIR.match(str(content.keys.get(name, "")).strip()) for name in KEYS["medium"]):
        return True
    if content.keys.get("vacuum") is False:
        return True
    words = (column.about, *(phrase for phrase in re.split(r"[\n.;]", content.about) if "wave" in phrase.lower()))
    return any(_AIR.search(text) and not _VACUUM.search(text) for text in words)


def _flux_unit(column: Column, content: Content):
    """The unit of the flux, and whether it is stated."""
    text = _stated(column, content, "flux")
    if not text and plain(column.name) in ("fnu", "fluxnu"):
        raise ValueError(f"has no unit of its column {column.name}; state it (mJy, erg/s/cm2/Hz)")
    return units.parse(text or FLUX_UNIT)[0], bool(text)


def _error_unit(column: Column, kind: str, flux_unit):
    """The unit of the errors, that of the flux where none is stated; None where it cannot be read."""
    try:
        return units.parse(column.unit)[0] ** units.POWERS[kind] if column.unit else flux_unit
    except ValueError:
        return None


def _stated(column: Column, content: Content, role: str) -> str:
    """The unit of a column, or what a key such as ``flux_unit`` says of it."""
    names = [f"{name}{ending}" for name in (plain(column.name), role) for ending in ("unit", "units")]
    keys = [content.keys.get(name) for name in (*names, *(["bunit"] if role == "flux" else []))]
    return column.unit.strip() or next((str(key).strip() for key in keys if key), "")


def _bad(columns: dict[str, Column], content: Content) -> np.ndarray:
    """Which pixels are marked as bad, shape (n,): a mask that is not 0; of SDSS's masks the bit that counts."""
    bad = np.zeros(len(_numbers(columns["flux"])), bool)
    if "mask" in columns:
        mask = _numbers(columns["mask"])
        if content.keys.get("dmodcls") == "OneSpec":  # PypeIt's mask is 1 where a pixel is good
            bad |= mask == 0
        elif plain(columns["mask"].name) == "andmask" and np.nanmax(mask, initial=0) > 1:
            bad |= np.nan_to_num(mask).astype(np.int64) & BRIGHTSKY != 0
        else:
            bad |= mask != 0
    if "good" in columns:
        bad |= _numbers(columns["good"]) == 0
    return bad


# --- what else a file says --------------------------------------------------------------------------------------------
def identity(content: Content) -> dict[str, object]:
    """The attributes of a `Spectrum` that are not its pixels, as far as a file says them; ValueError as of `said`."""
    ebv, targetid, spectral_class = (said(content, role) for role in ("ebv", "targetid", "class"))
    known = {"redshift": _number(said(content, "redshift")), "telescope": str(said(content, "telescope") or "").strip()}
    if _number(ebv) >= 0:
        known["ebv"] = _number(ebv)
    elif _number(ebv) < 0:  # some write -1 or -999 where it is not known
        known["notes"] = (f"{EBV_NOTE} of {_number(ebv):g}, negative, not used",)
    if targetid is not None:
        known |= {"spec_id": str(targetid).strip(), "kind": "desi"}
    elif _SDSS_NAME.fullmatch(name := str(content.keys.get("object", "")).strip()):
        known |= {"spec_id": name, "kind": "sdss"}
    if str(spectral_class).strip() in _CLASSES:
        known["spectral_class"] = str(spectral_class).strip()
    return known


def said(content: Content, role: str) -> object:
    """What a file says of its object, by one of the names in `KEYS`; None where it says nothing.

    Raises
    ------
    ValueError
        If it is a column of several values.
    """
    for column in content.columns:
        if plain(column.name) in KEYS[role]:
            values = column.values[0] if column.values.dtype == object and len(column.values) == 1 else column.values
            values = np.unique(np.ravel(values).astype(str))
            if len(values) > 1:
                raise ValueError(f"has several values in its column {column.name}; give one spectrum")
            return values[0] if len(values) else None
    return next((content.keys[name] for name in KEYS[role] if content.keys.get(name) is not None), None)


def _number(value: object) -> float:
    """A number of a header or a comment; NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem
