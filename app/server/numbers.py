"""The numbers of a comparison as the endpoint `/compare` gives them, with units in their names."""

from __future__ import annotations

from typing import Any

from vscan_core.events import Answer

from ..runs.comparison import ComparisonSnapshot
from ..ui.messages import KEPT_EARLIER


def numbers(now: ComparisonSnapshot) -> dict[str, Any]:
    """Numbers of the runs that have ended, with units in the names."""
    runs = {answer.method: _numbers(answer) for answer in now.answers if answer}
    kept = {"baseline_kept": KEPT_EARLIER} if now.kept else {}
    took = {"turn": vars(now.time)} if now.time else {}
    return {
        **runs,
        **kept,
        **took,
        "hint": now.hint,
        "same_answer": now.ended and now.texts[0].split() == now.texts[1].split(),
    }


def _numbers(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "server": list(answer.server),
        "finished": answer.finished,
        "visual_tokens_per_layer": answer.trace.visual_tokens_per_layer,
        **vars(answer.timings),
        **vars(answer.cost),
    }
