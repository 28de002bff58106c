"""Modes of `generate` and arguments of the forward: right, or refused before anything runs."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, StaticCache

import vscan_core as vc
from tests.conftest import IMAGE_TOKEN, prompt, tiny_llava
from tests.families.refused import OF_VIDEOS, refusal
from vscan_core.versions import CACHE

BOTH = vc.VScan(encoder_keep=14, llm_keep={3: 5}, window=3)
GREEDY = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture(scope="module")
def inputs():
    return prompt([1])


@pytest.fixture(scope="module")
def wanted(sdpa_llava, inputs):
    return generate(sdpa_llava, inputs, **GREEDY)


def generate(model, inputs, **more) -> list[int]:
    with vc.reduced(model, BOTH):
        return model.generate(**inputs, **more)[0, -8:].tolist()


def test_chunked_prefill_wherever_it_is_asked_for(sdpa_llava, inputs, wanted, monkeypatch) -> None:
    config = GenerationConfig(prefill_chunk_size=8, pad_token_id=0, **GREEDY)
    assert generate(sdpa_llava, inputs, generation_config=config) == wanted
    assert config.prefill_chunk_size == 8  # the caller's own stays as it is
    with vc.reduced(sdpa_llava, BOTH):
        rest = {name: part for name, part in inputs.items() if name != "input_ids"}
        assert sdpa_llava.generate(inputs["input_ids"], config, **rest)[0, -8:].tolist() == wanted
    monkeypatch.setattr(sdpa_llava.generation_config, "prefill_chunk_size", 8)
    assert generate(sdpa_llava, inputs, **GREEDY) == wanted


def test_caches_that_do_not_fit_are_refused_before_the_picture_is_seen(sdpa_llava, inputs, wanted, monkeypatch) -> None:
    config = sdpa_llava.config.text_config
    assert generate(sdpa_llava, inputs, **GREEDY, **{CACHE: DynamicCache(config=config)}) == wanted
    assert generate(sdpa_llava, inputs, **GREEDY, cache_implementation="dynamic") == wanted
    seen = []
    hook = sdpa_llava.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    offloaded = StaticCache(config=config, max_cache_len=99)
    offloaded.offloading = True
    own = {"generation_config": GenerationConfig(cache_implementation="offloaded_static", max_new_tokens=2)}
    for more in ({CACHE: offloaded}, own, {"cache_implementation": "offloaded_static"}):
        with pytest.raises(vc.InputError, match="static cache"):
            generate(sdpa_llava, inputs, **more)
    with pytest.raises(vc.InputError, match="static cache"), vc.reduced(sdpa_llava, BOTH):
        sdpa_llava(**inputs, **{CACHE: offloaded})
    monkeypatch.setattr(sdpa_llava.generation_config, "cache_implementation", "offloaded_static")
    with pytest.raises(vc.InputError, match="static cache"):
        generate(sdpa_llava, inputs, **GREEDY)
    hook.remove()
    assert not seen


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")
def test_a_cache_may_still_come_under_its_old_name(sdpa_llava, inputs, wanted) -> None:
    old = {"past_key_values": DynamicCache(config=sdpa_llava.config.text_config)}
    assert generate(sdpa_llava, inputs, **GREEDY, **old) == wanted


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"cache_implementation": "paged"}, "continuous batching"),
        ({"assistant_early_exit": 2}, "self-drafting"),
        ({"assistant_model": "itself"}, "its own assistant"),
    ],
    ids=str,
)
def test_speculative_and_paged_modes_that_cannot_work(sdpa_llava, inputs, more, sentence) -> None:
    if "assistant_model" in more:
        more = {"assistant_model": sdpa_llava}
    with pytest.raises(vc.InputError, match=sentence):
        generate(sdpa_llava, inputs, **GREEDY, **more)


@pytest.mark.parametrize("method", sorted(set(vc.REDUCERS) - OF_VIDEOS))
def test_a_prompt_that_ends_in_the_picture_never_loses_the_token_that_answers(sdpa_llava, inputs, method) -> None:
    end = int((inputs["input_ids"][0] == IMAGE_TOKEN).nonzero()[-1]) + 1
    short = {name: inputs[name][:, :end] for name in ("input_ids", "attention_mask")}
    try:
        with torch.no_grad(), vc.reduced(sdpa_llava, vc.REDUCERS[method](0.5), question="What is it?") as trace:
            sdpa_llava(**short, pixel_values=inputs["pixel_values"])
    except vc.InputError as error:
        assert "ends in the picture" in str(error) and "after the picture" in str(error)
    else:
        assert all(35 in cut.kept.tolist() for cut in trace.images[0].cuts)


@pytest.mark.parametrize("kept", [1, 2, 9])
def test_the_answering_token_counts_in_the_budget(sdpa_llava, inputs, kept) -> None:
    end = int((inputs["input_ids"][0] == IMAGE_TOKEN).nonzero()[-1]) + 1
    short = {name: inputs[name][:, :end] for name in ("input_ids", "attention_mask")}
    with torch.no_grad(), vc.reduced(sdpa_llava, vc.VScan(encoder_keep=1.0, llm_keep={3: kept})) as trace:
        sdpa_llava(**short, pixel_values=inputs["pixel_values"])
    assert len(trace.images[0].kept) == kept and trace.images[0].kept[-1] == 35


@torch.no_grad()
def test_asked_positions_are_found_and_dropped_ones_are_named(sdpa_llava, inputs) -> None:
    length = inputs["input_ids"].shape[1]
    with vc.reduced(sdpa_llava, BOTH) as trace:
        whole = sdpa_llava(**inputs).logits
        first = int((inputs["input_ids"][0] == IMAGE_TOKEN).nonzero()[0])
        survivor = first + int(trace.images[0].kept[0])
        some = sdpa_llava(**inputs, logits_to_keep=torch.tensor([0, survivor, -1])).logits
        assert torch.allclose(some[0], whole[0, [0, first, -1]], atol=1e-5)
        for dropped in ({"logits_to_keep": torch.arange(length)}, {"logits_to_keep": length - 1}):
            with pytest.raises(vc.InputError, match="was dropped"):
                sdpa_llava(**inputs, **dropped)
        assert sdpa_llava(**inputs, logits_to_keep=2).logits.shape[1] == 2


@torch.no_grad()
def test_positions_that_differ_by_row_are_refused(sdpa_llava) -> None:
    both = prompt([1, 2])
    with vc.reduced(sdpa_llava, BOTH):
        assert sdpa_llava(**both, logits_to_keep=torch.tensor([-1])).logits.shape[1] == 1
        with pytest.raises(vc.InputError, match="logits_to_keep"):
            sdpa_llava(**both, logits_to_keep=torch.tensor([both["input_ids"].shape[1] - 40]))
        picture = torch.full((36,), IMAGE_TOKEN)
        early = torch.cat([picture, torch.arange(2, 40)])
        late = torch.cat([picture, torch.tensor([2]), picture, torch.tensor([3])])
        both = {"input_ids": torch.stack([early, late]), "pixel_values": both["pixel_values"]}
        with pytest.raises(vc.InputError, match="differ between the rows"):
            sdpa_llava(**both, logits_to_keep=torch.tensor([36]))  # text in both, behind as many tokens


def test_logits_that_are_no_numbers_are_an_error_not_an_answer(inputs) -> None:
    model = tiny_llava()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    for method in (BOTH, None):
        for run in (lambda: model.generate(**inputs, **GREEDY), lambda: model(**inputs)):
            with pytest.raises(RuntimeError, match="not finite"), vc.reduced(model, method):
                run()


@pytest.mark.parametrize("method", vc.REDUCERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_every_method_under_autocast(sdpa_llava, inputs, method, dtype) -> None:
    reducer = vc.REDUCERS[method](0.5)
    if sentence := refusal(sdpa_llava, reducer):
        with pytest.raises(vc.InputError, match=sentence), torch.autocast("cpu", dtype=dtype):
            with vc.reduced(sdpa_llava, reducer):
                sdpa_llava(**inputs)
        return
    with vc.reduced(sdpa_llava, reducer, question="What is it?") as exact:
        sdpa_llava(**inputs)
    with torch.autocast("cpu", dtype=dtype), vc.reduced(sdpa_llava, reducer, question="What is it?") as trace:
        assert sdpa_llava(**inputs).logits.isfinite().all()
    assert trace.visual_tokens_per_layer == exact.visual_tokens_per_layer


@torch.no_grad()
def test_embeddings_that_still_hold_placeholders_are_reduced(sdpa_llava, inputs, wanted) -> None:
    rows = {"inputs_embeds": sdpa_llava.get_input_embeddings()(inputs["input_ids"])}
    rest = {name: part for name, part in inputs.items() if name != "input_ids"}
    with vc.reduced(sdpa_llava, BOTH):
        assert torch.allclose(sdpa_llava(**rows, **rest).logits[:, -1], sdpa_llava(**inputs).logits[:, -1], atol=1e-5)
        assert sdpa_llava.generate(**rows, **rest, **GREEDY)[0, -8:].tolist() == wanted
        assert sdpa_llava.generate(**rows, pixel_values=inputs["pixel_values"], **GREEDY)[0].tolist() == wanted
        assert (
            sdpa_llava.generate(inputs["input_ids"], pixel_values=inputs["pixel_values"], **GREEDY)[0, -8:].tolist()
            == wanted
        )


@torch.no_grad()
def test_embeddings_of_words_alone_bring_no_picture(sdpa_llava, inputs) -> None:
    embeds = sdpa_llava.get_input_embeddings()(torch.tensor([[4, 5, 6, 7]]))
    before = sdpa_llava(inputs_embeds=embeds).logits
    with vc.reduced(sdpa_llava, BOTH):
        assert torch.equal(sdpa_llava(inputs_embeds=embeds).logits, before)
        with pytest.raises(vc.InputError, match="may hold picture features"):
            sdpa_llava(inputs_embeds=embeds + 1e-3)


def test_guidance_does_not_overwrite_the_trace(sdpa_llava, inputs) -> None:
    with vc.reduced(sdpa_llava, BOTH) as trace:
        sdpa_llava.generate(**inputs, **GREEDY, guidance_scale=2.0)
    assert trace.visual_tokens_per_layer == [14] * 3 + [5] * 3
    assert [len(cut.kept) for cut in trace.images[0].cuts] == [14, 5]


@pytest.mark.parametrize("kind", ["sdpa", "eager", "flex_attention"])
def test_the_trace_says_which_attention_ran(inputs, wanted, kind) -> None:
    model = tiny_llava()
    model.set_attn_implementation(kind)
    with vc.reduced(model, BOTH) as trace:
        assert model.generate(**inputs, **GREEDY)[0, -8:].tolist() == wanted
    assert trace.attention == {"vision": kind, "text": kind}
