"""Scores against attention maps that the models return themselves (eager), token by token in picture order."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers.models.gemma4 import modeling_gemma4
from transformers.models.glm4v import modeling_glm4v

import vscan_core as vc
from tests.families import tiny
from vscan_core.bench.memory import Tally
from vscan_core.families import scores

MAKE = {
    "internvl": (tiny.internvl, tiny.tile_inputs),
    "idefics3": (tiny.idefics3, tiny.row_inputs),
    "smolvlm": (tiny.smolvlm, tiny.row_inputs),
}


def blocks(patches: torch.Tensor) -> torch.Tensor:
    """(12 * 12,) -> (6 * 6,): mean of every 2 x 2 block of the picture."""
    return patches.view(6, 2, 6, 2).mean((1, 3)).flatten()


def tower_of(model):
    return model.model.vision_tower if hasattr(model.model, "vision_tower") else model.model.vision_model


@pytest.mark.parametrize("name", MAKE)
@torch.no_grad()
def test_scores_are_the_attention_of_the_four_patches_of_each_token(name) -> None:
    make, prompts = MAKE[name]
    model, inputs = make("eager"), prompts([[1, 2]])
    maps = tower_of(model)(inputs["pixel_values"].flatten(0, -4), output_attentions=True).attentions
    with vc.reduced(model, vc.VScan(encoder_keep=9, llm_keep={}, local_layer=1)) as trace:
        model(**inputs)
    for tile, image in enumerate(trace.images):
        for label, layer in (("local", 1), ("global", 3)):
            attention = maps[layer][tile]  # (heads, patches (and CLS), the same)
            received = attention[:, 0, 1:].mean(0) if name == "internvl" else attention.sum(0).mean(0)
            torch.testing.assert_close(image.cuts[0].scores[label], blocks(received))
        assert torch.equal(image.boxes[7], torch.tensor([14.0, 14.0, 28.0, 28.0]))


@torch.no_grad()
def test_padded_patches_neither_pay_nor_receive() -> None:
    model, inputs = tiny.smolvlm("eager"), tiny.row_inputs([[1]])
    mask = torch.ones(1, 1, 84, 84, dtype=torch.long)
    mask[..., 42:, :] = 0
    patches = mask[0, :, ::7, ::7].bool()
    real = patches.flatten()
    maps = tower_of(model)(inputs["pixel_values"][0], patch_attention_mask=patches, output_attentions=True).attentions
    with vc.reduced(model, vc.VScan(encoder_keep=9, llm_keep={})) as trace:
        model(**inputs, pixel_attention_mask=mask)
    expected = maps[3][0].sum(0)[real].mean(0)
    torch.testing.assert_close(trace.images[0].cuts[0].scores["global"], blocks(expected))
    assert trace.images[0].kept.max() < 18


@torch.no_grad()
def test_frames_keep_their_cls_token_and_are_scored_by_the_video_tower() -> None:
    model, inputs = tiny.video_llava("eager"), tiny.frame_inputs([[(1, 2, 3)]])
    tower = model.model.video_tower
    maps = tower(inputs["pixel_values_videos"][0], output_attentions=True).attentions
    with vc.reduced(model, vc.VScan(encoder_keep=9, llm_keep={}, local_layer=1)) as trace:
        model(**inputs)
    (video,) = trace.images
    assert (video.tokens, video.tiles) == (37 * 3, 3)
    for frame, kept in enumerate(video.cuts[0].kept.view(3, 1 + 9)):
        mine = slice(37 * frame, 37 * (frame + 1))
        local, glob = (video.cuts[0].scores[name][mine] for name in ("local", "global"))
        torch.testing.assert_close(local[1:], maps[1][frame][:, 0, 1:].mean(0))
        torch.testing.assert_close(glob[1:], maps[2][frame][:, 0, 1:].mean(0))
        boxes = video.boxes[mine]
        assert kept[0] == 37 * frame and kept[-1] < 37 * (frame + 1) and local[0].isnan() and boxes[0].isnan().all()
        assert torch.equal(boxes[8], torch.tensor([14.0, 14.0, 28.0, 28.0]))


@torch.no_grad()
def test_onevision_scores_are_the_attention_received_inside_each_tile() -> None:
    model, inputs = tiny.onevision("eager"), tiny.onevision_inputs([[(84, 168)]])
    maps = model.model.vision_tower(inputs["pixel_values"][0, :3], output_attentions=True).attentions
    with vc.reduced(model, vc.VScan(encoder_keep=9, llm_keep={}, local_layer=1)) as trace:
        model(**inputs)
    for label, layer in (("local", 1), ("global", 3)):
        scores, paid = trace.images[0].cuts[0].scores[label], maps[layer].sum(1).mean(1)  # (tiles, tokens)
        torch.testing.assert_close(scores[:36], paid[0])
        side_by_side = torch.cat([paid[1].view(6, 6), paid[2].view(6, 6), torch.full((6, 1), torch.nan)], dim=1)
        torch.testing.assert_close(scores[36:], side_by_side.flatten(), equal_nan=True)


@torch.no_grad()
def test_glm_scores_are_the_attention_received_inside_each_picture(monkeypatch) -> None:
    """The encoder returns no maps, so they are taken from its own eager attention."""
    model, inputs = tiny.glm("eager"), tiny.qwen_inputs([[(12, 16), (8, 8)]])
    own, maps = modeling_glm4v.eager_attention_forward, []

    def recorded(module, *args, **kwargs):
        out, weights = own(module, *args, **kwargs)
        if isinstance(module, modeling_glm4v.Glm4vVisionAttention):
            maps.append(weights[0])  # (heads, patches, patches)
        return out, weights

    monkeypatch.setattr(modeling_glm4v, "eager_attention_forward", recorded)
    with vc.reduced(model, vc.VScan(encoder_keep=9, llm_keep={}, local_layer=1)) as trace:
        model(**inputs)
    assert len(maps) == 4 * 2 and len(trace.images) == 2  # layers, pictures
    for place, image in enumerate(trace.images):
        for label, layer in (("local", 1), ("global", 3)):
            received = maps[2 * layer + place].sum(0).mean(0).view(-1, 4).mean(1)  # 2 x 2 patches, one after another
            torch.testing.assert_close(image.cuts[0].scores[label], received)
    assert torch.equal(trace.images[0].boxes[9], torch.tensor([28.0, 28.0, 56.0, 56.0]))


@torch.no_grad()
def test_gemma_scores_are_the_attention_of_the_nine_patches_of_each_token(monkeypatch) -> None:
    """Pictures of different sizes are padded to one; padding neither pays nor receives."""
    model, inputs = tiny.gemma("eager"), tiny.gemma_inputs([[(4, 6), (3, 4)]])
    own, maps = modeling_gemma4.eager_attention_forward, []

    def recorded(module, *args, **kwargs):
        out, weights = own(module, *args, **kwargs)
        if isinstance(module, modeling_gemma4.Gemma4VisionAttention):
            maps.append(weights)  # (pictures, heads, patches, patches)
        return out, weights

    monkeypatch.setattr(modeling_gemma4, "eager_attention_forward", recorded)
    with vc.reduced(model, vc.VScan(encoder_keep=9, llm_keep={}, local_layer=1)) as trace:
        model(**inputs)
    assert len(maps) == 4 and [image.grid for image in trace.images] == [(4, 6), (3, 4)]
    for place, (image, (down, across)) in enumerate(zip(trace.images, [(4, 6), (3, 4)], strict=True)):
        patches = 9 * down * across
        for label, layer in (("local", 1), ("global", 3)):
            received = maps[layer][place, :, :patches, :patches].sum(0).mean(0)
            of_tokens = received.view(down, 3, across, 3).mean((1, 3)).flatten()
            torch.testing.assert_close(image.cuts[0].scores[label], of_tokens)
    assert torch.equal(trace.images[1].boxes[5], torch.tensor([12.0, 12.0, 24.0, 24.0]))


def paid(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """(patches, heads, head_dim) twice -> (patches,): the whole map at once."""
    logits = torch.einsum("qhd,khd->hqk", query, key).float() * 0.3
    return logits.softmax(-1).sum(0).mean(0)


@pytest.mark.parametrize("size", [1, 600, 5000, 1 << 20])
@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_attention_received_does_not_depend_on_the_size_of_blocks(monkeypatch, images, size, dtype) -> None:
    """A row of a map takes 44 bytes, a map 484, and there are 3 heads."""
    monkeypatch.setattr(scores, "block_bytes", lambda device: size)
    query, key = torch.randn(2, images, 11, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    found = scores.received_in_each(query, key, 0.3)
    expected = torch.stack([paid(*pair) for pair in zip(query, key, strict=True)])
    torch.testing.assert_close(found, expected.detach().to(found.dtype), atol=1e-6, rtol=1e-6)
    assert found.dtype == torch.promote_types(dtype, torch.float32) and not found.requires_grad


def test_attention_received_holds_no_whole_map(monkeypatch) -> None:
    monkeypatch.setattr(scores, "block_bytes", lambda device: 1 << 18)
    query, key, found = torch.nn.Identity(), torch.nn.Identity(), []
    handles = scores.hook_received(query, key, 4, lambda compute: found.append(compute()))
    rows, keys = torch.randn(2, 2, 577, 32, generator=torch.Generator().manual_seed(0))
    with Tally() as tally:
        query(rows), key(keys)
    assert tally.peak < 577 * 577 * 4  # one map of one head; there are two images of four
    expected = [paid(*(part[i].view(577, 4, 8) for part in (rows, keys * 8**-0.5 / 0.3))) for i in (0, 1)]
    torch.testing.assert_close(found[0], torch.stack(expected)[:, 1:], atol=1e-5, rtol=1e-5)
    for handle in handles:
        handle.remove()
    assert not query._forward_hooks and not key._forward_hooks


def test_images_of_several_sizes_attend_inside_themselves() -> None:
    query, key = torch.randn(2, 18, 3, 4, generator=torch.Generator().manual_seed(0))
    bounds = [0, 4, 8, 11, 14, 18]
    found = scores.received(query, key, bounds, 0.3)
    parts = [slice(start, end) for start, end in itertools.pairwise(bounds)]
    torch.testing.assert_close(found, torch.cat([paid(query[part], key[part]) for part in parts]))
