"""Segment 3: the projector learns to say in word embeddings what the tower sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from training import stage
from training.answering import exact, forward
from training.fast_attention import quicken
from training.model import DIM, build_model
from training.packing import pack, tokenizer
from training.stage import Run, optimisers
from training.stage_language import FULL_MIX
from training.stage_vision import (
    LAST,
    SHALLOW,
    Readout,
    batch,
    count_loss,
    dense_loss,
    drawn,
    patch_weights,
    spread_loss,
)
from training.symbols import Symbols
from training.vision_features import see
from training.warmup import take_over
from vscan_eval.world.questions import draw_questions
from vscan_eval.world.scene import GRID_SIDE, Scene, sample_scene

TRAIN_SEEDS = 3_000_000
WHOLE = torch.arange(GRID_SIDE * GRID_SIDE)


def assemble(warm: Path | None = None) -> tuple[LlavaForConditionalGeneration, Readout, Symbols]:
    """The model with what stages 1 and 2 learned, and their helpers."""
    model, readout, symbols = quicken(build_model()), Readout(), Symbols(tokenizer(), DIM)
    if warm:
        take_over(model, warm)
    load_language(model, symbols)
    vision = torch.load(stage.RUNS / "vision" / "checkpoint.pt", weights_only=False)
    model.model.vision_tower.load_state_dict(vision["tower"])
    readout.load_state_dict(vision["readout"])
    return model, readout, symbols


def load_language(model: LlavaForConditionalGeneration, symbols: Symbols) -> None:
    """Take over the newest checkpoint of stage 1, which may still be stage."""
    language = torch.load(stage.RUNS / "language" / "checkpoint.pt", weights_only=False)
    model.model.language_model.load_state_dict(language["language"])
    symbols.load_state_dict(language["symbols"])


def symbol_loss(projected: Tensor, labels: dict[str, Tensor], symbols: Symbols, words: Tensor) -> Tensor:
    """Distance to the symbols, in units of their variance, plus naming kind, attribute and background.

    projected (batch, kept, dim); a name is found by similarity with the words.
    """
    with torch.no_grad():
        target = symbols(labels, words).float()
    weight = patch_weights(labels)
    error = (projected.float() - target).square().mean(-1) / target.var()
    naming = _naming(projected, words[symbols.kind_ids], labels["kind"])
    naming = naming + 0.5 * _naming(projected, words[symbols.attribute_ids], labels["attribute"])
    naming = naming + 0.5 * _naming(projected, words[symbols.background_ids], labels["background"])
    return (error * weight).sum() / weight.sum() + 0.2 * naming


def _naming(projected: Tensor, names: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of finding the right name (names, dim) by similarity; label 0 is not asked."""
    similar = (projected.float() @ names.T) / (names.square().sum(-1).mean() / 8)
    return F.cross_entropy(similar.flatten(0, 1), labels.flatten() - 1, ignore_index=-1)


def train(minutes: float, resume: bool, warm: Path | None = None, pictures: int = 12) -> Run:
    """Fit projector and last tower layers; the words stay as they are."""
    model, readout, symbols = assemble(warm)
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    words = model.model.language_model.embed_tokens.weight.detach()
    # No whole stack of layers here, so no matrix goes to Muon and the first rate is not used.
    found = optimisers([projector], 0.0, 2e-3) + optimisers([tower.encoder.layers[-2:], readout], 0.0, 5e-4)
    run = Run("projector", minutes, {"projector": projector, "tower": tower, "readout": readout}, found, flat_until=0.5)
    if resume:
        run.resume()
    while run.share < 1:
        side = GRID_SIDE + 1 if run.share < 0.6 else GRID_SIDE
        seeds = [TRAIN_SEEDS + run.step * pictures + i for i in range(pictures)]
        patches, index, labels = batch(seeds, side, np.random.default_rng(run.step))
        with torch.autocast("cpu", torch.bfloat16):
            seen = see(tower, patches, index, watched=(SHALLOW, LAST))
            logits, counts = readout(seen)
            helped = dense_loss(logits, labels) + 0.5 * count_loss(counts, labels)
            helped = helped + 0.1 * (
                spread_loss(seen.attention[LAST], labels) + 0.5 * spread_loss(seen.attention[SHALLOW], labels)
            )
            value = symbol_loss(projector(seen.patches), labels | {"index": index}, symbols, words)
        run.advance(value + 0.3 * helped)
        if run.step % 10 == 0:
            run.log(symbol=value, helped=helped)
        if run.step % 50 == 0:
            load_language(model, symbols)
            run.log(**answers(model, range(24)))
    run.save()
    run.log(**answers(model, range(60)))
    return run


@torch.no_grad()
def answers(model: LlavaForConditionalGeneration, seeds: range, count: int = 20) -> dict[str, float]:
    """Exact-match share by kind on drawn held-out scenes, all 576 tokens; "n" is the number of questions."""
    hits: dict[str, list[bool]] = {}
    for start in range(seeds.start, seeds.stop, 4):
        group = [seed for seed in range(start, min(start + 4, seeds.stop))]
        scenes: list[Scene] = [sample_scene(seed) for seed in group]
        rng = np.random.default_rng(start)
        packed = pack([draw_questions(scene, FULL_MIX, count, rng) for scene in scenes])
        patches = torch.from_numpy(np.stack([drawn(seed)[1] for seed in group]))
        with torch.autocast("cpu", torch.bfloat16):
            seen = see(model.model.vision_tower, patches, WHOLE.expand(len(group), -1))
            logits = forward(model, packed, model.model.multi_modal_projector(seen.patches))
        for kind, right in exact(logits, packed).items():
            hits.setdefault(kind, []).extend(right)
    scores = {kind: float(np.mean(right)) for kind, right in sorted(hits.items())}
    every = [hit for right in hits.values() for hit in right]
    return scores | {"all": float(np.mean(every)), "n": len(every)}
