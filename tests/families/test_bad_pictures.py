"""Tiny, thin and mismatched pictures: every family works with them or says in one sentence why not."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms, tiny

NAMES = list(lvlms.MAKERS)
MROPE = [name for name in NAMES if name.startswith(tiny.MROPE)]
SIZES = [(1, 1), (5, 5), (1, 2000), (2000, 1), (3000, 16), (7, 150), (900, 900)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_pictures_smaller_than_a_window_and_extreme_shapes(name, size) -> None:
    lvlm, image = lvlms.lvlm(name), Image.new("RGB", size, "red")
    for reducer in (None, vc.VScan(0.5), vc.VScan(1 / 9), vc.REDUCERS["fastv"](0.6)):
        try:
            events = list(vc.answer(lvlm, image, "word5", reducer, max_new_tokens=2))
        except vc.InputError as refusal:
            # not longer than 200 times its width (Qwen); not a single row (Video-LLaVA); not fewer tokens than one
            shape = f"does not accept a picture of {size[0]} x {size[1]} pixels" in str(refusal)
            assert "\n" not in str(refusal) and (shape or "less than one token" in str(refusal))
            assert not shape or (name in MROPE and 2000 in size) or (name == "video_llava" and size[1] == 1)
            continue
        (seen,) = events[-1].answer.trace.images
        boxes = events[-1].answer.trace.boxes(0)
        assert boxes.shape == (seen.tokens, 4) and (boxes[:, 2:] >= boxes[:, :2])[~boxes[:, 0].isnan()].all()
        tokens, tiles = seen.budget  # counts what was unpadded, too: then there may be nothing left to cut
        assert reducer is None or seen.cuts or seen.tokens <= reducer.retention * tokens * tiles


def twice(name: str, inputs: dict[str, torch.Tensor], text: bool) -> dict[str, torch.Tensor]:
    """Only the text or only the pictures, doubled."""
    axis = 1 if text or name in ("idefics3", "smolvlm") else 0
    text_inputs = ("input_ids", "attention_mask", "mm_token_type_ids")
    return {key: torch.cat([part, part], axis) for key, part in inputs.items() if (key in text_inputs) == text}


@pytest.mark.parametrize("reducer", [None, vc.VScan(0.5)], ids=str)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_more_pictures_than_placeholders_and_fewer_are_refused_in_one_sentence(name, reducer) -> None:
    lvlm = lvlms.lvlm(name)
    inputs = dict(lvlm.inputs(Image.new("RGB", (90, 90), "red"), "word5"))
    found = int((inputs["input_ids"] == tiny.IMAGE).sum())
    with vc.reduced(lvlm.model, reducer):
        for run in (lvlm.model, partial(lvlm.model.generate, max_new_tokens=1)):
            with pytest.raises(vc.InputError, match=f"has {found} image placeholders, but its pictures become"):
                run(**{**inputs, **twice(name, inputs, text=False)})
        if name not in MROPE:  # it has positions to find before anything else
            with pytest.raises(vc.InputError, match=f"has {2 * found} image placeholders, but its pictures become"):
                lvlm.model(**{**inputs, **twice(name, inputs, text=True)})
        assert lvlm.model(**inputs).logits.isfinite().all()  # and life goes on


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
