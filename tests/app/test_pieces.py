"""The small pure pieces: numbers in words, HTML tables, charts, examples."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app import formatting
from app.charts.time import stage_times, time_axis
from app.compare import figures
from app.compare.flop_ratio import flop_ratios
from app.formatting import TIMES
from app.runs.comparison import LiveRun
from app.runs.pairs import median_stages, pairs_summary
from app.session.examples import load_examples
from app.session.turn import Pair
from app.ui import html
from tests.app.fake import FakeLVLM, fake_answer, fake_trace
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
    shown += figures.pane_numbers(answers[1], LiveRun(), False, 1)
    for piece in ("script", "${", "`", "{{", "alert"):
        assert piece not in shown


def test_both_tables_have_the_same_rows_before_and_after_a_run(answers: tuple[Answer, Answer]) -> None:
    rows = [re.findall(r"<th[^>]*>(.*?)</th>", html.numbers_table(each)) for each in (None, *answers)]
    assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 11


def test_flops_are_shares_by_four_counts(answers: tuple[Answer, Answer]) -> None:
    def shown(*of: Answer | None) -> list[list[str]]:
        rows = re.findall(r"<tr>(.*?)</tr>", flop_ratios(*of))[1:]
        return [re.findall(r"<small>(.*?)</small>", row) + re.findall(r"<td>(.*?)</td>", row) for row in rows]

    nothing, minus = formatting.NOTHING, "\N{MINUS SIGN}"
    names = ["causal", "attention in full", "corrected", "as printed"]
    assert shown(None, None) == [[name, nothing, nothing] for name in names]
    assert shown(*answers) == [
        *([name, "100 %", "11.1 %"] for name in names[:3]),
        ["as printed", "300 %", f"{minus}55.6 %"],
    ]
    old = [replace(each, cost=replace(each.cost, survey_ratio=None, survey_ratio_printed=None)) for each in answers]
    assert shown(*old)[2:] == [[name, nothing, nothing] for name in names[2:]]  # recorded before they were counted
    assert shown(answers[0], None)[0] == ["causal", "100 %", nothing]


def pairs_of(answers: tuple[Answer, Answer], *factors: float) -> list[Pair]:
    """One pair per factor by which the reduced run's prefill takes longer than the fake engine's."""
    baseline, reduced = (answer.timings for answer in answers)
    prefills = [reduced.prefill_ms * factor for factor in factors]
    firsts = [reduced.vision_ms + reduced.reduce_ms + prefill for prefill in prefills]
    return [
        Pair(baseline, replace(reduced, prefill_ms=prefill, ttft_ms=first))
        for prefill, first in zip(prefills, firsts, strict=True)
    ]


def measured(pairs: list[Pair], flops: float = 9.0) -> str:
    return figures.measured_figures(pairs_summary(pairs), flops)


def test_a_factor_is_a_median_with_its_range(answers: tuple[Answer, Answer]) -> None:
    shown = measured(pairs_of(answers, 1, 1.1, 1.2))
    assert f"7.6 {TIMES} faster" in shown and "7.0 to 8.3" in shown and "median of 3 pairs" in shown
    assert f"4.1 {TIMES} sooner" in shown and "vision included" in shown and "FLOPs" not in shown


def test_too_few_pairs_are_not_shown_in_large_type(answers: tuple[Answer, Answer]) -> None:
    shown = measured(pairs_of(answers, 1))
    assert "too few for a median" in shown and f"8.3 {TIMES} faster" in shown and "<b>8.3" not in shown


def test_slower_is_called_slower_and_later(answers: tuple[Answer, Answer]) -> None:
    shown = measured(pairs_of(answers, 10, 10.5, 11))
    assert (
        f"1.2 {TIMES} slower" in shown
        and "1.1 to 1.2" in shown
        and f"1.2 {TIMES} later" in shown
        and "faster" not in shown
    )
    assert "no clear difference" in measured(pairs_of(answers, 8, 8.8, 9.6))


def test_a_busy_machine_gets_words_instead_of_a_factor(answers: tuple[Answer, Answer]) -> None:
    calm = pairs_of(answers, 1, 1, 1)
    odd = calm[0].reduced
    busy = [
        [*calm, Pair(replace(calm[0].baseline, prefill_ms=400), replace(odd, prefill_ms=40))],
        [*calm, Pair(calm[0].baseline, replace(odd, vision_ms=30))],
        pairs_of(answers, 1, 1, 3),
    ]
    for pairs in busy:
        shown = measured(pairs)
        assert "machine is busy" in shown and TIMES not in shown, shown
    assert "144 ms to 400 ms" in measured(busy[0])
    merged = [Pair(one.baseline, replace(one.reduced, vision_ms=10, vision_shared_ms=0)) for one in calm]
    assert "machine is busy" not in measured(merged)  # a method that changes the encoder has its own time for it


def test_more_than_the_flops_explain_gets_a_comment(answers: tuple[Answer, Answer]) -> None:
    assert "More than its FLOPs alone explain" in measured(pairs_of(answers, 1, 1, 1), flops=5)
    one = measured(pairs_of(answers, 1), flops=5)
    assert "machine is busy" in one and "8.3" not in one


def test_medians_of_the_stages_know_one_time_of_the_shared_encoder(answers: tuple[Answer, Answer]) -> None:
    pairs = pairs_of(answers, 1, 2, 9)
    baseline, reduced = median_stages([*pairs, replace(pairs[0], baseline=replace(pairs[0].baseline, vision_ms=23))])
    assert baseline["vision"] == reduced["vision"] == 21.5
    assert reduced["prefill"] == 1.5 * pairs[0].reduced.prefill_ms


def test_the_axis_has_one_lane_per_run_and_all_stages(answers: tuple[Answer, Answer]) -> None:
    lanes = [(name, stage_times(one), "") for name, one in zip(("Baseline", "VScan"), answers, strict=True)]
    shown = time_axis(lanes)
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", shown)]
    assert sum(widths[:4]) == pytest.approx(100, abs=0.1) and sum(widths[4:]) < 50
    assert "Vision 21.5 ms, Selection 0.0 ms, Prefill 144 ms, Decode 50.0 ms" in shown
    assert stage_times(answers[0])["reduce"] == 0 and "<li><span" not in time_axis([])


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
