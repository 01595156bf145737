"""The medians that the page draws into its residuals."""

import numpy as np
import pytest

from quasar_mass.report import plots


def test_bins_of_equal_numbers_have_their_own_median_and_scatter():
    x = np.arange(80.0)
    y = np.where(x < 40, 0.1 * (x % 10), 5.0)
    x[3] = y[4] = np.nan
    bins = plots.binned(x, y, number=2)
    assert bins["LOW"].tolist() == [0.0, 40.5]
    assert bins["HIGH"].tolist() == [40.5, 79.0]
    first = y[:41][np.isfinite(x[:41]) & np.isfinite(y[:41])]
    assert bins["P50"] == pytest.approx([np.median(first), 5.0])
    assert bins["P84"] - bins["P16"] == pytest.approx([np.percentile(first, 84) - np.percentile(first, 16), 0.0])


@pytest.mark.parametrize("number", [0, 3])
def test_too_few_values_make_no_bin(number):
    assert all(len(values) == 0 for values in plots.binned(np.arange(number), np.zeros(number)).values())
