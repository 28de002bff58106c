"""Answers in the form of OpenAI's chat completions: whole ones, pieces of a stream, and what they used."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, fields
from typing import Any

from vscan_core.catalog import is_random
from vscan_core.events import Answer
from vscan_core.reducers import Reducer

from ...ui.messages import MEANINGLESS_TEXT
from .method_settings import FIELD

UNFINISHED = "\ufffd"  # stands for bytes of a character whose other bytes are still to come


@dataclass(frozen=True)
class Completion:
    """What all pieces of one answer have in common."""

    model: str
    name: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
        """An answer that is not streamed."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage}

    def piece(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        """A piece of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def last_piece(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The piece of a stream that says what was used."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.name, "object": kind, "created": self.created, "model": self.model}


def finish_reason(answer: Answer) -> str:
    """ "stop", or "length" if the answer ended at its length limit."""
    return "stop" if answer.finished else "length"


def usage_of(answer: Answer, model: str, reducer: Reducer | None, waited_ms: float) -> dict[str, Any]:
    """Tokens, of the prompt those that entered the language model; and what became of the picture's, and when.

    `kept`: a mean over the layers; milliseconds: `ttft_ms` until the first token, on the device, `waited_ms` in line
    for it; `hint`: a sentence if the answer should not be trusted; `notes`: how it came about, if not in one reading.
    """
    trace, written = answer.trace, len(answer.token_ids)
    prompt, visual = trace.tokens_per_layer[0], list(trace.visual_tokens_per_layer)
    settings = reducer and {each.name: getattr(reducer, each.name) for each in fields(reducer) if each.init}
    reduction = {
        "method": None if reducer is None else answer.method,
        "settings": settings,
        "tokens": sum(image.tokens for image in trace.images),
        "kept": round(answer.cost.visual_tokens, 2),
        "visual_tokens_per_layer": visual,
        "ttft_ms": round(answer.timings.ttft_ms, 2),
        "waited_ms": round(waited_ms, 2),
        "hint": MEANINGLESS_TEXT if is_random(model) else answer.hint,
        "notes": list(answer.notes),
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
