"""A page of the report with hostile text wherever text can stand, for the tests of its text and of it in a browser."""

import numpy as np
import pandas as pd

from quasar_mass.core.survey import Grid
from quasar_mass.report import packing, plots
from quasar_mass.report import page as pages

HOSTILE = "</script><img src=x onerror=alert(1)>&\"',\n{{ x }}"
GRID = Grid()


def table(n=12, words=HOSTILE, seed=0):
    """Spectra of the report's figures, the largest residuals first; every third one is flagged."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"OBJECT": [f"{words}{i // 2}" for i in range(n)], "EPOCH": [f"{words}-{i}" for i in range(n)]}
    )
    frame["Z"], frame["SN"], frame["LOG_L"] = rng.uniform(1.5, 1.8, n), rng.uniform(1, 20, n), rng.uniform(44, 46, n)
    frame["LMBH"], frame["LABEL_LINE"] = rng.uniform(8, 9, n), "MgII"
    frame["RESIDUAL"] = np.linspace(1.0, 0.0, n)
    frame["PREDICTED"] = frame["LMBH"] + frame["RESIDUAL"]
    frame["LMBH_LOW"], frame["LMBH_HIGH"] = frame["PREDICTED"] - 0.5, frame["PREDICTED"] + 0.5
    frame["FLAGS"] = [words if i % 3 == 0 else "" for i in range(n)]
    return frame


def page(n=12, words=HOSTILE):
    """The page's HTML."""
    rng, rows = np.random.default_rng(1), table(n, words)
    flux = rng.normal(5.0, 1.0, (n, GRID.size)).astype(np.float32)
    flux[5, 1600:2000] = np.nan
    scales, arrays = packing.pack(flux, rng.normal(0, 1e-3, flux.shape), rows, GRID)
    rows = rows.assign(TYPICAL=8.5, **scales)
    figures, spectrum = plots.Spectra(rows, "simulated"), plots.spectrum(np.array(arrays["wavelength"]))
    attribution = plots.attribution(np.array(arrays["wavelength"]), spectrum.x_range)

    def plot(name, figure):
        return pages.Plot(name, figure, f"{words} caption", f"{words} in words")

    frame = pd.DataFrame({"OBJECT": [words], "n": [1234], "rmse": [0.25], "none": [np.nan]}).set_index("OBJECT")
    explorer = pages.explorer(
        plot("masses", figures.masses()), plot("spectrum", spectrum), plot("attribution", attribution)
    )
    small = pages.figures(*(plot(name, figures.residuals(name)) for name in ("SN", "Z", "LOG_L")))
    sections = [pages.Section(words, words, (explorer, small, pages.table(frame, words), pages.facts({words: words})))]
    arrays["scales"] = [*packing.SCALES, "TYPICAL", "RESIDUAL", "FLAGGED"]
    return pages.render(words, "simulated", words, [(words, words, words)], sections, arrays)
