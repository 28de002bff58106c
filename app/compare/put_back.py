"""Put it back: the same question once more, with the tokens that a visitor has marked forced in or out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from html import escape
from typing import Any

from vscan_core.catalog import is_random
from vscan_core.events import Answer, Done
from vscan_core.multirun import Refused
from vscan_core.reducers import Forced
from vscan_core.report import same_answer

from ..session.session import Session
from ..stage.view import run_view
from ..stage.widget import Marks
from ..ui.errors import explained
from ..ui.events import RUN
from .asked import chosen_settings
from .token_panel import TokenPanel

ASKING_AGAIN = "Asking again with the marked tokens …"
UNMARKED = "Please mark tokens on the map first."


class PutBack:
    """What the button under a marked map does."""

    def __init__(self, session: Session, tokens: TokenPanel, settings: Sequence[Any]) -> None:
        """`settings`: the widgets whose values `chosen_settings` takes."""
        self.session, self.tokens = session, tokens
        tokens.again.click(self.on_again, [tokens.marks, *settings], [tokens.told, *tokens.outputs], **RUN)

    def on_again(self, marks: Marks | None, *asked: Any) -> Iterator[dict[Any, Any]]:
        """The method as it is and with the marks, one after the other; a failure is said in their place."""
        try:
            yield {self.tokens.told: _said(ASKING_AGAIN)}
            yield self._again(marks or Marks(), *asked)
        except Exception as error:
            yield {self.tokens.told: _said(explained(error))}

    def _again(self, marks: Marks, *asked: Any) -> dict[Any, Any]:
        if not marks.keep and not marks.drop:
            return {self.tokens.told: _said(UNMARKED)}
        opened, settings = chosen_settings(self.session, *asked)
        model, retention = settings.model, settings.retention
        method = self.session.engine.method(settings.method)
        trace = self.session.preview(model, opened, retention, settings.method, settings.question).trace
        plain = self.session.engine.reducer(self.session.model(model), settings.method, retention)
        forced = Forced.on(trace, plain, keep=marks.keep, drop=marks.drop)
        answers: list[Answer] = []
        with closing(
            self.session.run_each(model, opened, settings.question, [lambda: plain, lambda: forced])
        ) as events:
            for event in events:
                if isinstance(event, Refused):
                    raise event.reason
                if isinstance(event, Done):
                    answers.append(event.answer)
        _, before, after = answers
        told = _told(marks, before, after, not is_random(model))
        more = forced.excess(trace.budget[0], self.session.model(model).anatomy)
        view = run_view(after.trace, retention, f"{method.title} with forced tokens")
        return {self.tokens.told: _said(f"{told} {more}".strip()), **self.tokens.fill(opened, view, settings)}


def _said(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'


def _told(marks: Marks, before: Answer, after: Answer, readable: bool) -> str:
    done = f"{len(marks.keep)} put back, {len(marks.drop)} taken out: "
    if not readable:
        return f"{done}the map shows what is left; with random weights, the answer means nothing."
    if same_answer(before, after):
        return f"{done}the answer stays the same: {after.text}"
    return f"{done}the answer changes from “{before.text}” to “{after.text}”."
