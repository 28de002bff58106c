"""Stage 4: the whole model on drawn pictures, several processes side by side."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed as dist
from torch import multiprocessing
from transformers import LlavaForConditionalGeneration

from training.ordinals import Ordinals
from training.packed_forward import forward, loss
from training.packing import pack
from training.stage import RUNS_FOLDER, StageRun, broadcast_value, optimisers, rank
from training.stage_language import FULL_MIX, sample_patches
from training.stage_projector import assemble, drawn_accuracy, symbol_loss
from training.stage_vision import LAST, SHALLOW, Readout, batch, readout_losses
from training.symbolic_scenes import Symbols
from training.vision_features import run_tower
from vscan_eval.world.questions import draw_questions
from vscan_eval.world.scene import GRID_SIDE, sample_scene

JOINT_SEEDS = 4_000_000
THINNED = 192  # patches, sampled as in stage 1
THINNED_UNTIL = 0.25  # share of the time on thinned pictures only; after that two steps of three on all 576 tokens
PROCESSES = 2
JOINT_MIX = FULL_MIX | {"exist": 6, "what_at": 9, "where": 3, "beside": 3, "relation": 2, "sign": 5, "background": 1.5}


def train(minutes: float, resume: bool, warm_start: Path | None = None) -> None:
    """Start the processes; process 0 logs and saves. `warm_start` is ignored: the stage starts from the others."""
    with tempfile.TemporaryDirectory() as meeting:
        multiprocessing.spawn(_work, (minutes, resume, f"file://{meeting}/meet"), PROCESSES)


def _work(number: int, minutes: float, resume: bool, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=meeting, rank=number, world_size=PROCESSES, timeout=timedelta(minutes=30)
    )
    model, readout, symbols = assemble()
    tower, projector, language = model.model.vision_tower, model.model.multi_modal_projector, model.model.language_model
    learned = torch.load(RUNS_FOLDER / "projector" / "checkpoint.pt", weights_only=False)
    projector.load_state_dict(learned["projector"])
    tower.load_state_dict(learned["tower"])
    readout.load_state_dict(learned["readout"])
    ordinals = Ordinals(language)
    ordinals.load_state_dict(torch.load(RUNS_FOLDER / "language" / "checkpoint.pt", weights_only=False)["ordinals"])
    found = optimisers([language, projector, ordinals], 0.003, 4e-4) + optimisers([tower, readout], 0.002, 2e-4)
    run = StageRun("joint", minutes, {"model": model, "readout": readout, "ordinals": ordinals}, found, flat_until=0.3)
    if resume:
        run.resume()
    while (share := broadcast_value(run.share)) < 1:
        thinned = share < THINNED_UNTIL or run.step % 3 == 0
        value, answer = _step_loss(model, readout, symbols, ordinals, run.step, thinned)
        run.advance(value)
        _report(run, model, answer)
    if number == 0:
        run.save()
        run.log(**drawn_accuracy(model, range(60)))
    dist.barrier()
    dist.destroy_process_group()


def _step_loss(
    model: LlavaForConditionalGeneration,
    readout: Readout,
    symbols: Symbols,
    ordinals: Ordinals,
    step: int,
    thinned: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Answer loss plus a little of everything learned before, so that nothing is forgotten.

    The tower always sees whole pictures; with `thinned` the language model gets only some of their patches.
    """
    pictures = 8 if thinned else 6
    first = JOINT_SEEDS + (step * PROCESSES + rank()) * 8
    seeds = list(range(first, first + pictures))
    rng = np.random.default_rng([step, rank()])
    patches, index, labels = batch(seeds, GRID_SIDE, rng)
    packed = pack([draw_questions(sample_scene(seed), JOINT_MIX, 16, rng) for seed in seeds])
    embeddings = model.model.language_model.embed_tokens.weight
    with torch.autocast("cpu", torch.bfloat16):
        vision = run_tower(model.model.vision_tower, patches, index, attention_layers=(SHALLOW, LAST))
        projected = model.model.multi_modal_projector(vision.patches)
        shown, ordinal, gaps = projected, labels["ordinal"], None
        if thinned:
            kept = sample_patches(labels, THINNED, torch.Generator().manual_seed(first))
            shown = projected.gather(1, kept[..., None].expand(-1, -1, projected.shape[-1]))
            ordinal = ordinal.gather(1, kept)
            gaps = kept if step % 2 else None  # every other time the positions close up
        answer = loss(forward(model, packed, shown, gaps), packed)
        counted = ordinals.loss(ordinal)
        dense, count, spread = readout_losses(readout, vision, labels)
        named = dense + 0.5 * count + 0.1 * spread
        symbol = symbol_loss(projected, labels | {"index": index}, symbols, embeddings.detach())
    return answer + 0.2 * named + 0.1 * symbol + 0.1 * counted, answer


def _report(run: StageRun, model: LlavaForConditionalGeneration, answer: torch.Tensor) -> None:
    """Log the loss often and the answers now and then."""
    if rank() == 0 and run.step % 10 == 0:
        run.log(loss=answer)
    if rank() == 0 and run.step % 60 == 0:
        run.log(**drawn_accuracy(model, range(24)))
