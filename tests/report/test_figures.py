"""Figures: what they say in words."""

import numpy as np
import pandas as pd
import pytest

from quasar_mass.report import figures


@pytest.mark.parametrize(
    ("kept", "words"), [(0, "kept: the weights the stage started from"), (2, "kept: training epoch 2")]
)
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
    axes = figures.learning_curve(history, "simulated").axes[0]
    *_, label = (text.get_text() for text in axes.get_legend().get_texts())
    marked = axes.lines[-1].get_xydata()[0]
    assert label == words
    assert marked.tolist() == [kept, history["val_rmse"][kept]]
    assert axes.get_ylim()[0] < marked[1] < axes.get_ylim()[1]
    assert "simulated" in axes.get_title()
