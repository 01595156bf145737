"""A simulated survey beside real data: each statistic against an independent answer, and the report as a whole."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.stats import mad_std
from scipy import stats

import get_Chen_data
from quasar_mass.core.errors import FileError, SpectrumError, SurveyError, TableError
from quasar_mass.core.survey import Grid, Survey
from quasar_mass.report import figures
from quasar_mass.simulation.check import comparison, composite, label_table, noise_measures, spec_files, statistics
from quasar_mass.simulation.simulated_survey import simulate
from quasar_mass.spectra.read import read as read_spectrum


def label_frame(n=2000, seed=0, shift=0.0):
    """Quasars with known shares: C IV labels only from z 1.55 on, a quarter of those."""
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


def line(table, group, quantity):
    return table[(table["group"] == group) & (table["quantity"] == quantity)].iloc[0]


def test_a_table_beside_itself_has_distance_0_and_is_ok_throughout():
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
            (label_table.LINES, "robust scatter"): mad_std(difference),
            (label_table.LINES, "correlation"): stats.pearsonr(both["logMBH-MgII-2"], both["logMBH-CIV-2"])[0],
            (label_table.ZVI, "95 %"): (frame["ZVI"] - frame["Z"]).quantile(0.95),
            (label_table.EPOCHS, "1"): (frame["N_EPOCHS"] == 1).mean(),
            (label_table.EPOCHS, "2"): (frame["N_EPOCHS"] == 2).mean(),
            (label_table.EPOCHS, "4-59"): (frame["N_EPOCHS"] == 10).mean(),
            (label_table.EPOCHS, "60+"): (frame["N_EPOCHS"] == 64).mean(),
            (label_table.CIV_SHARE, "1.70-1.75"): (inside["logMBH-MgII-2"] == 0).mean(),
            (label_table.CIV_SHARE, "1.50-1.55"): 0.0,
        }
        for key, value in expected.items():
            assert line(table, *key)[column] == pytest.approx(value, abs=1e-9), key
    # the distance, by the definition: largest difference of the cumulative distributions
    x = np.sort(np.concatenate([real["LMBH"], simulated["LMBH"]]))
    below = [np.searchsorted(np.sort(frame["LMBH"]), x, side="right") / len(frame) for frame in (real, simulated)]
    found = line(table, label_table.LABEL, "KS distance")["simulated"]
    assert found == pytest.approx(np.abs(below[0] - below[1]).max(), abs=1e-12)


def test_a_label_from_a_higher_line_is_neither_mgii_s_nor_civ_s():
    frame = label_frame(200)
    frame.loc[:49, ["logMBH-Hb", "LMBH"]] = 9.0
    groups = label_table._groups(label_table._arrays(frame))
    labelled = len(groups[label_table.MGII]) + len(groups[label_table.CIV])
    assert labelled == 150


def test_error_of_a_difference_is_that_of_theory():
    n, m = 4000, 1000
    rng = np.random.default_rng(3)
    samples = ((rng.standard_normal(n), n), (rng.standard_normal(m), m))
    found = statistics.side_by_side(
        lambda sample: {("x", "mean"): float(sample.mean()), ("x", "median"): float(np.median(sample))},
        lambda sample, index: sample[index],
        samples,
        lambda *_: np.nan,
        seed=1,
    )
    theory = (1 / n + 1 / m) ** 0.5
    assert found[0]["error"] == pytest.approx(theory, rel=0.25)
    assert found[1]["error"] == pytest.approx(theory * (np.pi / 2) ** 0.5, rel=0.25)


def test_average_distance_of_equal_populations_is_the_error_given():
    rng = np.random.default_rng(4)
    pairs = [(rng.standard_normal(400), rng.standard_normal(300)) for _ in range(200)]
    found = [statistics.distance("x", *pair, 0.05) for pair in pairs]
    assert np.mean([one["simulated"] for one in found]) == pytest.approx(found[0]["error"], rel=0.06)


def test_marks():
    assert statistics.row("", "", 1.0, 1.05, 0.05)["mark"] == "ok"
    assert statistics.row("", "", 1.0, 0.94, 0.05)["mark"] == "off"
    assert statistics.row("", "", 1.0, np.nan, 0.05)["mark"] == "off"
    assert statistics.row("", "", 1.0, 9.0)["mark"] == ""


def test_printed_tables_are_aligned_and_at_most_120_wide():
    lines = statistics.text(label_table.compare(label_frame(300), label_frame(200, seed=5))).splitlines()
    assert max(map(len, lines)) <= 120
    ends = {
        one.rindex(" ok") if one.endswith(" ok") else one.rindex(" off") for one in lines if one[-2:] in ("ok", "ff")
    }
    assert len(ends) == 1


@pytest.fixture
def smooth_file(make, tmp_path):
    """A quasar at z 1.6 whose smooth flux has noise of `scale` times the reported error, smeared or not."""

    def write(scale=1.0, smear=False, outliers=0, seed=0, **other):
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
        columns = {"flux": flux, "ivar": ivar, "and_mask": and_mask} | other
        return make.spec(path, **columns, upper=seed % 2 == 1)

    return write


def residual_statistics(paths):
    found = [noise_measures.measure(path, 1.6) for path in paths]
    table = spec_files.compare(found, found)
    group = spec_files.CHI_BRIGHT if found[0].signal_to_noise >= spec_files.FAINT else spec_files.CHI_FAINT
    return {q: line(table, group, q)["real"] for q in spec_files.CHI_GOALS}


def test_residuals_of_noise_as_reported_are_those_of_a_normal_distribution(smooth_file):
    found = residual_statistics([smooth_file(seed=n) for n in range(12)])
    assert found["robust sd"] == pytest.approx(1.0, abs=0.03)
    assert found["beyond 3 sigma"] == pytest.approx(2 * stats.norm.sf(3), abs=0.0008)
    assert found["beyond 5 sigma"] == 0
    # the fit takes 3 of 100 degrees of freedom: white noise comes out a little below 0
    assert found["lag-1 correlation"] == pytest.approx(-0.03, abs=0.025)


def test_residuals_show_understated_errors_outliers_and_correlated_noise(smooth_file):
    assert residual_statistics([smooth_file(scale=1.3)])["robust sd"] == pytest.approx(1.3, abs=0.08)
    # a mean of two neighbours correlates by one half
    smeared = residual_statistics([smooth_file(smear=True, seed=n) for n in range(4)])
    assert smeared["lag-1 correlation"] == pytest.approx(0.5, abs=0.05)
    spiked = noise_measures.measure(smooth_file(outliers=200), 1.6)
    plain = noise_measures.measure(smooth_file(), 1.6)
    used = [~np.isnan(one.chi) for one in (spiked, plain)]
    assert (spiked.chi[used[0]] > 5).mean() == pytest.approx(1 / 20, abs=0.02)
    assert mad_std(spiked.chi[used[0]]) == pytest.approx(mad_std(plain.chi[used[1]]), rel=0.12)


def test_residuals_leave_lines_and_bad_pixels_out(smooth_file):
    path = smooth_file()
    spectrum = read_spectrum(path)
    chi = noise_measures.residuals(spectrum, 1.6)
    rest = 10.0 ** (1e-4 * spectrum.pixel) / 2.6
    room = sum(int(((rest >= low) & (rest <= high)).sum()) // 100 for low, high in noise_measures.SMOOTH)
    assert room - 2 <= len(chi) <= room
    wavelengths = (1549.06, 1640.42, 1908.73, 2326.44, 2798.75)
    assert not any(low < one < high for one in wavelengths for low, high in noise_measures.SMOOTH)
    with fits.open(path, memmap=False) as spoiled:
        spoiled[1].data["flux"][~spectrum.good] = 1e6
        spoiled.writeto(path.with_name("spoiled.fits"))
    again = noise_measures.residuals(read_spectrum(path.with_name("spoiled.fits")), 1.6)
    np.testing.assert_array_equal(chi, again)


def test_noise_masks_and_extent_of_a_file_are_counted_exactly(smooth_file, make):
    paths = [smooth_file(seed=n) for n in range(3)]
    found = [noise_measures.measure(path, 1.6) for path in paths]
    table = spec_files.compare(found, found)
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
    assert sigma["real"].iloc[0] == pytest.approx(0.2, rel=1e-5)
    assert sigma["real"].iloc[12] == pytest.approx(0.3, rel=1e-5)
    assert set(table["mark"]) <= {"ok", ""}


def test_or_bits_are_named_and_lambda_eff_is_shared_out(smooth_file):
    one = noise_measures.measure(smooth_file(), 1.6)
    bits = np.zeros(len(one.or_mask), int)
    bits[:450] = (1 << 26) | (1 << 23)
    flagged = [
        noise_measures.Measured(**{**vars(one), "or_mask": bits, "lambda_eff": wave}) for wave in (4000.0, 5400.0)
    ]
    table = spec_files.compare(flagged, [one, one])
    for name in ("BRIGHTSKY", "BADFLUXFACTOR"):
        found = line(table, spec_files.OR_BITS, name)
        assert (found["real"], found["simulated"], found["mark"]) == (0.1, 0.0, "off")
    assert line(table, spec_files.EXTENT, "share LAMBDA_EFF 4000")["real"] == 0.5


def test_matched_spectra_have_the_signal_to_noise_of_the_real_ones():
    rng = np.random.default_rng(6)
    real, simulated = 10 ** rng.normal(0.9, 0.2, 40), 10 ** rng.normal(0.6, 0.3, 3000)
    chosen = spec_files.matched(real, simulated, 80, np.random.default_rng(1))
    assert len(set(chosen)) == 80
    for n in range(2):  # each real one once, then again
        assert np.sort(simulated[chosen[40 * n : 40 * n + 40]]) == pytest.approx(np.sort(real), rel=0.25)
    assert stats.ks_2samp(real, simulated[chosen]).pvalue > 0.5
    assert (chosen == spec_files.matched(real, simulated, 80, np.random.default_rng(1))).all()
    assert sorted(spec_files.matched([5.0], [1.0, 50.0], 9, rng)) == [0, 1]


def test_a_composite_of_the_published_shape_fits_whatever_its_colour():
    wavelength = np.arange(1400.5, 3500.0)
    flux = (wavelength / 2000) ** -1.5 * (1 + 1.5 * np.exp(-0.5 * ((wavelength - 1549) / 15) ** 2))
    here = Grid().wavelength
    x = np.log10(here / 3000)
    tilted = np.interp(here, wavelength, flux) * 10 ** (0.3 - 0.8 * x + 0.5 * x**2)
    same = composite.compare((wavelength, flux), tilted, 10)
    assert same.rms < 0.1
    assert same.table()["mark"].iloc[0] == "ok"
    # a bump of 40 % and sd 20 A: rms 0.4 sqrt(sqrt(pi) 20 / 1930), less what the correction takes up
    bump = 1 + 0.4 * np.exp(-0.5 * ((here - 2500) / 20) ** 2)
    bumped = composite.compare((wavelength, flux), tilted * bump, 10)
    assert bumped.rms == pytest.approx(40 * (np.pi**0.5 * 20 / 1930) ** 0.5, rel=0.1)
    assert bumped.table()["mark"].iloc[0] == "off"
    worst = bumped.wavelength[bumped.worst()]
    assert worst[0] == pytest.approx(2500, abs=5)
    assert np.diff(np.sort(worst)).min() >= composite.APART


def test_published_composite_that_is_none_is_one_sentence(tmp_path):
    for text in ("# nothing\n", "1400 1\n1500 2\n", "no numbers here\n"):
        (tmp_path / "composite.dat").write_text(text)
        with pytest.raises(FileError, match=r"composite\.dat: expected"):
            composite.read_published(tmp_path / "composite.dat")


def test_label_table_without_its_columns_is_one_sentence(tmp_path):
    label_frame(5).drop(columns="Z").to_parquet(tmp_path / "quasars.parquet")
    with pytest.raises(TableError, match="got no Z"):
        label_table.read_published(tmp_path / "quasars.parquet")


def test_an_empty_label_table_is_one_sentence(tmp_path):
    label_frame(3).iloc[:0].to_parquet(tmp_path / "quasars.parquet")
    with pytest.raises(TableError, match="an empty table"):
        label_table.read_published(tmp_path / "quasars.parquet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plate,mjd\n1,2\n", "got KeyError: 'run2d'"),
        ("plate,mjd,fiberid,z,run2d,n_pixels\n1,2\n", "got AttributeError"),
        ("plate,mjd,fiberid,z,run2d,n_pixels\n1,2,3,x,v5_13_0,4600\n", "got ValueError"),
        ("plate,mjd,fiberid,z,run2d,n_pixels\n1,2,3,1.5,26,3800\n", "got none"),
    ],
)
def test_a_list_of_real_spectra_that_is_none_is_one_sentence(tmp_path, text, words):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(FileError, match=words):
        spec_files.read_real(tmp_path)


def test_a_real_file_without_data_or_or_mask_is_named(smooth_file, make, tmp_path):
    path = smooth_file(ivar=np.zeros(make.n_pixels))
    with pytest.raises(SpectrumError, match="pixels with ivar > 0"):
        noise_measures.measure(path, 1.5)
    with fits.open(path) as hdus:
        columns = fits.ColDefs([column for column in hdus[1].columns if column.name.lower() != "or_mask"])
        hdus[1] = fits.BinTableHDU.from_columns(columns)
        hdus.writeto(tmp_path / "without.fits")
    with pytest.raises(SpectrumError, match="a column or_mask"):
        noise_measures.measure(tmp_path / "without.fits", 1.5)


def test_a_survey_of_the_sky_is_not_advised_to_be_deleted(tmp_path):
    (tmp_path / "survey.json").write_text('{"kind": "sdss"}')
    with pytest.raises(SurveyError, match="got one of kind sdss; choose another"):
        simulate(Survey(tmp_path), objects=1, quiet=True)


def test_without_a_pair_to_show_the_command_still_prints_its_tables(tmp_path, monkeypatch, capsys):
    (tmp_path / "survey.json").write_text('{"kind": "simulated", "complete": true}')
    frame = statistics.table([statistics.row("objects", "number", 1, 1)])
    found = comparison.Comparison(
        "s", frame, frame, frame, None, [], dict.fromkeys(("labels", "spectra", "composite"), "")
    )
    monkeypatch.setattr(comparison, "real_folder", lambda: tmp_path)
    monkeypatch.setattr(comparison, "compare", lambda *_, **__: found)
    assert get_Chen_data.main(["simulate", "--check", "--survey", str(tmp_path)]) == 0
    assert "no figure: none of the real spectra" in capsys.readouterr().out


def test_without_real_data_the_command_says_so_and_simulates_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for value, words in (
        (None, "QUASAR_MASS_REAL_DATA: expected a folder of real data, got none; set"),
        (str(tmp_path), f"{tmp_path}: expected a folder of real data, got no {comparison.LABELS} in it; set"),
    ):
        monkeypatch.delenv(comparison.VARIABLE, raising=False)
        if value:
            monkeypatch.setenv(comparison.VARIABLE, value)
        assert get_Chen_data.main(["simulate", "--check", "--survey", str(tmp_path / "s")]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert words in printed.err
        assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_a_complete_simulated_survey_is_compared(tiny_survey, tmp_path):
    with pytest.raises(SurveyError, match="a survey of kind sdss"):
        comparison.compare(tiny_survey, tmp_path)


@pytest.fixture(scope="module")
def small_survey(tmp_path_factory):
    survey = Survey(tmp_path_factory.mktemp("check") / "small")
    simulate(survey, objects=60, seed=3, quiet=True)
    return survey


def test_objects_of_the_catalogues_are_those_of_the_built_table(small_survey, tmp_path):
    from quasar_mass.tables.build.pipeline import build

    before = label_table.read_simulated(small_survey)
    spectra = small_survey.folder / "bigger_data"
    build(small_survey, quiet=True)
    try:
        after = label_table.read_simulated(small_survey)
    finally:
        for path in (small_survey.quasars, small_survey.spectra, small_survey.rejects):
            path.rename(tmp_path / path.name)
    assert [path.name for path in spectra.iterdir()] == ["DR16Q_v4.fits"]
    pd.testing.assert_frame_equal(before[["Z", "LMBH", "N_EPOCHS"]], after[["Z", "LMBH", "N_EPOCHS"]])


def test_a_small_survey_beside_real_data_twice_the_same(small_survey, real_data, monkeypatch, tmp_path):
    if not (real_data / comparison.COMPOSITE).exists():
        pytest.skip(f"needs {comparison.COMPOSITE} among the real data")
    monkeypatch.setenv(comparison.VARIABLE, str(real_data))
    monkeypatch.setattr(spec_files, "WHOLE", 4623)  # pixels: nine real files are enough here
    monkeypatch.setattr(comparison, "STACK", 20)
    monkeypatch.setattr(comparison, "SAMPLE", 10)
    monkeypatch.setattr(statistics, "BOOTSTRAPS", 5)
    first, second = (comparison.compare(small_survey, comparison.real_folder()) for _ in range(2))
    assert str(first) == str(second)
    assert max(map(len, str(first).splitlines())) <= 120
    assert line(first.labels, "objects", "number")["real"] == 30_920
    assert line(first.labels, label_table.LABEL, "50 %")["real"] == pytest.approx(8.63)
    assert 3 <= len(first.pairs) <= comparison.SHOWN
    for real, simulated in first.pairs:
        assert (real.spectrum.kind, simulated.spectrum.kind) == ("sdss", "simulated")
    figure = figures.spectra_beside(comparison.drawn(first.pairs))
    figures.save(figure, tmp_path / "beside.png")
    assert (tmp_path / "beside.png").stat().st_size > 20_000
