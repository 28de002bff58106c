"""Stage 5: a text half for the finished tower, so that a question can be compared with its patches as in CLIP.

Tower and language model stay as they are. What is learned: a small CLIP text encoder over the model's tokenizer, and
the two projections into a joint space. In CLIP, from which TRIM and CDPruner took this comparison, the patches that
belong to a question turn out to be those of lowest similarity; the targets here have the same sign, so both methods
run unchanged.
"""

from __future__ import annotations

import re
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from training.packing import EOS, tokenizer
from training.stage import StageRun, optimisers
from training.stage_language import FULL_MIX
from training.stage_projector import ALL_PATCHES
from training.stage_vision import labelled_scene
from training.text_half import TextHalf
from training.vision_features import run_tower
from vscan_eval.world.catalog import GROUP_OF, plural
from vscan_eval.world.questions import Question, draw_questions
from vscan_eval.world.scene import Scene

TEXT_SEEDS = 6_000_000
SHIPPED = Path("assets/mini")
FIRST_PICTURES = 192  # seen before the first step; after that, one more in each fourth step
REMEMBERED = 768  # pictures whose features are kept and asked about again
PER_STEP, ASKED = 16, 8  # per step: remembered pictures, and questions about each
HELD_OUT = range(40)  # seeds of scenes to measure on
OTHER_THING = 0.3  # target of a thing that the question is not about; that of background is 0
SeenPicture = tuple[Scene, Tensor, Tensor]  # scene, features (576, dim), the thing under each patch (576,)


def wanted_patches(scene: Scene, question: Question) -> np.ndarray:
    """(things + 1,) target of the patches of each thing; 0: background.

    1 for the things that the question or its answer names, and for the background if it is asked for.
    """
    words, answers = (set(re.findall(r"[a-z0-9]+", text.lower())) for text in (question.text, question.answer))
    target = np.full(len(scene.things) + 1, OTHER_THING, np.float32)
    target[0] = float(question.kind == "background")
    for number, thing in enumerate(scene.things, 1):
        asked = {thing.name, plural(thing.name)} & words or thing.name in answers
        grouped = question.kind == "which" and GROUP_OF[thing.name] in words
        if asked or grouped or question.kind == "describe" or (question.kind == "sign" and thing.word):
            target[number] = 1.0
    return target


def relevance_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy; the things asked about, the other things and the background weigh the same in each question."""
    groups = torch.stack([target == value for value in (0.0, np.float32(OTHER_THING), 1.0)]).float()
    weight = (groups / groups.sum(-1, keepdim=True).clamp(min=1)).sum(0)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * weight).sum() / weight.sum()


def question_ids(questions: list[Question]) -> tuple[Tensor, Tensor]:
    """Token ids (questions, length) from the first token to EOS, padded with 0, and the mask."""
    rows = [torch.tensor([*tokenizer()(question.text).input_ids, EOS]) for question in questions]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


@torch.no_grad()
def seen(tower: nn.Module, seeds: list[int]) -> list[SeenPicture]:
    """Draw pictures and run the tower on them; features in half precision."""
    found = [labelled_scene(seed) for seed in seeds]
    patches = torch.from_numpy(np.stack([shown for _, shown, _ in found]))
    with torch.autocast("cpu", torch.bfloat16):
        features = run_tower(tower, patches, ALL_PATCHES.expand(len(seeds), -1)).patches.half()
    return [
        (scene, mine, torch.from_numpy(labels.thing).long())
        for (scene, _, labels), mine in zip(found, features, strict=True)
    ]


def asked_pictures(
    pictures: list[SeenPicture], count: int, rng: np.random.Generator
) -> tuple[Tensor, list[Question], Tensor]:
    """Features (pictures, 576, dim), `count` questions about each, and targets (pictures, count, 576)."""
    asked = [draw_questions(scene, FULL_MIX, count, rng) for scene, _, _ in pictures]
    targets = [
        torch.stack([torch.from_numpy(wanted_patches(scene, question))[thing] for question in mine])
        for (scene, _, thing), mine in zip(pictures, asked, strict=True)
    ]
    features = torch.stack([mine for _, mine, _ in pictures]).float()
    return features, [question for mine in asked for question in mine], torch.stack(targets)


def train(minutes: float, resume: bool, warm_start: Path | None = None) -> StageRun:
    """Fit the text half to the tower in `warm_start`, by default that of the shipped model.

    Minutes are of processor time here, because the stage is small enough to run beside other work.
    """
    torch.manual_seed(0)
    source = warm_start or SHIPPED
    model = LlavaForConditionalGeneration.from_pretrained(source, dtype=torch.float32).eval()
    tower = model.model.vision_tower
    half = TextHalf(model.config.text_config.vocab_size)
    found = optimisers([half], 0.01, 1e-3)
    run = StageRun("text_half", minutes, {"half": half}, found, flat_until=0.4, clock=time.process_time)
    if resume:
        run.resume()
    held_out = seen(tower, list(HELD_OUT))
    remembered: deque[SeenPicture] = deque(maxlen=REMEMBERED)
    next_seed = TEXT_SEEDS + run.step // 4
    for first in range(next_seed, next_seed + FIRST_PICTURES, 8):
        remembered.extend(seen(tower, list(range(first, first + 8))))
    while run.share < 1:
        if run.step % 4 == 0:
            remembered.extend(seen(tower, [TEXT_SEEDS + FIRST_PICTURES + run.step // 4]))
        rng = np.random.default_rng(run.step)
        chosen = [remembered[i] for i in rng.choice(len(remembered), PER_STEP, replace=False)]
        features, questions, target = asked_pictures(chosen, ASKED, rng)
        products, cosines = half(features, *question_ids(questions))
        value = relevance_loss(products, target) + relevance_loss(cosines, target)
        run.advance(value)
        if run.step % 20 == 0:
            run.log(loss=value)
        if run.step % 200 == 0:
            run.log(**found_by(half, held_out))
    run.save()
    run.log(**found_by(half, held_out))
    return run


@torch.no_grad()
def found_by(half: TextHalf, pictures: list[SeenPicture], keep: int = 64) -> dict[str, float]:
    """By type of question: the share of the patches asked about among the first `keep`, at most all of them."""
    shares: dict[str, list[float]] = {}
    for picture in pictures:
        features, questions, target = asked_pictures([picture], 20, np.random.default_rng(picture[0].seed))
        products, _ = half(features, *question_ids(questions))
        for question, scores, truth in zip(questions, products[0], target[0], strict=True):
            if (wanted := int((truth == 1).sum())) > 0:
                hit = int((truth[scores.topk(keep).indices] == 1).sum())
                shares.setdefault(question.kind, []).append(hit / min(wanted, keep))
    every = [share for mine in shares.values() for share in mine]
    means = {kind: float(np.mean(mine)) for kind, mine in sorted(shares.items())}
    return means | {"all": float(np.mean(every)), "n": len(every)}
