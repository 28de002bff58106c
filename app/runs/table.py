"""The table: one row per run. Cells hold plain numbers, so that columns sort; beside them, how they are written."""

from __future__ import annotations

from typing import Any

from .. import formatting
from .progress import BASELINE, Entry, Round

STR, NUMBER = "str", "number"
COLUMNS = (
    ("Method", STR, 120),
    ("Answer", STR, 240),
    ("Agrees", STR, 110),
    ("Visual tokens", NUMBER, 195),
    ("Average", NUMBER, 105),
    ("Reading", NUMBER, 110),
    ("First word", NUMBER, 125),
    ("Choosing", NUMBER, 115),
    ("KV cache", NUMBER, 115),
    ("Computation", NUMBER, 140),
    ("Reading, faster", NUMBER, 150),
    ("First word, sooner", NUMBER, 175),
    ("KV, smaller", NUMBER, 130),
    ("FLOPs, fewer", NUMBER, 140),
)
HEADERS = [name for name, _, _ in COLUMNS]
TYPES = [kind for _, kind, _ in COLUMNS]
WIDTHS = [f"{width}px" for _, _, width in COLUMNS]
RATIOS = ("prefill", "ttft", "kv_bytes", "tflops")

Cell = tuple[Any, str]  # what it sorts by, what is shown


def table(now: Round, noise: str | None = None) -> dict[str, Any]:
    """The round as a value of a Dataframe; `noise` stands for answers that are not worth reading."""
    return as_value(HEADERS, [row(entry, noise) for entry in now.entries])


def as_value(headers: list[str], rows: list[list[Cell]]) -> dict[str, Any]:
    """Cells as a value of a Dataframe."""
    return {
        "headers": headers,
        "data": [[value for value, _ in cells] for cells in rows],
        "metadata": {"display_value": [[shown for _, shown in cells] for cells in rows]},
    }


def row(entry: Entry, noise: str | None = None) -> list[Cell]:
    """One run; dashes for what is not known (yet)."""
    text = entry.problem or (noise if noise and entry.text else entry.text)
    cells = [
        _same(entry.title),
        _same(text or formatting.NOTHING),
        _same(agrees(entry) if not noise else formatting.NOTHING),
    ]
    if entry.answer is None:
        return cells + [(None, formatting.NOTHING)] * (len(COLUMNS) - len(cells))
    timings, cost = entry.answer["timings"], entry.answer["cost"]
    cells += [
        (entry.counts[0], formatting.arrows(entry.counts)),
        (cost["visual_tokens"], formatting.count(cost["visual_tokens"])),
        *((timings[name], formatting.milliseconds(timings[name])) for name in ("prefill_ms", "ttft_ms", "reduce_ms")),
        (cost["kv_bytes"], formatting.size(cost["kv_bytes"])),
        (cost["tflops"], formatting.operations(cost["tflops"])),
    ]
    times = entry.ratios or dict.fromkeys(RATIOS, 1.0)
    return cells + [(times[name], f"{formatting.ratio(times[name], 1)} {formatting.TIMES}") for name in RATIOS]


def agrees(entry: Entry) -> str:
    """Whether the answer is the baseline's, in a word."""
    if entry.same is None:
        return "reference" if entry.name == BASELINE and entry.answer else formatting.NOTHING
    return "= yes" if entry.same else "≠ no"


def caption(entry: Entry, readable: bool = True) -> str:
    """The line under a small picture: fixed words and counts."""
    parts = [entry.title, formatting.arrows(entry.counts)]
    if readable and entry.same is not None:
        parts.append("same answer" if entry.same else "different answer")
    return " · ".join(parts)


def _same(text: str) -> Cell:
    return text, text
