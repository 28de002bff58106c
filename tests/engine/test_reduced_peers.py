"""`reduced` with every peer method against the slow masked recompute, on real tiny models."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.engine.test_reduced import STEPS, generate, rows_of
from tests.families.refused import OF_VIDEOS
from tests.reference import (
    apet_slow,
    halfway_slow,
    inllm_slow,
    ivc_slow,
    peers_slow,
    prunesid_slow,
    spread_slow,
    tome_slow,
    vscan_slow,
)
from tests.reference.masked import step_logits
from vscan_core.reducers.apet import ApET
from vscan_core.reducers.dart import DART
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.greedyprune import GreedyPrune
from vscan_core.reducers.grid import lattice
from vscan_core.reducers.ivcprune import IVCPrune
from vscan_core.reducers.pact import PACT
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_core.reducers.topv import TopV
from vscan_core.reducers.v2drop import V2Drop

SHALLOW_LAYER, OUTPUT_LAYER = 1, 3  # of the tiny model's five vision layers; the output is that of the second to last
JOINT = {"trim", "cdpruner"}  # need the question; see test_joint_signals.py
LATER = {"vscan", "fastv", "pyramiddrop", "sparsevlm", "greedyprune", "dart", "topv", "pact", "v2drop", "apet"}
LATER |= {"ivcprune"}
BATCHES = [[1], [0, 2, 1]]


def slow_signals(model, pixels):
    """Features before and after the projector, CLS scores and head-mean keys, the slow way; per image."""
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    features = states[-2][:, 1:]
    block = model.model.vision_tower.encoder.layers[OUTPUT_LAYER]
    keys = block.self_attn.k_proj(block.layer_norm1(states[OUTPUT_LAYER]))[:, 1:]
    size = keys.shape[-1] // block.self_attn.num_heads
    heads = [keys[..., start : start + size] for start in range(0, keys.shape[-1], size)]
    scores = vscan_slow.cls_attention(model, pixels, OUTPUT_LAYER)
    return features, model.model.multi_modal_projector(features), scores, torch.stack(heads).mean(0)


def slow_selection(name: str, keep: int, features, projected, scores, keys):
    """(kept tokens, their vision features) of one image."""
    if name in ("visionzip", "prumerge"):
        return getattr(peers_slow, name)(features, keys, scores, keep)
    if name == "tokentransforming":
        return peers_slow.tokentransforming(features, scores, keep)
    draw = torch.Generator().manual_seed(0)
    kept = {
        "fastervlm": lambda: peers_slow.fastervlm(scores, keep),
        "vispruner": lambda: peers_slow.vispruner(features, scores, keep),
        "divprune": lambda: sorted(peers_slow.divprune(projected, keep)),
        "scope": lambda: spread_slow.scope(features, scores, keep),
        "holov": lambda: spread_slow.holov(projected, scores, keep)[0],
        "otprune": lambda: spread_slow.otprune(projected, keep),
        "prunesid": lambda: prunesid_slow.prunesid(features, scores, keep),
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
        torch.testing.assert_close(logits[i], expected, atol=5e-5, rtol=0)  # means over many tokens round more
        histories += history
    assert [[cut.kept.tolist() for cut in image.cuts] for image in trace.images] == histories


@pytest.mark.parametrize("images", BATCHES, ids=str)
@pytest.mark.parametrize("name", sorted(set(vc.REDUCERS) - JOINT - LATER - OF_VIDEOS))
@torch.no_grad()
def test_cut_at_the_entrance_equals_masked_recompute(llava, name, images) -> None:
    def entrance_of(pixels):
        signals = slow_signals(llava, pixels)

        def entrance(image):
            if name == "downsample":  # averages behind the projector
                return peers_slow.downsample(6, 6, signals[1][image], 11)
            if name == "cascade":  # its first reading
                scores = (
                    vscan_slow.cls_attention(llava, pixels, layer)[image] for layer in (SHALLOW_LAYER, OUTPUT_LAYER)
                )
                kept = vscan_slow.choose(*scores, 6, 6, 11)
                return kept, vscan_slow.merge(signals[1][image], kept)
            if name == "hiprune":
                rows = (vscan_slow.received(llava, pixels, layer)[image] for layer in (2, OUTPUT_LAYER))
                kept, _ = halfway_slow.hiprune(*rows, 6, 11)  # a third of the tiny model's depth is layer 2
                return kept, signals[1][image, kept]
            if name == "tome":
                kept, rows = tome_slow.tower(llava, pixels[image], 11)
                return kept, llava.model.multi_modal_projector(rows)
            kept, rows = slow_selection(name, 11, *(part[image] for part in signals))
            return kept, llava.model.multi_modal_projector(rows)

        return entrance

    check(llava, prompt(images), vc.REDUCERS[name](retention=0.3).first_reading, {}, entrance_of)


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


@torch.no_grad()
def test_sparsevlm_asks_no_words_in_front_of_the_picture(sdpa_llava) -> None:
    inputs = prompt([1])
    _, projected, _, _ = slow_signals(sdpa_llava, inputs["pixel_values"])
    likes = (projected[0] @ sdpa_llava.get_input_embeddings().weight.T).mean(0)
    likeliest = likes[:90].argmax().expand(1, 30)  # the picture would choose these and no others
    inputs["input_ids"] = torch.cat([inputs["input_ids"][:, :1], likeliest, inputs["input_ids"][:, 1:]], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    method = SparseVLM(layers=(2,), keep=(9,))
    check(sdpa_llava, inputs, method, {"later": {2: 10}, "ahead": True, "sparse": True})


def greedyprune(given, keep):
    return inllm_slow.greedyprune(given["hidden"], given["question"], keep, 0.3)


def topv(given, keep):
    places = [((at % 6 + 0.5) / 6, (at // 6 + 0.5) / 6) for at in given["left"]]
    return inllm_slow.topv(given["entered"], given["attended"], places, keep)


def pact(given, keep):
    projected = (given[name] for name in ("queries", "llm_keys", "rotated_keys", "hidden"))
    return inllm_slow.pact(*projected, keep, 0.55, 0.21)


def unrotated_pact(given, keep):
    return pact({**given, "rotated_keys": given["llm_keys"]}, keep)


def dart(given, keep):
    keys = (given["earlier_keys"], given["text_earlier_keys"])
    return halfway_slow.dart(keys[0], given["normed"], keys[1], given["text_normed"], keep)


def ivcprune(given, keep):
    return ivc_slow.ivcprune(given["earlier_values"], given["text_earlier_values"], given["turned"], keep), None


def released_ivcprune(given, keep):
    around = (given["text_earlier_values"], given["front_earlier_values"])
    return ivc_slow.released_ivcprune(given["earlier_values"], *around, given["turned"], 2), None


@pytest.mark.parametrize("images", [*BATCHES, [2, 0]], ids=str)
@pytest.mark.parametrize(
    ("method", "inside"),
    [
        (GreedyPrune(keep=9, threshold=0.3), greedyprune),
        (GreedyPrune(layer=4, keep=9, threshold=0.3, positions="original"), greedyprune),
        (DART(keep=13), dart),
        (DART(layer=5, keep=9, positions="renumbered"), dart),
        (IVCPrune(layer=2, keep=13), ivcprune),
        (IVCPrune(layer=5, keep=9, positions="renumbered"), ivcprune),
        (IVCPrune(layer=4, released=True, skip=2), released_ivcprune),
        (TopV(keep=9), topv),
        (TopV(layer=5, keep=9, positions="original"), topv),
        (PACT(layer=4, keep=9), pact),
        (PACT(layer=1, keep=9, positions="renumbered", rope_in_scores=False), unrotated_pact),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@torch.no_grad()
def test_methods_without_attention_rows_equal_masked_recompute(llava, method, inside, images) -> None:
    renumber = method.position_mode(vc.Anatomy(5, 3, 6, 1)) == "renumbered"
    later = method.schedule(36, vc.Anatomy(5, 3, 6, 1))
    assert list(later) == [method.layer]
    settings = {"later": later, "renumber": renumber, "inside": inside}
    check(llava, prompt(images), method, settings)


@torch.no_grad()
def test_a_number_of_tokens_that_varies_is_the_same_with_a_static_cache(sdpa_llava) -> None:
    inputs, method = prompt([1, 1, 2]), IVCPrune(layer=2, released=True)
    (most,) = method.schedule(36, vc.Anatomy(5, 3, 6, 1)).values()
    found = []
    for more in ({}, {"cache_implementation": "static"}):
        with vc.reduced(sdpa_llava, method) as trace:
            ids = sdpa_llava.generate(**inputs, max_new_tokens=STEPS, do_sample=False, **more)
        found.append((ids.tolist(), [image.kept.tolist() for image in trace.images]))
    assert found[0] == found[1]
    assert len({len(kept) for kept in found[0][1]}) > 1 and all(len(kept) <= most for kept in found[0][1])


@torch.no_grad()
def test_a_refusal_inside_the_llm_leaves_the_block_and_the_model_usable(sdpa_llava) -> None:
    inputs, method = prompt([1]), IVCPrune(layer=3, keep=9)
    with vc.reduced(sdpa_llava, method):
        expected = sdpa_llava(**inputs).logits
    before = sdpa_llava(**inputs).logits
    end = int((inputs["input_ids"][0] == 99).nonzero()[-1]) + 1
    cut = {name: rows[:, :end] if name != "pixel_values" else rows for name, rows in inputs.items()}
    with vc.reduced(sdpa_llava, method):
        with pytest.raises(vc.InputError, match="put the question after the picture"):
            sdpa_llava(**cut)
        assert torch.equal(sdpa_llava(**inputs).logits, expected)
    assert torch.equal(sdpa_llava(**inputs).logits, before) and not torch.equal(before, expected)


def v2drop(given, keep):
    return apet_slow.v2drop(given["hidden"], given["entered"], keep), None


@pytest.mark.parametrize("images", [*BATCHES, [2, 0]], ids=str)
@pytest.mark.parametrize("layers", [(1, 3, 4), (2, 3), (5,)], ids=str)
@torch.no_grad()
def test_v2drop_equals_masked_recompute(llava, layers, images) -> None:
    method = V2Drop(layers=layers, shares=(0.6, 0.4, 0.0)[: len(layers)])
    later = method.schedule(36, vc.Anatomy(5, 3, 6, 1))
    assert list(later) == list(layers)
    check(llava, prompt(images), method, {"later": later, "renumber": False, "inside": v2drop})


def apet(given, keep):
    return apet_slow.apet(given["hidden"], keep, 3, 2, in_order=False)


@pytest.mark.parametrize("images", [*BATCHES, [2, 0]], ids=str)
@pytest.mark.parametrize("cuts", ["both", "entrance"])
@torch.no_grad()
def test_apet_equals_masked_recompute(llava, cuts, images) -> None:
    method = ApET(0.4, basis=3, start=2, share=1 / 3 if cuts == "both" else 1.0)
    later = method.schedule(36, vc.Anatomy(5, 3, 6, 1))
    first = later.pop(0)
    assert list(later) == ([3] if cuts == "both" else [])

    def entrance_of(pixels):
        features = slow_signals(llava, pixels)[0]

        def entrance(image):
            kept, rows = apet_slow.apet(features[image], first, 3, 2)
            return kept, llava.model.multi_modal_projector(rows)

        return entrance

    check(llava, prompt(images), method, {"later": later, "inside": apet}, entrance_of)


def test_apet_labels_the_places_of_basis_tokens(sdpa_llava) -> None:
    _, trace = generate(sdpa_llava, prompt([1]), ApET(0.4, basis=3))
    for cut in trace.images[0].cuts:
        assert len(cut.labels["basis"]) == 3 and torch.isin(cut.labels["basis"], cut.kept).all()
        assert not torch.isin(cut.merged_into, cut.labels["basis"]).any()


@torch.no_grad()
def test_tome_shortens_the_encoder_and_weighs_what_it_merged(sdpa_llava) -> None:
    pixels = prompt([2])["pixel_values"]
    unweighed = [tome_slow.tower(sdpa_llava, one, 11, weigh=False)[1] for one in pixels]
    weighed = [tome_slow.tower(sdpa_llava, one, 11)[1] for one in pixels]
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(unweighed, weighed, strict=True))
    lengths = []
    blocks = sdpa_llava.model.vision_tower.encoder.layers
    handles = [block.mlp.fc1.register_forward_hook(lambda *call: lengths.append(call[2].shape[1])) for block in blocks]
    with vc.reduced(sdpa_llava, vc.REDUCERS["tome"](retention=0.3)) as trace:
        sdpa_llava(**prompt([2]))
    for handle in handles:
        handle.remove()
    assert lengths == [1 + 29, 1 + 23, 1 + 17, 1 + 11, 1 + 11]
    for image in trace.images:
        (cut,) = image.cuts
        assert torch.isin(cut.merged_into[cut.merged_into >= 0], cut.kept).all() and (cut.merged_into >= 0).sum() == 25


@torch.no_grad()
def test_tome_on_a_model_that_never_ran_before_and_in_half_precision() -> None:
    fresh, inputs, method = tiny_llava(), prompt([1, 2]), vc.REDUCERS["tome"](retention=0.3)
    first, again = (generate(fresh, inputs, method)[0].logits for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    half = {**inputs, "pixel_values": inputs["pixel_values"].bfloat16()}
    out, trace = generate(tiny_llava().bfloat16(), half, method)
    assert all(step.isfinite().all() for step in out.logits)
    assert all(len(image.kept) == 11 for image in trace.images)


@pytest.mark.parametrize("name", sorted(vc.REDUCERS))
@torch.no_grad()
def test_a_budget_that_rounds_to_everything_changes_nothing(sdpa_llava, name) -> None:
    inputs = prompt([1, 2])
    with vc.reduced(sdpa_llava, vc.REDUCERS[name](retention=0.999), question="What is it?") as trace:
        logits = sdpa_llava(**inputs).logits
    assert torch.equal(logits, sdpa_llava(**inputs).logits)
    assert set(trace.visual_tokens_per_layer) == {3 * 36}


def test_tome_refuses_towers_that_it_cannot_shorten() -> None:
    model = tiny_llava()
    model.config.vision_feature_layer = [-3, -2]
    with pytest.raises(vc.InputError, match="several layers"), vc.reduced(model, vc.REDUCERS["tome"]()):
        pass
    model.config.vision_feature_layer = -2
    model.model.vision_tower.config._attn_implementation = "flash_attention_2"
    with pytest.raises(vc.InputError, match="it runs flash"), vc.reduced(model, vc.REDUCERS["tome"]()):
        pass
    assert not any(module._forward_pre_hooks for module in model.modules())


BEAMS = {
    "fastv": (FastV(keep=9, positions="renumbered"), {"later": {2: 9}, "ahead": True}),
    "pact": (PACT(layer=2, keep=9), {"later": {2: 9}, "renumber": False, "inside": pact}),
    "topv": (TopV(keep=9), {"later": {2: 9}, "inside": topv}),
    "dart": (DART(keep=9), {"later": {2: 9}, "renumber": False, "inside": dart}),
    "ivcprune": (IVCPrune(layer=3, keep=9), {"later": {3: 9}, "renumber": False, "inside": ivcprune}),
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


@torch.no_grad()
def test_layers_that_were_watched_are_left_as_found(sdpa_llava) -> None:
    inputs, norms = prompt([1]), [layer.post_attention_layernorm for layer in sdpa_llava.model.language_model.layers]
    before = sdpa_llava(**inputs).logits
    with vc.reduced(sdpa_llava, TopV(keep=9)):
        assert [len(norm._forward_hooks) for norm in norms] == [0, 1, 0, 0, 0, 0]
        sdpa_llava(**inputs)
    assert not any(norm._forward_hooks for norm in norms)
    with vc.reduced(sdpa_llava, TopV(retention=1)):
        assert torch.equal(sdpa_llava(**inputs).logits, before)


def test_sparsevlm_tells_what_merged_into_what(sdpa_llava) -> None:
    _, trace = generate(sdpa_llava, prompt([1]), SparseVLM(layers=(1, 3), retention=0.5))
    first, second = trace.images[0].cuts
    for cut in (first, second):
        merged = (cut.merged_into >= 0).nonzero()[:, 0]
        assert len(merged) and not torch.isin(merged, cut.kept).any()
        assert torch.isin(cut.merged_into[merged], cut.labels["recycled"]).all()
    assert torch.isin(merged, first.kept).all()


@pytest.mark.parametrize("name", sorted(set(vc.REDUCERS) - OF_VIDEOS))
@torch.no_grad()
def test_spends_the_asked_average_in_a_run(name) -> None:
    model = tiny_llava(layers=8)
    with vc.reduced(model, vc.REDUCERS[name](retention=0.4), question="What is it?") as trace:
        model(**prompt([1]))
    assert abs(sum(trace.visual_tokens_per_layer) / 8 - 0.4 * 36) <= 1
