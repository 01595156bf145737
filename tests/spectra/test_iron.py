"""The template of the blended iron lines."""

import numpy as np
import pytest

from quasar_mass.spectra import iron


@pytest.mark.parametrize("step", [1e-4, 4e-4])
def test_iron_has_the_equivalent_width_asked_for_on_any_grid(step):
    log_wavelength = np.arange(3.12, 3.62, step)
    wavelength = 10.0**log_wavelength
    band = (wavelength > iron.BAND[0]) & (wavelength < iron.BAND[1])
    for shift in (0.0, 0.37 * step):  # parts of a pixel too
        template = iron.emission(1500.0, log_wavelength + shift)
        integral = np.sum((template * wavelength)[band]) * np.log(10.0) * step
        assert integral == pytest.approx(1.0, abs=0.02)
    moved = iron.emission(3000.0, log_wavelength + 0.5 * step)
    still = iron.emission(3000.0, log_wavelength)
    np.testing.assert_allclose(moved[:-1], 0.5 * (still[:-1] + still[1:]), atol=1e-2 * still.max())
