"""Every peer method against its slow re-derivation, and what its settings mean."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import vscan_core as vc
from tests.reducers.test_examination import ANATOMY, signals
from tests.reference import inllm_slow, peers_slow, sparsevlm_slow, tome_slow
from vscan_core import geometry
from vscan_core.reducers.cdpruner import CDPruner
from vscan_core.reducers.divprune import DivPrune, farthest
from vscan_core.reducers.downsample import Downsample, areas
from vscan_core.reducers.fastervlm import FasterVLM
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.greedyprune import GreedyPrune
from vscan_core.reducers.grid import Grid, lattice
from vscan_core.reducers.pact import PACT
from vscan_core.reducers.prumerge import PruMerge
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.random import Random
from vscan_core.reducers.sparsevlm import SparseVLM, cluster, recycled
from vscan_core.reducers.tokentransforming import TokenTransforming
from vscan_core.reducers.tome import ToMe
from vscan_core.reducers.topv import TopV, contribution, transport_cost
from vscan_core.reducers.trim import Trim
from vscan_core.reducers.visionzip import VisionZip
from vscan_core.reducers.vispruner import VisPruner

BUDGETS = [(side, keep) for side in (5, 8) for keep in (1, 2, 7, 16, side * side - 1)]
each_budget = pytest.mark.parametrize(("side", "keep"), BUDGETS)


@each_budget
def test_methods_that_only_choose(side, keep) -> None:
    given = signals(side, seed=keep)
    scores = given.cls_attention[22].mean(0)
    assert FasterVLM().select(given, keep).kept.tolist() == peers_slow.fastervlm(scores, keep)
    for share in (0.0, 0.5, 0.75, 1.0):
        expected = peers_slow.vispruner(given.features, scores, keep, share)
        assert VisPruner(important_share=share).select(given, keep).kept.tolist() == expected
    assert farthest(given.projected, keep).tolist() == peers_slow.divprune(given.projected, keep)
    expected = peers_slow.cdpruner(given.projected, given.joint_patches, given.joint_text, min(keep, 16))
    assert CDPruner().select(given, min(keep, 16)).kept.tolist() == expected
    for method in (FastV(), PyramidDrop()):
        assert method.select_in_llm(given, keep).kept.tolist() == peers_slow.fastervlm(given.text, keep)


@each_budget
def test_methods_that_mix(side, keep) -> None:
    given = signals(side, seed=keep)
    scores, features, keys = given.cls_attention[22].mean(0), given.features, given.keys
    for method, expected in (
        (VisionZip(), peers_slow.visionzip(features, keys, scores, keep)),
        (PruMerge(), peers_slow.prumerge(features, keys, scores, keep)),
        (TokenTransforming(), peers_slow.tokentransforming(features, scores, keep)),
        (TokenTransforming(temperature=2.0), peers_slow.tokentransforming(features, scores, keep, 2.0)),
        (Downsample(), peers_slow.downsample(side, side, features, keep)),
        (SparseVLM(), sparsevlm_slow.shrink(given.hidden, given.text, keep)),
        (Trim(), peers_slow.trim(features, given.joint_patches, given.joint_text[:1], keep)),
    ):
        chosen = method.select(dataclasses.replace(given, joint_text=given.joint_text[:1]), keep)
        assert chosen.kept.tolist() == expected[0], method
        rows = given.hidden if isinstance(method, SparseVLM) else features
        torch.testing.assert_close(chosen.apply(rows), expected[1], atol=1e-5, rtol=0)


@each_budget
def test_methods_that_read_no_attention_row(side, keep) -> None:
    given = signals(side, seed=keep)
    for threshold in (-0.1, 0.1, 0.9):
        expected, _ = inllm_slow.greedyprune(given.hidden, given.question, keep, threshold)
        assert GreedyPrune(threshold=threshold).select_in_llm(given, keep).kept.tolist() == expected
    places = [((at % side + 0.5) / side, (at // side + 0.5) / side) for at in range(side * side)]
    expected, _ = inllm_slow.topv(given.entered, given.attended, places, keep)
    assert TopV().select_in_llm(given, keep).kept.tolist() == expected
    for share, cutoff in ((0.55, 0.21), (0.3, 0.9), (1.0, 1.1)):
        tensors = (given.queries, given.llm_keys, given.rotated_keys, given.hidden)
        expected, rows = inllm_slow.pact(*tensors, keep, share, cutoff)
        chosen = PACT(share=share, cutoff=cutoff).select_in_llm(given, keep)
        assert chosen.kept.tolist() == expected
        torch.testing.assert_close(chosen.apply(given.hidden), rows, atol=1e-5, rtol=0)


def test_topv_does_not_rank_by_a_prescribed_share() -> None:
    value = contribution(transport_cost(signals(8).entered, signals(8).attended, None))
    torch.testing.assert_close(value.mean(), torch.tensor(1.0))
    assert value.std() > 0.05
    flat = vc.Signals(entered=torch.ones(36, 4), attended=torch.ones(36, 4))
    assert TopV().select_in_llm(flat, 5).kept.tolist() == [0, 1, 2, 3, 20]  # the last one comes back


def test_topv_takes_newlines_for_tokens_without_a_place() -> None:
    given = signals(6)
    places = torch.rand(36, 2, generator=torch.Generator().manual_seed(0))
    places[[5, 11]] = torch.nan
    chosen = TopV().select_in_llm(dataclasses.replace(given, places=places), 12)
    assert len(chosen.kept) == 12 and chosen.scores["transport"].isfinite().all()


def test_pact_merges_within_the_bound_only() -> None:
    given = signals(8)
    for cutoff in (0.0, 0.5, 2.0):
        chosen = PACT(cutoff=cutoff).select_in_llm(given, 9)
        merged = (chosen.merged_into >= 0).nonzero()[:, 0]
        unit = torch.nn.functional.normalize(given.rotated_keys.flatten(1), dim=-1)
        assert ((1 - (unit[merged] * unit[chosen.merged_into[merged]]).sum(-1)) <= 1.5 * cutoff + 1e-6).all()
        assert bool(len(merged)) == (cutoff > 0)
    assert PACT(recycle=False).select_in_llm(given, 9).merged_into is None


def test_sparsevlm_finds_its_query_tokens_like_the_reference() -> None:
    given = signals(5)
    for count in (1, 2, 9):
        text = signals(4, seed=count).projected[:count]
        query_tokens = SparseVLM().query_tokens(given.projected / 4, text / 4).nonzero()[:, 0]
        assert query_tokens.tolist() == sparsevlm_slow.query_tokens(given.projected / 4, text / 4)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("side", "keep"), [(5, 7), (5, 24), (8, 16), (8, 40)])
def test_tome_on_tensors(side, keep, flat) -> None:
    given = signals(side, seed=keep)
    given = dataclasses.replace(given, keys=torch.ones_like(given.keys)) if flat else given
    chosen, groups = ToMe().select(given, keep), tome_slow.on_tensors(given.keys, keep, 23)
    assert chosen.kept.tolist() == [group[0] for group in groups]
    for first, *others in groups:
        assert all(chosen.merged_into[other] == first for other in others)
    expected = torch.stack([given.features[group].mean(0) for group in groups])
    torch.testing.assert_close(chosen.apply(given.features), expected, atol=1e-5, rtol=0)


def test_tome_meets_every_budget_by_halving_at_most() -> None:
    assert ToMe().drops(576, 64, 23) == [23] * 6 + [22] * 17
    assert ToMe().drops(576, 384, 23) == [9] * 8 + [8] * 15
    for tokens, blocks in ((36, 6), (576, 23), (100, 7)):
        for keep in range(1, tokens + 1):
            left = tokens
            for drop in ToMe().drops(tokens, keep, blocks):
                assert 0 <= drop <= left // 2
                left -= drop
            assert left == keep
    with pytest.raises(vc.InputError, match=r"out of reach .* the least is 0\.125$"):
        ToMe(retention=0.1).schedule(576, dataclasses.replace(ANATOMY, feature_layer=2))


def test_vispruner_breaks_ties_like_the_reference() -> None:
    flat = vc.Signals(features=torch.ones(36, 4), cls_attention={22: torch.ones(2, 36) / 36})
    expected = peers_slow.vispruner(flat.features, flat.cls_attention[22][0], 5)
    assert VisPruner().select(flat, 5).kept.tolist() == expected


def test_vispruner_drops_more_at_a_time_where_there_are_more_tokens() -> None:
    given, keep, share = signals(48), 2304 - 48, 2224.5 / 2256  # of the last 80 the first pass may drop 32
    expected = peers_slow.vispruner(given.features, given.cls_attention[22].mean(0), keep, share)
    assert VisPruner(important_share=share).select(given, keep).kept.tolist() == expected


def test_examples_of_docstrings() -> None:
    angle = torch.tensor([0.0, 10, 90, 180]).deg2rad()
    assert farthest(torch.stack([angle.cos(), angle.sin()], dim=1), 3).tolist() == [3, 0, 2]
    assert lattice(4, 4, 4).tolist() == [5, 7, 13, 15]
    assert geometry.outliers(torch.tensor([0.0, 1, 2, 3, 9])).tolist() == [False] * 4 + [True]
    clash = torch.eye(4, dtype=torch.bool)
    clash[0, 1] = clash[1, 0] = True
    first = torch.tensor([0.9, 0.8, 0.7, 0.1])
    assert [geometry.spread(first, clash, first, keep).tolist() for keep in (3, 4)] == [[0, 2, 3], [0, 2, 3, 1]]
    assert FastV(retention=1 / 3).schedule(576, ANATOMY) == {2: 166}
    assert GreedyPrune().schedule(576, ANATOMY) == TopV().schedule(576, ANATOMY) == {2: 30}
    assert PACT(retention=1 / 3).schedule(576, ANATOMY) == {4: 137}
    assert FastV().position_mode(ANATOMY) == "original"
    assert PyramidDrop(retention=0.46875).schedule(576, ANATOMY) == {8: 288, 16: 144, 24: 72}
    assert SparseVLM(retention=1 / 3).schedule(576, ANATOMY) == {3: 318, 7: 176, 16: 97}
    assert SparseVLM(keep=(300, 200, 110)).schedule(576, ANATOMY) == {3: 309, 7: 204, 16: 113}
    line = torch.tensor([[0.0], [0.1], [0.2], [1.0], [1.1]])
    centres, centre_of = cluster(line, 3)
    assert centres.tolist() == [1, 3, 0] and centre_of.tolist() == [0, 1, 1, 3, 3]
    assert recycled(576, 309) == 9
    assert PyramidDrop(retention=1 / 3).schedule(576, ANATOMY) == {8: 146, 16: 37, 24: 9}
    assert DivPrune(retention=1 / 9).schedule(576, ANATOMY) == {0: 64}


@pytest.mark.parametrize("method", [FastV(), PyramidDrop(retention=0.2)], ids=str)
def test_out_of_reach_names_the_least(method) -> None:
    anatomy = dataclasses.replace(ANATOMY, text_layers=12)
    with pytest.raises(vc.InputError, match=r"out of reach .* the least is 0\.\d+$"):
        method.schedule(576, anatomy)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FastV(layer=0).schedule(576, ANATOMY),
        lambda: FastV(layer=32).schedule(576, ANATOMY),
        lambda: FastV(keep=0),
        lambda: GreedyPrune(threshold=1.5),
        lambda: TopV(recovered_share=1.5),
        lambda: PACT(share=0.0),
        lambda: PACT(cutoff=-0.1),
        lambda: PyramidDrop(layers=(8, 40), retention=0.5).schedule(576, ANATOMY),
        lambda: PyramidDrop(layers=(8, 16), shares=(0.5,)).schedule(576, ANATOMY),
        lambda: PyramidDrop(shares=(0.5, 0.25, 1.5)),
        lambda: PyramidDrop(layers=(16, 8), shares=(0.5, 0.25)).schedule(576, ANATOMY),
        lambda: SparseVLM(layers=(), retention=0.5).schedule(576, ANATOMY),
        lambda: SparseVLM(keep=(300, 0, 0)),
        lambda: SparseVLM(keep=(300, 200)).schedule(576, ANATOMY),
        lambda: VisPruner(important_share=1.5),
        lambda: VisionZip(contextual=-1),
        lambda: TokenTransforming(temperature=0),
        lambda: PruMerge(neighbours=-1),
        lambda: DivPrune(retention=0.001).schedule(576, ANATOMY),
    ],
)
def test_bad_settings_are_refused(wrong) -> None:
    with pytest.raises(vc.InputError):
        wrong()


def test_repeated_tokens_are_never_taken_twice() -> None:
    rows = torch.eye(3).repeat_interleave(12, 0)  # three directions, twelve times each
    given = vc.Signals(projected=rows, joint_patches=rows, joint_text=torch.tensor([[-1.0, -2, -3]]))
    for method in (DivPrune(), CDPruner()):
        kept = method.select(given, 10).kept
        assert len(kept.unique()) == 10
        assert (kept // 12).unique().tolist() == [0, 1, 2]
    assert CDPruner().select(given, 10).kept.tolist() == [0, 12, *range(24, 32)]  # then the most relevant


def test_random_depends_on_the_seed_alone() -> None:
    kept = [Random(seed=seed).select(signals(seed=other), 50).kept for seed, other in ((0, 0), (0, 1), (1, 0))]
    assert torch.equal(kept[0], kept[1]) and not torch.equal(kept[0], kept[2])


@pytest.mark.parametrize(("rows", "cols"), [(24, 24), (10, 14), (1, 9), (48, 3)])
def test_grid_is_even(rows, cols) -> None:
    for keep in range(1, rows * cols + 1):
        kept = lattice(rows, cols, keep)
        assert torch.equal(kept, kept.unique()) and len(kept) == keep
        per_line = torch.bincount(kept // cols)
        used = per_line[per_line > 0]
        assert used.max() - used.min() <= 1
    assert Grid().select(vc.Signals(features=torch.zeros(9, 2)), 3).kept.tolist() == [1, 4, 7]


@pytest.mark.parametrize(("rows", "cols"), [(24, 24), (10, 14), (1, 9), (48, 3)])
def test_downsample_is_area_interpolation_and_every_token_counts_alike(rows, cols) -> None:
    picture = torch.randn(1, 4, rows, cols, generator=torch.Generator().manual_seed(0))
    given = vc.Signals(projected=picture[0].flatten(1).T, grid=(rows, cols))
    for keep in range(1, rows * cols + 1):
        mix = areas(rows, cols, keep)
        torch.testing.assert_close(mix.sum(1), torch.ones(keep))
        counts = torch.bincount(lattice(rows, cols, keep) // cols)
        if len(counts[counts > 0].unique()) == 1:
            torch.testing.assert_close(mix.sum(0), torch.full((rows * cols,), keep / (rows * cols)))
    half = (rows // 2 or 1, cols // 2 or 1)
    if rows * half[1] == cols * half[0] and not rows % 2:
        small = torch.nn.functional.interpolate(picture, size=half, mode="area")[0].flatten(1).T
        torch.testing.assert_close(Downsample().select(given, half[0] * half[1]).apply(given.projected), small)


def test_tokentransforming_becomes_merging_when_cold() -> None:
    given = signals(6)
    cold = TokenTransforming(temperature=1e-4).select(given, 12)
    merged_into = geometry.nearest_kept(given.features, cold.kept)
    expected = geometry.merge(given.features, cold.kept, merged_into)
    torch.testing.assert_close(cold.apply(given.features), expected, atol=1e-5, rtol=0)
    assert torch.equal(cold.merged_into, merged_into)


def test_released_visionzip_and_prumerge_add_up() -> None:
    given = signals(6)
    ones = torch.ones(36, 1)
    zipped = VisionZip(contextual=4, released=True).select(given, 12)
    targets = zipped.merged_into[zipped.merged_into >= 0].unique()
    sums = zipped.apply(ones)[:, 0]
    torch.testing.assert_close(sums, 1.0 + torch.isin(zipped.kept, targets))
    merged = PruMerge(released=True, neighbours=0).select(given, 12)
    (rest,) = (merged.kept == merged.labels["rest"]).nonzero()[0]
    sums, scores = merged.apply(ones)[:, 0], merged.scores["global"]
    dropped = ones[:, 0].index_fill(0, merged.labels["global"], 0)
    torch.testing.assert_close(sums[rest], (scores * dropped).sum())
    torch.testing.assert_close(sums.sum() - sums[rest], torch.tensor(11.0))


def test_methods_are_imported_by_name_from_their_package() -> None:
    from vscan_core.reducers import FastV, PruMerge

    assert (FastV, PruMerge) == (vc.REDUCERS["fastv"], vc.REDUCERS["prumerge"])
    with pytest.raises(ImportError):
        from vscan_core.reducers import NoSuchMethod  # noqa: F401


def test_a_cut_inside_the_llm_counts_the_tokens_of_all_tiles() -> None:
    assert FastV(keep=0.25).schedule(100, ANATOMY, 4) == {2: 100}
    assert FastV(keep=30).schedule(100, ANATOMY, 4) == {2: 30}


def test_greedyprune_allows_what_is_just_as_similar_as_its_threshold() -> None:
    right_angles = torch.eye(3)
    given = vc.Signals(hidden=right_angles, question=torch.tensor([3.0, 2.0, 1.0]))
    assert GreedyPrune(threshold=0.0).select_in_llm(given, 2).kept.tolist() == [0, 1]
    given = vc.Signals(hidden=torch.eye(3)[[0, 0, 1, 2]], question=torch.tensor([3.0, 2.0, 1.0]))
    assert GreedyPrune(threshold=0.0).select_in_llm(given, 3).kept.tolist() == [0, 2, 3]
