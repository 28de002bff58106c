"""The runs of this visitor since the page was loaded, as small pictures below the tabs; one click brings one back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from .errors import answering
from .events import PRIVATE
from .links import Place

MAX_RUNS = 12
EARLIER = "Earlier runs ({number})"


@dataclass(frozen=True)
class EarlierRun:
    """What was asked, as values of shared widgets by key, and how it ended; plain values for a visitor's state."""

    tab: str
    values: dict[str, Any]
    words: str  # a line of text: what was run, and the answer


def caption_of(run: EarlierRun) -> str:
    """The line under the small picture."""
    return f"{run.values.get('question', '')} · {run.words}"


def earlier_runs(tabs: gr.Tabs, places: Mapping[str, Place]) -> None:
    """Build the list, hidden while it is empty, and connect it with every page that tells of its runs."""
    runs = gr.State([])
    with gr.Accordion(EARLIER.format(number=0), open=False, visible=False, elem_id="earlier") as box:
        gallery = gr.Gallery(
            show_label=False, label="Earlier runs", columns=6, height="auto", allow_preview=False, interactive=False,
            object_fit="cover", buttons=[], elem_id="earlier-runs", elem_classes="captioned",
        )  # fmt: skip
    shared = [(key, widget) for place in places.values() for key, widget in place.page.shared.items()]

    def added(known: list[EarlierRun], run: EarlierRun | None) -> dict[Any, Any]:
        if run is None:
            return {runs: known}
        now = [each for each in [run, *known] if Path(each.values["picture"]).is_file()][:MAX_RUNS]
        pictures = [(each.values["picture"], caption_of(each)) for each in now]
        return {
            runs: now, gallery: pictures,
            box: gr.update(visible=bool(now), label=EARLIER.format(number=len(now))),
        }  # fmt: skip

    @answering
    def again(known: list[EarlierRun], event: gr.SelectData) -> dict[Any, Any]:
        run = known[int(event.index)]
        return {tabs: gr.Tabs(selected=run.tab)} | {
            widget: run.values[key] for key, widget in shared if key in run.values
        }

    for place in places.values():
        if place.page.ended:
            end, state, told = place.page.ended
            end.then(_of(told, added), [runs, state], [runs, gallery, box], **PRIVATE)
    gallery.select(again, runs, [tabs, *(widget for _, widget in shared)], **PRIVATE)


def _of(told: Any, added: Any) -> Any:
    def handler(known: list[EarlierRun], shown: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = added(known, told(shown))
        return found

    return handler
