"""The simulated quasar: its lines have exactly the width asked for, and its population is the published one."""

import dataclasses

import numpy as np
import pytest

from quasar_mass import virial
from quasar_mass.core.constants import KM_S_PER_DEX
from quasar_mass.simulation import labels
from quasar_mass.simulation.quasar import absorption, intrinsic, profiles
from quasar_mass.spectra import iron

FINE = 3.13 + 1e-4 * np.arange(4560)  # log10 Angstrom: 1349 A to 3854 A


@pytest.fixture(scope="module")
def drawn():
    """A population at one redshift."""
    return [intrinsic.draw(np.random.default_rng([17, n]), 1.65) for n in range(3000)]


def values(drawn, quantity):
    return np.array([quantity(quasar) for quasar in drawn])


def correlation(x, y):
    return np.corrcoef(x, y)[0, 1]


def width_at_half_maximum(velocity, profile):
    """Between the outermost half maxima, by linear interpolation, independently of the package."""
    half = 0.5 * profile.max()
    above = np.flatnonzero(profile >= half)
    first, last = above[0], above[-1]
    left = np.interp(half, profile[first - 1 : first + 1], velocity[first - 1 : first + 1])
    right = np.interp(-half, -profile[last : last + 2], velocity[last : last + 2])
    return right - left


def profile_of(gaussians, velocity):
    weights, means, sigmas = (np.asarray(part)[:, None] for part in gaussians)
    each = np.exp(-0.5 * ((velocity - means) / sigmas) ** 2)
    return np.sum(weights / sigmas * each, axis=0) / np.sqrt(2 * np.pi)


# --- profiles ---------------------------------------------------------------------------------------------------------

KINDS = {
    "gaussian": ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.5, 3.0)),
    "strong base": ((0.35, 0.25, 0.40), (0.0, 0.0, 0.0), (1.0, 2.2, 5.5)),
    "blue wing": ((0.55, 0.25, 0.20), (0.0, -1.2, -2.5), (1.0, 1.8, 3.0)),
    "red wing": ((0.60, 0.30, 0.10), (0.0, 0.9, 1.5), (1.0, 1.5, 4.0)),
    "boxy": ((0.45, 0.45, 0.10), (-0.8, 0.8, 0.3), (1.0, 1.0, 3.0)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fwhm", [1600.0, 4000.0, 12_000.0])
@pytest.mark.parametrize("offsets", [(0.0,), (0.0, 498.0), (0.0, 769.0)])
def test_a_profile_of_any_kind_has_exactly_the_width_asked_for_and_unit_flux(kind, fwhm, offsets):
    velocity = np.arange(-200_000.0, 200_000.0, 2.0)
    gaussians = profiles.with_fwhm(profiles.to_unit_width(np.array(KINDS[kind])), fwhm, offsets)
    profile = profile_of(gaussians, velocity)
    assert width_at_half_maximum(velocity, profile) == pytest.approx(fwhm, rel=1e-4)
    assert 2.0 * profile.sum() == pytest.approx(1.0, abs=1e-6)


def test_every_drawn_profile_has_the_width_asked_for_and_they_differ_in_shape():
    rng = np.random.default_rng(3)
    velocity = np.arange(-60_000.0, 60_000.0, 4.0)
    tails, skews = [], []
    for n in range(300):
        fwhm = 10 ** rng.uniform(3.21, 4.2)
        shape = profiles.draw_shape(rng, blue=0.8 * (n % 2))
        assert shape[0].sum() == pytest.approx(1.0)
        assert (shape[0] >= 0).all()
        profile = profile_of(profiles.with_fwhm(profiles.to_unit_width(shape), fwhm, (0.0, 769.0)), velocity)
        assert width_at_half_maximum(velocity, profile) == pytest.approx(fwhm, rel=2e-4)
        sum_ = np.cumsum(profile) / profile.sum()
        low, quarter, median, three, high = np.interp((0.05, 0.25, 0.5, 0.75, 0.95), sum_, velocity)
        tails.append((high - low) / (three - quarter))
        skews.append(((high - median) - (median - low)) / (high - low))
    assert min(tails) < 2.4  # a Gaussian has 2.44
    assert max(tails) > 4.0
    assert np.percentile(skews, 5) < -0.1
    assert np.percentile(skews, 95) > 0.05


# --- the spectrum -----------------------------------------------------------------------------------------------------


def test_a_spectrum_carries_the_luminosities_widths_and_so_the_mass_that_were_drawn(drawn):
    log_wavelength = 1e-4 * np.arange(31_200, 36_200)  # 1318 A to 4169 A
    wavelength = 10.0**log_wavelength
    for quasar in drawn[:15]:
        parts = intrinsic.components(quasar, log_wavelength)
        for line, at, true in (("MgII", 3000.0, quasar.log_l3000), ("CIV", 1350.0, quasar.log_l1350)):
            luminosity = np.log10(at * np.interp(at, wavelength, parts["power law"]))
            assert luminosity == pytest.approx(true, abs=1e-4)
            alone = parts[line] / parts["power law"] * wavelength**quasar.own_slope  # not tilted by dust and bend
            width = width_at_half_maximum(KM_S_PER_DEX * log_wavelength, alone)
            assert width == pytest.approx(quasar.fwhm[line], rel=0.03)
            flux = np.sum(parts[line] * wavelength) * np.log(10.0) * 1e-4
            centre = intrinsic.LINES[line].wavelengths[0]
            equivalent = flux / np.interp(centre, wavelength, parts["power law"])
            assert equivalent == pytest.approx(quasar.equivalent_width[line], rel=0.12)
            mass = virial.mass(line, luminosity, width)
            assert mass == pytest.approx(virial.mass(line, true, quasar.fwhm[line]), abs=0.03)
        assert intrinsic.luminosity_at(1350.0, quasar.log_l3000, quasar.slope) == pytest.approx(quasar.log_l1350)


def test_the_spectrum_is_the_sum_of_its_parts_times_the_transmission_and_positive(drawn):
    for quasar in drawn[:40]:
        parts = intrinsic.components(quasar, FINE)
        assert set(parts) == {"power law", "balmer", "iron", "narrow", *intrinsic.LINES}
        assert all((part >= 0).all() for part in parts.values())
        transmitted = absorption.transmission(quasar.absorption, FINE)
        assert transmitted.min() >= 0
        assert transmitted.max() <= 1
        density = intrinsic.luminosity_density(quasar, FINE)
        np.testing.assert_allclose(density, np.sum(list(parts.values()), axis=0) * transmitted, rtol=1e-12)
        assert np.isfinite(density).all()
        assert (density > 0).all()


def test_any_grid_gives_the_same_quasar(drawn):
    coarse = FINE.reshape(-1, 4).mean(axis=1)
    for quasar in drawn[:40]:
        fine = intrinsic.luminosity_density(quasar, FINE).reshape(-1, 4).mean(axis=1)
        ratio = intrinsic.luminosity_density(quasar, coarse) / fine
        assert np.median(np.abs(ratio - 1)) < 1e-3
        assert np.percentile(np.abs(ratio - 1), 97) < 0.03  # the flanks of narrow lines
        if quasar.fwhm["MgII"] < 2500.0:
            continue  # so narrow that the straight line between two pixels is not the profile
        shifted = intrinsic.components(quasar, FINE + 0.37e-4)
        still = intrinsic.components(quasar, FINE)
        for name in ("iron", "MgII", "power law"):
            expected = np.interp(FINE[:-1] + 0.37e-4, FINE, still[name])
            np.testing.assert_allclose(shifted[name][:-1], expected, atol=5e-3 * still[name].max())


def test_dust_reddens_and_leaves_the_luminosity_that_was_drawn(drawn):
    quasar = dataclasses.replace(drawn[0], reddening=0.0)
    dusty = dataclasses.replace(quasar, reddening=0.1)
    ratio = intrinsic.components(dusty, FINE)["power law"] / intrinsic.components(quasar, FINE)["power law"]
    assert np.interp(np.log10(3000.0), FINE, ratio) == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(ratio) > 0).all()
    assert np.interp(np.log10(1500.0), FINE, ratio) == pytest.approx(0.496, abs=0.005)  # 10**(-0.04 * 7.6)


# --- iron -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "without",
    [{}, {"iron_waves": np.zeros((2, intrinsic.IRON_WAVES[1]))}, {"iron_groups": np.ones(iron.GROUPS)}],
    ids=["all", "no waves", "no groups"],
)
def test_no_quasar_has_just_the_iron_that_is_fitted(drawn, without):
    misfits = []
    for quasar in drawn[:60]:
        own = intrinsic.components(dataclasses.replace(quasar, **without), FINE)["iron"]
        template = iron.emission(quasar.iron_fwhm, FINE)
        used = 10**FINE > 2000
        best = template * (own[used] @ template[used]) / (template[used] @ template[used])
        misfits.append(np.sqrt(np.mean((own - best)[used] ** 2) / np.mean(own[used] ** 2)))
    assert min(misfits) > 0.02
    assert 0.08 < np.median(misfits) < 0.4
    template = iron.emission(3000.0, FINE)
    np.testing.assert_allclose(iron.emission(3000.0, FINE, np.ones(iron.GROUPS)), template, atol=1e-9 * template.max())


# --- the population ---------------------------------------------------------------------------------------------------


def test_lines_depend_on_luminosity_wind_and_eddington_ratio_as_published(drawn):
    def log(which, name):
        return values(drawn, lambda quasar: np.log10(getattr(quasar, which)[name]))

    log_l1350 = values(drawn, lambda quasar: quasar.log_l1350)
    blueshift = values(drawn, lambda quasar: -quasar.shift["CIV"])
    eddington = values(drawn, lambda quasar: quasar.eddington)
    iron_strength = values(drawn, lambda quasar: np.log10(quasar.iron_equivalent_width))
    civ = log("equivalent_width", "CIV")
    assert correlation(civ, log_l1350) < -0.2  # Baldwin 1977
    assert correlation(civ, blueshift) < -0.3  # Richards et al. 2011
    assert correlation(log("fwhm", "CIV"), blueshift) > 0.1
    assert correlation(log_l1350, blueshift) > 0.05
    assert correlation(log("fwhm", "MgII"), iron_strength) < -0.15  # Shen & Ho 2014
    assert correlation(log("equivalent_width", "MgII"), eddington) < -0.1  # Dong et al. 2009
    assert 0.08 < np.std(log("fwhm", "CIII]") - log("fwhm", "MgII")) < 0.16
    assert 0.15 < np.std(civ) < 0.28


def test_true_masses_have_the_mean_and_correlation_behind_the_labels(drawn):
    mgii = values(drawn, lambda quasar: virial.mass("MgII", quasar.log_l3000, quasar.fwhm["MgII"]))
    civ = values(drawn, lambda quasar: labels.true_masses(quasar)["CIV"])
    assert np.mean(mgii) == pytest.approx(8.63, abs=0.08)
    assert np.mean(civ) == pytest.approx(8.51, abs=0.08)
    assert correlation(mgii, civ) == pytest.approx(0.63, abs=0.12)


# --- absorption -------------------------------------------------------------------------------------------------------


def test_fractions_of_absorbed_quasars_are_as_published(drawn):
    bal = values(drawn, lambda quasar: quasar.balnicity)
    assert 0.10 < np.mean(bal > 0) < 0.15
    assert bal.max() < 22_000
    low = [absorption.is_low_ionization(quasar.absorption) for quasar in drawn if quasar.balnicity > 0]
    assert 0.05 < np.mean(low) < 0.17
    reddening = values(drawn, lambda quasar: quasar.reddening)
    assert np.mean(reddening < 0.05) > 0.8
    assert 0.1 < reddening.max() <= intrinsic.MAX_REDDENING
    assert np.mean(reddening[bal > 0]) > np.mean(reddening[bal == 0])


def test_a_trough_has_its_velocities_depth_and_balnicity():
    trough = absorption.Trough(1549.06, -12_000.0, -6_000.0, 0.8, 4.0, (0.0, 1.0, 0.0))
    absorbs = absorption.Absorption((trough,), np.zeros((0, 3)))
    velocity = KM_S_PER_DEX * (FINE - np.log10(1549.06))
    transmitted = absorption.transmission(absorbs, FINE)
    assert np.interp((-9000.0, -12_000.0, -6000.0, -1000.0), velocity, transmitted) == pytest.approx(
        [0.2, 0.6, 0.6, 1.0], abs=0.01
    )
    # (1 - f / 0.9) over the trough, without the first 2,000 km/s: between 0.78 of 4,000 km/s and what the edges add
    assert 2000 < absorption.balnicity(absorbs) < 4000
    assert absorption.balnicity(absorption.Absorption((), np.zeros((0, 3)))) == 0


@pytest.mark.parametrize("step", [1e-4, 4e-4])
def test_a_narrow_line_takes_out_its_equivalent_width_on_any_grid(step):
    log_wavelength = np.arange(3.2, 3.3, step)
    absorbs = absorption.Absorption((), np.array([[1800.0, 100.0, 90.0]]))
    transmitted = absorption.transmission(absorbs, log_wavelength)
    assert np.sum(1 - transmitted) * KM_S_PER_DEX * step == pytest.approx(100.0, rel=0.02)


# --- real quasars -----------------------------------------------------------------------------------------------------


def test_the_median_of_many_quasars_follows_the_composite_of_the_sdss(real_data):
    """Vanden Berk et al. 2001: their median composite, up to a smooth curve for the continuum's slope."""
    table = np.genfromtxt(real_data / "reference" / "vandenberk2001_composite.dat", skip_header=1)
    log_wavelength = np.arange(3.155, 3.535, 4e-4)
    wavelength = 10.0**log_wavelength
    level = (wavelength > 2160) & (wavelength < 2230)
    spectra = []
    for n in range(500):
        rng = np.random.default_rng([29, n])
        density = intrinsic.luminosity_density(intrinsic.draw(rng, rng.uniform(1.46, 1.80)), log_wavelength)
        spectra.append(density / np.mean(density[level]))
    used = (wavelength > 1450) & (wavelength < 3380)
    ratio = np.log(np.median(spectra, axis=0) / np.interp(wavelength, table[:, 0], table[:, 1]))[used]
    smooth = np.polynomial.Polynomial.fit(log_wavelength[used], ratio, 2)(log_wavelength[used])
    off = np.expm1(ratio - smooth)
    assert np.sqrt(np.mean(off**2)) < 0.03
    assert np.abs(off).max() < 0.15  # beside C IV, narrower here than in the composite's brighter quasars
    assert np.sqrt(np.mean(off[wavelength[used] > 1590] ** 2)) < 0.02
    for first, last in ((1880, 1930), (2400, 2640), (2770, 2830)):  # C III], iron, Mg II: by their fluxes
        assert abs(np.mean(off[(wavelength[used] > first) & (wavelength[used] < last)])) < 0.04
