"""Decoders in which some layers have a state instead of attention: what scores a cut, and what the cache says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.models.qwen3_5 import modeling_qwen3_5

import vscan_core as vc
from tests.families import tiny
from tests.families.test_families import method
from vscan_core import measure
from vscan_core.engine.score_layers import score_layers
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.ivcprune import IVCPrune
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.v2drop import V2Drop
from vscan_core.versions import CACHE, cache_out, new_static_cache

INPUTS = [[(12, 16)], [(8, 8), (10, 14)]]
REAL = [3, 7, 11, 15, 19, 23, 27, 31]  # the layers of Qwen3.5 4B and 9B that have attention


@pytest.fixture(scope="module")
def model():
    return tiny.qwen35("sdpa")


@pytest.mark.parametrize(
    ("reducer", "later", "expected"),
    [
        (vc.VScan(), [16], {16: 15}),
        (vc.VScan(), [15], {15: 15}),
        (FastV(), [4], {4: 3}),
        (FastV(), [7], {7: 3}),
        (SparseVLM(), [4, 10, 20], {4: 3, 10: 7, 20: 19}),
        (IVCPrune(), [10], {10: 7}),
        (V2Drop(), [1, 2], {1: 0, 2: 1}),  # reads no attention
    ],
    ids=str,
)
def test_a_cut_is_scored_by_the_last_attention_at_or_before_the_layer_that_the_method_names(
    reducer, later, expected
) -> None:
    assert score_layers(reducer, later, REAL) == expected
    plain = {cut: reducer.score_layer(cut) for cut in later}
    assert score_layers(reducer, later, range(32)) == plain  # what every other family does


@pytest.mark.parametrize(
    ("reducer", "later", "advice"),
    [
        (FastV(), [2], "cut at layer 4 or deeper"),
        (IVCPrune(), [2], "cut at layer 4 or deeper"),
        (vc.VScan(), [2], "cut at layer 3 or deeper"),
        (SparseVLM(), [4, 6], "cut at layer 8 or deeper"),
        (SparseVLM(), [4, 32, 33], "use fewer cuts"),
    ],
    ids=str,
)
def test_a_cut_that_no_attention_can_score_is_refused_with_what_to_do(reducer, later, advice) -> None:
    with pytest.raises(vc.InputError, match=rf"cut at decoder layer {later[-1]}: .* 3, 7, 11.*; {advice}$"):
        score_layers(reducer, later, REAL)


@torch.no_grad()
def test_scores_are_the_models_own_attention_at_that_layer(monkeypatch) -> None:
    model, inputs = tiny.qwen35("eager"), tiny.qwen_inputs([[(12, 16)]])
    own, maps = modeling_qwen3_5.eager_attention_forward, {}

    def recorded(module, *args, **kwargs):
        out, weights = own(module, *args, **kwargs)
        if isinstance(module, modeling_qwen3_5.Qwen3_5Attention):
            maps[module.layer_idx] = weights
        return out, weights

    monkeypatch.setattr(modeling_qwen3_5, "eager_attention_forward", recorded)
    with vc.reduced(model, method({"llm_keep": {3: 9}}, rope_in_scores=True)) as trace:
        model(**inputs)
    visual = inputs["input_ids"][0] == tiny.IMAGE
    (cut,) = trace.images[0].cuts
    assert sorted(maps) == tiny.ATTENDING and cut.layer == 3
    torch.testing.assert_close(cut.scores["text"], maps[1][0, :, -1].mean(0)[visual], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_masking_a_token_is_not_dropping_it(model) -> None:
    """A masked token still takes its place in a convolution and fades the state: hence an oracle of its own."""
    inputs = tiny.qwen_inputs([[(12, 16)]])
    with vc.reduced(model, method({"encoder_keep": 12, "llm_keep": {}})) as trace:
        dropped = model(**inputs).logits[0, -1]
    columns = (inputs["input_ids"][0] == tiny.IMAGE).nonzero()[:, 0]
    mask = inputs["attention_mask"].index_fill(1, columns, 0).index_fill(1, columns[trace.images[0].kept], 1)
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"], inputs["mm_token_type_ids"], inputs["image_grid_thw"]
    )
    masked = model(**{**inputs, "attention_mask": mask}, position_ids=positions).logits[0, -1]
    assert (masked - dropped).abs().max() > 1e-3


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
@torch.no_grad()
def test_the_cache_tells_the_callers_length_wherever_the_cut_is(model, cut) -> None:
    inputs, reducer = tiny.qwen_inputs([[(12, 16)]]), method({"encoder_keep": 20, "llm_keep": {cut: 9}})
    length = inputs["input_ids"].shape[1]
    with vc.reduced(model, reducer) as trace:
        cache = cache_out(model(**inputs, use_cache=True))
        assert cache.get_seq_length() == length
        model(input_ids=torch.tensor([[5]]), **{CACHE: cache})
        assert cache.get_seq_length() == length + 1
    left = [length - 48 + (20 if layer < cut else 9) for layer in range(6)]
    assert trace.tokens_per_layer == left
    assert [cache.layers[layer].keys.shape[2] for layer in tiny.ATTENDING] == [
        left[layer] + 1 for layer in tiny.ATTENDING
    ]


@torch.no_grad()
def test_a_second_turn_goes_on_from_the_states_of_the_first(model) -> None:
    first, more = tiny.qwen_inputs([[(12, 16)]]), torch.tensor([[5, 6, 7]])
    longer = {name: first[name] for name in ("pixel_values", "image_grid_thw")}
    for name, new in (("input_ids", more), ("attention_mask", more * 0 + 1), ("mm_token_type_ids", more * 0)):
        longer[name] = torch.cat([first[name], new], dim=1)
    reducer = method({"encoder_keep": 0.5, "llm_keep": {}})
    with vc.reduced(model, reducer):
        at_once = model(**longer).logits[:, -3:]
    with vc.reduced(model, reducer):
        cache = cache_out(model(**first, use_cache=True))
        in_turns = model(input_ids=more, **{CACHE: cache}).logits
    torch.testing.assert_close(in_turns, at_once, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_second_turn_of_rows_of_different_lengths_is_refused(model) -> None:
    first, more = tiny.qwen_inputs(INPUTS), torch.tensor([[5, 6, 7], [0, 6, 7]])
    mask = torch.cat([first["attention_mask"], torch.tensor([[1, 1, 1], [0, 1, 1]])], dim=1)
    with vc.reduced(model, method({"encoder_keep": 0.5, "llm_keep": {3: 9}})):
        cache = cache_out(model(**first, use_cache=True))
        with pytest.raises(vc.InputError, match="in a call of its own"):
            model(input_ids=more, attention_mask=mask, **{CACHE: cache})


@torch.no_grad()
def test_a_static_cache_is_refused(model) -> None:
    inputs = tiny.qwen_inputs([[(12, 16)]])
    cache = new_static_cache(model.config.text_config, 128)
    with pytest.raises(vc.InputError, match="layers of another kind"), vc.reduced(model, method({"encoder_keep": 9})):
        model(**inputs, **{CACHE: cache})


@torch.no_grad()
def test_bytes_and_flops_count_states_and_linear_layers(model) -> None:
    cache = cache_out(model(**tiny.qwen_inputs([[(12, 16)]]), use_cache=True))
    length = cache.get_seq_length()
    keys = 2 * 2 * 2 * 16 * length  # keys and values, layers, heads, width
    states = 4 * (4 * 8 * 8 + 4 * (2 * 16 + 32))  # layers: heads x keys x values, convolution x width
    assert measure.kv_bytes(cache) == 4 * (keys + states)

    config = model.config.text_config
    mlp, linear = 3 * 32 * 48, 32 * (2 * 16 + 3 * 32 + 2 * 4) + 3 * 8 * 32
    softmax = 3 * 32 * 64 + 2 * 32 * 32
    expected = 2 * (4 * (linear + mlp) + 2 * (softmax + mlp)) + 2 * 4 * 64
    assert measure.prefill_tflops([1] * 6, config) * 1e12 == pytest.approx(expected)
    dense = SimpleNamespace(**{**config.to_dict(), "layer_types": None})
    assert measure.prefill_tflops([100] * 6, config) < measure.prefill_tflops([100] * 6, dense)
