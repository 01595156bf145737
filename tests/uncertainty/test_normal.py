"""The normal distribution, compared with SciPy's."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from quasar_mass.uncertainty import normal


def test_the_distribution_is_exact_also_where_it_is_tiny():
    x = np.concatenate([np.linspace(-37.0, 37.0, 20_001), [-1e300, -50.0, -0.0, 0.0, 50.0, 1e300, -np.inf, np.inf]])
    np.testing.assert_allclose(normal.cdf(x), ndtr(x), rtol=2e-15)
    assert np.isnan(normal.cdf(np.array([np.nan, 1.0]))).tolist() == [True, False]


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_shapes_stay(shape):
    assert np.shape(normal.cdf(np.ones(shape))) == shape


@pytest.mark.parametrize("probability", [1e-300, 1e-12, 0.05, 0.5, 0.9, 1.0 - 1e-12])
def test_quantiles(probability):
    assert normal.quantile(probability) == pytest.approx(ndtri(probability), rel=1e-12, abs=1e-15)
