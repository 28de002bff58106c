"""Answers as JSON types, as ratios, and as lines of text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from vscan_core.events import Answer
from vscan_core.trace import ImageTrace

SHARED = "encoded once for all runs"  # of a picture, beside the time of the vision encoder


def as_dict(answer: Answer) -> dict[str, Any]:
    """An answer as JSON types: text, method, timings, cost and the trace."""
    trace = answer.trace
    images = [
        {
            "tokens": image.tokens,
            **({"frames": image.frames, "kept_per_tile": kept_per_tile(image)} if image.frames else {}),
            "cuts": [
                {
                    "layer": cut.layer,
                    "kept": cut.kept.tolist(),
                    "labels": {name: index.tolist() for name, index in cut.labels.items()},
                    "merged": int((cut.merged_into >= 0).sum()),
                }
                for cut in image.cuts
            ],
        }
        for image in trace.images
    ]
    return {
        "text": answer.text,
        "method": answer.method,
        "finished": answer.finished,
        "hint": answer.hint,
        "notes": list(answer.notes),
        "server": list(answer.server),
        "timings": asdict(answer.timings),
        "cost": asdict(answer.cost),
        "trace": {
            "images": images,
            "tokens_per_layer": trace.tokens_per_layer,
            "visual_tokens_per_layer": trace.visual_tokens_per_layer,
            "attention": trace.attention,
        },
    }


def kept_per_tile(image: ImageTrace) -> list[int]:
    """Visual tokens of each tile that are left after the last cut; in a video, a tile is one or two frames."""
    tile = image.tile_of[image.kept.cpu()]
    counts: list[int] = torch.bincount(tile[tile >= 0], minlength=image.tiles).tolist()
    return counts


def ratios(baseline: Answer, reduced: Answer) -> dict[str, float]:
    """Baseline divided by reduced, for first token, prefill with selection, KV cache and FLOPs. No benchmark.

    There is no "prefill" where a server answered, whose stages nobody measured.
    """
    staged = baseline.timings.staged and reduced.timings.staged
    prefill = baseline.timings.prefill_and_reduce_ms / reduced.timings.prefill_and_reduce_ms
    return {
        "ttft": baseline.timings.ttft_ms / reduced.timings.ttft_ms,
        **({"prefill": prefill} if staged else {}),
        "kv_bytes": baseline.cost.kv_bytes / reduced.cost.kv_bytes,
        "tflops": baseline.cost.tflops / reduced.cost.tflops,
    }


def same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same text, ignoring white space."""
    return one.text.split() == other.text.split()


def token_steps(answer: Answer) -> list[int]:
    """The number of visual tokens each time it changes, in layer order, as recorded: [96, 32]."""
    counts = answer.trace.visual_tokens_per_layer
    return [now for before, now in zip([None, *counts], counts, strict=False) if now != before]


def shared_note(vision_shared_ms: float) -> str:
    """What is said beside the time of the vision side, if a part of it was measured once for all runs."""
    return f" ({vision_shared_ms:.1f} ms of it {SHARED})" if vision_shared_ms else ""


def lines(answer: Answer) -> str:
    """An answer with its timings and costs as lines of text, for a terminal."""
    timings, cost = answer.timings, answer.cost
    counts, shared = answer.trace.visual_tokens_per_layer, shared_note(timings.vision_shared_ms)
    found = [
        f"{answer.method}: {answer.text}",
        f"  visual tokens: {counts[0]} into the language model, {counts[-1]} in its last layer, "
        f"mean {cost.visual_tokens:.0f}",
        f"  vision {timings.vision_ms:.0f} ms{shared}, selection {timings.reduce_ms:.1f} ms, "
        f"prefill {timings.prefill_ms:.0f} ms, KV cache {cost.kv_bytes / 1e6:.2f} MB "
        f"(single run, {kernels(answer)} attention)",
    ]
    pictures = answer.trace.images
    for number, image in enumerate(pictures if len(pictures) > 1 else (), 1):
        entering = next((len(cut.kept) for cut in image.cuts if cut.layer == 0), image.tokens)
        found.append(f"  picture {number}: {entering} of {image.tokens} tokens, {len(image.kept)} in the last layer")
    for image in pictures:
        if image.frames:
            deep, left = len(image.frames_of(0)), ", ".join(map(str, kept_per_tile(image)))
            each = f"tile ({deep} frames)" if deep > 1 else "frame"
            found.append(f"  video: {image.frames} frames; left of the {image.budget[0]} tokens of each {each}: {left}")
    told = [answer.hint, *answer.notes] if answer.hint else answer.notes
    return "\n".join([*found, *(f"  note: {sentence}" for sentence in told)])


def kernels(answer: Answer) -> str:
    """The attention implementation that ran: "sdpa", or if they differ, "vision sdpa, text eager"."""
    ran = answer.trace.attention
    return ", ".join(f"{half} {name}" for half, name in ran.items()) if len({*ran.values()}) > 1 else ran["text"]


def verdict(baseline: Answer, reduced: Answer) -> str:
    """One line: whether the answers agree, and the ratios of baseline to reduced."""
    cheaper = ", ".join(f"{name} {value:.2f}x" for name, value in ratios(baseline, reduced).items())
    same = "the same answer" if same_answer(baseline, reduced) else "a different answer"
    return f"{same}; baseline / {reduced.method}: {cheaper}"
