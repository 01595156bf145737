"""The page: everything from tables is escaped, and it asks the network for nothing."""

import json
import re

import numpy as np
import pandas as pd

from quasar_mass import report_page as html

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


def data(n=3, words=HOSTILE):
    rng = np.random.default_rng(0)
    import base64

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
    parts = [html.section(words, html.facts({words: words}), html.table(frame), html.interactive(), note=words)]
    return html.page(words, "simulated", parts, data(words=words))


def test_nothing_from_a_table_becomes_markup():
    text = page()
    assert "<img src=x" not in text
    assert text.count("</script>") == 2  # its own two
    assert "&lt;img src=x" in text
    stored = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in stored
    assert json.loads(stored)["epoch"][0] == f"{HOSTILE}0"


def test_tables_round_numbers_and_show_what_is_unknown_as_a_dash():
    text = page()
    for cell in ("<td>1,234</td>", "<td>0.250</td>", "<td>-</td>"):
        assert cell in text


def test_it_refers_to_nothing_outside_and_fits_a_phone():
    text = page("plain")
    assert "http" not in text.replace("http-equiv", "")
    assert 'name="viewport"' in text
    assert "simulated" in text
