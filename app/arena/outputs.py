"""Right side of the Arena: status, table, files and the picture as each method sees it."""

from __future__ import annotations

import gradio as gr

from vscan_core import REDUCERS

from .. import formatting
from ..runs import table
from ..runs.outputs import RunsOutputs, runs_dataframe, saving_row, status_lines, token_gallery
from .settings import DEFAULT_METHODS

ARENA_START = "Choose methods and press **Run**. All of them answer the same question about the same picture."
ARENA_NOTE = (
    "The dots beside a heading sort the table. "
    + table.VISION_NOTE
    + " **Single run, not a benchmark:** timings vary from run to run. *Faster* compares prefill with selection. "
    + formatting.CAUSAL_NOTE
)
ARENA_TABLE = table.RunsTable((
    table.text_column("Method", 120, 190, table.shown_title),
    table.answer_column(240, 430),
    table.agreement_column(110, 100),
    table.counts_column(195, 252),
    table.cost_column("Average", "visual_tokens", 105, 94, formatting.count),
    table.timing_column("Prefill", "prefill_ms", 110, 112),
    table.timing_column("First token", "ttft_ms", 125, 116),
    table.timing_column("Selection", "reduce_ms", 115, 110),
    table.cost_column("KV cache", "kv_bytes", 115, 106, formatting.memory),
    table.cost_column("Computation", "tflops", 140, 154, formatting.flops, "FLOPs"),
    table.ratio_column("Prefill, faster", "prefill", 150),
    table.ratio_column("First token, sooner", "ttft", 175),
    table.ratio_column("KV, smaller", "kv_bytes", 130),
    table.ratio_column("FLOPs, fewer", "tflops", 140),
))  # fmt: skip


def arena_outputs(place: str) -> RunsOutputs:
    """Build the right column; `place` goes before the ids of its widgets."""
    status, hint = status_lines(place, ARENA_START)
    planned = [REDUCERS[name].title for name in DEFAULT_METHODS]
    gallery = token_gallery(f"{place}gallery", "The picture with the tokens of each method marked", planned, columns=4)
    with gr.Column(visible=False) as box:
        dataframe = runs_dataframe(place, ARENA_TABLE)
        saves, file = saving_row(place, ARENA_NOTE, ("json", "png", "html"))
    return RunsOutputs(ARENA_START, ARENA_TABLE, status, hint, dataframe, gallery, box, saves, file)
