"""Stage 2: the vision tower learns to name what each patch shows, and CLS to count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fast_attention import use_fast_attention
from training.model import DIM, VISION_LAYERS, build_model
from training.stage import StageRun, optimisers
from training.symbolic_scenes import ATTRIBUTES, STEPS, Labels, label
from training.vision_features import TowerOutput, grid_window, pca_filters, run_tower, to_patches
from training.warm_start import load_matching_weights
from vscan_eval.world.catalog import BACKGROUNDS, COLOUR_NAMES, THING_KINDS
from vscan_eval.world.drawing import draw_scene
from vscan_eval.world.scene import GRID_SIDE, MOST_ALIKE, MOST_THINGS, Scene, sample_scene

VISION_SEEDS = 2_000_000
HEADS = {
    "kind": len(THING_KINDS) + 1,
    "attribute": len(ATTRIBUTES) + 1,
    "row": 4,
    "column": 4,
    "size": len(STEPS) + 2,
    "background": len(BACKGROUNDS) + 1,
    "centre": 2,
}
LABEL_WEIGHTS = {
    "kind": 1.0,
    "attribute": 1.5,
    "row": 0.3,
    "column": 0.3,
    "size": 0.2,
    "background": 0.2,
    "centre": 1.0,
}
SHALLOW = 1  # second layer; local selection uses its CLS attention
LAST = VISION_LAYERS - 1
# Share of the time, window side in patches (25: whole picture thinned to KEPT patches), pictures per step.
CURRICULUM = ((0.25, 8, 48), (0.45, 12, 24), (0.85, 25, 16), (1.01, 24, 8))
KEPT = 288


class Readout(nn.Module):
    """Linear heads for the labels; only used to train and to measure."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.dense = nn.Linear(DIM, sum(HEADS.values()))
        self.count_norm = nn.LayerNorm(DIM)
        self.counts = nn.Linear(DIM, len(THING_KINDS) * (MOST_ALIKE + 1))

    def forward(self, vision: TowerOutput) -> tuple[dict[str, Tensor], Tensor]:
        """Logits per label (batch, kept, values) and counts (batch, classes, 0..6)."""
        head_logits = self.dense(self.norm(vision.patches)).split(list(HEADS.values()), dim=-1)
        counts = self.counts(self.count_norm(vision.cls)).unflatten(-1, (len(THING_KINDS), MOST_ALIKE + 1))
        return dict(zip(HEADS, head_logits, strict=True)), counts


def labelled_scene(seed: int) -> tuple[Scene, np.ndarray, Labels]:
    """A scene, its patches (576, 588) and its labels."""
    scene = sample_scene(seed)
    picture = draw_scene(scene)
    return scene, to_patches(picture.pixels), label(scene, picture.owner)


def training_seeds(first: int, pictures: int, signs: bool) -> list[int]:
    """The next seeds; with `signs`, half of twice as many, scenes with a sign first."""
    if not signs:
        return list(range(first, first + pictures))
    return sorted(range(first, first + 2 * pictures), key=lambda seed: not sample_scene(seed).of("sign"))[:pictures]


def pick_patches(labels: Labels, side: int, rng: np.random.Generator) -> np.ndarray:
    """Patch numbers to show: a window around a thing, or the whole picture with background thinned."""
    if side > GRID_SIDE:
        score = rng.random(GRID_SIDE * GRID_SIDE) + (labels.thing > 0)
        return np.sort(np.argsort(-score)[:KEPT])
    spare = GRID_SIDE - side
    if rng.random() < 0.85 and spare:
        centres = np.flatnonzero(labels.centre)
        wanted = np.where(labels.attribute[centres] > len(COLOUR_NAMES), 5.0, 1.0)  # reading comes last: more signs
        row, column = divmod(int(rng.choice(centres, p=wanted / wanted.sum())), GRID_SIDE)
        offset = rng.integers(1, side - 1, 2)
        return grid_window(side, int(np.clip(row - offset[0], 0, spare)), int(np.clip(column - offset[1], 0, spare)))
    return grid_window(side, int(rng.integers(spare + 1)), int(rng.integers(spare + 1)))


def batch(seeds: list[int], side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Patches (batch, kept, 588), their numbers (batch, kept) and their labels (batch, kept) each."""
    shown, index, labels = [], [], []
    for seed in seeds:
        _, patches, mine = labelled_scene(seed)
        kept = pick_patches(mine, side, rng)
        shown.append(patches[kept])
        index.append(kept)
        labels.append(Labels(*(getattr(mine, name)[kept] for name in Labels.__annotations__)))
    return torch.from_numpy(np.stack(shown)), torch.from_numpy(np.stack(index)), Labels.stack(labels).tensors()


def patch_weights(labels: dict[str, Tensor]) -> Tensor:
    """(batch, kept): background counts a quarter; a patch of a small thing counts more than one of a large thing."""
    thing = labels["thing"]
    patches = F.one_hot(thing, MOST_THINGS + 1).sum(1).gather(1, thing)  # of the thing that owns the patch
    return torch.where(thing > 0, (20 / patches).sqrt().clamp(0.7, 3.0), torch.tensor(0.25))


def dense_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross entropy of all labels."""
    weight = patch_weights(labels)
    total = torch.zeros(())
    for name, share in LABEL_WEIGHTS.items():
        each = F.cross_entropy(logits[name].float().flatten(0, 1), labels[name].flatten(), reduction="none")
        total = total + share * (each * weight.flatten()).sum() / weight.sum()
    return total


def count_loss(logits: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Cross entropy of counts per class; a thing of which only a corner shows is ignored."""
    batch = len(logits)
    truth = torch.zeros(batch, len(THING_KINDS), dtype=torch.long)
    unsure = truth.bool()
    for row in range(batch):
        for thing in labels["thing"][row].unique().tolist():
            if thing:
                mine = labels["thing"][row] == thing
                kind = int(labels["kind"][row][mine][0]) - 1
                truth[row, kind] += 1
                unsure[row, kind] |= not bool(labels["centre"][row][mine].any())
    each = F.cross_entropy(logits.float().flatten(0, 1), truth.flatten(), reduction="none")
    weight = (~unsure).float().flatten() * (1 + 6 * (truth > 0).float().flatten())
    return (each * weight).sum() / weight.sum()


def spread_loss(attention: Tensor, labels: dict[str, Tensor]) -> Tensor:
    """Cross entropy from "every thing gets the same share, evenly over its patches" to CLS attention."""
    thing = labels["thing"]
    sizes = F.one_hot(thing, MOST_THINGS + 1).sum(1)  # (batch, 8), patches per thing
    share = (thing > 0).float() / sizes.gather(1, thing)
    share = share / share.sum(1, keepdim=True).clamp(min=1.0)
    return -(share * (attention + 1e-6).log()).sum(1).mean()


def readout_losses(readout: Readout, vision: TowerOutput, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of the labels, of the counts, and of the attention of both layers."""
    logits, counts = readout(vision)
    spread = spread_loss(vision.attention[LAST], labels) + 0.5 * spread_loss(vision.attention[SHALLOW], labels)
    return dense_loss(logits, labels), count_loss(counts, labels), spread


def train(minutes: float, resume: bool, warm_start: Path | None = None) -> StageRun:
    """Train tower and readout; gate: object top-1 above 80 %, CLS covers above 90 % of the things."""
    model, readout = use_fast_attention(build_model()), Readout()
    tower = model.model.vision_tower
    samples = np.concatenate([labelled_scene(VISION_SEEDS - 1 - i)[1] for i in range(60)])
    with torch.no_grad():
        tower.embeddings.patch_embedding.weight.copy_(pca_filters(samples, DIM))
    if warm_start:
        load_matching_weights(model, warm_start)
    found = optimisers([tower, readout], 0.01, 1e-3)
    run = StageRun("vision", minutes, {"tower": tower, "readout": readout}, found, flat_until=0.5)
    if resume:
        run.resume()
    while run.share < 1:
        side, pictures = next((s, n) for until, s, n in CURRICULUM if run.share < until)
        seeds = training_seeds(VISION_SEEDS + run.step * 96, pictures, signs=side < GRID_SIDE // 2 + 1)
        patches, index, labels = batch(seeds, side, np.random.default_rng(run.step))
        with torch.autocast("cpu", torch.bfloat16):
            vision = run_tower(tower, patches, index, attention_layers=(SHALLOW, LAST))
            dense, count, spread = readout_losses(readout, vision, labels)
        run.advance(dense + 0.5 * count + 0.1 * spread)
        if run.step % 20 == 0:
            run.log(side=side, dense=dense, count=count, spread=spread)
        if run.step % 150 == 0:
            run.log(**validate_vision(tower, readout))
    run.save()
    run.log(**validate_vision(tower, readout, 150))
    return run


@torch.no_grad()
def validate_vision(tower: nn.Module, readout: Readout, scenes: int = 24) -> dict[str, float]:
    """Patch and object accuracy, and how many things CLS attention finds, on whole held-out pictures."""
    hits: dict[str, list[bool]] = {
        name: [] for name in ("patch", "object", "colour", "sign", "place", "centre", "covered", "covered_shallow")
    }
    everywhere = torch.arange(GRID_SIDE * GRID_SIDE)[None]
    for seed in range(scenes):
        scene, patches, truth = labelled_scene(seed)
        with torch.autocast("cpu", torch.bfloat16):
            vision = run_tower(tower, torch.from_numpy(patches)[None], everywhere, attention_layers=(SHALLOW, LAST))
            logits = {name: value[0].float() for name, value in readout(vision)[0].items()}
        top = {layer: set(found[0].topk(192).indices.tolist()) for layer, found in vision.attention.items()}
        for number in range(1, len(scene.things) + 1):
            mine = np.flatnonzero(truth.thing == number)
            best = {name: int(value[mine].softmax(-1).mean(0).argmax()) for name, value in logits.items()}
            first = mine[0]
            hits["patch"] += (logits["kind"][mine].argmax(-1).numpy() == truth.kind[mine]).tolist()
            hits["object"].append(best["kind"] == truth.kind[first])
            if truth.attribute[first]:
                name = "colour" if truth.attribute[first] <= len(COLOUR_NAMES) else "sign"
                hits[name].append(best["attribute"] == truth.attribute[first])
            hits["place"].append(best["row"] == truth.row[first] and best["column"] == truth.column[first])
            likely = logits["centre"].softmax(-1)[mine, 1].numpy()
            hits["centre"].append(bool(truth.centre[mine[likely.argmax()]]))
            hits["covered"].append(not top[LAST].isdisjoint(mine.tolist()))
            hits["covered_shallow"].append(not top[SHALLOW].isdisjoint(mine.tolist()))
    return {name: float(np.mean(values)) for name, values in hits.items() if values}
