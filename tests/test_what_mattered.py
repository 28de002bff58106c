"""What mattered: the regions of what is asked about, on a real example; the figures are those of runs by hand."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from vscan_core.reducers import Forced
from vscan_core.resources import asset
from vscan_core.what_mattered import tokens_in_regions, what_mattered

QUESTION = "What colour is the heart?"


@pytest.fixture(scope="module")
def picture():
    with Image.open(asset("examples", "scene_60059.png")) as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def found(mini, picture):
    encodings = mini.vision_cache.encodings
    found = what_mattered(mini, picture, QUESTION, regions=(3, 3), margin=0)
    assert mini.vision_cache.encodings - encodings <= 1
    return found


def test_the_heart_mattered_and_nothing_else(found) -> None:
    """It lies at the top right."""
    assert found.answer.text == "blue" and found.loss.shape == (3, 3)
    where = divmod(int(found.loss.argmax()), 3)
    others = found.loss.flatten().sort().values[:-1]
    assert where == (0, 2) and found.changed.nonzero().tolist() == [[0, 2]]
    assert found.loss.max() > 5 * others.abs().max()


def test_the_loss_is_that_of_a_run_by_hand(mini, picture, found) -> None:
    tokens = found.regions[0][2]
    assert len(tokens) == 64 and tokens[0] == 16 and tokens[-1] == 7 * 24 + 23
    inputs = mini.inputs(picture, QUESTION)
    with vc.reduced(mini.model, Forced(vc.REDUCERS["grid"](1.0), drop=tokens)) as trace:
        made = mini.model.generate(
            **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    assert trace.tokens_per_layer[0] == inputs["input_ids"].shape[1] - 64
    first = found.answer.token_ids[0]
    without = made.logits[0].float().log_softmax(-1)[0, first]
    with torch.inference_mode():
        whole = mini.model(**inputs).logits[0, -1].float().log_softmax(-1)[first]
    assert float(whole - without) == pytest.approx(float(found.loss[0, 2]), rel=0.05)  # the rest of it: the end token


def test_a_margin_is_left_out_with_the_region(mini, picture) -> None:
    loss = what_mattered(mini, picture, QUESTION, regions=(4, 4)).loss
    corner = loss[:2, 2:]  # every region here is left out together with the heart
    assert (
        corner.min() > 0.2 and corner.min() > 10 * loss[2:].abs().max() and corner.min() > 10 * loss[:2, :2].abs().max()
    )


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "qwen3_vl"])
def test_tiles_and_packed_pictures_are_divided_too(name) -> None:
    image = Image.radial_gradient("L").convert("RGB").resize((150, 100))
    found = what_mattered(lvlms.lvlm(name), image, "word5 word6", regions=(2, 2), margin=0, max_new_tokens=3)
    assert found.loss.isfinite().all() and (found.loss != 0).any()
    told = [token for line in found.regions for tokens in line for token in tokens]
    assert len(told) == len(set(told))


def test_regions_without_tokens_have_no_figure(mini) -> None:
    trace = vc.ImageTrace(3)
    boxes = torch.tensor([[0.0, 0, 10, 10], [90, 90, 100, 100], [torch.nan] * 4])
    assert tokens_in_regions(trace, boxes, (2, 2)) == (((0,), ()), ((), (1,)))
    with pytest.raises(vc.InputError, match="margin of 1"):
        what_mattered(mini, Image.new("RGB", (50, 50)), "What?", regions=(3, 3))
    with pytest.raises(vc.InputError, match="0 x 3"):
        what_mattered(mini, Image.new("RGB", (50, 50)), "What?", regions=(0, 3))
