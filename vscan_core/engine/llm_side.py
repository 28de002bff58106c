"""Inside the LLM: remove marked rows at its entrance, cut again at later layers, record every segment's length.

Only calls are changed, never weights: a pre-hook on the decoder stack and one on each decoder layer rewrite the
arguments. Each later cut gathers the tokens left (`llm_cut`) and gives the layers after it a mask of the new length.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.engine.call import Call, padding
from vscan_core.engine.call_checks import ENDS_IN_PICTURE, READY_MADE, check_features
from vscan_core.engine.compiled import before_compiled
from vscan_core.engine.layer_arguments import LayerArguments, check_cuts, leave_wanted
from vscan_core.engine.llm_cut import LLMCut
from vscan_core.engine.logical_cache import positions_after, segments_of, tokens_in
from vscan_core.engine.segments import Segment, Segments, moved
from vscan_core.engine.state import Current, Owner, State, Timed
from vscan_core.errors import InputError
from vscan_core.families.base import Family
from vscan_core.families.method_hook import Removable
from vscan_core.geometry import take
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy
from vscan_core.versions import cache_in, new_cache, with_cache


class LLMSide:
    """Hooks on the decoder stack for one reducer (None: nothing is cut, lengths are recorded)."""

    def __init__(
        self, model: nn.Module, family: Family, reducer: Reducer | None, anatomy: Anatomy, owner: Owner
    ) -> None:
        self.family, self.reducer, self.anatomy, self.owner = family, reducer, anatomy, owner
        self.model, self.llm, self.layers = model, family.language_model(model), family.layers(model)
        self.trace, self.attending = owner.trace, family.attending(model)
        self.spread = len({weights.device for weights in model.parameters()}) > 1  # over devices
        cuts = () if reducer is None else reducer.cut_layers(anatomy)
        self.idle, self.later = not cuts, [layer for layer in cuts if layer > 0]
        self.llm_cut = None if reducer is None else LLMCut(reducer, family, model, anatomy, self.later)
        self.arguments = LayerArguments(model, family)
        check_cuts(self.later, anatomy)
        self.renumber = reducer is not None and reducer.position_mode(anatomy) == "renumbered"

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours.

        kwargs may be missing: torch calls a hook without them while another thread removes it.
        """

        def before_llm(module: nn.Module, args: Any, kwargs: Any = None) -> Any:
            if (state := current()) is None or kwargs.get("inputs_embeds") is None:
                return None
            state.arrived = self.owner.ran = True
            with timed():
                return args, self._enter(state, kwargs)

        def before_layer(layer: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: Any, kwargs: Any = None) -> Any:
                if (state := current()) is None or state.call is None:
                    return None
                return self._at_layer(state.call, layer, args, kwargs, timed)

            return hook

        def after_llm(module: nn.Module, args: Any, out: Any) -> None:
            if (state := current()) is not None and (call := state.call) is not None:
                state.call = None
                with timed():
                    self._leave(state, call)
                    leave_wanted(call, out)

        layers = enumerate(self.layers)
        return [
            self.llm.register_forward_pre_hook(before_llm, with_kwargs=True),
            self.llm.register_forward_hook(after_llm),
            *(before_compiled(layer, before_layer(i)) for i, layer in layers),
            *([] if self.llm_cut is None else self.llm_cut.attention_hooks(current)),
        ]

    def _leave(self, state: State, call: Call) -> None:
        """After the decoder: check that all layers' hooks ran, and map `logits_to_keep` to the present columns."""
        if call.layers_run < len(self.layers):
            raise RuntimeError(
                f"hooks ran on only {call.layers_run} of {len(self.layers)} decoder layers, so cuts may be missing; "
                "do not compile or replace the decoder as a whole inside `reduced(...)` (layers one by one are fine)"
            )
        if call.columns is None:
            return
        if state.logit_positions is not None:
            wanted = state.logit_positions
            wanted.copy_(call.columns_now(torch.where(wanted < 0, wanted + call.logical, wanted)))
        elif state.logits_kept < call.logical:
            call.columns_now(torch.arange(call.logical - state.logits_kept, call.logical))

    def _enter(self, state: State, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Begin a Call and remove the marked rows."""
        embeds, more, state.call = kwargs["inputs_embeds"], {}, None
        if self.idle and embeds.shape[1] == 1:
            return kwargs  # a decoding step that is neither cut nor counted
        call = self._open_call(state, kwargs)
        state.call = call
        if self.idle:
            return kwargs  # nothing is ever cut: only lengths are recorded
        if call.spans and state.encoded.marked:
            marked = (embeds[..., :4] == -torch.inf).all(-1)
            keep = ~marked if call.valid is None else ~marked & call.valid
            index = call.keep(keep, [(span, span.image.tokens - len(span.kept)) for span in call.spans])
            embeds, more = take(embeds, index), self.family.shorten_kwargs(kwargs, keep, index)
            if call.valid is not None:  # padding may carry marks, and 0 * inf is NaN
                embeds = embeds.masked_fill(~call.valid[..., None], 0)
        if self.llm_cut is not None:
            self.llm_cut.begin(call, embeds)
        segment = call.enter(0, embeds)
        position = self._positions(call, segment)
        mask = self.arguments.of_stack(call, segment, embeds)
        changed = {"inputs_embeds": embeds, "position_ids": position, "attention_mask": mask, **more}
        if state.logits_kept > 1 and call.wanted is not None:
            changed["logits_to_keep"] = 0  # else masks that are None would have to be made for the last tokens alone
        return with_cache({**kwargs, **changed}, call.cache)

    def _open_call(self, state: State, kwargs: dict[str, Any]) -> Call:
        embeds, cache = kwargs["inputs_embeds"], cache_in(kwargs)
        batch, length = embeds.shape[:2]
        use_cache = kwargs.get("use_cache")
        if cache is None and (self.llm.config.use_cache if use_cache is None else use_cache) and not self.idle:
            cache = new_cache(self.llm.config)
        starts = [0, *self.later]
        kept = cache is not None and not self.idle
        segments = segments_of(cache, starts, self.owner) if kept else Segments(starts, self.owner)
        past, position = tokens_in(cache), kwargs.get("position_ids")
        if position is None:
            position = positions_after(cache, length, embeds.device)
        if position.dim() == 3:  # several axes (M-RoPE): (axes, batch, length) -> (batch, length, axes)
            position = position.permute(1, 2, 0)
        mask = None if self.idle else kwargs.get("attention_mask")
        if isinstance(mask, dict):  # the model has made one for each kind of layer
            mask = state.padding
        if mask is not None and length > 1 and getattr(mask, "ndim", 0) != 2:
            raise ValueError(READY_MADE)
        valid, lengths = padding(mask, batch, length)
        call = Call(
            cache=cache,
            segments=segments,
            logical=length,
            position=position if len(position) == batch else position.expand(batch, *position.shape[1:]),
            lengths=lengths,
            valid=valid,
            visual=None,
            spans=[],
            stateful=len(self.attending) < len(self.layers),
            blocks=None if self.idle or length == 1 else self.arguments.blocks(state, past, length),
            wanted=kwargs.get("logits_to_keep") if self.arguments.stack_shortens else None,
        )
        visual, state.visual = state.visual, None
        if length > 1:
            self._find_images(state, call, visual, past, embeds)
        run = state.run
        if (call.spans or (past == 0 and length > 1)) and not (run is not None and run.traced):
            call.traced = True
            self.trace.images = state.encoded.images if call.spans else []
            self.trace.tokens_per_layer, self.trace._visual = [], []
            self.trace.attention = self.family.attention(self.model)
            if run is not None:
                run.traced = bool(call.spans)
        return call

    def _find_images(self, state: State, call: Call, visual: Tensor | None, past: int, embeds: Tensor) -> None:
        """Find a prompt's visual tokens and its end. Raises InputError for features that bypassed the vision hooks."""
        length = call.logical
        end = state.prompt_end(past, length)
        if end == 0:
            return  # drafts after the prompt: text, whatever their ids
        if not self.idle:
            call.find_prompt_end(end)
        if visual is None or visual.shape != call.position.shape[:2]:
            check_features(self.idle)
            return
        if end < length:
            visual = visual & (torch.arange(length, device=visual.device) < end)
        if state.fresh:
            call.find_images(visual, state.encoded)
            if call.spans:
                call.segments.pictures = call.segments.logical, visual  # read only if the cache is cropped
            if any(span.holds_last_token and span.image.cuts and span.image.last_is_patch for span in call.spans):
                raise InputError(ENDS_IN_PICTURE)
        elif not self.idle:
            text = state.ids is not None or self.family.is_text(self.model, embeds)
            check_features(text and not bool(visual.any()))
        if call.spans and not self.idle and (state.logit_positions is not None or state.logits_kept > 1):
            columns = torch.arange(length, device=call.position.device)
            call.columns = columns.expand(call.position.shape[:2])

    def _positions(self, call: Call, segment: Segment) -> Tensor:
        """(batch, length) position ids of this segment; renumbered ones leave no gap where tokens were removed."""
        if call.position.dim() == 3:
            if self.renumber:
                raise InputError('positions of several axes (M-RoPE) cannot be renumbered; use positions="original"')
            return call.position.permute(2, 0, 1)
        if not self.renumber:
            return call.position
        position = call.position
        for less in (call.removed, segment.shift):
            if isinstance(less, Tensor):  # else 0
                position = position - less
        if isinstance(call.removed_in_all, Tensor):
            segment.shift = segment.shift + call.removed_in_all
        return position

    def _moved(self, call: Call, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Move everything to the device of `layer`'s weights; a model may be spread over several.

        accelerate moves a layer's arguments only after this hook. Offloaded weights ("meta") go to the arguments.
        """
        device = next(self.layers[layer].parameters()).device
        if device.type == "meta" or device == hidden.device == call.position.device:
            return hidden, kwargs
        call.to(device)
        if layer in self.later:  # where this segment begins
            call.segments.at(layer).to(device)
        tensors = {name: moved(kwargs[name], device) for name in ("position_embeddings", "attention_mask")}
        return hidden.to(device), {**kwargs, **tensors}

    def _at_layer(self, call: Call, layer: int, args: Any, kwargs: dict[str, Any], timed: Timed) -> Any:
        call.layers_run, hidden = call.layers_run + 1, args[0]
        if self.llm_cut is not None and (layer in self.later or layer in self.llm_cut.scored_ahead):
            with timed():
                hidden, kwargs = self._shorten(call, layer, hidden, kwargs)
        if call.traced:
            self.trace.tokens_per_layer.append(call.position.shape[1])
            self.trace._visual.append(call.visual_count)
        if call.override is None:
            return None
        with timed() if len(args) > 1 else nullcontext():  # without rows to gather there is nothing to time
            return self.arguments.of_layer(call, layer, hidden, args[1:], kwargs)

    def _shorten(self, call: Call, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Cut what this layer is to cut, and score what the next one will."""
        assert self.llm_cut is not None
        if self.spread or hidden.device != call.position.device:
            hidden, kwargs = self._moved(call, layer, hidden, kwargs)
        if layer in self.later:
            kwargs = {**kwargs, **self.arguments.changed(call, layer)}
            hidden, rotary = self.llm_cut.cut(call, layer, hidden, kwargs["position_embeddings"])
            segment = call.enter(layer, hidden)
            anew = self._positions(call, segment) if self.renumber or self.arguments.several else None
            masked = call.logical > 1 or segment.valid is not None or kwargs["attention_mask"] is not None
            call.override = self.arguments.after_cut(call, segment, hidden, rotary, anew, masked)
        now = {**kwargs, **self.arguments.changed(call, layer)}
        self.llm_cut.score_ahead(call, layer, hidden, now["position_embeddings"])
        return hidden, kwargs
