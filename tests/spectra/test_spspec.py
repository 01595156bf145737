"""spSpec files of SDSS-I/II, written by the data model of DR7."""

import gzip

import formats
import numpy as np
import pytest
from test_read import refused

from quasar_mass.spectra.read import is_spectrum_file
from quasar_mass.spectra.read import read as read_spectrum

PIXEL = 35797 + np.arange(3850)
WAVELENGTH = 10 ** (1e-4 * PIXEL)


@pytest.fixture
def write(make, tmp_path):
    def one(name="spSpec-51789-0398-010.fit", **options):
        flux = options.pop("flux", make.smooth_flux(PIXEL))
        error = options.pop("error", np.full(len(PIXEL), 0.5))
        return formats.sp_spec(tmp_path / name, WAVELENGTH, flux, error, **options)

    return one


@pytest.mark.parametrize("rows", [4, 5])
def test_rows_of_the_image_are_flux_error_and_mask(write, make, rows):
    path = write(rows=rows, redshift=1.7)
    spectrum = read_spectrum(path)
    assert is_spectrum_file(path)
    assert spectrum.spec_id == "0398-51789-0010"
    np.testing.assert_array_equal(spectrum.pixel, PIXEL)
    np.testing.assert_array_equal(spectrum.flux, make.smooth_flux(PIXEL))
    np.testing.assert_array_equal(spectrum.ivar, 4.0)
    assert (spectrum.redshift, spectrum.kind, spectrum.telescope) == (1.7, "sdss", "SDSS 2.5-M")
    assert (spectrum.notes, spectrum.spectral_class) == ((), "QSO")
    assert np.isnan(spectrum.ebv)


def test_an_error_of_zero_or_less_is_no_data(write):
    error = np.full(len(PIXEL), 0.5)
    error[[10, 20]] = 0.0, -1.0
    assert np.flatnonzero(read_spectrum(write(error=error)).ivar == 0).tolist() == [10, 20]


def test_only_brightsky_masks_a_pixel(write):
    mask = np.zeros(len(PIXEL))
    mask[2000:2031] = 2.0 ** np.arange(31)
    assert np.flatnonzero(~read_spectrum(write(mask=mask)).good).tolist() == [2023]


@pytest.mark.parametrize(("code", "name"), [(0, ""), (1, "STAR"), (2, "GALAXY"), (4, "QSO"), (7, "GALAXY")])
def test_the_class_is_a_number_in_the_header(write, code, name):
    assert read_spectrum(write(spec_cln=code)).spectral_class == name


def test_an_unsure_redshift_is_noted(write):
    assert read_spectrum(write(z_conf=0.2)).notes == ("redshift with Z_CONF 0.20",)


def test_packed_files_are_read(write):
    path = write()
    packed = path.with_suffix(".fit.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_spectrum(packed).flux, read_spectrum(path).flux)


@pytest.mark.parametrize("size", [6000, 40_000])
def test_a_file_that_is_cut_short_says_so(write, size):
    path = write()
    path.write_bytes(path.read_bytes()[:size])
    assert "cut off: " in str(refused(path))


def test_invalid_values_are_refused(write, make):
    flux = make.smooth_flux(PIXEL)
    flux[7] = np.nan
    assert refused(write(flux=flux)).reason == "invalid values"
