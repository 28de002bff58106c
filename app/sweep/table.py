"""The table: one row per retention. Cells hold plain numbers, so that columns sort, and how they are written."""

from __future__ import annotations

from typing import Any

from .. import formatting
from ..runs.progress import BASELINE, Entry, Round
from ..runs.table import NUMBER, STR, Cell, agrees, as_value

COLUMNS = (
    ("Kept", NUMBER, 105),
    ("Answer", STR, 220),
    ("Agrees", STR, 110),
    ("Visual tokens", NUMBER, 150),
    ("Average", NUMBER, 105),
    ("Reading", NUMBER, 110),
    ("First word", NUMBER, 125),
    ("Tokens/s", NUMBER, 115),
    ("KV cache", NUMBER, 115),
    ("Computation", NUMBER, 145),
    ("Reading, faster", NUMBER, 150),
)
HEADERS = [name for name, _, _ in COLUMNS]
TYPES = [kind for _, kind, _ in COLUMNS]
WIDTHS = [f"{width}px" for _, _, width in COLUMNS]


def table(now: Round, noise: str | None = None) -> dict[str, Any]:
    """The sweep as a value of a Dataframe; `noise` stands for answers that are not worth reading."""
    return as_value(HEADERS, [row(entry, noise) for entry in now.entries])


def row(entry: Entry, noise: str | None = None) -> list[Cell]:
    """One run; dashes for what is not known (yet)."""
    text = entry.problem or (noise if noise and entry.text else entry.text) or formatting.NOTHING
    same = formatting.NOTHING if noise else agrees(entry)
    share = 1.0 if entry.name == BASELINE else float(entry.name)
    cells: list[Cell] = [(share, entry.title), (text, text), (same, same)]
    if entry.answer is None:
        return cells + [(None, formatting.NOTHING)] * (len(COLUMNS) - len(cells))
    timings, cost = entry.answer["timings"], entry.answer["cost"]
    speed = tokens_per_second(timings["decode_ms_per_token"])
    faster = entry.ratios["prefill"] if entry.ratios else 1.0
    return [
        *cells,
        (entry.counts[0], formatting.arrows(entry.counts)),
        (cost["visual_tokens"], formatting.count(cost["visual_tokens"])),
        (timings["prefill_ms"], formatting.milliseconds(timings["prefill_ms"])),
        (timings["ttft_ms"], formatting.milliseconds(timings["ttft_ms"])),
        (speed, formatting.NOTHING if speed is None else formatting.count(speed)),
        (cost["kv_bytes"], formatting.size(cost["kv_bytes"])),
        (cost["tflops"], formatting.operations(cost["tflops"])),
        (faster, f"{formatting.ratio(faster, 1)} {formatting.TIMES}"),
    ]


def tokens_per_second(decode_ms: float | None) -> float | None:
    """How fast the answer is written after its first token; None: it had only one."""
    return 1000 / decode_ms if decode_ms else None
