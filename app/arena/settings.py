"""What a visitor or a program asks of the Arena, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vscan_core.budget import check_retention
from vscan_core.errors import InputError

from ..runs.progress import RunState
from ..runs.settings import RunSettings, shared_settings
from ..session.session import Session
from ..session.sources import OpenedSource

DEFAULT_METHODS = ("vscan", "vispruner", "visionzip", "divprune", "random")  # as far as they are on offer


@dataclass(frozen=True)
class ArenaSettings(RunSettings):
    """Several methods at one retention."""

    compared = "methods"
    retention: float
    methods: tuple[str, ...]

    def planned(self, session: Session) -> list[RunState]:
        """One run per method, named after it."""
        return [RunState(session.engine.method(name).title, name, self.retention) for name in self.methods]


def arena_settings(
    session: Session, model: str, opened: OpenedSource, question: str, retention: float, methods: Sequence[str]
) -> ArenaSettings:
    """Check what was asked of the Arena. Raises InputError."""
    if not methods:
        raise InputError("Please choose at least one method.")
    for name in methods:
        session.engine.method(name)
    check_retention(retention)
    return ArenaSettings(
        **shared_settings(session, model, opened, question), retention=retention, methods=tuple(dict.fromkeys(methods))
    )


def default_methods(session: Session) -> list[str]:
    """Methods that differ in kind and reach every budget; only a few, since each takes a while on a small computer."""
    on_offer = list(session.engine.methods())
    return [name for name in DEFAULT_METHODS if name in on_offer] or on_offer[:4]
