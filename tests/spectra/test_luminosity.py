"""Luminosity density pixel by pixel, beside astropy's units and cosmology and the package dust_extinction."""

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import Planck15

import quasar_mass as qm
from quasar_mass.core.errors import SpectrumError


def test_it_is_that_of_a_source_shining_alike_in_all_directions():
    z, wavelength = 1.6, np.array([4000.0, 7000.0, 9000.0])
    spectrum = qm.Spectrum(wavelength, [2.0, 3.0, 1.0], [4.0, 1.0, 0.0], redshift=z)
    rest, luminosity, error = qm.luminosity_density(spectrum)
    flux = np.array([2.0, 3.0]) * 1e-17 * u.erg / u.s / u.cm**2 / u.AA
    expected = (4.0 * np.pi * Planck15.luminosity_distance(z) ** 2 * flux * (1.0 + z)).to_value("erg / (s AA)")
    np.testing.assert_allclose(rest, wavelength / (1.0 + z))
    np.testing.assert_allclose(luminosity[:2], expected, rtol=1e-4)
    np.testing.assert_allclose(error[:2] / luminosity[:2], [0.25, 1.0 / 3.0])
    assert np.isnan(luminosity[2])
    assert np.isnan(error[2])


def test_the_galaxys_dust_is_corrected_for_where_it_is_known():
    from dust_extinction.parameter_averages import F99

    wavelength = np.array([4000.0, 9000.0])
    how = {"flux": [1.0, 1.0], "ivar": [1.0, 1.0], "redshift": 1.6}
    (_, plain, _), (_, corrected, _) = (
        qm.luminosity_density(qm.Spectrum(wavelength, **how, ebv=ebv)) for ebv in (np.nan, 0.1)
    )
    visual = 2.742 * 0.1  # A(V) of this E(B-V): Schlafly & Finkbeiner 2011, table 6
    transmitted = 10.0 ** (-0.4 * visual * F99(Rv=3.1)(wavelength * u.AA))
    np.testing.assert_allclose(plain / corrected, transmitted, rtol=2e-3)


def test_without_a_redshift_it_says_so():
    with pytest.raises(SpectrumError, match="has no redshift"):
        qm.luminosity_density(qm.Spectrum([4000.0, 4001.0], [1.0, 1.0], [1.0, 1.0]))
