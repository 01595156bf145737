"""How much of each line is seen: against a sum over pixels; a gap on the grid is that of its spectrum."""

from dataclasses import replace

import numpy as np
import pytest

from quasar_mass.core.survey import Grid
from quasar_mass.spectra import seen_lines
from quasar_mass.spectra.rest_frame import prepare
from quasar_mass.spectra.spectrum import Spectrum

Z = 1.6
CENTRES = {"CIV": 1549.06, "CIII": 1908.73, "MgII": 2798.75}
PIXEL = np.arange(35600, 40000)
REST = 10 ** (1e-4 * PIXEL) / (1 + Z)


def without(bad):
    """The outcome for a noise-free spectrum with bad pixels."""
    flux = 5.0 + np.exp(-0.5 * ((REST - 2798.75) / 18.0) ** 2)
    spectrum = Spectrum(10 ** (1e-4 * PIXEL), flux, np.where(bad, 0.0, 4.0), redshift=Z, ebv=0.0)
    return prepare(spectrum, Grid())


def weighted(bad, line):
    """Good fraction of the pixels, weighted with a normal distribution of 6,000 km/s full width at half maximum."""
    velocity = 299_792.458 * np.log(REST / CENTRES[line])
    weight = 0.5 ** ((velocity / 3000.0) ** 2)
    return 1.0 - weight[bad].sum() / weight.sum()


@pytest.mark.parametrize("line", CENTRES)
@pytest.mark.parametrize("width", [10.0, 20.0, 40.0, 80.0])
@pytest.mark.parametrize("offset", [0.0, -15.0, 30.0])
def test_the_fraction_seen_is_the_weighted_fraction_of_good_pixels(line, width, offset):
    bad = np.abs(REST - CENTRES[line] - offset) < 0.5 * width
    prepared = without(bad)
    assert prepared.rest_frame.lines_seen == pytest.approx([weighted(bad, name) for name in CENTRES], abs=0.01)
    others = [seen for name, seen in zip(CENTRES, prepared.rest_frame.lines_seen, strict=True) if name != line]
    assert others == [1.0, 1.0]


def test_several_gaps_and_pixels_that_the_file_lacks_add_up():
    bad = (np.abs(REST - 2780) < 8) | (np.abs(REST - 2810) < 8)
    expected = weighted(bad, "MgII")
    assert without(bad).rest_frame.lines_seen[2] == pytest.approx(expected, abs=0.01)
    flux, ivar = np.ones(len(PIXEL)), np.full(len(PIXEL), 4.0)
    spectrum = Spectrum(10 ** (1e-4 * PIXEL), flux, ivar, redshift=Z, ebv=0.0)
    parts = {name: getattr(spectrum, name)[~bad] for name in ("wavelength", "flux", "ivar", "mask", "pixel")}
    assert prepare(replace(spectrum, **parts), Grid()).rest_frame.lines_seen[2] == pytest.approx(expected, abs=0.01)


def test_scattered_bad_pixels_do_not_count_and_five_in_a_row_do():
    for run, counts in ((1, False), (4, False), (5, True)):
        bad = (np.arange(len(PIXEL)) % 20) < run
        assert (without(bad).rest_frame.lines_seen != [1.0, 1.0, 1.0]) == counts, run
    assert without(bad).rest_frame.lines_seen == pytest.approx([weighted(bad, line) for line in CENTRES], abs=0.02)


@pytest.mark.parametrize(("line", "beyond"), [("CIV", REST < 1540.0), ("MgII", REST > 2810.0)])
def test_of_a_line_at_an_end_of_the_spectrum_the_pixels_beyond_are_not_seen(line, beyond):
    good = np.flatnonzero(~beyond)
    seen = seen_lines.seen_fractions(1e-4 * PIXEL[good] - np.log10(1 + Z))
    assert seen == pytest.approx([weighted(beyond, name) for name in CENTRES], abs=0.003)
    assert 0.4 < seen[list(CENTRES).index(line)] < 0.8


def test_a_line_that_is_partly_missing_is_flagged_by_its_name():
    for middle, half, flags in (
        (2798.75, 3, []),
        (2798.75, 5, ["gap at Mg II"]),
        (2700, 40, []),
        (1549, 8, []),
        (1549, 10, ["gap at C IV"]),
        (1909, 10, []),
        (1909, 12, ["gap at C III]"]),
    ):
        assert without(np.abs(REST - middle) < half).flags == flags, (middle, half)
    assert without((REST > 1500) & (REST < 2000)).flags == [
        "many bad pixels",
        "gap at C IV",
        "gap at C III]",
    ]


@pytest.mark.parametrize(("low", "high"), [(2789.0, 2809.0), (1500.0, 1600.0), (2100.0, 2101.0)])
def test_a_gap_on_the_grid_is_that_of_the_spectrum(low, high):
    whole, gapped = (
        without(np.zeros(len(PIXEL), bool)),
        without(np.abs(REST - 0.5 * (low + high)) <= 0.5 * (high - low)),
    )
    ends = np.log10([low, high])
    given = seen_lines.interpolate(whole.rest_frame.flux[None], Grid(), *ends)[0]
    level = whole.rest_frame.flux.mean()
    np.testing.assert_allclose(given, gapped.rest_frame.flux, atol=0.005 * level)
    outside = (10 ** Grid().log_wavelength < low) | (10 ** Grid().log_wavelength > high)
    np.testing.assert_array_equal(given[outside], whole.rest_frame.flux[outside])
    left = 1.0 - np.array(seen_lines.hidden_fractions(*ends))
    if high - low > 5:
        np.testing.assert_allclose(left, gapped.rest_frame.lines_seen, atol=0.01)
