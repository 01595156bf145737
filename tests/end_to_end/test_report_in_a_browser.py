"""The report's page in a real browser: no message, no request, and all that one can do there."""

import csv
import io

import browser
import numpy as np
import pytest
from pages import HOSTILE, page, table

pytestmark = [
    pytest.mark.skipif(browser.executable() is None, reason="needs Chromium (apt-get install chromium)"),
    # the browser's pipes, closed with it
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# Where a spectrum's point is on the screen.
SPOT = """((i, name, x, y) => {
  const id = Object.keys(page.roots).find(root => page.roots[root] === 'plot-' + name);
  const view = Bokeh.index.get_by_id(id), canvas = view.canvas_view.el.getBoundingClientRect();
  const {x_scale, y_scale} = view.frame, {data} = points;
  return [canvas.left + x_scale.compute(data[x][i]), canvas.top + y_scale.compute(data[y][i])];
})"""
CHOSEN = "[...element('chosen').rows].map(row => row.cells[0].textContent)"
SHOWN = "element('chosen').querySelector('[aria-current]')?.cells[0].textContent"


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(html):
    with browser.Browser(1200, 900) as opened:
        opened.open(html)
        yield opened
        assert opened.messages == []
        assert opened.requests == []


def spot(chromium, i, name="masses", x="LMBH", y="PREDICTED"):
    chromium.run(f"element('plot-{name}').scrollIntoView({{behavior: 'instant'}})")
    return chromium.run(f"{SPOT}({i}, {name!r}, {x!r}, {y!r})")


def names(*numbers):
    return [f"{HOSTILE}-{i}" for i in numbers]


def test_it_opens_with_the_largest_residuals_and_nobody_s_markup(chromium):
    assert chromium.run("document.querySelectorAll('img').length") == 0
    assert chromium.run("element('preset').value") == "largest"
    assert chromium.run(CHOSEN) == names(0, 2, 4, 6, 8, 10)  # one of an object
    assert chromium.run(SHOWN) == names(0)[0]


def test_a_click_shows_a_spectrum_with_its_error_interval_and_attribution(chromium):
    before = chromium.run("Array.from(sources.spectrum.data.flux)")
    place = spot(chromium, 5)
    chromium.drag(place, place)
    assert chromium.run(CHOSEN) == names(5)
    words, row = chromium.run("element('words').textContent"), table().iloc[5]
    assert f"predicted {row['PREDICTED']:.2f}, interval {row['LMBH_LOW']:.2f} to {row['LMBH_HIGH']:.2f}" in words
    assert chromium.run("element('name').textContent").startswith(names(5)[0])
    read = "Array.from(sources.spectrum.data.{})"
    drawn = {name: np.array(chromium.run(read.format(name)), float) for name in ("flux", "high", "low")}
    gap = np.isnan(drawn["flux"])
    assert np.flatnonzero(gap).tolist() == list(range(100, 125))
    assert not np.array_equal(drawn["flux"], before)
    assert (drawn["high"] > drawn["flux"])[~gap].all()
    assert (drawn["high"] == drawn["low"])[gap].all()
    part = chromium.run("[...sources.attribution.data.raises, ...sources.attribution.data.lowers]")
    assert min(part) < 0 < max(part)
    assert chromium.run("sources.shown.data.LMBH_LOW[0]") == pytest.approx(row["LMBH_LOW"], abs=1e-5)


def test_a_box_in_one_figure_chooses_spectra_in_all(chromium):
    places = np.array([spot(chromium, i, "SN", "SN", "RESIDUAL") for i in range(12)])
    upper = [places[:, 0].min() - 8, places[0, 1] - 8]
    lower = [places[:, 0].max() + 8, (places[3, 1] + places[4, 1]) / 2]
    chromium.drag(upper, lower)
    assert chromium.run(CHOSEN) == names(0, 1, 2, 3)
    assert chromium.run("element('count').textContent") == "4 of 12 spectra chosen"
    assert chromium.run("element('preset').value") == ""
    assert chromium.run("element('chosen').rows[1].cells[1].textContent") == f"{1 - 1 / 11:.2f}"


def test_spectra_are_chosen_by_kind_and_by_name(chromium):
    choose = "element('preset').value = '{}'; element('preset').dispatchEvent(new Event('change'))"
    chromium.run(choose.format("flagged"))
    assert chromium.run(CHOSEN) == names(0, 3, 6, 9)
    chromium.run(choose.format("outside"))
    assert chromium.run(CHOSEN) == names(0, 1, 2, 3, 4, 5)  # residuals above 0.5
    chromium.run(choose.format("all"))
    assert len(chromium.run(CHOSEN)) == 12
    chromium.run("element('search').value = '-11'; element('search').dispatchEvent(new Event('input'))")
    assert chromium.run(CHOSEN) == names(11)


def test_the_keyboard_goes_through_the_table_and_its_tools_have_names(chromium):
    chromium.run("element('preset').value = 'all'; preset(); element('chosen').rows[0].querySelector('button').focus()")
    chromium.press("Tab")
    chromium.press("Enter")
    assert chromium.run(SHOWN) == names(1)[0]
    nodes = chromium.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "combobox", "searchbox", "figure", "table", "region", "link"}
    named = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]
    counts = {role: sum(1 for what, _ in named if what == role) for role in roles}
    assert counts["figure"] == 6
    assert counts["button"] >= 12 + 2 * 6 + 20  # rows, what saves figures, Bokeh's tools
    assert [what for what in named if what[0] in roles - {"table"} and not what[1]] == []
    focusable = [
        (node["role"]["value"], node.get("name", {}).get("value"), prop["name"])
        for node in nodes
        for prop in node.get("properties", ())
        if prop["name"] == "focusable" and node["role"]["value"] in ("generic", "none")
    ]
    assert focusable == []


def test_a_screen_reader_is_told_which_tool_is_on(chromium):
    chromium.run("element('plot-masses').scrollIntoView({behavior: 'instant'})")
    pressed = {}
    for tool in ("Pan", "Box Select"):
        nodes = chromium.send("Accessibility.getFullAXTree")["nodes"]
        first = next(node for node in nodes if node.get("name", {}).get("value") == tool)
        where = chromium.send("DOM.getBoxModel", backendNodeId=first["backendDOMNodeId"])["model"]["content"]
        middle = [(where[0] + where[2]) / 2, (where[1] + where[5]) / 2]
        chromium.drag(middle, middle)
        nodes = chromium.send("Accessibility.getFullAXTree")["nodes"]
        first = next(node for node in nodes if node.get("name", {}).get("value") == tool)
        pressed[tool] = {prop["name"]: prop["value"]["value"] for prop in first["properties"]}.get("pressed")
    assert pressed == {"Pan": "true", "Box Select": "true"}


def test_the_chosen_spectra_are_saved_as_csv(chromium):
    chromium.run("element('preset').value = 'flagged'; preset(); element('csv').click()")
    text = chromium.downloaded("spectra-simulated.csv").decode()
    read = list(csv.DictReader(io.StringIO(text)))
    expected = table()
    assert [row["EPOCH"] for row in read] == names(0, 3, 6, 9)
    assert read[1]["FLAGS"] == HOSTILE
    for name in ("Z", "SN", "LOG_L", "LMBH", "PREDICTED", "LMBH_LOW", "LMBH_HIGH"):
        assert [float(row[name]) for row in read] == pytest.approx(expected[name].iloc[[0, 3, 6, 9]].tolist(), rel=2e-6)
    assert "FLOOR" not in read[0]


@pytest.mark.parametrize("name", ["masses", "spectrum"])
def test_figures_are_saved_as_pixels_and_as_drawings(chromium, name):
    for ending in ("png", "svg"):
        chromium.run(f"document.querySelector('[data-plot={name}][data-type={ending}]').click()")
    assert chromium.downloaded(f"{name}-simulated.png").startswith(b"\x89PNG")
    drawing = chromium.downloaded(f"{name}-simulated.svg").decode()
    assert drawing.count("<path") > 10
    assert "<image" not in drawing
    assert "simulated" in drawing


def test_figures_stand_side_by_side_on_a_desk_and_one_below_the_other_on_a_phone(chromium, html):
    tops = "['SN', 'Z', 'LOG_L'].map(name => Math.round(element('plot-' + name).getBoundingClientRect().top))"
    assert len(set(chromium.run(tops))) == 1
    with browser.Browser(390, 844) as phone:
        phone.open(html)
        assert len(set(phone.run(tops))) == 3
        assert phone.run("document.documentElement.scrollWidth <= window.innerWidth")
        place = spot(phone, 7)
        phone.touch(place)
        assert phone.run(SHOWN) == names(7)[0]
        before = phone.run("scrollY")  # a finger that moves over a figure scrolls the page
        phone.touch(*([200, y] for y in range(300, 100, -10)))
        assert phone.run("scrollY") > before + 100
        assert phone.messages == phone.requests == []
