"""EVS and VidCom2: methods that see all frames of a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from vscan_core.errors import InputError
from vscan_core.reducers.evs import EVS, changes
from vscan_core.reducers.vidcom2 import VidCom2, frame_budgets, likeness, most_unique
from vscan_core.selection import Selection, Signals

GOLDEN = Path(__file__).parents[1] / "golden"
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "functions2026.json").read_text())["cases"]
TENSORS = load_file(GOLDEN / "functions2026.safetensors")
VIDEOS = [case for case in CASES if case["method"] in ("EVS", "VidCom2")]


def frames_of(case: dict[str, Any]) -> torch.Tensor:
    return TENSORS[case["source"]].view(case["frames"], -1, TENSORS[case["source"]].shape[-1])


@pytest.mark.parametrize("case", VIDEOS, ids=[case["id"] for case in VIDEOS])
def test_parity_with_the_released_choice(case: dict[str, Any]) -> None:
    frames, kept = frames_of(case), TENSORS[f"{case['id']}.kept"]
    if case["method"] == "EVS":
        found = EVS().select_frames(frames, case["T"]).kept
    else:
        video, frame = likeness(frames)
        planned = frame_budgets(video, case["base"] if case["code"] == "official" else 1 - case["q"])
        assert torch.equal(planned, TENSORS[f"{case['id']}.per_frame"])
        found = most_unique(video + frame, planned, case["T"])
    assert torch.equal(found, kept)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 4), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_the_count_is_exact_whatever_the_video(
    frames: int, tokens: int, dim: int, share: float, seed: int, flat: bool
) -> None:
    torch.manual_seed(seed)
    video = torch.zeros(frames, tokens, dim) if flat else torch.randn(frames, tokens, dim).half()
    keep = max(frames, tokens, round(share * frames * tokens))
    for method in (EVS(), VidCom2()):
        selection = method.select_frames(video, keep)
        kept = selection.kept
        assert len(kept) == keep and torch.equal(kept, kept.unique()) and kept.max() < frames * tokens
        parts = selection.split(frames)
        assert torch.equal(torch.cat([part.kept + tokens * tile for tile, part in enumerate(parts)]), kept)
        assert all(len(part.scores[name]) == tokens for part in parts for name in part.scores)


def test_what_changes_between_frames_is_kept() -> None:
    scene = torch.eye(4).repeat(3, 1, 1)
    scene[1, 2], scene[2, 0] = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0.0, 0, 0, 1])
    assert torch.allclose(changes(scene)[1:], torch.tensor([[0, 0, 1 - 0.5**0.5, 0], [1, 0, 1 - 0.5**0.5, 0]]))
    assert EVS().select_frames(scene, 6).kept.tolist() == [0, 1, 2, 3, 6, 8]


def test_a_frame_unlike_the_others_gets_more() -> None:
    torch.manual_seed(0)
    video = torch.randn(1, 6, 32).repeat(4, 1, 1) + 0.01 * torch.randn(4, 6, 32)
    video[2] = torch.randn(6, 32)
    counts = [len(part.kept) for part in VidCom2().select_frames(video, 12).split(4)]
    assert counts[2] == max(counts) > min(counts) and sum(counts) == 12


@pytest.mark.parametrize("method", [EVS(), VidCom2()])
def test_a_picture_is_refused_in_a_sentence(method: Any) -> None:
    picture = Signals(projected=torch.randn(2, 4, 8), grid=(2, 2))
    for choose in (method.select, method.select_tiles):
        with pytest.raises(InputError, match="frames of a video, and this is a picture"):
            choose(picture, 2)


def test_less_than_the_first_frame_is_out_of_reach() -> None:
    frames = Signals(projected=torch.randn(4, 8, 6), grid=(2, 4), video=True)
    with pytest.raises(InputError, match=r"retention of at least 0\.25"):
        EVS().select_tiles(frames, 1)
    assert [len(one.kept) for one in EVS().select_tiles(frames, 2)] == [8, 0, 0, 0]


def test_a_choice_among_all_tiles_is_split_into_theirs() -> None:
    whole = Selection(torch.tensor([1, 3, 4]), {"a": torch.tensor([3])}, scores={"s": torch.arange(6.0)})
    first, second = whole.split(2)
    assert first.kept.tolist() == [1] and second.kept.tolist() == [0, 1]
    assert first.labels["a"].tolist() == [] and second.labels["a"].tolist() == [0]
    assert second.scores["s"].tolist() == [3, 4, 5]
