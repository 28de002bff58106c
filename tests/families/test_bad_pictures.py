"""Tiny, thin and mismatched pictures: every family works with them or says in one sentence why not."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms, tiny

NAMES = list(lvlms.MAKERS)
SIZES = [(1, 1), (5, 5), (1, 2000), (2000, 1), (3000, 16), (7, 150), (900, 900)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_pictures_smaller_than_a_window_and_extreme_shapes(name, size) -> None:
    lvlm, image = lvlms.lvlm(name), Image.new("RGB", size, "red")
    for reducer in (None, vc.VScan(0.5), vc.VScan(1 / 9), vc.REDUCERS["fastv"](0.6)):
        try:
            events = list(vc.answer(lvlm, image, "word5", reducer, max_new_tokens=2))
        except vc.InputError as refusal:
            qwen = name.startswith("qwen")
            assert (qwen and 2000 in size) or (
                reducer and reducer.retention < 0.25 and "less than one token" in str(refusal)
            )
            assert str(refusal).count("\n") == 0 and ("2000 pixels" in str(refusal)) == (size == (1, 2000))
            continue
        (seen,) = events[-1].answer.trace.images
        boxes = events[-1].answer.trace.boxes(0)
        assert boxes.shape == (seen.tokens, 4) and (boxes[:, 2:] >= boxes[:, :2])[~boxes[:, 0].isnan()].all()
        tokens, tiles = seen.budget  # counts what was unpadded, too: then there may be nothing left to cut
        assert reducer is None or seen.cuts or seen.tokens <= reducer.retention * tokens * tiles


@pytest.mark.parametrize("name", NAMES)
def test_more_pictures_than_placeholders_are_refused_by_the_processor(name) -> None:
    lvlm, image = lvlms.lvlm(name), Image.new("RGB", (90, 90))
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "word5"}]}
    prompt = lvlm.processor.apply_chat_template([turn], add_generation_prompt=True)
    for pictures, text in (([image, image], prompt), ([image], f"{prompt} {prompt}")):
        with pytest.raises(ValueError, match="should be the same as the number of images"):
            lvlm.processor(images=pictures, text=text, return_tensors="pt")


@pytest.mark.parametrize("reducer", [None, vc.VScan(0.5)], ids=str)
@pytest.mark.parametrize("name", ["llava", "llava_next", "llava_onevision", "internvl", "idefics3"])
@torch.no_grad()
def test_placeholders_that_split_a_picture_are_refused_in_one_sentence(name, reducer) -> None:
    """As many placeholders as tokens in all, but the border between two prompts runs through the picture."""
    lvlm = lvlms.lvlm(name)
    inputs = dict(lvlm.inputs(Image.new("RGB", (90, 90), "red"), "word5"))
    ids = inputs["input_ids"][0].tolist()
    border = ids.index(tiny.IMAGE) + 20
    split = {**inputs, **tiny.padded([ids[:border], ids[border:]])}
    with vc.reduced(lvlm.model, reducer):
        with pytest.raises(vc.InputError, match="20 image placeholders of prompt 1 do not fit whole pictures"):
            lvlm.model(**split)
        assert lvlm.model(**inputs).logits.isfinite().all()  # and life goes on
