"""`vscan compare`: the baseline and one or more methods on the same question."""

from __future__ import annotations

import argparse
from typing import Any

from vscan_core.budget import check_retention
from vscan_core.cli.shared import RETENTION, add_question, answers, comparison, method_named, print_result
from vscan_core.events import Answer
from vscan_core.report import as_dict, lines, verdict


def add(commands: Any) -> None:
    """Add `compare` to the command line."""
    text = "answer a question without reduction and then with one or more methods"
    command = add_question(commands, "compare", compare_methods, text)
    several = "see `methods`; several separated by commas, or repeat the option; default vscan"
    command.add_argument("--method", action="append", metavar="NAME", help=several)
    command.add_argument("--retention", **RETENTION)


def compare_methods(options: argparse.Namespace) -> None:
    """Answer and print. The JSON for one method is flat; for several it has "runs".

    Raises InputError for what does not fit, also if the only method is refused; one of several is printed as refused.
    """
    names = list(dict.fromkeys(name.strip() for given in options.method or ["vscan"] for name in given.split(",")))
    classes = [method_named(name) for name in names]
    check_retention(options.retention)
    makers = [lambda cls=cls: cls(options.retention) for cls in classes]
    _, baseline, others = answers(options, [lambda: None, *makers])
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
    print_result(options, found, "\n".join(text))
