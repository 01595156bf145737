"""The report's page in a real browser: no error, no request, and pointing at a spectrum shows it."""

import browser
import pytest
from pages import HOSTILE, page

pytestmark = [
    pytest.mark.skipif(browser.executable() is None, reason="needs Chromium (apt-get install chromium)"),
    # the browser's pipes, closed with it
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPOT = """(() => {
  const box = plot.getBoundingClientRect(), p = points[2];
  return [box.left + p[0], box.top + p[1]];
})()"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), pytest.param(1100, 900, marks=pytest.mark.slow)])
def test_it_loads_without_an_error_and_a_point_shows_its_spectrum(tmp_path, width, height):
    path = tmp_path / "report.html"
    path.write_text(page(), encoding="utf-8")
    with browser.Browser(width, height) as chromium:
        chromium.open(path)
        assert chromium.run("document.querySelectorAll('img[src=x]').length") == 0
        chromium.run("plot.scrollIntoView()")
        drawn = "spectrum.toDataURL()"
        before, first = chromium.run("description.textContent"), chromium.run(drawn)
        chromium.point(*chromium.run(SPOT))
        after = chromium.run("description.textContent")
        assert before.startswith(f"{HOSTILE}0 (simulated)")
        assert after.startswith(f"{HOSTILE}2 (simulated)")
        assert chromium.run(drawn) != first
        chromium.run("axis.value = 'sn'; axis.dispatchEvent(new Event('change'))")
        assert chromium.run("points.length") == 3
        assert chromium.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert chromium.messages == []
        assert chromium.requests == []
