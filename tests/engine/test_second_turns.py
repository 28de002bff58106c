"""A later turn on the cache of a cut prompt: right, but nothing is recalled; what cannot be right is refused."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import DynamicCache

import vscan_core as vc
from tests.conftest import IMAGE_TOKEN, prompt
from tests.families.test_families import BATCHES, FAMILIES, method
from vscan_core.versions import cache_out, with_cache

TURN = torch.tensor([[7, 8, 9]])
ENTRANCE, BOTH = method({"encoder_keep": 0.5, "llm_keep": {}}), method({"encoder_keep": 0.5, "llm_keep": {3: 0.4}})
SETTINGS = {"max_new_tokens": 3, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
SETTINGS["suppress_tokens"] = [99, 100, 101, 102]  # a model with random weights may say a placeholder


def longer(inputs, ids):
    """The inputs with more text behind them, so that the prompt is `ids`."""
    more = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inputs:
        added = ids.shape[1] - inputs["input_ids"].shape[1]
        more["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, added))
    return {**inputs, **more}


def held(cache) -> list[int]:
    """Tokens in each layer that has keys, and no window that bounds them."""
    layers = [layer for layer in cache.layers if not getattr(layer, "is_sliding", False)]
    return [layer.keys.shape[2] for layer in layers if getattr(layer, "keys", None) is not None]


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_goes_on_without_recalling_anything(name) -> None:
    make, inputs_of = FAMILIES[name]
    model, inputs = make("sdpa"), inputs_of(BATCHES[name][0])
    for reducer in (ENTRANCE, BOTH):
        with vc.reduced(model, reducer) as trace:
            first = model.generate(**inputs, **SETTINGS)
            cache, cuts = cache_out(first), [cut.kept.tolist() for image in trace.images for cut in image.cuts]
            before, ids = held(cache), torch.cat([first.sequences, TURN], 1)
            text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            second = model.generate(**with_cache(text, cache), **SETTINGS)
            assert [cut.kept.tolist() for image in trace.images for cut in image.cuts] == cuts
            # the last token of the first answer, the turn, and the new answer but for its last token
            assert [after - count for after, count in zip(held(cache), before, strict=True)] == [6] * len(before)
        with vc.reduced(model, reducer) as trace:
            whole = model.generate(**longer(inputs, ids), **SETTINGS)
        found = [cut.kept.tolist() for image in trace.images for cut in image.cuts]
        if reducer is ENTRANCE:  # blind to the question: then the cache holds what a prefill of both turns would
            torch.testing.assert_close(torch.stack(second.logits), torch.stack(whole.logits), atol=1e-5, rtol=0)
            assert found == cuts
        else:
            assert found != cuts and before[0] > before[-1]


@pytest.mark.parametrize("name", FAMILIES)
def test_pixels_that_the_cache_holds_are_refused(name) -> None:
    make, inputs_of = FAMILIES[name]
    model, inputs = make("sdpa"), inputs_of(BATCHES[name][0])
    for reducer in (None, BOTH):
        with pytest.raises(vc.InputError, match="leave out the pixels of pictures that the cache holds"):
            with vc.reduced(model, reducer):
                first = model.generate(**inputs, **SETTINGS)
                again = longer(inputs, torch.cat([first.sequences, TURN], 1))
                model.generate(**with_cache(again, cache_out(first)), **SETTINGS)


@torch.no_grad()
def test_a_new_picture_in_the_second_turn_is_cut_for_itself(sdpa_llava) -> None:
    one, two = prompt([1], seed=1), prompt([1], seed=2)
    ids = torch.cat([one["input_ids"], two["input_ids"]], 1)
    pixels = torch.cat([one["pixel_values"], two["pixel_values"]])
    with vc.reduced(sdpa_llava, ENTRANCE) as trace:
        cache = cache_out(sdpa_llava(**one, use_cache=True))
        more = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": two["pixel_values"]}
        second = sdpa_llava.generate(**with_cache(more, cache), **SETTINGS)
        assert [len(image.kept) for image in trace.images] == [18]
    with vc.reduced(sdpa_llava, ENTRANCE):
        whole = sdpa_llava.generate(**{**more, "pixel_values": pixels}, **SETTINGS)
    torch.testing.assert_close(torch.stack(second.logits), torch.stack(whole.logits), atol=1e-5, rtol=0)


@pytest.mark.parametrize("reducer", [None, ENTRANCE, BOTH], ids=["dense", "entrance", "both"])
@torch.no_grad()
def test_a_question_can_be_taken_back_but_not_half_a_picture(sdpa_llava, reducer) -> None:
    inputs = prompt([1])
    ids = inputs["input_ids"]
    behind = ids.shape[1] - 1 - int((ids[0] == IMAGE_TOKEN).nonzero()[-1])
    with vc.reduced(sdpa_llava, reducer):
        out = sdpa_llava(**inputs, use_cache=True)
        cache = cache_out(out)
        sdpa_llava(**with_cache({"input_ids": TURN}, cache))
        cache.crop(-TURN.shape[1] - behind)
        again = sdpa_llava(**with_cache({"input_ids": ids[:, -behind:]}, cache)).logits
        torch.testing.assert_close(again[0, -1], out.logits[0, -1], atol=1e-5, rtol=0)
        refused = nullcontext() if reducer is None else pytest.raises(vc.InputError, match="reaches into a picture")
        with refused:
            cache.crop(-behind - 1)


@torch.no_grad()
def test_a_cache_from_before_the_with_takes_a_padded_batch(sdpa_llava) -> None:
    """Of a picture with all its tokens; the rows of the turn have different lengths."""
    inputs, rows = prompt([1]), torch.tensor([[0, 0, 7, 8], [5, 6, 7, 8]])
    mask = torch.cat([torch.ones(2, inputs["input_ids"].shape[1], dtype=torch.long), (rows > 0).long()], 1)
    found = []
    for block in (nullcontext(), vc.reduced(sdpa_llava, BOTH)):
        cache = cache_out(sdpa_llava(**inputs, use_cache=True))
        cache.batch_repeat_interleave(2)
        with block:
            found.append(sdpa_llava(**with_cache({"input_ids": rows, "attention_mask": mask}, cache)).logits[:, -1])
    torch.testing.assert_close(*found, atol=1e-5, rtol=0)


def test_keys_that_were_copied_out_of_a_cut_cache_are_refused(sdpa_llava) -> None:
    """Such a cache no longer says how many tokens it stands for."""
    inputs = prompt([1])
    ids = torch.cat([inputs["input_ids"], TURN], 1)
    with pytest.raises(vc.InputError, match="may hold picture features that were not computed in this call"):
        with vc.reduced(sdpa_llava, ENTRANCE):
            cache = cache_out(sdpa_llava.generate(**inputs, **SETTINGS))
            copy = DynamicCache([(layer.keys, layer.values) for layer in cache.layers])
            sdpa_llava.generate(**with_cache({"input_ids": ids}, copy), max_new_tokens=2)
