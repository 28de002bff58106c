"""`vscan compare`: the baseline and one or more methods on the same question."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vscan_core.bench.record import provenance
from vscan_core.budget import check_retention
from vscan_core.cli.shared import RETENTION, add_question, answers, command_line, comparison, print_result
from vscan_core.errors import InputError
from vscan_core.events import Answer
from vscan_core.html_report import write_report
from vscan_core.multirun import Make
from vscan_core.recording.recorder import from_answers
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.report import as_dict, lines, verdict


def add(commands: Any) -> None:
    """Add `compare` to the command line."""
    text = "answer a question without reduction and then with one or more methods"
    command = add_question(commands, "compare", compare_methods, text)
    several = "see `methods`; several separated by commas, or repeat the option; default vscan"
    command.add_argument("--method", action="append", metavar="NAME", help=several)
    command.add_argument("--retention", **RETENTION)
    command.add_argument("--report", metavar="F", help="HTML file to write: pictures, answers and figures in one page")


def compare_methods(options: argparse.Namespace) -> None:
    """Answer and print. The JSON for one method is flat; for several it has "runs".

    Raises InputError for what does not fit, also if the only method is refused; one of several is printed as refused.
    """
    if options.report and (options.video or len(options.image) > 1):
        raise InputError("A report shows one picture; leave out --report for a video or several pictures.")
    names = list(dict.fromkeys(name.strip() for given in options.method or ["vscan"] for name in given.split(",")))
    classes = [REDUCERS.named(name) for name in names]
    check_retention(options.retention)
    makers: list[Make] = [partial(cls, options.retention) for cls in classes]
    (source, *_), baseline, others = answers(options, [lambda: None, *makers])
    found: dict[str, Any] = {"baseline": as_dict(baseline)}
    text = [lines(baseline)]
    for name, other in zip(names, others, strict=True):
        if isinstance(other, Answer):
            text += [lines(other), verdict(baseline, other)]
        elif len(names) == 1:
            raise other
        else:
            text.append(f"{name}: cannot run here: {other}")
    if len(names) == 1:
        found |= comparison(baseline, others[0])
    else:
        found["runs"] = [
            {"method": name, **comparison(baseline, other)} for name, other in zip(names, others, strict=True)
        ]
    if options.report:
        ran = [(one, make()) for one, make in zip(others, makers, strict=True) if isinstance(one, Answer)]
        assert isinstance(source, Image.Image)
        _write_report(options, source, [(baseline, None), *ran])
    print_result(options, found, "\n".join(text))


def _write_report(
    options: argparse.Namespace, picture: Image.Image, runs: Sequence[tuple[Answer, Reducer | None]]
) -> None:
    answers, reducers = zip(*runs, strict=True)
    facts = provenance(command_line(options.typed), "cuda" if torch.cuda.is_available() else "cpu")
    write_report(
        from_answers(options.model, picture, options.question, answers, reducers, facts=facts), Path(options.report)
    )
