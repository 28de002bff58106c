"""The Arena: one picture, one question, one budget, any set of methods, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from .. import formatting
from ..compare.outputs import NOISE
from ..runs.budget import spending
from ..runs.export_json import Settings, as_bytes, settings_of, sheet
from ..runs.export_png import Head, poster
from ..runs.page import RunsPage
from ..runs.progress import Round, rounds
from ..session.examples import Example
from ..ui.errors import explained
from .inputs import arena_ask
from .outputs import board, fill, no_file


@dataclass(frozen=True)
class Kept:
    """What the visitor's state holds for the downloads: plain values, a few kilobytes per method."""

    settings: Settings
    now: Round
    path: str
    title: str  # of the model
    noise: str | None


class ArenaPage(RunsPage):
    """The widgets of the tab and what happens when they are used."""

    def _build(self, examples: list[Example]) -> None:
        with gr.Column(scale=4, min_width=300, elem_id="arena-ask"):
            self.ask = arena_ask(self.session, examples)
        with gr.Column(scale=9, min_width=300):
            self.board = board()

    def _spending(self, model: str, path: str | None, *plan: Any) -> str:
        percent, methods = plan
        return spending(self.session, model, path, percent / 100, methods)

    def _run(self, model: str, path: str | None, question: str, *plan: Any) -> Iterator[dict[Any, Any]]:
        retention, methods = plan[0] / 100, list(dict.fromkeys(plan[1]))
        noise = NOISE if model.startswith("dummy:") else None
        out: dict[Any, Any] = {self.state: None} | dict.fromkeys(self.board.files, no_file())
        with closing(self.session.arena(model, path, question, retention, methods)) as events:
            settings = settings_of(self.session, model, path, question, retention, methods)
            title = self.session.engine.models()[model].title if model in self.session.engine.models() else model
            known = self.session.engine.methods()
            titles = {name: known[name].title for name in methods}
            for now in rounds(events, titles, lambda trace: self._picture(str(path), trace), explained):
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= fill(self.board, now, noise) | self._buttons(running=True)
                if now.some:
                    out[self.state] = Kept(settings, now, str(path), title, noise)
                if now.ended:
                    out[self.board.status] = noise or now.status + self._right.sentence(path, question)
                yield dict(out)

    def _saved(self, kept: Kept) -> Sequence[tuple[str, bytes]]:
        numbers = as_bytes(sheet(kept.settings, kept.now, kept.noise is None))
        picture = self.session.picture(kept.path).canvas
        share = formatting.percent(kept.settings.retention)
        budget = f"{share} of the visual tokens, averaged over the layers · {kept.settings.device}"
        head = Head("VScan Arena", kept.settings.question, (kept.title, budget))
        return ("vscan-arena.json", numbers), ("vscan-arena.png", poster(head, kept.now, picture, kept.noise))
