"""The settings of a request: what a client may write, the method they stand for, and their one spelling in cache keys.

Everything that can be refused is refused here, where a request is read: an exception in a worker would end the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.reducers import REDUCERS, Reducer

VSCAN_KEY = "vscan"  # of the settings in requests, configurations, processor fields and replies
LONGEST_SPELLING = 1000  # characters
SETTINGS_EXAMPLE = '{"method": "vscan", "retention": 0.1}'


def method_of(given: Any) -> Reducer | None:
    """What a client wrote under "vscan" -> the method; None, for null: every visual token.

    Raises InputError, in one sentence, for anything but null or an object with the settings of one method.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("method"), str):
        raise InputError(f"{VSCAN_KEY} must be null or an object such as {SETTINGS_EXAMPLE}, but is {_quoted(given)}")
    rest = {str(name): value for name, value in given.items() if name != "method"}
    method = REDUCERS.named(given["method"])
    known = [setting.name for setting in fields(method) if setting.init]
    for name in rest:
        if name not in known:
            raise InputError(f"{method.title} has no setting {_quoted(name)}; it has {', '.join(known)}")
    try:
        made = method(**rest)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError) as error:  # what a method's own checks do not expect
        raise InputError(f"{method.title} cannot have the settings {_quoted(rest)} ({error})") from error
    return made


def spelled(reducer: Reducer | None) -> str:
    """The method with every setting, in one spelling, "null" for None. `reducer_of` reads it.

    Raises InputError for settings that have no such spelling or a very long one.
    """
    if reducer is None:
        return "null"
    name = type(reducer).__name__.lower()
    settings = {setting.name: getattr(reducer, setting.name) for setting in fields(reducer) if setting.init}
    try:
        text = json.dumps({"method": name, **settings}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the settings of {reducer.title} cannot be written as JSON: {error}") from error
    if len(text) > LONGEST_SPELLING:
        raise InputError(f"the settings are {len(text)} characters long; {LONGEST_SPELLING} are possible")
    return text


@lru_cache(maxsize=256)
def reducer_of(text: str) -> Reducer | None:
    """The method that `spelled` wrote."""
    return method_of(json.loads(text))


def to_rows(text: str, count: int) -> Tensor:
    """(count, characters) uint8: the spelling of the method of each of `count` items, to travel with their pixels."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8).repeat(count, 1)


def from_rows(rows: Any) -> list[Reducer | None]:
    """The method of each item, from what `to_rows` made for one or several requests."""
    return [reducer_of(bytes(row.tolist()).decode()) for row in rows]


def _quoted(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:80]}..."
