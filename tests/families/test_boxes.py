"""Boxes lie where the pixels come from: a bright square lights up the tokens whose boxes cover it, and no others.

Real processors, towers and packing; only the towers' attention is silenced, so that a token tells of its own pixels.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from PIL import Image
from torch import Tensor

import vscan_core as vc
from tests.families import lvlms

NAMES = list(lvlms.MAKERS)
SIZES = [(100, 100), (200, 90), (70, 190), (20, 30), (600, 400), (333, 211), (240, 240)]
PLACES = [(0.5, 0.5), (0.3, 0.62), (0.1, 0.1), (0.9, 0.15), (0.12, 0.88), (0.93, 0.93)]
CROP = ("llava", "video_llava")  # look at the centre square of a picture only
DARK, BRIGHT = (100, 100, 100), (160, 160, 160)
BEHIND_ATTENTION = ("out_proj", "projection_layer", "attn.proj", "attn.o_proj")
Square = tuple[float, float, float, float]


@cache
def silent(name: str) -> vc.LVLM:
    """A model of its own whose vision attention adds nothing."""
    model, processor = lvlms.MAKERS[name]()
    with torch.no_grad():
        for tower in lvlms.family_of(model).vision_towers(model):
            silenced = [part for path, part in tower.named_modules() if path.endswith(BEHIND_ATTENTION)]
            assert silenced
            for weights in (one for part in silenced for one in part.parameters()):  # some have no bias
                weights.zero_()
    return vc.LVLM(model=model.eval(), processor=processor, family=lvlms.family_of(model), name=name)


def picture(size: tuple[int, int], place: tuple[float, float]) -> tuple[Image.Image, Square]:
    """A dark picture with a bright square whose centre is at `place` (shares of width and height)."""
    side = max(3, min(size) // 8)
    left, top = (int(share * (length - side)) for share, length in zip(place, size, strict=True))
    image = Image.new("RGB", size, DARK)
    image.paste(BRIGHT, (left, top, left + side, top + side))
    return image, (left, top, left + side, top + side)


@torch.no_grad()
def features(lvlm: vc.LVLM, image: Image.Image) -> Tensor:
    """(tokens, dim) as they would enter the LLM."""
    batch = lvlm.preview(image, vc.Needs()).encoder.batch
    return torch.cat([rows.flatten(0, -2) for rows in lvlm.family.encode(lvlm.model, batch).pooler_output])


def levels(boxes: Tensor) -> list[Tensor]:
    """(tokens,) bool per size of box: crops, and the tile of the whole picture."""
    area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).nan_to_num(0)
    small, large = area[area > 0].min(), area.max()
    if large < 1.2 * small:
        return [area > 0]
    return [(area > 0) & (area < 1.2 * small), area > large / 1.2]


def check(change: Tensor, boxes: Tensor, square: Square) -> None:
    x0, y0, x1, y1 = square
    assert change[boxes[:, 0].isnan()].sum() == 0  # newlines
    for level in levels(boxes):
        here, strength = boxes[level], change[level] / change[level].max()
        slack = (here[0, 2:] - here[0, :2]) / 4  # resampling spreads an edge over some pixels
        strong, some = here[strength > 0.3], here[strength > 0.01]
        apart = (strong[:, :2] >= torch.tensor([x1, y1]) + slack) | (strong[:, 2:] <= torch.tensor([x0, y0]) - slack)
        assert len(strong) and not apart.any(), f"tokens light up away from the square: {strong[apart.any(1)]}"
        reach = torch.cat([some[:, :2].amin(0) - slack, some[:, 2:].amax(0) + slack])
        assert reach[0] <= x0 and reach[1] <= y0 and reach[2] >= x1 and reach[3] >= y1, f"{reach} leaves out {square}"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_what_lights_up_covers_the_bright_square(name, size) -> None:
    lvlm = silent(name)
    dark = Image.new("RGB", size, DARK)
    without, boxes = features(lvlm, dark), lvlm.boxes(dark)
    assert boxes.shape == (len(without), 4)
    seen = [min(size) / side if name in CROP else 1 for side in size]
    for place in PLACES:
        image, square = picture(size, tuple(0.5 + (p - 0.5) * share for p, share in zip(place, seen, strict=True)))
        check((features(lvlm, image) - without).norm(dim=-1), boxes, square)


def test_nothing_lights_up_where_the_picture_is_cropped() -> None:
    lvlm, (image, square) = silent("llava"), picture((200, 90), (0.05, 0.5))
    change = features(lvlm, image) - features(lvlm, Image.new("RGB", image.size, DARK))
    assert not change.any() and lvlm.boxes(image)[:, 0].min() > square[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_check_can_fail(name) -> None:
    lvlm, (image, square) = silent(name), picture((200, 90), (0.65, 0.1))
    change = (features(lvlm, image) - features(lvlm, Image.new("RGB", image.size, DARK))).norm(dim=-1)
    boxes = lvlm.boxes(image)
    check(change, boxes, square)
    mirrored = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([200.0, 0, 200, 0])
    shifted = boxes + (boxes[0, 2:] - boxes[0, :2]).max()
    for wrong in (mirrored, shifted, boxes[:, [1, 0, 3, 2]]):
        with pytest.raises(AssertionError):
            check(change, wrong, square)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_boxes_leave_nothing_of_the_picture_out(name, size) -> None:
    boxes = silent(name).boxes(Image.new("RGB", size))
    edges = [(side - min(size)) / 2 if name in CROP else 0 for side in size]
    for level in levels(boxes):
        here = boxes[level]
        if name == "llava padded":  # whole tokens may lie in the padding
            here = here[(here[:, 2:] > 0).all(1) & (here[:, :2] < torch.tensor(size)).all(1)]
        token = (here[0, 2:] - here[0, :2]).max()  # padding may share its first token with the picture's edge
        near, far = torch.tensor(edges), torch.tensor(size) - torch.tensor(edges)
        assert ((here[:, :2].amin(0) - near).abs() <= token).all() and (
            (here[:, 2:].amax(0) - far).abs() <= token
        ).all()
