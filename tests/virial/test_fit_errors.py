"""The quoted errors against the truth of simulated quasars, which have much that the fit's templates lack."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from quasar_mass import virial
from quasar_mass.simulation.check import fit_errors


@pytest.fixture(scope="module")
def noiseless():
    return fit_errors.quasars(250)


def noisy(spectra, signal_to_noise):
    rng = np.random.default_rng(int(signal_to_noise))
    return [fit_errors.with_noise(spectrum, signal_to_noise, rng) for spectrum in spectra]


def measured(spectra):
    return virial.measure(spectra)


def test_measurements_scatter_around_the_truth_by_their_errors(noiseless):
    spectra, truth = noiseless
    summary = fit_errors.summarise(fit_errors.pulls(noisy(spectra, 20.0), truth))
    print(summary.round(2))
    assert summary.shape == (6, 2)
    assert summary.to_numpy().min() > 0.8
    assert summary.to_numpy().max() < 1.3


def test_less_noise_does_not_make_luminosities_worse(noiseless):
    spectra, truth = noiseless[0][:100], noiseless[1][:100]
    tables = [measured(noisy(spectra, level)) for level in (8.0, 60.0)]
    for name in ("LOG_L1350", "LOG_L3000"):
        faint, bright = (stats.median_abs_deviation(table[name] - truth[name], scale="normal") for table in tables)
        print(f"{name}: {faint:.4f} dex at S/N 8, {bright:.4f} at 60")
        assert bright < 1.1 * faint


def test_errors_of_luminosities_grow_with_the_distance_from_what_is_observed(noiseless):
    spectra, truth = noisy(noiseless[0][:60], 15.0), noiseless[1][:60]
    for name, ends in (("LOG_L1350", (1400.0, 1750.0, 2150.0)), ("LOG_L3000", (3100.0, 2500.0, 2150.0))):
        errors = []
        for end in ends:
            cut = []
            for spectrum in spectra:
                rest = spectrum.wavelength / (1.0 + spectrum.redshift)
                seen = rest > end if name == "LOG_L1350" else rest < end
                cut.append(replace(spectrum, ivar=np.where(seen, spectrum.ivar, 0.0)))
            table = measured(cut)
            rms = (((table[name] - truth[name]) / table[f"{name}_ERR"]) ** 2).mean() ** 0.5
            errors.append(table[f"{name}_ERR"].median())
            print(f"{name} from {end:.0f} A: error {errors[-1]:.3f} dex, rms of the pulls {rms:.2f}")
            assert 0.6 < rms < 1.3
        assert errors[0] < 0.5 * errors[1]
        assert errors[1] < 0.8 * errors[2]


def test_absorption_in_a_line_makes_its_width_less_certain(noiseless):
    spectra, _ = noiseless
    spectra = noisy(spectra[:40], 20.0)
    dimmed = []
    for spectrum in spectra:
        rest = spectrum.wavelength / (1.0 + spectrum.redshift)
        line = 1.0 - 0.7 * np.exp(-0.5 * ((rest - 1545.0) / 0.85) ** 2)
        dimmed.append(replace(spectrum, flux=spectrum.flux * line))
    plain, absorbed = measured(spectra), measured(dimmed)
    assert (absorbed["FWHM_CIV_ERR"] / plain["FWHM_CIV_ERR"]).median() > 1.4
    np.testing.assert_allclose((absorbed["FWHM_MgII_ERR"] / plain["FWHM_MgII_ERR"]).median(), 1.0, rtol=0.02)
