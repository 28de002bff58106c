"""Decoders whose layers differ (Gemma 4): windows, keys that later layers reuse, embeddings of each token per layer."""

from __future__ import annotations

from inspect import signature

import pytest
import torch
from transformers.models.gemma4 import modeling_gemma4

import vscan_core as vc
from tests.families import tiny
from tests.families.test_families import check_hiding, method
from vscan_core import measure
from vscan_core.versions import CACHE, cache_out

WINDOW, FULL = "sliding_attention", "full_attention"
PICTURE = [[(4, 6)]]
BOTH = {"encoder_keep": 15, "llm_keep": {2: 9}}


def reusing(attn: str = "sdpa"):
    """Layers 4 to 7 reuse keys and values: those with windows from layer 2, the others from layer 3."""
    kinds = [WINDOW, FULL, WINDOW, FULL, WINDOW, FULL, WINDOW, FULL]
    return tiny.gemma(attn, **{**tiny.GEMMA_EDGE, "num_kv_shared_layers": 4}, layer_types=kinds)


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("rows", [PICTURE, [[(4, 6)], [], [(2, 3), (4, 5)]]], ids=str)
@pytest.mark.parametrize("positions", ["renumbered", "original"])
@torch.no_grad()
def test_layers_that_reuse_keys_see_what_the_cut_has_left(attn, rows, positions) -> None:
    check_hiding(reusing(attn), "gemma4", rows, method(BOTH, positions=positions), positions == "renumbered")


def test_a_cut_behind_the_keys_that_are_reused_is_refused() -> None:
    model = reusing()
    anatomy = vc.families.family_of(model).anatomy(model)
    assert anatomy.last_cut == max(vc.VScan(retention=0.4).schedule(24, anatomy)) == 2
    with (
        pytest.raises(vc.InputError, match="can be at layer 2 or before, not at layer 3"),
        vc.reduced(model, method({"llm_keep": {1: 12, 3: 9}})),
    ):
        pass


@pytest.mark.parametrize("make", [tiny.gemma, tiny.gemma_large, reusing])
@pytest.mark.parametrize("rows", [PICTURE, [[(4, 6)], [(2, 3), (4, 5)]]], ids=str)
@pytest.mark.parametrize("cuts", [BOTH, {"encoder_keep": 15, "llm_keep": {}}], ids=["two", "one"])
@torch.no_grad()
def test_logits_of_some_positions_are_those_of_all(make, rows, cuts) -> None:
    """The decoder is told of them, and leaves out what it need not compute only where nothing is missing."""
    model, inputs = make("sdpa"), tiny.gemma_inputs(rows)
    last = inputs["input_ids"].shape[1] - 1
    with vc.reduced(model, method(cuts)) as trace:
        every = model(**inputs).logits
        for wanted, expected in ((1, every[:, -1:]), (3, every[:, -3:]), (torch.tensor([-2, last]), every[:, -2:])):
            got = model(**inputs, logits_to_keep=wanted).logits
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        assert model.model(**inputs).last_hidden_state.shape[1] == every.shape[1] == trace.tokens_per_layer[-1] < last
    assert trace.tokens_per_layer[0] > every.shape[1] or len(cuts["llm_keep"]) == 0


@torch.no_grad()
def test_counts_are_of_the_tokens_whose_keys_a_layer_reads_even_if_only_the_last_one_runs() -> None:
    model, inputs, ran = reusing(), tiny.gemma_inputs(PICTURE), []
    hooks = [layer.register_forward_pre_hook(lambda m, args: ran.append(args[0].shape[1]))
             for layer in model.model.language_model.layers]  # fmt: skip
    length = inputs["input_ids"].shape[1]
    for reducer, left in ((None, [length] * 8), (method(BOTH), [length - 9] * 2 + [length - 15] * 6)):
        ran.clear()
        with vc.reduced(model, reducer) as trace:
            model(**inputs, logits_to_keep=1)
        assert trace.tokens_per_layer == left
        lazy = ran[4:] == [1] * 4  # transformers from 5.24 on
        assert lazy or len(set(ran[4:])) == 1
        assert [visual - ours for visual, ours in zip(trace.visual_tokens_per_layer, left, strict=True)] == [
            24 - length
        ] * 8
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("cut", [1, 2, 4])
@torch.no_grad()
def test_scores_are_the_models_own_attention_but_for_the_window(monkeypatch, cut) -> None:
    """In a window that holds the prompt they are equal; of tokens out of a window's reach, too, there are scores."""
    settings = {**tiny.GEMMA_EDGE, "sliding_window": 64}
    model, inputs = tiny.gemma("eager", **settings), tiny.gemma_inputs(PICTURE)
    own, maps = modeling_gemma4.eager_attention_forward, {}

    def recorded(module, *args, **kwargs):
        out, weights = own(module, *args, **kwargs)
        if isinstance(module, modeling_gemma4.Gemma4TextAttention):
            maps[module.layer_idx] = weights
        return out, weights

    monkeypatch.setattr(modeling_gemma4, "eager_attention_forward", recorded)
    visual = inputs["input_ids"][0] == tiny.IMAGE
    model(**inputs)
    expected = maps[cut][0, :, -1].mean(0)[visual]
    with vc.reduced(model, method({"llm_keep": {cut: 9}})) as trace:
        model(**inputs)
    torch.testing.assert_close(trace.images[0].cuts[0].scores["text"], expected, atol=1e-5, rtol=1e-4)
    narrow = tiny.gemma("eager")
    with vc.reduced(narrow, method({"llm_keep": {cut: 9}})) as trace:
        narrow(**inputs)
    assert trace.images[0].cuts[0].scores["text"].min() > 0


@torch.no_grad()
def test_a_picture_in_a_second_turn_sees_itself_as_it_does_in_one_prompt() -> None:
    model, both = tiny.gemma_large("sdpa"), tiny.gemma_inputs([[(4, 6), (2, 3)]])
    at = int((both["input_ids"][0] == 102).nonzero()[0]) + 2  # after the first picture
    reducer = method({"encoder_keep": 0.5, "llm_keep": {}})
    with vc.reduced(model, reducer):
        at_once = model(**both).logits[:, -4:]
    pictures = [{name: both[name][i : i + 1] for name in ("pixel_values", "image_position_ids")} for i in range(2)]
    ids, kinds = both["input_ids"], both["mm_token_type_ids"]
    with vc.reduced(model, reducer):
        out = model(input_ids=ids[:, :at], mm_token_type_ids=kinds[:, :at], **pictures[0], use_cache=True)
        second = {"input_ids": ids[:, at:], "mm_token_type_ids": kinds, **pictures[1], CACHE: cache_out(out)}
        in_turns = model(**second).logits[:, -4:]  # transformers reads the kinds from the start of the sequence
    torch.testing.assert_close(in_turns, at_once, atol=1e-5, rtol=0)


@torch.no_grad()
def test_frames_of_a_video_are_pictures_of_their_own() -> None:
    model, rows = tiny.gemma_large("sdpa"), [[(2, 3), (2, 3)]]
    pictures, video = tiny.gemma_inputs(rows), tiny.gemma_inputs(rows, tiny.VIDEO)
    video |= {"pixel_values_videos": video.pop("pixel_values"), "video_position_ids": video.pop("image_position_ids")}
    if "num_frames_per_video" in signature(modeling_gemma4.Gemma4Model.get_video_features).parameters:
        video["num_frames_per_video"] = torch.tensor([2])
    else:  # one axis more up to transformers 5.23
        video |= {name: video[name][None] for name in ("pixel_values_videos", "video_position_ids")}
    seen = []
    for inputs in (pictures, video):
        with vc.reduced(model, method({"encoder_keep": 4, "llm_keep": {3: 3}})) as trace:
            seen.append(model(**inputs).logits)
        assert [[len(cut.kept) for cut in image.cuts] for image in trace.images] == [[4, 3]] * 2
    torch.testing.assert_close(*seen, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bytes_and_flops_are_those_of_each_layer() -> None:
    model, inputs = tiny.gemma("sdpa"), tiny.gemma_inputs(PICTURE)
    config, length = model.config.text_config, inputs["input_ids"].shape[1]
    cache = cache_out(model(**inputs, use_cache=True))
    windowed, whole = 3 * 2 * 2 * 8 * 11, 2 * 2 * 2 * 16 * length  # layers, keys and values, heads, width, tokens
    assert measure.kv_bytes(cache) == 4 * (windowed + whole)
    assert measure.prompt_kv_bytes([length] * 6, config, 4) == 4 * (3 * 2 * 2 * 8 * 12 + whole)

    def layer(head, keys, wide, queries, pairs):
        products = 2 * 32 * 4 * head + 2 * 32 * keys + wide * 3 * 32 * 48 + 3 * 32 * 8
        return 2 * queries * products + 4 * 4 * head * pairs

    every = length * (length + 1) // 2
    near = 12 * 13 // 2 + (length - 12) * 12
    expected = 3 * layer(8, 16, 1, length, near) + 2 * layer(16, 32, 1, length, every) + layer(16, 0, 2, 1, length)
    assert measure.prefill_tflops([length] * 6, config) * 1e12 == pytest.approx(expected)
    large = tiny.gemma_large("sdpa").config.text_config
    experts = 32 * 4 + 2 * 3 * 32 * 16 + 3 * 32 * 48
    one = 3 * (2 * (4 * 32 * 32 - 2 * 32 * 16 + experts) + 4 * 32)
    one += 3 * (2 * (2 * 32 * 64 + 32 * 16 + experts) + 4 * 64)
    assert measure.prefill_tflops([1] * 6, large) * 1e12 == pytest.approx(one)


@pytest.mark.parametrize("name", ["layer_kinds", "rotary"])
def test_a_layer_of_the_wrong_kind_would_be_noticed(monkeypatch, name) -> None:
    model = tiny.gemma("sdpa")
    family = vc.families.family_of(model)
    own = family.rotary
    wrong = {
        "layer_kinds": lambda model: [FULL, WINDOW] * 3,
        "rotary": lambda model, hidden, positions, kind: own(model, hidden, 2 * positions, kind),
    }
    monkeypatch.setattr(family, name, wrong[name])
    with pytest.raises((AssertionError, RuntimeError)):
        check_hiding(model, "gemma4", PICTURE, method(BOTH), True)
