"""A step encodes as many pictures with fewer tokens as it does with all of them, and every picture has its turn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from vllm.multimodal.inputs import PlaceholderRange

from tests.vllm.asking import TOKENS
from vscan_vllm.encoder_budget import EncodedTokens

BUDGET = 3 * TOKENS + 100


def request(name: str, kept: int, tokens: int | None = TOKENS, pictures: int = 1) -> SimpleNamespace:
    """As far as the manager looks at one: each picture at its own identifier."""
    data = None if tokens is None else {"vscan_tokens": SimpleNamespace(data=torch.tensor(tokens))}
    features = [
        SimpleNamespace(
            identifier=f"{name}{place}",
            modality="image",
            data=data,
            mm_position=PlaceholderRange(offset=0, length=kept),
        )
        for place in range(pictures)
    ]
    return SimpleNamespace(
        request_id=name, mm_features=features, get_num_encoder_embeds=lambda place: features[place].mm_position.length
    )


def encoded_in_a_step(manager: EncodedTokens, waiting: list[SimpleNamespace]) -> list[str]:
    """What vLLM's scheduler does with requests that wait, in one step."""
    budget, found = BUDGET, []
    for one in waiting:
        planned = 0
        for place in range(len(one.mm_features)):
            if not manager.can_allocate(one, place, budget, planned):
                return found
            kept = one.get_num_encoder_embeds(place)
            planned, budget = planned + kept, budget - kept
        for place in range(len(one.mm_features)):
            manager.allocate(one, place)
        found.append(one.request_id)
    return found


@pytest.mark.parametrize("kept", [64, 192, TOKENS])
def test_three_pictures_in_every_step_however_many_tokens_they_keep(kept) -> None:
    manager, waiting, steps = EncodedTokens(100 * TOKENS), [request(f"{place}-", kept) for place in range(8)], []
    while waiting:
        done = encoded_in_a_step(manager, waiting)
        manager.get_freed_mm_hashes()
        steps.append(len(done))
        waiting = waiting[len(done) :]
    assert steps == [3, 3, 2]


def test_pictures_of_one_request_count_one_by_one() -> None:
    manager = EncodedTokens(100 * TOKENS)
    assert encoded_in_a_step(manager, [request("a", 64, pictures=2), request("b", 64, pictures=2)]) == ["a"]


def test_a_picture_larger_than_the_budget_runs_alone() -> None:
    manager, large = EncodedTokens(100 * TOKENS), 5 * TOKENS
    assert encoded_in_a_step(manager, [request("a", 64, large), request("b", 64)]) == ["a"]
    manager.get_freed_mm_hashes()
    assert encoded_in_a_step(manager, [request("b", 64), request("c", 64, large)]) == ["b"]


def test_without_a_count_vllms_own_rule_holds() -> None:
    manager = EncodedTokens(100 * TOKENS)
    waiting = [request(f"{place}-", 64, None) for place in range(40)]
    assert len(encoded_in_a_step(manager, waiting)) == BUDGET // 64
