"""The page: everything from tables is escaped, it asks the network for nothing, and thousands of spectra fit."""

import json
import re

from pages import HOSTILE, page


def test_nothing_from_a_table_becomes_markup():
    text = page()
    assert "<img src=x" not in text
    assert text.count("</script>") == 3  # Bokeh's, the data, the page's own
    assert "&lt;img src=x" in text
    stored = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in stored
    assert json.dumps(f"{HOSTILE}-0") in json.dumps(json.loads(stored))


def test_tables_round_numbers_and_show_what_is_unknown_as_a_dash():
    text = page()
    for cell in ("1,234", "0.250", "-"):
        assert f'<td class="">{cell}</td>' in text
    assert ">RMSE</th>" in text


def test_it_loads_nothing_and_says_what_it_is_of():
    text = page(words="plain")
    assert not re.search(r'<(script|link|img|iframe)[^>]* (src|href)="(?!data:)', text)
    assert "connect-src" not in text
    assert "default-src 'none'" in text
    assert '<span class="kind">simulated</span>' in text


def test_4000_spectra_make_a_page_below_6_mb():
    assert len(page(4000, words="8051-56826-0370 many bad pixels; broad absorption").encode()) < 6e6
