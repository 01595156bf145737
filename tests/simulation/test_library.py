"""The library of noise-free spectra: mean flux and noise are those of what the tables would hold."""

import numpy as np
import pytest

from quasar_mass.core.errors import FileError
from quasar_mass.core.survey import Grid
from quasar_mass.simulation import library, observing, population
from quasar_mass.simulation.quasar.received_flux import received_flux
from quasar_mass.spectra.rest_frame import to_rest_frame

GROUP = 4


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(library, "PART", 12)


@pytest.fixture(scope="module")
def target():
    return next(one for one in population.targets(12, 5) if one.z > 1.6)


def test_averages_are_the_mean_of_what_the_table_would_hold_and_its_noise(target):
    """Against many readings of the same exposure, through the code that builds the tables."""
    flux = received_flux(observing.draw_quasar(5, target), target.ebv)
    exposure = observing.epoch_exposure(5, observing.draw_quasar(5, target), target, 0, flux, np.zeros(2))
    spectrum = observing.noiseless_spectrum(exposure, target, target.epochs[0])
    mean, sigma = library.averages(spectrum, target.z, target.ebv, GROUP)
    read = []
    for n in range(150):
        noisy = observing.spectrum_of(exposure.read(np.random.default_rng(n)), target, target.epochs[0])
        flux = to_rest_frame(noisy, target.z, Grid(), ebv=target.ebv).flux
        read.append(flux[: 925 * GROUP].reshape(-1, GROUP).mean(axis=1))
    read = np.array(read)
    chi = (read.mean(axis=0) - mean) / (sigma / np.sqrt(len(read)))
    assert np.median(np.abs(chi)) < 1.0  # standard normal: 0.67
    ratio = read.std(axis=0) / sigma
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)


def test_a_library_is_the_same_in_any_number_of_processes_and_after_an_interruption(tmp_path):
    whole = library.library(tmp_path / "a", size=24, seed=1, group=GROUP, jobs=2, quiet=True)
    library.library(tmp_path / "b", size=12, seed=1, group=GROUP, quiet=True)
    continued = library.library(tmp_path / "b", size=24, seed=1, group=GROUP, quiet=True)
    for name in ("flux", "sigma", "truth"):
        assert np.array_equal(getattr(whole, name), getattr(continued, name), equal_nan=True)
    assert whole.flux.shape == (len(whole.truth), 925)
    other = library.library(tmp_path / "c", size=12, seed=2, group=GROUP, quiet=True)
    assert not np.isin(other.truth, whole.truth).any()


def test_a_damaged_part_is_named(tmp_path):
    library.library(tmp_path, size=12, seed=1, group=GROUP, quiet=True)
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileError, match="delete it"):
        library.library(tmp_path, size=12, seed=1, group=GROUP, quiet=True)
