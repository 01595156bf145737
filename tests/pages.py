"""A page of the report with nothing but hostile text in it, for the tests of its text and of it in a browser."""

import base64

import numpy as np
import pandas as pd

from quasar_mass.report import page as pages

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


def data(n=3, words=HOSTILE):
    rng = np.random.default_rng(0)
    numbers = {key: rng.uniform(8, 9, n).round(3).tolist() for key in ("label", "predicted", "sn", "z", "luminosity")}
    return numbers | {
        "kind": "simulated",
        "names": {key: key for key in ("label", "predicted", "sn", "z", "luminosity")},
        "lines": [["Mg II", 2798.8]],
        "wavelength": [1500.0, 2000.0, 2500.0, 3000.0],
        "spectra": base64.b64encode(rng.integers(0, 255, 4 * n).astype(np.uint8).tobytes()).decode(),
        "floor": [0.0] * n,
        "top": [1.0] * n,
        "low": [7.9] * n,
        "high": [9.1] * n,
        "epoch": [f"{words}{i}" for i in range(n)],
        "line": ["MgII"] * n,
        "flags": [words, "", ""][:n],
    }


def page(words=HOSTILE):
    frame = pd.DataFrame({"OBJECT": [words], "n": [1234], "rmse": [0.25], "none": [np.nan]}).set_index("OBJECT")
    blocks = (pages.facts({words: words}), pages.table(frame), pages.plot())
    return pages.render(words, "simulated", [pages.Section(words, words, blocks)], data(words=words))
