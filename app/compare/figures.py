"""The figures of Compare as HTML of numbers and fixed words: what is exact first, then what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from vscan_core.events import Answer

from .. import formatting
from ..runs.comparison import LiveRun
from ..runs.pairs import ENOUGH_PAIRS, PairsSummary, Spread
from .race import race_numbers

BY_FORMULA, COUNTED = "exact, by formula", "exact, counted in the run"
ONE_READING = "exact for the first reading alone"
COUNTED_THERE = "exact, from the server's count of tokens"
NOT_MEASURED = "Press <b>Run</b> to measure the speed on this machine."
MEASURING = "Measuring …"
ONE_RUN = f"One run of each is too few to compare speeds. Press <b>Repeat</b> to measure at least {ENOUGH_PAIRS} pairs."
OTHERS_WAIT = "Others are waiting, so the speed was not measured. Press <b>Repeat</b> to get in line for it."
SOONER = ("sooner", "later")
SAME_SPEED = 1.03  # a ratio nearer to 1 is no difference


def exact_figures(steps: Sequence[int], flops: float, kv: float, label: str = BY_FORMULA) -> str:
    """Visual tokens from layer to layer, and how many times fewer FLOPs and less KV cache that is."""
    figures = (
        (formatting.with_arrows(steps), "visual tokens"),
        (_times(flops), "fewer FLOPs" if flops >= 1 else "more FLOPs"),
        (_times(kv), "less KV cache" if kv >= 1 else "more KV cache"),
    )
    cells = "".join(f"<div><b>{number}</b><span>{meaning}</span></div>" for number, meaning in figures)
    return f'<div class="figures exact">{cells}<em>{label}</em></div>'


def measured_figures(found: PairsSummary | None, flops: float = 0.0, otherwise: str = NOT_MEASURED) -> str:
    """Medians of pairs with their range; in words instead, if this machine was busy or there are too few.

    `otherwise` is said if there are none at all.
    """
    if found is None:
        return f'<div class="figures measured"><p>{otherwise}</p></div>'
    suspicious = not found.enough and found.beyond(flops)
    if found.busy or suspicious:
        low, high = formatting.milliseconds(found.same_work_ms.low), formatting.milliseconds(found.same_work_ms.high)
        who = "This machine" if found.staged else "The server"
        told = f"the same {'prefill' if found.staged else 'question'} took from {low} to {high}"
        if suspicious:
            told = f"it measured more than the {_times(flops)} that FLOPs allow"
        elif not found.same_work_ms.unsteady:
            told = "the same work took much longer at times"
        return (
            f'<div class="figures measured"><p><b>{who} is busy:</b> {told}, so no factor is given. '
            "Press <b>Repeat</b> when it is idle.</p></div>"
        )
    if not found.enough:
        count = "one pair" if found.count == 1 else f"{found.count} pairs"
        what = (
            f"Prefill {faster(found.prefill)}" if found.staged else f"First token {faster(found.first_token, *SOONER)}"
        )
        return (
            f'<div class="figures measured"><p>{what} in {count} of runs, '
            f"which is too few for a median. Press <b>Repeat</b> to measure at least {ENOUGH_PAIRS}.</p></div>"
        )
    prefill = (
        f"<div><b>{faster(found.prefill)}</b><span>prefill, with selection<br>{_range(found.prefill)}</span></div>"
    )
    included = "vision" if found.staged else "network"
    cells = (
        f"{prefill if found.staged else ''}<div><b>{faster(found.first_token, *SOONER)}</b>"
        f"<span>first token, {included} included<br>{_range(found.first_token)}</span></div>"
    )
    beyond = (
        "<p>More than its FLOPs alone explain: smaller tensors can also take less time per FLOP.</p>"
        if found.beyond(flops)
        else ""
    )
    return f'<div class="figures measured">{cells}<em>measured, median of {found.count} pairs</em>{beyond}</div>'


def faster(ratio: Spread, better: str = "faster", worse: str = "slower") -> str:
    """A ratio in words: 5.2 times faster, 1.3 times slower, or "no clear difference"."""
    if ratio.low < 1 < ratio.high or max(ratio.median, 1 / ratio.median) < SAME_SPEED:
        return "no clear difference"
    return f"{_times(max(ratio.median, 1 / ratio.median))} {better if ratio.median > 1 else worse}"


def _range(ratio: Spread) -> str:
    low, high = ratio.low, ratio.high
    if ratio.median < 1:
        low, high = 1 / high, 1 / low
    return f"{low:.1f} to {high:.1f}"


def _times(ratio: float) -> str:
    return f"{max(ratio, 1 / ratio):.1f} {formatting.TIMES}"


def pane_numbers(answer: Answer | None, live: LiveRun, going: bool, key: int, first_ms: Spread | None = None) -> str:
    """The line under an answer: while the run goes on, its clock and its counts; afterwards, its own timings."""
    if answer is not None:
        first = answer.timings.ttft_ms if first_ms is None else first_ms.median
        pieces = [f"<b>{formatting.milliseconds(first)}</b> to the first token"]
        if answer.timings.decode_ms_per_token:
            pieces.append(f"{formatting.count(1000 / answer.timings.decode_ms_per_token)} tokens/s after it")
        return _line(pieces, f' data-race="{race_numbers(answer, live)}"')
    if not going:
        return _line([])
    elapsed = monotonic() - (live.started_s or monotonic())  # the browser goes on from here
    pieces = [f'<b data-clock="{key}">{elapsed:.1f} s</b>']
    if live.first_s is None:
        pieces.append("reading the prompt")
    else:
        pieces.append(f"{formatting.milliseconds(1000 * live.first_s)} to the end of prefill")
        pieces.append(f"{live.tokens} tokens" if live.tokens != 1 else "1 token")
        if live.per_second:
            pieces.append(f"{formatting.count(live.per_second)} tokens/s")
    return _line(pieces)


def _line(pieces: Sequence[str], attribute: str = "") -> str:
    return f'<p class="live"{attribute}>{" · ".join(pieces) or "&nbsp;"}</p>'


def same_or_different(same: bool | None) -> str:
    """Whether the answer is the baseline's; nothing if that cannot be said."""
    if same is None:
        return ""
    sign, words, name = ("=", "same answer", "yes") if same else ("≠", "different answer", "no")
    return f'<span class="same {name}"><span aria-hidden="true">{sign}</span> {words}</span>'


def pane_head(title: str, tokens: str, note: str = "") -> str:
    """The name of a run, its visual tokens, and how its answer compares; all of them fixed words and numbers."""
    return f'<div class="head"><h3>{title}</h3><span>{tokens}</span>{note}</div>'
