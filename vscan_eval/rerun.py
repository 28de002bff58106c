"""The one command that gives a result again."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentTypeError
from collections.abc import Iterator
from dataclasses import fields
from fractions import Fraction
from typing import Any

from vscan_core.reducers import Reducer
from vscan_eval.replies import Condition
from vscan_eval.task import Task

LARGEST_DIVISOR = 1000  # retentions are written as fractions where one is exactly the same number


def share_of(text: str) -> float:
    """ "0.111" -> 0.111, "1/9" -> 0.1111...; for argparse. Whether it is a share is checked by the methods."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ArgumentTypeError(f"{text!r} is not a number such as 0.111 or 1/9") from None


def share_as_text(share: float) -> str:
    """1 / 9 -> "1/9", 0.1111 -> "0.1111"; `share_of` gives the same number back."""
    simple = Fraction(share).limit_denominator(LARGEST_DIVISOR)
    return str(simple) if float(simple) == share and len(str(simple)) <= len(repr(share)) else repr(share)


def setting_of(text: str) -> tuple[str, Any]:
    """ "merge=false" -> ("merge", False), "positions=original" -> ("positions", "original"); for argparse.

    The value is JSON, or else text; keys that are whole numbers, such as layers, become numbers.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as local_share=0.25")
    try:
        found = json.loads(value)
    except ValueError:
        return name, value
    if isinstance(found, dict):
        found = {int(key) if key.isdecimal() else key: each for key, each in found.items()}
    return name, found


def _changed(reducer: Reducer) -> Iterator[str]:
    """The settings that are not the default ones, as `setting_of` reads them."""
    usual = type(reducer)(reducer.retention)
    for name in (field.name for field in fields(reducer) if field.init):
        if (value := getattr(reducer, name)) != getattr(usual, name):
            yield f"{name}={value if isinstance(value, str) else json.dumps(value)}"


def command_again(model: str, task: Task, limit: int | None, condition: Condition) -> str:
    """The `vscan eval` command whose first row is this result: same model, questions, method, retention, settings.

    model: As given to `load_model`. limit: None for the task's own number of questions.
    """
    reducer = condition.reducer
    options = {
        "task": task.name,
        "data": task.data,
        "model": model,
        "seed": task.seed,
        "limit": limit,
        "method": condition.name,
        "retention": None if reducer is None else share_as_text(reducer.retention),
    }
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    turns = ["--second-turn"] if task.second_turn else []
    changed = [] if reducer is None else [word for text in _changed(reducer) for word in ("--set", text)]
    return shlex.join(["vscan", "eval", *given, *turns, *changed])
