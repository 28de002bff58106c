"""The named endpoints for programs, `/compare`, `/overlay`, `/arena` and `/sweep`: plain values in and out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr
from PIL import Image

from vscan_core.draw.fates import Fate, fates
from vscan_core.draw.token_map import token_map
from vscan_core.events import Answer

from ..arena.settings import arena_settings, default_methods
from ..runs.comparison import ComparisonSnapshot, comparison_snapshots
from ..runs.export_json import runs_as_json
from ..runs.settings import RunSettings, stream_runs
from ..session.session import MAX_NEW_TOKENS, Session
from ..session.sources import OpenedSource
from ..sweep.settings import SWEEP_RETENTIONS_TEXT, retentions_from, sweep_settings
from ..ui.errors import answering, streaming
from ..ui.messages import KEPT_EARLIER
from ..ui.picture import picture_input


class Endpoints:
    """What the endpoints do."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @streaming
    def compare(
        self, image: str, question: str, retention: float, model: str, method: str, max_new_tokens: float
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Answer a question about a picture twice, with all visual tokens and with few; streams both answers.

        Args:
            image: The picture file (JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF; at most 10 MB and 40 megapixels).
            question: The question, in plain words.
            retention: Share of visual tokens to keep, averaged over the language model's layers; above 0, at most 1.
            model: Name of a model on offer, such as "mini".
            method: Name of the reduction method, such as "vscan".
            max_new_tokens: Length limit of each answer in tokens, 1 to 64.

        Returns:
            The baseline's answer so far; the reduced run's answer so far; numbers of every run that has ended.
        """
        limit = max(1, min(int(max_new_tokens or MAX_NEW_TOKENS), MAX_NEW_TOKENS))
        with closing(self.session.compare(model, image, question or "", retention, method, limit)) as events:
            for now in comparison_snapshots(events):
                yield *now.texts, numbers(now)

    @answering
    def overlay(self, image: str, retention: float, model: str, method: str) -> tuple[Image.Image, dict[str, Any]]:
        """Draw which visual tokens of a picture the first cut keeps, without running the language model.

        Args:
            image: The picture file (JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF; at most 10 MB and 40 megapixels).
            retention: Share of visual tokens to keep, averaged over the language model's layers; above 0, at most 1.
            model: Name of a model on offer, such as "mini".
            method: Name of the reduction method, such as "vscan".

        Returns:
            The picture with its tokens marked; the counts.
        """
        opened = self.session.open(image)
        first = self.session.preview(model, opened, retention, method)
        found = fates(first.trace)
        counts = {fate.name.lower(): found.count(fate) for fate in Fate if fate is not Fate.PRUNED}
        return token_map(opened.image, first.trace, first.boxes, found), {
            "tokens": first.trace.tokens,
            "schedule": {str(layer): number for layer, number in first.schedule.items()},
            "first_cut": counts,
        }

    @streaming
    def arena(
        self, image: str, question: str, retention: float, methods: list[str], model: str
    ) -> Iterator[dict[str, Any]]:
        """Answer a question about a picture with all visual tokens and then with each method; streams every result.

        Args:
            image: The picture file (JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF; at most 10 MB and 40 megapixels).
            question: The question, in plain words.
            retention: Share of visual tokens to keep, averaged over the language model's layers; above 0, at most 1.
            methods: Names of the reduction methods, such as ["vscan"].
            model: Name of a model on offer, such as "mini".

        Returns:
            Settings, versions and all numbers of the runs that have ended, the baseline first; a method that cannot
            run with this model or budget has a "problem" in their place. Single runs, not a benchmark.
        """
        opened = self.session.open(image)
        settings = arena_settings(self.session, model, opened, question or "", retention, methods or [])
        yield from self._runs(opened, settings)

    @streaming
    def sweep(self, image: str, question: str, retentions: str, model: str, method: str) -> Iterator[dict[str, Any]]:
        """Answer a question about a picture with all visual tokens and then at each retention; streams every result.

        Args:
            image: The picture file (JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF; at most 10 MB and 40 megapixels).
            question: The question, in plain words.
            retentions: Shares of visual tokens to keep, with commas between them, such as "1, 0.333, 0.111".
            model: Name of a model on offer, such as "mini".
            method: Name of the reduction method, such as "vscan".

        Returns:
            Settings, versions and all numbers of the runs that have ended, the baseline first; a retention that the
            method does not reach has a "problem" in their place. Single runs, not a benchmark.
        """
        shares = retentions_from(retentions or "")
        opened = self.session.open(image)
        settings = sweep_settings(self.session, model, opened, question or "", shares, method)
        yield from self._runs(opened, settings)

    def _runs(self, opened: OpenedSource, settings: RunSettings) -> Iterator[dict[str, Any]]:
        over = 0
        with closing(stream_runs(self.session, opened, settings)) as steps:
            for now in steps:
                if now.ended or over < now.over < len(now.runs):
                    over = now.over
                    yield runs_as_json(settings, now)


def add_endpoints(session: Session) -> None:
    """Attach the endpoints to widgets that the page does not show; their labels document the parameters."""
    endpoints = Endpoints(session)
    with gr.Column(visible=False):
        inputs = [
            picture_input(label="Picture file (JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF)"),
            gr.Textbox(label="Question about the picture"),
            gr.Number(1 / 9, label="Share of visual tokens to keep: above 0, at most 1"),
            gr.Textbox(session.default_model, label="Name of the model"),
            gr.Textbox("vscan", label="Name of the reduction method"),
            gr.Number(MAX_NEW_TOKENS, label=f"Length limit of each answer in tokens, 1 to {MAX_NEW_TOKENS}"),
        ]
        texts = [gr.Textbox(label="Answer with all visual tokens"), gr.Textbox(label="Answer with fewer visual tokens")]
        counts = gr.JSON(label="Numbers")
        picture = gr.Image(label="Picture with its tokens marked", format="jpeg")
        names = list(session.engine.methods())
        methods = gr.CheckboxGroup(names, value=default_methods(session), label="Names of the reduction methods")
        shares = gr.Textbox(SWEEP_RETENTIONS_TEXT, label="Shares of visual tokens to keep, with commas between them")
        trigger = gr.Button()
    run: dict[str, Any] = {"concurrency_id": "run", "concurrency_limit": 1}
    preview: dict[str, Any] = {"concurrency_id": "preview", "concurrency_limit": 2}
    trigger.click(endpoints.compare, inputs, [*texts, counts], api_name="compare", **run)
    trigger.click(endpoints.overlay, [inputs[0], *inputs[2:5]], [picture, counts], api_name="overlay", **preview)
    trigger.click(endpoints.arena, [*inputs[:3], methods, inputs[3]], counts, api_name="arena", **run)
    trigger.click(endpoints.sweep, [*inputs[:2], shares, *inputs[3:5]], counts, api_name="sweep", **run)


def numbers(now: ComparisonSnapshot) -> dict[str, Any]:
    """Numbers of the runs that have ended, with units in the names."""
    runs = {answer.method: _numbers(answer) for answer in now.answers if answer}
    kept = {"baseline_kept": KEPT_EARLIER} if now.kept else {}
    took = {"turn": vars(now.time)} if now.time else {}
    return {
        **runs,
        **kept,
        **took,
        "hint": now.hint,
        "same_answer": now.ended and now.texts[0].split() == now.texts[1].split(),
    }


def _numbers(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "finished": answer.finished,
        "visual_tokens_per_layer": answer.trace.visual_tokens_per_layer,
        **vars(answer.timings),
        **vars(answer.cost),
    }
