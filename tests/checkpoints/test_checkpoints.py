"""As a user: a checkpoint on disk, plain `from_pretrained`, `reduced`; single pictures, several, and batches."""

from __future__ import annotations

import pytest
import torch
import transformers

import vscan_core as vc
from tests.families import tiny

FAMILIES = {
    "llava_next": (tiny.llava_next, transformers.LlavaNextForConditionalGeneration, tiny.next_inputs),
    "qwen2_5_vl": (tiny.qwen, transformers.Qwen2_5_VLForConditionalGeneration, tiny.qwen_inputs),
}
PICTURES = {
    "llava_next": ((84, 168), (168, 168), (50, 168)),
    "qwen2_5_vl": ((8, 12), (16, 16), (12, 8)),
}
METHODS = (
    vc.VScan(encoder_keep=16, llm_keep={3: 5}, local_layer=1),
    vc.VScan(encoder_keep=0.5, llm_keep={2: 0.5, 4: 0.5}, local_layer=0),
    vc.VScan(encoder_keep=8, llm_keep={}),
)


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request, tmp_path_factory):
    make = FAMILIES[request.param][0]
    folder = tmp_path_factory.mktemp(request.param)
    make("sdpa").save_pretrained(folder)
    return request.param, folder


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_checkpoint_is_reduced_like_the_model_it_was_saved_from(saved, dtype, method) -> None:
    name, folder = saved
    make, cls, inputs_of = FAMILIES[name]
    loaded = cls.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    # a model cast by hand has its rotary frequencies cast, too, so that only a loaded one is the same
    fresh = make("sdpa") if dtype == torch.float32 else cls.from_pretrained(folder, dtype=dtype)
    a, b, c = PICTURES[name]
    for rows in ([[a]], [[b]], [[a, b]], [[a], [b], [c]], [[a, c], [b], []], [[]]):
        inputs = inputs_of(rows)
        inputs = {key: part.to(dtype) if part.is_floating_point() else part for key, part in inputs.items()}
        ids, kept = [], []
        for model in (loaded, fresh):
            model.generation_config.pad_token_id = 0
            model.generation_config.eos_token_id = None
            with vc.reduced(model, method) as trace:
                ids.append(model.generate(**inputs, max_new_tokens=4, do_sample=False))
            kept.append([cut.kept.tolist() for image in trace.images for cut in image.cuts])
        assert ids[0].shape[1] == inputs["input_ids"].shape[1] + 4 and torch.equal(*ids)
        assert kept[0] == kept[1] and len(trace.images) == sum(map(len, rows))
