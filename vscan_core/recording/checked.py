"""Reading JSON that somebody else wrote: what is missing or wrong is said in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeVar

from vscan_core.errors import InputError

Kind = TypeVar("Kind")


def require(holds: bool, problem: str) -> None:
    """Raises InputError unless it holds."""
    if not holds:
        raise InputError(f"This is no recording that can be read: {problem}.")


def of_kind(data: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind:
    """A field of a JSON object. Raises InputError if it is missing or of another kind; numbers are finite."""
    require(isinstance(data, dict) and name in data, f"{name!r} is missing")
    value = data[name]
    if kind is float and type(value) is int:
        value = float(value)
    require(type(value) is kind, f"{name!r} is not of the right kind")
    require(not isinstance(value, float) or isfinite(value), f"{name!r} is not a finite number")
    found: Kind = value
    return found


def numbers_in(data: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """A list of finite numbers. Raises InputError."""
    found = of_kind(data, name, list)
    require(all(type(x) in (int, float) and isfinite(x) for x in found), f"{name!r} holds something else than numbers")
    return tuple(float(x) for x in found)
