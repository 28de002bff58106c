"""The page (PNG) of the run that Compare shows: both answers, their numbers, and the picture with its tokens."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from vscan_core.draw.canvas import at_drawing_size
from vscan_core.draw.fates import fates
from vscan_core.draw.token_map import token_map
from vscan_core.events import Answer
from vscan_core.report import as_dict, ratios, same_answer, token_steps

from .. import formatting
from ..runs import table
from ..runs.comparison import ComparisonSnapshot
from ..runs.export_png import PageHead, page_as_png
from ..runs.on_cpu import on_cpu
from ..runs.pairs import PairsSummary, Spread, pairs_summary
from ..runs.progress import BASELINE_METHOD, RunsSnapshot, RunState
from .figures import SOONER, faster

COLUMNS = (
    table.text_column("Method", 0, 190, table.shown_title),
    table.answer_column(0, 430),
    table.agreement_column(0, 110),
    table.counts_column(0, 242),
    table.timing_column("Prefill", "prefill_ms", 0, 118),
    table.timing_column("First token", "ttft_ms", 0, 126),
    table.timing_column("Selection", "reduce_ms", 0, 120),
    table.cost_column("KV cache", "kv_bytes", 0, 120, formatting.memory),
    table.cost_column("Computation", "tflops", 0, 160, formatting.flops, "FLOPs"),
)  # fmt: skip


def comparison_as_png(
    head: PageHead, now: ComparisonSnapshot, picture: Image.Image, method: tuple[str, float], note: str | None
) -> bytes:
    """The content of the file, for a run that has ended.

    Args:
        head: Title, question and facts; what was measured in pairs is added.
        now: Both answers.
        picture: What was asked about.
        method: Its title, and the retention.
        note: Stands for answers that mean nothing; None: they are shown.
    """
    baseline, reduced = (on_cpu(answer) for answer in now.answers if answer)
    found = pairs_summary(now.pairs)
    facts = (*head.facts, measured_in_words(found)) if found else head.facts
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "tokens.png"
        image = reduced.trace.images[0]
        token_map(picture, image, reduced.trace.boxes(0), fates(image)).save(drawn)
        runs = (
            _state("Baseline", None, baseline, baseline, note),
            _state(*method, reduced, baseline, note, str(drawn)),
        )
        shown = RunsSnapshot(runs, status=now.status, hint=now.hint)
        return page_as_png(PageHead(head.title, head.question, facts), shown, at_drawing_size(picture), COLUMNS)


def measured_in_words(found: PairsSummary) -> str:
    """What the pairs say, in a line; no factor for a busy machine or too few of them."""
    if found.busy or not found.enough:
        machine = "this machine" if found.staged else "the server"
        return f"No factor is given: {machine} was busy, or too few pairs of runs were measured."
    prefill, first = faster(found.prefill), faster(found.first_token, *SOONER)
    stages = f"prefill {prefill} {_from_to(found.prefill)}, " if found.staged else ""
    return f"Median of {found.count} pairs of runs: {stages}first token {first} {_from_to(found.first_token)}"


def _from_to(ratio: Spread) -> str:
    return f"({ratio.low:.2g} to {ratio.high:.2g})"


def _state(
    title: str, retention: float | None, answer: Answer, baseline: Answer, note: str | None, picture: str | None = None
) -> RunState:
    first = retention is None
    return RunState(
        title,
        BASELINE_METHOD if first else answer.method,
        retention,
        text=answer.text,
        text_note=note,
        counts=tuple(token_steps(answer)),
        answer=as_dict(answer),
        ratios=None if first else ratios(baseline, answer),
        same=None if first else same_answer(baseline, answer),
        picture=picture,
    )
