"""The small pure pieces: numbers in words, HTML tables, charts, examples."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app import formatting
from app.charts.time import stage_times, time_chart
from app.charts.tokens import tokens_chart
from app.session.examples import load_examples
from app.ui import html
from tests.app.fake import FakeLVLM, fake_answer, fake_trace
from vscan_core.draw.fates import fates
from vscan_core.events import Answer
from vscan_core.reducers.vscan import VScan

EVIL = '<script>alert(1)</script> ${alert(2)} ` {{constructor}} "'


@pytest.fixture
def answers() -> tuple[Answer, Answer]:
    lvlm, picture = FakeLVLM(), Image.radial_gradient("L").convert("RGB")
    traces = [fake_trace(lvlm, picture, reducer) for reducer in (None, VScan())]
    return fake_answer(EVIL, traces[0], "baseline"), fake_answer(EVIL, traces[1], "vscan")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (formatting.percent(1 / 9), "11.1 %"),
        (formatting.percent(1.0), "100 %"),
        (formatting.milliseconds(8.24), "8.2 ms"),
        (formatting.milliseconds(1234), "1.23 s"),
        (formatting.milliseconds(None), formatting.NOTHING),
        (formatting.memory(1_400_000), "1.4 MB"),
        (formatting.memory(512), "512 B"),
        (formatting.memory(512_000_000), "512 MB"),
        (formatting.memory(3_200_000_000_000), "3.2 TB"),
        (formatting.memory(None), formatting.NOTHING),
        (formatting.flops(8.5), "8.50 TFLOPs"),
        (formatting.flops(0.0042), "4.20 GFLOPs"),
        (formatting.ratio(290, 100), "2.9"),
        (formatting.ratio(1, 0), formatting.NOTHING),
        (formatting.ratio(100_000, 10), "10000"),
        (formatting.tokens(1), "1 visual token"),
    ],
)
def test_numbers_in_words(text: str, wanted: str) -> None:
    assert text == wanted


def test_the_slider_in_words() -> None:
    text = formatting.budget_text(1 / 9, {0: 96, 16: 32}, 576).replace("**", "")
    assert text == "11.1 % = 96 of 576 visual tokens into the language model, 32 from layer 16 on"
    assert formatting.budget_text(1.0, {}, 576).replace("**", "").startswith("100 % = 576 of 576")


def test_the_table_shows_the_recorded_counts_and_no_text_of_the_model(answers: tuple[Answer, Answer]) -> None:
    shown = html.numbers_table(answers[1])
    assert "96 → 32" in shown and "1.3 ms" in shown
    for piece in ("script", "${", "`", "{{", "alert"):
        assert piece not in shown + html.verdict_panel(*answers)


def test_both_tables_have_the_same_rows_before_and_after_a_run(answers: tuple[Answer, Answer]) -> None:
    rows = [re.findall(r"<th[^>]*>(.*?)</th>", html.numbers_table(each)) for each in (None, *answers)]
    assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 11


def test_the_verdict_says_times_and_whether_the_answer_is_the_same(answers: tuple[Answer, Answer]) -> None:
    shown = html.verdict_panel(*answers)
    assert (
        f"8.3 {formatting.TIMES}" in shown
        and "faster prefill" in shown
        and "Same answer" in shown
        and "not a benchmark" in shown
    )
    other = replace(answers[1], text="something else")
    assert "Different answer" in html.verdict_panel(answers[0], other)


def test_the_verdict_admits_when_it_got_slower(answers: tuple[Answer, Answer]) -> None:
    shown = html.verdict_panel(answers[1], answers[0])
    assert "slower prefill" in shown and "more FLOPs" in shown and "faster" not in shown


def test_the_legend_counts_every_token_once(answers: tuple[Answer, Answer]) -> None:
    shown = html.legend(fates(answers[1].trace.images[0]), 576)
    counts = [int(number) for number in re.findall(r"<b>(\d+)</b></li>", shown)]
    assert sum(counts) == 576 and "layer 3" in shown and "<b>32</b> of 576" in shown


def test_time_chart_stacks_the_four_stage_times(answers: tuple[Answer, Answer]) -> None:
    figure = time_chart([("Baseline", answers[0]), ("VScan", answers[1])])
    assert [bar.name for bar in figure.data] == ["Vision", "Selection", "Prefill", "Decode"]
    for place, answer in enumerate(answers):
        assert sum(bar.x[place] for bar in figure.data) == pytest.approx(answer.timings.total_ms)
    assert stage_times(answers[0])["reduce"] == 0


def test_tokens_chart_shows_what_entered_each_layer(answers: tuple[Answer, Answer]) -> None:
    figure = tokens_chart([("Baseline", answers[0]), ("VScan", answers[1])])
    assert list(figure.data[1].y) == [96, 96, 96, 32, 32, 32, 32] and figure.data[1].line.shape == "hv"
    assert figure.data[1].x[-1] == 6


def test_charts_have_no_colours_that_fight_the_theme(answers: tuple[Answer, Answer]) -> None:
    figure = json.loads(time_chart([("Baseline", answers[0])]).to_json())
    assert figure["layout"]["paper_bgcolor"] == figure["layout"]["plot_bgcolor"] == "rgba(0,0,0,0)"


def test_examples_may_be_absent_or_broken(tmp_path: Path) -> None:
    assert load_examples(tmp_path) == []
    (tmp_path / "examples.json").write_text("not json")
    assert load_examples(tmp_path) == []


def test_examples_without_a_picture_are_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    entries = [{"image": "a.png", "question": "What?", "answer": "x"}, {"image": "b.png", "question": "Who?"}]
    (tmp_path / "examples.json").write_text(json.dumps(entries))
    found = load_examples(tmp_path)
    assert [example.question for example in found] == ["What?"]
