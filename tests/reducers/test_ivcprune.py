"""IVC-Prune: parity with the released code for two models, and coordinates that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import ANATOMY, signals
from tests.reference import ivc_slow
from vscan_core.budget import average
from vscan_core.engine.layer_signals import rotary_means
from vscan_core.reducers import ivcprune
from vscan_core.reducers.ivcprune import IVCPrune, foreground, value_similarity

CASES, PARTS = golden("functions2026")
MINE = [case for case in CASES["cases"] if case["method"] == "IVC-Prune"]


def part(case, name: str) -> torch.Tensor:
    return PARTS[f"{case['id']}.{name}"]


def recorded(case) -> vc.Signals:
    return vc.Signals(
        values=part(case, "values"),
        text_values=part(case, "text_values"),
        front_values=part(case, "before_values"),
        rotary_means=rotary_means(part(case, "cos"), part(case, "sin")),
    )


def test_there_are_four_vectors() -> None:
    assert [case["code"] for case in MINE] == ["llava", "llava", "qwen2.5-vl", "qwen2.5-vl"]


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_parity(case) -> None:
    released = case["code"] == "llava"
    method, seen = IVCPrune(released=released, skip=case["text_skip"]), recorded(case)
    chosen = method.select_in_llm(seen, seen.tokens if released else case["T"])
    assert torch.equal(chosen.kept, part(case, "kept")) and len(chosen.kept) == case["T"]
    places = torch.cat([part(case, "by_cos"), part(case, "by_sin")]).unique()
    assert torch.equal(chosen.labels["coordinate"], places)
    seeds = part(case, "seeds")
    assert torch.equal(chosen.labels["seed"], seeds[~torch.isin(seeds, places)].sort().values)
    around = [seen.front_values, seen.text_values] if released else []
    scores, found = foreground(seen.values, seen.text_values[case["text_skip"] :], len(seeds), around)
    assert torch.equal(found, seeds)
    assert torch.equal(chosen.scores["foreground"], scores)
    if released:
        most = part(case, "foreground").sort().values
        assert torch.equal(scores.argsort(descending=True)[: len(most)].sort().values, most)
    else:
        torch.testing.assert_close(
            scores, part(case, "scores"), atol=CASES["about"]["tolerances"]["scores_abs"], rtol=0
        )


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["id"])
def test_the_default_reads_the_whole_question_and_keeps_the_budget(case) -> None:
    seen = recorded(case)
    for keep in (case["T"], 1, seen.tokens - 1):
        chosen = IVCPrune().select_in_llm(seen, keep)
        expected = ivc_slow.ivcprune(seen.values, seen.text_values, seen.rotary_means, keep)
        assert chosen.kept.tolist() == expected and len(expected) == keep


@pytest.mark.parametrize("released", [False, True], ids=["exact", "released"])
@pytest.mark.parametrize("side", [5, 9])
def test_equals_the_slow_reference(side, released) -> None:
    counts = set()
    for keep in (1, 2, 3, 7, 12, 24):
        seen = signals(side, seed=keep)
        for text, skip in ((5, 0), (5, 2), (1, 0)):
            cut = dataclasses.replace(seen, text_values=seen.text_values[:text])
            chosen = IVCPrune(released=released, skip=skip).select_in_llm(cut, keep)
            if released:
                tensors = (cut.values, cut.text_values, cut.front_values, cut.rotary_means, skip)
                expected = ivc_slow.released_ivcprune(*tensors)
            else:
                expected = ivc_slow.ivcprune(cut.values, cut.text_values[skip:], cut.rotary_means, keep)
            assert chosen.kept.tolist() == expected
            counts.add(len(expected))
    assert counts == {1, 2, 3, 7, 12, 24} or (released and len(counts) > 2)  # it varies


@given(
    tokens=st.integers(1, 70),
    share=st.floats(0, 1),
    kind=st.sampled_from(["drawn", "float16", "bfloat16", "alike", "zero", "huge"]),
)
def test_keeps_exactly_the_budget(tokens, share, kind) -> None:
    make = torch.Generator().manual_seed(tokens)
    rows = {"alike": torch.ones(tokens + 4, 8), "zero": torch.zeros(tokens + 4, 8)}.get(
        kind, torch.randn(tokens + 4, 8, generator=make)
    )
    rows = (rows * 1e4 if kind == "huge" else rows.to(getattr(torch, kind, torch.float32))).unflatten(-1, (2, 4))
    seen = vc.Signals(values=rows[:tokens], text_values=rows[tokens:], rotary_means=rows[:tokens, 0, :2].float())
    keep = max(1, round(share * tokens))
    chosen = IVCPrune().select_in_llm(seen, keep)
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert torch.equal(torch.cat([*chosen.labels.values()]).sort().values, chosen.kept)
    best = 0 if keep < 3 else int(seen.rotary_means[:, 0].argmax())
    assert keep < 3 or best in chosen.labels["coordinate"]


def test_rows_and_columns_that_change_places_tie_exactly_and_the_first_one_wins() -> None:
    case = next(case for case in MINE if case["id"] == "ivc_qwen.large")
    means = rotary_means(part(case, "cos"), part(case, "sin")).view(24, 24, 2)
    assert torch.equal(means, means.transpose(0, 1)) and len(means[..., 0].unique()) > 24
    seen = vc.Signals(
        values=torch.ones(4, 1, 1),
        text_values=torch.ones(1, 1, 1),
        rotary_means=torch.tensor([[0.1, 0.0], [0.5, 0.0], [0.5, 0.9], [0.0, 0.9]]),
    )
    chosen = IVCPrune().select_in_llm(seen, 3)
    assert chosen.labels["coordinate"].tolist() == [1, 2] and chosen.labels["seed"].tolist() == [0]


def test_a_seed_brings_in_what_is_like_itself() -> None:
    """Token 3 is nothing like the question but like token 2, which is; token 0 is a little like the question."""
    values = torch.tensor([[0.5, 0.0], [0.0, 0.0], [3.0, 3.0], [-1.0, 6.0], [0.0, -6.0]])[:, None]
    seen = vc.Signals(values=values, text_values=torch.tensor([[[4.0, 0.0]]]), rotary_means=torch.zeros(5, 2))
    asked = value_similarity(seen.text_values, values)
    assert asked.argsort(descending=True, stable=True).tolist() == [2, 0, 1, 4, 3]
    assert IVCPrune().select_in_llm(seen, 2).kept.tolist() == [2, 3]


def test_examples_of_docstrings() -> None:
    of_row = value_similarity(torch.tensor([[[2.0]]]), torch.tensor([[[0.0]], [[1.0]]]))
    torch.testing.assert_close(of_row, torch.tensor([0.12, 0.88]), atol=5e-3, rtol=0)
    assert IVCPrune(retention=3 / 4).schedule(576, ANATOMY) == {16: 288}
    assert IVCPrune(retention=1 / 3).schedule(576, ANATOMY) == {7: 84}


def test_similarities_in_blocks_are_the_same(monkeypatch) -> None:
    seen = signals(9)
    whole = foreground(seen.values, seen.text_values, 3)
    monkeypatch.setattr(ivcprune, "BLOCK", 200)  # a row of 81 tokens and two heads each
    for one, other in zip(foreground(seen.values, seen.text_values, 3), whole, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("depth", "layer"), [(32, 16), (28, 16), (36, 22), (24, 12), (40, 20), (2, 1)])
def test_the_cut_is_where_it_was_published_and_moves_with_the_retention(depth, layer) -> None:
    anatomy = dataclasses.replace(ANATOMY, text_layers=depth)
    published = (layer + (depth - layer) / 2) / depth
    assert IVCPrune(keep=0.5).schedule(576, anatomy) == {layer: 288}
    assert IVCPrune(retention=published).schedule(576, anatomy) == {layer: 288}
    (more,) = IVCPrune(retention=(1 + published) / 2).schedule(576, anatomy).items()
    assert more[0] == layer and more[1] > 288
    for share in (0.9, 0.5, 0.25):
        reducer = IVCPrune(retention=published * share)
        try:
            ((at, keep),) = reducer.schedule(576, anatomy).items()
        except vc.InputError as error:
            assert reducer.published_layer(anatomy) == 1 and "the least is" in str(error)
            continue
        assert at == max(1, int(layer * share + 1e-9)) and keep < 576
        assert average({at: keep}, 576, depth) == pytest.approx(reducer.retention * 576, abs=1)


def test_the_cut_never_moves_before_the_first_layer_that_can_be_cut() -> None:
    late = dataclasses.replace(ANATOMY, first_cut=3)
    assert IVCPrune(retention=0.25).cut_layers(late) == (5,) and IVCPrune(retention=0.12).cut_layers(late) == (3,)
    with pytest.raises(vc.InputError, match="out of reach .* layer 3 of 32"):
        IVCPrune(retention=0.09).schedule(576, late)


def test_the_released_number_of_tokens_is_bounded_by_the_schedule() -> None:
    for tokens, most in ((576, 6 + 115 + 29 + 29), (63, 1 + 13 + 3 + 3), (1, 1)):
        assert IVCPrune(released=True).schedule(tokens, ANATOMY) == ({16: most} if most < tokens else {})
        seen = signals(24)
        seen = vc.Signals(
            values=seen.values[:tokens],
            text_values=seen.text_values,
            front_values=seen.front_values,
            rotary_means=seen.rotary_means[:tokens],
        )
        chosen = IVCPrune(released=True).select_in_llm(seen, most)
        assert 1 <= len(chosen.kept) <= most
    assert IVCPrune(released=True, layer=3).schedule(24, ANATOMY, 24) == {3: 179}


def test_asks_for_values_and_positions_alone() -> None:
    assert IVCPrune().needs_in_llm == {"values", "text_values", "rotary_means"}
    assert IVCPrune(released=True).needs_in_llm == {"values", "text_values", "rotary_means", "front_values"}
    assert IVCPrune().score_layer(16) == 15 and IVCPrune().needs(ANATOMY) == vc.Needs()
    assert IVCPrune().position_mode(ANATOMY) == "original" and not IVCPrune().demands(ANATOMY).question_blind


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"skip": -1}, "skip must be at least 0"),
        ({"released": True, "keep": 9}, "leave keep out"),
        ({"released": 2.5}, "released must be True or False"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, sentence) -> None:
    with pytest.raises(vc.InputError, match=sentence):
        IVCPrune(**settings)


def test_without_a_question_it_is_refused() -> None:
    seen = signals(5)
    for text, skip, sentence in ((0, 0, "put the question after the picture"), (2, 2, "choose a smaller skip")):
        cut = dataclasses.replace(seen, text_values=seen.text_values[:text])
        with pytest.raises(vc.InputError, match=sentence):
            IVCPrune(skip=skip).select_in_llm(cut, 5)
