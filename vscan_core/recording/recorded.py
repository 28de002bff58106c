"""What a recording holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from vscan_core.events import Answer

REPEATED_TIMES = ("vision_ms", "reduce_ms", "prefill_ms", "ttft_ms")  # timings that are measured several times


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """One method's run. `answer` is what a run here would have given; times that were repeated are medians."""

    title: str  # the method's name as people write it
    settings: str  # every setting, as text; "" for the baseline
    retention: float  # 1 for the baseline
    answer: Answer
    token_ms: tuple[float, ...]  # from the start of the run to each token of the answer, as it was first written
    texts: tuple[str, ...]  # the whole answer so far, at each of these moments
    repeats: Mapping[
        str, tuple[float, ...]
    ]  # by REPEATED_TIMES: one value per round; all methods took turns in each round

    def spread(self, name: str) -> tuple[float, float, float]:
        """Median, least and greatest of a repeated time, in milliseconds."""
        values = self.repeats[name]
        return statistics.median(values), min(values), max(values)


@dataclass(frozen=True, eq=False)
class Recording:
    """A picture, a question, and the run of every method; the baseline is the first."""

    picture: Image.Image  # re-encoded, without metadata; boxes of tokens are in its pixels
    model: str
    question: str
    random_weights: bool  # answers mean nothing
    runs: tuple[RecordedRun, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)  # command, commit, date, hardware, versions
    note: str = ""  # a sentence for the reader, such as why this was recorded

    def ratios(self, run: RecordedRun, name: str) -> tuple[float, float, float]:
        """Baseline / `run` of a repeated time, taken within each round: median, least and greatest."""
        pairs = zip(self.runs[0].repeats[name], run.repeats[name], strict=True)
        found = [before / after for before, after in pairs if after > 0] or [float("nan")]
        return statistics.median(found), min(found), max(found)
