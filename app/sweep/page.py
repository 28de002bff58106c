"""The Sweep: one picture, one question, one method, at every retention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..arena.outputs import no_file
from ..compare.outputs import NOISE
from ..runs.export_json import as_bytes
from ..runs.page import RunsPage
from ..runs.progress import Round, rounds
from ..session.examples import Example
from ..ui.errors import explained
from . import exports
from .inputs import sweep_ask
from .outputs import chart, fill, sweep_board
from .settings import Asked, asked, spending, sweep, titles


@dataclass(frozen=True)
class Kept:
    """What the visitor's state holds for the downloads: plain values, a few kilobytes per run."""

    asked: Asked
    now: Round
    path: str
    noise: str | None


class SweepPage(RunsPage):
    """The widgets of the tab and what happens when they are used."""

    def _build(self, examples: list[Example]) -> None:
        with gr.Column(scale=4, min_width=300, elem_id="sweep-ask"):
            self.ask = sweep_ask(self.session, examples)
        with gr.Column(scale=9, min_width=300):
            self.board = sweep_board()

    def _spending(self, model: str, path: str | None, *plan: Any) -> str:
        retentions, method = plan
        return spending(self.session, model, path, [float(share) for share in retentions], method)

    def _run(self, model: str, path: str | None, question: str, *plan: Any) -> Iterator[dict[Any, Any]]:
        retentions, method = plan
        wanted = asked(self.session, model, path, question, [float(share) for share in retentions], method)
        noise = NOISE if wanted.model.startswith("dummy:") else None
        out: dict[Any, Any] = {self.state: None} | dict.fromkeys(self.board.files, no_file())
        ended = 0
        with closing(sweep(self.session, path, wanted)) as events:
            moments = rounds(
                events, titles(wanted), lambda trace: self._picture(str(path), trace), explained, of="runs"
            )
            for now in moments:
                # every step repeats what was shown before: the browser may skip a step, but never the last one
                out |= fill(self.board, now, noise) | self._buttons(running=True)
                if now.some:
                    out[self.state] = Kept(wanted, now, str(path), noise)
                over = sum(entry.over for entry in now.entries)
                if over > ended:
                    ended, out[self.board.chart] = over, chart(now, noise)
                if now.ended:
                    out[self.board.status] = noise or now.status + self._right.sentence(path, wanted.question)
                yield dict(out)

    def _saved(self, kept: Kept) -> Sequence[tuple[str, bytes]]:
        cards, methods = self.session.engine.models(), self.session.engine.methods()
        title = cards[kept.asked.model].title if kept.asked.model in cards else kept.asked.model
        found = exports.sheet(kept.asked, kept.now, kept.noise is None)
        picture = self.session.picture(kept.path).canvas
        page = exports.page(kept.asked, kept.now, picture, title, methods[kept.asked.method].title, kept.noise)
        contents = {"json": as_bytes(found), "csv": exports.as_csv(found), "png": page}
        return [(f"vscan-sweep.{kind}", data) for kind, data in contents.items()]
