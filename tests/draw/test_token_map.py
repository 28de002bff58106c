"""Fates are read from the trace alone, and drawn where the boxes say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vscan_core import geometry
from vscan_core.draw.canvas import SIDE, at_drawing_size, canvas_of, coarse_first
from vscan_core.draw.fates import Fate, fates
from vscan_core.draw.token_map import token_map
from vscan_core.trace import Cut, ImageTrace, Trace, View

NONE = torch.full((16,), -1)


def cut(layer: int, kept: list[int], merged: dict[int, int] | None = None, **labels: list[int]) -> Cut:
    into = NONE.clone()
    for token, target in (merged or {}).items():
        into[token] = target
    return Cut(layer, torch.tensor(kept), {k: torch.tensor(v) for k, v in labels.items()}, into, {})


def image(*cuts: Cut) -> ImageTrace:
    """16 tokens on a 4 x 4 grid over 64 x 64 seen pixels."""
    return ImageTrace(16, (4, 4), geometry.patch_boxes(4, 4, 64, 64), View(size=(64, 64)), list(cuts))


WHITE = Image.new("RGB", (64, 64), "white")
VSCAN = image(
    cut(0, [0, 1, 2, 5], {3: 2, 4: 5}, local=[0, 1], **{"global": [2, 5]}),
    cut(3, [1, 5], text=[1, 5]),
)


def test_every_fate_by_hand() -> None:
    found = fates(VSCAN)
    wanted = {0: Fate.PRUNED, 1: Fate.LOCAL, 2: Fate.PRUNED, 3: Fate.MERGED, 4: Fate.MERGED, 5: Fate.GLOBAL}
    assert all(found.codes[token] == fate for token, fate in wanted.items())
    assert found.count(Fate.DROPPED) == 10 and found.kept == 2 and found.pruned_at == {3: 2}


def test_places_that_show_another_token_are_marked_while_they_are_kept() -> None:
    """As ApET labels them: 1 and 5 at the entrance, of which 5 and then 2 remain inside."""
    trace = image(cut(0, [0, 1, 2, 5], basis=[1, 5]), cut(3, [2, 5], basis=[2]))
    shown = [fates(trace, number).replaced.nonzero()[0].tolist() for number in range(3)]
    assert shown == [[], [1, 5], [2, 5]] and not fates(VSCAN).replaced.any()
    drawn = token_map(WHITE, trace, trace.boxes, fates(trace))
    plain = token_map(WHITE, trace, trace.boxes, replace(fates(trace), replaced=np.zeros(16, bool)))
    differs = np.asarray(drawn) != np.asarray(plain)
    tiles = differs.any(-1).reshape(4, SIDE // 4, 4, SIDE // 4).any((1, 3)).flatten()
    assert tiles.nonzero()[0].tolist() == [2, 5]


def test_after_the_first_cut_only() -> None:
    found = fates(VSCAN, cuts=1)
    assert found.kept == 4 and found.count(Fate.PRUNED) == 0 and found.pruned_at == {}


def test_before_any_cut_everything_is_kept() -> None:
    assert fates(VSCAN, cuts=0).count(Fate.KEPT) == 16
    assert fates(image()).kept == 16


def test_several_cuts_inside_the_language_model() -> None:
    found = fates(image(cut(2, list(range(8))), cut(4, [0, 1, 2])))
    assert found.pruned_at == {2: 8, 4: 5} and found.count(Fate.PRUNED) == 13 and found.count(Fate.KEPT) == 3


def test_local_and_global_at_once_counts_as_global() -> None:
    found = fates(image(cut(0, [0, 1], local=[0, 1], **{"global": [1]})))
    assert found.codes[0] == Fate.LOCAL and found.codes[1] == Fate.GLOBAL


@settings(max_examples=50, deadline=None)
@given(first=st.integers(1, 16), data=st.data())
def test_counts_always_add_up(first: int, data: st.DataObject) -> None:
    kept = sorted(data.draw(st.permutations(range(16)))[:first])
    later = sorted(data.draw(st.permutations(kept))[: data.draw(st.integers(1, first))])
    merged = {t: kept[0] for t in range(16) if t not in kept and data.draw(st.booleans())}
    found = fates(image(cut(0, kept, merged, local=kept[::2]), cut(1, later)))
    assert sum(found.count(fate) for fate in Fate) == 16
    assert found.kept == len(later) and found.pruned_at[1] == first - len(later)
    assert found.count(Fate.MERGED) == len(merged)


def painted(trace: ImageTrace, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    grey = Image.new("RGB", size, (200, 200, 200))
    return np.asarray(token_map(grey, trace, Trace([trace]).boxes(0), fates(trace))).astype(int)


def patch(picture: np.ndarray, token: int) -> np.ndarray:
    side = SIDE // 4
    row, col = divmod(token, 4)
    return picture[row * side : (row + 1) * side, col * side : (col + 1) * side]


def test_each_fate_looks_different_and_kept_is_brighter_than_dropped() -> None:
    picture = painted(VSCAN)
    looks = [patch(picture, token).mean((0, 1)) for token in (5, 1, 3, 6, 0)]
    for a in range(len(looks)):
        for b in range(a):
            assert np.abs(looks[a] - looks[b]).max() > 5
    assert looks[0].sum() > looks[3].sum() and looks[1].sum() > looks[3].sum()


def test_each_fate_also_has_its_own_shape() -> None:
    """Without colour: a frame at the rim, a ring away from it, a dot in the middle, nothing, hatching."""
    grey = painted(VSCAN).mean(-1)
    side = SIDE // 4
    unmarked, frame, ring, dot, hatch = (patch(grey[..., None], t)[..., 0] for t in (6, 5, 1, 3, 0))
    assert unmarked.std() == 0
    middle = side // 2
    assert abs(frame[4, middle] - frame[middle, middle]) > 5 and abs(ring[4, middle] - ring[middle, middle]) < 5
    assert abs(dot[middle, middle] - dot[4, 4]) > 5
    assert len(np.unique(hatch[middle])) > 1 and hatch.std() > 0


@pytest.mark.parametrize("size", [(64, 64), (3000, 1000), (20, 40), (1, 900)])
def test_the_canvas_has_the_drawing_size(size: tuple[int, int]) -> None:
    canvas = at_drawing_size(Image.new("RGB", size))
    assert max(canvas.size) == SIDE and min(canvas.size) >= 1


def test_boxes_are_in_pixels_of_the_original() -> None:
    """A view that shows only the right half: the left half of the picture was never seen, and turns grey."""
    trace = image(cut(0, list(range(16)), **{"global": list(range(16))}))
    trace.view = View(scale=(1.0, 1.0), offset=(64.0, 0.0), size=(128, 64))
    red = Image.new("RGB", (128, 64), (255, 0, 0))
    picture = np.asarray(token_map(red, trace, Trace([trace]).boxes(0), fates(trace))).astype(int)
    unseen, seen = picture[:, : SIDE // 2], picture[:, SIDE // 2 :]
    assert np.ptp(unseen.reshape(-1, 3), axis=0).max() == 0 and unseen[0, 0, 1] > 90
    assert seen[..., 0].mean() > 230 and seen[..., 1].mean() < 90


def test_the_finest_tokens_are_on_top_wherever_they_stand_in_the_prompt() -> None:
    nan = torch.nan
    boxes = torch.tensor([[0, 0, 3, 3], [nan, nan, nan, nan], [0, 0, 2, 2.0], [0, 0, 3, 3.01]])
    assert coarse_first(boxes) == [0, 3, 2] and coarse_first(boxes[1:2]) == []
    crops, whole = geometry.tile_boxes((2, 2), (2, 2), 64, 64), geometry.patch_boxes(2, 2, 64, 64)
    grey = Image.new("RGB", (64, 64), (200, 200, 200))
    crops_kept, whole_kept = (
        ImageTrace(20, cuts=[Cut(0, torch.arange(kept), {}, torch.full((20,), -1), {})]) for kept in (16, 4)
    )
    after = token_map(grey, crops_kept, torch.cat([crops, whole]), fates(crops_kept))
    before = token_map(grey, whole_kept, torch.cat([whole, crops]), fates(whole_kept))
    assert np.asarray(after).mean() > 150 and np.asarray(before).mean() < 100


def test_newline_tokens_without_pixels_are_left_out() -> None:
    boxes = geometry.patch_boxes(4, 4, 64, 64).clone()
    boxes[3] = torch.nan
    for marks in (fates(VSCAN), torch.rand(16)):
        assert token_map(Image.new("RGB", (64, 64)), VSCAN, boxes, marks).size == (SIDE, SIDE)


def test_a_point_belongs_to_the_finest_token_there() -> None:
    """Three quarters of the picture are seen; the upper left quarter also as one token of its own."""
    nan = torch.nan
    boxes = torch.tensor([[0, 0, 32, 32.0], [nan] * 4, [0, 0, 64, 32], [0, 32, 32, 64]])
    canvas = canvas_of(Image.new("RGB", (64, 64)), ImageTrace(4), boxes)
    points = [(100, 100), (SIDE - 100, 100), (100, SIDE - 100), (SIDE - 100, SIDE - 100), (-1, 5)]
    assert [canvas.token_at(*point) for point in points] == [0, 2, 3, None, None]


def test_heat_map_runs_from_dark_to_light_and_shades_the_unknown() -> None:
    scores = torch.linspace(0, 1, 16)
    scores[7] = torch.nan
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    picture = np.asarray(token_map(grey, VSCAN, geometry.patch_boxes(4, 4, 64, 64), scores)).astype(int)
    light = [patch(picture, token).mean() for token in range(16)]
    assert light[15] > light[10] > light[5] > light[0]
    shaded = patch(picture, 7)[20, 20]
    assert np.ptp(shaded) < 12


@pytest.mark.parametrize("scores", [torch.zeros(16), torch.full((16,), torch.nan), torch.full((16,), torch.inf)])
def test_heat_map_of_nothing_in_particular(scores: torch.Tensor) -> None:
    picture = np.asarray(token_map(Image.new("RGB", (64, 64)), VSCAN, geometry.patch_boxes(4, 4, 64, 64), scores))
    assert picture.shape == (SIDE, SIDE, 3) and np.ptp(picture.reshape(-1, 3), axis=0).max() == 0
