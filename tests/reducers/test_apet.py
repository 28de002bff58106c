"""ApET: the released code's choices and rows, any size of picture, and what its labels promise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vscan_core as vc
from tests.conftest import golden
from tests.reducers.test_examination import ANATOMY, signals
from tests.reference.apet_slow import apet
from vscan_core.reducers import Forced
from vscan_core.reducers.apet import ApET, approximation_error, basis_tokens

RELEASED, PARTS = golden("functions2026")
CASES = [pytest.param(case, id=case["id"]) for case in RELEASED["cases"] if case["method"] == "ApET"]
TOLERANCES = RELEASED["about"]["tolerances"]


def selected(method: ApET, rows: torch.Tensor, keep: int, inside: bool) -> vc.Selection:
    given = vc.Signals(hidden=rows) if inside else vc.Signals(features=rows)
    return method.select_in_llm(given, keep) if inside else method.select(given, keep)


def test_all_cases_are_there() -> None:
    assert len(CASES) == 14


@pytest.mark.parametrize("case", CASES)
def test_released(case) -> None:
    inside = case["stage"] == "llm"
    rows = PARTS[f"{case['hidden']}.hidden.0" if inside else f"{case['image']}.features"]
    name, few = case["id"], case["k"]
    chosen = selected(ApET(basis=few, start=case["start"]), rows, case["T"], inside)
    basis, ranked = PARTS[f"{name}.basis"], PARTS[f"{name}.ranked"]
    assert torch.equal(basis_tokens(rows, few, case["start"]), basis)
    assert torch.equal(chosen.kept, PARTS[f"{name}.kept"])
    assert torch.equal(chosen.labels["informative"], ranked[:-few].sort().values)
    assert torch.equal(chosen.labels["basis"], ranked[-few:].sort().values)
    out = chosen.apply(rows)
    torch.testing.assert_close(out, PARTS[f"{name}.out"], atol=TOLERANCES["out_abs"], rtol=0)
    places = ranked[-few:] if inside else chosen.labels["basis"]
    assert torch.equal(out[torch.searchsorted(chosen.kept, places)], rows[basis])  # which slot shows which token
    if f"{name}.errors" in PARTS:
        torch.testing.assert_close(
            chosen.scores["error"], PARTS[f"{name}.errors"], atol=TOLERANCES["scores_abs"], rtol=0
        )


@pytest.mark.parametrize("own_share", [0.0, 0.5])
@pytest.mark.parametrize("basis", [1, 4, 10])
@pytest.mark.parametrize(("side", "keep"), [(5, 1), (5, 2), (5, 7), (5, 24), (6, 11), (6, 20)])
def test_follows_the_slow_reference(side, keep, basis, own_share) -> None:
    given = signals(side, seed=keep)
    method = ApET(basis=basis, start=3, own_share=own_share)
    for rows, inside in ((given.features, False), (given.hidden, True)):
        kept, expected = apet(rows, keep, basis, 3, not inside, own_share)
        chosen = selected(method, rows, keep, inside)
        assert chosen.kept.tolist() == kept
        torch.testing.assert_close(chosen.apply(rows), expected, atol=1e-5, rtol=0)


@settings(max_examples=150)
@given(data=st.data())
def test_any_picture_and_budget(data) -> None:
    tokens = data.draw(st.integers(1, 40))
    keep, basis = data.draw(st.integers(1, tokens)), data.draw(st.integers(1, 12))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    kind = data.draw(st.sampled_from(["noise", "ones", "zeros", "repeated", "huge"]))
    rows = torch.randn(tokens, 6, generator=torch.Generator().manual_seed(tokens)).to(dtype)
    rows = {"ones": torch.ones_like(rows), "zeros": rows * 0, "repeated": rows[:3].repeat(14, 1)[:tokens]}.get(
        kind, rows * (3000 if kind == "huge" else 1)
    )
    inside = data.draw(st.booleans())
    method = ApET(basis=basis, start=data.draw(st.integers(0, 50)))
    chosen = selected(method, rows, keep, inside)
    assert len(chosen.kept) == keep and torch.equal(chosen.kept, chosen.kept.unique())
    assert chosen.scores["error"].isfinite().all()
    out = chosen.apply(rows)
    assert out.dtype == dtype and out.isfinite().all()
    if keep == tokens:
        assert torch.equal(out, rows) and not chosen.labels
        return
    own, places = chosen.labels["informative"], chosen.labels["basis"]
    assert len(places) == min(basis, tokens, keep - 1)
    assert torch.equal(torch.cat([own, places]).sort().values, chosen.kept)
    stays = torch.zeros(tokens, dtype=torch.bool).index_fill(0, chosen.kept, True)
    assert torch.equal(chosen.merged_into >= 0, ~stays) and torch.isin(chosen.merged_into[~stays], own).all()
    torch.testing.assert_close(chosen.mix.sum(1), torch.ones(keep))
    at = torch.searchsorted(chosen.kept, places)
    assert ((chosen.mix[at] == 0) | (chosen.mix[at] == 1)).all()  # one token each, as it is
    mixed = chosen.mix.clone()
    mixed[at] = 0
    lost = torch.zeros(tokens, dtype=torch.bool).index_fill(0, places, True)
    assert torch.equal((mixed > 0).sum(0), (~lost).long())  # every token but those replaced is in one mean


def test_a_picture_to_check_by_hand() -> None:
    rows = torch.tensor([[1.0, 0], [10, 0], [9, 0], [0, 2], [2, 0.5]])
    chosen = ApET(basis=1).select(vc.Signals(features=rows), 2)
    assert chosen.kept.tolist() == [3, 4] and chosen.merged_into.tolist() == [3, 3, 3, -1, -1]
    torch.testing.assert_close(chosen.scores["error"], torch.tensor([0, 0, 0, 2, 0.5]), atol=1e-3, rtol=0)
    torch.testing.assert_close(chosen.apply(rows), torch.tensor([[5, 0.5], [1, 0]]))
    halves = ApET(basis=1, own_share=0.5).select(vc.Signals(features=rows), 2)
    torch.testing.assert_close(halves.apply(rows), torch.tensor([[5, 0.5], [1.5, 0.25]]))
    assert ApET(basis=1).select(vc.Signals(features=rows), 1).labels["basis"].tolist() == []


def test_examples_of_docstrings() -> None:
    line = torch.tensor([[0.0], [1], [5], [9]])
    assert basis_tokens(line, 3, 1).tolist() == [1, 3, 2]
    assert basis_tokens(torch.ones(3, 2), 5, 9).tolist() == [2, 0, 1]  # all of them, each once
    points = torch.tensor([[1.0, 0], [2, 0], [1, 3]])
    torch.testing.assert_close(
        approximation_error(points, torch.tensor([0])), torch.tensor([0.0, 0, 3]), atol=1e-4, rtol=0
    )


def test_budgets_are_the_published_pairs() -> None:
    assert ApET(1 / 3).schedule(576, ANATOMY) == {0: 288, 16: 96}
    assert ApET(2 / 9).schedule(576, ANATOMY) == {0: 192, 16: 64}
    assert ApET(1 / 9).schedule(576, ANATOMY) == {0: 96, 16: 32}
    assert ApET(1 / 9, share=1.0).schedule(576, ANATOMY) == {0: 64}
    assert ApET(1 / 9, layer=8).schedule(576, ANATOMY) == {0: 128, 8: 43}
    assert ApET(1 / 9).schedule(576, ANATOMY, 5) == {0: 96, 16: 160}


def test_the_token_that_the_answer_is_read_from_stays_as_it_is() -> None:
    rows = signals(4).hidden
    first = ApET(basis=2).select_in_llm(vc.Signals(hidden=rows[:-1]), 5)
    chosen = first.with_last(torch.tensor([15]))
    assert chosen.kept.tolist() == [*first.kept.tolist(), 15] and chosen.labels == first.labels
    torch.testing.assert_close(chosen.apply(rows)[:-1], first.apply(rows[:-1]))
    assert torch.equal(chosen.apply(rows)[-1], rows[-1])


def test_a_place_is_labelled_only_while_it_shows_another_token() -> None:
    given, method = signals(6), ApET(basis=3)
    plain = method.select(given, 12)
    place = plain.labels["basis"].tolist()[0]
    shown = int(plain.mix[plain.kept == place].argmax())
    back = Forced(method, keep=[place]).select(given, 12)  # put back: itself again
    assert place in back.labels["forced"] and place not in back.labels["basis"]
    assert torch.equal(back.apply(given.features)[back.kept == place][0], given.features[place])
    gone = Forced(method, drop=[shown]).select(given, 12)
    for token in gone.kept.tolist():
        row = gone.apply(given.features)[gone.kept == token][0]
        assert (token in gone.labels["basis"]) == (gone.mix[gone.kept == token, token].item() == 0)
        assert row.abs().sum() > 0
    assert place in gone.labels["kept"].tolist() and shown not in gone.kept.tolist()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"basis": 0}, "basis must be at least 1 token"),
        ({"start": -1}, "start counts tokens from 0"),
        ({"own_share": 1.5}, "own_share must lie between 0 and 1"),
        ({"share": 0.0}, "share must be above 0"),
        ({"share": 1.5}, "share must be above 0"),
    ],
)
def test_bad_settings_are_refused(setting, message) -> None:
    with pytest.raises(vc.InputError, match=message):
        ApET(**setting)


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(vc.InputError, match="layer 32 does not exist"):
        ApET(layer=32).schedule(576, ANATOMY)
