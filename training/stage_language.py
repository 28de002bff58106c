"""Stage 1: the language model learns to use visual tokens, on symbolic scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from training.fast_attention import use_fast_attention
from training.model import DIM, build_model
from training.ordinals import Ordinals
from training.packed_forward import exact, forward, loss
from training.packing import Packed, pack, tokenizer
from training.stage import StageRun, optimisers
from training.symbolic_scenes import Labels, Symbols, symbolic_labels
from training.warm_start import load_matching_weights
from vscan_eval.world.questions import draw_questions
from vscan_eval.world.scene import sample_scene

LANGUAGE_SEEDS = 1_000_000  # scenes below this number are held out in every stage
FIRST_MIX = {
    "exist": 6,
    "which": 3,
    "colour": 3,
    "what_at": 3,
    "side": 1,
    "where": 2,
    "count": 1,
    "sign": 1,
    "background": 0.3,
}
FULL_MIX = {
    "exist": 4,
    "which": 1,
    "colour": 2,
    "what_at": 7,
    "side": 1,
    "where": 5,
    "beside": 2,
    "relation": 5,
    "count": 9,
    "biggest": 2,
    "sign": 2,
    "background": 0.5,
    "describe": 4,
}
SYMBOL_NOISE = 0.15


def symbolic_batch(seeds: list[int], mix: dict[str, float], count: int, seed: int) -> tuple[dict[str, Tensor], Packed]:
    """Labels (batch, 576) and packed questions of scenes that are not drawn."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(number) for number in seeds]
    labels = Labels.stack([symbolic_labels(scene, rng) for scene in scenes]).tensors()
    return labels, pack([draw_questions(scene, mix, count, rng) for scene in scenes])


def crowded_seeds(first: int, scenes: int) -> list[int]:
    """`scenes` seeds out of the next 3 x `scenes`; a third of them the richest in things of one kind."""
    seeds = range(first, first + 3 * scenes)
    rich = sorted(seeds, key=lambda seed: -sample_scene(seed).most_alike)[: scenes // 3]
    return rich + [seed for seed in seeds if seed not in rich][: scenes - len(rich)]


def sample_patches(labels: dict[str, Tensor], keep: int, noise: torch.Generator) -> Tensor:
    """(batch, keep) patch numbers, ascending: all centres, then mostly patches of things."""
    score = torch.rand(labels["kind"].shape, generator=noise)
    score += 0.35 * (labels["kind"] > 0) + 2.0 * labels["centre"]
    return score.topk(keep, dim=1).indices.sort(dim=1).values


def train(minutes: float, resume: bool, warm_start: Path | None = None, scenes: int = 16, count: int = 20) -> StageRun:
    """Train tied language model and symbol vectors; gate: existence above 95 % on held-out scenes."""
    model = use_fast_attention(build_model())
    if warm_start:
        load_matching_weights(model, warm_start)
    symbols = Symbols(tokenizer(), DIM)
    language = model.model.language_model
    ordinals = Ordinals(language)
    modules = {"language": language, "symbols": symbols, "ordinals": ordinals}
    run = StageRun("language", minutes, modules, optimisers(list(modules.values()), 0.01, 1e-3), flat_until=0.5)
    if resume:
        run.resume()
    mix = FIRST_MIX
    while run.share < 1:
        noise = torch.Generator().manual_seed(run.step)
        keep = (48, 64, 96)[run.step % 3] if run.share < 0.95 else (96, 160, 256)[run.step % 3]
        seeds = crowded_seeds(LANGUAGE_SEEDS + run.step * scenes * 3, scenes)
        labels, packed = symbolic_batch(seeds, mix, count, run.step)
        with torch.autocast("cpu", torch.bfloat16):
            visual = symbols(labels, language.embed_tokens.weight)
            visual = visual + SYMBOL_NOISE * torch.randn(visual.shape, generator=noise)
            kept = sample_patches(labels, keep, noise)
            shown = visual.gather(1, kept[..., None].expand(-1, -1, DIM))
            # every other step without gaps in the positions: the model must cope with both
            value = loss(forward(model, packed, shown, kept if run.step % 2 else None), packed)
            counted = ordinals.loss(labels["ordinal"].gather(1, kept))
        run.advance(value + 0.3 * counted)
        if run.step % 20 == 0:
            run.log(loss=value, counted=counted)
        if run.step % 100 == 0:
            scores = validate_language(model, symbols)
            run.log(**scores)
            mix = FULL_MIX if scores["exist"] > 0.88 or run.share > 0.5 else FIRST_MIX
    run.save()
    return run


@torch.no_grad()
def validate_language(
    model: LlavaForConditionalGeneration, symbols: Symbols, scenes: int = 48, keep: int = 96
) -> dict[str, float]:
    """Exact-match share by kind on held-out symbolic scenes."""
    labels, packed = symbolic_batch(list(range(scenes)), FULL_MIX, 24, 0)
    noise = torch.Generator().manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        visual = symbols(labels, model.model.language_model.embed_tokens.weight)
        visual = visual + SYMBOL_NOISE * torch.randn(visual.shape, generator=noise)
        kept = sample_patches(labels, keep, noise)
        shown = visual.gather(1, kept[..., None].expand(-1, -1, DIM))
        logits = forward(model, packed, shown, kept)
    return {kind: sum(hits) / len(hits) for kind, hits in sorted(exact(logits, packed).items())}
