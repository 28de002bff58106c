"""A cascade: where its first answer is unsure, the answer is the baseline's, at the price of both readings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from vscan_core.bench.subject import Subject
from vscan_core.bench.suites import SUITES
from vscan_core.engine.second_reading import Margins, answer_length, margin
from vscan_core.inference import compare_prepared
from vscan_core.recording import load_recording, record, save_recording
from vscan_core.reducers import Forced, Then
from vscan_core.reducers.cascade import Cascade
from vscan_core.reducers.fastv import FastV
from vscan_core.report import lines
from vscan_eval.command import task_named
from vscan_eval.replies import Condition
from vscan_eval.runner import run_task

ALWAYS, NEVER = Cascade(1 / 36, margin=1000.0), Cascade(1 / 36, margin=0.0)
FEW, ALL = 16, 576


@pytest.fixture(scope="module")
def items():
    """Questions that sixteen tokens do not answer as all of them do, and some that they do."""
    return task_named("world", None, None).chosen(30)


def run(lvlm: vc.LVLM, picture: Image.Image, question: str, reducer) -> list:
    return list(vc.answer(lvlm, picture, question, reducer))


def test_an_unsure_answer_is_that_of_all_tokens_at_the_price_of_both(mini, items) -> None:
    picture, question = items[0].open(), items[0].question
    *_, few = run(mini, picture, question, NEVER)
    *_, all_ = run(mini, picture, question, None)
    events = run(mini, picture, question, ALWAYS)
    answer = events[-1].answer
    assert answer.text == all_.answer.text and answer.token_ids == all_.answer.token_ids
    assert (answer.method, few.answer.method) == ("cascade", "cascade")
    assert answer.cost.visual_tokens == FEW + ALL and few.answer.cost.visual_tokens == FEW
    assert answer.trace.visual_tokens_per_layer == [FEW + ALL] * 6 and answer.trace.read_twice
    assert not answer.trace.images[0].cuts and not few.answer.trace.read_twice
    first = events[0].trace  # what prefill says is what the answer says
    assert first.visual_tokens_per_layer == answer.trace.visual_tokens_per_layer
    assert answer.cost.tflops == pytest.approx(few.answer.cost.tflops + all_.answer.cost.tflops)
    assert answer.cost.kv_bytes == all_.answer.cost.kv_bytes
    assert not few.answer.notes and "16 visual tokens was unsure" in answer.notes[0] and "576" in answer.notes[0]
    assert f"note: {answer.notes[0]}" in lines(answer)


def test_nobody_sees_a_word_that_could_change(mini, items) -> None:
    sure = Cascade(1 / 36, margin=1e-9)
    for reducer in (ALWAYS, sure):
        kinds = [type(event) for event in run(mini, items[0].open(), items[0].question, reducer)]
        assert kinds[0] is vc.Prefilled and kinds.count(vc.Prefilled) == 1 and kinds[-1] is vc.Done
    *_, done = run(mini, items[0].open(), items[0].question, sure)
    assert done.answer.timings.ttft_ms == done.answer.timings.total_ms  # the first word came with the last


def test_times_are_those_of_both_readings_and_of_one_encoding(mini, items) -> None:
    inputs = mini.inputs(items[0].open(), items[0].question)
    *_, done = compare_prepared(mini, inputs, [ALWAYS], share_vision=True)
    times = done.answer.timings
    assert 0 < times.vision_shared_ms <= times.vision_ms < 2 * times.vision_shared_ms
    # the first reading ends at its first token here, so that nothing but these came before the second's
    assert times.ttft_ms == pytest.approx(times.vision_ms + times.prefill_ms + times.reduce_ms)
    assert times.ttft_ms < times.total_ms


def test_every_way_of_asking_reads_again_where_the_margin_says_so(mini, items, tmp_path) -> None:
    pairs = [(item.open(), item.question) for item in items]
    few, all_ = (vc.answer_many(mini, pairs, way) for way in (NEVER, None))
    margins = sorted(answer.margin for answer in few)
    below = (margins[9] + margins[10]) / 2
    cascade = Cascade(1 / 36, margin=below)
    expected = [two if one.margin < below else one for one, two in zip(few, all_, strict=True)]
    again = [one.margin < below for one in few]
    assert sum(again) == 10 and any(one.text != two.text for one, two in zip(few, all_, strict=True))

    many = vc.answer_many(mini, pairs, cascade)
    assert [answer.text for answer in many] == [answer.text for answer in expected]
    assert [answer.visual_tokens for answer in many] == [FEW + ALL if twice else FEW for twice in again]

    task = task_named("world", None, None)
    records = run_task(mini, task, items, Condition("cascade", cascade), tmp_path / "answers.jsonl")
    assert [one.reply for one in records] == [answer.text for answer in expected]
    assert [one.visual_tokens for one in records] == [FEW + ALL if twice else FEW for twice in again]

    for place in (again.index(True), again.index(False)):
        picture, question = pairs[place]
        *_, done = run(mini, picture, question, cascade)
        assert done.answer.text == expected[place].text and bool(done.answer.notes) == again[place]
        inputs = mini.inputs(picture, question)
        with torch.no_grad(), vc.reduced(mini.model, cascade) as trace:
            made = mini.model.generate(**inputs, do_sample=False, max_new_tokens=64)
        tail = made[0, inputs["input_ids"].shape[1] :]
        assert mini.processor.tokenizer.decode(tail, skip_special_tokens=True).strip() == expected[place].text
        assert trace.read_twice == again[place]
        assert trace.visual_tokens_per_layer == [FEW + ALL if again[place] else FEW] * 6


@torch.no_grad()
def test_a_batch_is_read_again_whole_and_a_forward_never(mini, items) -> None:
    pictures = [items[0].open(), items[20].open()]
    inputs = mini.prepare(pictures, [mini.chat(items[0].question), mini.chat(items[20].question)])
    dense = mini.model.generate(**inputs, do_sample=False, max_new_tokens=8)
    with vc.reduced(mini.model, ALWAYS) as trace:
        made = mini.model.generate(**inputs, do_sample=False, max_new_tokens=8)
    assert torch.equal(made, dense) and trace.visual_tokens_per_layer == [2 * (FEW + ALL)] * 6
    with vc.reduced(mini.model, ALWAYS) as trace:
        mini.model(**inputs)
    assert trace.visual_tokens_per_layer == [2 * FEW] * 6 and not trace.read_twice


@pytest.mark.parametrize(
    ("more", "named"),
    [({"do_sample": True}, "do_sample"), ({"num_beams": 2}, "num_beams"), ({"prompt_lookup_num_tokens": 2}, "prompt")],
    ids=str,
)
def test_what_is_no_single_greedy_answer_is_refused(more, named) -> None:
    lvlm = lvlms.lvlm("llava")
    inputs = lvlm.inputs(Image.new("RGB", (60, 60), "red"), "word5 word6")
    with pytest.raises(vc.InputError, match=named), vc.reduced(lvlm.model, Cascade(0.3)):
        lvlm.model.generate(**inputs, max_new_tokens=2, **more)


@torch.no_grad()
def test_an_end_token_of_the_call_and_arguments_by_place(mini, items) -> None:
    inputs = mini.inputs(items[0].open(), items[0].question)
    own = inputs.pop("input_ids")
    with vc.reduced(mini.model, NEVER):
        first = mini.model.generate(own, **inputs, max_new_tokens=8, do_sample=False)
    end = int(first[0, own.shape[1]])  # its first token ends the answer, whatever would have come
    with vc.reduced(mini.model, Cascade(1 / 36, margin=1e-9)) as trace:
        made = mini.model.generate(own, None, None, **inputs, max_new_tokens=8, do_sample=False, eos_token_id=end)
    assert made.shape[1] == own.shape[1] + 1 and not trace.read_twice


def test_a_benchmark_of_one_prefill_refuses_it(mini) -> None:
    suite = replace(SUITES["cpu"], methods=("cascade",))
    with pytest.raises(vc.InputError, match="may read a prompt twice"):
        Subject(mini, suite, 0).ways()


def test_settings() -> None:
    assert Cascade(1.0).unsure_below is None and NEVER.unsure_below is None and ALWAYS.first_reading.margin == 0
    with pytest.raises(vc.InputError, match="margin"):
        Cascade(margin=-0.1)
    anatomy = lvlms.lvlm("llava").anatomy
    pair = Then(ALWAYS, FastV(0.9))
    assert pair.unsure_below == 1000 and pair.first_reading == Then(ALWAYS.first_reading, FastV(0.9))
    forced = Forced(ALWAYS, keep=(1,))
    assert forced.unsure_below == 1000 and forced.first_reading.unsure_below is None
    assert ALWAYS.demands(anatomy).reads_twice and not NEVER.demands(anatomy).reads_twice


def test_a_forced_cascade_reads_again(mini, items) -> None:
    picture, question = items[0].open(), items[0].question
    *_, done = run(mini, picture, question, Forced(ALWAYS, keep=(5,)))
    assert done.answer.cost.visual_tokens == FEW + ALL and done.answer.method == "forced"


def test_a_recording_keeps_the_note(mini, items, tmp_path) -> None:
    made = record(mini, items[0].open(), items[0].question, [replace(ALWAYS, retention=1 / 9)], rounds=1)
    save_recording(made, tmp_path)
    told = load_recording(tmp_path).runs[1].answer
    assert told.notes and told.notes == made.runs[1].answer.notes


def test_margins_count_up_to_the_end_of_each_answer() -> None:
    seen, ids = Margins(), torch.zeros(2, 3, dtype=torch.long)
    for row in ([[0.0, 2.0, 5.0], [1.0, 1.5, 0.0]], [[4.0, 0.0, 0.5], [0.0, 0.1, 0.0]]):
        scores = torch.tensor(row)
        assert torch.equal(seen(ids, scores), scores)
    assert seen.least([2, 1]) == [3.0, 0.5] and seen.least([1, 2]) == pytest.approx([3.0, 0.1])
    assert answer_length([4, 2, 0, 0], {2, 7}) == 2 and answer_length([4, 4], {2}) == 2
    scores = torch.randn(3, 50)
    best = scores.log_softmax(-1).sort(dim=-1, descending=True).values
    torch.testing.assert_close(margin(scores), best[:, 0] - best[:, 1])
