"""The named endpoints for programs, `/compare`, `/overlay`, `/arena`, `/sweep` and `/ask`: plain values in and out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from vscan_core.draw.fates import Fate, fates
from vscan_core.draw.token_map import token_map

from ..arena.settings import arena_settings, default_methods
from ..runs.comparison import ComparisonSnapshot, comparison_snapshots
from ..runs.export_json import runs_as_json
from ..runs.settings import RunSettings, stream_runs
from ..session.inputs import check_length, check_share, check_visible
from ..session.session import MAX_NEW_TOKENS, Session
from ..session.sources import OpenedSource, Source
from ..session.visitors import Visits
from ..sweep.settings import SWEEP_RETENTIONS_TEXT, retentions_from, sweep_settings
from ..ui.errors import answering, streaming
from ..ui.events import AS_PREVIEW, AS_RUN
from ..ui.fairness import visiting
from ..ui.picture import picture_input
from .ask import AskEndpoint
from .numbers import numbers

T = TypeVar("T")


class Endpoints:
    """What the endpoints do. Bad values and visitors who ask for too much are refused in one sentence."""

    def __init__(self, session: Session, visits: Visits | None = None) -> None:
        self.session, self.visits = session, visits or Visits()

    @streaming
    def compare(
        self,
        image: str,
        question: str,
        retention: float,
        model: str,
        method: str,
        max_new_tokens: float,
        request: gr.Request | None = None,
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
        asked = model, image, check_visible(question or ""), check_share(retention), method
        limit = check_length(max_new_tokens, MAX_NEW_TOKENS)
        for now in self._visiting(request, lambda: compared_answers(self.session, *asked, limit)):
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
        return drawn_first_cut(self.session, self.session.open(image), check_share(retention), model, method)

    @streaming
    def arena(
        self,
        image: str,
        question: str,
        retention: float,
        methods: list[str],
        model: str,
        request: gr.Request | None = None,
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
        asked, share = check_visible(question or ""), check_share(retention)

        def settings(opened: OpenedSource) -> RunSettings:
            return arena_settings(self.session, model, opened, asked, share, methods or [])

        yield from self._visiting(request, lambda: self._runs(image, settings))

    @streaming
    def sweep(
        self,
        image: str,
        question: str,
        retentions: str,
        model: str,
        method: str,
        request: gr.Request | None = None,
    ) -> Iterator[dict[str, Any]]:
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
        asked, shares = check_visible(question or ""), [check_share(one) for one in retentions_from(retentions or "")]

        def settings(opened: OpenedSource) -> RunSettings:
            return sweep_settings(self.session, model, opened, asked, shares, method)

        yield from self._visiting(request, lambda: self._runs(image, settings))

    def _visiting(
        self, request: gr.Request | None, start: Callable[[], Generator[T, None, None]]
    ) -> Generator[T, None, None]:
        """The steps that `start` begins, within what one visitor may have; nothing is opened before that is clear."""
        with closing(visiting(self.visits, request, start)) as steps:
            for step, _ in steps:
                yield step

    def _runs(
        self, image: str, settings_of: Callable[[OpenedSource], RunSettings]
    ) -> Generator[dict[str, Any], None, None]:
        opened = self.session.open(image)
        settings = settings_of(opened)
        over = 0
        with closing(stream_runs(self.session, opened, settings)) as steps:
            for now in steps:
                if now.ended or over < now.over < len(now.runs):
                    over = now.over
                    yield runs_as_json(settings, now)


def compared_answers(
    session: Session, model: str, source: Source, question: str, retention: float, method: str, limit: int
) -> Generator[ComparisonSnapshot, None, None]:
    """Snapshots of a comparison; `limit` is the greatest length of each answer, in tokens."""
    with closing(session.compare(model, source, question, retention, method, limit)) as events:
        yield from comparison_snapshots(events)


def drawn_first_cut(
    session: Session, opened: OpenedSource, retention: float, model: str, method: str
) -> tuple[Image.Image, dict[str, Any]]:
    """The picture with the tokens marked that the first cut keeps, and their numbers."""
    first = session.preview(model, opened, retention, method)
    found = fates(first.trace)
    counts = {fate.name.lower(): found.count(fate) for fate in Fate if fate is not Fate.PRUNED}
    return token_map(opened.image, first.trace, first.boxes, found), {
        "tokens": first.trace.tokens,
        "schedule": {str(layer): number for layer, number in first.schedule.items()},
        "first_cut": counts,
    }


def add_endpoints(session: Session, visits: Visits | None = None) -> None:
    """Attach the endpoints to widgets that the page does not show; their labels document the parameters."""
    endpoints = Endpoints(session, visits)
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
    trigger.click(endpoints.compare, inputs, [*texts, counts], api_name="compare", **AS_RUN)
    ask = AskEndpoint(session, endpoints.visits).ask
    trigger.click(ask, inputs, [texts[1], counts], api_name="ask", **AS_RUN)
    trigger.click(endpoints.overlay, [inputs[0], *inputs[2:5]], [picture, counts], api_name="overlay", **AS_PREVIEW)
    trigger.click(endpoints.arena, [*inputs[:3], methods, inputs[3]], counts, api_name="arena", **AS_RUN)
    trigger.click(endpoints.sweep, [*inputs[:2], shares, *inputs[3:5]], counts, api_name="sweep", **AS_RUN)
