"""Segments of a KV cache: physical tokens, dropped ones and padding stay in step whatever happens to the cache."""

from __future__ import annotations

import copy

import pytest
import torch

from vscan_core.engine.segments import Segment, Segments, right_align

CPU = torch.device("cpu")
PADDED = torch.tensor([[False, True, True, True], [True, True, True, True]])


def filled() -> Segment:
    """Six logical tokens of which four entered, the first row with one column of padding."""
    segment = Segment(start=3)
    segment.extend(4, 6, PADDED, 2, CPU)
    return segment


def rows(mask: torch.Tensor | None) -> list[list[int]] | None:
    return None if mask is None else mask.int().tolist()


def test_kept_columns_are_right_aligned() -> None:
    index, valid = right_align(torch.tensor([[1, 0, 1], [0, 0, 1]]).bool(), [2, 1])
    assert index.tolist() == [[0, 2], [1, 2]] and rows(valid) == [[1, 1], [0, 1]]
    index, valid = right_align(torch.tensor([[1, 0, 1], [0, 1, 1]]).bool(), [2, 2])
    assert index.tolist() == [[0, 2], [1, 2]] and valid is None


def test_the_mask_is_as_long_as_the_caller_counts() -> None:
    segment = filled()
    assert (segment.length, segment.dropped) == (4, 2)
    assert rows(segment.mask()) == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    segment.extend(1, 1, None, 2, CPU)
    assert (segment.length, segment.dropped) == (5, 2)
    assert rows(segment.mask()) == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]]


def test_padding_that_comes_late_leaves_the_earlier_tokens_valid() -> None:
    segment = Segment(start=0)
    segment.extend(2, 5, None, 2, CPU)
    assert segment.mask() is None
    segment.extend(2, 2, torch.tensor([[False, True], [True, True]]), 2, CPU)
    assert rows(segment.mask()) == [[0, 0, 0, 1, 1, 0, 1], [0, 0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize("tokens", [1, 2])
def test_rejected_drafts_take_their_padding_with_them(tokens) -> None:
    segment = filled()
    segment.crop(tokens)
    assert (segment.length, segment.dropped) == (4 - tokens, 2)
    assert torch.equal(segment.valid, PADDED[:, : 4 - tokens])
    segment.extend(1, 1, None, 2, CPU)
    assert segment.mask().shape == (2, 7 - tokens)


def test_rows_follow_the_beams() -> None:
    segment = filled()
    segment.shift = torch.tensor([[5], [7]])
    segment.pick_rows(torch.tensor([1, 1, 0]))
    assert torch.equal(segment.valid, PADDED[[1, 1, 0]]) and segment.shift.tolist() == [[7], [7], [5]]


def test_one_shift_for_all_rows_stays_one() -> None:
    segment = Segment(start=0, shift=torch.tensor([[4]]))
    segment.pick_rows(torch.tensor([0, 0, 0]))
    assert segment.shift.tolist() == [[4]] and segment.valid is None


def test_a_layer_belongs_to_the_segment_that_starts_at_or_before_it() -> None:
    segments = Segments([0, 3, 5], None)
    assert [segments.at(layer).start for layer in range(7)] == [0, 0, 0, 3, 3, 5, 5]


def test_a_copied_cache_goes_its_own_way() -> None:
    segments = Segments([0, 3], owner := object())
    segments.list[1] = filled()
    twin = copy.deepcopy(segments)
    twin.at(3).crop(1)
    assert (segments.at(3).length, twin.at(3).length) == (4, 3)
    assert torch.equal(segments.at(3).valid, PADDED) and twin.owner is owner and twin.at(3).dropped == 2
