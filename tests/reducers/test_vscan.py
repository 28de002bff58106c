"""VScan against its slow re-derivation, and what its settings mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.reducers.test_examination import ANATOMY, signals
from tests.reference import vscan_slow
from vscan_core import geometry
from vscan_core.reducers.vscan import capped_scan, window_scan


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), keep=st.integers(1, 144), window=st.sampled_from([2, 3, 4, 6, 12]))
def test_equals_the_slow_scan(seed, keep, window) -> None:
    given_signals = signals(12, seed)
    local, glob = (given_signals.cls_attention[layer].mean(0) for layer in (5, 22))
    expected = vscan_slow.choose(local, glob, 12, window, keep)
    assert vc.VScan(window=window).select(given_signals, keep).kept.tolist() == expected


def test_schedule_follows_the_paper_and_every_override() -> None:
    assert vc.VScan().schedule(576, ANATOMY) == {0: 96, 16: 32}
    assert vc.VScan(retention=0.8).schedule(576, ANATOMY) == {16: 346}
    assert vc.VScan(encoder_keep=96).schedule(576, ANATOMY) == {0: 96, 16: 32}
    assert vc.VScan(encoder_keep=96, llm_keep={}).schedule(576, ANATOMY) == {0: 96}
    assert vc.VScan(encoder_keep=1.0, llm_keep={8: 100, 16: 0.5}).schedule(576, ANATOMY) == {8: 100, 16: 50}
    assert vc.VScan(encoder_keep=0.167, llm_keep={14: 0.333}).schedule(140, ANATOMY) == {0: 23, 14: 7}
    assert vc.VScan(encoder_keep=600, llm_keep={16: 700}).schedule(576, ANATOMY) == {}
    assert vc.VScan(prune_layer=8).schedule(576, ANATOMY) == {0: 128, 8: 43}


def test_later_cuts_of_a_picture_in_tiles_count_all_of_its_tokens() -> None:
    assert vc.VScan().schedule(576, ANATOMY, 5) == {0: 96, 16: 160}
    assert vc.VScan(encoder_keep=10, llm_keep={8: 0.5, 16: 0.2}).schedule(100, ANATOMY, 4) == {0: 10, 8: 20, 16: 4}
    assert vc.VScan(retention=0.5, encoder_keep=30).schedule(100, ANATOMY, 4) == {0: 30, 16: 100}
    assert vc.VScan(retention=0.5, encoder_keep=20).schedule(100, ANATOMY, 4) == {0: 20}  # 100 of the 80 that are left


@pytest.mark.parametrize("layer", [0, 32, -1])
def test_a_cut_outside_the_model_is_refused(layer) -> None:
    for wrong in (vc.VScan(prune_layer=layer), vc.VScan(llm_keep={layer: 3})):
        with pytest.raises(vc.InputError, match="layers 1 to 31"):
            wrong.schedule(576, ANATOMY)


@pytest.mark.parametrize(
    "setting", [{"local_share": 1.5}, {"window": 0}, {"positions": "none"}, {"local_layer": 24}, {"global_layer": -1}]
)
def test_wrong_settings_are_refused(setting) -> None:
    with pytest.raises(vc.InputError):
        vc.VScan(**setting).needs(ANATOMY)


def test_needs_only_what_it_uses() -> None:
    assert vc.VScan().needs(ANATOMY) == vc.Needs(cls_attention=(5, 22), projected=True)
    assert vc.VScan(merge=False, local_layer=22).needs(ANATOMY) == vc.Needs(cls_attention=(22,))


def test_local_share_moves_tokens_between_the_scans() -> None:
    for share, local in ((0.0, 0), (0.25, 24), (0.5, 48), (1.0, 96)):
        chosen = vc.VScan(local_share=share).select(signals(), 96)
        assert (len(chosen.labels["local"]), len(chosen.labels["global"])) == (local, 96 - local)


def test_without_refill_the_remainder_is_lost_as_in_the_released_code() -> None:
    assert len(vc.VScan(refill=False).select(signals(), 100).kept) == 98
    assert len(vc.VScan().select(signals(), 100).kept) == 100


def test_zero_attention_is_never_picked_twice() -> None:
    sparse = torch.zeros(2, 576)
    sparse[:, :10] = 0.1
    flat = replace(signals(), cls_attention={5: sparse, 22: sparse})
    assert len(vc.VScan().select(flat, 96).kept.unique()) == 96


def test_received_attention_is_scanned_with_a_cap() -> None:
    make = torch.Generator().manual_seed(1)
    received = {7: torch.rand(140, generator=make), 31: torch.rand(140, generator=make)}
    chosen = vc.VScan(merge=False).select(vc.Signals(received=received, grid=(10, 14)), 23)
    assert len(chosen.kept) == 23 and len(chosen.labels["local"]) == 11


def best_first_by_window(scores: list[float], window_of: list[int]) -> list[list[int]]:
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    return [[token for token in order if window_of[token] == window] for window in range(max(window_of) + 1)]


@settings(deadline=None, max_examples=200)
@given(
    window_of=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2]), max_size=30), seed=st.integers(0, 99), share=st.floats(0, 1)
)
def test_scans_of_unequal_windows_equal_slow_ones_at_every_budget(window_of, seed, share) -> None:
    window_of = torch.tensor([*window_of, 0, 1, 2])
    scores = torch.rand(len(window_of), generator=torch.Generator().manual_seed(seed))
    windows = best_first_by_window(scores.tolist(), window_of.tolist())
    table = geometry.Windows(window_of, scores.device)
    budget = int(share * len(scores))
    each, remainder = divmod(budget, len(windows))
    equal = [token for window in windows for token in window[:each]]
    assert window_scan(scores, table, budget, refill=False).tolist() == equal
    following = sorted((window[each] for window in windows if len(window) > each), key=lambda i: -scores[i].item())
    refilled = window_scan(scores, table, budget, refill=True)
    assert sorted(refilled.tolist()) == sorted(equal + following[:remainder])
    cap = each + bool(remainder)
    allowed = sorted((token for window in windows for token in window[:cap]), key=lambda i: -scores[i].item())
    assert capped_scan(scores, table, budget).tolist() == allowed[:budget]


@pytest.mark.parametrize(("keep", "local"), [(20, 19), (23, 22), (24, 22)])
@pytest.mark.parametrize("has_cls", [True, False])
def test_small_windows_leave_their_share_to_the_global_scan(has_cls, keep, local) -> None:
    rows = signals(5).cls_attention  # 5 x 5 tokens: windows of 4, 6, 6 and 9
    received = {layer: row.mean(0) for layer, row in rows.items()}
    table = {"cls_attention": rows} if has_cls else {"cls_attention": {}, "received": received}
    chosen = vc.VScan(local_share=1.0, window=2).select(replace(signals(5), **table), keep)
    assert len(chosen.kept.unique()) == keep
    assert [len(chosen.labels[name]) for name in ("local", "global")] == [local, keep - local]


@pytest.mark.parametrize("has_cls", [True, False])
def test_tiles_together_equal_tiles_alone_in_any_mode(has_cls) -> None:
    """Tables that were made in inference mode serve a later run with gradients."""
    make = torch.Generator().manual_seed(2)
    rows = torch.rand(3, 2, 4, 77, generator=make)
    projected = torch.randn(3, 77, 8, generator=make).requires_grad_()

    table = {5: rows[:, 0], 22: rows[:, 1]}
    scores = {"cls_attention": table} if has_cls else {"received": {layer: row[:, 0] for layer, row in table.items()}}
    tiles = vc.Signals(projected=projected, grid=(7, 11), **scores)
    with torch.inference_mode():
        alone = [vc.VScan().select(tile, 23) for tile in tiles.each()]
    together = vc.VScan().select_tiles(tiles, 23)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.kept, other.kept) and torch.equal(one.merged_into, other.merged_into)
        assert all(torch.equal(one.labels[name], other.labels[name]) for name in ("local", "global"))
    together[0].apply(projected[0]).sum().backward()
    assert projected.grad[0].any()


def test_a_select_of_a_subclass_is_used() -> None:
    class First(vc.VScan):
        def select(self, signals: vc.Signals, keep: int) -> vc.Selection:
            return vc.Selection(torch.arange(keep))

    chosen = First().select_tiles(vc.Signals(features=torch.zeros(2, 9, 4)), 3)
    assert [one.kept.tolist() for one in chosen] == [[0, 1, 2]] * 2
