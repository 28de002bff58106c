"""The field `vscan` of a request: which method reduces the visual tokens, and how."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import orjson
from pydantic import TypeAdapter, ValidationError

from vscan_core.errors import InputError
from vscan_core.reducers import Reducer

from ...session.engine import Engine
from ...session.inputs import check_share
from ..refusals import Refusal, shortened

FIELD = "vscan"
DEFAULT_SETTINGS = {"method": "vscan"}  # of a request without the field
LONGEST_SETTINGS = 1_000  # bytes as JSON
LARGEST_SETTING = 2**31 - 1
NO_SETTINGS = f'{FIELD} is an object such as {{"method": "vscan", "retention": 0.111}}, or null for all visual tokens.'
TOO_LONG_SETTINGS = f"{FIELD} is too long: at most {LONGEST_SETTINGS} bytes of JSON are accepted."
TOO_LARGE_SETTING = f"{FIELD} has a number beyond {LARGEST_SETTING}; choose a smaller one."
NO_SETTING = "The method {method} has no setting {name!r}; it has {known}."
WRONG_KIND = "The setting {name} cannot be used: {reason}."
WRONG_SETTINGS = "The method {method} does not take these settings: {reason}."


def reducer_from(engine: Engine, given: Any) -> Reducer | None:
    """The reducer that the field stands for; None for null: all visual tokens. Raises Refusal."""
    if given is None:
        return None
    if not isinstance(given, dict) or not isinstance(given.get("method"), str):
        raise Refusal(400, "input", NO_SETTINGS, FIELD)
    if len(orjson.dumps(given)) > LONGEST_SETTINGS:
        raise Refusal(400, "input", TOO_LONG_SETTINGS, FIELD)
    if any(abs(number) > LARGEST_SETTING for number in _numbers(given)):
        raise Refusal(400, "input", TOO_LARGE_SETTING, FIELD)
    settings = dict(given)
    name = settings.pop("method")
    try:
        method = engine.method(name)
        _check_names(name, settings, [each.name for each in fields(method) if each.init])
        if "retention" in settings:
            settings["retention"] = check_share(settings["retention"])
        return method(**_typed(method, settings))
    except InputError as error:
        raise Refusal(400, "input", shortened(str(error), 500), FIELD) from None
    except (TypeError, ValueError, ArithmeticError) as error:  # of a setting whose kind the method does not check
        reason = shortened(str(error), 100)
        raise Refusal(400, "input", WRONG_SETTINGS.format(method=name, reason=reason), FIELD) from None


def _check_names(method: str, settings: dict[str, Any], known: list[str]) -> None:
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or known
            raise InputError(NO_SETTING.format(method=method, name=shortened(name, 40), known=", ".join(near)))


def _typed(method: type[Reducer], settings: dict[str, Any]) -> dict[str, Any]:
    """Each setting as its annotation says, read as JSON: {"16": 32} is {16: 32} where keys are numbers."""
    hints, found = get_type_hints(method), {}
    for name, value in settings.items():
        try:
            found[name] = TypeAdapter(hints[name]).validate_json(orjson.dumps(value), strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]["msg"]
            raise InputError(WRONG_KIND.format(name=name, reason=shortened(first, 100))) from None
    return found


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value
