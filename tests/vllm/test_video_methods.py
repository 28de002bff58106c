"""EVS and VidCom2 keep the tokens that vLLM's own pruning of videos keeps."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from vllm.multimodal.video_prune import evs, vidcom2

import vscan_core as vc

SHAPES = [(4, 6, 8), (8, 4, 10), (3, 12, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.5, 0.75])
@pytest.mark.parametrize("name, theirs", [("evs", evs), ("vidcom2", vidcom2)])
def test_the_same_tokens(name, theirs, shape, share) -> None:
    frames, rows, cols = shape
    features = torch.randn(frames, rows * cols, 32, generator=torch.Generator().manual_seed(rows)).cumsum(0)
    size = torch.tensor([frames, 2 * rows, 2 * cols])
    mask = theirs.compute_retention_mask(features.flatten(0, 1), size, spatial_merge_size=2, q=1 - share)
    signals = vc.Signals(projected=features, grid=(rows, cols), video=True)
    keep = round(share * rows * cols)
    chosen = vc.REDUCERS[name](retention=share).select_tiles(signals, keep)
    kept = torch.cat([one.kept + place * rows * cols for place, one in enumerate(chosen)])
    assert kept.tolist() == mask.nonzero()[:, 0].tolist() and len(kept) == keep * frames
