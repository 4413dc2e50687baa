"""The page, in a real browser: it shows the true numbers, and asks for nothing."""

import io
import os
import re
import shutil

import matplotlib
import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.image import imread

import keras_gates
from keras_gates import stats
from keras_gates.cells import registry
from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.cells.kinds.simple_rnn import SIMPLE_RNN
from keras_gates.page import bokeh_frames, encoding, page_layers, thinning

pytestmark = pytest.mark.once

DIMENSIONS = ("sample", "time", "unit")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ALERT = "<script>alert(1)</script>"


def layer(kind=LSTM, shape=(3, 12, 5), seed=0, masked=(), **attributes):
    """A layer whose numbers all differ, so that no two places can be taken for one."""
    generator = np.random.default_rng(seed)
    data = {}
    for name in kind.signals:
        low = 0 if name in registry.gates() else -2
        values = generator.uniform(low, 1, shape).astype("float32")
        for place in masked:
            values[(..., *place, slice(None))] = np.nan
        data[name] = (DIMENSIONS[-len(shape) :], values)
    if len(shape) > 3:
        names = ("step", *DIMENSIONS)
        data = {name: (names, values) for name, (_, values) in data.items()}
    if masked:
        mask = np.ones(shape[:-1], bool)
        for place in masked:
            mask[(..., *place)] = False
        data["mask"] = (("step", *DIMENSIONS)[-len(shape) : -1], mask)
    attributes = {"cell_type": kind.name, "layer": kind.name.lower(), **attributes}
    return xarray.Dataset(data, attrs=attributes)


def tree(**layers):
    grown = xarray.DataTree(xarray.Dataset(attrs={"model": "a model"}))
    for name, dataset in layers.items():
        grown[name] = xarray.DataTree(dataset)
    return grown


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium. In CI these tests must run, so there its want is a failure."""
    missing = pytest.fail if "REQUIRE_CHROMIUM" in os.environ else pytest.skip
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("The pages are opened in Chromium, and there is no `chromium` here.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("The pages are opened by Playwright, which is not installed.")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


class Page:
    """An opened page, and what it did that it should not have done."""

    def __init__(self, browser, path):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.wrong = []
        self.requests = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("console", self._listen)
        self.address = path.resolve().as_uri()
        self.page.goto(self.address)
        self.settle()

    def _dismiss(self, dialog):
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _listen(self, message):
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def settle(self):
        """Waits until everything that was asked for is drawn."""
        self.page.wait_for_selector("#explorer[aria-busy=false]", timeout=20_000)

    def check(self):
        assert self.page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert self.wrong == []
        assert self.requests == [self.address]

    def text(self, selector):
        return self.page.inner_text(selector)

    def choose(self, selector, value):
        self.page.select_option(selector, value)
        self.settle()

    def fill(self, selector, value):
        self.page.fill(selector, str(value))
        self.page.press(selector, "Enter")
        self.settle()

    def slide(self, selector, steps):
        """Moves a slider by the keyboard."""
        self.page.focus(selector)
        for _ in range(abs(steps)):
            self.page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
        self.settle()

    def titles(self):
        """The titles of the maps that are shown, by row and column."""
        shown = self.page.evaluate(
            """() => [...document.querySelectorAll(".cell[id^=cell]:not(.empty)")]
                .filter((cell) => cell.offsetParent)
                .map((cell) => [cell.id, cell.querySelector(".title").innerText])"""
        )
        return {tuple(map(int, name.split("-")[1:])): title for name, title in shown}

    def visible_lines(self):
        """The places in which the lines of a unit are drawn."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("[id^=unit-]:not(.empty)")]
                .filter((cell) => cell.classList.contains("cell") && cell.offsetParent)
                .map((cell) => cell.id).sort()"""
        )

    def source(self, name):
        """The data of a source in Bokeh's document, as lists."""
        return self.page.evaluate(
            """(name) => Object.fromEntries(
                Object.entries(Bokeh.documents[0].get_model_by_name(name).data).map(
                    ([key, values]) => [key, Array.from(values, (value) =>
                        typeof value === "object" ? Array.from(value, Number) : value
                    )]))""",
            name,
        )

    def image(self, row, column):
        """What is drawn, of dimensions (time, unit)."""
        data = self.source(f"map-{row}-{column}-image")
        height, width = int(data["dh"][0]), int(data["dw"][0])
        return np.reshape(data["image"][0], (height, width)).T

    def spot(self, row, column, step, place):
        """The pixel in the window where a cell of a map is."""
        self.page.locator(f"#cell-{row}-{column}").scroll_into_view_if_needed()
        # A scroll hides what the pointer said, and is shown of a frame later.
        self.page.evaluate(
            "() => new Promise((go) => requestAnimationFrame(() => setTimeout(go, 30)))"
        )
        box = self.page.locator(f"#cell-{row}-{column} .plot").bounding_box()
        x, y = self.page.evaluate(
            """([name, x, y]) => {
                const figure = Bokeh.documents[0].get_model_by_name(name);
                const { frame } = Bokeh.index.find_one(figure);
                return [frame.x_scale.compute(x), frame.y_scale.compute(y)];
            }""",
            [f"map-{row}-{column}", step, place],
        )
        return box["x"] + x, box["y"] + y

    def hover(self, row, column, step, place):
        """What is said when the pointer is at a cell."""
        self.page.mouse.move(1, 1)
        self.page.mouse.move(*self.spot(row, column, step, place))
        self.page.wait_for_selector("#tip:not([hidden])")
        return self.text("#tip")

    def colour(self, row, column, step, place):
        """The colour of a cell on the screen."""
        x, y = self.spot(row, column, step, place)
        self.page.mouse.move(1, 1)
        self.page.wait_for_timeout(60)
        clip = {"x": x - 1, "y": y - 1, "width": 3, "height": 3}
        picture = imread(io.BytesIO(self.page.screenshot(clip=clip)))
        return picture[1, 1, :3]


@pytest.fixture
def opened(browser, tmp_path):
    """Writes a page and opens it; afterwards, nothing may have gone wrong in it."""
    pages = []

    def write_and_open(gates, **options):
        path = keras_gates.report(gates, tmp_path / "report.html", **options)
        pages.append(Page(browser, path))
        return pages[-1]

    yield write_and_open
    for page in pages:
        page.check()
        page.context.close()


def number(text):
    return float(re.search(r": (−?[0-9.]+)", text)[1].replace("−", "-"))


# The numbers ------------------------------------------------------------------------


def test_hover_shows_the_true_value_in_every_map(opened):
    gates = layer()
    page = opened(gates)
    page.slide("#sample", 1)
    places = {(r, c): name.split()[0] for (r, c), name in page.titles().items()}
    assert sorted(places.values()) == sorted(LSTM.signals)
    for (row, column), name in places.items():
        for step, unit in ((0, 0), (7, 3), (11, 4)):
            shown = page.hover(row, column, step, unit)
            assert f"unit {unit}, step {step}, sample 1" in shown
            assert number(shown) == pytest.approx(
                float(gates[name][1, step, unit]), abs=1e-4
            )


def test_the_colours_on_the_screen_are_those_of_the_values(opened):
    gates = layer()
    page = opened(gates)
    limit = float(abs(gates["hidden"]).max())
    for row, column, step, unit in ((0, 0, 2, 1), (1, 0, 10, 4), (2, 1, 1, 3)):
        name = {(0, 0): "input", (1, 0): "forget", (2, 1): "hidden"}[row, column]
        value = float(gates[name][0, step, unit])
        expected = matplotlib.colormaps["viridis"](value)
        if name == "hidden":
            expected = matplotlib.colormaps["RdBu_r"]((value + limit) / (2 * limit))
        found = page.colour(row, column, step, unit)
        np.testing.assert_allclose(found, expected[:3], atol=0.02)


@given(
    hnp.arrays(
        "float32",
        st.tuples(st.integers(1, 5), st.integers(1, 3)),
        elements=st.one_of(
            st.floats(0, 1, width=32),
            st.floats(-(2.0**100), 2.0**100, width=32),
            st.sampled_from([np.nan, np.inf, -np.inf]),
        ),
    )
)
def test_packed_values_come_back(values):
    packed = encoding.pack(values, gate=True)
    found = packed.offset + packed.span * packed.codes.astype(float) / encoding.TOP
    finite = np.isfinite(values)
    assert (packed.codes[~finite] > encoding.TOP).all()
    assert (packed.codes[finite] <= encoding.TOP).all()
    bound = np.broadcast_to(packed.span / 131_000 + 1e-12, values.shape)
    exact = values.astype(float)
    assert (
        abs(found - exact)[finite] <= bound[finite] + abs(exact[finite]) / 1e12
    ).all()
    if finite.all() and values.min() >= 0 and values.max() <= 1:
        assert abs(found - exact).max() < 1e-5


def test_figures_of_the_page_are_those_of_stats(opened):
    gates = tree(lstm=layer(masked=[(0, 3)]), gru=layer(GRU, seed=1))
    page = opened(gates)
    shown = page.page.locator("#diagnosis li").all_inner_texts()
    expected = [symptom.message for symptom in stats.diagnose(gates).findings]
    assert shown[: len(expected)] == expected
    rows = page.page.locator("#table tbody tr").all_inner_texts()
    assert len(rows) == 10
    means = stats.summary(gates)["mean"]
    for row, mean in zip(rows, means, strict=True):
        assert row.split("\t")[2] == f"{mean:.3f}"
    points = page.page.evaluate(
        """() => Bokeh.documents[0].roots().flatMap((root) =>
            root.renderers.map(({ data_source }) => data_source.data)
        ).filter(({ left }) => left).map(({ left, right }) =>
            [Array.from(left), Array.from(right)])"""
    )
    saturation = stats.saturation(gates)
    gate_names = [("lstm", gate) for gate in LSTM.gates]
    gate_names += [("gru", gate) for gate in GRU.gates]
    for sides, (name, gate) in zip(points, gate_names, strict=True):
        np.testing.assert_allclose(sides, saturation[name][gate], atol=1e-12)


# What can be chosen -----------------------------------------------------------------


def test_sample_layer_and_unit_change_what_is_drawn(opened):
    gates = tree(lstm=layer(), gru=layer(GRU, seed=1))
    page = opened(gates)
    np.testing.assert_allclose(page.image(1, 0), gates["lstm/forget"][0], atol=1e-5)
    page.slide("#sample", 2)
    assert page.text("#sample-name") == "sample 2"
    np.testing.assert_allclose(page.image(1, 0), gates["lstm/forget"][2], atol=1e-5)
    page.choose("#layer", "1")
    assert "update gate (1 keeps the old state)" in page.titles().values()
    np.testing.assert_allclose(page.image(0, 0), gates["gru/update"][2], atol=1e-5)
    page.fill("#unit", 3)
    assert page.text("#unit-0-0 .title") == "Unit 3"
    lines = page.source("line-0-0-lines")["y"]
    np.testing.assert_allclose(lines[1], gates["gru/reset"][2, :, 3], atol=1e-5)
    page.fill("#step", 9)
    value = float(gates["gru/reset"][2, 9, 3])
    assert f"reset {value:.4f}" in page.text("#reading")


@pytest.mark.parametrize("units", [[4, 9, -2], ["x1", "x0", "y"]], ids=str)
def test_labels_are_what_a_page_says_and_takes(opened, units):
    days = np.arange("2024-01-01", "2024-01-13", dtype="datetime64[D]").astype("M8[ns]")
    plain = layer(LSTM, (3, 12, 3))
    gates = plain.assign_coords(unit=units, sample=[17, 3, 8], time=days)
    page = opened(gates)
    assert page.text("#sample-name") == "sample 17"
    shown = page.hover(1, 0, 5, 2)
    assert f"unit {units[2]}, step 2024-01-06, sample 17" in shown
    np.testing.assert_allclose(page.image(1, 0), plain["forget"][0], atol=1e-5)
    page.fill("#unit", units[1])
    assert page.page.input_value("#unit") == str(units[1])
    assert page.text("#unit-0-0 .title") == f"Unit {units[1]}"
    lines = page.source("line-0-0-lines")["y"]
    np.testing.assert_allclose(lines[0], plain["input"][0, :, 1], atol=1e-5)
    page.fill("#step", "2024-01-03")
    assert f"unit {units[1]}, step 2024-01-03" in page.text("#reading")
    assert f"input {float(plain['input'][0, 2, 1]):.4f}" in page.text("#reading")
    page.fill("#step", "2030-01-01")  # No such day: the one before stays.
    assert page.page.input_value("#step") == "2024-01-03"
    page.fill("#from", "2024-01-02")
    page.fill("#to", "2024-01-02")
    page.page.evaluate("find('threshold').value = 0.05")
    page.choose("#side", "above")
    page.page.evaluate("ask()")
    page.settle()
    assert "sample 17: steps 2024-01-02 to 2024-01-02" in page.text("#found")
    shown = page.page.locator("#units-found button").all_inner_texts()
    keep = page.page.input_value("#signal")
    on = np.flatnonzero(plain[keep][0, 1] > 0.05)
    assert len(on) and shown == [str(units[n]) for n in on]
    ticks = page.page.evaluate(
        """() => ["map-0-0-time", "map-0-0-units"].map((name) => [
            ...Bokeh.documents[0].get_model_by_name(name).major_label_overrides
               .values()])"""
    )
    assert ticks == [[str(day)[:10] for day in days], list(map(str, units))]
    names = page.page.evaluate(
        """() => Bokeh.documents.flatMap((one) => [...one._all_models.values()])
            .filter((one) => one.type === "ColumnDataSource" && "unit" in one.data)
            .map((one) => Array.from(one.data.unit))"""
    )
    assert all(sorted(some) == sorted(map(str, units)) for some in names) and names


def test_a_click_on_a_cell_draws_its_unit(opened):
    gates = layer()
    page = opened(gates)
    page.page.mouse.click(*page.spot(0, 0, 8, 4))
    page.settle()
    assert page.page.input_value("#unit") == "4"
    assert page.page.input_value("#step") == "8"
    lines = page.source("line-0-0-lines")["y"]
    np.testing.assert_allclose(lines[1], gates["forget"][0, :, 4], atol=1e-5)


def test_units_are_in_the_chosen_order(opened):
    gates = layer(shape=(3, 30, 6))
    gates["forget"][:] = gates["forget"] ** np.array([0.3, 2, 0.05, 1, 0.6, 0.1])
    gates["hidden"][..., 5] = -2 * gates["hidden"][..., 2]
    gates["hidden"][..., 0] = 0.5 * gates["hidden"][..., 2]
    page = opened(gates)
    orders = {
        "saturation": stats.saturation(gates["forget"]).sel(side="right").argsort(),
        "timescale": stats.timescale(gates["forget"]).argsort(),
    }
    for key, order in orders.items():
        page.choose("#order", key)
        expected = gates["output"][0, :, order.values]
        np.testing.assert_allclose(page.image(2, 0), expected, atol=1e-5)
        assert f"unit {int(order[-1])}," in page.hover(2, 0, 3, 5)
    page.choose("#order", "similarity")
    units = [int(page.hover(0, 0, 0, place).split("unit ")[1][0]) for place in range(6)]
    assert sorted(units) == list(range(6))
    assert abs(units.index(0) - units.index(2)) == 1
    assert abs(units.index(5) - units.index(2)) > 1


def test_a_gru_is_shown_next_to_an_lstm(opened):
    models = {"an LSTM": tree(a=layer()), "a GRU": tree(b=layer(GRU, (3, 12, 4), 1))}
    page = opened(models)
    update = models["a GRU"]["b/update"]
    assert page.text("#column-0 .name") == "an LSTM/a"
    assert page.text("#column-1 .name") == "a GRU/b"
    assert "1 keeps the old state" in page.text("#column-1 .about")
    page.slide("#sample", 1)
    titles = page.titles()
    assert titles[0, 0].startswith("forget") and titles[0, 1].startswith("update")
    assert titles[1, 1] == "1 − update (share written)"
    np.testing.assert_allclose(page.image(0, 1), update[1], atol=1e-5)
    np.testing.assert_allclose(page.image(1, 1), 1 - update[1], atol=1e-5)
    assert number(page.hover(1, 1, 4, 2)) == pytest.approx(
        1 - float(update[1, 4, 2]), abs=1e-4
    )
    assert "A GRU has no cell state" in page.text("#cell-4-1")
    # One scale for a row: the same colour is the same number.
    assert page.text("#cell-5-0 .high") == page.text("#cell-5-1 .high")
    page.fill("#unit-beside", 3)
    lines = page.source("line-0-1-lines")["y"]
    np.testing.assert_allclose(lines[0], update[1, :, 3], atol=1e-5)
    page.choose("#layer", "1")
    assert page.text("#column-0 .name") == "a GRU/b"
    assert not page.page.is_visible("#column-1")


def test_a_layer_without_gates_has_a_page(opened):
    gates = layer(SIMPLE_RNN)
    page = opened(tree(rnn=gates))
    assert page.titles() == {(0, 0): "hidden state"}
    np.testing.assert_allclose(page.image(0, 0), gates["hidden"][0], atol=1e-4)
    for sentence in ("has no gates.", "has no gate that keeps the old state."):
        assert f"A SimpleRNN {sentence}" in page.text("#layers")
    assert page.visible_lines() == ["unit-0-1"]
    assert "None" not in page.text("body")


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_a_layer_without_gates_is_shown_next_to_one_with_gates(opened, kind):
    """In both columns, and no place is empty without a word."""
    gates, plain = layer(kind), layer(SIMPLE_RNN, seed=1)
    page = opened({"a": tree(r=gates), "b": tree(r=plain), "c": tree(r=gates)})
    for number, (with_gates, without) in enumerate([(0, 1), (1, 0)]):
        if number:
            page.choose("#layer", "1")
            page.choose("#beside", "2")
        titles = page.titles()
        last = max(row for row, _ in titles)
        assert titles[last, 0] == titles[last, 1] == "hidden state"
        assert {row for row, column in titles if column == with_gates} == {
            *range(last + 1)
        }
        assert page.text(f"#cell-0-{without}").strip() == "A SimpleRNN has no gates."
        for row, name in enumerate([*kind.gates, "candidate"]):
            if name == "candidate":
                assert "no candidate" in page.text(f"#cell-{last - 1}-{without}") or (
                    "no cell state" in page.text(f"#cell-{last - 1}-{without}")
                )
            else:
                assert titles[row, with_gates].endswith("(no counterpart)")
        image = page.image(last, without)
        np.testing.assert_allclose(image, plain["hidden"][0], atol=1e-4)
        # The lines of a layer stay in its column.
        lines = page.source(f"line-1-{with_gates}-lines")["y"]
        assert len(lines) == len(kind.signals) - len(kind.gates)
        left, right = (
            page.page.locator(f"#unit-1-{column}").bounding_box()["x"]
            for column in (0, 1)
        )
        assert left < right
        assert page.visible_lines() == sorted(
            [f"unit-0-{with_gates}", "unit-1-0", "unit-1-1"]
        )
        assert "None" not in page.text("body")


def test_steps_of_training_are_on_a_slider(opened):
    traces = layer(shape=(4, 2, 12, 5))
    traces = traces.assign_coords(
        epoch=("step", [0, 1, 2, 3]), batch=("step", [0, 5, 10, 15])
    )
    page = opened(tree(lstm=traces))
    assert page.text("#moment-name") == "epoch 3, batch 15"
    np.testing.assert_allclose(page.image(1, 0), traces["forget"][3, 0], atol=1e-5)
    page.slide("#moment", -2)
    assert page.text("#moment-name") == "epoch 1, batch 5"
    page.slide("#sample", 1)
    np.testing.assert_allclose(page.image(1, 0), traces["forget"][1, 1], atol=1e-5)
    assert "training: epoch 1" in page.hover(1, 0, 2, 2)
    page.slide("#moment", -1)
    assert page.text("#moment-name") == "before training"


# Units that stay on -----------------------------------------------------------------


def staying(values, start, stop, threshold):
    """Units above a threshold through a span, and where else all of them are."""
    real = ~np.isnan(values).all(-1)
    inside = [t for t in range(start, stop + 1) if real[0, t]]
    units = [
        u for u in range(values.shape[-1]) if (values[0, inside, u] > threshold).all()
    ]
    places = []
    for sample in range(len(values)):
        on = [
            bool(real[sample, t] and (values[sample, t, units] > threshold).all())
            for t in range(values.shape[1])
        ]
        for first in range(len(on)):
            last = first
            while last + 1 < len(on) and on[last + 1]:
                last += 1
            begins = on[first] and not (first and on[first - 1])
            same = sample == 0 and first <= stop and last >= start
            if begins and last - first + 1 >= len(inside) and not same:
                places.append((sample, first, last))
    return units, places


def test_span_and_threshold_find_the_units_and_the_places(opened):
    rng = np.random.default_rng(2)
    gates = layer(shape=(6, 40, 9), masked=[(0, 12), (3, slice(20, 26))])
    slow = rng.normal(size=(6, 10, 9)).repeat(4, axis=1) + rng.normal(size=9)
    mask = gates["mask"].values[..., None]
    values = np.where(mask, 1 / (1 + np.exp(-2 * slow)), np.nan)
    gates["input"][:] = values
    page = opened(gates)
    page.choose("#signal", "input")
    page.fill("#from", 9)
    page.fill("#to", 14)
    page.page.evaluate(
        """() => { const slider = document.getElementById("threshold");
            slider.value = 0.6; slider.dispatchEvent(new Event("input")); }"""
    )
    page.settle()
    truth = gates["input"].values.astype(float)
    for side, sign in (("above", 1), ("below", -1)):
        page.choose("#side", side)
        units, places = staying(sign * truth, 9, 14, sign * 0.6)
        assert units and places, "the test's own data have nothing to find"
        shown = page.page.locator("#units-found button").all_inner_texts()
        assert list(map(int, shown)) == units
        assert f"{len(units)} of 9 units keep input {side} 0.6" in page.text("#found")
        assert "1 masked step left out" in page.text("#found")
        listed = page.page.locator("#places button").all_inner_texts()
        found = [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in listed]
        assert sorted(found) == sorted(places)
        marks = page.source("map-0-0-marks")
        assert marks["y"] == units and set(marks["x"]) == {8.5}


def test_a_place_is_reached_by_the_keyboard_alone(opened):
    gates = layer(shape=(4, 300, 5))
    gates["forget"][:] = 0.3
    gates["forget"][0, 140:160, 2] = 0.97
    gates["forget"][3, 200:230, 2] = 0.98
    page = opened(gates)
    keyboard = page.page.keyboard
    focused = "document.activeElement.id"
    for _ in range(40):
        keyboard.press("Tab")
        if page.page.evaluate(focused) == "from":
            break
    for key in ("1", "4", "0", "Tab"):
        keyboard.press("Control+A") if key == "1" else None
        keyboard.press(key)
    assert page.page.evaluate(focused) == "to"
    keyboard.press("Control+A")
    for key in ("1", "5", "9", "Enter"):
        keyboard.press(key)
    page.settle()
    assert page.page.locator("#units-found button").all_inner_texts() == ["2"]
    for _ in range(20):
        keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.closest('#places') !== null"):
            break
    keyboard.press("Enter")
    page.settle()
    assert page.text("#sample-name") == "sample 3"
    np.testing.assert_allclose(
        page.page.evaluate(
            """() => { const box = Bokeh.documents[0].get_model_by_name("map-1-0-span");
                return [box.left, box.right, box.visible]; }"""
        ),
        [199.5, 229.5, True],
    )
    # The question stays where it was asked, and there is a way back.
    assert "sample 0: steps 140 to 159" in page.text("#found")
    page.page.focus("#back")
    keyboard.press("Enter")
    page.settle()
    assert page.text("#sample-name") == "sample 0"


def test_every_control_has_a_name_and_is_reached_by_tab(opened):
    page = opened(tree(lstm=layer(), gru=layer(GRU)))
    wanted = page.page.evaluate(
        """() => [...document.querySelectorAll("#controls select, #controls input")]
            .filter((one) => one.offsetParent).map(({ id, labels }) => {
                if (!labels.length) throw Error(id); return id; })"""
    )
    reached = set()
    for _ in range(60):
        page.page.keyboard.press("Tab")
        reached.add(page.page.evaluate("document.activeElement.id"))
    assert {"layer", "beside", "sample", "order", "from", "threshold"} <= set(wanted)
    assert set(wanted) <= reached | {"sample"} and "sample" in reached


def test_dragging_over_a_map_chooses_the_span(opened):
    from playwright import sync_api

    page = opened(layer())
    mouse = page.page.mouse
    mouse.move(*page.spot(1, 0, 3, 1))
    mouse.down()
    mouse.move(*page.spot(1, 0, 6, 2), steps=4)
    mouse.move(*page.spot(1, 0, 8, 2), steps=4)
    mouse.up()
    # The page receives a drag some frames later. Its policy refuses the script by which
    # `wait_for_function` would wait for that.
    sync_api.expect(page.page.locator("#from")).not_to_have_value("6")
    page.settle()
    assert [page.page.input_value(end) for end in ("#from", "#to")] == ["3", "8"]


# What is shown of what ---------------------------------------------------------------


def test_names_and_tokens_are_text(opened):
    gates = {ALERT: tree(**{"layer": layer(layer=ALERT)})}
    inputs = [[ALERT, "</script>", "$$x$$", "<!--", *("&amp;" for _ in range(8))]] * 3
    page = opened(gates, inputs=inputs)
    assert ALERT in page.text("h1")
    shown = page.hover(0, 0, 0, 0)
    assert f"token: {ALERT}" in shown
    assert "token: </script>" in page.hover(0, 0, 1, 0)
    assert "token: $$x$$" in page.hover(0, 0, 2, 0)
    assert page.page.locator("#layers h3").inner_text() == f"{ALERT}/layer"
    assert page.source("input-0-words")["text"][:2] == [ALERT, "</script>"]

    alone = opened(layer(layer=ALERT, direction="backward"))
    assert alone.text("#column-0 .name") == ALERT
    assert "reads backward" in alone.text("#column-0 .about")
    assert ALERT in alone.text("#diagnosis")


def test_masked_steps_are_grey_and_infinity_has_its_own_colour(opened):
    gates = layer(masked=[(0, slice(9, 12))])
    gates["hidden"][0, 4, 2] = np.inf
    gates["hidden"][0, 5, 2] = np.nan
    page = opened(gates)
    grey = matplotlib.colors.to_rgb(bokeh_frames.MASKED_COLOUR)
    np.testing.assert_allclose(page.colour(0, 0, 10, 2), grey, atol=0.01)
    assert "input: masked step" in page.hover(0, 0, 10, 2)
    assert "hidden: NaN" in page.hover(2, 1, 5, 2)
    assert "hidden: infinite" in page.hover(2, 1, 4, 2)
    loud = matplotlib.colors.to_rgb(bokeh_frames.INFINITE)
    np.testing.assert_allclose(page.colour(2, 1, 4, 2), loud, atol=0.02)
    palette = matplotlib.colormaps["viridis"](range(256))[:, :3]
    assert abs(palette - grey).max(axis=1).min() > 0.1


def test_characters_are_under_their_steps(opened):
    gates = layer(masked=[(1, slice(0, 4))])
    page = opened(gates, inputs=["abc defghijk", "mnopqrst", "uvwxyz012345"])
    assert page.source("input-0-words")["text"] == list("abc␣defghijk")
    page.slide("#sample", 1)
    # Eight characters for twelve steps, four of them masked.
    assert page.source("input-0-words")["text"] == [*[""] * 4, *"mnopqrst"]
    assert "token: n" in page.hover(0, 0, 5, 0)
    assert "token" not in page.hover(0, 0, 2, 0)


def test_words_show_when_there_is_room(opened):
    words = [f"word{n}" for n in range(200)]
    page = opened(layer(shape=(1, 200, 2)), inputs=[words])
    assert page.source("input-0-words")["text"] == []
    assert "Zoom in to" in page.text("#read-0 .title")
    for _ in range(4):
        page.page.click("#zoom-in")
    shown = page.source("input-0-words")
    assert 5 < len(shown["text"]) < 40
    assert shown["text"] == [words[int(step)] for step in shown["x"]]


def test_numbers_of_the_input_are_lines_under_the_axis(opened):
    x = np.random.default_rng(3).normal(size=(3, 12, 6)) * [1, 5, 0.1, 4, 3, 2]
    page = opened(layer(), inputs=x)
    page.slide("#sample", 2)
    assert "4 of 6 features that vary the most" in page.text("#read-0 .title")
    lines = page.source("input-0-lines")["y"]
    np.testing.assert_allclose(lines, x[2][:, [1, 3, 4, 5]].T, rtol=1e-5)
    shown = page.hover(0, 0, 7, 1)
    assert f"feature 4: {x[2, 7, 4]:.3f}" in shown


def test_frames_are_shown_with_samples(opened):
    values = np.random.default_rng(0).uniform(size=(2, 3, 7, 4))
    dims = ("sample", "frame", "time", "unit")
    gates = xarray.Dataset({"update": (dims, values)}, attrs={"cell_type": "GRU"})
    x = np.arange(2 * 3 * 7).reshape(2, 3, 7)
    page = opened(gates, inputs=x)
    page.slide("#sample", 4)
    assert page.text("#sample-name") == "sample 1, frame 1"
    np.testing.assert_allclose(page.image(0, 0), values[1, 1], atol=1e-5)
    assert "input: 33" in page.hover(0, 0, 5, 0)


def test_long_sequences_are_right_when_zoomed(opened):
    """Longer than any canvas is wide."""
    gates = layer(LSTM, (1, 70_000, 2))[["forget"]]
    page = opened(gates)
    assert "the mean of" in page.text("#coarse")
    page.fill("#from", 69_980)
    page.fill("#to", 69_999)
    page.page.click("#to-span")
    assert page.text("#coarse") == ""
    data = page.source("map-0-0-image")
    first = int(data["x"][0] + 0.5)
    drawn = np.reshape(data["image"][0], (2, -1)).T
    expected = gates["forget"][0, first : first + len(drawn)]
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    value = float(gates["forget"][0, 69_990, 1])
    assert number(page.hover(0, 0, 69_990, 1)) == pytest.approx(value, abs=1e-4)


# What does not fit -------------------------------------------------------------------


def test_thinning_is_stated_and_the_rest_is_true(opened, monkeypatch):
    gates = layer(shape=(64, 12, 5))
    one = 12 * 5 * len(LSTM.signals) * thinning.PACKED
    monkeypatch.setattr(thinning, "BUDGET", 8 * one)
    page = opened(gates)
    shown = page.text("#explorer")
    assert "8 of 64 samples" in shown and "the table cover all" in shown
    page.slide("#sample", 6)
    assert page.text("#sample-name") == "sample 54"
    np.testing.assert_allclose(page.image(1, 0), gates["forget"][54], atol=1e-5)
    mean = float(gates["input"].mean())
    assert f"{mean:.3f}" in page.text("#table tbody tr >> nth=0")


def test_a_sample_too_large_for_a_page_is_cut_and_the_page_states_it(
    opened, monkeypatch
):
    monkeypatch.setattr(thinning, "BUDGET", 256 * 3 * 2)
    gates = layer(LSTM, (2, 1000, 7))[["forget"]]
    page = opened(gates)
    shown = page.text("#explorer")
    assert "1 of 2 samples" in shown
    assert "256 of 1,000 time steps" in shown and "the first ones" in shown
    assert "3 of 7 units" in shown
    expected = gates["forget"][0, 255, 3]
    page.page.click("#to-span")
    page.fill("#step", 255)
    page.fill("#unit", 3)
    assert f"forget {float(expected):.4f}" in page.text("#reading")


def test_a_whole_store_of_a_recorder_names_its_model(tmp_path):
    """Its root describes the layers, and only the traces know the model's name."""
    store = xarray.DataTree(xarray.Dataset(attrs={"model": {"lstm": "LSTM(5)"}}))
    store["traces"] = tree(lstm=layer(shape=(2, 3, 12, 5)))
    text = keras_gates.report(store, tmp_path / "report.html").read_text()
    assert "<h1>Gates of model &#39;a model&#39;</h1>" in text


def test_steps_of_training_are_thinned_to_the_last():
    layers, _ = page_layers.read_layers(layer(LSTM, (5, 2, 12, 4)))
    (part,) = thinning.parts(layers, 12 * 4 * 6 * 2 * 3)
    assert part.moments.tolist() == [0, 2, 4] and part.samples.tolist() == [0]
    (part,) = thinning.parts(layers, 12 * 4 * 6 * 2)
    assert part.moments.tolist() == [4]
    said = thinning.sentences(layers, [part])
    assert any("1 of 5 steps of training" in sentence for sentence in said)


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_store_is_read_layer_by_layer(tmp_path, opened, chunks):
    gates = tree(lstm=layer(), gru=layer(GRU, seed=1))
    gates.to_zarr(tmp_path / "gates.zarr", consolidated=False)
    lazy = xarray.open_datatree(
        tmp_path / "gates.zarr", engine="zarr", consolidated=False, chunks=chunks
    )
    page = opened(lazy)
    page.choose("#layer", "1" if "gru" in page.text("#layer option >> nth=1") else "0")
    page.slide("#sample", 1)
    np.testing.assert_allclose(page.image(0, 0), gates["gru/update"][1], atol=1e-5)
    for name in ("lstm", "gru"):
        for variable in lazy[name].to_dataset().data_vars.values():
            assert not variable.variable._in_memory, "the store was read into memory"


# What bad input gets -----------------------------------------------------------------


def changed(change):
    return layer().map(change, keep_attrs=True)


EXTREMES = {
    "one sample and one step": layer(shape=(1, 1, 1)),
    "one unit": layer(GRU, (2, 5, 1)),
    "all masked": layer(masked=[(slice(None), slice(None))]),
    "infinite": changed(lambda values: values + np.inf),
    "NaN": changed(lambda values: values * np.nan),
    "one signal": layer()[["hidden"]],
    "no sample dimension": layer().isel(sample=1),
    "open throughout": changed(lambda values: values * 0 + 1),
    "no gates at all": changed(lambda values: values * 50 - 20),
}


def test_extremes_get_a_page(opened):
    page = opened(EXTREMES)
    for index, name in enumerate(EXTREMES):
        page.choose("#layer", str(index))
        assert page.text("#column-0 .name").startswith(f"{name}/"), name
        assert page.titles(), name
        shown = page.text("#found"), page.hover(*min(page.titles()), 0, 0)
        if name == "all masked":
            assert "nothing to compare" in shown[0] and "masked step" in shown[1]
        if name in ("infinite", "NaN"):
            assert name in shown[1]
    overview = page.text("#layers")
    assert "No gate was captured" in overview
    assert "5 keep everything (infinite)" in overview
    assert "Every step of 'all masked/lstm' is masked" in page.text("#diagnosis")


X = np.ones((3, 12))
BAD = {
    "array": (layer()["forget"], {}, TypeError, "got DataArray"),
    "in a mapping": ({"a": 3}, {}, TypeError, r"`gates\['a'\]` must be .* got int"),
    "empty mapping": ({}, {}, ValueError, "empty mapping"),
    "no signal": (
        xarray.Dataset({"loss": 1.0}),
        {},
        ValueError,
        "must hold at least one of 'input'.*it has 'loss'",
    ),
    "dimension": (layer().expand_dims("seed"), {}, ValueError, r"isel\(seed=0\)"),
    "no time": (layer().mean("time", keep_attrs=True), {}, ValueError, "time"),
    "no samples": (layer().isel(sample=[]), {}, ValueError, "has no sample"),
    "samples": (layer(), X[:2], ValueError, r"sample of `gates`, 3; got the shape \(2"),
    "steps": (layer(), X[:, :5], ValueError, r"has \(3, 12\); got \(3, 5\)"),
    "text": (layer(), "abc", TypeError, "Put it into a list"),
    "texts": (layer(), ["abc"] * 3, ValueError, "12 steps, 12 of them unm.*got 3"),
    "too few texts": (layer(), ["abc"], ValueError, "3; got 1 texts"),
    "ragged": (layer(), [[1], [1, 2], [1]], TypeError, "`inputs` must be an array"),
    "objects": (layer(), {"a": X}, TypeError, "`inputs` must be an array"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_get_a_sentence(tmp_path, case):
    gates, inputs, error, sentence = BAD[case]
    inputs = None if isinstance(inputs, dict) and not inputs else inputs
    with pytest.raises(error, match=sentence):
        keras_gates.report(gates, tmp_path / "report.html", inputs=inputs)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="be in a folder that exists.*Create"):
        keras_gates.report(layer(), tmp_path / "none" / "report.html")
    with pytest.raises(IsADirectoryError, match="is a folder. Name a file in it"):
        keras_gates.report(layer(), tmp_path)


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("the old page")

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        keras_gates.report(layer(), path)
    assert path.read_text() == "the old page"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert keras_gates.report(layer(), str(path)) == path
    assert path.read_text().startswith("<!doctype html>")


def test_nothing_in_the_file_points_elsewhere(tmp_path):
    text = keras_gates.report(layer(), tmp_path / "report.html").read_text()
    assert "default-src 'none'" in text
    for found in re.findall(
        r"<(?:script|link|img|iframe)[^>]*(?:src|href)=([^ >]+)", text
    ):
        assert found.startswith('"data:'), found
