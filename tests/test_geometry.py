"""Index arithmetic against obvious loops."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import vscan_slow
from vscan_core import geometry
from vscan_core.engine.segments import right_align
from vscan_core.geometry import take

seeds = st.integers(0, 10_000)


def test_worked_examples_of_the_docstrings() -> None:
    degrees = torch.tensor([0.0, 10.0, 90.0]).deg2rad()
    circle = torch.stack([degrees.cos(), degrees.sin()], dim=1)
    assert geometry.nearest_kept(circle, torch.tensor([0, 2])).tolist() == [-1, 0, -1]
    features = torch.tensor([[1.0], [3.0], [5.0]])
    assert geometry.merge(features, torch.tensor([0]), torch.tensor([-1, 0, 0])).tolist() == [[3.0]]
    assert geometry.windows(4, 5, 2).view(4, 5).tolist() == [[0, 0, 1, 1, 1]] * 2 + [[2, 2, 3, 3, 3]] * 2
    index, valid = right_align(torch.tensor([[1, 0, 1], [0, 0, 1]]).bool(), [2, 1])
    assert valid is not None and valid.tolist() == [[True, True], [False, True]]
    assert index[0].tolist() == [0, 2] and index[1, 1] == 2


def test_top_breaks_ties_by_the_lowest_index() -> None:
    assert geometry.top(torch.tensor([0.1, 0.4, 0.2, 0.4]), 2).tolist() == [1, 3]
    assert geometry.top(torch.zeros(1000), 5).tolist() == [0, 1, 2, 3, 4]


@given(seed=seeds, tokens=st.integers(1, 40), data=st.data())
def test_merge_equals_averaging_one_by_one(seed, tokens, data) -> None:
    features = torch.randn(tokens, 7, generator=torch.Generator().manual_seed(seed))
    kept = sorted(data.draw(st.sets(st.integers(0, tokens - 1), min_size=1)))
    index = torch.tensor(kept)
    merged = geometry.merge(features, index, geometry.nearest_kept(features, index))
    torch.testing.assert_close(merged, vscan_slow.merge(features, kept))


@given(rows=st.integers(1, 30), cols=st.integers(1, 30), side=st.integers(1, 12))
def test_windows_cover_the_grid_with_full_windows(rows, cols, side) -> None:
    window_of = geometry.windows(rows, cols, side)
    sizes = torch.bincount(window_of)
    assert len(window_of) == rows * cols and len(sizes) == max(rows // side, 1) * max(cols // side, 1)
    assert sizes.min() >= min(rows, side) * min(cols, side)


@given(seed=seeds, batch=st.integers(1, 4), length=st.integers(1, 20))
def test_right_align_keeps_every_kept_token_in_order(seed, batch, length) -> None:
    keep = torch.rand(batch, length, generator=torch.Generator().manual_seed(seed)) < 0.5
    keep[:, -1] = True
    index, valid = right_align(keep, keep.sum(1).tolist())
    tokens = take(torch.arange(length)[None], index)
    for row in range(batch):
        real = tokens[row] if valid is None else tokens[row][valid[row]]
        assert real.tolist() == keep[row].nonzero()[:, 0].tolist()
        assert valid is None or valid[row, -1]


def test_patch_boxes_tile_the_picture() -> None:
    boxes = geometry.patch_boxes(24, 24, 336, 336)
    assert (
        boxes.shape == (576, 4) and boxes[0].tolist() == [0, 0, 14, 14] and boxes[-1].tolist() == [322, 322, 336, 336]
    )
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert areas.sum() == 336 * 336
