"""The budget in words, before anything runs: the average that all methods share, and how each of them spends it."""

from __future__ import annotations

from collections.abc import Sequence

from vscan_core.errors import InputError

from .. import formatting
from ..session.session import Session
from ..ui.errors import explained


def spending(session: Session, model: str, path: str | None, retention: float, methods: Sequence[str]) -> str:
    """Markdown: "11.1 % = on average 64 of 576 visual tokens in each layer", then the counts of every method."""
    tokens = session.preview(model, path, retention).trace.tokens
    share = formatting.count(retention * tokens)
    text = f"**{formatting.percent(retention)}** = on average **{share} of {tokens:,}** visual tokens in each layer"
    known = session.engine.methods()
    plans = [f"- {known[name].title}: {plan(session, model, retention, name, tokens)}" for name in methods]
    return "\n".join([text, "", *plans])


def plan(session: Session, model: str, retention: float, method: str, tokens: int) -> str:
    """The counts of one method, or why it cannot."""
    try:
        return formatting.steps(session.schedule(model, retention, tokens, method), tokens)
    except InputError as error:
        return f"cannot run here: {explained(error)}"
