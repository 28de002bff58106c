"""Checks on each call of the model: its arguments, the placeholders in its prompt, and whether the decoder is reached.

Arguments that do not fit a shortened sequence are refused before anything runs. A call that bypassed the hooks is an
error, not a success.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.engine.encoded import KNOWN_PICTURE
from vscan_core.engine.state import Current, Owner, Timed
from vscan_core.errors import InputError
from vscan_core.families.base import Family
from vscan_core.families.method_hook import Removable

READY_MADE = "a ready-made attention mask (4-D, or one per layer) cannot be shortened; pass the 2-D padding mask"
FEATURES = {"image_hidden_states", "video_hidden_states", "image_outputs", "video_outputs"}
NOT_OURS = (
    "this call with a picture comes from outside the `with reduced(...)` that is open on this model, so it is unclear "
    "whether to reduce it; put it in a `with reduced(...)` of its own (reducer None changes nothing), or start it "
    "inside the open one (thread, ThreadPoolExecutor or asyncio.to_thread)"
)
BY_HAND = (
    "this prompt may hold picture features that were not computed in this call, so its visual tokens cannot be "
    "reduced; pass input_ids and the picture's pixels (what the processor returns) instead of inputs_embeds or features"
)
ENDS_IN_PICTURE = (
    "this prompt ends in the picture, so the answer would be read from a visual token that may be dropped; put the "
    "question, or the start of the answer, after the picture"
)


def check_features(ours: bool) -> None:
    """Raise InputError unless a prompt's picture features were computed under the vision hooks of this call."""
    if not ours:
        raise InputError(BY_HAND)


def _unmark(output: Any) -> None:
    """Replace the -inf rows of dropped tokens by zeros in the features that a model returns."""
    for name in FEATURES & set(output):
        found = output[name]
        if found is None or torch.is_tensor(found) or isinstance(found, list | tuple):
            output[name] = _finite(found)
        elif found.get("pooler_output") is not None:
            found["pooler_output"] = _finite(found["pooler_output"])


def _finite(found: Any) -> Any:
    if torch.is_tensor(found):
        return found.masked_fill((found[..., :4] == -torch.inf).all(-1, keepdim=True), 0)
    return found if found is None else type(found)(_finite(part) for part in found)


class CallChecks:
    """Hooks on a model and on its part that joins pixels and text. baseline: there is no reducer; idle: no cuts."""

    def __init__(self, model: nn.Module, family: Family, baseline: bool, idle: bool, owner: Owner) -> None:
        self.model, self.family, self.baseline, self.idle, self.owner = model, family, baseline, idle, owner

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        return [*self._around_model(current, timed), *self._find_placeholders(current, timed)]

    def _around_model(self, current: Current, timed: Timed) -> list[Removable]:
        """Hooks on the whole model: refuse unsupported arguments, and check that the call reaches the decoder."""

        def before(module: nn.Module, args: Any, kwargs: Any = None) -> Any:
            if (state := current()) is None or kwargs is None:
                return None
            if kwargs.get("labels") is not None and not self.baseline:
                raise ValueError("labels do not fit a shortened sequence; compute the loss outside `reduced(...)`")
            mask = kwargs.get("attention_mask")
            if mask is not None and getattr(mask, "ndim", 0) != 2 and not self.idle:
                raise ValueError(READY_MADE)
            wanted = kwargs.get("logits_to_keep")
            state.arrived, state.logit_positions, state.logits_kept = False, None, 0
            if isinstance(wanted, Tensor) and not self.idle:
                state.logit_positions = wanted.clone()  # filled in when their columns are known
                return args, {**kwargs, "logits_to_keep": state.logit_positions}
            state.logits_kept = wanted if isinstance(wanted, int) else 0
            return None

        def after(module: nn.Module, args: Any, out: Any) -> None:
            if (state := current()) is None:
                return
            state.logit_positions, state.logits_kept = None, 0  # a call of `model.model` names none
            if not state.arrived:
                raise RuntimeError(
                    "the model ran, but the hooks on its decoder did not, so nothing was reduced; do not compile or "
                    "replace the model's parts as a whole inside `reduced(...)` (decoder layers one by one are fine)"
                )
            if isinstance(logits := getattr(out, "logits", out[0]), Tensor):
                with timed():
                    self.owner.note_logits(logits)

        return [
            self.model.register_forward_pre_hook(before, with_kwargs=True),
            self.model.register_forward_hook(after),
        ]

    def _find_placeholders(self, current: Current, timed: Timed) -> list[Removable]:
        """Hooks on the part that joins pixels and text: find the placeholders of this prompt."""
        base = self.family.base(self.model)

        def before_base(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            if kwargs is None:
                return  # torch passes no kwargs while another thread removes this hook
            ids, embeds = args[0] if args else kwargs.get("input_ids"), kwargs.get("inputs_embeds")
            given = embeds if ids is None else ids
            one = given is None or given.shape[1] == 1  # a decoding step, without a picture
            if (state := current()) is None:
                if not one and not self.idle and self.owner.could_belong() and self._brings_picture(ids, kwargs):
                    raise RuntimeError(NOT_OURS)
                return
            state.depth += 1
            state.ids, state.padding = ids, kwargs.get("attention_mask")
            state.token_kinds = kwargs.get("mm_token_type_ids")
            if state.run is None:
                state.find_notes({**kwargs, "input_ids": ids})
            with timed():
                state.visual = None if one else self.family.visual_mask(self.model, ids, embeds)
                early = kwargs.get("mm_encoder_outputs")  # `generate` may encode before it calls the model
                if one and (early or _pixels(kwargs)):
                    raise InputError(KNOWN_PICTURE)
                if state.visual is not None and early is not None and len(early):
                    state.encoded.check(state.visual)

        def after_base(module: nn.Module, args: Any, out: Any) -> None:  # also after an error
            if (state := current()) is not None:
                if out is not None and state.run is None and state.encoded.marked:
                    with timed():
                        _unmark(out)  # `generate` does not return them, and may need them again
                state.visual, state.padding, state.token_kinds = None, None, None
                state.depth = max(0, state.depth - 1)
                state.fresh = state.fresh and state.run is not None  # without a cache, each step passes them again

        return [
            base.register_forward_pre_hook(before_base, with_kwargs=True),
            base.register_forward_hook(after_base, always_call=True),
        ]

    def _brings_picture(self, ids: Tensor | None, kwargs: dict[str, Any]) -> bool:
        mask = None if ids is None else self.family.visual_mask(self.model, ids, None)
        return _pixels(kwargs) or (mask is not None and bool(mask.any()))


def _pixels(kwargs: dict[str, Any]) -> bool:
    return any(kwargs[name] is not None for name in kwargs if name.startswith("pixel_values"))
