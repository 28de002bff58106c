"""Which methods are chosen at first."""

from __future__ import annotations

from ..session.session import Session

USUAL = ("vscan", "vispruner", "visionzip", "divprune", "random")  # as far as they are on offer


def usual(session: Session) -> list[str]:
    """A few that differ in kind and reach every budget; all of them take a while on a small computer."""
    methods = list(session.engine.methods())
    return [name for name in USUAL if name in methods] or methods[:4]
