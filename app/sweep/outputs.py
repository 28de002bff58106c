"""Right side of the Sweep: status, the picture at each retention, charts, table and files."""

from __future__ import annotations

import gradio as gr

from .. import formatting
from ..charts.first_token import first_token_chart
from ..runs import table
from ..runs.outputs import (
    RunsChart,
    RunsOutputs,
    chart_sections,
    runs_dataframe,
    saving_row,
    status_lines,
    token_gallery,
)
from ..runs.progress import RunState
from ..ui.charts import Chart
from .settings import SWEEP_RETENTIONS, tokens_per_second

SWEEP_START = "Press **Run**: the same question, with fewer and fewer visual tokens."
SWEEP_NOTE = (
    f"{table.VISION_NOTE} **Single runs, not a benchmark:** timings vary from run to run. "
    f"*Faster* compares prefill with selection. {formatting.CAUSAL_NOTE}"
)


def share_kept(run: RunState) -> float:
    """The retention; the baseline keeps everything."""
    return 1.0 if run.retention is None else run.retention


SWEEP_TABLE = table.RunsTable((
    table.Column("Kept", table.ColumnKind.NUMBER, 105, 130, share_kept, table.shown_title),
    table.answer_column(220, 430),
    table.agreement_column(110, 110),
    table.counts_column(150, 190),
    table.cost_column("Average", "visual_tokens", 105, 110, formatting.count),
    table.timing_column("Prefill", "prefill_ms", 110, 120),
    table.timing_column("First token", "ttft_ms", 125, 130),
    table.number_column("Tokens/s", 115, 120, tokens_per_second, formatting.count),
    table.cost_column("KV cache", "kv_bytes", 115, 130, formatting.memory),
    table.cost_column("Computation", "tflops", 145, 194, formatting.flops, "FLOPs"),
    table.ratio_column("Prefill, faster", "prefill", 150),
))  # fmt: skip
CHARTS: tuple[RunsChart, ...] = (
    Chart("Time to first token", "sweep-chart", first_token_chart, "= the baseline's answer, ≠ a different answer."),
)


def sweep_outputs(place: str) -> RunsOutputs:
    """Build the right column; `place` goes before the ids of its widgets."""
    status, hint = status_lines(place, SWEEP_START)
    planned = [formatting.percent(share) for share in SWEEP_RETENTIONS]
    gallery = token_gallery(f"{place}gallery", "The picture at each retention, with the kept tokens marked", planned)
    with gr.Column(visible=False) as box:
        plots = chart_sections(CHARTS)
        dataframe = runs_dataframe(place, SWEEP_TABLE)
        saves, file = saving_row(place, SWEEP_NOTE, ("json", "csv", "png", "html"))
    return RunsOutputs(
        SWEEP_START, SWEEP_TABLE, status, hint, dataframe, gallery, box, saves, file, CHARTS, plots, planned
    )  # fmt: skip
