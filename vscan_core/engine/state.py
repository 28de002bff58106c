"""What the hooks of one block hand to each other while one thread runs the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from vscan_core.engine.call import Call
from vscan_core.engine.encoded import Encoded, MergeState
from vscan_core.families.tiles import Tiles
from vscan_core.prepared import views_in
from vscan_core.trace import Trace, View


@dataclass
class Run:
    """One `generate`: several calls of the model that answer one prompt."""

    ids: Tensor | None  # (batch, length) of the prompt; None where only embeddings are given
    length: int  # of the prompt as the caller counts it, earlier turns in the cache included
    drafts: bool = False  # whether tokens that are only guessed may follow the prompt
    traced: bool = False  # its pictures are in the trace: what it asks beside (guidance) is not


@dataclass
class State:
    """Of one thread in one block."""

    # around the model
    run: Run | None = None
    depth: int = 0  # nested calls of the model that are under way; 0 and no run: the caller asks parts of it directly
    ids: Tensor | None = None  # (batch, length) of the model's call
    given_views: Sequence[View] | None = None  # by the caller, for every prompt
    views: Sequence[View] | None = None  # how the pictures of this prompt lie in their originals; None: not known
    logit_positions: Tensor | None = None  # whose logits the caller asks for, to be rewritten to where they are
    logits_kept: int = 0  # or how many of the last ones; 0: all
    deltas: Tensor | None = None  # rotary offset of the prompt (M-RoPE), to be kept with its cache

    # vision side
    tiles: Tiles = field(default_factory=lambda: Tiles([], None))  # of the run of the vision encoder
    features: list[Tensor] | None = None  # per tile, before the projector; None where tokens are several rows there
    vision_scores: dict[int, Sequence[Tensor] | Tensor] = field(default_factory=dict)  # {vision layer: per tile}
    keys: Tensor | None = None  # (tiles, tokens, head_dim) head-mean, of the feature layer
    merging: MergeState | None = None  # tokens merging inside the encoder, if they do
    encoded: Encoded = field(default_factory=Encoded)
    fresh: bool = False  # encoded for the prompt that the LLM gets next

    # LLM side
    visual: Tensor | None = None  # (batch, length) bool: the prompt's placeholders
    call: Call | None = None
    arrived: bool = False  # the decoder stack was called since the model was

    def find_views(self, inputs: Mapping[str, Any]) -> None:
        """How the pictures of a prompt lie in their originals: as the caller said, else as its pixels were prepared."""
        self.views = views_in(inputs) if self.given_views is None else self.given_views

    def prompt_end(self, past: int, length: int) -> int:
        """How many of the `length` tokens of a call, behind `past` earlier ones, are the prompt's: 0 if it is over."""
        if self.run is None or (past and not self.run.drafts):
            return length
        return max(0, min(length, self.run.length - past))

    @property
    def inside(self) -> bool:
        """Whether the model itself is at work, so that features are on their way into the LLM."""
        return self.depth > 0 or self.run is not None

    @property
    def prompt(self) -> Tensor | None:
        """(batch, length) ids of the prompt whose pictures are being encoded, where they are known."""
        return self.run.ids if self.depth == 0 and self.run is not None else self.ids


Current = Callable[[], State | None]  # the calling thread's state; None: its calls are not of this block
Timed = Callable[[], AbstractContextManager[object]]  # entered around every selection


class Owner(Protocol):
    """The block that the hooks belong to: one `with reduced(...)`, or one run of `answer`."""

    active: bool  # False once it has been left
    ran: bool  # whether the decoder has run in it
    trace: Trace

    def could_belong(self) -> bool:
        """Whether the calling context, which is in no block, could be meant to be in this one."""

    def note_logits(self, logits: Tensor) -> None:
        """Note whether the last position's logits (batch, positions, vocabulary) are finite numbers."""
