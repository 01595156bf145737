"""Measures of emission lines against spectra made by hand, whose answers are known, and the comparison of lines."""

import re

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from scipy import stats

from quasar_mass import virial
from quasar_mass.core.constants import C_KM_S
from quasar_mass.core.errors import FileError
from quasar_mass.report import comparison_figures, figures
from quasar_mass.simulation.check import composite, emission_lines, line_comparison, statistics

WAVELENGTH = np.arange(1400.0, 3050.0, 0.25)
CIV, MGII = emission_lines.CENTRES["C IV"], emission_lines.CENTRES["Mg II"]


def continuum():
    return 3.0 * (WAVELENGTH / 2000.0) ** -1.5


def line(centre, width, fwhm, shift=0.0):
    """A Gaussian in velocity, in units of the continuum: equivalent width in Angstrom, FWHM and shift in km/s."""
    velocity = C_KM_S * np.log(WAVELENGTH / centre) - shift
    sigma = fwhm / np.sqrt(8.0 * np.log(2.0))
    step = centre * np.exp(shift / C_KM_S) / C_KM_S  # Angstrom per km/s
    return width / step * np.exp(-0.5 * (velocity / sigma) ** 2) / np.sqrt(2.0 * np.pi) / sigma


def measured(*lines):
    return emission_lines.measure(WAVELENGTH, continuum() * (1.0 + sum(lines)))


# --- measures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("centre", "name"), [(CIV, "C IV"), (MGII, "Mg II")])
@pytest.mark.parametrize("fwhm", [2000.0, 3500.0])
@pytest.mark.parametrize("shift", [-1500.0, 0.0, 400.0])
def test_width_strength_and_shift_of_a_gaussian_are_found(centre, name, fwhm, shift):
    result = measured(line(centre, 30.0, fwhm, shift))
    assert result[f"EW {name}"] == pytest.approx(30.0, rel=0.005)
    assert result[f"FWHM {name}"] == pytest.approx(fwhm, rel=0.01)
    assert result[f"shift {name}"] == pytest.approx(shift, abs=emission_lines.STEP)
    # of a Gaussian: the square root of ln 4 over ln 4/3
    assert result[f"wings {name}"] == pytest.approx(2.195, abs=0.02)
    assert result[f"base {name}"] == pytest.approx(0.0, abs=0.02)


def test_a_spectrum_without_lines_has_no_strength():
    result = measured(0.0 * WAVELENGTH)
    assert max(abs(value) for name, value in result.items() if name.startswith("EW")) < 1e-6


def test_equivalent_widths_do_not_depend_on_the_slope_or_the_scale_of_the_continuum():
    lines = 1.0 + line(CIV, 40.0, 3000.0) + line(1640.0, 4.0, 2000.0) + line(1908.0, 20.0, 4000.0)
    one = emission_lines.measure(WAVELENGTH, continuum() * lines)
    other = emission_lines.measure(WAVELENGTH, 1e40 * (WAVELENGTH / 1500.0) ** 0.4 * lines)
    for name in emission_lines.RANGES:
        assert one[f"EW {name}"] == pytest.approx(other[f"EW {name}"], rel=1e-3, abs=1e-6)
    assert one["EW He II"] == pytest.approx(4.0, abs=0.2)
    assert one["EW C III]"] == pytest.approx(20.0, rel=0.02)


def test_a_broad_base_makes_the_wings_wide_and_a_displaced_one_makes_them_lopsided():
    plain = measured(line(CIV, 25.0, 2500.0), line(CIV, 25.0, 8000.0))
    blue = measured(line(MGII, 20.0, 2500.0), line(MGII, 15.0, 5000.0, -900.0))
    red = measured(line(MGII, 20.0, 2500.0), line(MGII, 15.0, 5000.0, 900.0))
    assert plain["wings C IV"] > 2.4
    assert blue["base Mg II"] > 0.1
    assert red["base Mg II"] == pytest.approx(-blue["base Mg II"], abs=0.01)


def test_a_narrow_line_on_top_does_not_move_the_peak():
    shift = measured(line(MGII, 30.0, 4000.0), line(MGII, 0.3, 200.0, 1200.0))["shift Mg II"]
    assert shift == pytest.approx(0.0, abs=150.0)


def test_what_a_spectrum_does_not_reach_is_nan():
    seen = WAVELENGTH > 1500.0
    result = emission_lines.measure(WAVELENGTH[seen], (continuum() * (1.0 + line(MGII, 30.0, 3000.0)))[seen])
    missing = {name for name, value in result.items() if np.isnan(value)}
    assert missing == {"EW C IV", "EW He II", "EW 1585-1680 A", "FWHM C IV", "shift C IV", "wings C IV", "base C IV"}


# --- comparison -----------------------------------------------------------------------------------------------------


def test_only_what_no_sum_of_eigenspectra_gives_is_outside():
    basis = np.array([np.ones_like(WAVELENGTH), WAVELENGTH / 2000.0, 1.0 + line(CIV, 40.0, 3000.0)])
    inside = 2.0 * basis[0] + 0.5 * basis[1] + basis[2]
    median, bands = line_comparison.outside((WAVELENGTH, basis), WAVELENGTH, [inside])
    assert median < 1e-6
    bumped = inside * np.where((WAVELENGTH >= 2600.0) & (WAVELENGTH < 2620.0), 1.1, 1.0)
    median, bands = line_comparison.outside((WAVELENGTH, basis), WAVELENGTH, [bumped])
    assert max(bands, key=bands.get) == 2600.0
    assert bands[2600.0] == pytest.approx(10.0 / 1.1, rel=0.05)  # in per cent of the flux
    assert median == pytest.approx(bands[2600.0] * (20.0 / 1550.0) ** 0.5, rel=0.1)
    assert bands[2000.0] < 0.5


def test_quasars_like_a_composite_are_those_near_it_in_the_plane():
    rng = np.random.default_rng(1)
    each = pd.DataFrame({"shift C IV": rng.uniform(-2000, 500, 4000), "EW C IV": 10 ** rng.uniform(1, 2, 4000)})
    wanted = pd.Series({"shift C IV": -800.0, "EW C IV": 40.0})
    chosen = each.iloc[line_comparison._like(wanted, each)]
    assert len(chosen) > 100
    assert (chosen["shift C IV"] + 800.0).abs().max() <= 300.0
    assert np.abs(np.log10(chosen["EW C IV"] / 40.0)).max() <= 0.08
    far = line_comparison._like(pd.Series({"shift C IV": -9000.0, "EW C IV": 40.0}), each)
    assert len(far) == line_comparison.MIN_LIKE
    assert each.iloc[far]["shift C IV"].max() < each["shift C IV"].quantile(0.05)


def test_half_spread_and_fraction_of_shifts_are_those_of_a_normal_distribution():
    half, beyond = line_comparison.spread(500.0 * np.random.default_rng(1).standard_normal(100_000))
    assert half == pytest.approx(500.0, rel=0.02)
    assert beyond == pytest.approx(2.0 * stats.norm.sf(2.0), abs=0.003)


def test_a_noise_free_spectrum_is_fitted_at_the_luminosity_it_is_given():
    flux = continuum() * (1.0 + line(MGII, 30.0, 3000.0) + line(CIV, 40.0, 4500.0))
    table = virial.measure([line_comparison.as_observed(WAVELENGTH, flux)])
    assert table["LOG_L3000"][0] == pytest.approx(line_comparison.LOG_L3000, abs=0.05)
    assert table["FWHM_MgII"][0] == pytest.approx(3000.0, rel=0.1)
    assert table["FWHM_CIV"][0] == pytest.approx(4500.0, rel=0.1)


@pytest.mark.parametrize(("value", "mark"), [(4.9, "off"), (5.0, "ok"), (6.0, "ok"), (6.1, "off"), (np.nan, "off")])
def test_a_value_is_ok_within_the_range_of_its_goal(value, mark):
    row = statistics.row_within("group", "width", 9.0, value, (5.0, 6.0))
    assert (row["mark"], row["quantity"]) == (mark, "width, goal 5-6")
    assert row["real"] == 9.0


def write_composite(folder, name, flux):
    header = fits.Header({"COEFF0": 3.0414, "COEFF1": 1e-4})
    wavelength = 10.0 ** (3.0414 + 1e-4 * np.arange(4357))
    rows = np.zeros((4, 4357), np.float32)
    rows[0] = np.interp(wavelength, WAVELENGTH, flux, left=0.0)
    folder.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(rows, header).writeto(folder / f"mc_{name}.fits")


def test_a_folder_without_composites_is_compared_without_them_and_the_note_says_so(tmp_path):
    median = (WAVELENGTH, continuum() * (1.0 + line(CIV, 36.0, 5200.0)))
    table, left_out, plane = line_comparison.compare(tmp_path, median, [], [], number=12)
    assert plane is None
    assert line_comparison.COMPOSITES in left_out
    assert line_comparison.EIGENSPECTRA in left_out
    assert table["group"].unique().tolist() == ["median spectrum", "peak of Mg II"]
    assert table["real"][0] == pytest.approx(5200.0, rel=0.02)
    assert table["simulated"][:5].notna().all()


def test_composites_are_measured_and_drawn_beside_simulated_quasars(tmp_path):
    folder = tmp_path / line_comparison.COMPOSITES
    lines = {"strong": (90.0, 4000.0, -100.0), "weak": (25.0, 5500.0, -1400.0), "mean": (40.0, 5000.0, -600.0)}
    for name, (width, fwhm, shift) in lines.items():
        others = line(1640.0, 0.1 * width, 5000.0) + line(1908.0, 12.0 + 0.2 * width, 5000.0)
        others += line(MGII, 20.0 + 0.2 * width, 4000.0) + line(2450.0, 0.5 * width, 9000.0)
        write_composite(folder, name, continuum() * (1.0 + line(CIV, width, fwhm, shift) + others))
    median = (WAVELENGTH, continuum() * (1.0 + line(CIV, 36.0, 5200.0)))
    table, left_out, plane = line_comparison.compare(tmp_path, median, [], [], number=60)
    assert line_comparison.COMPOSITES not in left_out
    expected = {name: (-shift, width) for name, (width, _, shift) in lines.items()}
    for (name, *_), (blueshift, strength) in zip(plane.spectra, plane.real, strict=True):
        assert blueshift == pytest.approx(expected[name][0], abs=60.0)
        assert strength == pytest.approx(expected[name][1], rel=0.05)
    row = table[table["quantity"] == "FWHM of Mg II (km/s)"].iloc[-1]
    assert row["real"] == pytest.approx(4000.0, rel=0.03)
    assert row["group"] == "3 composites"
    assert len(plane.simulated) == 60
    figures.save(comparison_figures.lines_beside(plane.spectra, plane.real, plane.simulated), tmp_path / "lines.png")
    assert (tmp_path / "lines.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", [line_comparison.COMPOSITES + "/mc_x.fits", line_comparison.EIGENSPECTRA])
def test_a_damaged_file_is_named(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no FITS")
    read = (
        line_comparison.read_eigenspectra if name == line_comparison.EIGENSPECTRA else line_comparison.read_composites
    )
    with pytest.raises(FileError, match=re.escape(path.name)):
        read(path if name == line_comparison.EIGENSPECTRA else path.parent)


def test_real_composites_are_wide_in_c_iv(real_data):
    """Numbers of the folder of real data, as the documentation quotes them."""
    composites = line_comparison.read_composites(real_data / line_comparison.COMPOSITES)
    assert len(composites) == 33
    each = pd.DataFrame([emission_lines.measure(*spectrum) for spectrum in composites.values()])
    assert each["FWHM C IV"].median() == pytest.approx(5150.0, abs=50.0)
    median = emission_lines.measure(*composite.read_published(real_data / "reference/vandenberk2001_composite.dat"))
    assert median["EW C IV"] == pytest.approx(35.9, abs=0.2)
