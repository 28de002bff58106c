"""How a run begins and ends on a page, whatever ends it: its end, Stop, another picture, a full queue, a lost network.

Gradio's own `cancels` is not used: its client takes the message with which the server confirms it for an error, cuts
the stream of every event of the page, and lets a second run begin before the first has stopped; that run then waits for
ever. Here every run has an id of its own, made in the browser; Stop sends it, and the run ends by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from vscan_core.errors import InputError

from ..session.lru_cache import LRUCache
from ..session.visitors import Visits
from .errors import TOAST, explained
from .events import PRIVATE, RUN
from .fairness import visiting, waiting_words
from .messages import STOPPED, WAITING

BEGINNING = "Waiting for the model …"
STOPPING = "Stopping …"
NOT_STARTED = (
    "**This run could not start or was cut off:** the server cannot take it now, or the connection was lost. "
    "Please press **Run** again in a moment."
)
SCRIPT = (Path(__file__).parent / "run.js").read_text(encoding="utf-8")
MOST_IDS = 1000
_BUTTON = "{__type__: 'update', interactive: %s}"
_IDLE = f"{_BUTTON % 'true'}, {_BUTTON % 'false'}"
# a run that is not dispatched, because one is under way, does not come here and changes nothing
_BEGINS = """(...inputs) => { const mine = runsOf[PLACE];
    mine.id = [...crypto.getRandomValues(new Uint32Array(4))].join("-"); mine.busy = true; mine.runs += 1;
    window.dispatchEvent(new CustomEvent("runbegins", { detail: PLACE }));
    return [...inputs.slice(0, -1), mine.id]; }"""
_SHOW = f"() => [{json.dumps(BEGINNING)}, {_BUTTON % 'false'}, {_BUTTON % 'true'}]"
_STOP = f"""() => runsOf[PLACE]?.busy ? [{json.dumps(STOPPING)}, {_BUTTON % "false"}, {_BUTTON % "false"}]
    : [undefined, undefined, undefined]"""
_ID = "() => [runsOf[PLACE]?.busy ? runsOf[PLACE].id : '']"
_ENDS = f"""(status) => {{ runsOf[PLACE].busy = false;
    return [status.endsWith("…") ? SENTENCE : undefined, {_IDLE}]; }}"""


@dataclass(frozen=True)
class RunControls:
    """The widgets that show whether a page's run goes on."""

    place: str  # before the ids of the page's widgets
    status: gr.Markdown
    clock: gr.HTML
    run: gr.Button
    stop: gr.Button
    visits: Visits = field(default_factory=Visits)
    stopped: LRUCache[bool] = field(default_factory=lambda: LRUCache(MOST_IDS))  # ids of runs that shall end

    def connect(
        self, starts: Sequence[Any], handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> Any:
        """Run `handler`, a generator of updates by widget, when one of `starts` happens. Returns the event.

        What the handler yields last must say how it ended; it catches its own failures and says them, too.
        """
        shown = [self.status, self.run, self.stop]
        settings = RUN | {"js": self._js(_BEGINS)}
        run = gr.on([*starts], self._until_stopped(handler), [*inputs, self._id_box()], [*outputs], **settings)
        run.then(None, self.status, shown, js=self._js(_ENDS, STOPPED), **PRIVATE)
        run.failure(None, self.status, shown, js=self._js(_ENDS, NOT_STARTED), **PRIVATE)
        return run

    def stop_on(self, triggers: Sequence[Any]) -> None:
        """Once for a page: show that a run begins, and stop it when one of `triggers` happens."""
        shown = [self.status, self.run, self.stop]
        self.clock.submit(None, None, shown, js=_SHOW, **PRIVATE)
        for trigger in triggers:
            trigger(None, None, shown, js=self._js(_STOP), **PRIVATE)
            trigger(self.on_stop, self._id_box(), None, js=self._js(_ID), queue=False, **PRIVATE)

    def on_stop(self, run_id: str | None) -> None:
        """The run of this id ends after its present step."""
        if run_id:
            self.stopped.put(run_id[:64], True)

    def _until_stopped(
        self, handler: Callable[..., Generator[dict[Any, Any], None, None]]
    ) -> Callable[..., Iterator[dict[Any, Any]]]:
        """The handler with the run's id as its last argument; "Stopped." is said when its work has ended.

        A visitor who has too many runs is told so, and one who waits is told for how long.
        """

        def following(request: gr.Request, *inputs: Any) -> Iterator[dict[Any, Any]]:
            *values, run_id = inputs

            def stopped() -> bool:
                return bool(self.stopped.find(str(run_id)))

            try:
                with closing(visiting(self.visits, request, lambda: handler(*values), stopped)) as updates:
                    for update, outlook in updates:
                        if outlook and update.get(self.status) == WAITING:
                            update = {**update, self.status: waiting_words(outlook)}
                        yield update
                if stopped():
                    yield {self.status: STOPPED}
            except InputError as error:  # the handler tells its own
                gr.Warning(explained(error), title=TOAST)
                yield {self.status: f"**{explained(error)}**"}

        return following

    def _id_box(self) -> gr.Textbox:
        return gr.Textbox(visible=False)

    def _js(self, code: str, sentence: str = "") -> str:
        return code.replace("PLACE", json.dumps(self.place)).replace("SENTENCE", json.dumps(sentence))


def run_clock(place: str, goal: str) -> gr.HTML:
    """The seconds since Run was pressed; on a phone, Run scrolls to `goal`, a CSS selector."""
    return gr.HTML(
        value="",
        html_template='<span class="run-clock" role="timer"></span>',
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id=f"{place}clock",
        elem_classes="clock",
        place=place,
        goal=goal,
    )
