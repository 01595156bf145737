"""Spectra of specutils: every uncertainty, axis and unit gives the arrays that went in."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from sparcl_stand_in import desi_record

from quasar_mass import virial
from quasar_mass.core.errors import SpectrumError
from quasar_mass.spectra.objects import as_spectra
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.sparcl_record import spectrum_of
from quasar_mass.spectra.spectrum import Spectrum

specutils = pytest.importorskip("specutils")

N = 50
WAVELENGTH = 3600.0 + 1.25 * np.arange(N)
FLUX = 5.0 + np.sin(np.arange(N) / 7.0)
ERROR = 0.2 + 0.01 * np.cos(np.arange(N) / 3.0)
OURS = u.Unit("1e-17 erg / (s cm2 AA)")
C = 2.99792458e18  # Angstrom / s
FNU = 1e-17 * WAVELENGTH**2 / C / 1e-23  # Jy of 1e-17 erg / s / cm2 / Angstrom
UNCERTAINTIES = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}


def agrees(spectrum: Spectrum, rtol: float = 1e-10) -> None:
    np.testing.assert_allclose(spectrum.wavelength, WAVELENGTH, rtol=rtol)
    np.testing.assert_allclose(spectrum.flux, FLUX, rtol=rtol)
    np.testing.assert_allclose(spectrum.ivar, ERROR**-2, rtol=4 * rtol)


def of_specutils(flux=FLUX * OURS, axis=WAVELENGTH * u.AA, uncertainty="std", **more):
    if isinstance(uncertainty, str):
        uncertainty = StdDevUncertainty(ERROR)  # of its own for each, since it remembers the unit of its spectrum
    return specutils.Spectrum(flux=flux, spectral_axis=axis, uncertainty=uncertainty, **more)


@pytest.mark.parametrize("kind", UNCERTAINTIES)
@pytest.mark.parametrize("unit_of_its_own", [False, True])
def test_all_classes_of_uncertainty_are_taken_in_their_units(kind, unit_of_its_own):
    power = UNCERTAINTIES[kind]
    agrees(as_spectra(of_specutils(uncertainty=kind(ERROR**power))))
    agrees(as_spectra(of_specutils(FLUX * FNU * u.Jy, uncertainty=kind((ERROR * FNU) ** power))))
    if unit_of_its_own:
        given = kind((ERROR * FNU * 1e3) ** power, unit=u.mJy**power)
        agrees(as_spectra(of_specutils(FLUX * FNU * u.Jy, uncertainty=given)))


@pytest.mark.parametrize(
    "axis",
    [
        WAVELENGTH / 10 * u.nm,
        WAVELENGTH * 1e-4 * u.um,
        C / WAVELENGTH * u.Hz,
        12398.419843320 / WAVELENGTH * u.eV,
        1e8 / WAVELENGTH / u.cm,
    ],
    ids=str,
)
def test_every_spectral_axis_gives_ascending_wavelengths(axis):
    agrees(as_spectra(of_specutils(axis=axis)))


def test_velocities_are_taken_from_their_rest_value():
    velocity = 299792.458 * (WAVELENGTH / 3700.0 - 1.0) * u.km / u.s
    given = {"rest_value": 3700.0 * u.AA, "velocity_convention": "optical"}
    agrees(as_spectra(of_specutils(axis=velocity, **given)))
    with pytest.raises(SpectrumError, match="has a spectral axis in km / s that gives no wavelengths"):
        as_spectra(of_specutils(axis=velocity))


def test_descending_axes_take_flux_error_and_mask_with_them():
    mask = np.arange(N) < 3
    back = slice(None, None, -1)
    spectrum = as_spectra(
        of_specutils(FLUX[back] * OURS, WAVELENGTH[back] * u.AA, StdDevUncertainty(ERROR[back]), mask=mask[back])
    )
    agrees(spectrum)
    np.testing.assert_array_equal(spectrum.mask, mask)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_fluxes_in_several_dimensions_are_several_spectra(index):
    scale = np.arange(1.0, 7.0).reshape(2, 3, 1)
    flux, error = (np.moveaxis(scale * values, -1, index) for values in (FLUX, ERROR))
    mask = np.zeros(flux.shape, int)
    spectra = as_spectra(
        of_specutils(flux * OURS, uncertainty=StdDevUncertainty(error), mask=mask, spectral_axis_index=index)
    )
    assert len(spectra) == 6
    for factor, spectrum in zip(scale.ravel(), spectra, strict=True):
        np.testing.assert_allclose(spectrum.flux, factor * FLUX)
        np.testing.assert_allclose(spectrum.ivar, (factor * ERROR) ** -2.0)


def test_collections_and_lists_are_as_many_spectra():
    more = {"redshift": 1.5, "mask": np.zeros(N, bool)}
    one, other = of_specutils(**more), of_specutils(axis=(WAVELENGTH + 7.0) * u.AA, **more)
    for several in (specutils.SpectrumCollection.from_spectra([one, other]), specutils.SpectrumList([one, other])):
        spectra = as_spectra(several)
        agrees(spectra[0])
        np.testing.assert_allclose(spectra[1].wavelength, WAVELENGTH + 7.0)
        assert [spectrum.redshift for spectrum in spectra] == pytest.approx([1.5, 1.5])
    agrees(as_spectra([one, Spectrum(WAVELENGTH, FLUX, ERROR**-2), [one]])[2])


def test_a_redshift_that_is_set_is_taken_and_zero_is_none():
    assert as_spectra(of_specutils(redshift=1.6)).redshift == pytest.approx(1.6)
    assert np.isnan(as_spectra(of_specutils()).redshift)
    moving = as_spectra(of_specutils(radial_velocity=150_000 * u.km / u.s))
    assert moving.redshift == pytest.approx(np.sqrt((1 + 150 / 299.792458) / (1 - 150 / 299.792458)) - 1)
    both = of_specutils(np.array([FLUX, FLUX]) * OURS, uncertainty=StdDevUncertainty([ERROR, ERROR]), redshift=[1.1, 0])
    assert [spectrum.redshift for spectrum in as_spectra(both)] == pytest.approx([1.1, np.nan], nan_ok=True)


def test_what_a_header_says_is_taken():
    spectrum = as_spectra(of_specutils(meta={"header": {"EBV": 0.04, "Z": 1.4}, "TELESCOP": "VLT"}))
    assert (spectrum.ebv, spectrum.redshift, spectrum.telescope) == (0.04, 1.4, "VLT")


def test_a_record_of_sparcl_is_taken():
    record = desi_record(39627785483846048, "DESI-DR1", 7)
    spectrum, expected = as_spectra(record), spectrum_of(record)
    assert spectrum.spec_id == expected.spec_id == as_spectra([record])[0].spec_id
    np.testing.assert_array_equal(spectrum.flux, expected.flux)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"uncertainty": None}, "has no uncertainty"),
        ({"uncertainty": UnknownUncertainty(ERROR)}, "has an uncertainty of type unknown"),
        ({"flux": FLUX * u.dimensionless_unscaled}, "has no unit of flux density"),
        ({"flux": FLUX * u.ct}, "is in ct, which is no unit of flux density"),
        ({"axis": np.arange(N) * u.pix}, "has a spectral axis in pix that gives no wavelengths"),
    ],
)
def test_what_an_object_lacks_is_said(change, words):
    with pytest.raises(SpectrumError, match=words) as caught:
        as_spectra(of_specutils(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, "spec.fits", WAVELENGTH, [None], {"wavelength": 1}])
def test_other_things_are_refused(value):
    with pytest.raises(SpectrumError, match="give arrays, a Spectrum, an object of specutils, or a list of them"):
        as_spectra(value)


def test_the_classical_fit_takes_objects_and_their_own_redshifts(simulated):
    spectra = [read_spectrum(path) for path in simulated[:2]]
    given = [
        specutils.Spectrum(
            flux=spectrum.flux * OURS,
            spectral_axis=spectrum.wavelength * u.AA,
            uncertainty=InverseVariance(spectrum.ivar),
            mask=spectrum.mask,
        )
        for spectrum in spectra
    ]
    redshift, ebv = [spectrum.redshift for spectrum in spectra], [spectrum.ebv for spectrum in spectra]
    expected = virial.measure(spectra, redshift=redshift, ebv=ebv)
    assert expected["LMBH"].notna().any()
    for table in (virial.measure(spectra), virial.measure(given, redshift=redshift, ebv=ebv)):
        np.testing.assert_allclose(table["LMBH"], expected["LMBH"], atol=1e-6)
    assert virial.measure(given[0])["REASON"][0].startswith("no redshift: give a positive one (redshift=")


def test_the_classical_fit_takes_arrays(simulated):
    spectrum = read_spectrum(simulated[0])
    own = {"redshift": spectrum.redshift, "ebv": spectrum.ebv}
    table = virial.measure(spectrum.wavelength, spectrum.flux, np.where(spectrum.mask, 0.0, spectrum.ivar), **own)
    assert table["LMBH"].tolist() == pytest.approx(virial.measure(spectrum)["LMBH"].tolist(), abs=1e-6)
    with pytest.raises(SpectrumError, match="ivar is missing; give wavelength, flux and ivar"):
        virial.measure(spectrum.wavelength, spectrum.flux, **own)


@pytest.mark.parametrize("name", ["redshift", "ebv"])
def test_numbers_for_each_spectrum_are_as_many_as_spectra(simulated, name):
    spectra = [read_spectrum(path) for path in simulated[:2]]
    with pytest.raises(SpectrumError, match=f"{name} must be one number for all, or one for each of 2 spectra"):
        virial.measure(spectra, **{name: [0.5, 0.5, 0.5]})
