"""What a PreparedInputs says of its pixels: boxes are right or in seen pixels, and no method ever depends on it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from vscan_core.prepared import PreparedInputs, views_in

KEEPS: dict[str, Callable[[PreparedInputs], Any]] = {
    "itself": lambda inputs: inputs,
    "a dict": dict,
    "unpacked": lambda inputs: {**inputs},
    "moved": lambda inputs: inputs.to("cpu"),
    "cast": lambda inputs: inputs.to(torch.float64).to(torch.float32),
    "a copy": copy.copy,
    "a deep copy": copy.deepcopy,
    "pickled": lambda inputs: pickle.loads(pickle.dumps(inputs)),
}
LOSES: dict[str, Callable[[PreparedInputs], dict[str, Any]]] = {
    "cloned": lambda inputs: {name: part.clone() for name, part in inputs.items()},
    "sliced": lambda inputs: {name: part[:] for name, part in inputs.items()},
}
TILED = ["llava", "llava_next", "qwen2_5_vl", "internvl", "idefics3"]


def picture() -> Image.Image:
    noise = torch.randint(0, 255, (90, 200, 3), generator=torch.Generator().manual_seed(0))
    return Image.fromarray(noise.byte().numpy())


@torch.no_grad()
def run(lvlm: vc.LVLM, inputs: Any, **more: Any) -> vc.Trace:
    with vc.reduced(lvlm.model, vc.VScan(0.5), **more) as trace:
        lvlm.model.generate(**inputs, max_new_tokens=1)
    return trace


def kept(trace: vc.Trace) -> list[list[int]]:
    return [cut.kept.tolist() for image in trace.images for cut in image.cuts]


@pytest.mark.parametrize("way", KEEPS)
@pytest.mark.parametrize("name", TILED)
def test_boxes_stay_in_the_original(name, way) -> None:
    lvlm, image = lvlms.lvlm(name), picture()
    trace = run(lvlm, KEEPS[way](lvlm.inputs(image, "word5")))
    assert torch.equal(trace.boxes(0).nan_to_num(-1), lvlm.boxes(image).nan_to_num(-1))


@pytest.mark.parametrize("way", LOSES)
@pytest.mark.parametrize("name", TILED)
def test_other_tensors_of_pixels_have_boxes_in_seen_pixels_and_the_same_cuts(name, way) -> None:
    lvlm, image = lvlms.lvlm(name), picture()
    inputs = lvlm.inputs(image, "word5")
    expected, copied = run(lvlm, inputs), LOSES[way](inputs)
    assert views_in(copied) is None
    trace = run(lvlm, copied)
    assert len(kept(trace)) > 0 and kept(trace) == kept(expected)
    seen = trace.images[0]
    if "image_sizes" in inputs:  # the model itself is told how large the original is
        assert torch.equal(trace.boxes(0).nan_to_num(-1), expected.boxes(0).nan_to_num(-1))
        return
    assert seen.view == vc.ImageTrace(tokens=1).view and seen.boxes is not None
    assert torch.equal(trace.boxes(0).nan_to_num(-1), seen.boxes.nan_to_num(-1))
    assert not torch.equal(trace.boxes(0).nan_to_num(-1), expected.boxes(0).nan_to_num(-1))
    told = run(lvlm, copied, views=inputs.views)
    assert kept(told) == kept(expected)
    assert torch.equal(told.boxes(0).nan_to_num(-1), expected.boxes(0).nan_to_num(-1))


def test_other_pixels_under_the_same_name_do_not_inherit_the_boxes() -> None:
    lvlm = lvlms.lvlm("llava")
    inputs = lvlm.inputs(picture(), "word5")
    inputs["pixel_values"] = torch.rand_like(inputs["pixel_values"])
    assert views_in(inputs) is None


def test_the_model_as_it_is_takes_them_too() -> None:
    lvlm = lvlms.lvlm("llava")
    inputs = lvlm.inputs(picture(), "word5")
    with torch.no_grad():
        assert lvlm.model.generate(**inputs, max_new_tokens=1).shape[0] == 1
    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"}


def test_views_that_do_not_match_the_pictures_are_not_used() -> None:
    lvlm = lvlms.lvlm("llava")
    inputs = lvlm.inputs(picture(), "word5")
    trace = run(lvlm, inputs, views=[*inputs.views, *inputs.views])
    assert trace.images[0].view.size is None
