"""What a sweep is asked, and the runs that follow from it."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from vscan_core.budget import check_retention
from vscan_core.errors import InputError
from vscan_core.events import Event
from vscan_core.multirun import Refused

from .. import formatting
from ..runs.budget import plan
from ..session.session import MAX_NEW_TOKENS, Session

PUBLISHED = (1.0, 1 / 2, 1 / 3, 2 / 9, 1 / 9, 1 / 18, 1 / 36)
MOST = 20  # retentions in one sweep
PLAIN = "1, 0.5, 0.333, 0.222, 0.111, 0.056, 0.028"


@dataclass(frozen=True)
class Asked:
    """The settings, as they are exported."""

    model: str
    question: str
    method: str
    retentions: tuple[float, ...]
    max_new_tokens: int
    device: str
    picture_sha256: str


def asked(
    session: Session, model: str, path: str | None, question: str, retentions: Sequence[float], method: str
) -> Asked:
    """Check them, the largest retention first. Raises InputError."""
    shares = tuple(sorted({check_retention(share) for share in retentions}, reverse=True))
    if not 1 <= len(shares) <= MOST:
        raise InputError(f"Please choose between 1 and {MOST} retentions.")
    known = session.engine.methods()
    if method not in known:
        raise InputError(f"There is no method {method[:40]!r}; choose from: {', '.join(known)}.")
    digest, device = session.picture(path).digest, session.device(model).name
    return Asked(model, question, method, shares, MAX_NEW_TOKENS, device, digest)


def shares(text: str) -> list[float]:
    """ "0.5, 0.111" as numbers. Raises InputError."""
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        raise InputError(f"Retentions are numbers with commas between them, such as {PLAIN}.") from None


def sweep(session: Session, path: str | None, asked: Asked) -> Generator[Event | Refused | None, None, None]:
    """The baseline, then the method at every retention, in one turn; close it to stop."""
    makers = [functools.partial(session.engine.reducer, asked.method, share) for share in asked.retentions]
    return session.series(asked.model, path, asked.question, makers)


def titles(asked: Asked) -> dict[str, str]:
    """{name of the run: as the page writes it}: the retentions."""
    return {str(share): formatting.percent(share) for share in asked.retentions}


def spending(session: Session, model: str, path: str | None, retentions: Sequence[float], method: str) -> str:
    """Markdown: what the method does, and the counts of visual tokens that every retention stands for."""
    known = session.engine.methods()[method]
    tokens = session.preview(model, path, 1.0).trace.tokens
    plans = [
        f"- **{formatting.percent(share)}**: {plan(session, model, share, method, tokens)}"
        for share in sorted(retentions, reverse=True)
    ]
    head = f"{known.title}: {known.summary}. Visual tokens, of {tokens:,}, from layer to layer:"
    return "\n".join([head, "", *plans])
