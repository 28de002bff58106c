"""What is said under the model picker while a model is downloaded and loaded, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

from ..session.hub import Download, download_gb
from ..session.session import Session
from .errors import explained

POLL_S = 0.5
PROGRESS = '<label>{told}<progress value="{there:.4f}" max="{total:.4f}"></progress></label>'  # the text names the bar


def loading(session: Session, name: str, poll_s: float = POLL_S) -> Iterator[str]:
    """Markdown, step by step; the last is what stays."""
    about = describe(session, name)
    if session.models.unavailable(name) is None and not session.models.ready(name):
        fetched = bool(download_gb(name))
        found = session.models.begin(name)
        for step in _downloading(Download(name), found, poll_s) if fetched else ():
            yield f"{about}\n\n{step}"
        if not found.done():
            yield f"{about}\n\n**Loading …**"
        if error := found.exception():  # waits for the end
            about = f"{about}\n\n**Not available here:** {explained(error)}"
    yield about


def describe(session: Session, name: str) -> str:
    """A model in words, with the time that it is expected to take, or the reason why it cannot run here."""
    card = session.engine.models().get(name)
    if card is None:
        return ""
    if reason := session.models.unavailable(name):
        return f"{card.description}\n\n**Not available here:** {reason}"
    expected = "" if session.engine.about else session.models.expected(name)  # of this machine
    return "\n\n".join(filter(None, (card.description, expected, session.engine.about)))


def _downloading(download: Download, found: Future[Any], poll_s: float) -> Iterator[str]:
    last = ""
    while not found.done():
        there, total = download.there_gb(), download.total_gb
        if there >= total:
            break
        size = f"{total:.2f} GB" if download.exact else f"about {total:.2f} GB"
        told = f"**Downloading …** {there:.2f} of {size}"
        text = PROGRESS.format(told=told, there=there, total=total)
        if text != last:
            yield text
        last = text
        wait([found], poll_s)
