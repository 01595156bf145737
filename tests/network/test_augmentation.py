"""Sources of batches: noise of the claimed size, true labels, parts that are hidden, the same draws from one seed."""

import numpy as np
import pytest

from quasar_mass.network import augmentation
from quasar_mass.network.augmentation import AugmentedSource, ConcatSource, SimulatedSource

PIXELS, GROUP = 301, 4
COARSE = PIXELS // GROUP
LOG_WAVELENGTH = np.linspace(3.16, 3.53, COARSE)
MG_II, C_IV = (np.log10(ends) for ends in ((2700.0, 2900.0), (1500.0, 1950.0)))


def rng(seed=1):
    return np.random.default_rng(seed)


def constant(n, **options):
    """Simulated quasars of flux 3, whose noise is 0.2."""
    flux = np.full((n, COARSE), 3.0, np.float16)
    sigma = np.full((n, COARSE), 0.2, np.float16)
    return SimulatedSource(flux, sigma, np.linspace(8.0, 9.0, n), PIXELS, GROUP, **options)


@pytest.fixture
def simulated():
    return constant(400, hidden=0.0)


@pytest.fixture
def augmented():
    x = np.linspace(0.0, 1.0, PIXELS)
    spectra = (1.0 + x + 0.05 * rng().standard_normal((300, PIXELS))).astype(np.float32)[..., np.newaxis]
    return AugmentedSource(spectra, np.linspace(8.0, 9.0, 300), np.linspace(0.5, 1.5, 300))


@pytest.fixture
def still(monkeypatch):
    """Neither calibration errors, nor another luminosity or redshift, nor anything hidden inside."""
    monkeypatch.setattr(augmentation, "TILT", (0.0, 0.0))
    for name in ("BRIGHTNESS", "SHIFT", "HIDDEN_INSIDE"):
        monkeypatch.setattr(augmentation, name, 0.0)


@pytest.mark.parametrize("name", ["simulated", "augmented"])
def test_the_same_seed_gives_the_same_spectra_and_another_gives_others(name, request):
    source = request.getfixturevalue(name)
    rows = np.arange(20)
    first, label, weight = source.take(rows, rng(5))
    again, *_ = source.take(rows, rng(5))
    other, *_ = source.take(rows, rng(6))
    assert first.shape == (20, PIXELS, 1)
    assert first.dtype == label.dtype == weight.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_new_noise_has_the_claimed_size(simulated, still, monkeypatch):
    monkeypatch.setattr(augmentation, "NOISE_FRACTION", 0.0)
    spectra, mass, _ = simulated.take(np.arange(400), rng())
    groups = spectra[:, : PIXELS // GROUP * GROUP, 0].reshape(400, -1, GROUP)
    assert np.all(groups == groups[:, :, :1])  # so that the network's average gives them back
    assert groups[:, :, 0].std() == pytest.approx(0.2, rel=0.02)
    assert groups[:, :, 0].mean() == pytest.approx(3.0, abs=0.01)
    assert mass == pytest.approx(np.linspace(8.0, 9.0, 400), abs=1e-6)


@pytest.mark.parametrize(("name", "level"), [("simulated", 3.0), ("augmented", 1.5)])
def test_a_quasar_made_brighter_is_made_heavier_by_half_of_it(name, level, request, monkeypatch):
    monkeypatch.setattr(augmentation, "TILT", (0.0, 0.0))
    monkeypatch.setattr(augmentation, "HIDDEN_INSIDE", 0.0)
    source = request.getfixturevalue(name)
    spectra, mass, _ = source.take(np.arange(len(source)), rng())
    change = np.log10(np.median(spectra[..., 0], axis=1) / level)
    assert change.std() == pytest.approx(augmentation.BRIGHTNESS, rel=0.1)
    assert np.polyfit(change, mass - np.linspace(8.0, 9.0, len(source)), 1)[0] == pytest.approx(0.5, abs=0.03)


def test_augmentation_leaves_labels_and_the_mean_spectrum_true(augmented, still):
    before = augmented.spectra.copy()
    spectra, label, _ = augmented.take(np.arange(300), rng())
    assert np.array_equal(augmented.spectra, before)  # the survey itself is not changed
    assert np.array_equal(label, augmented.label)
    assert spectra.mean(axis=0) == pytest.approx(before.mean(axis=0), abs=0.06)
    assert not np.array_equal(spectra, before)


def test_added_noise_follows_the_spectrum_s_own(augmented, still, monkeypatch):
    monkeypatch.setattr(augmentation, "GAPS", 0.0)
    added = (augmented.take(np.arange(300), rng())[0] - augmented.spectra).std()
    assert added == pytest.approx(0.05 * augmentation.ADDED_NOISE / np.sqrt(3.0), rel=0.1)  # uniform fractions


def test_spectra_that_show_the_whole_window_are_changed_as_ever(augmented):
    """A training from one seed stays the same: sums that were printed before partial spectra were known."""
    spectra, label, _ = augmented.take(np.arange(40), rng(5))
    flux = spectra.astype(float).ravel()
    assert flux.mean() == pytest.approx(2.133528, abs=2e-6)
    assert flux @ np.cos(np.arange(flux.size)) == pytest.approx(-2.274542, abs=2e-4)  # notices where a pixel is
    assert label.astype(float) @ np.cos(np.arange(40)) == pytest.approx(13.077983, abs=2e-5)


@pytest.fixture
def missing(augmented):
    """Which pixels `augmented` does not have: the blue end, more than a block of the noise, and a stretch inside."""
    missing = np.isin(np.arange(PIXELS), [*range(140), *range(200, 210)])
    augmented.spectra[:, missing] = 0.0
    return missing


def test_what_a_spectrum_does_not_have_stays_missing_and_nothing_else_is(augmented, missing, monkeypatch):
    monkeypatch.setattr(augmentation, "SHIFT", 0.0)
    spectra = augmented.take(np.arange(300), rng())[0][..., 0]
    assert np.isfinite(spectra).all()
    assert np.array_equal(spectra == 0.0, np.broadcast_to(missing, spectra.shape))


def test_what_is_missing_moves_with_the_spectrum(augmented, missing, still, monkeypatch):
    monkeypatch.setattr(augmentation, "SHIFT", 2000.0)
    spectra = augmented.take(np.arange(300), rng())[0][..., 0]
    starts = (spectra != 0.0).argmax(axis=1)
    assert len(set(starts)) > 5
    for row, start in zip(spectra, starts, strict=True):
        assert np.flatnonzero(row[start:] == 0.0).tolist() == list(range(60, 70))


def test_added_noise_does_not_take_the_ends_of_what_is_seen_for_noise(augmented, missing, still, monkeypatch):
    monkeypatch.setattr(augmentation, "GAPS", 0.0)
    added = (augmented.take(np.arange(300), rng())[0] - augmented.spectra)[..., 0]
    expected = 0.05 * augmentation.ADDED_NOISE / np.sqrt(3.0)
    for pixels in (slice(140, 200), slice(210, PIXELS)):
        assert added[:, pixels].std() == pytest.approx(expected, rel=0.1)


def test_gaps_do_not_reach_across_what_is_missing(augmented, missing, still, monkeypatch):
    """Lines of the level 1, on one side of what is missing, and 2, on the other: nothing lies in between."""
    monkeypatch.setattr(augmentation, "GAPS", 1.0)
    monkeypatch.setattr(augmentation, "ADDED_NOISE", 0.0)
    augmented.spectra[:, 140:200], augmented.spectra[:, 210:] = 1.0, 2.0
    spectra = augmented.take(np.arange(300), rng())[0]
    assert np.array_equal(spectra, augmented.spectra)


def test_spectra_are_shifted_as_redshifts_err(still, monkeypatch):
    """A single bright pixel shows by how much: 400 km/s, standard deviation."""
    monkeypatch.setattr(augmentation, "SHIFT", 400.0)
    monkeypatch.setattr(augmentation, "GAPS", 0.0)
    monkeypatch.setattr(augmentation, "ADDED_NOISE", 0.0)
    pixels, n = 3701, 500
    spectra = np.ones((n, pixels, 1), np.float32)
    spectra[:, 1800] = 9.0
    moved = AugmentedSource(spectra, np.zeros(n)).take(np.arange(n), rng())[0].argmax(axis=1)[:, 0] - 1800
    velocity = 299_792.458 * np.log(10.0) * 1e-4 * moved
    assert velocity.std() == pytest.approx(400.0, rel=0.1)
    assert abs(velocity.mean()) < 60.0


def test_noise_moves_with_the_spectrum(still, monkeypatch):
    """Where a quasar is bright it is noisy here: after the shift, too."""
    monkeypatch.setattr(augmentation, "SHIFT", 10_000.0)
    flux = np.where(np.arange(COARSE) < 30, 1.0, 100.0) * np.ones((300, 1))
    sigma = np.where(np.arange(COARSE) < 30, 0.0, 5.0) * np.ones((300, 1))
    source = SimulatedSource(flux.astype(np.float32), sigma.astype(np.float32), np.zeros(300), 300, GROUP, hidden=0.0)
    spectra = source.take(np.arange(300), rng())[0][..., 0]
    edge = (spectra > 50.0).argmax(axis=1)
    assert len(set(edge)) > 5
    for row, start in zip(spectra, edge, strict=True):
        assert np.all(row[:start] == 1.0)
        assert np.all(row[start:] != 100.0)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_spectra_and_1_if_left_out(simulated, augmented):
    rows = np.array([7, 3, 250])
    assert np.array_equal(augmented.take(rows, rng())[2], np.linspace(0.5, 1.5, 300).astype(np.float32)[rows])
    plain = AugmentedSource(augmented.spectra, augmented.label)
    assert plain.take(rows, rng())[2].tolist() == simulated.take(rows, rng())[2].tolist() == [1.0, 1.0, 1.0]
    assert plain.digest() != augmented.digest(), "another training, which has its own checkpoints"


def test_concatenated_sources_are_numbered_through(simulated, augmented, still):
    together = ConcatSource([simulated, augmented])
    assert len(together) == 700
    spectra, label, weight = together.take(np.array([1, 450, 2]), rng())
    assert spectra.shape == (3, PIXELS, 1)
    row = label.tolist().index(augmented.label[50])
    assert spectra[row].mean() == pytest.approx(1.5, abs=0.1)  # those of the simulation are 3
    assert weight[row] == augmented.weight[50] != 1.0
    assert np.delete(weight, row).tolist() == [1.0, 1.0]
    assert len({simulated.digest(), augmented.digest(), together.digest()}) == 3


# --- hidden parts -----------------------------------------------------------------------------------------------------


def hidden_groups(source):
    """Which groups of each spectrum are hidden, shape (n, groups)."""
    spectra = source.take(np.arange(len(source)), rng(8))[0]
    return spectra[:, : COARSE * GROUP : GROUP, 0] == 0.0


def between(ends):
    first, stop = np.searchsorted(LOG_WAVELENGTH, ends)
    return slice(first, stop)


def test_one_end_or_both_of_the_stated_fraction_are_hidden(still):
    n = 4000
    for fraction in (0.0, 0.35, 1.0):
        hidden = hidden_groups(constant(n, hidden=fraction))
        first, last = hidden[:, 0], hidden[:, -1]
        # a quarter each loses one end alone; ends that are hidden by less than a group are not seen here
        assert (first & last).mean() == pytest.approx(0.50 * fraction, abs=0.05)
        assert (first & ~last).mean() == pytest.approx(0.25 * fraction, abs=0.05)
        assert (~first & last).mean() == pytest.approx(0.25 * fraction, abs=0.05)
        # nothing inside is hidden: what is seen is one stretch
        assert (np.diff(hidden.astype(int), axis=1) == -1).sum(axis=1).max() <= 1
        assert (np.diff(hidden.astype(int), axis=1) == 1).sum(axis=1).max() <= 1
    assert constant(9, hidden=0.0).digest() != constant(9, hidden=1.0).digest()


def test_every_spectrum_keeps_mg_ii_or_c_iv_with_c_iii(still):
    hidden = hidden_groups(constant(4000, hidden=1.0))
    mg_ii, c_iv = (~hidden[:, between(ends)].any(axis=1) for ends in (MG_II, C_IV))
    assert (mg_ii | c_iv).all()
    # Mg II is kept by 70 %; of the others, a quarter ends with the window and the rest at a uniform place beyond C III]
    ends = (3.53 - MG_II[1]) / (3.53 - C_IV[1])
    assert mg_ii.mean() == pytest.approx(0.7 + 0.3 * (0.25 + 0.75 * ends), abs=0.03)
    begins = (C_IV[0] - 3.16) / (MG_II[0] - 3.16)
    assert c_iv.mean() == pytest.approx(0.3 + 0.7 * (0.25 + 0.75 * begins), abs=0.03)


@pytest.mark.parametrize(("seen", "kept"), [((2500.0, 9e9), MG_II), ((0.0, 2300.0), C_IV)])
def test_a_spectrum_that_shows_one_of_them_keeps_that(still, seen, kept):
    """What it never showed (NaN) stays hidden, whatever the noise and the brightness."""
    source = constant(2000, hidden=1.0)
    wavelength = 10.0**LOG_WAVELENGTH
    unseen = (wavelength < seen[0]) | (wavelength > seen[1])
    source.flux[:, unseen] = source.sigma[:, unseen] = np.nan
    hidden = hidden_groups(source)
    assert hidden[:, unseen].all()
    assert not hidden[:, between(kept)].any()
    assert hidden[:, ~unseen].any(), "more is hidden"


def test_a_stretch_inside_is_hidden_beside_what_a_spectrum_keeps(still, monkeypatch):
    monkeypatch.setattr(augmentation, "HIDDEN_INSIDE", 1.0)
    hidden = hidden_groups(constant(4000, hidden=0.0))
    some = hidden.any(axis=1)
    assert 0.3 < some.mean() < 1.0  # where it would fall on what is kept, nothing is
    mg_ii, c_iv = (~hidden[:, between(ends)].any(axis=1) for ends in (MG_II, C_IV))
    assert (mg_ii | c_iv).all()
    starts = np.diff(hidden.astype(int), axis=1, prepend=0) == 1
    assert starts.sum(axis=1).max() == 1
    step = LOG_WAVELENGTH[1] - LOG_WAVELENGTH[0]
    length = hidden.sum(axis=1)[some & ~hidden[:, -1]] * step
    assert 0.01 - step <= length.min()
    assert length.max() <= 0.10 + step
    monkeypatch.setattr(augmentation, "HIDDEN_INSIDE", 0.05)
    assert 0.02 < hidden_groups(constant(4000, hidden=0.0)).any(axis=1).mean() < 0.05


def test_what_is_hidden_is_zero_and_nothing_else_is(still):
    spectra = constant(500, hidden=1.0).take(np.arange(500), rng())[0]
    assert np.isfinite(spectra).all()
    assert spectra[spectra != 0.0].mean() == pytest.approx(3.0, abs=0.05)
