"""The measured figures of a story: medians of pairs where there are any, and what is said about how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from vscan_core.events import Answer, Timings

Pairs = Sequence[tuple[Timings, Timings]]  # (baseline, reduced), up to the first token, one right after the other

STAGES = {"vision encoder": "vision_ms", "selection": "reduce_ms", "prefill": "prefill_ms"}
UNSTAGED = {"first token, network included": "ttft_ms"}  # of an answer from a server
BUSY_SPREAD = 0.4  # a range of savings that is wider says more about the machine than about the method


def stage_medians(answers: tuple[Answer, Answer], pairs: Pairs) -> list[dict[str, float]]:
    """Milliseconds of each stage up to the first token, of the baseline and of the reduced run."""
    measured = list(pairs) or [(answers[0].timings, answers[1].timings)]
    stages = STAGES if all(one.staged for pair in measured for one in pair) else UNSTAGED
    return [
        {name: median(getattr(pair[run], field) for pair in measured) for name, field in stages.items()}
        for run in range(2)
    ]


def is_busy(pairs: Pairs) -> bool:
    """Whether the savings differ so much from pair to pair that the machine must have been busy with other things."""
    saved = _saved(pairs)
    return len(saved) > 1 and (max(saved) - min(saved) > BUSY_SPREAD or min(saved) < 0 < max(saved))


def how_measured(pairs: Pairs) -> str:
    """Where the times come from, and by how much the first token came sooner from pair to pair."""
    if len(pairs) < 2:
        return "times of one run each"
    text = f"times are medians of {len(pairs)} pairs"
    if is_busy(pairs):
        return f"{text}, which vary much: the machine was busy"
    low, high = (f"{100 * edge(_saved(pairs)):.0f}".replace("-", "\N{MINUS SIGN}") for edge in (min, max))
    return f"{text}, which saved {low} to {high} %"


def _saved(pairs: Pairs) -> list[float]:
    return [1 - reduced.ttft_ms / baseline.ttft_ms for baseline, reduced in pairs]
