"""What the hooks of one block share while one thread runs the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from vscan_core.engine.call import Call
from vscan_core.engine.encoded import Encoded, MergeState
from vscan_core.engine.vision_signals import SignalName
from vscan_core.families.tiles import Arrange, PerTile, Tiles
from vscan_core.prepared import questions_in, views_in
from vscan_core.trace import Trace, View


@dataclass
class Run:
    """One `generate`: several calls of the model that answer one prompt."""

    ids: Tensor | None  # (batch, length) of the prompt; None where only embeddings are given
    length: int  # of the prompt as the caller counts it, including earlier turns in the cache
    drafts: bool = False  # whether drafts (guessed tokens) may follow the prompt
    traced: bool = False  # its pictures are in the trace already; a second prefill (guidance) is left out


@dataclass
class State:
    """The state of one thread in one block."""

    # around the model
    run: Run | None = None
    depth: int = 0  # nested calls of the model under way; 0 and no run: the caller uses its parts directly
    ids: Tensor | None = None  # (batch, length) of the model's call
    padding: Any = None  # (batch, all tokens): the attention mask of that call, before the model makes others of it
    token_kinds: Tensor | None = None  # (batch, length): `mm_token_type_ids` of that call
    given_views: Sequence[View] | None = None  # passed by the caller, for every prompt
    given_questions: Sequence[str] | None = None  # passed by the caller, one per prompt or one for all
    questions: Sequence[str] | None = None  # of this prompt's rows, without copies; None: not known
    image_sizes: Any = None  # of this prompt's pictures, if the processor returned them
    views: Sequence[View] | None = None  # where this prompt's pictures lie in their originals; None: not known
    logit_positions: Tensor | None = None  # (n,) tensor in logits_to_keep, to be overwritten with present columns
    logits_kept: int = 0  # number in logits_to_keep: how many of the last; 0: all
    deltas: Tensor | None = None  # rotary offset of the prompt (M-RoPE), to be kept with its cache

    # vision side
    tiles: Tiles = field(default_factory=lambda: Tiles([], None))  # of the latest run of the vision encoder
    arrange: Arrange | None = None  # adds to them what the tower's arguments do not show
    features: PerTile | None = None  # before the projector; None if a token is several rows there
    vision_signals: dict[SignalName, PerTile] = field(default_factory=dict)
    merge_state: MergeState | None = None  # merges inside the encoder; None: there are none
    encoded: Encoded = field(default_factory=Encoded)
    fresh: bool = False  # `encoded` belongs to the prompt that the LLM gets next

    # LLM side
    visual: Tensor | None = None  # (batch, length) bool: the prompt's placeholders
    call: Call | None = None
    arrived: bool = False  # the current call of the model has reached the decoder stack

    def find_notes(self, inputs: Mapping[str, Any]) -> None:
        """Set `views` and `questions` to those that the caller passed, else to those noted for `inputs`."""
        self.views = views_in(inputs) if self.given_views is None else self.given_views
        self.questions = questions_in(inputs) if self.given_questions is None else self.given_questions
        self.image_sizes = inputs.get("image_sizes")

    def record_signals(self, found: Mapping[SignalName, Tensor]) -> None:
        """Add signals as the family records them, in the order of the projector's rows."""
        in_order = self.tiles.places is None  # then rows come as (tiles, tokens, ...)
        self.vision_signals |= {
            name: self.tiles.pooled_numbers(rows) if in_order else self.tiles.split(rows)
            for name, rows in found.items()
        }

    def prompt_end(self, past: int, length: int) -> int:
        """How many of a call's `length` tokens, after `past` cached ones, belong to the prompt; 0 after its end."""
        if self.run is None or (past and not self.run.drafts):
            return length
        return max(0, min(length, self.run.length - past))

    @property
    def inside(self) -> bool:
        """Whether the model itself is running, so that features are on their way into the LLM."""
        return self.depth > 0 or self.run is not None

    @property
    def prompt(self) -> Tensor | None:
        """(batch, length) ids of the prompt whose pictures are being encoded; None: not known."""
        return self.run.ids if self.depth == 0 and self.run is not None else self.ids


Current = Callable[[], State | None]  # the calling thread's state; None: its calls do not belong to this block
Timed = Callable[[], AbstractContextManager[object]]  # entered around every selection


class Owner(Protocol):
    """The block that the hooks belong to: one `with reduced(...)`, or one run of `answer`."""

    active: bool  # False once it has been left
    ran: bool  # whether the decoder has run in it
    trace: Trace

    def could_belong(self) -> bool:
        """Whether a call from outside all blocks may have been meant for this one."""

    def note_logits(self, logits: Tensor) -> None:
        """Note whether the last position's logits (batch, positions, vocabulary) are finite numbers."""


def while_model_runs(current: Current) -> Current:
    """The state while features are on their way into the LLM; features that the caller computes alone stay unmarked."""

    def active() -> State | None:
        state = current()
        return state if state is not None and state.inside else None

    return active
