"""`vscan sweep`: the baseline and one method at several retentions, as a table."""

from __future__ import annotations

import argparse
from typing import Any

from vscan_core.budget import check_retention
from vscan_core.cli.shared import add_question, answers, comparison, print_result
from vscan_core.errors import InputError
from vscan_core.events import Answer
from vscan_core.reducers import REDUCERS
from vscan_core.report import as_dict, same_answer, token_steps

DEFAULT_RETENTIONS = "1,0.5,0.333,0.222,0.111,0.056"
HEAD = "retention  visual tokens       average  prefill ms  first token ms    KV MB   TFLOPs  same  answer"


def add(commands: Any) -> None:
    """Add `sweep` to the command line."""
    text = "answer a question without reduction and then with one method at several retentions"
    command = add_question(commands, "sweep", sweep_retentions, text)
    command.add_argument("--method", default="vscan", metavar="NAME", help="see `methods`; default vscan")
    command.add_argument("--retentions", default=DEFAULT_RETENTIONS, metavar="R,R", help="default %(default)s")


def sweep_retentions(options: argparse.Namespace) -> None:
    """Answer and print. Raises InputError for what does not fit; a retention that is refused is printed as such."""
    cls, shares = REDUCERS.named(options.method), _shares(options.retentions)
    makers = [lambda share=share: cls(share) for share in shares]
    _, baseline, others = answers(options, [lambda: None, *makers])
    runs = [{"retention": share, **comparison(baseline, other)} for share, other in zip(shares, others, strict=True)]
    found = {"method": options.method, "baseline": as_dict(baseline), "runs": runs}
    rows = [_row(f"{share:.3g}", baseline, other) for share, other in zip(shares, others, strict=True)]
    text = [HEAD, _row("baseline", baseline, baseline), *rows, "single runs, not a benchmark"]
    print_result(options, found, "\n".join(text))


def _row(label: str, baseline: Answer, other: Answer | InputError) -> str:
    if not isinstance(other, Answer):
        return f"{label:9}  cannot run: {other}"
    timings, cost = other.timings, other.cost
    return (
        f"{label:9}  {' -> '.join(map(str, token_steps(other))):18}  {cost.visual_tokens:7.1f}  "
        f"{timings.prefill_ms:10.1f}  {timings.ttft_ms:14.1f}  {cost.kv_bytes / 1e6:7.2f}  {cost.tflops:7.4f}  "
        f"{'yes' if same_answer(baseline, other) else 'no':4}  {other.text}"
    )


def _shares(text: str) -> list[float]:
    try:
        return [check_retention(float(share)) for share in text.split(",")]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--retentions takes numbers separated by commas, such as {DEFAULT_RETENTIONS}") from None
