"""`reduced(model, reducer)`: the one place where methods and models meet.

Hooks on the model's own modules are removed when the `with` ends, also after an exception; nothing else is changed.
Which calls belong to which `with` depends on their context: see `membership`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from vscan_core.engine.call_checks import CallChecks
from vscan_core.engine.compiled import inner, uncompiled
from vscan_core.engine.generate_hook import GenerateHook
from vscan_core.engine.llm_side import LLMSide
from vscan_core.engine.membership import Block, block_of, entered
from vscan_core.engine.rope_deltas import RopeDeltas
from vscan_core.engine.second_reading import SecondReading
from vscan_core.engine.shared_vision import SharedVision
from vscan_core.engine.state import State, Timed
from vscan_core.engine.vision_side import VisionSide
from vscan_core.engine.wrappers import unwrapped
from vscan_core.families import family_of
from vscan_core.reducers.base import Reducer
from vscan_core.trace import Trace, View
from vscan_core.versions import check

NOTHING_RAN = (
    "the model did not run inside this `with reduced(...)`, so nothing was reduced; call this model object inside it, "
    "not a copy, a compiled export or a model in another process"
)
NOT_FINITE = (
    "the model's logits are not finite numbers (NaN or infinity), so its answer would be meaningless; load it in "
    "bfloat16 or float32, or check its weights"
)


class Attachment(Block):
    """One `with reduced(...)`, or one run of `answer`."""

    def __init__(
        self, model: nn.Module, shared: bool, views: Sequence[View] | None, questions: Sequence[str] | None
    ) -> None:
        super().__init__(model, shared)
        self.views, self.questions = views, questions
        self.trace = Trace()
        self.ran = False
        self._uncompiled = uncompiled(model)  # once: `here` is entered for every token
        self.states: WeakKeyDictionary[threading.Thread, State] = WeakKeyDictionary()
        self._sums: list[Tensor] = []  # of logits, left on the device to avoid a synchronisation

    def state(self) -> State | None:
        """The calling thread's state, or None if its calls are not ours."""
        if block_of(self.model) is not self:
            return None
        thread = threading.current_thread()
        if (state := self.states.get(thread)) is None:
            state = self.states[thread] = State(given_views=self.views, given_questions=self.questions)
        return state

    def could_belong(self) -> bool:
        """Whether the calling context is in no block of this model, so that its call may be meant for this one."""
        return self.active and self.shared and block_of(self.model) is None

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside this `with`, model calls of the calling context are ours. Raises RuntimeError if it is nested."""
        other = block_of(self.model)
        if other is not None and other.thread is threading.current_thread():
            raise RuntimeError("this thread is already inside a `with reduced(...)` on this model; leave it first")
        self.thread = threading.current_thread()
        try:
            with entered(self), self._uncompiled:
                yield
        finally:
            self.thread = None

    def note_logits(self, logits: Tensor) -> None:
        """Note the sum of the last logits (batch, positions, vocabulary): it is finite if all of them are."""
        self._sums.append(logits.detach()[:, -1].sum(dtype=torch.float32))

    def check_logits(self) -> None:
        """Raise RuntimeError if any noted logits were not finite."""
        sums, self._sums = self._sums, []
        if sums and not bool(torch.stack([one.to(sums[0].device) for one in sums]).isfinite().all()):
            raise RuntimeError(NOT_FINITE)

    def check_ran(self) -> None:
        """Raise RuntimeError if the model did not run inside the block, or if logits were not finite."""
        if not self.ran:
            raise RuntimeError(NOTHING_RAN)
        self.check_logits()


@contextmanager
def reduced(
    model: Any,
    reducer: Reducer | None,
    *,
    views: Sequence[View] | None = None,
    question: str | Sequence[str] | None = None,
) -> Iterator[Trace]:
    """Run an unmodified transformers LVLM with fewer visual tokens.

    A context manager for any way of calling the model: `generate`, plain forward, streaming, beam search, batches;
    `docs/ways.md` lists them. Threads started and jobs submitted to a pool inside belong to it, and leaving it waits
    for them. Logits of a plain forward have the reduced length; picture features in its output are zero where dropped.
    A static cache sets memory aside in each layer only for the tokens that the layer keeps.

    Args:
        model: A model of a supported family, such as `LlavaForConditionalGeneration`, or a wrapper around one (PEFT,
            torch.compile).
        reducer: The method; None reduces nothing and only fills the trace.
        views: Where the model's pixels lie in each original picture, for `trace.boxes`; needed only if pixels were
            copied or sliced after `LVLM.inputs` made them (see `prepared.PreparedInputs`).
        question: The plain text of the question, or one text per prompt; needed only by methods that compare it with
            the picture by CLIP's text half, and only if `LVLM.inputs` did not make the inputs.

    Yields:
        The trace, which is filled in while the model runs.

    Raises:
        InputError: The model, the method or the way of calling it is not supported, such as an offloaded static cache
            or picture features that were computed outside the `with`.
        ValueError: The call passes labels or a 4-D attention mask, which do not fit a shortened sequence.
        RuntimeError: Nothing ran inside the `with`, the logits are not finite, the model is called with pictures from
            outside it, or two `with` on one model are nested in one thread.
    """
    questions = (question,) if isinstance(question, str) else question
    opened = open_attachment(unwrapped(model), reducer, shared=True, views=views, questions=questions)
    with opened as attachment, attachment.here():
        try:
            yield attachment.trace
        except BaseException:
            with suppress(RuntimeError):  # what was raised inside matters more
                attachment.settle()
            raise
        attachment.settle()
        attachment.check_ran()


@contextmanager
def open_attachment(
    model: Any,
    reducer: Reducer | None,
    *,
    shared: bool = False,
    timed: Timed = nullcontext,
    views: Sequence[View] | None = None,
    questions: Sequence[str] | None = None,
    shared_vision: SharedVision | None = None,
) -> Iterator[Attachment]:
    """Put the hooks on, but reduce only calls inside `attachment.here()`; for generators that several threads advance.

    model, reducer, views and errors are as in `reduced`, questions as `question` there. shared: whether threads and
    jobs started inside belong to it. `timed()` is entered around every selection.
    """
    family = family_of(model)
    anatomy = family.anatomy(model)
    called = (model, family.base(model), family.language_model(model), family.layers(model)[0])
    check(*(type(inner(module)) for module in called))
    attachment = Attachment(model, shared, views, questions)
    below = None if reducer is None else reducer.unsure_below
    llm_side = LLMSide(model, family, reducer, anatomy, attachment)
    hook_groups = (
        GenerateHook(model, llm_side.idle, attachment.check_logits),
        VisionSide(model, family, reducer, anatomy, shared=shared_vision),
        CallChecks(model, family, reducer is None, llm_side.idle, attachment),
        RopeDeltas(model, family),
        llm_side,
        SecondReading(model, below, attachment.trace, partial(open_attachment, model, None, views=views)),
    )
    with ExitStack() as undo:
        undo.callback(setattr, attachment, "active", False)
        for group in hook_groups:
            for handle in group.hooks(attachment.state, timed):
                undo.callback(handle.remove)
        yield attachment
