"""Static caches: the tokens of a growing one, memory only for what was kept, and steps that can be captured."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch._dynamo.utils import counters

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.families.test_families import BATCHES, FAMILIES
from vscan_core.bench.counts import OperatorCount
from vscan_core.bench.modes import CompiledLayers
from vscan_core.measure import kv_bytes
from vscan_core.versions import CACHE, cache_out, new_cache, new_static_cache

STEPS = 8
BOTH = vc.VScan(encoder_keep=14, llm_keep={3: 5}, window=3)
METHODS = {
    "baseline": None,
    "vscan": BOTH,
    "fastv": vc.REDUCERS["fastv"](0.5),
    "pyramiddrop": vc.REDUCERS["pyramiddrop"](0.5),
    "vispruner": vc.REDUCERS["vispruner"](0.3),
}
ROWS = {"one row": [1], "ragged": [1, 0, 2]}


def answer(model, method, inputs, **more):
    with vc.reduced(model, method):
        return model.generate(
            **inputs,
            max_new_tokens=STEPS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=0,
            **more,
        )


def check_same(static, growing) -> None:
    assert torch.equal(static.sequences, growing.sequences)
    torch.testing.assert_close(torch.stack(static.logits), torch.stack(growing.logits), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("method", METHODS)
def test_the_answer_of_a_growing_cache_with_memory_for_what_was_kept(method, rows) -> None:
    model, inputs = tiny_llava(), prompt(ROWS[rows])
    growing = answer(model, METHODS[method], inputs)
    static = answer(model, METHODS[method], inputs, cache_implementation="static")
    check_same(static, growing)
    lengths = [layer.keys.shape[2] for layer in cache_out(static).layers]
    assert lengths == [layer.keys.shape[2] for layer in cache_out(growing).layers]
    assert kv_bytes(cache_out(static)) == kv_bytes(cache_out(growing))


def test_eager_attention() -> None:
    model, inputs = tiny_llava("eager"), prompt([1, 2])
    check_same(answer(model, BOTH, inputs, cache_implementation="static"), answer(model, BOTH, inputs))


def test_several_axes_of_positions() -> None:
    model = FAMILIES["qwen2_5_vl"][0]("sdpa")
    inputs = FAMILIES["qwen2_5_vl"][1](BATCHES["qwen2_5_vl"][0])
    method = vc.VScan(encoder_keep=0.3, llm_keep={3: 0.4})
    check_same(answer(model, method, inputs, cache_implementation="static"), answer(model, method, inputs))


def test_beams(sdpa_llava) -> None:
    growing, static = (
        answer(sdpa_llava, BOTH, prompt([1, 2]), num_beams=3, **more)
        for more in ({}, {"cache_implementation": "static"})
    )
    assert torch.equal(growing.sequences, static.sequences)


@torch.no_grad()
def by_hand(model, inputs, cache, turns: int = 3):
    """Logits of a prompt, and of `turns` later calls with two and one tokens in turn."""
    found = [model(**inputs, use_cache=True, **{CACHE: cache}).logits[:, -1]]
    for turn in range(turns):
        ids = torch.full((len(found[0]), 2 - turn % 2), 5)
        found.append(model(input_ids=ids, use_cache=True, **{CACHE: cache}).logits[:, -1])
    return torch.stack(found)


def test_a_cache_made_by_hand_is_used_again_after_a_reset(sdpa_llava) -> None:
    inputs, other, config = prompt([1]), prompt([1], seed=1), sdpa_llava.config
    cache = new_static_cache(config, 60)
    cache.early_initialization(1, 2, 8, torch.float32, torch.device("cpu"))
    for one in (inputs, other):
        with vc.reduced(sdpa_llava, BOTH):
            wanted = by_hand(sdpa_llava, one, new_cache(config.text_config))
        with vc.reduced(sdpa_llava, BOTH):
            torch.testing.assert_close(by_hand(sdpa_llava, one, cache), wanted, atol=1e-5, rtol=0)
        assert [layer.keys.shape[2] for layer in cache.layers] == [60 - 22] * 3 + [60 - 31] * 3
        kept = cache.layers[5].keys
        cache.reset()
        assert cache.layers[5].keys is kept  # compiled code is bound to it
    wider = vc.VScan(encoder_keep=20, llm_keep={2: 10}, window=3)
    with vc.reduced(sdpa_llava, wider):
        torch.testing.assert_close(
            by_hand(sdpa_llava, inputs, cache), by_hand(sdpa_llava, inputs, new_cache(config.text_config)),
            atol=1e-5, rtol=0,
        )  # fmt: skip
    assert [layer.keys.shape[2] for layer in cache.layers] == [60 - 16] * 2 + [60 - 26] * 4


@torch.inference_mode()
def test_a_picture_after_a_turn_without_the_library_and_a_copy(sdpa_llava) -> None:
    text, inputs, config = prompt([0]), prompt([1]), sdpa_llava.config
    found = []
    for cache in (new_cache(config.text_config), new_static_cache(config, 80)):
        sdpa_llava(**text, use_cache=True, **{CACHE: cache})
        more = {name: part for name, part in inputs.items() if name != "attention_mask"}
        with vc.reduced(sdpa_llava, BOTH):
            logits = sdpa_llava(**more, use_cache=True, **{CACHE: cache}).logits[:, -1]
            twin = copy.deepcopy(cache)
            found += [logits, *(by_hand(sdpa_llava, {"input_ids": torch.tensor([[7]])}, one) for one in (twin, cache))]
    for growing, static in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(static, growing, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("method", ["baseline", "vscan"])
def test_steps_have_constant_shapes_and_read_nothing_from_the_device(method, rows, sdpa_llava) -> None:
    inputs, shapes, counts = prompt(ROWS[rows]), [], []
    ids, position = torch.full((len(inputs["input_ids"]), 1), 5), torch.full((1, 1), inputs["input_ids"].shape[1])

    def note(module, args, kwargs) -> None:
        if args[0].shape[1] == 1:
            shapes.append(kwargs["attention_mask"].shape)

    hooks = [
        layer.register_forward_pre_hook(note, with_kwargs=True) for layer in sdpa_llava.model.language_model.layers
    ]
    try:
        with vc.reduced(sdpa_llava, METHODS[method]):
            cache = new_static_cache(sdpa_llava.config, inputs["input_ids"].shape[1] + 4)
            sdpa_llava(**inputs, use_cache=True, **{CACHE: cache})
            for _ in range(3):
                with OperatorCount() as count:
                    sdpa_llava(input_ids=ids, position_ids=position, use_cache=True, **{CACHE: cache})
                counts.append(count.outside)
                assert count.host_reads == 0
    finally:
        for hook in hooks:
            hook.remove()
    layers = len(hooks)
    assert counts[0] == counts[1] == counts[2]
    assert shapes[:layers] == shapes[layers : 2 * layers] == shapes[2 * layers :]


def test_compiled_layers_are_one_graph_each_and_are_not_compiled_again() -> None:
    model, inputs = tiny_llava(layers=2), prompt([1])
    method = vc.VScan(encoder_keep=14, llm_keep={1: 5}, window=3)
    compiled = CompiledLayers(list(model.model.language_model.layers), None, backend="eager")
    torch._dynamo.reset()
    counters.clear()
    for one in (None, method):
        with vc.reduced(model, one):
            wanted = by_hand(model, inputs, new_cache(model.config.text_config), 0)
        with compiled.use(), vc.reduced(model, one), torch.inference_mode():
            cache, ids = new_static_cache(model.config, 60), torch.tensor([[5]])
            with torch.compiler.set_stance("force_eager"):
                torch.testing.assert_close(by_hand(model, inputs, cache, 0), wanted)
            graphs = []
            for _ in range(4):
                model(input_ids=ids, use_cache=True, **{CACHE: cache})
                graphs.append(counters["stats"]["unique_graphs"])
        assert graphs == [graphs[0]] * 4 and not counters["graph_break"]
    assert graphs[0] == 4  # two layers, with and without a method
    assert all(layer._compiled_call_impl is None and not layer._forward_pre_hooks for layer in compiled.layers)
    torch._dynamo.reset()
    gc.collect()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"cache_implementation": "offloaded_static"}, "of the static caches, only"),
        ({"cache_implementation": "static", "prompt_lookup_num_tokens": 2}, "drafts need a cache that grows"),
        ({CACHE: "offloaded"}, "that is offloaded"),
        ({CACHE: "short"}, "is full"),
        ({CACHE: "sliding"}, "sliding windows"),
    ],
    ids=str,
)
def test_what_cannot_work_is_one_sentence(sdpa_llava, more, sentence) -> None:
    made = new_static_cache(sdpa_llava.config, 20)
    if more.get(CACHE) == "offloaded":
        made.offloading = True
    if more.get(CACHE) == "sliding":
        config = copy.deepcopy(sdpa_llava.config.text_config)
        config.sliding_window = 4
        made = new_static_cache(config, 60)
    given = {**more, CACHE: made} if CACHE in more else more
    with pytest.raises(vc.InputError, match=sentence):
        answer(sdpa_llava, BOTH, prompt([1]), **given)


def test_attention_that_cannot_tell_free_memory_from_tokens(sdpa_llava, monkeypatch) -> None:
    monkeypatch.setattr(sdpa_llava.config.text_config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(vc.InputError, match="attention 'flash_attention_2' a static cache cannot"):
        answer(sdpa_llava, BOTH, prompt([1]), cache_implementation="static")
