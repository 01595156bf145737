"""The tables that `evaluate` and `report` print and README quotes: on twelve spectra, worked out by hand.

The table below has six objects with one to four spectra. Residuals are prediction - label; every interval reaches from
the prediction by its half-width to both sides, so that a label is inside where |residual| <= half-width.
"""

import dataclasses
import statistics
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.survey import Grid, Survey
from quasar_mass.report import accuracy, assessment, comparison, coverage_tables, report
from quasar_mass.tables.dataset import Dataset

#     object, label, line, S/N, residual, half-width, flags
TWELVE = [
    ("A", 8.0, "MgII", 1.0, 0.1, 0.2, ""),  # inside
    ("B", 8.4, "CIV", 3.0, -0.3, 0.2, "broad absorption"),
    ("C", 8.6, "MgII", 5.0, 0.1, 0.2, ""),  # inside
    ("C", 8.6, "MgII", 12.0, 0.3, 0.2, "many bad pixels; broad absorption"),
    ("D", 9.0, "MgII", 8.0, 0.0, 0.1, ""),  # inside
    ("D", 9.0, "MgII", 8.0, 0.0, 0.1, ""),  # inside
    ("D", 9.0, "MgII", 8.0, 0.3, 0.1, "many bad pixels"),
    ("E", 8.2, "CIV", 10.0, -0.1, 0.3, ""),  # inside
    ("F", 8.8, "MgII", 2.0, 0.1, 0.2, ""),  # inside
    ("F", 8.8, "MgII", 2.0, 0.1, 0.2, ""),  # inside
    ("F", 8.8, "MgII", 2.0, -0.1, 0.2, ""),  # inside
    ("F", 8.8, "MgII", 20.0, 0.5, 0.2, ""),
]
FRACTIONS = [1, 0, 1 / 2, 2 / 3, 1, 3 / 4]  # of the labels inside, object by object
SQUARES = 6 * 0.1**2 + 3 * 0.3**2 + 0.5**2  # of all residuals
NO_FLAG_SQUARES = 6 * 0.1**2 + 0.5**2


@pytest.fixture
def rows() -> pd.DataFrame:
    table = pd.DataFrame(TWELVE, columns=["OBJECT", "LMBH", "LABEL_LINE", "SN", "RESIDUAL", "HALF", "FLAGS"])
    table["EPOCH"] = [f"{number:04d}-56000-0001" for number in range(1, 13)]
    table["LABEL_EPOCH"] = ~table["OBJECT"].duplicated()
    table["N_EPOCHS"] = table.groupby("OBJECT")["OBJECT"].transform("size")
    table["Z"] = np.where(table["OBJECT"] == "A", 1.8, 1.5)
    table["PREDICTED"] = table["LMBH"] + table["RESIDUAL"]
    # a hair wider: 8.1 - 8.0 is not quite 0.1 in floating point
    table["LMBH_LOW"] = table["PREDICTED"] - table["HALF"] - 1e-9
    table["LMBH_HIGH"] = table["PREDICTED"] + table["HALF"] + 1e-9
    table["TRUTH"] = np.where(table["OBJECT"] == "E", np.nan, table["LMBH"] + 0.05)
    table["TRUTH_MgII"] = table["LMBH"]
    return table


def near(value):
    return pytest.approx(value, abs=1e-6)


def coverage(rows):
    low, high = rows["LMBH_LOW"].to_numpy(), rows["LMBH_HIGH"].to_numpy()
    return coverage_tables.coverage(rows, low, high, comparison.known_masses(rows))


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_every_object_counts_once_in_coverage_and_width(rows):
    everything = coverage(rows).loc[("all", "all")]
    assert everything["n"] == 6
    assert everything["label"] == near(statistics.mean(FRACTIONS))
    assert everything["error"] == near(statistics.stdev(FRACTIONS) / 6**0.5)
    assert everything["width"] == near((0.4 + 0.4 + 0.4 + 0.2 + 0.6 + 0.4) / 6)
    # the truth is 0.05 above the label, and unknown for E; only C's second, D's third and F's last miss it besides B's
    assert everything["truth"] == near((1 + 0 + 1 / 2 + 2 / 3 + 3 / 4) / 5)
    assert everything["true Mg II mass"] == everything["label"]


@pytest.mark.parametrize(
    ("group", "which", "objects", "fraction"),
    [
        ("S/N", "below 2", 1, 1),
        ("S/N", "2-4", 2, (0 + 1) / 2),
        ("S/N", "4-7", 1, 1),
        ("S/N", "7-10", 1, 2 / 3),
        ("S/N", "10 and more", 3, (0 + 1 + 0) / 3),
        ("redshift", "1.46-1.54", 5, sum(FRACTIONS[1:]) / 5),
        ("redshift", "1.75 and more", 1, 1),
        ("predicted mass", "below 8.2", 3, (1 + 0 + 1) / 3),  # A 8.1, B 8.1, E 8.1
        ("predicted mass", "8.8 and more", 3, (0 + 2 / 3 + 2 / 3) / 3),  # C 8.9; D; F 8.9, 8.9, 9.3
        ("label line", "CIV", 2, (0 + 1) / 2),
        ("label line", "MgII", 4, (1 + 1 / 2 + 2 / 3 + 3 / 4) / 4),
        ("epoch", "label epoch", 6, 5 / 6),
        ("epoch", "other epochs", 3, (0 + 1 / 2 + 2 / 3) / 3),
    ],
)
def test_coverage_of_a_group_is_that_of_its_members(rows, group, which, objects, fraction):
    row = coverage(rows).loc[(group, which)]
    assert (row["n"], row["label"]) == (objects, near(fraction))


def test_groups_of_one_kind_stand_together_in_order(rows):
    index = coverage(rows).index
    kinds = index.get_level_values("group")
    assert list(dict.fromkeys(kinds)) == [
        "all",
        "S/N",
        "redshift",
        "predicted mass",
        "spectra of the object",
        "absorption",
        "label line",
        "epoch",
    ]
    assert list(kinds) == sorted(kinds, key=list(dict.fromkeys(kinds)).index)
    assert [which for kind, which in index if kind == "S/N"] == ["below 2", "2-4", "4-7", "7-10", "10 and more"]
    empty = coverage(rows).loc[("redshift", "1.62-1.65")]
    assert empty["n"] == 0
    assert empty.drop("n").isna().all()


def test_curve_by_hand(rows):
    half, everything = (rows["OBJECT"] < "D").to_numpy(), np.ones(12, bool)
    table = coverage_tables.curve({0.5: half, 0.9: everything}, rows["OBJECT"])
    assert table["coverage"].to_dict() == {0.5: near(3 / 6), 0.9: near(1.0)}
    assert table["error"].to_dict() == {0.5: near(statistics.stdev([1, 1, 1, 0, 0, 0]) / 6**0.5), 0.9: near(0.0)}


# --- accuracy and bias ------------------------------------------------------------------------------------------------


def test_accuracy_and_bias_by_hand(rows):
    table = accuracy.accuracy(rows)
    everything = table.loc[("per spectrum", "all")]
    assert everything["n"] == 12
    assert everything["rmse"] == near((SQUARES / 12) ** 0.5)
    assert everything["bias"] == near(1.0 / 12)
    # median residual 0.1; deviations 0 four times, 0.1 twice, 0.2 four times, 0.4 twice
    assert everything["sigma_NMAD"] == near(1.4826 * 0.15)
    assert table.loc[("label line", "CIV"), "bias"] == near(-0.2)
    assert table.loc[("label line", "MgII"), "bias"] == near(1.4 / 10)
    assert table.loc[("epoch", "label epoch"), "rmse"] == near(((4 * 0.1**2 + 0.3**2) / 6) ** 0.5)
    # means of the objects' residuals: 0.1, -0.3, 0.2, 0.1, -0.1, 0.15
    objects = table.loc["per object (mean)"]
    assert objects.loc["all", "bias"] == near(0.15 / 6)
    assert objects.loc["all", "rmse"] == near((0.1825 / 6) ** 0.5)
    assert objects.loc["2", ["n", "bias"]].tolist() == near([1, 0.2])
    assert objects.loc["3-59", ["n", "bias"]].tolist() == near([2, 0.125])


def test_errors_of_the_rmse_are_by_object(rows):
    """CIV: two objects with squares 0.09 and 0.01; two drawn of them are (B, B), one of each, or (E, E)."""
    table = accuracy.accuracy(rows)
    drawn = np.array([0.09, 0.05, 0.05, 0.01]) ** 0.5
    assert table.loc[("label line", "CIV"), "rmse_error"] == pytest.approx(drawn.std(), rel=0.05)
    assert np.isnan(table.loc[("per object (mean)", "2"), "rmse_error"])  # one object alone has none
    # the spectra of the label epoch are one an object, as the objects' means where these are the same
    first = rows[rows["LABEL_EPOCH"]].assign(N_EPOCHS=1)
    once = accuracy.accuracy(first)
    assert once.loc[("per spectrum", "all"), "rmse_error"] == once.loc[("per object (mean)", "all"), "rmse_error"]
    assert once.loc[("per spectrum", "all"), "rmse_error"] == table.loc[("epoch", "label epoch"), "rmse_error"]


# --- pooling and flags ------------------------------------------------------------------------------------------------


def test_pooled_masses_by_hand():
    mass, label = np.array([8.1, 8.7, 9.0]), np.array([8.0, 9.0, np.nan])
    masses = {"label": label, "truth": np.array([8.1, 8.8, 9.2])}
    row = assessment.pooled_row(mass, mass - 0.2, mass + 0.4, masses, np.array([True, True, True]))
    assert row["n"] == 3
    assert row["rmse label"] == near(((0.1**2 + 0.3**2) / 2) ** 0.5)  # the third has no label
    assert row["rmse truth"] == near(((0.0 + 0.1**2 + 0.2**2) / 3) ** 0.5)
    assert (row["coverage"], row["width"]) == (near(1.0), near(0.6))
    second = assessment.pooled_row(mass, mass - 0.2, mass + 0.2, masses, np.array([False, True, False]))
    assert (second["n"], second["coverage"], second["rmse label"]) == (1, 0.0, near(0.3))


def test_flags_by_hand(rows):
    table = assessment.flag_table(rows)
    assert list(table.index) == ["no flag", "any flag", "broad absorption", "many bad pixels"]
    assert table["spectra"].tolist() == [9, 3, 2, 2]
    assert table["fraction"].tolist() == near([9 / 12, 3 / 12, 2 / 12, 2 / 12])
    assert table["rmse"].tolist() == near([(NO_FLAG_SQUARES / 9) ** 0.5, 0.3, 0.3, 0.3])
    assert table["coverage"].tolist() == near([(4 + 3 / 4) / 5, 0, 0, 0])
    assert table["width"].tolist() == near([(7 * 0.4 + 2 * 0.2 + 0.6 - 0.4) / 9, 1.0 / 3, 0.4, 0.3])


def test_lines_shifted_by_any_velocity_are_one_flag(rows):
    rows["FLAGS"] = ["lines shifted by -9,800 km/s", "many bad pixels; lines shifted by +12,000 km/s"] + 10 * [""]
    table = assessment.flag_table(rows)
    assert table["spectra"].to_dict() == {"no flag": 10, "any flag": 2, "lines shifted": 2, "many bad pixels": 1}


# --- the assessment as a whole ----------------------------------------------------------------------------------------


class KnownPredictor:
    """Predicts what the table has; at confidence c half-widths are (c / 0.9)^2 of the table's, twice that for Mg II."""

    confidence, line, kind = 0.9, "any", "simulated"
    ensemble = SimpleNamespace(first=SimpleNamespace(about={}))

    def __init__(self, rows):
        self.table, self.calibration = rows, self
        self.intervals = {"any": None, "MgII": None}
        self.pooling = SimpleNamespace(methods=("mean", "stacked"))

    def view(self, flux, redshift, signal_to_noise, lines_seen, several):
        assert several.tolist() == (self.table["N_EPOCHS"] > 1).tolist()
        assert lines_seen.tolist() == [[1.0, 1.0, 0.5]] * len(flux)
        measures = SimpleNamespace(log_luminosity=np.full(len(flux), 45.0))
        return self._view(self.table["PREDICTED"].to_numpy(), measures, signal_to_noise)

    def _view(self, mass, measures, signal_to_noise):
        rows = lambda chosen: self._view(mass[chosen], measures, signal_to_noise[chosen])  # noqa: E731
        return SimpleNamespace(mass=mass, measures=measures, signal_to_noise=signal_to_noise, rows=rows)

    def masses(self, view):
        return self.table[["LMBH_LOW", "LMBH_HIGH"]]

    def flags(self, view, signal_to_noise):
        return [["of the network"] if number == 0 else [] for number in range(len(self.table))]

    def catalogue_flags(self, probability):
        return [["of the catalogue"] if value > 0.5 else [] for value in probability]

    def bounds(self, view, confidence, line):
        half = self.table["HALF"] * (confidence / 0.9) ** 2 * (2 if line == "MgII" else 1) + 1e-9
        return (self.table["PREDICTED"] - half).to_numpy(), (self.table["PREDICTED"] + half).to_numpy()

    def objects(self, names, view, stacks):
        groups = pd.Series(view.mass).groupby(names.to_numpy())
        means, counts = groups.mean(), groups.size()
        return SimpleNamespace(epochs=dict(means), counts=counts.to_numpy(), stacks=stacks)

    def pooled(self, objects, method, confidence, line):
        mass = np.array(list(objects.epochs.values())) + (0.12 if method == "stacked" else 0.0)
        return mass, mass - 0.2, mass + 0.2


@pytest.fixture
def assessed(rows, tmp_path):
    survey = Survey(tmp_path)
    truth = rows.drop_duplicates("OBJECT")[["OBJECT", "TRUTH", "TRUTH_MgII"]]
    truth.rename(columns={"TRUTH": "LMBH", "TRUTH_MgII": "LMBH_MgII"}).iloc[::-1].to_parquet(survey.truth)
    published = ["OBJECT", "EPOCH", "LMBH", "LABEL_LINE", "SN", "Z", "LABEL_EPOCH", "N_EPOCHS", "FLAGS"]
    seen = {"SEEN_CIV": 1.0, "SEEN_CIII": 1.0, "SEEN_MgII": 0.5}
    spectra = rows[published].assign(SPLIT="test", **seen).set_index(["OBJECT", "EPOCH"])
    quasars = pd.DataFrame({"BAL_PROB": [0.0] * 5 + [1.0], "SPLIT": "test"}, index=list("ABCDEF"))
    grid = Grid(1e-2)
    flux = np.ones((12, grid.size), np.float32)
    about = {"kind": "simulated", "build": "b"}
    data = Dataset(quasars, spectra, flux, grid, about)
    predictor = KnownPredictor(rows)
    return assessment.assess(predictor, data, survey), predictor, data, survey


def test_an_assessment_brings_predictions_labels_and_truth_together(assessed, rows):
    result = assessed[0]
    pd.testing.assert_series_equal(result.predictions["TRUTH"], rows["TRUTH"])
    pd.testing.assert_frame_equal(result.coverage, coverage(rows))
    assert result.scores.loc[("per spectrum", "all"), "rmse"] == near((SQUARES / 12) ** 0.5)
    flags = result.flags["spectra"].to_dict()
    assert flags["of the network"] == 1
    assert flags["of the catalogue"] == 4
    assert result.predictions["FLAGS"].iloc[3] == "many bad pixels; broad absorption"


def test_an_assessment_tells_intervals_of_the_label_s_own_line_and_of_other_confidences(assessed):
    result = assessed[0]
    # twice as wide: of the MgII labels only D's third (0.3 > 0.2) and F's last (0.5 > 0.4) stay outside
    assert result.by_line.loc[("line known", "MgII"), ["n", "label"]].tolist() == near([4, (1 + 1 + 2 / 3 + 3 / 4) / 4])
    assert result.by_line.loc[("line known", "MgII"), "width"] == near((0.8 + 0.8 + 0.4 + 0.8) / 4)
    # C's second 0.3 <= 0.4, F's last 0.5 > 0.4
    high = result.by_line.loc[("line known", "MgII, S/N 10 and more"), ["n", "label"]]
    assert high.tolist() == near([2, 1 / 2])
    assert result.curve.loc[0.9, "coverage"] == near(statistics.mean(FRACTIONS))
    # half-widths 25/81 of the table's: 0.062 for most, 0.031 for D, 0.093 for E; D's first two residuals are 0
    assert result.curve.loc[0.5, "coverage"] == near(2 / 3 / 6)


def test_an_assessment_pools_the_objects_with_several_spectra(assessed):
    table = assessed[0].pooled
    # means of the residuals: C 0.2, D 0.1, F 0.15; "stacked" is 0.12 above
    assert list(table.index.get_level_values("spectra")) == ["2", "2", "3-59", "3-59", "2 and more", "2 and more"]
    assert table.loc[("2 and more", "mean"), "rmse label"] == near(((0.2**2 + 0.1**2 + 0.15**2) / 3) ** 0.5)
    assert table.loc[("2 and more", "stacked"), "rmse label"] == near(((0.32**2 + 0.22**2 + 0.27**2) / 3) ** 0.5)
    assert table.loc[("2", "mean"), "rmse truth"] == near(0.15)
    assert table.loc[("3-59", "mean"), ["n", "coverage", "width"]].tolist() == near([2, 1.0, 0.4])
    assert table.loc[("2 and more", "stacked"), "coverage"] == near(0.0)


def test_text_and_summary_have_every_table_with_the_field_s_headings(assessed):
    result, *rest = assessed
    text = assessment.text(result, *rest, ["model.h5"])
    for words in ("sigma_NMAD is 1.4826 times", "RMSE error", "unknown", "S/N", "10 and more", "RMSE label"):
        assert words in text
    assert "rmse" not in text
    summary = assessment.summary(result, *rest, ["model.h5"])
    assert summary["coverage"][0]["label"] == near(statistics.mean(FRACTIONS))
    assert summary["results"][0]["rmse"] == near((SQUARES / 12) ** 0.5)
    empty = next(row for row in summary["coverage"] if row["which"] == "1.62-1.65")
    assert empty["label"] is None


def test_the_headline_counts_every_object_once_and_says_of_what(assessed):
    result = assessed[0]
    squares = 0.1**2 + 0.3**2 + 0.2**2 + 0.1**2 + 0.1**2 + 0.15**2  # of the objects' mean residuals, A to F
    rmse, scatter, coverage, width = report.headline(result, 0.9)
    assert rmse[:2] == ("RMSE", f"{(squares / 6) ** 0.5:.3f} dex")
    assert f"{(SQUARES / 12) ** 0.5:.3f} if every spectrum counts once" in rmse[2]
    # 0.1, -0.3, 0.2, 0.1, -0.1, 0.15: median 0.1, distances 0, 0.4, 0.1, 0, 0.2, 0.05
    assert scatter[:2] == ("sigma_NMAD", f"{1.4826 * 0.075:.3f} dex")
    assert coverage[:2] == ("Coverage", f"{statistics.mean(FRACTIONS):.1%}")
    assert "intervals of 90%" in coverage[2]
    assert width[1] == "0.40 dex"  # twice the half-widths of A to F: 0.4, 0.4, 0.4, 0.2, 0.6, 0.4
    no_calibration = dataclasses.replace(result, coverage=None)
    assert report.headline(no_calibration, 0.9)[2][1] == "unknown"


def test_spectra_of_high_signal_to_noise_stand_beside_the_published_figures(assessed):
    table = report.beside_published(*assessed[:2], "simulated")
    # S/N of 10 and more: C's second 0.3, E's -0.1, F's last 0.5; labels 8.6, 8.2, 8.8
    ours = table.loc[("this model", "any")]
    assert ours[["n", "rmse"]].tolist() == near([3, ((0.3**2 + 0.1**2 + 0.5**2) / 3) ** 0.5])
    assert ours["r2"] == near(1 - (0.3**2 + 0.1**2 + 0.5**2) / 3 / statistics.pvariance([8.6, 8.2, 8.8]))
    assert ours[["coverage", "width"]].tolist() == near([1 / 3, (0.4 + 0.6 + 0.4) / 3])
    of_line = table.loc[("this model", "MgII")]
    assert of_line[["n", "rmse", "coverage", "width"]].tolist() == near([2, ((0.3**2 + 0.5**2) / 2) ** 0.5, 1 / 2, 0.8])
    published = table.loc[("Yong & Ong 2023", "MgII"), ["rmse", "r2", "confidence", "coverage", "width"]]
    assert published.tolist() == [0.213, 0.78, 0.9, 0.888, 0.667]
    assert "another" in table.loc[("Yong & Ong 2023", "MgII"), "sample"]


def test_without_signal_to_noise_only_the_published_figures_are_left(assessed):
    result, predictor, *_ = assessed
    unknown = dataclasses.replace(result, predictions=result.predictions.assign(SN=np.nan), by_line=pd.DataFrame())
    table = report.beside_published(unknown, predictor, "sdss")
    assert table["n"].tolist()[:2] == [0, 0]
    assert table[["rmse", "coverage"]].isna().sum().tolist() == [2, 2]


def test_a_large_survey_is_shown_by_its_largest_residuals_and_a_part_of_the_others(assessed, monkeypatch):
    monkeypatch.setattr(report, "MAX_SHOWN", 6)
    monkeypatch.setattr(report, "MAX_WORST", 3)
    result, _, data, _ = assessed
    shown = report.shown(result.predictions, data)
    assert shown["RESIDUAL"].abs().tolist()[:3] == near([0.5, 0.3, 0.3])
    assert shown["RESIDUAL"].abs().is_monotonic_decreasing
    assert len(shown) == shown["EPOCH"].nunique() == 6
    assert data.spectra.index.get_level_values("EPOCH")[shown["ROW"]].tolist() == shown["EPOCH"].tolist()
