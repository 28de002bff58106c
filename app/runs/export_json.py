"""The JSON export: settings, versions and all numbers of a round."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from vscan_core import __version__

from ..session.session import MAX_NEW_TOKENS, Session
from .progress import Entry, Round

NOTE = "Single run, not a benchmark."
PACKAGES = ("torch", "transformers", "gradio")


@dataclass(frozen=True)
class Settings:
    """What was asked."""

    model: str
    question: str
    retention: float
    methods: tuple[str, ...]
    max_new_tokens: int
    device: str
    picture_sha256: str


def settings_of(
    session: Session, model: str, path: str | None, question: str, retention: float, methods: Sequence[str]
) -> Settings:
    """What was asked, for the exports."""
    digest, device = session.picture(path).digest, session.device(model).name
    return Settings(model, question, retention, tuple(methods), MAX_NEW_TOKENS, device, digest)


def sheet(settings: Any, now: Round, readable: bool = True) -> dict[str, Any]:
    """The round as plain JSON types, units in the names; runs in the order in which they ran. Settings: a dataclass."""
    return {
        "note": NOTE,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()
        },
        "versions": versions(),
        "hint": now.hint,
        "ended": now.ended,
        "runs": [entry for each in now.entries if (entry := run(each, readable)) is not None],
    }


def run(entry: Entry, readable: bool = True) -> dict[str, Any] | None:
    """One run; None while it has not ended. Text of random weights is called meaningless."""
    if entry.problem is not None:
        return {"method": entry.name, "title": entry.title, "problem": entry.problem}
    if entry.answer is None:
        return None
    found = {"title": entry.title, **entry.answer, "method": entry.name}
    return found | {
        "same_answer": entry.same if readable else None,
        "text_means_something": readable,
        "visual_token_steps": list(entry.counts),
        "ratios": entry.ratios,
    }


def versions() -> dict[str, str]:
    """What made the numbers."""
    found = {"vscan_core": __version__, "python": platform.python_version(), "system": platform.system()}
    return found | {name: version(name) for name in PACKAGES}


def as_bytes(found: dict[str, Any]) -> bytes:
    """The file."""
    return json.dumps(found, indent=1, ensure_ascii=False).encode()
