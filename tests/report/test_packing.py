"""Spectra in bytes: what the page reads back, and the error that it draws."""

import base64

import numpy as np
import pandas as pd
import pytest

from quasar_mass.core.constants import LUMINOSITY_UNIT
from quasar_mass.core.survey import Grid
from quasar_mass.report import packing

GRID = Grid()
BINS = 231


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), kind).astype(float)


def test_the_noise_of_pixels_is_measured_under_lines_and_slopes():
    x = np.linspace(0, 1, GRID.size)
    sigma = np.where(x < 0.5, 1.0, 3.0)
    flux = 50 - 20 * x + 30 * np.exp(-0.5 * ((x - 0.2) / 0.02) ** 2)
    flux = flux + sigma * np.random.default_rng(0).standard_normal((300, GRID.size))
    noise = packing.pixel_noise(flux).mean(axis=0)
    assert noise[:16] == pytest.approx(1.0, rel=0.03)
    assert noise[17:] == pytest.approx(3.0, rel=0.03)


def test_packed_spectra_and_attributions_come_back_within_half_a_step():
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"SN": [4.0, np.nan], "Z": [1.5, 1.7]})
    flux = rng.normal(10.0, 2.0, (2, GRID.size))
    parts = rng.normal(0.0, 1e-3, (2, GRID.size))
    parts[1] = 0.0
    scales, arrays = packing.pack(flux, parts, rows, GRID)
    assert len(arrays["wavelength"]) == BINS
    in_bins = flux[:, : BINS * 16].reshape(2, BINS, 16).mean(axis=2)
    in_bins *= LUMINOSITY_UNIT * (1 + rows["Z"].to_numpy()[:, None]) / 1e42
    step = (scales["TOP"] - scales["FLOOR"]).to_numpy()[:, None]
    read = scales["FLOOR"].to_numpy()[:, None] + (unpacked(arrays["flux"], np.uint8).reshape(2, BINS) - 1) / 254 * step
    assert np.abs(read - in_bins).max() < step.max() / 500
    read = unpacked(arrays["parts"], np.int8).reshape(2, BINS) / 127 * scales["LARGEST_PART"].to_numpy()[:, None]
    assert read[0] == pytest.approx(parts[0, : BINS * 16].reshape(BINS, 16).sum(axis=1), abs=5e-5)
    assert (read[1] == 0).all()


def test_the_error_of_a_bin_follows_the_signal_to_noise_of_the_table_where_that_is_known():
    flux = np.random.default_rng(2).normal(10.0, 2.0, (2, GRID.size))  # S/N of 5
    rows = pd.DataFrame({"SN": [2.5, np.nan], "Z": [1.5, 1.5]})
    scales, arrays = packing.pack(flux, np.zeros_like(flux), rows, GRID)
    read = (
        unpacked(arrays["noise"], np.uint8).reshape(2, packing.NOISE_PARTS) / 255 * scales["NOISE"].to_numpy()[:, None]
    )
    of_bin = LUMINOSITY_UNIT / 1e42 * 2.5 / np.sqrt(16)
    assert np.median(read[0]) == pytest.approx(4.0 * of_bin, rel=0.1)
    assert np.median(read[1]) == pytest.approx(2.0 * of_bin, rel=0.1)


def test_a_part_without_data_stays_without_and_changes_nothing_else():
    flux = np.random.default_rng(3).normal(10.0, 2.0, (1, GRID.size))
    rows, parts = pd.DataFrame({"SN": [5.0], "Z": [1.5]}), np.zeros((1, GRID.size))
    partial = flux.copy()
    partial[:, :1700] = np.nan
    (whole, of_whole), (scales, arrays) = (packing.pack(one, parts, rows, GRID) for one in (flux, partial))
    read = unpacked(arrays["flux"], np.uint8)
    assert (read[:107] == 0).all()  # 106 bins and a part of one
    assert (read[107:] > 0).all()
    assert scales["NOISE"][0] == pytest.approx(whole["NOISE"][0], rel=0.1)
    noise, of_all = (unpacked(one["noise"], np.uint8) for one in (arrays, of_whole))
    assert (noise[:14] == 0).all()
    assert noise[17:].mean() == pytest.approx(of_all[17:].mean(), rel=0.1)
