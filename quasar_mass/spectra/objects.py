"""Spectra that other packages hold in memory, specutils and the client of SPARCL: each becomes a `Spectrum`.

None of these packages is needed or imported: an object brings its own.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from quasar_mass.core.errors import SpectrumError, first_line
from quasar_mass.spectra import sparcl_record, units
from quasar_mass.spectra.column_names import plain
from quasar_mass.spectra.spectrum import Spectrum
from quasar_mass.spectra.table import identity
from quasar_mass.spectra.table_formats import Content

_KINDS = {"std": "error", "var": "variance", "ivar": "ivar"}  # what astropy calls its classes of uncertainty
_WHERE = "the spectrum"


def as_spectra(value: object) -> Spectrum | list[Spectrum]:
    """Take a spectrum, or several, of this package or another.

    Parameters
    ----------
    value : object
        A `Spectrum`; a ``Spectrum`` (before specutils 2.0: ``Spectrum1D``), ``SpectrumCollection`` or ``SpectrumList``
        of specutils; a record of SPARCL; or an iterable of these.

    Returns
    -------
    Spectrum, or list of Spectrum
        A list where the object holds several: a collection, or fluxes in several dimensions.

    Raises
    ------
    SpectrumError
        If it is something else, or has no uncertainty, no wavelengths or no flux density.
    """
    if isinstance(value, Spectrum):
        return value
    if sparcl_record.is_record(value):
        return sparcl_record.spectrum_of(value)
    if hasattr(value, "spectral_axis") and hasattr(value, "flux"):
        try:
            return _of_specutils(value)
        except ValueError as error:
            raise SpectrumError(_WHERE, str(error), reason="invalid values") from error
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        message = "give arrays, a Spectrum, an object of specutils, or a list of them; qm.read(path) reads a file"
        raise SpectrumError(_WHERE, message, reason="invalid values")
    spectra: list[Spectrum] = []
    for one in value:
        taken = as_spectra(one)
        spectra += taken if isinstance(taken, list) else [taken]
    return spectra


def for_each(values: ArrayLike, number: int, name: str) -> list[float]:
    """A list with a value for each spectrum, from one for all or one for each; SpectrumError for anything else."""
    try:
        return np.broadcast_to(np.asarray(values, float), number).tolist()
    except (TypeError, ValueError) as error:
        several = f" for all, or one for each of {number:,} spectra" if number > 1 else ""
        raise SpectrumError(_WHERE, f"{name} must be one number{several}", reason="invalid values") from error


def _of_specutils(value) -> Spectrum | list[Spectrum]:
    """A spectrum of specutils, whose flux may have several dimensions, or a collection."""
    if np.ndim(value.spectral_axis) > 1:  # a collection, whose spectra have wavelengths of their own
        return as_spectra(list(value))
    if value.uncertainty is None:
        raise ValueError("has no uncertainty; give uncertainty=StdDevUncertainty(...), or one of the other classes")
    kind = _KINDS.get(value.uncertainty.uncertainty_type)
    if kind is None:
        raise ValueError(
            f"has an uncertainty of type {value.uncertainty.uncertainty_type}; give StdDevUncertainty(...)"
        )
    wavelength = _wavelength(value.spectral_axis)
    order = np.argsort(wavelength)
    wavelength = wavelength[order]
    factors = units.flux_factors(value.flux.unit, wavelength)
    unit = value.uncertainty.unit
    error_factors = factors if unit is None else units.flux_factors(unit ** units.POWERS[kind], wavelength)
    flux = _rows(value, value.flux.value)[:, order] * factors
    ivar = units.inverse_variance(_rows(value, value.uncertainty.array)[:, order], kind, error_factors)
    mask = _rows(value, False if value.mask is None else value.mask)[:, order] != 0
    said = identity(_keys(value.meta))
    redshift = np.broadcast_to(np.ravel(value.redshift), len(flux)).astype(np.float64)
    spectra = [
        Spectrum(wavelength, flux[n], ivar[n], mask[n], **said | ({"redshift": redshift[n]} if redshift[n] else {}))
        for n in range(len(flux))
    ]
    return spectra[0] if value.flux.ndim == 1 else spectra


def _wavelength(axis) -> np.ndarray:
    """Angstrom of any spectral axis: wavelength, frequency, energy, or velocity with a rest value."""
    from astropy import units as astropy_units

    try:
        return np.asarray(axis.to(astropy_units.AA, astropy_units.spectral()).value, dtype=np.float64)
    except (ValueError, TypeError, astropy_units.UnitConversionError) as error:
        raise ValueError(
            f"has a spectral axis in {axis.unit} that gives no wavelengths ({first_line(error)})"
        ) from error


def _rows(value, array: np.ndarray) -> np.ndarray:
    """An array like the flux, as one row for each spectrum."""
    index = getattr(value, "spectral_axis_index", None)  # before specutils 2.0 it was the last one
    index = value.flux.ndim - 1 if index is None else index
    array = np.moveaxis(np.broadcast_to(array, value.flux.shape), index, -1)
    return array.reshape(-1, array.shape[-1])


def _keys(meta: object) -> Content:
    """What an object says of itself: its own keys, and the header of the file that it came from."""
    own = dict(meta) if isinstance(meta, Mapping) else {}
    header = own.get("header")
    both = {**dict(header), **own} if isinstance(header, Mapping) else own
    return Content([], {plain(key): said for key, said in both.items()})
