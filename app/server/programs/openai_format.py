"""Answers in the form of OpenAI's chat completions: whole ones, pieces of a stream, and what they used."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from vscan_core.catalog import is_random
from vscan_core.events import Answer

from ...ui.messages import MEANINGLESS_TEXT
from .method_settings import FIELD

BASELINE_NAME = "baseline"
UNFINISHED = "\ufffd"  # stands for bytes of a character whose other bytes are still to come


@dataclass(frozen=True)
class Completion:
    """What all pieces of one answer have in common."""

    model: str
    name: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer, waited_ms: float) -> dict[str, Any]:
        """An answer that is not streamed."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage_of(answer, self.model, waited_ms)}

    def piece(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        """A piece of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def last_piece(self, answer: Answer, waited_ms: float) -> dict[str, Any]:
        """The piece of a stream that says what was used."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage_of(answer, self.model, waited_ms)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.name, "object": kind, "created": self.created, "model": self.model}


def finish_reason(answer: Answer) -> str:
    """ "stop", or "length" if the answer ended at its length limit."""
    return "stop" if answer.finished else "length"


def usage_of(answer: Answer, model: str, waited_ms: float) -> dict[str, Any]:
    """Tokens, of the prompt those that entered the language model; and what was kept of the picture, and when.

    Milliseconds: `ttft_ms` until the first token, on the device; `waited_ms` in line for it. `hint`: a sentence if the
    answer should not be trusted.
    """
    trace, written = answer.trace, len(answer.token_ids)
    prompt, visual = trace.tokens_per_layer[0], trace.visual_tokens_per_layer
    reduction = {
        "method": None if answer.method == BASELINE_NAME else answer.method,
        "visual_tokens_in": sum(image.tokens for image in trace.images),
        "visual_tokens_kept": round(answer.cost.visual_tokens, 2),  # a mean over the layers
        "visual_tokens_per_layer": list(visual),
        "ttft_ms": round(answer.timings.ttft_ms, 2),
        "waited_ms": round(waited_ms, 2),
        "hint": MEANINGLESS_TEXT if is_random(model) else answer.hint,
    }
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"multimodal_tokens": {"image": visual[0]}},
        FIELD: reduction,
    }


def new_text(text: str, sent: str, ended: bool = False) -> str:
    """What an answer that reads `text` so far adds to what was `sent`; half a character waits for its rest."""
    if not text.startswith(sent) or (text.endswith(UNFINISHED) and not ended):
        return ""
    return text[len(sent) :]
