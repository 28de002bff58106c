"""`reduced` against the slow masked recompute: every way of calling a model, every kind of batch."""

from __future__ import annotations

import copy
from threading import Thread

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import DynamicCache, TextIteratorStreamer

import vscan_core as vc
from tests.conftest import IMAGE_TOKEN, prompt
from tests.reference.masked import step_logits
from vscan_core.versions import CACHE

STEPS = 4
CUTS = {
    "encoder": {"first": 11},
    "llm": {"later": {2: 9}},
    "both": {"first": 14, "later": {3: 5}},
    "three": {"first": 20, "later": {1: 12, 4: 3}},
}
BATCHES = [[1], [0], [2], [1, 1, 1], [0, 2, 1], [2, 0]]


def reducer(first: int | None = None, later: dict[int, int] | None = None, **settings) -> vc.VScan:
    return vc.VScan(
        encoder_keep=first or 1.0, llm_keep=later or {}, window=3, local_layer=1, global_layer=3, **settings
    )


def generate(model, inputs, method, **more):
    with vc.reduced(model, method) as trace:
        out = model.generate(
            **inputs, max_new_tokens=STEPS, do_sample=False, output_logits=True, return_dict_in_generate=True, **more
        )
    return out, trace


def rows_of(inputs):
    """Each row without padding, with its own pixels."""
    start = 0
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        row = ids[mask.bool()]
        images = int((row == IMAGE_TOKEN).sum()) // 36
        yield row, inputs["pixel_values"][start : start + images] if images else None
        start += images


@torch.no_grad()
def check(model, inputs, out, trace, cuts, positions="renumbered", rope=True, merge=True) -> None:
    logits, histories = torch.stack(out.logits, dim=1), []
    for i, (row, pixels) in enumerate(rows_of(inputs)):
        new = out.sequences[i, -STEPS:]
        expected, history = step_logits(
            model, row, pixels, new, **cuts, renumber=positions == "renumbered", rope=rope, merge=merge
        )
        torch.testing.assert_close(logits[i], expected, atol=1e-5, rtol=0)
        histories += history
    assert [[cut.kept.tolist() for cut in image.cuts] for image in trace.images] == histories


@pytest.mark.parametrize("images", BATCHES, ids=str)
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_generate_equals_masked_recompute(llava, cuts, images) -> None:
    inputs = prompt(images)
    out, trace = generate(llava, inputs, reducer(**cuts))
    check(llava, inputs, out, trace, cuts)


@pytest.mark.parametrize("settings", [{"positions": "original"}, {"rope_in_scores": False}, {"merge": False}], ids=str)
@pytest.mark.parametrize("images", [[1], [0, 2, 1]], ids=str)
def test_settings_equal_masked_recompute(llava, settings, images) -> None:
    inputs, cuts = prompt(images, seed=3), CUTS["both"]
    out, trace = generate(llava, inputs, reducer(**cuts, **settings))
    rope, merge = settings.get("rope_in_scores", True), settings.get("merge", True)
    check(llava, inputs, out, trace, cuts, settings.get("positions", "renumbered"), rope, merge)


@torch.no_grad()
def test_reference_notices_a_wrong_setting(sdpa_llava) -> None:
    inputs = prompt([1])
    out, _ = generate(sdpa_llava, inputs, reducer(**CUTS["both"]))
    row, pixels = next(rows_of(inputs))
    wrong, _ = step_logits(sdpa_llava, row, pixels, out.sequences[0, -STEPS:], **CUTS["both"], renumber=False)
    assert (torch.cat(out.logits) - wrong).abs().max() > 1e-2


@pytest.mark.parametrize("use_cache", [True, False])
@torch.no_grad()
def test_plain_forward(llava, use_cache) -> None:
    inputs = prompt([1])
    with vc.reduced(llava, reducer(**CUTS["both"])) as trace:
        out = llava(**inputs, use_cache=use_cache)
    row, pixels = next(rows_of(inputs))
    expected, _ = step_logits(llava, row, pixels, torch.tensor([5]), **CUTS["both"])
    torch.testing.assert_close(out.logits[0, -1], expected[0], atol=1e-5, rtol=0)
    text = int((row != IMAGE_TOKEN).sum())
    assert trace.tokens_per_layer == [text + 14] * 3 + [text + 5] * 3
    assert trace.visual_tokens_per_layer == [14] * 3 + [5] * 3


@torch.no_grad()
def test_plain_forward_without_mask_or_cache_and_with_gaps(llava) -> None:
    inputs = prompt([1])
    del inputs["attention_mask"]
    with vc.reduced(llava, reducer(**CUTS["both"], positions="original")):
        out = llava(**inputs, use_cache=False)
    row, pixels = inputs["input_ids"][0], inputs["pixel_values"]
    expected, _ = step_logits(llava, row, pixels, torch.tensor([5]), **CUTS["both"], renumber=False)
    torch.testing.assert_close(out.logits[0, -1], expected[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_plain_forward_of_rows_that_end_in_padding(sdpa_llava) -> None:
    inputs = prompt([1])
    with vc.reduced(sdpa_llava, reducer(**CUTS["llm"])) as whole:
        sdpa_llava(**inputs)
    padded = {name: torch.nn.functional.pad(inputs[name], (0, 3)) for name in ("input_ids", "attention_mask")}
    with vc.reduced(sdpa_llava, reducer(**CUTS["llm"])) as trace:
        sdpa_llava(**{**inputs, **padded})
    assert [cut.kept.tolist() for cut in trace.images[0].cuts] == [cut.kept.tolist() for cut in whole.images[0].cuts]


@pytest.mark.parametrize("images", [[1], [0, 1], [1, 2]], ids=str)
@torch.no_grad()
def test_beam_search_scores_every_sequence_right(llava, images) -> None:
    if max(images) > 1 and Version(transformers.__version__) < Version("5.23"):
        pytest.skip("transformers before 5.23 mixes up the pictures of a row in beam search, also unreduced")
    inputs, cuts = prompt(images, seed=5), CUTS["both"]
    method = reducer(**cuts)
    with vc.reduced(llava, method) as trace:
        more = {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.0, "do_sample": False}
        out = llava.generate(**inputs, max_new_tokens=STEPS, output_scores=True, return_dict_in_generate=True, **more)
    for i, (row, pixels) in enumerate(rows_of(inputs)):
        for beam in (2 * i, 2 * i + 1):
            new = out.sequences[beam, -STEPS:]
            logits, _ = step_logits(llava, row, pixels, new, **cuts)
            score = logits.log_softmax(-1).gather(1, new[:, None]).sum()
            torch.testing.assert_close(out.sequences_scores[beam], score, atol=2e-5, rtol=0)
    assert len(trace.images) % sum(images) == 0  # before 5.23, transformers encodes a picture once per beam
    assert all(len(image.cuts) == 2 for image in trace.images)


def test_streaming_thread_belongs_to_the_with_it_was_started_in(sdpa_llava) -> None:
    class Digits:
        def decode(self, ids, **_):
            return "".join(f"{int(i)} " for i in ids)

    inputs, method = prompt([1]), reducer(**CUTS["both"])
    out, _ = generate(sdpa_llava, inputs, method)
    streamer = TextIteratorStreamer(Digits(), skip_prompt=True, timeout=60)
    with vc.reduced(sdpa_llava, method) as trace:
        more = {"streamer": streamer, "max_new_tokens": STEPS, "do_sample": False}
        worker = Thread(target=sdpa_llava.generate, kwargs={**inputs, **more})
        worker.start()
        text = "".join(streamer)
        worker.join()
    assert text.split() == [str(int(i)) for i in out.sequences[0, -STEPS:]]
    assert trace.visual_tokens_per_layer == [14] * 3 + [5] * 3


@torch.no_grad()
def test_second_turn_and_copied_prefix_cache(llava) -> None:
    inputs, cuts = prompt([1]), CUTS["both"]
    turns, answers = [torch.tensor([[7, 8, 9]]), torch.tensor([[11, 12]])], []
    with vc.reduced(llava, reducer(**cuts)):
        cache = DynamicCache(config=llava.config.text_config)
        llava(**inputs, **{CACHE: cache}, use_cache=True)
        for turn in turns:  # each on its own copy of the picture's prefix
            ids = torch.cat([inputs["input_ids"], turn], dim=1)
            out = llava.generate(
                input_ids=ids,
                **{CACHE: copy.deepcopy(cache)},
                max_new_tokens=STEPS,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            answers.append((turn[0], out))
    row, pixels = next(rows_of(inputs))
    for turn, out in answers:
        new = torch.cat([turn, out.sequences[0, -STEPS:]])
        expected, _ = step_logits(llava, row, pixels, new, **cuts)
        torch.testing.assert_close(torch.cat(out.logits), expected[len(turn) :], atol=1e-5, rtol=0)


def test_prompt_lookup_decoding_equals_greedy(sdpa_llava) -> None:
    inputs, method = prompt([1]), reducer(**CUTS["both"])
    without_lookup, _ = generate(sdpa_llava, inputs, method)
    looked_up, _ = generate(sdpa_llava, inputs, method, prompt_lookup_num_tokens=2)
    assert torch.equal(without_lookup.sequences, looked_up.sequences)
