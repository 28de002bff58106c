"""Every tab by axe-core, in light and dark; what it does not check: focus, names by content, sizes, fonts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.main import PAGES, page_class
from app.session.examples import Example
from tests.app.conftest import Server, serving
from tests.app.fake import FakeEngine

PATIENCE = 60_000
FINDINGS = """rules => axe.run(document, {resultTypes: ["violations"], ...(rules && {runOnly: rules})})
    .then(found => found.violations
    .filter(each => ["serious", "critical"].includes(each.impact))
    .flatMap(each => each.nodes.map(node => [each.id, node.target.join(" "), node.html.slice(0, 160)])))"""
SMALL = """() => [...document.querySelectorAll("button, input, a, [role=button]")].filter(e => e.offsetParent
    && e.tabIndex >= 0 && !e.closest("label, p, li, h1, h2, h3")).map(e => [e.getBoundingClientRect(), e.outerHTML])
    .filter(([box]) => Math.min(box.width, box.height) < 23.5).map(([box, html]) => html.slice(0, 160))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("examples") / "teal.png"
    Image.new("RGB", (120, 90), "teal").save(path)
    with serving(FakeEngine(answer_words=("yes",)), [Example(str(path), "Is it teal?")] * 2) as found:
        yield found


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => document.querySelector('#budget')?.innerText.includes('of 576')")
    yield page
    context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def test_no_tab_has_serious_findings_in_either_theme(page: Any, axe: str) -> None:
    page.evaluate(f"() => {{ {axe} }}")
    found = []
    for name in PAGES:
        page.get_by_role("tab", name=page_class(name).title, exact=True).click()
        page.wait_for_timeout(400)
        for theme, rules in (("light", None), ("dark", ["color-contrast"])):  # themes differ in colours only
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
            found += [(name, theme, *each) for each in page.evaluate(FINDINGS, rules)]
        found += [(name, "small", each) for each in page.evaluate(SMALL)]
    assert found == [], "\n".join(map(str, found))


def test_the_focus_stays_and_the_answers_are_announced(page: Any) -> None:
    page.locator("#run").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#spoken')?.innerText.includes('yes')")
    page.wait_for_function("() => document.activeElement.id === 'run'")
    assert page.get_attribute("#status", "role") == "status" == page.get_attribute("#spoken", "role")


def test_examples_are_named_by_their_content(page: Any) -> None:
    names = page.locator("#examples .thumbnail-item").evaluate_all("all => all.map(each => each.ariaLabel)")
    assert names == ["Is it teal?"] * 2


def test_radio_buttons_are_one_group(page: Any) -> None:
    groups = page.locator("fieldset:has(input[type=radio])").evaluate_all(
        "all => all.map(each => [each.getAttribute('role'), Boolean(each.ariaLabel), "
        "new Set([...each.querySelectorAll('input')].map(radio => radio.name)).size])"
    )
    assert all(group == ["radiogroup", True, 1] for group in groups)


def test_all_text_is_in_the_fonts_of_the_system(page: Any) -> None:
    fonts = page.evaluate("[...new Set([...document.querySelectorAll('h1, h2, h3, p, b, button, textarea')].map("
                          "each => getComputedStyle(each).fontFamily))]")  # fmt: skip
    assert fonts == ["system-ui, sans-serif"]
    loaded = "performance.getEntriesByType('resource').map(each => each.name).filter(name => /font|woff/.test(name))"
    assert page.evaluate(loaded) == []


def test_a_phone_scrolls_to_the_result(browser: Any, server: Server) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => document.querySelector('#budget')?.innerText.includes('of 576')")
    page.click("#run")
    page.wait_for_function("() => Math.abs(document.querySelector('#answers').getBoundingClientRect().top) < 200")
    context.close()


SHIFTS = """window.shifted = 0; new PerformanceObserver(list => { for (const each of list.getEntries())
    if (!each.hadRecentInput) window.shifted += each.value; }).observe({type: "layout-shift", buffered: true});"""


@pytest.mark.parametrize("place", ["arena", "sweep"])
def test_nothing_jumps_when_the_pictures_come(page: Any, server: Server, place: str) -> None:
    page.add_init_script(SHIFTS)
    page.goto(f"{server.url}?tab={place}")
    page.wait_for_function(f"() => document.querySelector('#{place}-budget')?.innerText.includes('of 576')")
    page.click(f"#{place}-run")
    page.wait_for_selector(f"#{place}-png:not([disabled])")
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifted") < 0.1
