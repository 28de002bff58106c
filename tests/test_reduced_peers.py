"""`reduced` with every peer method against the slow masked recompute, on real tiny models."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.reference import peers_slow, vscan_slow
from tests.reference.masked import step_logits
from tests.test_reduced import STEPS, generate, rows_of
from vscan_core.reducers import FastV, PyramidDrop, SparseVLM
from vscan_core.reducers.grid import lattice

OUTPUT_LAYER = 3  # of the tiny model's five vision layers: the second to last
REFUSED = {"trim", "cdpruner"}
BATCHES = [[1], [0, 2, 1]]


def look(model, pixels):
    """Features before and after the projector, CLS scores and head-mean keys, the slow way; per image."""
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    features = states[-2][:, 1:]
    block = model.model.vision_tower.encoder.layers[OUTPUT_LAYER]
    keys = block.self_attn.k_proj(block.layer_norm1(states[OUTPUT_LAYER]))[:, 1:]
    size = keys.shape[-1] // block.self_attn.num_heads
    heads = [keys[..., start : start + size] for start in range(0, keys.shape[-1], size)]
    scores = vscan_slow.cls_attention(model, pixels, OUTPUT_LAYER)
    return features, model.model.multi_modal_projector(features), scores, torch.stack(heads).mean(0)


def slow_choice(name: str, keep: int, features, projected, scores, keys):
    """(kept tokens, their vision features) of one image."""
    if name in ("visionzip", "prumerge"):
        return getattr(peers_slow, name)(features, keys, scores, keep)
    draw = torch.Generator().manual_seed(0)
    kept = {
        "fastervlm": lambda: peers_slow.fastervlm(scores, keep),
        "vispruner": lambda: peers_slow.vispruner(features, scores, keep),
        "divprune": lambda: sorted(peers_slow.divprune(projected, keep)),
        "random": lambda: sorted(torch.randperm(36, generator=draw)[:keep].tolist()),
        "grid": lambda: lattice(6, 6, keep).tolist(),
    }[name]()
    return kept, features[kept]


def check(model, inputs, method, settings, entrance_of=None) -> None:
    out, trace = generate(model, inputs, method)
    logits, histories = torch.stack(out.logits, dim=1), []
    for i, (row, pixels) in enumerate(rows_of(inputs)):
        new = out.sequences[i, -STEPS:]
        entrance = entrance_of(pixels) if entrance_of and pixels is not None else None
        expected, history = step_logits(model, row, pixels, new, entrance=entrance, **settings)
        torch.testing.assert_close(logits[i], expected, atol=1e-5, rtol=0)
        histories += history
    assert [[cut.kept.tolist() for cut in image.cuts] for image in trace.images] == histories


@pytest.mark.parametrize("images", BATCHES, ids=str)
@pytest.mark.parametrize("name", sorted(set(vc.REDUCERS) - REFUSED - {"vscan", "fastv", "pyramiddrop", "sparsevlm"}))
@torch.no_grad()
def test_cut_at_the_entrance_equals_masked_recompute(llava, name, images) -> None:
    def entrance_of(pixels):
        signals = look(llava, pixels)

        def entrance(image):
            kept, rows = slow_choice(name, 11, *(part[image] for part in signals))
            return kept, llava.model.multi_modal_projector(rows)

        return entrance

    check(llava, prompt(images), vc.REDUCERS[name](retention=0.3), {}, entrance_of)


@pytest.mark.parametrize("images", [*BATCHES, [2, 0]], ids=str)
@pytest.mark.parametrize("positions", ["original", "renumbered"])
@pytest.mark.parametrize("layer", [1, 2, 5])
@torch.no_grad()
def test_fastv_equals_masked_recompute(llava, layer, positions, images) -> None:
    method = FastV(layer=layer, keep=9, positions=positions)
    settings = {"later": {layer: 9}, "ahead": True, "renumber": positions == "renumbered"}
    check(llava, prompt(images), method, settings)


@torch.no_grad()
def test_reference_notices_scores_of_the_wrong_layer(sdpa_llava) -> None:
    with pytest.raises(AssertionError):
        check(sdpa_llava, prompt([1]), FastV(keep=9), {"later": {2: 9}, "renumber": False})


@pytest.mark.parametrize("images", BATCHES, ids=str)
@torch.no_grad()
def test_pyramiddrop_equals_masked_recompute(llava, images) -> None:
    method = PyramidDrop(retention=0.5)
    later = method.schedule(36, vc.Anatomy(5, 3, 6, 1))
    assert list(later) == [1, 3, 4]
    check(llava, prompt(images), method, {"later": later})


@pytest.mark.parametrize("images", [*BATCHES, [2, 0]], ids=str)
@pytest.mark.parametrize("layers", [(1, 2, 4), (3,), (2, 5)], ids=str)
@torch.no_grad()
def test_sparsevlm_equals_masked_recompute(llava, layers, images) -> None:
    method = SparseVLM(retention=0.6, layers=layers)
    later = method.schedule(36, vc.Anatomy(5, 3, 6, 1))
    assert len(later) == len(layers)
    check(llava, prompt(images), method, {"later": later, "ahead": True, "sparse": True})


BEAMS = {
    "fastv": (FastV(keep=9, positions="renumbered"), {"later": {2: 9}, "ahead": True}),
    "sparsevlm": (SparseVLM(layers=(2,), keep=(9,)), {"later": {2: 10}, "ahead": True, "sparse": True}),
}


@pytest.mark.parametrize("name", BEAMS)
@torch.no_grad()
def test_beam_search_scores_every_sequence_right(sdpa_llava, name) -> None:
    inputs, (method, settings) = prompt([0, 1], seed=5), BEAMS[name]
    with vc.reduced(sdpa_llava, method):
        more = {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.0, "do_sample": False}
        out = sdpa_llava.generate(
            **inputs, max_new_tokens=STEPS, output_scores=True, return_dict_in_generate=True, **more
        )
    for i, (row, pixels) in enumerate(rows_of(inputs)):
        for beam in (2 * i, 2 * i + 1):
            new = out.sequences[beam, -STEPS:]
            logits, _ = step_logits(sdpa_llava, row, pixels, new, **settings)
            score = logits.log_softmax(-1).gather(1, new[:, None]).sum()
            torch.testing.assert_close(out.sequences_scores[beam], score, atol=2e-5, rtol=0)


def test_sparsevlm_tells_what_merged_into_what(sdpa_llava) -> None:
    _, trace = generate(sdpa_llava, prompt([1]), SparseVLM(layers=(1, 3), retention=0.5))
    first, second = trace.images[0].cuts
    for cut in (first, second):
        merged = (cut.merged_into >= 0).nonzero()[:, 0]
        assert len(merged) and not torch.isin(merged, cut.kept).any()
        assert torch.isin(cut.merged_into[merged], cut.labels["recycled"]).all()
    assert torch.isin(merged, first.kept).all()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_models_without_clip_text_are_refused_in_one_sentence(sdpa_llava, name) -> None:
    with pytest.raises(vc.InputError, match="text half of CLIP"), vc.reduced(sdpa_llava, vc.REDUCERS[name]()):
        pass
    assert not sdpa_llava._forward_pre_hooks


@pytest.mark.parametrize("name", sorted(set(vc.REDUCERS) - REFUSED))
@torch.no_grad()
def test_spends_the_asked_average_in_a_run(name) -> None:
    model = tiny_llava(layers=8)
    with vc.reduced(model, vc.REDUCERS[name](retention=0.4)) as trace:
        model(**prompt([1]))
    assert abs(sum(trace.visual_tokens_per_layer) / 8 - 0.4 * 36) <= 1
