"""The library of noise-free spectra: the same quasars as the survey's code makes, and noise of the right size."""

import numpy as np
import pytest

from quasar_mass.core.errors import FileError
from quasar_mass.core.survey import Grid
from quasar_mass.simulation import labels, library, observing, population
from quasar_mass.simulation.spectrograph import recording
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
    quasar, exposure, spectrum = observing.library_exposure(5, target)
    light, sigma = library.averages(spectrum, target.z, target.ebv, GROUP)
    read = []
    for n in range(150):
        observation = exposure.read(np.random.default_rng(n))
        seen = observing.spectrum_of(observation, target, target.epochs[0])
        flux = to_rest_frame(seen, target.z, Grid(), ebv=target.ebv).flux
        read.append(flux[: 925 * GROUP].reshape(-1, GROUP).mean(axis=1))
    read = np.array(read)
    chi = (read.mean(axis=0) - light) / (sigma / np.sqrt(len(read)))
    assert np.median(np.abs(chi)) < 1.0  # standard normal: 0.67
    ratio = read.std(axis=0) / sigma
    assert np.median(ratio) == pytest.approx(1.0, abs=0.04)
    assert quasar.redshift == pytest.approx(target.z, abs=0.1)


def test_a_library_is_the_same_in_any_number_of_processes_and_after_an_interruption(tmp_path):
    whole = library.library(tmp_path / "a", size=24, seed=1, group=GROUP, jobs=2, quiet=True)
    library.library(tmp_path / "b", size=12, seed=1, group=GROUP, quiet=True)
    continued = library.library(tmp_path / "b", size=24, seed=1, group=GROUP, quiet=True)
    for one, other in zip(
        (whole.light, whole.sigma, whole.mass, whole.truth),
        (continued.light, continued.sigma, continued.mass, continued.truth),
        strict=True,
    ):
        assert np.array_equal(one, other)
    assert whole.light.shape == (len(whole.mass), 925)
    assert len(np.unique(whole.mass)) == len(whole.mass)
    assert not np.isin(library.library(tmp_path / "c", size=12, seed=2, group=GROUP, quiet=True).mass, whole.mass).any()


def test_masses_and_truth_are_of_the_same_quasars(tmp_path):
    one = library.library(tmp_path, size=12, seed=1, group=GROUP, quiet=True)
    truth = dict(zip(library.COLUMNS, one.truth.T, strict=True))
    low, high = np.minimum(truth["LMBH_MgII"], truth["LMBH_CIV"]), np.maximum(truth["LMBH_MgII"], truth["LMBH_CIV"])
    assert np.all((one.mass >= low - 1e-5) & (one.mass <= high + 1e-5))
    early = truth["Z"] < labels.CIV_FROM
    assert one.mass[early] == pytest.approx(truth["LMBH_MgII"][early])


def test_a_damaged_part_is_named(tmp_path):
    library.library(tmp_path, size=12, seed=1, group=GROUP, quiet=True)
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileError, match="delete it"):
        library.library(tmp_path, size=12, seed=1, group=GROUP, quiet=True)


def test_noise_correlation_enters():
    """The closed form for uncorrelated pixels on the grid itself is 1 / sqrt(group); the coadd's is larger."""
    weights = np.convolve(recording.CORRELATION / np.linalg.norm(recording.CORRELATION), np.ones(GROUP) / GROUP)
    assert np.linalg.norm(weights) > 1.0 / np.sqrt(GROUP)
