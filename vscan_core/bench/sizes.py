"""How cost grows with visual tokens: several pictures or tiles, one large picture, a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from vscan_core.bench.prefill import prefill_rows
from vscan_core.bench.rounds import Failure, attempt
from vscan_core.bench.subject import STOCK, Subject, visual_tokens
from vscan_core.prepared import PreparedInputs

_Make = Callable[[], PreparedInputs]


def prompts(subject: Subject) -> dict[str, _Make]:
    """{case: how to make its inputs}; those that the model cannot take fail when they are made."""
    suite, (width, height) = subject.suite, subject.suite.large
    cases: dict[str, _Make] = {f"pictures: {count}": partial(subject.inputs, count) for count in suite.pictures}
    if not subject.lvlm.family.one_row_per_picture:  # else a picture has as many tokens in any size
        cases[f"picture of {width} x {height} pixels"] = partial(subject.inputs, size=suite.large)
    if subject.lvlm.family.frames:
        cases[f"video of {suite.frames} frames"] = partial(subject.video, suite.frames)
    return cases


def size_rows(subject: Subject) -> Iterator[dict[str, Any]]:
    """A prefill, stock and at the lowest retention, for each case that is not longer than the suite allows."""
    suite, few = subject.suite, subject.at_lowest_retention()
    for case, make in prompts(subject).items():
        inputs = attempt(make, subject.lvlm.device)
        if isinstance(inputs, Failure):
            yield {"test": "sizes", "case": case, "run": STOCK, **inputs.row()}
            continue
        tokens = visual_tokens(subject.lvlm, inputs)
        if tokens > suite.most_tokens:
            reason = f"{tokens} visual tokens are more than the {suite.most_tokens} of this suite"
            yield {"test": "sizes", "case": case, "run": STOCK, "status": "left out", "reason": reason}
            continue
        for row in prefill_rows(few, inputs, case, everything=False):
            yield {**row, "test": "sizes"}
