"""Figures: what they say in words."""

import numpy as np
import pandas as pd
import pytest

from quasar_mass.report import figures


@pytest.mark.parametrize(("kept", "words"), [(0, "kept: the weights it started from"), (2, "kept: training epoch 2")])
def test_the_learning_curve_says_which_weights_were_kept(kept, words):
    history = pd.DataFrame(
        {
            "stage": "final",
            "training_epoch": [0, 1, 2],
            "rmse": [np.nan, 0.30, 0.29],
            "val_rmse": [0.28, 0.31, 0.30],
            "kept": [epoch == kept for epoch in range(3)],
        }
    )
    both = pd.concat([history.assign(stage="intermediate"), history])
    axes = figures.learning_curve(both, "simulated").axes[0]
    assert [text.get_text() for text in axes.texts] == [f"stage {name}\n{words}" for name in ("intermediate", "final")]
    for line, start in zip((line for line in axes.lines if line.get_markersize() == 9), (0, 3), strict=True):
        (marked,) = line.get_xydata()
        assert marked.tolist() == [start + kept, history["val_rmse"][kept]]
        assert axes.get_ylim()[0] < marked[1] < axes.get_ylim()[1]
    assert "simulated" in axes.get_title()


def test_residuals_name_objects_with_many_spectra():
    names = ["a", "b", *["monitored"] * 7]
    table = pd.DataFrame({"OBJECT": names, "LMBH": 8.5, "PREDICTED": np.linspace(8.4, 8.6, 9), "LABEL_LINE": "MgII"})
    figure = figures.residuals(table, "sdss")
    left, right = ([text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes)
    assert left == ["label from Mg II"]
    assert right == ["RMSE 0.065 dex", "monitored: 7 spectra"]
    assert "9 test spectra of 3 objects (sdss)" in figure.get_suptitle()


def test_a_spectrum_is_drawn_with_its_noise_and_the_lines_of_the_sky():
    wavelength = np.linspace(1500.0, 3000.0, 4000)
    luminosity = np.full(4000, 3e42)
    luminosity[1000:1020] = np.nan
    figure = figures.spectrum(wavelength, luminosity, 0.1 * luminosity, redshift=1.5, title="q", kind="simulated")
    (axes,) = figure.axes
    assert "10^{42}" in axes.get_ylabel()
    assert axes.get_title() == "q (simulated)"
    (band,) = axes.collections
    low, high = np.nanpercentile(band.get_paths()[0].vertices[:, 1], [10, 90])
    assert (low, high) == pytest.approx((2.7, 3.3))
    marks = next(line for line in axes.lines if line.get_marker() == "|")
    assert 5578.89 / 2.5 in marks.get_xdata()
    mean = next(line for line in axes.lines if str(line.get_label()).startswith("mean of"))
    assert np.isnan(mean.get_ydata()[1010])
