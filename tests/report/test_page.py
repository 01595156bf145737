"""The page: everything from tables is escaped, and it asks the network for nothing."""

import json
import re

from pages import HOSTILE, page


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
    for cell in ("1,234", "0.250", "-"):
        assert f'<td class="">{cell}</td>' in text
    assert ">RMSE</th>" in text


def test_it_refers_to_nothing_outside_and_fits_a_phone():
    text = page("plain")
    assert "http" not in text.replace("http-equiv", "")
    assert 'name="viewport"' in text
    assert "simulated" in text
