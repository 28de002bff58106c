"""Measure a saved model: python -m training.evaluate --model assets/mini --scenes 120 --seed 50000 [--json].

Plain transformers, all 576 visual tokens, greedy `generate`, one question per prompt.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from vscan_core.world.drawing import draw
from vscan_core.world.questions import TYPES, Question, draw_questions
from vscan_core.world.scene import sample_scene

EVEN_MIX = dict.fromkeys(TYPES, 1.0)
BATCH = 12
MAJORITY_SCENES = 2000


@dataclass(frozen=True)
class Score:
    """Exact-match accuracy on one kind of question, with what blind guessing would give."""

    right: int
    asked: int
    majority: str
    majority_share: float

    @property
    def accuracy(self) -> float:
        """Share of exact answers."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval at 95 %."""
        z, n, p = 1.96, self.asked, self.accuracy
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return middle - half, middle + half


@dataclass(frozen=True)
class Reply:
    """One question with the true and the given answer."""

    seed: int
    kind: str
    question: str
    truth: str
    given: str


def asked(scenes: int, seed: int, each: int) -> list[tuple[int, Question]]:
    """(scene seed, question) pairs; kinds evenly, no question twice about one picture."""
    pairs: list[tuple[int, Question]] = []
    for number in range(seed, seed + scenes):
        rng = np.random.default_rng([number, 99])
        questions = {q.text: q for q in draw_questions(sample_scene(number), EVEN_MIX, each, rng)}
        pairs += [(number, question) for question in questions.values()]
    return pairs


def load(folder: str | Path) -> tuple[LlavaForConditionalGeneration, AutoProcessor]:
    """Model in float32 and its processor."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(folder)


@torch.inference_mode()
def reply(
    model: LlavaForConditionalGeneration, processor: AutoProcessor, pictures: list[Image.Image], texts: list[str]
) -> list[str]:
    """Greedy answers to one question per picture."""
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}]}]
        for picture, text in zip(pictures, texts, strict=True)
    ]
    inputs = processor.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    made = model.generate(**inputs, do_sample=False, max_new_tokens=32)
    tails = made[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(tails, skip_special_tokens=True)]


def run(folder: str | Path, scenes: int, seed: int, each: int = 10) -> list[Reply]:
    """Ask everything; questions of similar length share a batch."""
    model, processor = load(folder)
    pairs = sorted(asked(scenes, seed, each), key=lambda pair: (len(pair[1].answer.split()), pair[0]))
    replies = []
    for start in range(0, len(pairs), BATCH):
        group = pairs[start : start + BATCH]
        pictures = [Image.fromarray(draw(sample_scene(seed_of)).pixels) for seed_of, _ in group]
        given = reply(model, processor, pictures, [question.text for _, question in group])
        replies += [
            Reply(number, question.kind, question.text, question.answer, text)
            for (number, question), text in zip(group, given, strict=True)
        ]
    return replies


def majorities(seed: int = 900_000) -> dict[str, str]:
    """The most frequent answer of each kind, counted on other scenes than those measured."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, question in asked(MAJORITY_SCENES, seed, 10):
        counts[question.kind][question.answer] += 1
    return {kind: counter.most_common(1)[0][0] for kind, counter in counts.items()}


def scores(replies: list[Reply]) -> dict[str, Score]:
    """Score per kind, in the order of the kinds, and the sum under "all"."""
    usual = majorities()
    result = {}
    for kind in TYPES:
        mine = [r for r in replies if r.kind == kind]
        if mine:
            right = sum(r.given == r.truth for r in mine)
            blind = sum(r.truth == usual[kind] for r in mine) / len(mine)
            result[kind] = Score(right, len(mine), usual[kind], blind)
    asked_in_all = sum(s.asked for s in result.values())
    blind = sum(s.majority_share * s.asked for s in result.values()) / asked_in_all
    result["all"] = Score(sum(s.right for s in result.values()), asked_in_all, "per kind", blind)
    return result


def named(replies: list[Reply]) -> float:
    """Of the things in described pictures, the share that the description names; order does not count."""
    kept, there = 0, 0
    for item in (r for r in replies if r.kind == "describe"):
        truth, given = (Counter(text.replace(" and ", ", ").split(", ")) for text in (item.truth, item.given))
        kept, there = kept + (truth & given).total(), there + truth.total()
    return kept / there if there else math.nan


def table(found: dict[str, Score]) -> str:
    """Markdown table of the scores."""
    lines = ["| kind | accuracy | 95 % interval | n | majority answer | its share |", "|---|---|---|---|---|---|"]
    for kind, score in found.items():
        low, high = score.interval
        lines.append(
            f"| {kind} | {score.accuracy:.2f} | {low:.2f}-{high:.2f} | {score.asked} "
            f"| {score.majority} | {score.majority_share:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="assets/mini")
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--seed", type=int, default=50_000, help="first scene; below 1,000,000 is held out")
    parser.add_argument("--each", type=int, default=10, help="questions per scene, at most")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replies", type=Path, help="write every question and answer to this file")
    arguments = parser.parse_args()
    replies = run(arguments.model, arguments.scenes, arguments.seed, arguments.each)
    if arguments.replies:
        arguments.replies.write_text(json.dumps([asdict(r) for r in replies], indent=1))
    found = scores(replies)
    if arguments.json:
        values = {k: asdict(s) | {"accuracy": s.accuracy, "interval": s.interval} for k, s in found.items()}
        print(json.dumps(values | {"things named in descriptions": named(replies)}, indent=1))
    else:
        print(table(found))
        print(f"\nThings named in descriptions: {named(replies):.2f}")


if __name__ == "__main__":
    main()
