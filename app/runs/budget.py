"""Budgets in words, before anything runs: how many visual tokens each method or each retention stands for."""

from __future__ import annotations

from collections.abc import Sequence

from vscan_core.errors import InputError

from .. import formatting
from ..session.session import Session
from ..session.sources import Source
from ..ui.errors import explained


def arena_budget_text(session: Session, model: str, source: Source, retention: float, methods: Sequence[str]) -> str:
    """Markdown: "11.1 % = on average 64 of 576 visual tokens in each layer", then the counts of every method."""
    tokens = session.preview(model, source, retention).trace.tokens
    share = formatting.count(retention * tokens)
    text = f"**{formatting.percent(retention)}** = on average **{share} of {tokens:,}** visual tokens in each layer"
    engine = session.engine
    counts = [f"- {engine.method(name).title}: {_counts(session, model, retention, name, tokens)}" for name in methods]
    return "\n".join([text, "", *counts])


def sweep_budget_text(session: Session, model: str, source: Source, retentions: Sequence[float], method: str) -> str:
    """Markdown: what the method does, then the counts of visual tokens at every retention."""
    known = session.engine.method(method)
    tokens = session.preview(model, source, 1.0).trace.tokens
    counts = [
        f"- **{formatting.percent(share)}**: {_counts(session, model, share, method, tokens)}"
        for share in sorted(retentions, reverse=True)
    ]
    text = f"{known.title}: {known.summary}. Visual tokens, of {tokens:,}, from layer to layer:"
    return "\n".join([text, "", *counts])


def _counts(session: Session, model: str, retention: float, method: str, tokens: int) -> str:
    try:
        return formatting.schedule(session.schedule(model, retention, tokens, method), tokens)
    except InputError as error:
        return f"cannot run here: {explained(error)}"
