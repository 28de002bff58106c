"""A cascade on the pages: nothing that depends on how sure an answer is, is shown as if it did not."""

from __future__ import annotations

import gradio as gr
import pytest

from app.arena.page import ArenaPage
from app.compare.figures import BY_FORMULA, ONE_READING
from app.compare.page import ComparePage
from app.session.engine import Engine
from app.session.session import Session
from app.ui.messages import READ_AGAIN_IF_UNSURE
from vscan_core.reducers.cascade import Cascade
from vscan_eval.command import task_named


class AlwaysUnsure(Engine):
    """A cascade here reads everything twice."""

    def reducer(self, lvlm, name, retention):
        return Cascade(retention, margin=1000.0) if name == "cascade" else super().reducer(lvlm, name, retention)


@pytest.fixture
def asked(tmp_path) -> tuple[str, str]:
    item = task_named("world", None, None).chosen(1)[0]
    path = tmp_path / "scene.png"
    item.open().save(path)
    return str(path), item.question


def test_what_follows_from_the_settings_is_of_one_reading(asked) -> None:
    path, question = asked
    with gr.Blocks():
        page = ComparePage(Session(Engine()), [])
    for method, label, told in (("cascade", ONE_READING, True), ("vscan", BY_FORMULA, False)):
        out = page.on_setting("mini", path, None, question, 5.6, method, None)
        assert label in out[page.outputs.exact] and (READ_AGAIN_IF_UNSURE in out[page.how.budget]) is told


def test_the_arena_says_what_may_come_on_top(asked) -> None:
    path, _ = asked
    with gr.Blocks():
        page = ArenaPage(Session(Engine()), [])
    said = page.on_budget("mini", path, 5.6, ["cascade", "random"])
    assert "Cascade: 32, and all again if unsure" in said and "Random: 32\n" in said + "\n"


def test_the_arena_shows_the_price_of_both_readings_and_says_why(asked) -> None:
    path, question = asked
    with gr.Blocks():
        page = ArenaPage(Session(AlwaysUnsure()), [])
    *_, last = page.on_run("mini", path, question, 5.6, ["cascade"])
    assert "was unsure, so the question was read again with all 576" in last[page.outputs.hint]["value"]
    shown = last[page.state].now.runs[1]
    assert shown.counts == (32 + 576,) and shown.same and shown.ratios["tflops"] < 1


def test_pairs_measure_the_whole_answer(asked) -> None:
    path, question = asked
    session = Session(AlwaysUnsure())
    *_, pair = session.pairs("mini", path, question, 1 / 18, "cascade", 0.1)
    assert pair.reduced.prefill_ms > pair.baseline.prefill_ms and pair.reduced.total_ms > pair.reduced.ttft_ms
