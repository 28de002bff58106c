"""An answer as a server gives it: pieces with the time of their arrival, and counts of tokens at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vscan_core.catalog import DUMMY, ModelCard
from vscan_core.chat_server import ChatServer
from vscan_core.errors import ServerFailure
from vscan_core.events import Answer, Cost, Timings
from vscan_core.measure import prefill_tflops, prompt_kv_bytes
from vscan_core.server_replies import Chunk, TokenUsage
from vscan_core.trace import Trace

if TYPE_CHECKING:
    from vscan_core import LVLM

UNCOUNTED = "The server does not count the tokens of its answers, so nothing can be said about them."
OTHER_COUNT = (
    "the server counted {there} visual tokens, but with these settings there are {here} on the map: it may run another "
    "model, or without the settings."
)
FROM_CACHE = "{cached} tokens of the prompt came from the server's cache, so the first token came sooner."


def served_name(card: ModelCard, server: ChatServer) -> str:
    """What the server calls this model; "" if it does not have it. Folders and owners of models are not compared."""
    wanted = {_last(card.name), _last(card.source)} - {""}
    return next((name for name, root in server.models.items() if wanted & {_last(name), _last(root)}), "")


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().removeprefix(DUMMY)


@dataclass
class ServedAnswer:
    """What has arrived so far."""

    lvlm: LVLM  # the same model here
    prompt: int  # tokens of the whole prompt here, with all visual tokens
    seen: Trace  # what the same settings keep here
    text: str = ""
    first_ms: float | None = None
    last_ms: float = 0.0
    ended: str | None = None
    usage: TokenUsage | None = None

    def add(self, chunk: Chunk) -> tuple[bool, bool]:
        """One more piece: whether it is the first that says something, and whether the text has grown."""
        self.text, self.last_ms = self.text + chunk.text, chunk.ms
        self.ended, self.usage = chunk.ended or self.ended, chunk.usage or self.usage
        begins = self.first_ms is None and chunk.token
        if begins:
            self.first_ms = chunk.ms
        return begins, bool(chunk.text)

    def answer(self, method: str, hint: str | None, who: str, about: Sequence[str] = ()) -> Answer:
        """The whole answer; `who` gave it, and what is to be said `about` that, in sentences. Raises ServerFailure."""
        if self.usage is None or self.first_ms is None:
            raise ServerFailure(UNCOUNTED)
        written = self.usage.completion
        between_ms = (self.last_ms - self.first_ms) / (written - 1) if written > 1 else None
        timings = Timings(0.0, 0.0, self.first_ms, self.first_ms, between_ms, self.last_ms)
        trace = self._trace(self.usage)
        return Answer(
            self.text.strip(),
            trace,
            timings,
            self._cost(trace),
            (),
            method,
            self.ended == "stop",
            hint,
            (who, *about, *(f"{method}: {remark}" for remark in self._remarks(self.usage, trace))),
        )

    def _trace(self, usage: TokenUsage) -> Trace:
        """The server's counts, with the map that was made here."""
        tokens = sum(image.tokens for image in self.seen.images)
        text = self.prompt - tokens
        visual = list(usage.per_layer)
        if len(visual) != self.lvlm.anatomy.text_layers:
            entered = usage.prompt - text if usage.visual is None else usage.visual
            visual = [entered] * self.lvlm.anatomy.text_layers
        counts = [count + usage.prompt - visual[0] for count in visual]
        return replace(self.seen, tokens_per_layer=counts, _visual=list(visual))

    def _cost(self, trace: Trace) -> Cost:
        """By formula; memory of the server is not known here."""
        model, counts, visual = self.lvlm.model, trace.tokens_per_layer, trace.visual_tokens_per_layer
        config = model.config.text_config
        return Cost(
            sum(visual) / len(visual),
            prefill_tflops(counts, config),
            prefill_tflops(counts, config, causal=False),
            prompt_kv_bytes(counts, config, model.dtype.itemsize),
            None,
        )

    def _remarks(self, usage: TokenUsage, trace: Trace) -> list[str]:
        here, there = self.seen.visual_tokens_per_layer, trace.visual_tokens_per_layer
        differs = next(((one, other) for one, other in zip(there, here, strict=True) if one != other), None)
        told = [OTHER_COUNT.format(there=differs[0], here=differs[1])] if differs else []
        return told + ([FROM_CACHE.format(cached=usage.cached)] if usage.cached else [])
