"""How it works: six steps on the visitor's own picture, whose figures are those of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from app.explain import recorded
from app.explain.measured import how_measured, is_busy
from app.explain.page import ExplainPage
from app.explain.story import StorySetting, story
from app.explain.words import NOTHING_DROPPED, Counts, steps
from app.session.examples import Example, load_examples
from app.session.line import WaitingLine
from app.session.session import Session
from tests.app.conftest import Server, answer_unasked, serving
from tests.app.fake import FakeEngine, FakeLVLM, fake_answer, fake_trace
from vscan_core import Done, InputError, VScan
from vscan_core.events import Timings
from vscan_core.media.images import open_image
from vscan_core.recording import RecordedRun, Recording, save_recording

PATIENCE = 60_000  # milliseconds
QUESTION = "What is there?"
HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{constructor}} `"
TOLD = "() => document.querySelectorAll('.story-nav li').length === 6"
ANSWERED = "() => document.querySelectorAll('.story-cards p').length === 2"


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.radial_gradient("L").convert("RGB").resize((200, 150)).save(path)
    with serving(FakeEngine(unasked=True), [Example(str(path), QUESTION)]) as server:
        answer_unasked(browser, server)
        yield server


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh visitor; every error on the page fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    yield page
    context.close()
    assert not errors


def step(page: Any) -> str:
    return str(page.get_attribute(".story", "data-name"))


def test_six_steps_with_the_figures_of_the_run(page: Any, server: Server) -> None:
    page.goto(server.url + "?tab=explain")
    page.wait_for_function(TOLD)
    assert page.locator(".story-nav b").all_inner_texts() == ["1", "576", "48", "48", "32", "2"]
    names, sentences = [], []
    for dot in page.locator(".story-nav li button").all():
        dot.click()
        names.append(step(page))
        sentences.append(page.inner_text(".story-words"))
    assert names == ["picture", "patches", "global", "local", "merge", "answers"]
    assert QUESTION in sentences[0] and "576 patches" in sentences[1] and "48 of the patches" in sentences[2]
    assert "96 tokens enter the language model" in sentences[4] and "At layer 3 of 6, the 32 tokens" in sentences[4]
    page.wait_for_function(ANSWERED)
    said = page.inner_text(".story-words")
    assert "576 → 96 → 32" in said and "a red ball" in said and "smaller KV cache" in said
    assert "just now; times are medians of 7 pairs, which saved 7" in page.inner_text(".story-note")


def test_every_step_is_drawn_and_keys_lead_through_them(page: Any, server: Server) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(server.url + "?tab=explain")
    page.wait_for_function(TOLD)
    page.locator(".story-nav li button").first.focus()
    looks = []
    for _ in range(5):
        looks.append(page.evaluate("() => document.querySelector('.story canvas').toDataURL()"))
        page.keyboard.press("ArrowRight")
    assert len(set(looks)) == 5 and step(page) == "answers"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert step(page) == "merge" and page.locator(".story-phases [aria-pressed=true]").inner_text().startswith(
        "At layer"
    )
    asked = page.evaluate("() => document.querySelector('.story canvas').toDataURL()")
    page.locator(".story-phases button").first.click()
    assert page.evaluate("() => document.querySelector('.story canvas').toDataURL()") != asked


def test_it_goes_on_with_what_was_asked_in_compare_and_runs_no_text(
    page: Any, server: Server, picture_file: str
) -> None:
    page.goto(server.url)
    page.wait_for_selector("#picture button[aria-label='Remove Image']")
    page.fill("#question textarea", HOSTILE)
    page.locator("#retention input[type=number]").fill("50")
    page.locator("#retention input[type=number]").press("Tab")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(TOLD)
    assert HOSTILE in page.inner_text(".story-question") and page.locator(".story img").count() == 0
    assert page.locator(".story-nav b").all_inner_texts()[4] == "144"


def test_without_a_visitors_question_the_first_example_is_told(picture: str) -> None:
    with gr.Blocks():
        page = ExplainPage(Session(FakeEngine(unasked=True)), [Example(picture, QUESTION)])
    told, status, _, waiting = page.on_opened("")
    assert told["question"] == QUESTION and not told["answers"] and not status and waiting == 1
    assert told["steps"][-1]["phases"] == ["The model has not answered yet."]


def test_a_story_measured_while_others_waited_is_measured_again(picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks():
        page = ExplainPage(Session(FakeEngine(unasked=True)), [Example(picture, QUESTION)])
    with monkeypatch.context() as patch:
        patch.setattr(WaitingLine, "wanted", True)
        *_, (told, _, _) = page.on_ask()
    assert "times of one run each" in told["note"] and page.on_opened("")[3] == 1
    *_, (told, _, _) = page.on_ask()
    again, _, _, asks = page.on_opened("")
    assert "medians of 7 pairs" in told["note"] and again is told and asks == gr.skip()


def test_a_model_that_cannot_run_is_said_in_words(picture: str) -> None:
    examples = [Example(picture, QUESTION)]
    with gr.Blocks():
        page = ExplainPage(Session(FakeEngine()), examples)
    _, status, _, _ = page.on_opened("", "big", picture, QUESTION, 11.1)
    assert "needs about 16.2 GB" in status
    *_, (_, status, _) = page.on_ask("big", picture, QUESTION, 11.1)
    assert "needs about 16.2 GB" in status


class NoModel(FakeEngine):
    """A server on which no model can be loaded."""

    def load(self, name: str) -> Any:
        raise InputError("There is no model on this server.")


@pytest.fixture
def recorded_server(picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Has no model and one recorded run. Named before `page`, it outlives it: an open page would note its end."""
    save_recording(recording(picture), tmp_path / "disc")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{}")
    monkeypatch.setattr(recorded, "RECORDED_RUNS", tmp_path)
    with serving(NoModel(), [Example(picture, QUESTION)]) as server:
        yield server


def test_recorded_runs_need_no_model(recorded_server: Server, page: Any) -> None:
    page.goto(recorded_server.url + "?present=1")
    page.wait_for_function(TOLD)
    assert "a recorded run" in page.inner_text(".story-count")
    assert "on One H100, recorded on 2026-11-25" in page.inner_text(".story-note")
    page.keyboard.press("End")
    assert "What was there?" in page.inner_text(".story-question")
    assert page.locator(".story-cards p").all_inner_texts() == ["a disc", "a ring"]
    costs = page.inner_text(".story-costs")
    assert "GPU time to the first word" in costs and f"({STAGES_MS}) ms = 50.0 s" in costs
    assert "times are medians of 3 pairs, which saved 40 to 60 %" in page.inner_text(".story-note")
    page.keyboard.press("Escape")
    assert "There is no model on this server. A recorded run is shown" in page.inner_text("#story-status")


FACTS = {"hardware": "One H100", "date": "2026-11-25"}
STAGES_MS = "vision encoder 10.0 + selection 1.0 + prefill 39.0"


def recording(picture: str) -> Recording:
    """Of a run that a GPU might have given."""
    image, lvlm = open_image(picture), FakeLVLM()
    found = []
    for text, reducer, firsts in (("a disc", None, (100, 100, 100)), ("a ring", VScan(1 / 9), (40, 50, 60))):
        trace = fake_trace(lvlm, image, reducer)
        trace.attention = {"vision": "sdpa", "text": "sdpa"}
        answer = fake_answer(text, trace, "baseline" if reducer is None else "vscan")
        times = {"vision_ms": 10.0, "reduce_ms": 1.0}
        repeats = {name: (value,) * 3 for name, value in times.items()}
        repeats |= {"prefill_ms": tuple(first - 11.0 for first in firsts), "ttft_ms": tuple(map(float, firsts))}
        found.append(RecordedRun(text, "", 1.0, answer, (1.0,), (text,), repeats))
    return Recording(image, "mini", "What was there?", False, tuple(found), FACTS)


def test_the_map_is_that_of_the_trace(mini_server: Server) -> None:
    session, first = mini_server.session, load_examples()[0]
    opened = session.open(first.image)
    with closing(session.compare("mini", opened, first.question, 1 / 9)) as events:
        answers = [event.answer for event in events if isinstance(event, Done)]
    trace = answers[1].trace
    image = trace.images[0]
    schedule = {cut.layer: len(cut.kept) for cut in image.cuts}
    setting = StorySetting(first.question, "Mini", 6, "CPU")
    told = story(opened.image, image, trace.boxes(0), setting, schedule, (answers[0], answers[1]))
    for cut, drawn in zip(image.cuts, told["cuts"], strict=True):
        assert [i for i, fate in enumerate(drawn["fates"]) if fate <= "2"] == cut.kept.tolist()
    assert told["cuts"][0]["merged"] == image.cuts[0].merged_into.tolist()
    assert len(told["windows"]) == 16  # 24 x 24 patches in windows of 6 x 6
    assert [step["figure"] for step in told["steps"]] == ["1", "576", "48", "48", "32", "2"]
    for figure, answer in zip(told["answers"], answers, strict=True):
        assert sum(figure["ms"].values()) == pytest.approx(answer.timings.ttft_ms)
        assert figure["kv_bytes"] == answer.cost.kv_bytes


def test_words_claim_no_more_than_the_counts() -> None:
    told = steps(Counts(576, 576, 0, 576, 0, 6, 0), False, None)
    assert [step["phases"] for step in told[2:5]] == [[NOTHING_DROPPED]] * 3
    plain = steps(Counts(576, 64, 0, 64, 0, 6, 0), True, False)
    assert "512 patches are dropped" in plain[4]["phases"][0] and len(plain[4]["phases"]) == 1
    assert "differ" in plain[5]["phases"][0]


def test_a_busy_machine_gets_no_factor() -> None:
    timings = [Timings(1.0, 0.0, first - 1, first, None, first) for first in (100.0, 50.0, 110.0)]
    calm, busy = [(timings[0], timings[1])] * 3, [(timings[0], timings[1]), (timings[0], timings[2])]
    assert not is_busy(calm) and how_measured(calm).endswith("medians of 3 pairs, which saved 50 to 50 %")
    assert is_busy(busy) and how_measured(busy).endswith("the machine was busy")
    assert not is_busy([]) and how_measured([]) == "times of one run each"
