"""Where the time went: both runs on one time axis, as HTML of numbers and fixed words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vscan_core.events import Answer

from .. import formatting
from .style import SERVED_STAGES, STAGE_NAMES


def time_axis(lanes: Sequence[tuple[str, Mapping[str, float], str]]) -> str:
    """One lane per (fixed name, {stage: milliseconds}, note on the vision encoder); an empty axis if there are none."""
    longest = max((sum(times.values()) for _, times, _ in lanes), default=0.0)
    shown = "".join(_lane(name, times, note, longest or 1) for name, times, note in lanes)
    names = SERVED_STAGES if any("first" in times for _, times, _ in lanes) else STAGE_NAMES
    signs = "".join(f'<li><i class="{stage}" aria-hidden="true"></i>{name}</li>' for stage, name in names.items())
    return f'<div class="axis"><ul class="lanes">{shown}</ul><ul class="signs">{signs}</ul></div>'


def _lane(name: str, times: Mapping[str, float], note: str, longest: float) -> str:
    bars, words = [], []
    for stage, value in times.items():
        what = (STAGE_NAMES | SERVED_STAGES)[stage]
        said = f"{what} {formatting.milliseconds(value)}{note if stage == 'vision' else ''}"
        words.append(said)
        bars.append(f'<i class="{stage}" style="width:{100 * value / longest:.2f}%" title="{said}"></i>')
    return (
        f'<li><span class="who">{name}</span><span class="bars" role="img" aria-label="{", ".join(words)}">'
        f"{''.join(bars)}</span><b>{formatting.milliseconds(sum(times.values()))}</b></li>"
    )


def stage_times(answer: Answer) -> dict[str, float]:
    """{stage: milliseconds}; decode is everything after the first token. Of a server, only that is known: "first"."""
    timings = answer.timings
    if not timings.staged:
        return {"first": timings.ttft_ms, "decode": timings.total_ms - timings.ttft_ms}
    return {
        "vision": timings.vision_ms,
        "reduce": timings.reduce_ms,
        "prefill": timings.prefill_ms,
        "decode": max(timings.total_ms - timings.ttft_ms, 0.0),
    }
