"""The page in a real browser: silent, offline, interactive, and within its window."""

import shutil

import pytest
from tests.pages import write_page

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, matched_report):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.noise, page.requests = [], []
    page.on("console", lambda message: page.noise.append(message.text))
    page.on("pageerror", lambda error: page.noise.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(matched_report.as_uri())
    page.wait_for_selector("#plot .scatterlayer .point")
    yield page
    page.close()


def positions(page) -> list[str]:
    return page.eval_on_selector_all(
        "#plot .scatterlayer .point", "points => points.map(p => p.getAttribute('transform'))"
    )


def test_silent_and_offline(page, matched_report):
    page.hover(".levels td.number >> nth=1")
    page.hover("#matched_loss .lane >> nth=1")
    page.select_option("#choose-y", "sam_sharpness")
    page.check("input[name=moment] >> nth=1", force=True)
    assert page.noise == []
    assert page.requests == [matched_report.as_uri()]


def test_a_point_per_finished_run_which_moves_with_the_choice(page):
    before = positions(page)
    assert len(before) == 6 * 4 - 1
    page.select_option("#choose-y", "sam_sharpness")
    page.wait_for_function("document.querySelector('#plot .ytitle').textContent === 'SAM sharpness'")
    assert positions(page) != before
    page.select_option("#choose-x", "ece")
    page.wait_for_function("document.querySelector('#plot .xtitle').textContent === 'Expected calibration error'")
    assert not page.is_checked("#log-x")


def ticks(page) -> list[str]:
    return page.eval_on_selector_all(
        "#plot .ytick text", "ticks => ticks.map(t => t.textContent + t.getAttribute('y'))"
    )


def test_a_measure_is_seen_at_matched_loss_on_the_same_axis(page):
    before, axis = positions(page), ticks(page)
    page.check("input[name=moment] >> nth=1", force=True)
    page.wait_for_function("document.querySelector('#plot .ytitle').textContent.endsWith('at train loss 0.1')")
    assert len(positions(page)) == len(before)
    assert positions(page) != before
    assert ticks(page) == axis
    assert "Spearman" in page.text_content("#plot-caption")
    page.select_option("#choose-x", "train_loss@0.1")
    page.wait_for_function("document.querySelector('#plot .xtitle').textContent === 'Train loss at train loss 0.1'")
    page.check("input[name=moment] >> nth=0", force=True)
    page.wait_for_function("document.querySelector('#plot .xtitle').textContent === 'Train loss'")
    assert page.is_checked("#log-x")
    assert positions(page) == before


def test_caption_says_that_coefficients_are_of_all_settings(browser, make_results, tmp_path):
    page = browser.new_page()
    results = make_results(seeds=4, regimes=("baseline", "sam"), training__lr=[0.01, 0.1])
    page.goto(write_page(results, tmp_path).as_uri())
    page.wait_for_selector("#plot .scatterlayer .point")
    page.select_option("#choose-group", "training.lr = 0.1")
    assert page.text_content("#plot-caption").startswith("In all settings together: Spearman")
    page.close()


def test_a_logarithmic_axis_of_nearly_equal_values_has_marks(browser, make_results, tmp_path):
    results = make_results(seeds=3, regimes=("baseline", "sam"))
    results.ledger["train_loss"] = 2.25 + 0.01 * results.ledger["seed"]
    page = browser.new_page()
    page.goto(write_page(results, tmp_path).as_uri())
    page.wait_for_selector("#plot .scatterlayer .point")
    assert page.is_checked("#log-x")
    assert page.locator("#plot .xtick").count() > 1
    page.close()


def test_hovering_a_regime_tells_both_moments(page):
    page.hover("#matched_loss .lane >> nth=1")
    tip = page.inner_text("#tip")
    assert "At train loss 0.1" in tip
    assert "At the end of training" in tip
    assert "Difference to baseline" in tip


def test_hovering_a_cell_and_a_point_tells_more(page):
    page.hover(".levels td.number >> nth=1")
    tip = page.inner_text("#tip")
    assert "Difference to baseline" in tip
    assert "Rank-biserial effect" in tip
    page.locator("#plot").scroll_into_view_if_needed()
    page.evaluate("Plotly.Fx.hover('plot', [{curveNumber: 1, pointNumber: 2}])")
    assert "sam-02" in page.text_content("#plot .hoverlayer")


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_page_is_not_wider_than_its_window(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(300)  # Plotly follows the window after a pause of its own
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_scheme_is_followed(page):
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


CUT = """(width) => [...document.querySelectorAll("main table, main svg, main pre, main p, main figure")]
  .filter((part) => part.getBoundingClientRect().right > width + 1)
  .map((part) => `${part.closest("section")?.id} ${part.tagName}`)"""


def test_nothing_is_cut_in_print_and_paper_is_light(page):
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without its margins
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.wait_for_timeout(300)
    assert page.evaluate(CUT, 718) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_browser_that_cannot_unpack_the_plot_says_so(browser, matched_report):
    page = browser.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto(matched_report.as_uri())
    page.wait_for_function("document.getElementById('plot-caption').textContent")
    assert "This browser cannot unpack the plot" in page.inner_text("#plot-caption")
    page.close()
