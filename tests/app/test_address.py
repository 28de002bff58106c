"""The address: what a link opens, what goes along from tab to tab, and what is ignored because it is not here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from app.session.examples import Example
from app.session.session import Session
from app.ui.address import from_address
from tests.app.conftest import Server, serving, visiting
from tests.app.fake import FakeEngine


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("examples")
    for name in ("teal", "olive"):
        Image.new("RGB", (120, 90), name).save(folder / f"{name}.png")
    return [Example(str(folder / f"{name}.png"), f"Is it {name}?") for name in ("teal", "olive")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"picture": "olive", "keep": "22.2"}, {"picture": "olive.png", "keep": 22.2}),
        ({"methods": "coarse,vscan,coarse", "method": "picky"}, {"methods": ["coarse", "vscan"], "method": "picky"}),
        ({"model": "mini", "question": " ¿Qué? 日本 "}, {"model": "mini", "question": "¿Qué? 日本"}),
        ({"tab": "arena", "__theme": "dark", "fbclid": "x"}, {}),
    ],
)
def test_a_link_is_understood(examples: list[Example], query: dict[str, str], found: dict[str, Any]) -> None:
    values, unknown = from_address(query, Session(FakeEngine()), examples)
    if "picture" in values:
        values["picture"] = Path(values["picture"]).name
    assert values == found and unknown == []


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("picture", ["../../etc/passwd", "olive.png", "", "/tmp/x"]),
        ("model", ["<script>", "llava-hf/llava-1.5-7b-hf", "/tmp", ""]),
        ("keep", ["nan", "inf", "-1", "0", "101", "1e999", "x", ""]),
        ("question", ["", "   ", "x" * 1001, "a\x00b", "a\nb", "\u202eabc"]),
        ("method", ["magic", "", "__class__"]),
        ("methods", ["vscan,magic", "", ","]),
    ],
)
def test_what_is_not_here_is_named_and_ignored(examples: list[Example], key: str, values: list[str]) -> None:
    for value in values:
        assert from_address({key: value, "keep" if key != "keep" else "method": "50" if key != "keep" else "vscan"},
                            Session(FakeEngine()), examples)[1] == [key]  # fmt: skip


@pytest.fixture(scope="module")
def server(examples: list[Example]) -> Iterator[Server]:
    with serving(FakeEngine(answer_words=("yes",)), examples) as found:
        yield found


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh visitor; every error on the page fails the test."""
    with visiting(browser) as page:
        yield page


def budget_has(page: Any, place: str, text: str) -> None:
    page.wait_for_function(f"() => document.querySelector('#{place}budget')?.innerText.includes({text!r})")


def has_picture(page: Any, place: str, file: str) -> None:
    page.wait_for_function(f"() => document.querySelector('#{place}picture img')?.src.endsWith({file!r})")


def in_address(page: Any, **expected: str) -> None:
    """Wait until the address has these parameters."""
    page.wait_for_function(
        "all => { const have = new URLSearchParams(location.search);"
        " return Object.entries(all).every(([key, value]) => have.get(key) === value) }",
        arg=expected,
    )


def tab(page: Any, name: str) -> Any:
    return page.get_by_role("tab", name=name, exact=True)


def test_what_is_asked_goes_along_and_back_stays_in_the_app(page: Any, server: Server) -> None:
    page.goto(server.url)
    budget_has(page, "", "96 of 576")
    page.click("#examples .thumbnail-item >> nth=1")
    page.locator("#keep").get_by_role("button", name="33.3 %").click()
    in_address(page, picture="olive", question="Is it olive?", keep="33.3")
    tab(page, "Arena").click()
    has_picture(page, "arena-", "olive.png")
    budget_has(page, "arena-", "33.3 %")
    assert page.input_value("#arena-question textarea") == "Is it olive?"
    page.fill("#arena-question textarea", "Why?")
    in_address(page, tab="arena", question="Why?", keep="33.3")
    tab(page, "Sweep").click()
    has_picture(page, "sweep-", "olive.png")
    assert page.input_value("#sweep-question textarea") == "Why?"
    tab(page, "Compare").click()
    page.wait_for_function("() => document.querySelector('#question textarea')?.value === 'Why?'")

    for name in ("Sweep", "Arena"):
        page.go_back()
        page.wait_for_function(
            "name => document.querySelector('[role=tab][aria-selected=true]').innerText === name", arg=name
        )
    address = page.url
    page.reload()
    has_picture(page, "arena-", "olive.png")
    budget_has(page, "arena-", "33.3 %")
    assert page.url == address and parse_qs(urlsplit(address).query)["question"] == ["Why?"]


def test_a_picture_of_ones_own_survives_a_reload_and_is_in_no_address(
    page: Any, browser: Any, server: Server, tmp_path: Path
) -> None:
    Image.new("RGB", (90, 60), "red").save(tmp_path / "own.png")
    page.goto(server.url + "?picture=olive&question=Is+it+mine%3F")
    has_picture(page, "", "olive.png")
    budget_has(page, "", "%")  # the page has been filled, so the address has been read
    page.click("#picture button[aria-label='Remove Image']")
    page.set_input_files("#picture input[type=file]", str(tmp_path / "own.png"))
    has_picture(page, "", "own.png")
    page.wait_for_function("() => !location.search.includes('picture') && sessionStorage.getItem('vscan-upload')")
    page.reload()
    has_picture(page, "", "own.png")
    stranger = browser.new_context().new_page()
    stranger.goto(page.url)
    has_picture(stranger, "", "teal.png")
    stranger.wait_for_function("() => document.querySelector('#question textarea')?.value === 'Is it mine?'")
    stranger.context.close()


def test_a_hostile_link_opens_the_page_and_says_so(page: Any, server: Server) -> None:
    page.goto(server.url + "?tab=<script>&keep=1e9&model=<img src=x onerror=alert(1)>&question=Is it odd?")
    page.wait_for_selector(".toast-body")
    said = page.inner_text(".toast-body")
    assert "not here (model, keep, tab)" in said and "<" not in said
    assert page.input_value("#question textarea") == "Is it odd?"
    assert page.input_value("#retention input[type=number]") == "11.1"
