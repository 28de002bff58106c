"""The files that can be saved: JSON with everything, CSV with one row per run, PNG of the page."""

from __future__ import annotations

import csv
import io
from typing import Any

from PIL import Image

from ..runs.export_json import sheet as arena_sheet
from ..runs.export_png import Cells, Head, poster
from ..runs.progress import BASELINE, Round
from . import table
from .settings import Asked

DRAWN = Cells(table.row, (
    ("Kept", 0, 130), ("Answer", 1, 430), ("Agrees", 2, 110), ("Visual tokens", 3, 190), ("Average", 4, 110),
    ("Reading", 5, 120), ("First word", 6, 130), ("Tokens/s", 7, 120), ("KV cache", 8, 130), ("FLOPs", 9, 194),
))  # fmt: skip
FIELDS = (
    "retention", "method", "text", "same_answer", "visual_token_steps", "visual_tokens", "vision_ms", "reduce_ms",
    "prefill_ms", "ttft_ms", "decode_ms_per_token", "tokens_per_second", "kv_bytes", "tflops", "peak_bytes", "problem",
)  # fmt: skip


def sheet(asked: Asked, now: Round, readable: bool = True) -> dict[str, Any]:
    """The sweep as plain JSON types, units in the names; runs in the order in which they ran, the baseline first."""
    found = arena_sheet(asked, now, readable)
    for run in found["runs"]:
        name = run["method"]
        run["retention"] = None if name == BASELINE else float(name)
        run["method"] = BASELINE if name == BASELINE else asked.method
        if "timings" in run:
            run["tokens_per_second"] = table.tokens_per_second(run["timings"]["decode_ms_per_token"])
    return found


def as_csv(found: dict[str, Any]) -> bytes:
    """One row per run of `sheet`; settings and versions are in the JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for run in found["runs"]:
        flat = run | run.get("timings", {}) | run.get("cost", {})
        flat["visual_token_steps"] = " ".join(map(str, run.get("visual_token_steps", ())))
        writer.writerow(flat)
    return text.getvalue().encode()


def page(asked: Asked, now: Round, picture: Image.Image, title: str, method: str, noise: str | None) -> bytes:
    """The page as a PNG file; `title` is the model's, `method` the method's name as the page writes it."""
    facts = (title, f"{method} at {len(asked.retentions)} retentions · {asked.device}")
    return poster(Head("VScan Sweep", asked.question, facts), now, picture, noise, DRAWN)
