"""Spectra made here, with other profiles than the templates, whose lines are where the test puts them."""

import csv

import numpy as np
import pytest

from quasar_mass import virial
from quasar_mass.spectra import redshift_check
from quasar_mass.spectra.read import read as read_spectrum

C = 299_792.458
EDGES = np.arange(3.104, 3.5461, 2e-3)
CENTRES = 0.5 * (EDGES[1:] + EDGES[:-1])
WAVELENGTH = 10**CENTRES
MG_II_ALONE, C_IV_TO_C_III, WHOLE = (2600.0, 3500.0), (1400.0, 2100.0), (1300.0, 3500.0)
# wavelength, equivalent width (Angstrom), how far the wind shifts it to the blue
LINES = (
    (1397, 8, 0.5), (1549, 28, 1.0), (1640, 4, 1.0), (1663, 3, 0.5), (1858, 3, 0.0), (1892, 3, 0.1), (1909, 18, 0.1),
    (2080, 5, 0.0), (2326, 2, 0.0), (2799, 33, 0.0),
)  # fmt: skip


def spectrum(rng, velocity=0.0, width=4500.0, wind=700.0, sn=25.0, slope=-1.5, strength=1.0):
    """Flux and inverse variance of a quasar whose lines have a Lorentzian core and are moved by `velocity`."""
    flux = (WAVELENGTH / 2500) ** slope
    for wavelength, ew, blue in LINES:
        x = C * np.log(WAVELENGTH / wavelength) - velocity + blue * wind
        profile = np.exp(-np.abs(x) / (6 * width)) / (1 + (2 * x / width) ** 2)
        size = strength * ew * np.exp(0.25 * rng.standard_normal()) / np.sum(profile * WAVELENGTH * np.log(10) * 2e-3)
        flux += size * (wavelength / 2500) ** slope * profile
    # iron as two blends on either side of Mg II's continuum, 60 Angstrom in the first
    iron = np.exp(-0.5 * ((WAVELENGTH - 2500 * (1 + velocity / C)) / 90) ** 2)
    iron += 0.5 * np.exp(-0.5 * ((WAVELENGTH - 2900 * (1 + velocity / C)) / 90) ** 2)
    flux += strength * 0.25 * np.exp(0.3 * rng.standard_normal()) * iron
    error = np.median(flux) / sn * (1 + 0.5 * (WAVELENGTH > 3000))
    return flux + error * rng.standard_normal(len(flux)), error**-2.0


def sample(number, velocity=0.0, seen=WHOLE, seed=0, **properties):
    rng = np.random.default_rng(seed)
    drawn = [
        spectrum(
            rng,
            velocity,
            **{"width": rng.uniform(2500, 8000), "wind": rng.uniform(0, 2500), "slope": rng.uniform(-2, -0.5)}
            | properties,
        )
        for _ in range(number)
    ]
    flux, ivar = (np.array(values) for values in zip(*drawn, strict=True))
    return flux, np.where(np.abs(WAVELENGTH - np.mean(seen)) < np.ptp(seen) / 2, ivar, 0.0)


def flagged(flux, ivar):
    significance = redshift_check.line_offset(CENTRES, flux, ivar)[1]
    return significance > redshift_check.MIN_SIGNIFICANCE


@pytest.mark.parametrize("seen", [WHOLE, MG_II_ALONE, C_IV_TO_C_III])
def test_lines_at_the_redshift_are_not_flagged_whatever_their_widths_and_winds(seen):
    assert flagged(*sample(300, seen=seen)).mean() <= 0.02
    assert flagged(*sample(300, seen=seen, sn=8.0)).mean() <= 0.02


@pytest.mark.parametrize("seen", [WHOLE, MG_II_ALONE, C_IV_TO_C_III])
@pytest.mark.parametrize("velocity", [-10_000.0, 10_000.0])
def test_lines_elsewhere_are_found_where_they_are(seen, velocity):
    flux, ivar = sample(100, velocity, seen)
    found, significance, _ = redshift_check.line_offset(CENTRES, flux, ivar)
    assert (significance > redshift_check.MIN_SIGNIFICANCE).mean() >= 0.9
    # winds move C IV by up to 2,500 km/s more
    assert np.median(found) == pytest.approx(velocity, abs=1500 if seen == C_IV_TO_C_III else 700)


def test_small_errors_raise_no_flags_and_large_ones_do():
    for velocity, low, high in ((500.0, 0.0, 0.01), (1000.0, 0.0, 0.1), (3000.0, 0.6, 1.0), (5000.0, 0.95, 1.0)):
        assert low <= flagged(*sample(100, velocity)).mean() <= high, velocity


def test_broad_absorption_is_not_taken_for_shifted_lines():
    flux, ivar = sample(100, sn=40.0)
    rng = np.random.default_rng(1)
    for row in flux:
        middle, half = rng.uniform(-15_000, -4_000), rng.uniform(1500, 4000)
        for wavelength, depth in ((1549, 0.8), (1397, 0.5)):
            x = (C * np.log(WAVELENGTH / wavelength) - middle) / half
            row *= 1 - depth * np.exp(-(x**4))
    assert flagged(flux, ivar).mean() <= 0.04
    # nor does it hide a wrong redshift
    moved, ivar = sample(100, 10_000.0, sn=40.0)
    x = (C * np.log(WAVELENGTH / 1549) - 10_000 + 6000) / 2500
    assert flagged(moved * (1 - 0.8 * np.exp(-(x**4))), ivar).mean() >= 0.9


def test_without_lines_or_without_data_nothing_is_flagged():
    assert flagged(*sample(200, strength=0.0)).mean() <= 0.02
    flux, ivar = sample(4, 10_000.0)
    assert flagged(flux, ivar).all()
    assert not flagged(flux, 0 * ivar).any()
    assert not flagged(-flux, ivar).any()
    absurd = flux.copy()
    absurd[0], absurd[1, 50], absurd[2, 60:80] = np.nan, np.inf, 1e300
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert not flagged(absurd, ivar)[0]
        assert flagged(absurd, ivar)[[1, 3]].all()  # single bad bins do no harm, nor do other spectra


def test_neither_the_unit_nor_the_other_spectra_nor_bins_without_data_matter():
    flux, ivar = sample(150, 4000.0)
    measured = redshift_check.line_offset(CENTRES, flux, ivar)
    significance = measured[1]
    assert (significance > 0).all()
    alone = [redshift_check.line_offset(CENTRES, flux[n : n + 1], ivar[n : n + 1]) for n in (0, 149)]
    np.testing.assert_allclose(np.ravel(alone), np.ravel([[values[n] for values in measured] for n in (0, 149)]))
    scaled = redshift_check.line_offset(CENTRES, 1e40 * flux, 1e-80 * ivar)
    np.testing.assert_allclose(scaled, measured, rtol=1e-6)
    ivar[:, (CENTRES < 3.16) | (CENTRES > 3.53)] = 0.0
    inside = (CENTRES > 3.16) & (CENTRES < 3.53)
    whole = redshift_check.line_offset(CENTRES, flux, ivar)
    part = redshift_check.line_offset(CENTRES[inside], flux[:, inside], ivar[:, inside])
    np.testing.assert_allclose(whole, part, rtol=1e-6)


@pytest.mark.parametrize(
    ("seen", "sn", "found"),
    [(WHOLE, 5.0, 0.7), (WHOLE, 40.0, 0.95), (MG_II_ALONE, 40.0, 0.85), (C_IV_TO_C_III, 5.0, 0.75)],
)
def test_a_continuum_without_lines_is_flagged_and_lines_are_seen(seen, sn, found):
    def without(strength, velocity=0.0):
        flags = redshift_check.flags(
            *redshift_check.line_offset(CENTRES, *sample(200, velocity, seen, strength=strength, sn=sn))
        )
        return np.mean([words == [redshift_check.FLAG_NO_LINES] for words in flags])

    assert without(0.0) >= found
    assert without(1.0) <= 0.01
    assert without(1.0, 10_000.0) <= 0.01  # they are elsewhere, and that is flagged


def test_the_flag_says_where_the_lines_are():
    words = redshift_check.flags(
        np.array([-9765.0, 3049.0, 200.0]), np.array([20.0, 5.0, 0.0]), np.array([90.0, -8.0, 7.0])
    )
    assert words == [["lines shifted by -9,800 km/s"], ["lines shifted by +3,000 km/s"], []]


def test_real_spectra_are_flagged_where_their_redshifts_are_wrong(real_data):
    paths = sorted((real_data / "sdss").glob("*/spec-*.fits"))
    with open(real_data / "sdss" / "index.csv", newline="") as index:
        sn = {int(row["fiberid"]): float(row["sn_median_all"]) for row in csv.DictReader(index)}
    spectra = [read_spectrum(path) for path in paths if sn[int(path.stem.split("-")[-1])] > 4]
    spectra = [spectrum for spectrum in spectra if len(spectrum.pixel) > 3000]
    fractions = {}
    for error in (0, -10_000, 10_000):
        redshift = [(1 + spectrum.redshift) * np.exp(error / C) - 1 for spectrum in spectra]
        table = virial.measure(spectra, redshift=redshift)
        fractions[error] = table["FLAGS"].str.contains(redshift_check.FLAG).mean()
    print(f"\nflagged of {len(spectra)} real spectra: {fractions}")
    # one of them shows lines of another redshift than its file says; another, at z = 0.38, shows Mg II in strong iron
    assert fractions[0] <= 2.5 / len(spectra)
    assert min(fractions[-10_000], fractions[10_000]) >= 0.9
