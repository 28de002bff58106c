"""What the page's handlers answer, called as plain functions: good input, bad pictures, bad settings, failures."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from app.compare.outputs import START
from app.compare.page import ComparePage
from app.formatting import TIMES
from app.session.examples import Example
from app.session.session import Session
from app.ui.messages import APPEARS_HERE, MEANINGLESS_TEXT, NO_WORDS, STOPPED
from tests.app.fake import FakeEngine
from tests.app.hall import drawn

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a toast outside of a page becomes a warning


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return str(path)


def page_with(engine: FakeEngine, examples: list[Example] | None = None) -> ComparePage:
    with gr.Blocks():
        return ComparePage(Session(engine), examples or [])


@pytest.fixture
def page() -> ComparePage:
    return page_with(FakeEngine())


def asked(picture: str | None, question: str = "What?", **other: Any) -> list[Any]:
    """The values of the widgets, in the order of the handlers' arguments."""
    chosen = {"model": "mini", "video": None, "percent": 11.1, "method": "vscan"} | other
    return [chosen["model"], picture, chosen["video"], question, chosen["percent"], chosen["method"]]


def run(page: ComparePage, picture: str | None, question: str = "What?", **other: Any) -> list[dict[Any, Any]]:
    return list(page.runs.on_run(*asked(picture, question, **other)))


def refused(page: ComparePage, picture: str | None, **other: Any) -> str:
    """The sentence of a run that must fail; the device has to be free for the next one."""
    last = run(page, picture, **other)[-1]
    assert not page.session.device("mini").busy
    return str(last[page.ask.status])


def test_a_run_fills_everything(page: ComparePage, picture: str) -> None:
    last, out = run(page, picture)[-1], page.outputs
    assert last[out.texts[0]]["value"] == last[out.texts[1]]["value"] == "a red ball What?"
    assert "576 → 96 → 32" in last[out.exact] and "counted in the run" in last[out.exact] and "9.0" in last[out.exact]
    assert f"8.3 {TIMES} faster" in last[out.measured] and "median of 7 pairs" in last[out.measured]
    assert "same answer" in last[out.heads[1]] and "VScan" in last[out.heads[1]] and "11.1 %" in last[out.heads[1]]
    assert last[out.axis].count("<li><span class") == 2 and "96 → 32" in last[out.numbers[1]]
    assert "166 ms" in last[out.lines[0]] and "tokens/s" in last[out.lines[0]]
    assert last[out.question] == "What?" and last[out.thumb] == picture
    assert drawn(last[page.tokens.stage])["ran"] and last[page.shown].now.ended


def test_every_step_repeats_what_earlier_steps_showed(page: ComparePage, picture: str) -> None:
    seen: set[Any] = set()
    for step in run(page, picture):
        assert seen <= set(step)
        seen |= set(step)


def test_while_it_runs_a_clock_ticks_and_its_counts_grow(picture: str) -> None:
    page = page_with(FakeEngine(answer_words=("w",) * 12, pause_s=0.02))
    lines = [step[page.outputs.lines[0]] for step in run(page, picture)]
    going = [line for line in lines if "data-clock" in line]
    assert "reading the prompt" in going[0] and "tokens/s" in going[-1]
    counts = [int(found[1]) for line in going if (found := re.search(r"(\d+) tokens?\b", line))]
    assert counts == sorted(counts) and counts[-1] > counts[0]
    assert "data-clock" not in lines[-1]


def test_a_status_that_goes_on_ends_in_an_ellipsis_and_the_last_one_does_not(page: ComparePage, picture: str) -> None:
    told = [step[page.ask.status] for step in run(page, picture)]
    assert all(text.endswith("…") for text in told[:-1]) and not told[-1].endswith("…")
    assert not any("visitor" in text for text in told) and not STOPPED.endswith("…")


def test_another_method_names_its_pane(page: ComparePage, picture: str) -> None:
    last = run(page, picture, method="coarse")[-1]
    assert "Coarse" in last[page.outputs.heads[1]] and "Coarse" in last[page.outputs.axis]
    assert last[page.shown].settings.method == "coarse" and page.session.engine.ran[:2] == ["baseline", "coarse"]


def test_repeat_adds_pairs_and_keeps_the_answers(page: ComparePage, picture: str) -> None:
    shown = run(page, picture)[-1][page.shown]
    last = list(page.runs.on_repeat(shown))[-1]
    assert "14 pairs" in last[page.ask.status] and "median of 14 pairs" in last[page.outputs.measured]
    assert last[page.outputs.texts[0]]["value"] == "a red ball What?" and len(last[page.shown].now.pairs) == 14
    assert list(page.runs.on_repeat(None)) == []


def test_a_changed_setting_is_named_until_it_is_changed_back(page: ComparePage, picture: str, tmp_path: Path) -> None:
    shown = run(page, picture)[-1][page.shown]
    told = page.outputs.changed

    def changed(*settings: Any) -> str:
        return str(page.on_setting(*settings, shown)[told])

    assert changed(*asked(picture)) == "" and page.on_question(*asked(picture), shown)[told] == ""
    assert "the method has changed" in changed(*asked(picture, method="coarse"))
    both = changed(*asked(picture, percent=20))
    assert "the share of tokens has changed" in both
    assert "the question has changed" in page.on_question(*asked(picture, "Why?"), shown)[told]
    other = tmp_path / "other.png"
    Image.new("RGB", (30, 30)).save(other)
    now = page.on_picture(*asked(str(other), "Why?"), shown)
    assert "the picture and the question have changed" in now[told]
    assert not any(widget in now for widget in page.outputs.texts)  # the answers stay, dimmed


def test_a_hint_of_the_model_is_shown_and_nothing_is_praised(picture: str) -> None:
    page = page_with(FakeEngine(hint="I only know drawn scenes."), [Example(picture, "What?", "a gradient")])
    last = run(page, picture)[-1]
    hint = last[page.outputs.hint]
    assert hint["visible"] and hint["value"] == "I only know drawn scenes."
    assert "answer" not in last[page.outputs.heads[1]] and "9.0" in last[page.outputs.exact]
    assert "a gradient" not in last[page.ask.status]
    page = page_with(FakeEngine())
    assert not run(page, picture)[-1][page.outputs.hint]["visible"]


def test_text_of_random_weights_is_not_shown_and_never_right(picture: str) -> None:
    page = page_with(FakeEngine(), [Example(picture, "What?", "a gradient")])
    page.session.models._there["dummy:x"] = page.session.model("mini")
    last = run(page, picture, model="dummy:x")[-1]
    assert "answer" not in last[page.outputs.heads[1]] and "9.0" in last[page.outputs.exact]
    assert last[page.outputs.texts[0]]["placeholder"] == MEANINGLESS_TEXT
    assert "576" in last[page.outputs.numbers[0]]
    assert "right answer" not in last[page.ask.status] and not last[page.outputs.race]["visible"]


class Wordless(FakeEngine):
    """Ends every answer at once."""

    def _events(self, lvlm: Any, image: Any, question: str, reducer: Any, limit: int) -> Any:
        yield from super()._events(lvlm, image, question, reducer, 0)


def test_an_answer_without_a_word_is_said(picture: str) -> None:
    page = page_with(Wordless())
    first, *_, last = run(page, picture)
    assert [first[box]["placeholder"] for box in page.outputs.texts] == [APPEARS_HERE] * 2
    assert [last[box]["placeholder"] for box in page.outputs.texts] == [NO_WORDS] * 2


def test_long_answers_can_be_replayed(picture: str) -> None:
    for words, long in ((3, False), (12, True)):
        page = page_with(FakeEngine(answer_words=("word",) * words))
        assert run(page, picture)[-1][page.outputs.race]["visible"] is long


def test_what_visitor_and_model_wrote_never_reaches_html(picture: str) -> None:
    evil = "<script>alert(1)</script>${alert(2)}`"
    page = page_with(FakeEngine(answer_words=(evil,)))
    for step in run(page, picture, evil):
        for widget, value in step.items():
            if isinstance(widget, gr.HTML):
                assert "alert" not in str(value)


def test_a_sentence_cannot_carry_html() -> None:
    from app.ui.errors import explained
    from vscan_core.errors import InputError

    assert "<" not in explained(InputError("no <img src=x onerror=alert(1)> & co"))


def test_the_slider_draws_the_first_cut_and_what_it_saves_without_the_language_model(
    page: ComparePage, picture: str
) -> None:
    counts, exact = [], []
    for percent in (11.1, 22.2, 33.3, 3):
        out = page.on_setting(*asked(picture, percent=percent), None)
        counts.append(out[page.how.budget].replace("**", ""))
        exact.append(out[page.outputs.exact])
        assert not drawn(out[page.tokens.stage])["ran"]
    assert counts[0] == "11.1 % = 96 of 576 visual tokens into the language model, 32 from layer 3 on"
    assert "192 of 576" in counts[1] and "288 of 576" in counts[2]
    assert "expect wrong answers" in counts[3] and "expect" not in counts[0]
    assert "576 → 96 → 32" in exact[0] and "by formula" in exact[0] and f"7.1 {TIMES}" in exact[0]  # 596 / 84
    assert page.session.engine.steps == 0


def test_the_right_answer_of_an_example_is_told_but_not_of_another_question(picture: str) -> None:
    page = page_with(FakeEngine(), [Example(picture, "What?", "a gradient")])
    assert "a gradient" in run(page, picture, " What? ")[-1][page.ask.status]
    assert "a gradient" not in run(page, picture, "Who?")[-1][page.ask.status]


def test_the_first_example_is_answered_once_for_everybody(picture: str) -> None:
    page = page_with(FakeEngine(unasked=True), [Example(picture, "What?", "a gradient")])
    for _ in range(2):
        answered = page.runs.on_first(*asked(picture))
        filled = page.runs.on_show_first(answered, True)
        assert filled[page.outputs.texts[1]]["value"] == "a red ball What?"
        assert "when the page was first opened" in filled[page.ask.status]
    assert page.session.engine.ran.count("vscan") == 1 + 7  # the pairs
    assert list(page.runs.on_show_first(answered, False)) == [page.shown]  # the visitor has pressed Run already
    for other in (asked(picture, "Why?"), asked(None)):
        assert page.runs.on_first(*other) is None and list(page.runs.on_show_first(None, True)) == [page.shown]
    assert page_with(FakeEngine(), [Example(picture, "What?")]).runs.on_first(*asked(picture)) is None


def test_state_of_a_visitor_is_small(page: ComparePage, picture: str) -> None:
    assert len(pickle.dumps(run(page, picture)[-1][page.shown])) < 100_000


def test_no_picture(page: ComparePage) -> None:
    assert "choose a picture" in refused(page, None)
    out = page.on_picture(*asked(None), None)
    assert out[page.tokens.stage] is None and out[page.ask.status] == START


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "empty"), (b"text", "not a picture"), (b"\xff\xd8\xff", "damaged"), (b"<svg></svg>", "SVG")],
)
def test_bad_pictures_are_told_in_one_sentence(
    page: ComparePage, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    out = page.on_picture(*asked(str(path)), None)
    assert sentence in out[page.ask.status] and str(tmp_path) not in str(out)
    assert sentence in refused(page, str(path))


def test_the_page_lives_on_after_bad_input(page: ComparePage, tmp_path: Path, picture: str) -> None:
    Image.new("RGB", (16, 5000)).save(tmp_path / "thin.png")
    for bad in (
        {"picture": str(tmp_path / "thin.png")},
        {"picture": picture, "question": "  "},
        {"picture": picture, "percent": 0},
        {"picture": picture, "percent": 101},
        {"picture": picture, "percent": 0.0001},
        {"picture": picture, "model": "big"},
        {"picture": picture, "model": "../../etc/passwd"},
        {"picture": picture, "method": "picky"},
        {"picture": picture, "method": "<b>"},
    ):
        assert refused(page, **bad).startswith("**")
    assert run(page, picture)[-1][page.outputs.texts[0]]


def test_a_failure_is_reported_by_code_and_nothing_leaks(picture: str, caplog: pytest.LogCaptureFixture) -> None:
    page = page_with(FakeEngine(fails_with=RuntimeError("password=hunter2")))
    sentence = refused(page, picture)
    assert re.search(r"code [0-9a-f]{6}", sentence) and "hunter2" not in sentence and "hunter2" in caplog.text


def test_out_of_memory_is_told_and_survived(picture: str) -> None:
    from vscan_core.errors import OutOfMemory

    engine = FakeEngine(fails_with=OutOfMemory("Memory ran out: try a lower retention."))
    page = page_with(engine)
    assert "Memory ran out" in refused(page, picture)
    engine.fails_with = None
    assert run(page, picture)[-1][page.outputs.texts[1]]


def test_an_unavailable_model_is_explained_on_the_page(page: ComparePage, picture: str) -> None:
    from app.ui.model_loading import describe

    assert "needs about 16.2 GB" in describe(page.session, "big")
    assert "Not available" not in describe(page.session, "mini")
    assert "needs about 16.2 GB" in page.on_setting(*asked(picture, model="big"), None)[page.how.budget]
