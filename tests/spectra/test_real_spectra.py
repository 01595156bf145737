"""Real SDSS files, where the environment names a folder of them."""

import csv

import numpy as np
import pytest
from astropy.io import fits

from quasar_mass.core.errors import SpectrumError
from quasar_mass.core.survey import Grid
from quasar_mass.spectra.read import read as read_spectrum
from quasar_mass.spectra.rest_frame import to_rest_frame


@pytest.fixture(scope="module")
def files(real_data):
    """(row of the index, path, columns of HDU 1 as astropy has them) of every real file."""
    rows = []
    with open(real_data / "sdss" / "index.csv", newline="") as index:
        for row in csv.DictReader(index):
            plate, mjd, fiberid = (int(row[name]) for name in ("plate", "mjd", "fiberid"))
            name = f"spec-{plate:04d}-{mjd:05d}-{fiberid:04d}.fits"
            path = real_data / "sdss" / f"{plate:04d}" / name
            rows.append((row, path, fits.getdata(path, 1)))
    return rows


def test_every_real_file_reads_as_its_index_says(files):
    ratios = []  # of the median S/N to the pipeline's, which is that of the whole spectrum
    for row, path, table in files:
        spectrum = read_spectrum(path)
        assert f"spec-{spectrum.spec_id}.fits" == path.name
        assert spectrum.redshift == pytest.approx(float(row["z"]), abs=6e-5)
        assert (spectrum.run2d, spectrum.spectral_class) == (row["run2d"], row["class"])
        assert len(spectrum.pixel) == int(row["n_pixels"]) == len(table)
        assert spectrum.kind == "sdss"
        np.testing.assert_allclose(1e-4 * spectrum.pixel, table["loglam"], atol=5e-7)
        np.testing.assert_array_equal(spectrum.flux, table["flux"])
        # legacy files of some reductions carry no extinction
        assert np.isnan(spectrum.ebv) or 0 < spectrum.ebv < 1
        if len(spectrum.pixel) > 3000:  # a few files hold the blue end only
            pixels = (spectrum.flux * np.sqrt(spectrum.ivar))[spectrum.good]
            ratios.append(np.median(pixels) / float(row["sn_median_all"]))
    assert np.median(ratios) == pytest.approx(1, abs=0.02)
    assert 0.95 < min(ratios) <= max(ratios) < 1.05
    print(f"\n{len(files)} real files read")
    assert len(files) >= 1


def test_exactly_the_real_files_that_span_the_window_come_out_on_the_grid(files):
    counts = {"on the grid": 0}
    for row, path, table in files:
        rest = table["loglam"].astype(float) - np.log10(1 + float(row["z"]))
        covers = rest.min() <= 3.16 and rest.max() >= 3.53
        near = min(abs(rest.min() - 3.16), abs(rest.max() - 3.53)) < 1e-6
        assert not near, "too close to call from float32"
        try:
            placed = to_rest_frame(read_spectrum(path), float(row["z"]), Grid())
        except SpectrumError as error:
            assert not covers, path
            counts[error.reason] = counts.get(error.reason, 0) + 1
            continue
        assert covers, path
        counts["on the grid"] += 1
        assert placed.flux.shape == (3701,)
        assert np.isfinite(placed.flux).all()
        assert 0 <= placed.n_bad < placed.n_pixels
        inside = (rest >= 3.16) & (rest <= 3.53) & (table["ivar"] > 0)
        plain = np.median((table["flux"] * np.sqrt(table["ivar"]))[inside])
        assert placed.signal_to_noise == pytest.approx(plain, rel=0.05, abs=0.05)
    print(f"\nreal files: {counts}")
    assert counts["on the grid"] > 0
    assert sum(counts.values()) == len(files)
