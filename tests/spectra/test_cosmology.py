"""Luminosity distances and the extinction curve, compared with astropy and dust_extinction."""

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import Planck15
from dust_extinction.parameter_averages import F99

from quasar_mass.spectra.cosmology import luminosity_distance
from quasar_mass.spectra.extinction import extinction_curve, transmission
from quasar_mass.spectra.spectrum import PIXEL


def test_distances_are_those_of_planck_2015():
    redshift = np.concatenate([np.geomspace(1e-4, 10.0, 300), [20.0, 1100.0]])
    np.testing.assert_allclose(luminosity_distance(redshift), Planck15.luminosity_distance(redshift).value, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_distances_have_the_shape_of_the_redshifts(shape):
    distance = luminosity_distance(np.full(shape, 1.6))
    assert distance.shape == shape
    np.testing.assert_allclose(distance, Planck15.luminosity_distance(1.6).value, rtol=1e-12)


def test_the_extinction_curve_is_that_of_fitzpatrick_1999():
    pixel = np.arange(34771, 40793)
    expected = F99(Rv=3.1)(10.0 ** (PIXEL * pixel) * units.AA)
    np.testing.assert_allclose(extinction_curve(), expected, rtol=1e-12)
    np.testing.assert_allclose(transmission(pixel, 0.1), 10.0 ** (-0.4 * 2.742 * 0.1 * expected), rtol=1e-12)
