"""The named endpoint `/ask`: one answer, with nothing measured, for programs that have many questions."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from vscan_core.batched import BatchAnswer

from ..session.inputs import check_length, check_share, check_visible
from ..session.session import MAX_NEW_TOKENS, Session
from ..session.visitors import Visits
from ..ui.errors import streaming
from ..ui.fairness import visiting


class AskEndpoint:
    """What the endpoint does. Bad values and visitors who ask for too much are refused in one sentence."""

    def __init__(self, session: Session, visits: Visits) -> None:
        self.session, self.visits = session, visits

    @streaming
    def ask(
        self,
        image: str,
        question: str,
        retention: float,
        model: str,
        method: str,
        max_new_tokens: float,
        request: gr.Request | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Answer a question about a picture with one method; nothing is measured. Replicas answer in batches.

        Args:
            image: The picture file (JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF; at most 10 MB and 40 megapixels).
            question: The question, in plain words.
            retention: Share of visual tokens to keep, averaged over the language model's layers; above 0, at most 1.
            model: Name of a model on offer, such as "mini".
            method: Name of the reduction method, such as "vscan", or "baseline" for all visual tokens.
            max_new_tokens: Length limit of the answer in tokens, 1 to 64.

        Returns:
            The answer; how many visual tokens entered each layer, and whether the model ended the answer.
        """
        engine, limit = self.session.engine, check_length(max_new_tokens, MAX_NEW_TOKENS)
        asked, share = check_visible(question or ""), check_share(retention)
        reducer = None if method == "baseline" else engine.method(method)(share)

        def start() -> Generator[BatchAnswer | None, None, None]:
            return self.session.ask(model, image, asked, reducer, limit)

        with closing(visiting(self.visits, request, start)) as steps:
            for found, _ in steps:
                if found is not None:
                    counts = {"visual_tokens_per_layer": list(found.visual_tokens_per_layer)}
                    yield found.text, {**counts, "finished": found.finished}
