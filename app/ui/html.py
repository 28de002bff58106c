"""Small pieces of HTML made of fixed words and numbers only.

The page's HTML component runs what it is given, so nothing that a visitor or a model wrote may ever get in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vscan_core import report
from vscan_core.events import Answer

from .. import formatting
from .messages import KEPT_EARLIER

UNKNOWN_OF_SERVERS = ("Vision encoder", "Patches, projector", "Token selection", "Prefill")
FASTER = "faster prefill, with selection"
# name, what is meant more precisely, value
ROWS: tuple[tuple[str, str, Callable[[Answer], str]], ...] = (
    ("Visual tokens", "", lambda answer: formatting.with_arrows(report.token_steps(answer))),
    ("Vision encoder", report.SHARED, lambda answer: formatting.milliseconds(answer.timings.vision_shared_ms)),
    ("Patches, projector", "", lambda answer: formatting.milliseconds(vision_apart_ms(answer))),
    ("Token selection", "", lambda answer: formatting.milliseconds(answer.timings.reduce_ms)),
    ("Prefill", "", lambda answer: formatting.milliseconds(answer.timings.prefill_ms)),
    ("First token", "in total", lambda answer: formatting.milliseconds(answer.timings.ttft_ms)),
    ("Decode", "per token", lambda answer: formatting.milliseconds(answer.timings.decode_ms_per_token)),
    ("Whole answer", "", lambda answer: formatting.milliseconds(answer.timings.total_ms)),
    ("KV cache", "", lambda answer: formatting.memory(answer.cost.kv_bytes)),
    ("Computation", "prefill, causal", lambda answer: formatting.flops(answer.cost.tflops)),
    ("Peak memory", "with weights", lambda answer: formatting.memory(answer.cost.peak_bytes)),
)


def vision_apart_ms(answer: Answer) -> float:
    """The part of a run's vision time that is its own: all but the encoder's blocks."""
    return answer.timings.vision_ms - answer.timings.vision_shared_ms


def numbers_table(answer: Answer | None, kept: bool = False) -> str:
    """The numbers of one run as a table; dashes while there is none, so that nothing jumps when it ends.

    kept: they were measured in an earlier turn, and the table says so.
    """
    unknown = () if answer is None or answer.timings.staged else UNKNOWN_OF_SERVERS
    rows = (
        f'<tr><th scope="row">{name}<small>{term}</small></th>'
        f"<td>{formatting.NOTHING if answer is None or name in unknown else value(answer)}</td></tr>"
        for name, term, value in ROWS
    )
    note = f"{KEPT_EARLIER.capitalize()}, measured then." if kept else "&nbsp;"
    return f'<table class="numbers"><tbody>{"".join(rows)}</tbody></table><p class="kept">{note}</p>'


def verdict_panel(baseline: Answer | None, reduced: Answer | None, readable: bool = True) -> str:
    """The comparison in large type; dashes until both runs have ended. Unreadable answers are not compared."""
    if baseline is None or reduced is None:
        meanings = (FASTER, "smaller KV cache", "fewer FLOPs")
        figures = [_figure(formatting.NOTHING, meaning) for meaning in meanings]
        return _panel(figures, '<p class="same">Press <b>Run</b> to compare.</p>')
    whole, short = (answer.timings.prefill_and_reduce_ms for answer in (baseline, reduced))
    figures = [
        _times(whole, short, FASTER, FASTER.replace("faster", "slower")),
        _times(baseline.cost.kv_bytes, reduced.cost.kv_bytes, "smaller KV cache", "larger KV cache"),
        _times(baseline.cost.tflops, reduced.cost.tflops, "fewer FLOPs", "more FLOPs"),
    ]
    if not readable:
        note = ""
    elif report.same_answer(baseline, reduced):
        note = '<p class="same yes"><span aria-hidden="true">=</span> Same answer</p>'
    else:
        note = '<p class="same no"><span aria-hidden="true">≠</span> Different answer</p>'
    before, after = baseline.timings.ttft_ms, reduced.timings.ttft_ms
    first = f"{formatting.ratio(max(before, after), min(before, after))} {formatting.TIMES}"
    when = "sooner" if after <= before else "later"
    note += f'<p class="fine">First token {first} {when}, vision encoder and selection included.</p>'
    return _panel(figures, note + '<p class="fine">Single run, not a benchmark.</p>')


def _times(before: float, after: float, better: str, worse: str) -> str:
    if before > 0 and after > 1.05 * before:
        return _figure(f"{formatting.ratio(after, before)} {formatting.TIMES}", worse)
    return _figure(f"{formatting.ratio(before, after)} {formatting.TIMES}", better)


def _figure(number: str, meaning: str) -> str:
    return f'<div class="figure"><b>{number}</b><span>{meaning}</span></div>'


def _panel(figures: Iterable[str], note: str) -> str:
    return f'<div class="verdict"><div class="figures">{"".join(figures)}</div>{note}</div>'
