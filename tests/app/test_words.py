"""The page in Chinese: what the catalogue says, how it is used, and that nothing visible is left out."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio
import pytest

from app.words import language
from tests.app.conftest import Server, visiting
from vscan_core import REDUCERS
from vscan_core.catalog import MODELS

ROOT = Path(__file__).parents[2]
CATALOGUE: dict[str, str] = json.loads((language.WORDS / "zh.json").read_text(encoding="utf-8"))
MARKS = re.compile(r"\*\*|(?<!\*)\*(?!\*)|`|</?\d>|\n")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# every text and label that the page shows and that is not Chinese; names and units are taken out by the test
LEFT = """() => { const found = new Set(), add = (text) => { if (/[A-Za-z]{2}/.test(text)) found.add(text.trim()); };
  const labels = ["aria-label", "title", "placeholder", "alt", "aria-valuetext"];
  const walk = (node) => {
    if (node.nodeType === 3) add(node.data);
    if (node.nodeType !== 1 || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return;
    if (node.matches("script, style, pre, code, textarea, [translate=no], .in-english")) return;
    for (const name of labels) add(node.getAttribute(name) ?? "");
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  document.querySelectorAll("input[readonly]").forEach((field) => add(field.value));
  return [...found]; }"""
NAMES = re.compile(
    r"\b("
    + "|".join(REDUCERS)
    + "|"
    + "|".join(
        re.escape(each.title) for each in (*REDUCERS.values(), *MODELS.values()) if not each.title.endswith("weights")
    )
    + r"|(LLaVA|Qwen|Video-LLaVA|MMB|VQA|torch)[\w.+-]*|LLM|CLS|BCa|CLIP|Hub|Hugging Face|Python|CSV|JSON|PNG|HTML|API|"
    r"Gradio|GQA|MME|POPE|SQA|TextVQA|VizWiz|README|TReVS|GPT|arXiv|tokens?|ms|[kMG]B|MiB|[MGT]?FLOPs?|CPU|GPU|KV|"
    r"transformers|numpy|scipy|x86_64|AMD EPYC|Intel\S*|mini|dummy|English|bfloat16|float32)\b",
    re.IGNORECASE,
)
COMMAND = re.compile(r"vscan eval( --\w+ \S+)+")
KEPT = (
    "VScan: Rethinking Visual Token Reduction for Efficient Large Vision-Language Models",
    "bottom left",
    "bottom right",
    "three",
    "two",
    "red",
    "Where do you see the train?",
    "plotly-logomark",
)  # titles, and what people and models say


def test_every_entry_keeps_its_placeholders_and_marks() -> None:
    for english, chinese in CATALOGUE.items():
        places = len(re.findall(r"\{\}", english))
        used = re.findall(r"\{(\d?)\}", chinese)
        assert len(used) == places, english
        assert not any(used) or sorted(used) == [str(n + 1) for n in range(places)], english
        assert Counter(MARKS.findall(english)) == Counter(MARKS.findall(chinese)), english
        assert english == "中文" or not CHINESE.search(english)


def test_no_entry_outlives_what_it_translates() -> None:
    ours = word_pairs(sources()) | word_pairs(framework())
    gone = []
    for key in CATALOGUE:
        pieces = re.split(r"\{\}|\*\*?|`|</?\d>|[\n\[\]:;,.\u00b7]", key)
        pairs = set().union(*map(word_pairs, pieces))
        if len(pairs - ours) > max(1, len(pairs) / 2):  # some pairs are made when parts are put together
            gone.append(key)
    assert gone == []


def word_pairs(text: str) -> set[tuple[str, str]]:
    """Words of a text with those that follow them."""
    words = re.findall(r"[a-z']+", text.lower())
    return set(pairwise(words))


@cache
def sources() -> str:
    """Every text of the app, the library and its data, in lower case, with blanks for line ends."""
    texts: list[str] = []
    for folder in ("app", "vscan_core", "vscan_eval"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            texts += [node.value for node in ast.walk(ast.parse(path.read_text())) if _is_text(node)]  # type: ignore[attr-defined]
    found = [*(ROOT / "app").rglob("*.js"), *(ROOT / "app").rglob("*.html"), *(ROOT / "app").rglob("*.css")]
    found += [path for path in (ROOT / "assets").rglob("*.json*") if "mini" not in path.parts]
    texts += [path.read_text() for path in found]
    return re.sub(r"\s+", " ", " ".join(texts)).lower()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def framework() -> str:
    """The texts of Gradio's own widgets."""
    folder = Path(gradio.__file__).parent / "templates" / "frontend"
    return " ".join(path.read_text(errors="ignore") for path in folder.rglob("*.js")).lower()


WORDS = {
    "Run": "运行", "Answer of {}": "{}的回答", "the baseline": "基线", "{} of {}": "{2} 中的 {1}",
    "Press **Run** to see *all* of it.": "点击**运行**查看*全部*。", "Below 5 %, expect errors.": "低于 5 % 会出错。",
    "{} tokens": "{} 个 token", "The right answer: {}.": "正确答案：{}。", "Choose one of: {}.": "请选择：{}。",
}  # fmt: skip
SAMPLE = """<!doctype html><html><head></head><body><p id=one>Run</p><p id=two title="Answer of the baseline">3 of 7</p>
<p id=three>Press <b data-mine=1>Run</b> to see <em>all</em> of it. Below 5 %, expect errors.</p>
<p id=five translate=no>Run</p>
<p id=six>The right answer: **Run** &lt;b&gt;.</p><p id=seven>Choose one of: Run; Run.</p>
<textarea>Run</textarea><input readonly value="Run">
</body></html>"""


@pytest.fixture
def sample(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A page of our own with a small catalogue, in Chinese."""
    (tmp_path / "zh.json").write_text(json.dumps(WORDS))
    (tmp_path / "translate.js").write_text((language.WORDS / "translate.js").read_text())
    monkeypatch.setattr(language, "WORDS", tmp_path)
    (tmp_path / "page.html").write_text(SAMPLE.replace("<head>", f"<head>{language.language_head()}"))
    with visiting(browser) as page:
        page.goto(f"file://{tmp_path}/page.html?lang=zh")
        yield page


def test_texts_labels_and_sentences_are_looked_up(sample: Any) -> None:
    assert sample.inner_text("#one") == "运行" and sample.inner_text("#two") == "7 中的 3"
    assert sample.get_attribute("#two", "title") == "基线的回答"
    assert sample.inner_html("#three") == '点击<b data-mine="1">运行</b>查看<em>全部</em>。低于 5 % 会出错。'
    assert sample.inner_text("#seven") == "请选择：运行；运行。"
    assert sample.inner_text("#five") == "Run" and sample.input_value("textarea") == "Run"  # somebody's own words
    assert sample.input_value("input") == "运行" and sample.evaluate("document.documentElement.lang") == "zh-CN"


def test_what_appears_later_is_translated_and_nothing_becomes_markup(sample: Any) -> None:
    sample.evaluate("document.querySelector('#one').firstChild.data = '12 tokens'")
    sample.evaluate(
        "document.body.append(Object.assign(document.createElement('p'), {id: 'late', textContent: 'Run'}))"
    )
    sample.evaluate("document.querySelector('#one').title = 'Answer of the baseline'")
    sample.wait_for_function("() => document.querySelector('#late').textContent === '运行'")
    assert sample.inner_text("#one") == "12 个 token" and sample.get_attribute("#one", "title") == "基线的回答"
    assert sample.inner_text("#six") == "正确答案：**Run** <b>。" and sample.locator("#six b").count() == 0


def test_the_browser_chooses_and_the_switch_is_remembered(browser: Any, mini_server: Server) -> None:
    with visiting(browser, locale="zh-CN") as page:
        page.goto(mini_server.url)
        page.wait_for_function("() => document.querySelector('#run')?.innerText === '运行'")
        page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value")  # the page is alive
        page.click("#language")
        page.wait_for_url("**lang=en*")
        page.wait_for_function("() => document.querySelector('#run')?.innerText === 'Run'")
        page.goto(mini_server.url)  # the address says nothing now
        page.wait_for_function("() => document.querySelector('#run')?.innerText === 'Run'")
        assert page.inner_text("#language") == "中文" and page.evaluate("document.documentElement.lang") == "en"
    with visiting(browser, locale="de-DE") as page:
        page.goto(mini_server.url + "?question=Is+there+a+dog%3F&lang=zh")
        page.wait_for_function("() => document.querySelector('#run')?.innerText === '运行'")
        page.wait_for_function("() => document.querySelector('#question textarea')?.value === 'Is there a dog?'")


def test_a_saved_report_is_in_the_language_of_the_page(browser: Any, mini_server: Server) -> None:
    with visiting(browser, locale="zh-CN") as page:
        page.goto(mini_server.url)
        page.wait_for_selector("#report:not([disabled])")
        with page.expect_download() as download:
            page.click("#report")
        report = Path(download.value.path()).read_text()
        assert download.value.suggested_filename == "vscan-compare.html"
        page.set_content(report)
        question = page.inner_text("p.question")
        assert {"精确数字", "实测", "数字来源"} <= set(page.locator("h2").all_inner_texts())
        assert 'lang="zh-CN"' in report and "<script" not in report and not CHINESE.search(question)
        assert [text for text in page.evaluate(LEFT) if in_english(text)] == []


def test_nothing_on_any_tab_is_left_in_english(browser: Any, mini_server: Server) -> None:
    with visiting(browser, locale="zh-CN") as page:
        page.goto(mini_server.url)
        page.wait_for_function("() => document.querySelector('#answer-vscan textarea')?.value")
        found = {"first": page.evaluate(LEFT)}
        page.click("#run")
        page.wait_for_selector("#run:not([disabled])")
        page.evaluate("() => document.querySelectorAll('.label-wrap:not(.open)').forEach((each) => each.click())")
        page.click("#model input")
        page.wait_for_selector("li[role=option]")
        found["Compare"] = page.evaluate(LEFT)
        page.keyboard.press("Escape")
        for name in ("工作原理", "竞技场", "保留率曲线", "多张图片", "基准测试"):
            page.get_by_role("tab", name=name, exact=True).click()
            page.wait_for_timeout(1500)
            found[name] = page.evaluate(LEFT)
        for name in ("排行榜", "消融实验", "速度", "论文"):
            page.get_by_role("tab", name=name, exact=True).click()
            page.wait_for_timeout(1000)
            found[name] = page.evaluate(LEFT)
    left = {place: [text for text in texts if in_english(text)] for place, texts in found.items()}
    assert {place: texts for place, texts in left.items() if texts} == {}


def in_english(text: str) -> bool:
    """Whether two or more words in a row remain that are no names, units or answers."""
    for known in KEPT:
        text = text.replace(known, "")
    text = COMMAND.sub("", text)
    text = NAMES.sub("", text)
    words = re.findall(r"[A-Za-z][a-z]{2,}(?: [A-Za-z][a-z]*)*", text)
    return any(len(part) > 3 for part in words) and (not CHINESE.search(text) or any(" " in part for part in words))


def test_words_that_are_left_would_be_found() -> None:
    assert in_english("Press Run to see it") and in_english("按 less than ten 次") and in_english("Averages")
    assert not in_english("VScan 11.1 %") and not in_english("按 torch 2.13") and not in_english("快 3.0 倍")
