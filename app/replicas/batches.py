"""Questions that share a batch: those whose answers are reduced in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from vscan_core.batched import BatchAnswer
from vscan_core.errors import InputError

from ..session.elsewhere import CallRefused, SessionCall
from ..session.session import Session
from ..session.sources import OpenedSource
from ..session.turn import Asked

AskCall: TypeAlias = tuple[SessionCall, OpenedSource]  # of the method `ask`


def batch_answers(session: Session, calls: Sequence[AskCall]) -> list[BatchAnswer | CallRefused]:
    """One answer per call of `ask`: those with equal reducers and length limits in one batch, in the order of coming.

    A batch that is refused is asked again one by one, so that only who is to blame is refused.
    """
    keys = [(call.model, *call.given[1:]) for call, _ in calls]
    found: dict[int, BatchAnswer | CallRefused] = {}
    for first in {keys.index(key) for key in keys}:
        places = [place for place, key in enumerate(keys) if key == keys[first]]
        try:
            found |= zip(places, _answers(session, [calls[place] for place in places]), strict=True)
        except InputError:
            found |= {place: _answer_or_refusal(session, calls[place]) for place in places}
    return [found[place] for place in range(len(calls))]


def _answer_or_refusal(session: Session, call: AskCall) -> BatchAnswer | CallRefused:
    try:
        return _answers(session, [call])[0]
    except InputError as reason:
        return CallRefused(reason)


def _answers(session: Session, calls: Sequence[AskCall]) -> list[BatchAnswer]:
    lvlm = session.model(calls[0][0].model)
    asked = []
    for call, source in calls:
        question, _, limit = call.given
        asked.append(Asked(call.model, lvlm, source.digest, source.asked_about, question, limit))
    return [answer for answer in session.ask_many(asked, calls[0][0].given[1]) if answer is not None]
