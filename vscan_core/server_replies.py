"""What a server with OpenAI's chat completions says: pieces of an answer, its count of tokens, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vscan_core.errors import InputError, ServerFailure

MOST_TOLD = 300  # characters of a server's sentence that are repeated


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of a request as the server counted them."""

    prompt: int
    completion: int
    visual: int | None = None  # of the picture in the prompt; None: it does not say
    cached: int = 0  # of the prompt, from an earlier request
    per_layer: tuple[int, ...] = ()  # visual tokens that entered each layer of the language model; (): it does not say


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed answer."""

    text: str = ""
    ended: str | None = None  # "stop", "length" ..., in the piece that ends the answer
    usage: TokenUsage | None = None  # at the end
    ms: float = 0.0  # from asking to its arrival, network included
    token: bool = False  # whether it stands for one, be it without text of its own; the opening piece does not


def as_chunk(data: bytes, who: str, ms: float) -> Chunk:
    """One event of a server's stream, `ms` after the question. Raises ServerFailure if it reports one or is damaged."""
    try:
        event = json.loads(data)
        if "error" in event:
            raise ServerFailure(f"{who} failed: {told(_message(event))}")
        choice = event["choices"][0] if event.get("choices") else {}
        delta, ended = choice.get("delta") or {}, choice.get("finish_reason")
        text, usage = str(delta.get("content") or ""), _usage(event["usage"]) if event.get("usage") else None
        token = bool(text or ended or (delta.get("content") is not None and "role" not in delta))
        return Chunk(text, ended and str(ended), usage, ms, token)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, ServerFailure):
            raise
        raise ServerFailure(f"{who} sent something that is no chat completion.") from None


def _usage(found: Mapping[str, Any]) -> TokenUsage:
    details, reduction = found.get("prompt_tokens_details") or {}, found.get("vscan") or {}
    visual = (details.get("multimodal_tokens") or {}).get("image", reduction.get("kept"))
    return TokenUsage(
        int(found["prompt_tokens"]),
        int(found.get("completion_tokens") or 0),
        None if visual is None else int(visual),
        int(details.get("cached_tokens") or 0),
        tuple(int(count) for count in reduction.get("visual_tokens_per_layer") or ()),
    )


def refusal_of(status: int, content: bytes, who: str) -> InputError:
    """A reply that is no answer: one sentence, the server's own where it gives one. 4xx: whoever asks can change it."""
    try:
        said = told(_message(json.loads(content)))
    except (ValueError, TypeError, AttributeError):
        said = ""
    if status in (401, 403):
        return ServerFailure(f"{who} wants another key{f': {said}' if said else '.'}")
    if 400 <= status < 500 and said:
        return InputError(f"The server refused: {said}")
    return ServerFailure(f"{who} failed with HTTP status {status}{f': {said}' if said else '.'}")


def _message(reply: Mapping[str, Any]) -> str:
    error = reply.get("error", reply)
    return str(error.get("message") or error.get("detail") or "") if isinstance(error, Mapping) else str(error)


def told(text: str) -> str:
    """What a server or a library says, on one line of bounded length."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= MOST_TOLD else f"{line[:MOST_TOLD]}…"
