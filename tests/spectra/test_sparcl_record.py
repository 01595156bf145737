"""Records of SPARCL as spectra: which pixels are bad, what they are called, and what is missing."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparcl_stand_in import desi_record, sdss_record

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import format_spec_id
from quasar_mass.fetch import sparcl, urls
from quasar_mass.spectra import sparcl_record
from quasar_mass.spectra.objects import as_spectra
from quasar_mass.spectra.read import read
from quasar_mass.spectra.sparcl_record import is_record, sdss_name, spectrum_of

TARGETID = 39627785483846048


def test_any_bit_of_desis_mask_is_a_bad_pixel():
    record = desi_record(TARGETID, "DESI-DR1", 7)
    spectrum = spectrum_of(record)
    np.testing.assert_array_equal(spectrum.good, (record.mask == 0) & (record.ivar > 0))
    assert ((record.mask != 0) & (record.ivar > 0)).any()  # which the inverse variance alone would not show
    assert (spectrum.spec_id, spectrum.kind, spectrum.spectral_class) == (str(TARGETID), "desi", "QSO")
    assert (spectrum.redshift, spectrum.telescope) == (1.6, "KPNO 4.0-m telescope")
    assert np.isnan(spectrum.ebv)
    np.testing.assert_array_equal(spectrum.wavelength, record.wavelength)
    np.testing.assert_array_equal(spectrum.flux, record.flux)
    assert spectrum_of(dict(record) | {"ebv": 0.03}).ebv == 0.03


@pytest.mark.parametrize("number", [1, 2])  # with and without BRIGHTSKY
def test_a_record_of_boss_is_the_spectrum_that_its_file_holds(tmp_path, number):
    record = sdss_record((7666, 57339, 121), "v5_13_0", "BOSS-DR16", number)
    path = tmp_path / "spec.fits"
    path.write_bytes(sparcl.as_file((7666, 57339, 121), "v5_13_0", record))
    from_file, from_record = read(path), spectrum_of(record)
    for name in ("pixel", "wavelength", "ivar", "mask"):
        np.testing.assert_array_equal(getattr(from_record, name), getattr(from_file, name), err_msg=name)
    good = from_file.ivar > 0
    np.testing.assert_allclose(from_record.flux[good], from_file.flux[good], rtol=1e-6)
    for name in ("redshift", "spec_id", "spectral_class", "kind"):
        assert getattr(from_record, name) == getattr(from_file, name)


def test_wavelengths_rounded_to_four_bytes_lie_on_the_grid_all_the_same():
    record = sdss_record((7666, 57339, 121), "v5_13_0", "BOSS-DR16", 2)
    exact = spectrum_of(record)
    rounded = spectrum_of(dict(record) | {"wavelength": record.wavelength.astype(np.float32) * (1 + 5e-7)})
    np.testing.assert_array_equal(rounded.pixel, exact.pixel)


@given(
    plate=st.integers(3510, 16383),
    mjd=st.integers(50001, 66383),
    fiberid=st.integers(1, 4095),
    run2d=st.just("v5_13_0"),
)
def test_sdss_names_are_taken_out_of_the_number_they_were_put_into(plate, mjd, fiberid, run2d):
    assert sdss_name(urls.specid(plate, mjd, fiberid, run2d)) == format_spec_id(plate, mjd, fiberid)


def test_what_is_a_record():
    assert is_record(desi_record(TARGETID, "DESI-DR1", 7))
    assert is_record({"sparcl_id": "a", "flux": []})
    assert not any(is_record(thing) for thing in ({"flux": []}, [1], "spec.fits", None, np.ones(3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ivar": None, "flux": None}, r"has no flux, ivar; retrieve it with include=\['sparcl_id', .*'mask'"),
        ({"flux": np.ones(5)}, "7781 wavelengths but flux of shape"),
        ({"flux": ["x"] * 7781}, "does not hold numbers"),
        ({"mask": np.full(7781, "x")}, "does not hold numbers"),
    ],
)
def test_a_record_that_lacks_something_says_what(change, message):
    with pytest.raises(SpectrumError, match=message):
        spectrum_of(dict(desi_record(TARGETID, "DESI-DR1", 7)) | change)


def test_records_are_taken_where_spectra_are():
    records = [desi_record(TARGETID, "DESI-DR1", 7), sdss_record((7666, 57339, 121), "v5_13_0", "BOSS-DR16", 2)]
    assert as_spectra(records[0]).spec_id == str(TARGETID)
    assert [spectrum.spec_id for spectrum in as_spectra(records)] == [str(TARGETID), "7666-57339-0121"]
    with pytest.raises(SpectrumError, match="give arrays, a Spectrum"):
        as_spectra({"flux": [1.0]})


def test_examples():
    assert doctest.testmod(sparcl_record).failed == 0
