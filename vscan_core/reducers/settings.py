"""Immutable, hashable settings, so that reducers can be keys of sets, dicts and caches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any, NoReturn, TypeVar

from vscan_core.errors import InputError

KINDS: dict[str, tuple[type, str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "bool": (Integral, "True or False"),
    "str": (str, "a string"),
    "None": (type(None), "None"),
}
Key = TypeVar("Key")
Value = TypeVar("Value")


class FrozenDict(dict[Key, Value]):
    """A dict with a hash. It prints as a dict and equals one; attempts to change it raise TypeError."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:  # otherwise pickle and deepcopy would add items to an empty one
        return FrozenDict, (dict(self),)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("the settings of a reducer cannot be changed; make a new one with dataclasses.replace")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def frozen(value: Any) -> Any:
    """The value with immutable containers, at every level: dict -> FrozenDict, list -> tuple, set -> frozenset.

    frozen({3: [5, 6]}) = {3: (5, 6)}; numbers, strings and other values that are not containers are unchanged.
    """
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if isinstance(value, Set):
        return frozenset(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(frozen(item) for item in value)
    return value


def check_kind(value: Any, name: str, kind: str) -> None:
    """Raise InputError unless `value` is of the kind that its annotation names, such as "int | None".

    Annotations with containers or other classes are left to the reducer.
    """
    accepted = re.findall(r"\w+", kind)
    if set(accepted) <= set(KINDS) and not isinstance(value, tuple(KINDS[one][0] for one in accepted)):
        named = [KINDS[one][1] for one in accepted if one != "int" or "float" not in accepted]
        raise InputError(f"{name} must be {' or '.join(named)}, but is {value!r}")
