"""What a network is given: by hand."""

import numpy as np
import pytest

from quasar_mass.spectra.network_input import INPUT, in_rest_frame, network_input


def test_the_missing_factor_of_the_unit_is_1_at_a_typical_redshift():
    flux = np.array([[2.0, np.nan, -1.0], [2.0, 0.5, np.nan]], np.float32)
    before = flux.copy()
    given = network_input(flux, np.array([1.65, 4.3]))
    np.testing.assert_allclose(given, [[2.0, 0.0, -1.0], [4.0, 1.0, 0.0]], rtol=1e-6)
    assert given.dtype == np.float32
    assert np.array_equal(flux, before, equal_nan=True), "a copy"
    assert np.array_equal(network_input(flux, 4.3), network_input(flux, np.full(2, 4.3)))
    assert INPUT == {"times": "(1 + z) / 2.65", "missing": 0.0}, "what model files say"


def test_two_redshifts_of_one_luminosity_density_look_alike():
    """The tables divide L_lambda by 1 + z."""
    density, redshift = 0.7, np.array([0.4, 1.6, 2.6])
    tables = (density / (1 + redshift))[:, None] * np.ones((3, 5))
    np.testing.assert_allclose(network_input(tables.astype(np.float32), redshift), density / 2.65, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_only_the_unit_changes(kind):
    flux = np.array([1.0, np.nan], kind)
    given = in_rest_frame(flux, 4.3)
    assert given.dtype == kind
    assert given[0] == kind(2.0)
    assert np.isnan(given[1])
