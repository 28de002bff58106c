"""The CSV export: one row per run; settings and versions are in the JSON."""

from __future__ import annotations

import csv
import io
from typing import Any

FIELDS = (
    "retention", "method", "text", "same_answer", "visual_token_steps", "visual_tokens", "vision_ms",
    "vision_shared_ms", "reduce_ms", "prefill_ms", "ttft_ms", "decode_ms_per_token", "tokens_per_second", "kv_bytes",
    "tflops", "tflops_full", "survey_ratio", "survey_ratio_printed", "peak_bytes", "kept", "problem",
)  # fmt: skip


def runs_as_csv(found: dict[str, Any]) -> bytes:
    """The content of the file; `found` is what `runs_as_json` gives."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for run in found["runs"]:
        flat = run | run.get("timings", {}) | run.get("cost", {})
        flat["visual_token_steps"] = " ".join(map(str, run.get("visual_token_steps", ())))
        writer.writerow(flat)
    return text.getvalue().encode()
