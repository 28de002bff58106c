"""The replay of both answers side by side: what it needs is in the panes, as numbers; race.js does the rest."""

from __future__ import annotations

from pathlib import Path

from vscan_core.events import Answer

from ..runs.comparison import LiveRun

RACE = (Path(__file__).parent / "race.js").read_text(encoding="utf-8")


def race_numbers(answer: Answer, live: LiveRun) -> str:
    """Milliseconds to the first token, milliseconds for each further one, and the answer's length after each."""
    each, count = answer.timings.decode_ms_per_token or 0.0, len(answer.token_ids) or len(live.lengths)
    lengths = live.lengths  # an answer that was kept from an earlier run came in one piece
    if len(lengths) != count:
        lengths = tuple(round(len(answer.text) * (place + 1) / count) for place in range(count))
    return " ".join([f"{answer.timings.ttft_ms:.1f}", f"{each:.2f}", *map(str, lengths)])
