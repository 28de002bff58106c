"""Right side of the Arena: status, table, downloads and the picture as each method sees it."""

from __future__ import annotations

import gradio as gr

from .. import formatting
from ..runs.outputs import RunsOutputs, download_row, runs_dataframe, status_lines, token_gallery
from ..runs.table import (
    RunsTable,
    agreement_column,
    answer_column,
    cost_column,
    counts_column,
    ratio_column,
    text_column,
    timing_column,
)

ARENA_START = "Choose methods and press **Run**. All of them answer the same question about the same picture."
ARENA_NOTE = "The dots beside a heading sort the table. **Single run, not a benchmark:** timings vary from run to run."
ARENA_TABLE = RunsTable((
    text_column("Method", 120, 190, lambda run: run.title),
    answer_column(240, 430),
    agreement_column(110, 100),
    counts_column(195, 252),
    cost_column("Average", "visual_tokens", 105, 94, formatting.count),
    timing_column("Prefill", "prefill_ms", 110, 112),
    timing_column("First token", "ttft_ms", 125, 116),
    timing_column("Selection", "reduce_ms", 115, 110),
    cost_column("KV cache", "kv_bytes", 115, 106, formatting.memory),
    cost_column("Computation", "tflops", 140, 154, formatting.flops, "FLOPs"),
    ratio_column("Prefill, faster", "prefill", 150),
    ratio_column("First token, sooner", "ttft", 175),
    ratio_column("KV, smaller", "kv_bytes", 130),
    ratio_column("FLOPs, fewer", "tflops", 140),
))  # fmt: skip


def arena_outputs(place: str) -> RunsOutputs:
    """Build the right column; `place` goes before the ids of its widgets."""
    status, hint = status_lines(place, ARENA_START)
    table = runs_dataframe(place, ARENA_TABLE)
    downloads = download_row(place, ARENA_NOTE, ("json", "png"))
    with gr.Column(visible=False) as box:
        gr.Markdown("## What each method keeps of the picture", elem_classes="section")
        gallery = token_gallery(f"{place}gallery", "The picture with the tokens of each method marked", columns=4)
    return RunsOutputs(ARENA_START, ARENA_TABLE, status, hint, table, gallery, box, downloads)
