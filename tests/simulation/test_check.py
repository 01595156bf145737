"""A simulated survey and real data: each statistic against an independent answer, and the comparison as a whole."""

import numpy as np
import pandas as pd
import pytest
from astropy.stats import mad_std
from scipy import stats

import get_Chen_data
from quasar_mass.core.errors import FileError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.report import comparison_figures, figures
from quasar_mass.simulation.check import comparison, composite, label_table, noise_measures, spec_files, statistics
from quasar_mass.simulation.simulated_survey import simulate
from quasar_mass.tables.build.pipeline import build


def label_frame(n=2000, seed=0, shift=0.0):
    """Quasars with known fractions: C IV labels only from z 1.55 on, a quarter of those."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(1.47, 1.8, n)
    mgii = np.round(8.6 + 0.4 * rng.standard_normal(n), 2) + shift
    civ = np.round(mgii - 0.05 + 0.4 * rng.standard_normal(n), 2)
    only_civ = (z > 1.55) & (rng.random(n) < 0.25)
    civ[(rng.random(n) < 0.3) & ~only_civ] = 0.0
    mgii[only_civ] = 0.0
    return pd.DataFrame(
        {
            "Z": z,
            "ZVI": z + 5e-4 * rng.standard_normal(n),
            "N_EPOCHS": rng.choice([1, 2, 3, 10, 64], n, p=[0.9, 0.06, 0.02, 0.01, 0.01]),
            "logMBH-Hb": 0.0,
            "logMBH-Ha-2": 0.0,
            "logMBH-MgII-2": mgii,
            "logMBH-CIV-2": civ,
            "LMBH": np.where(mgii > 0, mgii, civ),
        }
    )


@pytest.fixture(autouse=True)
def few_bootstraps(monkeypatch):
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 5)


def line(table, group, quantity):
    return table[(table["group"] == group) & (table["quantity"] == quantity)].iloc[0]


# --- label tables ---------------------------------------------------------------------------------------------------


def test_a_table_compared_with_itself_has_distance_0_and_is_ok_throughout():
    table = label_table.compare(label_frame(), label_frame())
    distances = table[table["quantity"] == "KS distance"]
    assert len(distances) == 6
    assert (distances["simulated"] == 0).all()
    assert set(table.loc[table["group"] != "objects", "mark"]) == {"ok"}


def test_masses_a_tenth_of_a_dex_up_are_off_and_redshifts_stay_ok():
    table = label_table.compare(label_frame(), label_frame(shift=0.1))
    for group in (label_table.LABEL, label_table.MGII, label_table.CIV):
        moved = table[(table["group"] == group) & table["quantity"].str.endswith(" %")]
        np.testing.assert_allclose(moved["difference"], 0.1, atol=1e-9)
        assert set(moved["mark"]) == {"off"}
    assert set(table.loc[table["group"] == label_table.Z, "mark"]) == {"ok"}
    assert line(table, label_table.LINES, "50 %")["mark"] == "ok"
    widths = {len(text) for text in statistics.text(table).splitlines() if text.endswith("off")}
    assert len(widths) == 1
    assert widths.pop() <= 120


def test_statistics_of_labels_are_those_of_scipy_astropy_and_by_hand():
    real, simulated = label_frame(seed=1), label_frame(700, seed=2, shift=0.03)
    table = label_table.compare(real, simulated)
    for frame, column in ((real, "real"), (simulated, "simulated")):
        both = frame[(frame["logMBH-MgII-2"] > 0) & (frame["logMBH-CIV-2"] > 0)]
        difference = both["logMBH-MgII-2"] - both["logMBH-CIV-2"]
        by_civ = frame[frame["logMBH-MgII-2"] == 0]
        inside = frame[(frame["Z"] >= 1.70) & (frame["Z"] < 1.75)]
        expected = {
            (label_table.Z, "16 %"): frame["Z"].quantile(0.16),
            (label_table.CIV, "50 %"): by_civ["LMBH"].median(),
            (label_table.LABEL, "skewness"): stats.moment(frame["LMBH"], 3) / frame["LMBH"].std(ddof=0) ** 3,
            (label_table.LINES, "sigma_NMAD"): mad_std(difference),
            (label_table.LINES, "correlation"): stats.pearsonr(both["logMBH-MgII-2"], both["logMBH-CIV-2"])[0],
            (label_table.ZVI, "95 %"): (frame["ZVI"] - frame["Z"]).quantile(0.95),
            (label_table.EPOCHS, "1"): (frame["N_EPOCHS"] == 1).mean(),
            (label_table.EPOCHS, "2"): (frame["N_EPOCHS"] == 2).mean(),
            (label_table.EPOCHS, "4-59"): (frame["N_EPOCHS"] == 10).mean(),
            (label_table.EPOCHS, "60+"): (frame["N_EPOCHS"] == 64).mean(),
            (label_table.CIV_FRACTION, "1.70-1.75"): (inside["logMBH-MgII-2"] == 0).mean(),
            (label_table.CIV_FRACTION, "1.50-1.55"): 0.0,
        }
        for key, value in expected.items():
            assert line(table, *key)[column] == pytest.approx(value, abs=1e-9), key
    # the distance, by the definition: largest difference of the cumulative distributions
    x = np.sort(np.concatenate([real["LMBH"], simulated["LMBH"]]))
    below = [np.searchsorted(np.sort(frame["LMBH"]), x, side="right") / len(frame) for frame in (real, simulated)]
    distance = line(table, label_table.LABEL, "KS distance")["simulated"]
    assert distance == pytest.approx(np.abs(below[0] - below[1]).max(), abs=1e-12)


# --- statistics -----------------------------------------------------------------------------------------------------


def test_error_of_a_difference_is_that_of_theory(monkeypatch):
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 100)
    n, m = 4000, 1000
    rng = np.random.default_rng(3)
    mean, median = statistics.side_by_side(
        lambda sample: {("x", "mean"): float(sample["x"].mean()), ("x", "median"): float(sample["x"].median())},
        *(pd.DataFrame({"x": rng.standard_normal(size)}) for size in (n, m)),
        {},
        seed=1,
    )
    theory = (1 / n + 1 / m) ** 0.5
    assert mean["error"] == pytest.approx(theory, rel=0.25)
    assert median["error"] == pytest.approx(theory * (np.pi / 2) ** 0.5, rel=0.25)


# --- spectrum files -------------------------------------------------------------------------------------------------


@pytest.fixture
def smooth_file(make, tmp_path):
    """A quasar at z 1.6 whose smooth flux has noise of `scale` times the reported error, smeared or not."""

    def write(scale=1.0, smear=False, outliers=0, seed=0):
        rng = np.random.default_rng(seed)
        pixel = make.first_pixel + np.arange(make.n_pixels)
        sigma = 0.2 + 0.1 * (pixel > 37500)
        noise = rng.standard_normal(make.n_pixels + 1)
        noise = (noise[1:] + noise[:-1]) / 2**0.5 if smear else noise[1:]
        flux = 3.0 * (pixel / 37500.0) ** -8 + scale * sigma * noise
        flux[: 20 * outliers : 20] += 30.0
        ivar = sigma**-2.0
        ivar[100:140] = 0.0
        and_mask = np.zeros(make.n_pixels, int)
        and_mask[4000:4100] = 1 << 23
        and_mask[4100:4150] = 1 << 19
        path = tmp_path / f"{scale}-{smear}-{outliers}-{seed}.fits"
        return make.spec(path, flux=flux, ivar=ivar, and_mask=and_mask, upper=seed % 2 == 1)

    return write


def residual_statistics(paths):
    measured = [noise_measures.measure(path, 1.6) for path in paths]
    table = spec_files.compare(measured, measured)
    bright = measured[0].signal_to_noise >= spec_files.FAINT
    group = spec_files.CHI_BRIGHT if bright else spec_files.CHI_FAINT
    return {quantity: line(table, group, quantity)["real"] for quantity in spec_files.CHI_GOALS}


def test_residuals_of_noise_as_reported_are_those_of_a_normal_distribution(smooth_file):
    result = residual_statistics([smooth_file(seed=n) for n in range(12)])
    assert result["sigma_NMAD"] == pytest.approx(1.0, abs=0.03)
    assert result["beyond 3 sigma"] == pytest.approx(2 * stats.norm.sf(3), abs=0.0008)
    assert result["beyond 5 sigma"] == 0
    # the fit takes 3 of 100 degrees of freedom: white noise comes out a little below 0
    assert result["lag-1 correlation"] == pytest.approx(-0.03, abs=0.025)


def test_residuals_show_understated_errors_outliers_and_correlated_noise(smooth_file):
    assert residual_statistics([smooth_file(scale=1.3)])["sigma_NMAD"] == pytest.approx(1.3, abs=0.08)
    # a mean of two neighbours correlates by one half
    smeared = residual_statistics([smooth_file(smear=True, seed=n) for n in range(4)])
    assert smeared["lag-1 correlation"] == pytest.approx(0.5, abs=0.05)
    spiked, plain = (noise_measures.measure(smooth_file(outliers=number), 1.6).chi for number in (200, 0))
    spiked, plain = spiked[np.isfinite(spiked)], plain[np.isfinite(plain)]
    assert (spiked > 5).mean() == pytest.approx(1 / 20, abs=0.02)
    assert mad_std(spiked) == pytest.approx(mad_std(plain), rel=0.12)


def test_noise_masks_and_extent_of_a_file_are_counted_exactly(smooth_file, make):
    measured = [noise_measures.measure(smooth_file(seed=n), 1.6) for n in range(3)]
    table = spec_files.compare(measured, measured)
    n = make.n_pixels
    expected = {
        (spec_files.MASKS, "ivar = 0"): 40 / n,
        (spec_files.MASKS, "AND BRIGHTSKY"): 100 / n,
        (spec_files.MASKS, "AND any bit"): 150 / n,
        (spec_files.EXTENT, "pixels"): n,
        (spec_files.EXTENT, "first wavelength (A)"): 10 ** (1e-4 * make.first_pixel),
        (spec_files.EXTENT, "last wavelength (A)"): 10 ** (1e-4 * (make.first_pixel + n - 1)),
    }
    for key, value in expected.items():
        assert line(table, *key)["real"] == pytest.approx(value, rel=1e-9), key
    sigma = table[table["group"] == spec_files.NOISE]
    assert len(sigma) == 16
    # the step from 0.2 to 0.3 lies at 10^3.75 = 5623 Angstrom
    assert sigma["real"].iloc[[0, 12]].tolist() == pytest.approx([0.2, 0.3], rel=1e-5)
    assert set(table["mark"]) <= {"ok", ""}


# --- the composite --------------------------------------------------------------------------------------------------


def test_a_composite_of_the_published_shape_fits_whatever_its_colour():
    wavelength = np.arange(1400.5, 3500.0)
    flux = (wavelength / 2000) ** -1.5 * (1 + 1.5 * np.exp(-0.5 * ((wavelength - 1549) / 15) ** 2))
    grid = Grid().wavelength
    x = np.log10(grid / 3000)
    tilted = np.interp(grid, wavelength, flux) * 10 ** (0.3 - 0.8 * x + 0.5 * x**2)
    same = composite.compare((wavelength, flux), tilted, 10)
    assert same["simulated"].iloc[0] < 0.1
    assert same["mark"].iloc[0] == "ok"
    # a bump of 40 % and sd 20 A: rms 0.4 sqrt(sqrt(pi) 20 / 1930), less what the correction absorbs
    bump = 1 + 0.4 * np.exp(-0.5 * ((grid - 2500) / 20) ** 2)
    bumped = composite.compare((wavelength, flux), tilted * bump, 10)
    assert bumped["simulated"].iloc[0] == pytest.approx(40 * (np.pi**0.5 * 20 / 1930) ** 0.5, rel=0.1)
    assert bumped["mark"].iloc[0] == "off"
    worst = bumped["quantity"].iloc[1:].str.extract(r"at (\d+) A")[0].astype(float)
    assert worst.iloc[0] == pytest.approx(2500, abs=5)
    assert np.diff(np.sort(worst)).min() >= composite.MIN_SEPARATION


# --- refusals -------------------------------------------------------------------------------------------------------

INDEX = "plate,mjd,fiberid,z,run2d,n_pixels\n"


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (composite.read_published, "no numbers here\n", "must have columns of wavelength and flux"),
        (label_table.read_published, "no table", "is not a Parquet table"),
        (lambda path: spec_files.read_real(path.parent), "plate,mjd\n1,2\n", "must be a CSV table with the columns"),
        (lambda path: spec_files.read_real(path.parent), INDEX + "1,2,3,x,v5_13_0,4600\n", "must be a CSV table"),
        (lambda path: spec_files.read_real(path.parent), INDEX + "1,2,3,1.5,26,3800\n", "no whole BOSS spectrum"),
    ],
)
def test_real_data_that_cannot_be_used_are_named(tmp_path, read, text, words):
    path = tmp_path / "index.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=rf"index\.csv: .*{words}"):
        read(path)


@pytest.mark.parametrize("folder", [None, "empty"])
def test_without_real_data_the_command_says_so_and_simulates_nothing(tmp_path, monkeypatch, capsys, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(comparison.VARIABLE, raising=False)
    if folder:
        monkeypatch.setenv(comparison.VARIABLE, folder)
    assert get_Chen_data.main(["simulate", "--check", "--survey", "s"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert (f"{folder}: has no {comparison.LABELS}" if folder else "is not set; set it") in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# --- a whole survey -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_survey(tmp_path_factory):
    survey = Survey(tmp_path_factory.mktemp("check") / "small")
    simulate(survey, objects=60, seed=3, quiet=True)
    build(survey, quiet=True)
    return survey


def test_a_small_survey_compared_with_real_data_twice_gives_the_same(small_survey, real_data, monkeypatch, tmp_path):
    monkeypatch.setenv(comparison.VARIABLE, str(real_data))
    monkeypatch.setattr(spec_files, "MIN_PIXELS", 4623)  # nine real files are enough here
    monkeypatch.setattr(comparison, "STACK", 20)
    monkeypatch.setattr(comparison, "SAMPLE", 6)
    first, second = (comparison.compare(small_survey, comparison.real_folder()) for _ in range(2))
    assert str(first) == str(second)
    assert max(map(len, str(first).splitlines())) <= 120
    labels = first.tables["labels"]
    assert line(labels, "objects", "number")["real"] == 30_920
    assert line(labels, label_table.LABEL, "50 %")["real"] == pytest.approx(8.63)
    assert 3 <= len(first.pairs) <= comparison.SHOWN
    for real, simulated in first.pairs:
        assert (real.spectrum.kind, simulated.spectrum.kind) == ("sdss", "simulated")
    figures.save(comparison_figures.spectra_beside(comparison.figure_panels(first.pairs)), tmp_path / "pairs.png")
    assert (tmp_path / "pairs.png").stat().st_size > 20_000
