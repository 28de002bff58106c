"""MethodTable: the methods of this library, and those that other installed packages offer, by name."""

from __future__ import annotations

import inspect
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vscan_core.errors import InputError, first_line
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy

ENTRY_POINTS = "vscan_core.reducers"  # the group in which a package names its methods: `name = "module:Class"`
METHOD_NAME = re.compile(r"[a-z][a-z0-9]*")
NO_METHODS = ("baseline", "none", "then", "forced")  # names that mean something else
TRIED_ON = Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)  # LLaVA-1.5 7B
_LOG = logging.getLogger(__name__)


class MethodTable(MutableMapping[str, type[Reducer]]):
    """{name: class}: first the methods of this library, then those of other packages by name.

    Another package's method is imported when it is looked up, and all of them when the table is listed. One that cannot
    be used is left out, and one sentence in the log and in `left_out` names its package.
    """

    def __init__(self, own: Mapping[str, type[Reducer]]) -> None:
        self.own = dict(own)
        self._loaded: dict[str, type[Reducer]] = {}
        self._why_not: dict[str, str] = {}

    @cached_property
    def _offers(self) -> dict[str, list[EntryPoint]]:
        """What other packages offer, by name; this imports none of them."""
        found = defaultdict(list)
        for entry in entry_points(group=ENTRY_POINTS):
            found[entry.name].append(entry)
        return {name: found[name] for name in sorted(found)}

    @property
    def left_out(self) -> dict[str, str]:
        """{name: one sentence} of what other packages offer and cannot be used."""
        list(self)
        return dict(self._why_not)

    def named(self, name: str, also: str = "") -> type[Reducer]:
        """The method of this name. Raises InputError if there is none; the message lists `also` and all methods."""
        if name in self:
            return self[name]
        if name in self._why_not:
            raise InputError(self._why_not[name])
        raise InputError(f"there is no method {name!r}; choose {also}{', '.join(self)}")

    def __getitem__(self, name: str) -> type[Reducer]:
        if name in self.own:
            return self.own[name]
        if name not in self._loaded:
            self._load(name)
        return self._loaded[name]

    def __setitem__(self, name: str, method: type[Reducer]) -> None:
        self.own[name] = method

    def __delitem__(self, name: str) -> None:
        del self.own[name]

    def __iter__(self) -> Iterator[str]:
        for name in self._offers:
            self._load(name)
        yield from [*self.own, *(name for name in self._offers if name in self._loaded and name not in self.own)]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def _load(self, name: str) -> None:
        """Import what other packages offer under this name, once, or say once why not."""
        if name in self._loaded or name in self._why_not or name not in self._offers:
            return
        offers = self._offers[name]
        packages = " and ".join(sorted(map(_package, offers)))
        try:
            if name in self.own:
                raise InputError("vscan_core itself has a method of that name")
            if len(offers) > 1:
                raise InputError("a name can be offered once; uninstall one of them")
            self._loaded[name] = _usable(offers[0])
        except InputError as reason:
            self._why_not[name] = f"the method {name!r} of {packages} is left out: {reason}"
            _LOG.warning("%s", self._why_not[name])


def _package(entry: EntryPoint) -> str:
    """The package that offers a method, with its version."""
    return "an unnamed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _usable(entry: EntryPoint) -> type[Reducer]:
    """The class that an entry point names. Raises InputError if it is no method that menus and runs could use."""
    if not METHOD_NAME.fullmatch(entry.name) or entry.name in NO_METHODS:
        raise InputError("a name consists of small letters and digits, and is none of " + ", ".join(NO_METHODS))
    try:
        method: Any = entry.load()
    except (Exception, SystemExit) as error:  # whatever its import does must not take the other methods along
        raise InputError(f"{entry.value} cannot be imported ({first_line(error)})") from error
    if not (isinstance(method, type) and issubclass(method, Reducer)) or inspect.isabstract(method):
        raise InputError(f"{entry.value} is no complete subclass of vscan_core.Reducer")
    texts = [getattr(method, name, None) for name in ("title", "summary", "paper")]
    title, summary, paper = (text if isinstance(text, str) and "\n" not in text else None for text in texts)
    if not title or not summary or paper is None:
        raise InputError(f"{entry.value} needs the texts title, summary and paper, of one line each")
    if not entry.name == method.__name__.lower() == re.sub("[ -]", "", title.lower()):
        raise InputError(f"its name, that of its class ({method.__name__}) and its title ({title}) differ")
    try:
        _try(method)
    except Exception as error:
        raise InputError(f"{entry.value} fails before it has seen a picture ({first_line(error)})") from error
    return method


def _try(method: type[Reducer]) -> None:
    """Ask for what every page and every shared encoding of a picture asks of all methods."""
    with suppress(InputError):  # a method may refuse this model or this retention
        reducer = method(retention=0.5)
        hash(reducer)
        reducer.needs(TRIED_ON)
        reducer.schedule(576, TRIED_ON)
