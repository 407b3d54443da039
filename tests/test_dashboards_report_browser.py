"""The report in a browser: it draws, it reads, it answers to mouse and keyboard, and it asks nobody for anything."""

import shutil

import pytest
from report_runs import hostile, run

from lightning_losses.dashboards import report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages by name."""
    folder = tmp_path_factory.mktemp("pages")
    first, second = run(folder), run(folder, "second", 1.5)
    pages = {"one": [first], "two": [first, second], "hostile": [hostile(folder), first]}
    for name, histories in pages.items():
        (folder / f"{name}.html").write_text(report.html(histories), encoding="utf-8")
    return folder


@pytest.fixture
def open_page(browser, files):
    """A page; anything that it says, asks for or pops up fails the test."""
    heard, contexts = [], []

    def _open(name, width=1440, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: heard.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        page.goto(f"file://{files / name}.html")
        return page

    yield _open
    for context in contexts:
        context.close()
    assert heard == []


def drawn(chart):
    """A chart, once it has come into view and been drawn."""
    chart.scroll_into_view_if_needed()
    chart.locator("canvas").wait_for()
    return chart


def chart_of(page, title):
    return drawn(page.locator("[data-chart]").filter(has=page.get_by_role("heading", name=title, exact=True)))


def picture(chart):
    return chart.locator("canvas").evaluate("c => c.toDataURL()")


def inked(chart):
    """How many pixels of a chart are drawn on."""
    return chart.locator("canvas").evaluate(
        "c => { const o = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});"
        " o.drawImage(c, 0, 0); const d = o.getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n }"
    )


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("one", 1440, "light"),
        ("two", 1440, "dark"),
        ("one", 390, "dark"),
        ("two", 390, "light"),
        ("hostile", 390, "light"),
    ],
)
def test_every_chart_is_drawn_and_nothing_sticks_out(open_page, name, width, scheme):
    page = open_page(name, width, scheme)
    charts = page.locator("[data-chart]").all()
    assert len(charts) >= 10
    assert min(inked(drawn(chart)) for chart in charts) > 300
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(19, 21, 24)") == (scheme == "dark")


def test_a_change_of_the_scheme_draws_anew(open_page):
    page = open_page("one")
    chart = chart_of(page, "Total loss")
    before = picture(chart)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(19, 21, 24)'")
    for _ in range(100):  # charts follow in a frame of their own
        if picture(chart) != before:
            break
        page.wait_for_timeout(100)
    assert picture(chart) != before


def test_the_cursor_reads_the_values_of_its_step_in_every_chart(open_page):
    page = open_page("one")
    norms, raw = chart_of(page, "Gradient norms by layer"), chart_of(page, "Raw loss of each term")
    raw.scroll_into_view_if_needed()
    box = raw.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    assert raw.locator(".step").inner_text() == "step 150"
    assert norms.locator(".step").inner_text() == "step 150"
    assert norms.get_by_role("button", name="net.down").locator("b").inner_text() == "0.2231"  # exp(-1.5)
    assert raw.get_by_role("button", name="dice").locator("b").inner_text() == "NaN"
    page.mouse.move(box["x"] + box["width"] / 2, 0)
    assert raw.locator(".step").inner_text() == "last"


def test_the_keyboard_moves_the_cursor_and_zooms(open_page):
    page = open_page("one")
    chart = chart_of(page, "Total loss")
    chart.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert chart.locator(".step").inner_text() == "step 291"
    page.keyboard.press("PageUp")
    assert chart.locator(".step").inner_text() == "step 231"
    assert page.locator("#reset").is_hidden()
    page.keyboard.press("+")
    page.locator("#reset").click()
    assert page.locator("#reset").is_hidden()


def test_a_drag_zooms_every_chart_and_a_double_click_shows_all_again(open_page):
    page = open_page("one")
    chart, other = chart_of(page, "Total loss"), chart_of(page, "Share of the total")
    full = picture(other)
    chart.scroll_into_view_if_needed()
    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 50, steps=4)
    page.mouse.up()
    page.locator("#reset").wait_for()
    assert picture(other) != full
    chart.locator(".u-over").dblclick()
    page.mouse.move(0, 0)
    page.locator("#reset").wait_for(state="hidden")
    assert picture(other) == full


def test_lines_runs_smoothing_and_scales_are_switched(open_page):
    page = open_page("two")
    chart = chart_of(page, "Total loss")
    pixels = [inked(chart)]
    button = chart.get_by_role("button", name="second")
    button.click()
    pixels.append(inked(chart))
    assert button.get_attribute("aria-pressed") == "false"
    assert pixels[1] < pixels[0]
    button.click()
    page.get_by_role("checkbox", name="second").uncheck()
    page.mouse.move(0, 0)
    assert inked(chart) == pixels[1]
    page.get_by_role("checkbox", name="second").check()
    assert inked(chart) == pixels[0]
    state = [picture(chart)]
    page.get_by_role("slider").fill("0.9")
    state.append(picture(chart))
    page.get_by_role("checkbox", name="Log scale").check()
    state.append(picture(chart))
    assert len(set(state)) == 3
    assert chart.get_by_role("button", name="Log scale").get_attribute("aria-pressed") == "true"


def test_a_smoothed_line_starts_where_the_values_do(open_page):
    page = open_page("one")
    values = page.evaluate("smoothed([4, 4, null, 4], 0.9)")
    assert values == [4, pytest.approx(4), None, pytest.approx(4)]
    assert page.evaluate("smoothed([0, 1], 0.5)") == [0, pytest.approx(2 / 3)]


def test_a_logarithmic_axis_has_no_ticks_beyond_its_ends(open_page):
    page = open_page("one")
    assert page.evaluate("decades(null, 0, 0.5, 30)") == [0.5, 1, 2, 5, 10, 20]
    assert page.evaluate("decades(null, 0, 1e-9, 1)") == pytest.approx([1e-8, 1e-6, 1e-4, 1e-2, 1])


def test_a_picture_opens_large_and_closes(open_page):
    page = open_page("one")
    page.get_by_role("button", name="Enlarge test/predictions").first.click()
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").is_hidden()


def test_everything_has_a_name_for_those_who_do_not_see(open_page):
    page = open_page("two")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, a, input, [role=img], img[src]')]"
        ".filter(e => !(e.textContent.trim() || e.ariaLabel || e.alt || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []
    label = chart_of(page, "Total loss").get_by_role("img").get_attribute("aria-label")
    assert label.startswith("Total loss. first: from 3 at 0 to ")
