"""Sources of batches: simulated noise of the claimed size, labels that stay true, the same draws from the same seed."""

import numpy as np
import pytest

from quasar_mass.network import augmentation
from quasar_mass.network.augmentation import AugmentedSource, ConcatSource, SimulatedSource

PIXELS, GROUP = 301, 4


def rng(seed=1):
    return np.random.default_rng(seed)


@pytest.fixture
def simulated():
    n, coarse = 400, PIXELS // GROUP
    flux = np.full((n, coarse), 3.0, np.float16)
    return SimulatedSource(flux, np.full((n, coarse), 0.2, np.float16), np.linspace(8.0, 9.0, n), PIXELS, GROUP)


@pytest.fixture
def augmented():
    x = np.linspace(0.0, 1.0, PIXELS)
    spectra = (1.0 + x + 0.05 * rng().standard_normal((300, PIXELS))).astype(np.float32)[..., np.newaxis]
    return AugmentedSource(spectra, np.linspace(8.0, 9.0, 300))


@pytest.fixture
def still(monkeypatch):
    """Neither calibration errors nor another luminosity."""
    monkeypatch.setattr(augmentation, "TILT", (0.0, 0.0))
    monkeypatch.setattr(augmentation, "BRIGHTNESS", 0.0)


@pytest.mark.parametrize("name", ["simulated", "augmented"])
def test_the_same_seed_gives_the_same_spectra_and_another_gives_others(name, request):
    source = request.getfixturevalue(name)
    rows = np.arange(20)
    first, label = source.take(rows, rng(5))
    again, _ = source.take(rows, rng(5))
    other, _ = source.take(rows, rng(6))
    assert first.shape == (20, PIXELS, 1)
    assert first.dtype == np.float32
    assert label.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_new_noise_has_the_claimed_size(simulated, still, monkeypatch):
    monkeypatch.setattr(augmentation, "NOISE_FRACTION", 0.0)
    spectra, mass = simulated.take(np.arange(400), rng())
    groups = spectra[:, : PIXELS // GROUP * GROUP, 0].reshape(400, -1, GROUP)
    assert np.all(groups == groups[:, :, :1])  # so that the network's average gives them back
    assert groups[:, :, 0].std() == pytest.approx(0.2, rel=0.02)
    assert groups[:, :, 0].mean() == pytest.approx(3.0, abs=0.01)
    assert mass == pytest.approx(np.linspace(8.0, 9.0, 400), abs=1e-6)


@pytest.mark.parametrize(("name", "level"), [("simulated", 3.0), ("augmented", 1.5)])
def test_a_quasar_made_brighter_is_made_heavier_by_half_of_it(name, level, request, monkeypatch):
    monkeypatch.setattr(augmentation, "TILT", (0.0, 0.0))
    source = request.getfixturevalue(name)
    spectra, mass = source.take(np.arange(len(source)), rng())
    change = np.log10(np.median(spectra[..., 0], axis=1) / level)
    assert change.std() == pytest.approx(augmentation.BRIGHTNESS, rel=0.1)
    assert np.polyfit(change, mass - np.linspace(8.0, 9.0, len(source)), 1)[0] == pytest.approx(0.5, abs=0.03)


def test_augmentation_leaves_labels_and_the_mean_spectrum_true(augmented, still):
    before = augmented.spectra.copy()
    spectra, label = augmented.take(np.arange(300), rng())
    assert np.array_equal(augmented.spectra, before)  # the survey itself is not changed
    assert np.array_equal(label, augmented.label)
    assert spectra.mean(axis=0) == pytest.approx(before.mean(axis=0), abs=0.06)
    assert not np.array_equal(spectra, before)


def test_added_noise_follows_the_spectrum_s_own(augmented, still, monkeypatch):
    monkeypatch.setattr(augmentation, "GAPS", 0.0)
    added = (augmented.take(np.arange(300), rng())[0] - augmented.spectra).std()
    assert added == pytest.approx(0.05 * augmentation.ADDED_NOISE / np.sqrt(3.0), rel=0.1)  # uniform fractions


def test_concatenated_sources_are_numbered_through(simulated, augmented, still):
    together = ConcatSource([simulated, augmented])
    assert len(together) == 700
    spectra, label = together.take(np.array([1, 450, 2]), rng())
    assert spectra.shape == (3, PIXELS, 1)
    assert augmented.label[50] in label
    assert len({simulated.digest(), augmented.digest(), together.digest()}) == 3
