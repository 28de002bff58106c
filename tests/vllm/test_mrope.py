"""Kept tokens have the positions that they have among all tokens, in one step or in chunks; the text's never move."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from vscan_vllm.mrope import media_positions, placed, positions_in, prompt_positions, with_positions


def prompt(kept):
    """3 text tokens, a picture of 2 x 5 tokens, 2 of text, a video of 2 x 3 x 2, 4 of text; `kept` of both media."""
    whole = [media_positions(1, 2, 5), media_positions(2, 3, 2, 4.0)]
    starts = [3, 3 + len(kept[0]) + 2]
    length = starts[1] + len(kept[1]) + 4
    media = torch.zeros(length, dtype=torch.bool)
    for start, some in zip(starts, kept, strict=True):
        media[start : start + len(some)] = True
    positions, delta = prompt_positions(length, [(s, len(k), w) for s, k, w in zip(starts, kept, whole, strict=True)])
    return positions, delta, media, [w[k] for w, k in zip(whole, kept, strict=True)]


EVERY = [torch.arange(10), torch.arange(12)]
SOME = [torch.tensor([0, 7, 9]), torch.tensor([1, 2, 6, 11])]


def test_with_every_token_they_are_those_of_the_model() -> None:
    positions, delta, *_ = prompt(EVERY)
    assert positions[:, :3].tolist() == [[0, 1, 2]] * 3
    assert positions[:, 3].tolist() == [3, 3, 3] and positions[:, 12].tolist() == [3, 4, 7]
    assert positions[:, 13].tolist() == [8, 8, 8]  # after the longest side
    assert positions[:, 15].tolist() == [10, 10, 10] and positions[:, 26].tolist() == [14, 12, 11]
    assert positions[:, 27].tolist() == [15, 15, 15]
    assert delta == 19 - positions.shape[1]


@pytest.mark.parametrize("steps", [(0,), (0, 4), (0, 5, 6), (0, 3, 10), (0, 8, 9, 10), (0, 2, 3, 11)])
def test_kept_tokens_get_their_own_in_chunks_too(steps) -> None:
    dense, _, dense_media, _ = prompt(EVERY)
    positions, delta, media, found = prompt(SOME)
    before, every = positions.clone(), torch.cat(found)
    bounds = [*steps, len(media)]
    for start, stop in pairwise(bounds):
        some = every[int(media[:start].sum()) : int(media[:stop].sum())]
        if len(some):
            positions = placed(positions, media, start, [some[:1], some[1:]])
            assert torch.equal(positions, placed(positions, media, start, [some]))  # again, after a preemption
    kept = torch.cat([SOME[0], 10 + SOME[1]])
    assert torch.equal(positions[:, media], dense[:, dense_media][:, kept])
    assert torch.equal(positions[:, ~media], dense[:, ~dense_media])
    assert torch.equal(positions[:, ~media], before[:, ~media])
    assert int(positions.max()) + 1 - len(media) == delta


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_carries_them_exactly(dtype) -> None:
    positions = media_positions(3, 9, 700, 40.0)
    rows = with_positions(torch.randn(len(positions), 4, dtype=dtype), positions)
    assert rows.dtype == dtype and torch.equal(positions_in(rows), positions)


def test_a_prompt_without_media_counts_up() -> None:
    positions, delta = prompt_positions(5, [])
    assert positions.tolist() == [[0, 1, 2, 3, 4]] * 3 and delta == 0
