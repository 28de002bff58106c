"""Stage 3: the projector learns to map the tower's features onto word embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from training import stage
from training.fast_attention import use_fast_attention
from training.model import DIM, build_model
from training.packed_forward import exact, forward
from training.packing import pack, tokenizer
from training.stage import StageRun, optimisers
from training.stage_language import FULL_MIX
from training.stage_vision import LAST, SHALLOW, Readout, batch, labelled_scene, patch_weights, readout_losses
from training.symbolic_scenes import Symbols
from training.vision_features import run_tower
from training.warm_start import load_matching_weights
from vscan_eval.world.questions import draw_questions
from vscan_eval.world.scene import GRID_SIDE, Scene, sample_scene

PROJECTOR_SEEDS = 3_000_000
ALL_PATCHES = torch.arange(GRID_SIDE * GRID_SIDE)


def assemble(warm_start: Path | None = None) -> tuple[LlavaForConditionalGeneration, Readout, Symbols]:
    """The model with the weights of stages 1 and 2, and the modules that those trained beside it."""
    model, readout, symbols = use_fast_attention(build_model()), Readout(), Symbols(tokenizer(), DIM)
    if warm_start:
        load_matching_weights(model, warm_start)
    load_language(model, symbols)
    vision = torch.load(stage.RUNS_FOLDER / "vision" / "checkpoint.pt", weights_only=False)
    model.model.vision_tower.load_state_dict(vision["tower"])
    readout.load_state_dict(vision["readout"])
    return model, readout, symbols


def load_language(model: LlavaForConditionalGeneration, symbols: Symbols) -> None:
    """Load the newest checkpoint of stage 1, which may still be training."""
    language = torch.load(stage.RUNS_FOLDER / "language" / "checkpoint.pt", weights_only=False)
    model.model.language_model.load_state_dict(language["language"])
    symbols.load_state_dict(language["symbols"])


def symbol_loss(projected: Tensor, labels: dict[str, Tensor], symbols: Symbols, embeddings: Tensor) -> Tensor:
    """Distance to the symbols, in units of their variance, plus naming kind, attribute and background.

    projected (batch, kept, dim); a name is found by similarity with the word embeddings.
    """
    with torch.no_grad():
        target = symbols(labels, embeddings).float()
    weight = patch_weights(labels)
    error = (projected.float() - target).square().mean(-1) / target.var()
    naming = _naming(projected, embeddings[symbols.kind_ids], labels["kind"])
    naming = naming + 0.5 * _naming(projected, embeddings[symbols.attribute_ids], labels["attribute"])
    naming = naming + 0.5 * _naming(projected, embeddings[symbols.background_ids], labels["background"])
    return (error * weight).sum() / weight.sum() + 0.2 * naming


def _naming(projected: Tensor, names: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of finding the right name (names, dim) by similarity; label 0 is ignored."""
    similar = (projected.float() @ names.T) / (names.square().sum(-1).mean() / 8)
    return F.cross_entropy(similar.flatten(0, 1), labels.flatten() - 1, ignore_index=-1)


def train(minutes: float, resume: bool, warm_start: Path | None = None, pictures: int = 12) -> StageRun:
    """Fit the projector and the last tower layers; the word embeddings stay fixed."""
    model, readout, symbols = assemble(warm_start)
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    embeddings = model.model.language_model.embed_tokens.weight.detach()
    # No whole stack of layers here: no matrix goes to Muon, and the first rate is unused.
    found = optimisers([projector], 0.0, 2e-3) + optimisers([tower.encoder.layers[-2:], readout], 0.0, 5e-4)
    run = StageRun(
        "projector", minutes, {"projector": projector, "tower": tower, "readout": readout}, found, flat_until=0.5
    )
    if resume:
        run.resume()
    while run.share < 1:
        side = GRID_SIDE + 1 if run.share < 0.6 else GRID_SIDE
        seeds = [PROJECTOR_SEEDS + run.step * pictures + i for i in range(pictures)]
        patches, index, labels = batch(seeds, side, np.random.default_rng(run.step))
        with torch.autocast("cpu", torch.bfloat16):
            vision = run_tower(tower, patches, index, attention_layers=(SHALLOW, LAST))
            dense, count, spread = readout_losses(readout, vision, labels)
            helped = dense + 0.5 * count + 0.1 * spread
            value = symbol_loss(projector(vision.patches), labels | {"index": index}, symbols, embeddings)
        run.advance(value + 0.3 * helped)
        if run.step % 10 == 0:
            run.log(symbol=value, helped=helped)
        if run.step % 50 == 0:
            load_language(model, symbols)
            run.log(**drawn_accuracy(model, range(24)))
    run.save()
    run.log(**drawn_accuracy(model, range(60)))
    return run


@torch.no_grad()
def drawn_accuracy(model: LlavaForConditionalGeneration, seeds: range, count: int = 20) -> dict[str, float]:
    """Exact-match share by kind on drawn held-out scenes, all 576 tokens; "n" is the number of questions."""
    hits: dict[str, list[bool]] = {}
    for start in range(seeds.start, seeds.stop, 4):
        group = [seed for seed in range(start, min(start + 4, seeds.stop))]
        scenes: list[Scene] = [sample_scene(seed) for seed in group]
        rng = np.random.default_rng(start)
        packed = pack([draw_questions(scene, FULL_MIX, count, rng) for scene in scenes])
        patches = torch.from_numpy(np.stack([labelled_scene(seed)[1] for seed in group]))
        with torch.autocast("cpu", torch.bfloat16):
            vision = run_tower(model.model.vision_tower, patches, ALL_PATCHES.expand(len(group), -1))
            logits = forward(model, packed, model.model.multi_modal_projector(vision.patches))
        for kind, right in exact(logits, packed).items():
            hits.setdefault(kind, []).extend(right)
    scores = {kind: float(np.mean(right)) for kind, right in sorted(hits.items())}
    every = [hit for right in hits.values() for hit in right]
    return scores | {"all": float(np.mean(every)), "n": len(every)}
