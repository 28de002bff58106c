"""`answer` and `compare` on the embedded model: events, figures, stopping, bad input, memory running out."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

import vscan_core as vc
from vscan_core import measure
from vscan_core.survey_ratio import survey_flop_ratio

QUESTION = "Is there a cat?"


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    image = Image.new("RGB", (500, 400), "skyblue")
    ImageDraw.Draw(image).ellipse((180, 120, 320, 260), fill="crimson")
    return image


def done(events) -> list[vc.Answer]:
    return [event.answer for event in events if isinstance(event, vc.Done)]


def test_events_come_in_order_and_the_last_carries_the_answer(mini, picture) -> None:
    events = list(vc.answer(mini, picture, QUESTION, vc.VScan(), max_new_tokens=5))
    kinds = [type(event) for event in events]
    assert kinds[0] is vc.Prefilled and kinds[-1] is vc.Done and set(kinds[1:-1]) == {vc.Token}
    answer = events[-1].answer
    assert answer.text == events[-2].text and len(answer.token_ids) == len(kinds) - 2 <= 5
    assert answer.method == "vscan" and events[0].trace is answer.trace


def test_figures_are_those_of_the_run(mini, picture) -> None:
    baseline, reduced = done(vc.compare(mini, picture, QUESTION, [None, vc.VScan()], max_new_tokens=4))
    layers = mini.anatomy.text_layers
    text = baseline.trace.tokens_per_layer[0] - 576
    assert baseline.trace.visual_tokens_per_layer == [576] * layers and baseline.cost.visual_tokens == 576
    half = layers // 2
    assert reduced.trace.visual_tokens_per_layer == [96] * half + [32] * half and reduced.cost.visual_tokens == 64
    assert reduced.trace.tokens_per_layer == [96 + text] * half + [32 + text] * half
    config = mini.model.config.text_config
    per_token = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4
    assert baseline.cost.kv_bytes == layers * (576 + text) * per_token
    assert reduced.cost.kv_bytes == sum(reduced.trace.tokens_per_layer) * per_token
    for answer in (baseline, reduced):
        timings = answer.timings
        summed = timings.vision_ms + timings.reduce_ms + timings.prefill_ms
        assert timings.ttft_ms == pytest.approx(summed) and timings.total_ms >= timings.ttft_ms > 0
        assert answer.cost.peak_bytes is None or answer.cost.peak_bytes > answer.cost.kv_bytes
    assert baseline.timings.reduce_ms == 0 < reduced.timings.reduce_ms


def test_answer_equals_generate(mini, picture) -> None:
    for reducer in (None, vc.VScan(), vc.VScan(retention=0.5)):
        (answer,) = done(vc.answer(mini, picture, QUESTION, reducer, max_new_tokens=8))
        inputs = mini.inputs(picture, QUESTION)
        with vc.reduced(mini.model, reducer) as trace:
            out = mini.model.generate(**inputs, max_new_tokens=8, do_sample=False)
        assert tuple(out[0, inputs["input_ids"].shape[1] :].tolist()) == answer.token_ids
        assert trace.visual_tokens_per_layer == answer.trace.visual_tokens_per_layer


def test_only_the_first_run_of_a_shape_is_preceded_by_an_untimed_one(mini, picture) -> None:
    mini, passes = replace(mini, warmed=measure.RecentKeys()), []
    hook = mini.model.model.vision_tower.register_forward_hook(lambda *_: passes.append(1))
    reducer = vc.VScan(retention=0.2345)
    for expected in (2, 3):
        done(vc.answer(mini, picture, QUESTION, reducer, max_new_tokens=1))
        assert len(passes) == expected
    hook.remove()


def test_closing_stops_the_computation_and_leaves_the_model_as_found(mini, picture) -> None:
    passes = []
    hook = mini.model.lm_head.register_forward_hook(lambda *_: passes.append(1))
    events = vc.answer(mini, picture, QUESTION, vc.VScan(), max_new_tokens=500)
    while not isinstance(next(events), vc.Token):
        pass
    events.close()
    count = len(passes)
    hook.remove()
    assert count <= 3 and not mini.model.model.language_model._forward_pre_hooks


def test_a_run_may_hop_threads_and_interleave_with_others(mini, picture) -> None:
    runs = [
        vc.answer(mini, picture, QUESTION, r, max_new_tokens=6) for r in (vc.VScan(), None, vc.VScan(retention=0.3))
    ]
    expected = [
        done(vc.answer(mini, picture, QUESTION, r, max_new_tokens=6))[0]
        for r in (vc.VScan(), None, vc.VScan(retention=0.3))
    ]
    answers: dict[int, vc.Answer] = {}

    def advance(i: int) -> None:
        event = next(runs[i], None)
        if isinstance(event, vc.Done):
            answers[i] = event.answer

    for _ in range(12):
        for i in range(len(runs)):  # every step of every run on a thread of its own
            worker = threading.Thread(target=advance, args=(i,))
            worker.start()
            worker.join()
    for i, answer in enumerate(expected):
        assert answers[i].token_ids == answer.token_ids
        assert answers[i].trace.visual_tokens_per_layer == answer.trace.visual_tokens_per_layer


def test_signals_and_boxes(mini, picture) -> None:
    reducer = vc.VScan()
    signals = mini.signals(picture, reducer)
    assert signals.tokens == 576 and signals.grid == (24, 24)
    (answer,) = done(vc.answer(mini, picture, QUESTION, reducer, max_new_tokens=1))
    (first, _) = answer.trace.images[0].cuts
    assert torch.equal(reducer.select(signals, 96).kept, first.kept)
    boxes = mini.boxes(picture)
    assert torch.equal(boxes, answer.trace.boxes(0))
    assert boxes[:, 0].min() == 50 and boxes[:, 2].max() == pytest.approx(450, abs=1)  # the centre square of 500 x 400
    assert boxes[:, 1].min() == 0 and boxes[:, 3].max() == pytest.approx(400, abs=1)


@pytest.mark.parametrize("size", [(500, 400), (300, 900), (336, 336), (61, 47)])
def test_the_box_of_the_brightest_token_covers_the_bright_patch(mini, size) -> None:
    width, height = size
    edge = min(size)
    spot = (width // 2 + edge // 5, height // 2 - edge // 5)  # inside the centre square
    image = Image.new("RGB", size, "black")
    ImageDraw.Draw(image).rectangle((spot[0] - 2, spot[1] - 2, spot[0] + 2, spot[1] + 2), fill="white")
    pixels = mini.inputs(image, QUESTION)["pixel_values"][0].mean(0)
    brightness = pixels.unfold(0, 14, 14).unfold(1, 14, 14).mean((2, 3)).flatten()
    x0, y0, x1, y1 = mini.boxes(image)[int(brightness.argmax())].tolist()
    assert x0 - 3 <= spot[0] <= x1 + 3 and y0 - 3 <= spot[1] <= y1 + 3


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("x" * 1001, "at most 1000"),
        ("what is <image> here", "<image>"),
        ("a </s> b", "</s>"),
    ],
)
def test_bad_questions_are_refused_in_one_sentence(mini, picture, question, sentence) -> None:
    if sentence == "</s>" and "</s>" not in mini.processor.tokenizer.all_special_tokens:
        pytest.skip("this tokenizer has no </s>")
    with pytest.raises(vc.InputError, match=sentence):
        next(vc.answer(mini, picture, question, None))


def test_every_special_token_is_refused(mini, picture) -> None:
    for token in mini.processor.tokenizer.all_special_tokens:
        with pytest.raises(vc.InputError, match="control token"):
            mini.inputs(picture, f"what {token} is this")


def test_any_plain_text_goes_in(mini, picture) -> None:
    for question in ("¿Dónde está el gato? 🐱 猫", "a\tb\nc", "<b>bold</b> & 100 %", "IS THERE A CAT"):
        ids = mini.inputs(picture, question)["input_ids"]
        assert (ids == mini.model.config.image_token_id).sum() == 576


def test_no_picture(mini) -> None:
    with pytest.raises(vc.InputError, match="no picture"):
        mini.inputs(None, QUESTION)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "LA"])
def test_pictures_of_any_mode_work(mini, mode) -> None:
    assert mini.inputs(Image.new(mode, (40, 30)), QUESTION)["pixel_values"].shape == (1, 3, 336, 336)


def test_running_out_of_memory_is_one_sentence_and_the_model_lives_on(mini, picture, monkeypatch) -> None:
    def exhausted(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")

    monkeypatch.setattr(mini.model.model.language_model.layers[3], "forward", exhausted)
    with pytest.raises(vc.OutOfMemory, match="freed"):
        list(vc.answer(mini, picture, QUESTION, vc.VScan()))
    monkeypatch.undo()
    assert done(vc.answer(mini, picture, QUESTION, vc.VScan(), max_new_tokens=2))


def test_other_errors_are_not_swallowed(mini, picture, monkeypatch) -> None:
    def broken(*_args, **_kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(mini.model.model.language_model.layers[3], "forward", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        list(vc.answer(mini, picture, QUESTION, vc.VScan()))


def test_flops_follow_the_formula() -> None:
    config = SimpleNamespace(
        hidden_size=4096, num_attention_heads=32, num_key_value_heads=32, intermediate_size=11008, head_dim=128
    )
    full = measure.prefill_tflops([640] * 32, config, causal=False)
    assert full == pytest.approx(8.504, abs=1e-3)  # counted on a meta LLaMA-7B
    discarded = 32 * 640 * 639 // 2 * 4 * 4096  # of the map, what is behind each token
    assert measure.prefill_tflops([640] * 32, config) == pytest.approx(full - discarded / 1e12, rel=1e-12)


def test_one_token_attends_to_itself_however_attention_is_counted() -> None:
    config = SimpleNamespace(hidden_size=8, num_attention_heads=2, num_key_value_heads=1, intermediate_size=16)
    one = [measure.prefill_tflops([1], config, causal=causal) * 1e12 for causal in (True, False)]
    assert one == pytest.approx([2 * (2 * 64 + 2 * 8 * 4 + 3 * 8 * 16) + 4 * 8] * 2)
    # three tokens: six pairs or nine
    assert measure.prefill_tflops([3], config) * 1e12 == pytest.approx(3 * (one[0] - 32) + 6 * 32)
    assert measure.prefill_tflops([3], config, causal=False) * 1e12 == pytest.approx(3 * (one[0] - 32) + 9 * 32)


DECODER = SimpleNamespace(hidden_size=4096, num_attention_heads=32, intermediate_size=11007)  # about LLaMA-7B


def test_the_ratio_of_the_survey_by_hand() -> None:
    tiny = SimpleNamespace(hidden_size=2, intermediate_size=3)
    whole, cut = 160 + 400 + 120, 64 + 64 + 48  # 10 tokens, 4 tokens
    assert survey_flop_ratio([10, 4], 10, tiny) == pytest.approx((whole + cut) / (2 * whole))
    printed = (160 - 400 + 120) + (64 - 48), 2 * (4 - 40 - 400 + 120)
    assert survey_flop_ratio([10, 4], 10, tiny, as_printed=True) == pytest.approx(printed[0] / printed[1])


def test_the_survey_corrected_is_our_full_count_with_two_matrices_in_the_mlp() -> None:
    counts, two = [640] * 2 + [160] * 20 + [96] * 10, SimpleNamespace(**vars(DECODER))
    two.intermediate_size = 2 * DECODER.intermediate_size // 3
    ours = [measure.prefill_tflops(each, two, causal=False) for each in (counts, [640] * 32)]
    assert survey_flop_ratio(counts, 640, DECODER) == pytest.approx(ours[0] / ours[1])


def test_as_printed_the_ratio_is_negative_and_not_one_without_a_cut() -> None:
    assert survey_flop_ratio([128] * 32, 640, DECODER, as_printed=True) < 0
    assert survey_flop_ratio([640] * 32, 640, DECODER) == 1
    printed = (4 * 4096 - 2 * 640 + 2 * 11007) / (-4096 - 2 * 640 + 2 * 11007)  # each divided by 640 * 4096
    assert survey_flop_ratio([640] * 32, 640, DECODER, as_printed=True) == pytest.approx(printed)
    assert printed > 2


def test_a_run_gives_both_counts_of_its_own_tokens(mini, picture) -> None:
    (answer,) = done(vc.answer(mini, picture, QUESTION, vc.VScan(), max_new_tokens=1))
    cost, counts, config = answer.cost, answer.trace.tokens_per_layer, mini.model.config.text_config
    assert cost.tflops == measure.prefill_tflops(counts, config)
    assert cost.tflops_full == measure.prefill_tflops(counts, config, causal=False) > cost.tflops
    whole = mini.inputs(picture, QUESTION)["input_ids"].shape[1]
    assert cost.survey_ratio == survey_flop_ratio(counts, whole, config) < 0.5
    assert cost.survey_ratio_printed == survey_flop_ratio(counts, whole, config, as_printed=True)
    (dense,) = done(vc.answer(mini, picture, QUESTION, None, max_new_tokens=1))
    assert dense.cost.survey_ratio == 1 != dense.cost.survey_ratio_printed
