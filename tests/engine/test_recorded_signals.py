"""What methods are given is what the model itself computes: read from its own cache, hidden states and maps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.families import tiny
from tests.families.test_families import FAMILIES, token_of
from vscan_core.families import family_of
from vscan_core.reducers.dart import DART
from vscan_core.reducers.hiprune import HiPrune

LLM = {
    "llava": (tiny_llava, lambda: prompt([0, 2, 1])),
    "llava_next": (tiny.llava_next, lambda: tiny.next_inputs([[(84, 168)], [(50, 168), (84, 168)]])),
    "qwen2_5_vl": (tiny.qwen, lambda: tiny.qwen_inputs([[(12, 16)], [(8, 8), (10, 14)]])),
    "qwen3_vl": (tiny.qwen3, lambda: tiny.qwen_inputs([[(12, 16)], [(8, 8), (10, 14)]])),
    "qwen3_5": (tiny.qwen35, lambda: tiny.qwen_inputs([[(12, 16)], [(8, 8), (10, 14)]])),
    "glm4v": (tiny.glm, lambda: tiny.qwen_inputs([[(12, 16)], [(8, 8), (10, 14)]])),
    "gemma4 large": (
        partial(tiny.gemma, **tiny.GEMMA_LARGE, sliding_window=99),
        lambda: tiny.gemma_inputs([[(4, 6)], [(3, 4), (4, 4)]]),
    ),
    "internvl": (tiny.internvl, lambda: tiny.tile_inputs([[1], [2, 3]])),
    "idefics3": (tiny.idefics3, lambda: tiny.row_inputs([[1], [2, 3]])),
    "video_llava video": (tiny.video_llava, lambda: tiny.frame_inputs([[(1, 2, 3)], [(4, 5, 6)]])),
}


@dataclass(frozen=True)
class Listening(DART):
    """Notes the signals of every image that is cut."""

    title, summary = "Listening", "note the signals"
    heard: list[vc.Signals] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        """The list stays one."""

    @property
    def needs_in_llm(self) -> frozenset[str]:
        return super().needs_in_llm | {"values", "text_values", "front_values", "rotary_means"}

    def select_in_llm(self, signals: vc.Signals, keep: int) -> vc.Selection:
        self.heard.append(signals)
        return super().select_in_llm(signals, keep)


def mean_cos_and_sin(frequencies: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """position (batch, length), or (axes, batch, length) of M-RoPE -> (batch, length, 2), every axis by itself."""
    angles = position[..., None].double() * frequencies.double()
    means = torch.stack([angles.cos().mean(-1), angles.sin().mean(-1)], dim=-1)
    return (means if position.dim() == 2 else means.mean(0)).float()


@pytest.mark.parametrize("cut", [2, 5])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", LLM)
@torch.no_grad()
def test_text_and_image_are_seen_as_the_model_sees_them(name, attention, cut) -> None:
    make, inputs_of = LLM[name]
    model, inputs = make(attention), inputs_of()
    entered, norm = [], family_of(model).final_norm(model)
    layer = family_of(model).layers(model)[cut]
    rotary, positions = family_of(model).language_model(model).rotary_emb, []
    hooks = [
        layer.register_forward_pre_hook(lambda module, args: entered.append(args[0])),
        rotary.register_forward_pre_hook(
            lambda module, args, more: positions.append((*args, more.get("position_ids"))[1]), with_kwargs=True
        ),
    ]
    plain = model(**inputs, output_hidden_states=True, use_cache=True)
    for hook in hooks:
        hook.remove()
    (entering,) = entered  # as the model reports it, but for visual features that Qwen3-VL adds afterwards
    assert torch.equal(entering, plain.hidden_states[cut]) or (name == "qwen3_vl" and cut == 2)
    cached = plain.past_key_values.layers[cut - 1]  # as the model caches them: keys rotated
    keys, values = cached.keys.transpose(1, 2), cached.values.transpose(1, 2)
    kind = family_of(model).layer_kinds(model)[cut - 1]
    frequencies = getattr(rotary, f"{kind}_inv_freq" if kind else "inv_freq")
    turned = mean_cos_and_sin(frequencies, positions[0]).expand(len(keys), -1, -1)
    reducer = Listening(layer=cut, keep=9)
    with vc.reduced(model, reducer) as trace:
        model(**inputs)
    heard, images = iter(reducer.heard), 0
    for row, ids in enumerate(inputs["input_ids"]):
        visual = ids == token_of(name)
        places, images_of_row = visual.nonzero()[:, 0], []
        while sum(images_of_row) < len(places):
            images_of_row.append(trace.images[images].tokens)
            images += 1
        for columns in places.split(images_of_row) if images_of_row else ():
            seen = next(heard)
            words = [at for at in range(int(columns[-1]) + 1, len(ids)) if not visual[at]]
            assert words and len(words) == len(seen.text_normed) == len(seen.text_rotated_keys)
            close = partial(torch.testing.assert_close, atol=2e-5, rtol=1e-5)
            close(seen.normed, norm(entering[row, columns]))
            close(seen.text_normed, norm(entering[row, words]))
            close(seen.rotated_keys, keys[row, columns])
            close(seen.text_rotated_keys, keys[row, words])
            front = [at for at in range(int(columns[0])) if inputs["attention_mask"][row, at]]
            close(seen.values, values[row, columns])
            close(seen.text_values, values[row, words])
            close(seen.front_values, values[row, front])
            close(seen.rotary_means, turned[row, columns])
            assert seen.hidden is None and seen.llm_keys is None and seen.queries is None  # nobody asked
    assert next(heard, None) is None and images == len(trace.images)


@torch.no_grad()
def test_keys_are_those_before_a_cut_at_the_layer_before_that_one_and_without_rotation_if_asked(sdpa_llava) -> None:
    inputs = prompt([1])
    plain = sdpa_llava(**inputs, output_hidden_states=True)
    layer, columns = sdpa_llava.model.language_model.layers[1], (inputs["input_ids"][0] == 99).nonzero()[:, 0]
    keys = layer.self_attn.k_proj(layer.input_layernorm(plain.hidden_states[1][0, columns])).unflatten(-1, (2, -1))
    reducer = Listening(layer=2, keep=9, rope_in_scores=False)
    with vc.reduced(sdpa_llava, reducer):
        sdpa_llava(**inputs)
    torch.testing.assert_close(reducer.heard[0].rotated_keys, keys, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_a_prompt_that_ends_in_the_picture_has_no_text_behind_it(sdpa_llava) -> None:
    inputs = prompt([1])
    end = int((inputs["input_ids"][0] == 99).nonzero()[-1])
    inputs = {**inputs, **{name: inputs[name][:, : end + 1] for name in ("input_ids", "attention_mask")}}
    reducer = Listening(layer=2, keep=9)
    with vc.reduced(sdpa_llava, reducer) as trace:
        assert sdpa_llava(**inputs).logits.isfinite().all()
    (seen,) = reducer.heard
    assert len(seen.text_normed) == len(seen.text_rotated_keys) == 0
    assert len(seen.text_values) == 0 and len(seen.front_values) == int((inputs["input_ids"][0] != 99).sum())
    last = [seen.normed, seen.rotated_keys, seen.values, seen.rotary_means]
    assert {len(rows) for rows in last} == {35}  # the last one stays anyway
    (image,) = trace.images
    assert len(image.cuts[0].kept) == 9 and image.cuts[0].kept[-1] == 35


def blocks(patches: torch.Tensor) -> torch.Tensor:
    """(12 * 12,) -> (6 * 6,): mean of every 2 x 2 block of the picture."""
    return patches.view(6, 2, 6, 2).mean((1, 3)).flatten()


TOWERS = {
    "llava": (lambda: tiny_llava("eager"), lambda: prompt([1, 2])),
    "internvl": (lambda: tiny.internvl("eager"), lambda: tiny.tile_inputs([[1, 2]])),
    "idefics3": (lambda: tiny.idefics3("eager"), lambda: tiny.row_inputs([[1, 2]])),
    "video_llava": (lambda: tiny.video_llava("eager"), lambda: tiny.picture_inputs([[1, 2]])),
    "llava_onevision": (lambda: tiny.onevision("eager"), lambda: tiny.onevision_inputs([[(84, 84), (84, 84)]])),
}


@pytest.mark.parametrize("name", TOWERS)
@torch.no_grad()
def test_attention_received_is_that_of_the_models_own_maps(name) -> None:
    model, inputs = (make() for make in TOWERS[name])
    family = family_of(model)
    pixels = next(value for key, value in inputs.items() if key.startswith("pixel_values"))
    pixels = pixels[:, 0] if name == "llava_onevision" else pixels
    maps = family.vision_tower(model)(pixels.flatten(0, -4), output_attentions=True).attentions
    has_cls = family.anatomy(model).has_cls
    with vc.reduced(model, HiPrune(retention=0.3, alpha=0.5, middle_layer=1)) as trace:
        model(**inputs)
    assert len(trace.images) >= 2
    for place, image in enumerate(trace.images):
        for label, layer in (("middle", 1), ("global", family.anatomy(model).feature_layer)):
            paid = maps[layer][place].sum(0).mean(0)[int(has_cls) :]  # by CLS too
            paid = blocks(paid) if len(paid) == 144 else paid
            torch.testing.assert_close(image.cuts[0].scores[label][:36], paid)
            if has_cls:
                row = maps[layer][place][:, 0, 1:].sum(0)
                assert not torch.allclose(paid, blocks(row) if len(row) == 144 else row)


@torch.no_grad()
def test_frames_receive_attention_in_the_video_tower() -> None:
    model, inputs = tiny.video_llava("eager"), tiny.frame_inputs([[(1, 2, 3)]])
    maps = model.model.video_tower(inputs["pixel_values_videos"][0], output_attentions=True).attentions
    with vc.reduced(model, HiPrune(retention=0.3, middle_layer=1)) as trace:
        model(**inputs)
    for frame, scores in enumerate(trace.images[0].cuts[0].scores["middle"].view(3, 37)):
        torch.testing.assert_close(scores[1:], maps[1][frame].sum(0).mean(0)[1:])


@torch.no_grad()
def test_received_of_a_tower_without_cls_is_what_it_calls_scores() -> None:
    model, inputs = tiny.qwen("sdpa"), tiny.qwen_inputs([[(12, 16)]])

    @dataclass(frozen=True)
    class Both(HiPrune):
        title, summary = "Both", "ask under both names"

        def needs(self, anatomy: vc.Anatomy) -> vc.Needs:
            return vc.Needs(cls_attention=(1, 3), received=(0, 3))

        def select(self, signals: vc.Signals, keep: int) -> vc.Selection:
            assert set(signals.received) == {0, 1, 3} and not signals.cls_attention
            return super().select(signals, keep)

    with vc.reduced(model, Both(retention=0.3)):
        model(**inputs)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_middle_layer_lies_in_the_middle(name) -> None:
    model = FAMILIES[name][0]("sdpa")
    anatomy = family_of(model).anatomy(model)
    assert anatomy.middle_layer is not None and 0 < anatomy.middle_layer < anatomy.feature_layer
    for reducer in (HiPrune(0.3), replace(HiPrune(0.3), middle_layer=0)):
        needs = reducer.needs(anatomy)
        assert (needs.received or needs.cls_attention)[-1] == anatomy.feature_layer
