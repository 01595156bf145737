"""Spectra that show a part of the window: where the flux is unknown, what is enough, and what is flagged."""

import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.cosmology import Planck15

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.rest_frame import (
    FLAG_LUMINOSITY,
    FLAG_NO_MGII,
    NOT_SHOWN,
    density_at_3000,
    luminosity_flags,
    median,
    prepare,
    to_rest_frame,
)
from quasar_mass.spectra.seen_lines import line_flags
from quasar_mass.spectra.spectrum import Spectrum

GRID, Z = Grid(), 1.6
MG_II, C_III, C_IV = 2798.75, 1908.73, 1549.06


def observed(make, redshift=Z, bad=None, first=None, n=None) -> Spectrum:
    """A noise-free spectrum of SDSS's wavelengths; `bad` tells bad pixels by their rest wavelength."""
    first, n = first or make.first_pixel, n or make.n_pixels
    pixel = first + np.arange(n)
    wavelength = 10 ** (1e-4 * pixel)
    ivar = np.full(n, 4.0)
    if bad is not None:
        ivar[bad(wavelength / (1 + redshift))] = 0.0
    return Spectrum(wavelength, make.smooth_flux(pixel).astype(float), ivar, redshift=redshift, ebv=0.0)


def known(spectrum) -> np.ndarray:
    """Log wavelength of its good pixels in the rest frame."""
    return 1e-4 * spectrum.pixel[spectrum.ivar > 0] - np.log10(1 + spectrum.redshift)


def partial(spectrum):
    return to_rest_frame(spectrum, spectrum.redshift, GRID, partial=True)


def whole(spectrum):
    return to_rest_frame(spectrum, spectrum.redshift, GRID)


def missing(rest) -> np.ndarray:
    return np.isnan(rest.flux)


# --- where the flux is unknown ----------------------------------------------------------------------------------------


def test_a_whole_spectrum_is_the_same_to_the_bit(make):
    """With scattered bad pixels, and as many in a row as are bridged."""
    random = np.random.default_rng(1)
    for redshift in (1.48, 1.6, 1.79):
        spectrum = observed(make, redshift)
        bad = random.random(make.n_pixels) < 0.2
        bad[2000:2102] = [False, *[True] * 100, False]
        spectrum = replace(spectrum, ivar=np.where(bad, 0.0, 4.0))
        given, expected = partial(spectrum), whole(spectrum)
        assert np.array_equal(given.flux, expected.flux)
        assert replace(given, flux=0, covered=0) == replace(expected, flux=0, covered=0)
        assert prepare(spectrum, GRID, partial=True).flags == prepare(spectrum, GRID).flags


def test_beyond_its_ends_a_spectrum_is_unknown_and_between_them_as_ever(make):
    """A spectrum of 2600 to 3200 Angstrom in the rest frame."""
    spectrum = observed(make, bad=lambda rest: (rest < 2600) | (rest > 3200))
    given, ends = partial(spectrum), known(spectrum)[[0, -1]]
    outside = (GRID.log_wavelength < ends[0]) | (GRID.log_wavelength > ends[1])
    assert np.array_equal(missing(given), outside)
    assert np.array_equal(given.flux[~outside], whole(spectrum).flux[~outside])  # its file spans the window
    assert given.covered == pytest.approx(ends, abs=1e-9)


def test_a_nearer_quasar_than_the_window_allows_is_used(make):
    """Redshift 0.7: the file begins at 2100 Angstrom in the rest frame."""
    spectrum = observed(make, 0.7)
    with pytest.raises(SpectrumError) as caught:
        whole(spectrum)
    assert caught.value.reason == "does not cover the window"
    given, log_wavelength = partial(spectrum), known(spectrum)
    expected = np.interp(GRID.log_wavelength, log_wavelength, spectrum.flux, left=np.nan)
    expected *= Planck15.luminosity_distance(0.7).value ** 2 * 1e-9
    np.testing.assert_allclose(given.flux, expected, rtol=1e-5)  # also where it is NaN
    assert missing(given).sum() == np.sum(GRID.log_wavelength < log_wavelength[0]) > 1500
    # only what it covers counts as its pixels
    assert given.n_pixels == np.sum(log_wavelength <= 3.53)
    assert given.n_bad == 0
    assert given.signal_to_noise == pytest.approx(2.0 * np.median(spectrum.flux[log_wavelength <= 3.53]))
    assert given.lines_seen == pytest.approx([0.0, 0.0, 1.0], abs=0.01)


@pytest.mark.parametrize(("length", "bridged"), [(1, True), (100, True), (101, False), (300, False)])
def test_a_hundred_bad_pixels_are_bridged_and_one_more_is_a_gap(make, length, bridged):
    spectrum = observed(make)
    start = int(np.searchsorted(spectrum.wavelength, 2300.0 * (1 + Z)))  # no line here
    inside = slice(start, start + length)
    spectrum.ivar[inside] = 0.0
    spectrum.flux[inside] = 1e6  # must not matter
    given, expected = partial(spectrum), whole(spectrum)
    edges = 1e-4 * spectrum.pixel[[start - 1, start + length]] - np.log10(1 + Z)
    gap = (GRID.log_wavelength > edges[0]) & (GRID.log_wavelength < edges[1])
    if bridged:
        assert np.array_equal(given.flux, expected.flux)
        level = spectrum.flux[[start - 1, start + length]] * Planck15.luminosity_distance(Z).value ** 2 * 1e-9
        np.testing.assert_allclose(given.flux[gap], np.interp(GRID.log_wavelength[gap], edges, level), rtol=1e-5)
    else:
        assert np.array_equal(missing(given), gap)
        assert np.array_equal(given.flux[~gap], expected.flux[~gap])
    assert gap.sum() == pytest.approx(length, abs=1)
    assert given.n_bad == length


def test_pixels_that_the_file_lacks_are_a_gap_too(make):
    spectrum = observed(make)
    keep = (spectrum.wavelength < 2300 * (1 + Z)) | (spectrum.wavelength > 2370 * (1 + Z))
    parts = {name: getattr(spectrum, name)[keep] for name in ("wavelength", "flux", "ivar", "mask")}
    dead = replace(spectrum, ivar=np.where(keep, 4.0, 0.0))
    assert np.array_equal(missing(partial(replace(spectrum, **parts))), missing(partial(dead)))
    assert 128 < missing(partial(dead)).sum() < 133  # 70 Angstrom


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("pixels", "filled"), [(1.5, True), (99.5, True), (101.5, False)])
def test_an_end_of_the_window_that_is_just_missed_is_filled(make, side, pixels, filled):
    """With the nearest good value, as bad pixels at an end are."""
    edge = (3.16, 3.53)[side == -1]
    middle = 37600 + 0.5  # the window's edge lies between two pixels
    redshift = 10 ** (1e-4 * middle - edge) - 1
    if side == 1:
        spectrum = observed(make, redshift, first=int(middle + pixels), n=3900)
    else:
        last = int(middle - pixels)
        spectrum = observed(make, redshift, first=last - 3899, n=3900)
    given = partial(spectrum)
    beyond = slice(0, int(pixels)) if side == 1 else slice(GRID.size - int(pixels), GRID.size)
    if filled:
        assert not missing(given).any()
        nearest = spectrum.flux[0 if side == 1 else -1] * Planck15.luminosity_distance(redshift).value ** 2 * 1e-9
        np.testing.assert_allclose(given.flux[beyond], nearest, rtol=1e-5)
    else:
        assert missing(given)[beyond].all()
        assert missing(given).sum() <= int(pixels) + 1


# --- what is enough ---------------------------------------------------------------------------------------------------


def reason(spectrum) -> str:
    prepared = prepare(spectrum, GRID, partial=True)
    assert (prepared.rest_frame is None) == bool(prepared.error)
    return prepared.error.reason if prepared.error else ""


@pytest.mark.parametrize(
    ("seen", "enough"),
    [
        ((2699, 2901), True),
        ((2703, 2901), False),
        ((2699, 2897), False),
        ((1499, 1951), True),
        ((1503, 1951), False),
        ((1499, 1947), False),
        ((1499, 1800), False),  # C IV alone
        ((1700, 2100), False),  # C III] alone
        ((1960, 2690), False),
        ((1446, 2690), True),
    ],
)
def test_mg_ii_or_c_iv_and_c_iii_are_enough(make, seen, enough):
    spectrum = observed(make, bad=lambda rest: (rest < seen[0]) | (rest > seen[1]))
    assert reason(spectrum) == ("" if enough else NOT_SHOWN)


def around(line, kms):
    return lambda rest: np.abs(299_792.458 * np.log(rest / line)) < kms


def both(*conditions):
    return lambda rest: np.any([condition(rest) for condition in conditions], axis=0)


def test_a_line_that_is_lost_in_a_gap_is_not_seen(make):
    """Of a normal distribution of 6,000 km/s full width at half maximum, the central 3,436 km/s hold a half."""
    lost, left = 2_100.0, 1_350.0  # km/s to either side: 59 and 40 % hidden
    red_end = lambda rest: rest < 2500  # noqa: E731 - C IV and C III] are not seen
    for half, expected in ((lost, NOT_SHOWN), (left, "")):
        assert reason(observed(make, bad=both(red_end, around(MG_II, half)))) == expected
    blue_end = lambda rest: rest > 2500  # noqa: E731
    for line in (C_IV, C_III):
        for half, expected in ((lost, NOT_SHOWN), (left, "")):
            assert reason(observed(make, bad=both(blue_end, around(line, half)))) == expected


def test_a_spectrum_without_mg_ii_is_used_and_flagged(make):
    for bad, flags in (
        (lambda rest: rest > 2500, [FLAG_NO_MGII]),  # beyond its end: no gap
        (around(MG_II, 2_100.0), ["gap at Mg II", FLAG_NO_MGII]),
        (around(MG_II, 1_350.0), ["gap at Mg II"]),
        (lambda rest: rest < 2500, []),  # nor are C IV and C III] gaps
    ):
        spectrum = observed(make, bad=bad)
        prepared = prepare(spectrum, GRID, partial=True)
        assert prepared.reason == ""
        assert prepared.flags == flags
        assert FLAG_NO_MGII not in prepare(spectrum, GRID).flags


def test_a_refusal_says_what_is_shown_and_what_would_be_enough(make):
    for redshift, shown in ((4.9, r"60\d-170\d"), (0.30, r"274\d-7\d\d\d")):
        prepared = prepare(observed(make, redshift), GRID, partial=True)
        assert prepared.error.reason == NOT_SHOWN
        start = f"{re.escape(NOT_SHOWN)}: shows {shown} Angstrom in the rest frame at redshift {redshift:.4f}; "
        assert re.match(start, prepared.reason)
        assert "; Mg II needs 2700-2900, C IV with C III] needs 1500-1950; at redshifts " in prepared.reason
        assert "gap" not in prepared.reason
    short = observed(make, first=37000, n=300)  # too short for either
    assert prepare(short, GRID, partial=True).reason.endswith("; it is too short at any redshift")


def test_a_refusal_says_at_which_redshifts_the_file_would_be_enough(make):
    """Good pixels from 3564.5 to 10,044 Angstrom over 2700, 2900, 1500 and 1950: 0.320 to 2.463, 1.376 to 4.151."""
    for redshift in (0.02, 0.30, 4.9, 7.0):
        prepared = prepare(observed(make, redshift), GRID, partial=True)
        assert prepared.reason.endswith("; at redshifts 0.33 to 4.15 it would show one of them")
    for redshift in (0.33, 4.15):
        assert reason(observed(make, redshift)) == ""


def test_a_refusal_for_gaps_says_where_they_are(make):
    """1445 to 3388 Angstrom are seen, at 1.6, but for what is bad."""
    near = both(around(C_IV, 3_000.0), around(MG_II, 5_000.0))
    text = prepare(observed(make, 1.6, bad=near), GRID, partial=True).reason
    assert text.endswith(" at redshift 1.6000, with large gaps at Mg II and at C IV with C III]")
    text = prepare(observed(make, 1.6, bad=both(lambda rest: rest < 2000, near)), GRID, partial=True).reason
    assert text.endswith(" at redshift 1.6000, with large gaps at Mg II; C IV with C III] needs 1500-1950")


def test_no_good_pixel_in_the_window_is_told_from_none_at_all(make):
    assert reason(observed(make, 0.02)) == NOT_SHOWN  # 3501 Angstrom and more
    assert reason(observed(make, 7.0)) == NOT_SHOWN
    assert reason(observed(make, bad=lambda rest: rest > 0)) == "no good pixels"
    assert reason(observed(make, np.nan)) == "no redshift"


# --- gaps and ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("covered", "flags"),
    [
        ((3.16, 3.53), ["gap at C IV", "gap at C III]", "gap at Mg II"]),
        ((3.20, 3.53), ["gap at C III]", "gap at Mg II"]),
        ((3.16, 3.30), ["gap at C IV", "gap at C III]"]),
        # half of 6,000 km/s, 0.00435 dex, must lie between the line (3.44696) and an end
        ((3.4424, 3.53), ["gap at Mg II"]),
        ((3.4428, 3.53), []),
        ((3.29, 3.4515), ["gap at Mg II"]),
        ((3.29, 3.4511), []),
    ],
)
def test_a_line_beyond_the_ends_is_no_gap(covered, flags):
    assert line_flags([0.1, 0.1, 0.1], covered) == flags
    assert line_flags([1.0, 1.0, 1.0], covered) == []


# --- luminosity -------------------------------------------------------------------------------------------------------


def power_law(n=1) -> np.ndarray:
    """The slope of Vanden Berk's composite, 1 at 3000 Angstrom."""
    return np.tile((GRID.wavelength / 3000.0) ** -1.54, (n, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("red_end", "window"),
    [(3400, (2950, 3050)), (2900, (2650, 2690)), (2600, (2150, 2230)), (2100, (1975, 2050)), (1900, (1685, 1715))],
)
def test_luminosity_at_3000_comes_from_the_reddest_window_seen(red_end, window):
    flux = power_law()
    inside = (GRID.wavelength >= window[0]) & (GRID.wavelength <= window[1])
    flux[:, inside] *= 2.0  # this window counts, and no other
    flux[:, GRID.wavelength > red_end] = np.nan
    assert density_at_3000(flux, GRID)[0] == pytest.approx(2.0, rel=2e-3)
    if window[0] == 2950:
        assert density_at_3000(flux, GRID)[0] == np.median(flux[0, inside])


def test_luminosity_is_each_spectrum_s_own_and_unknown_where_no_window_is_seen():
    flux = np.concatenate([power_law(), 3.0 * power_law(), power_law(), -power_law()])
    flux[0, GRID.wavelength > 2940] *= 2.0
    flux[1, GRID.wavelength > 2100] = np.nan
    flux[2, GRID.wavelength > 1600] = np.nan
    np.testing.assert_allclose(density_at_3000(flux, GRID), [2.0, 3.0, np.nan, -1.0], rtol=2e-3)


def test_a_window_of_which_little_is_seen_does_not_count():
    """A spectrum that ends at 2952 Angstrom, whose last pixels are noise."""
    flux = power_law()
    flux[:, GRID.wavelength > 2950] = -5.0
    flux[:, GRID.wavelength > 2952] = np.nan
    assert density_at_3000(flux, GRID)[0] == pytest.approx(1.0, rel=2e-3)


def test_the_luminosity_of_no_quasar_is_flagged_in_partial_spectra():
    typical = 0.4 * power_law()[0]
    for factor, flags in ((1.0, []), (1e4, [FLAG_LUMINOSITY]), (1e-6, [FLAG_LUMINOSITY])):
        partly = np.where(GRID.wavelength > 2600, np.float32(np.nan), factor * typical)
        assert luminosity_flags(partly, Z, GRID) == flags
    nothing = np.where(GRID.wavelength > 1600, np.float32(np.nan), 1e4 * typical)
    assert luminosity_flags(nothing, Z, GRID) == []  # not known


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize("shape", [(7,), (1,), (40, 9), (40, 10), (3, 5, 8), (4, 1500), (4, 1501)])
def test_the_median_leaves_out_what_is_unknown(shape):
    random = np.random.default_rng(2)
    for share in (0.0, 0.3, 0.95):
        values = random.normal(size=shape)
        values[random.random(shape) < share] = np.nan
        np.testing.assert_allclose(median(values), np.nanmedian(values, axis=-1), rtol=1e-12)
    assert np.isnan(median(np.full((2, 4), np.nan))).all()
