"""What the page's handlers answer, called as plain functions: good input, bad pictures, bad settings, failures."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image

from app.compare import outputs
from app.compare.page import STOPPED, ComparePage
from app.session.examples import Example
from app.session.session import Session
from app.ui import html
from tests.app.fake import FakeEngine

VIEW = ("Tokens", "global", 1)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a toast outside of a page becomes a warning


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").convert("RGB").save(path)
    return str(path)


def page_with(engine: FakeEngine) -> ComparePage:
    with gr.Blocks():
        return ComparePage(Session(engine), [])


def refused(page: ComparePage, picture: str | None, **other: Any) -> str:
    """The sentence of a run that must fail; the page has to be ready for the next one."""
    last = run(page, picture, **other)[-1]
    assert last[page.inputs.run]["interactive"] and not last[page.inputs.stop]["interactive"]
    assert not page.session.device("mini").busy
    return str(last[page.outputs.status])


@pytest.fixture
def page() -> ComparePage:
    return page_with(FakeEngine())


def run(page: ComparePage, picture: str | None, question: str = "What?", **other: Any) -> list[dict[Any, Any]]:
    settings = {"model": "mini", "percent": 11.1} | other
    return list(page.on_run(settings["model"], picture, question, settings["percent"], *VIEW))


def test_a_run_fills_everything(page: ComparePage, picture: str) -> None:
    steps = run(page, picture)
    last = steps[-1]
    assert last[page.outputs.texts[0]] == last[page.outputs.texts[1]] == "a red ball What?"
    assert "96 → 32" in last[page.outputs.numbers[1]] and "9.0" in last[page.outputs.verdict]
    assert last[page.charts]["visible"] and len(last[page.plots[0]].data) == 4
    assert "layer 3" in last[page.tokens.legend] and last[page.tokens.state].ran


def test_a_sentence_cannot_carry_html(page: ComparePage, picture: str) -> None:
    from app.ui.errors import explained
    from vscan_core.errors import InputError

    assert "<" not in explained(InputError("no <img src=x onerror=alert(1)> & co"))


def test_every_step_repeats_what_earlier_steps_showed(page: ComparePage, picture: str) -> None:
    seen: set[Any] = set()
    for step in run(page, picture):
        assert seen <= set(step)
        seen |= set(step)


def test_the_buttons_know_whether_something_runs(page: ComparePage, picture: str) -> None:
    first = run(page, picture)[0]
    assert first[page.inputs.stop]["interactive"] and not first[page.inputs.run]["interactive"]
    for after in (page.on_end(), page.on_stop()):
        assert after[page.inputs.run]["interactive"] and not after[page.inputs.stop]["interactive"]
    assert page.on_stop()[page.outputs.status] == STOPPED


def test_a_hint_of_the_model_is_shown(picture: str) -> None:
    page = page_with(FakeEngine(hint="I only know drawn scenes."))
    hint = run(page, picture)[-1][page.outputs.hint]
    assert hint["visible"] and hint["value"] == "I only know drawn scenes."
    page = page_with(FakeEngine())
    assert not run(page, picture)[-1][page.outputs.hint]["visible"]


def test_text_of_random_weights_is_not_shown(page: ComparePage, picture: str) -> None:
    page.session.models._there["dummy:x"] = page.session.model("mini")
    last = run(page, picture, model="dummy:x")[-1]
    assert "answer" not in last[page.outputs.verdict] and "9.0" in last[page.outputs.verdict]
    assert last[page.outputs.texts[0]] == outputs.MEANINGLESS_TEXT and "576" in last[page.outputs.numbers[0]]


def test_what_visitor_and_model_wrote_never_reaches_html(picture: str) -> None:
    evil = "<script>alert(1)</script>${alert(2)}`"
    page = page_with(FakeEngine(answer_words=(evil,)))
    for step in run(page, picture, evil):
        for widget, value in step.items():
            if isinstance(widget, gr.HTML):
                assert "alert" not in str(value)


def test_the_slider_draws_the_first_cut_without_the_language_model(page: ComparePage, picture: str) -> None:
    counts = []
    for percent in (11.1, 22.2, 33.3):
        out = page.on_budget("mini", picture, percent, *VIEW)
        counts.append(out[page.inputs.budget].replace("**", ""))
        assert not out[page.tokens.state].ran and out[page.tokens.image]["value"].size[0] <= 1024
    assert counts[0] == "11.1 % = 96 of 576 visual tokens into the language model, 32 from layer 3 on"
    assert "192 of 576" in counts[1] and "288 of 576" in counts[2]
    assert page.session.engine.steps == 0


def test_the_switches_change_the_drawing(page: ComparePage, picture: str) -> None:
    last = run(page, picture)[-1]
    from app.ui.token_map import HEAT, PICTURE, TOKENS, draw_view

    view = last[page.tokens.state]
    looks = {
        (mode, score, cut): draw_view(page.session.open(view.source), view, mode, score, cut).picture.tobytes()
        for mode, score, cut in [
            (TOKENS, None, 1), (TOKENS, None, 2), (HEAT, "global", 1), (HEAT, "local", 1), (HEAT, "text", 1),
            (PICTURE, None, 1),
        ]
    }  # fmt: skip
    assert len(set(looks.values())) == 6
    shown = draw_view(page.session.open(view.source), view, HEAT, "text", None)
    assert [name for _, name in shown.scores] == ["global", "local", "text"] and shown.legend == html.scale(shaded=True)
    assert [label for label, _ in shown.cuts] == ["Into the language model", "From layer 3 on"]


def test_a_click_tells_about_one_token(page: ComparePage, picture: str) -> None:
    from app.ui.token_map import describe_token

    view = run(page, picture)[-1][page.tokens.state]
    kept = int(view.trace.kept[0])
    row, column = divmod(kept, 24)
    told = describe_token(page.session.open(view.source), view, None, 42 * column + 20, 42 * row + 20)
    assert told.startswith(f"Row {row + 1}, column {column + 1}: kept") and "question rank" in told and "of 96" in told
    gone = int((view.trace.cuts[0].merged_into >= 0).nonzero()[0])
    row, column = divmod(gone, 24)
    assert "merged into row" in describe_token(
        page.session.open(view.source), view, None, 42 * column + 20, 42 * row + 20
    )
    assert "did not see" in describe_token(page.session.open(view.source), view, None, 5000, 10)


def test_the_right_answer_of_an_example_is_told_but_not_of_another_question(picture: str) -> None:
    with gr.Blocks():
        page = ComparePage(Session(FakeEngine()), [Example(picture, "What?", "a gradient")])
    assert "a gradient" in run(page, picture, " What? ")[-1][page.outputs.status]
    assert "a gradient" not in run(page, picture, "Who?")[-1][page.outputs.status]


def test_what_the_model_did_not_look_at_is_in_the_legend(page: ComparePage, picture: str) -> None:
    from app.ui.token_map import draw_view

    view = run(page, picture)[-1][page.tokens.state]
    assert "Outside" not in draw_view(page.session.open(view.source), view, "Tokens", None, None).legend
    cropped = replace(view, boxes=view.boxes * torch.tensor([0.5, 1.0, 0.5, 1.0]))
    assert "Outside" in draw_view(page.session.open(view.source), cropped, "Tokens", None, None).legend


def test_a_score_that_is_not_there_falls_back(page: ComparePage, picture: str) -> None:
    out = page.on_budget("mini", picture, 20, "Heat map", "text", 7)
    assert out[page.tokens.score]["value"] == "global" and out[page.tokens.cut]["value"] == 1


def test_state_of_a_visitor_is_small(page: ComparePage, picture: str) -> None:
    assert len(pickle.dumps(run(page, picture)[-1][page.tokens.state])) < 100_000


def test_another_picture_clears_the_old_answers(page: ComparePage, picture: str) -> None:
    run(page, picture)
    out = page.on_picture("mini", picture, 11.1, *VIEW)
    assert out[page.outputs.texts[0]] == "" and out[page.outputs.verdict] == html.verdict_panel(None, None)
    assert not out[page.charts]["visible"]


def test_no_picture(page: ComparePage) -> None:
    assert "choose a picture" in refused(page, None)
    assert page.on_picture("mini", None, 11.1, *VIEW)[page.tokens.image] is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "empty"), (b"text", "not a picture"), (b"\xff\xd8\xff", "damaged"), (b"<svg></svg>", "SVG")],
)
def test_bad_pictures_are_told_in_one_sentence(
    page: ComparePage, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    out = page.on_picture("mini", str(path), 11.1, *VIEW)
    assert sentence in out[page.outputs.status] and str(tmp_path) not in str(out)
    assert sentence in refused(page, str(path))


def test_the_page_lives_on_after_bad_input(page: ComparePage, tmp_path: Path, picture: str) -> None:
    (tmp_path / "thin.png").write_bytes(b"")
    Image.new("RGB", (16, 5000)).save(tmp_path / "thin.png")
    for bad in (
        {"picture": str(tmp_path / "thin.png")},
        {"picture": picture, "question": "  "},
        {"picture": picture, "percent": 0},
        {"picture": picture, "percent": 101},
        {"picture": picture, "percent": 0.0001},
        {"picture": picture, "model": "big"},
        {"picture": picture, "model": "../../etc/passwd"},
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
    from app.ui.inputs import describe

    assert "needs about 16.2 GB" in describe(page.session, "big")
    assert "Not available" not in describe(page.session, "mini")
    assert "needs about 16.2 GB" in page.on_budget("big", picture, 11.1, *VIEW)[page.inputs.budget]
