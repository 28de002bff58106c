"""M-RoPE without state on the model: the rotary offset of a prompt stays with the prompt's own KV cache.

transformers keeps it in `model.model.rope_deltas`, where the prefill of one run overwrites what the next decoding step
of another one reads. Here positions are computed before the model would compute them, and passed to it.
"""

from __future__ import annotations

import threading
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.engine.state import Current, State, Timed
from vscan_core.families.base import Family
from vscan_core.families.method_hook import MethodHook, Removable
from vscan_core.versions import cache_in

_guard = threading.Lock()  # held while `generate` reads and writes the attribute


class RopeDeltas:
    """Hooks for the models that have `rope_deltas`; none for the others."""

    def __init__(self, model: nn.Module, family: Family) -> None:
        self.model, self.base = model, family.base(model)

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""
        if not hasattr(self.base, "rope_deltas"):
            return []

        def before(module: nn.Module, args: Any, kwargs: Any = None) -> Any:
            if (state := current()) is None or kwargs is None or kwargs.get("position_ids") is not None:
                return None
            return args, {**kwargs, "position_ids": self._positions(state, kwargs)}

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            if (state := current()) is not None:
                deltas, state.deltas = state.deltas, None
                cache = cache_in(kwargs) if cache_in(kwargs) is not None else cache_in(out or {})
                if deltas is not None and cache is not None:
                    cache.rope_deltas = deltas

        def around(run: Any, inputs: Tensor, model_kwargs: dict[str, Any]) -> Any:
            if (state := current()) is None:
                return run(inputs, model_kwargs)
            with _guard:
                found = self.base.rope_deltas
                self.base.rope_deltas = getattr(cache_in(model_kwargs), "rope_deltas", None)
                try:
                    positions = run(inputs, model_kwargs)
                    state.deltas = self.base.rope_deltas
                finally:
                    self.base.rope_deltas = found
            return positions

        return [
            self.base.register_forward_pre_hook(before, with_kwargs=True),
            self.base.register_forward_hook(after, with_kwargs=True, always_call=True),
            MethodHook(self.model, "_prepare_position_ids_for_generation", around, "around"),
        ]

    def _positions(self, state: State, kwargs: dict[str, Any]) -> Tensor | None:
        """(3, batch, length) position ids for a call without any; None for a prompt of text alone."""
        ids, embeds, cache = kwargs.get("input_ids"), kwargs.get("inputs_embeds"), cache_in(kwargs)
        given = embeds if ids is None else ids
        past = 0 if cache is None else cache.get_seq_length()
        pictures = any(kwargs.get(name) is not None for name in ("image_grid_thw", "video_grid_thw"))
        if past == 0 and ids is not None and pictures and kwargs.get("mm_token_type_ids") is not None:
            wanted = signature(self.base.get_rope_index).parameters
            known = {name: kwargs[name] for name in wanted if name in kwargs and name != "input_ids"}
            positions, state.deltas = self.base.get_rope_index(ids, **known)
            return torch.as_tensor(positions)
        if given is None or (past == 0 and ids is not None):
            return None
        batch, length = given.shape[:2]
        mask = kwargs.get("attention_mask")
        text = torch.arange(past, past + length, device=given.device).expand(batch, length)
        if mask is not None and mask.dim() == 2:
            text = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:].to(given.device)
        deltas = getattr(cache, "rope_deltas", None)
        if deltas is not None:
            text = text + deltas.repeat_interleave(batch // len(deltas), dim=0).to(given.device)
        return text[None].expand(3, -1, -1)
