"""Hooks around `generate`: note the prompt, refuse modes that cannot work, and check that the logits are finite.

A forward alone shows neither where the prompt ends (drafts may follow it) nor that a mode will fail later, so the
method itself is wrapped on the instance while a block is open.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import Tensor, nn

from vscan_core.engine.logical_cache import tokens_in
from vscan_core.engine.state import Current, Run, State, Timed
from vscan_core.errors import InputError
from vscan_core.families.method_hook import MethodHook, Removable
from vscan_core.versions import cache_in, check_static, is_static, new_static_cache, with_cache

SUPPORTED = (None, "dynamic", "offloaded", "quantized", "static")  # cache_implementation
WITH_STATIC = ("eager", "sdpa")  # attention: flash needs a 2-D mask that ends with the last token, flex a block mask
PAGED = ("generate_batch", "init_continuous_batching", "continuous_batching_context_manager")
OTHER_STATIC = (
    'of the static caches, only cache_implementation="static" can hold layers of different lengths; use it, or leave '
    "cache_implementation out (the default grows)"
)
STATIC_ATTENTION = "with the attention {!r} a static cache cannot be shortened; load the model with attention 'sdpa'"
STATIC_DRAFTS = "drafts need a cache that grows; leave out cache_implementation, or the drafts"
RIGHT_PADDED = (
    "`generate` continues every row after its last column, but some rows end in padding; pad prompts on the left "
    '(processor.tokenizer.padding_side = "left")'
)
BATCHING = (
    "continuous batching (generate_batch, paged caches) does not go through the model's own forward, so nothing would "
    "be reduced; use `generate` with a left-padded batch"
)


class GenerateHook:
    """Hooks on `generate` and its batching variants. idle: nothing is ever cut; `finished()` is called after each."""

    def __init__(self, model: Any, idle: bool, finished: Callable[[], None]) -> None:
        self.model, self.idle, self.finished = model, idle, finished

    def hooks(self, current: Current, timed: Timed) -> list[Removable]:
        """Register; `current()` gives the calling thread's state, or None if this call is not ours."""

        def around(run: Any, *args: Any, **kwargs: Any) -> Any:
            if (state := current()) is None:
                return run(*args, **kwargs)
            return self._generate(state, run, args, kwargs)

        def refuse(run: Any, *args: Any, **kwargs: Any) -> Any:
            if current() is None:
                return run(*args, **kwargs)
            raise InputError(BATCHING)

        def keep_padding_mask(run: Any, *args: Any, **kwargs: Any) -> Any:
            if current() is None or not is_static(cache := cache_in(kwargs)):
                return run(*args, **kwargs)
            # with the cache in sight, transformers would make a 4-D mask of the length before the cuts
            return with_cache(run(*args, **with_cache(kwargs, None)), cache)

        def before_model(module: nn.Module, args: Any, kwargs: Any = None) -> None:
            if current() is not None and not self.idle and not hasattr(cache := cache_in(kwargs or {}), "segments"):
                self._check_cache(cache)

        handles: list[Removable] = [
            MethodHook(self.model, name, refuse, "around") for name in PAGED if hasattr(self.model, name)
        ]
        if hasattr(self.model, "generate"):
            handles.append(MethodHook(self.model, "generate", around, "around"))
        if not self.idle and hasattr(self.model, "prepare_inputs_for_generation"):
            handles.append(MethodHook(self.model, "prepare_inputs_for_generation", keep_padding_mask, "around"))
        return [*handles, self.model.register_forward_pre_hook(before_model, with_kwargs=True)]

    def _check_cache(self, cache: Any) -> None:
        """Raise InputError for a static cache that cannot be shortened."""
        if not is_static(cache):
            return
        check_static(cache)
        attention = self.model.config.get_text_config(decoder=True)._attn_implementation
        if attention not in WITH_STATIC:
            raise InputError(STATIC_ATTENTION.format(attention))

    def _generate(self, state: State, run: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if state.run is not None:
            raise InputError(
                "the model is its own assistant, so its drafts cannot be told from the answer; pass another "
                "assistant_model, or none"
            )
        given = given_by_name(self.model, args, kwargs)
        if not self.idle:
            self._check(given)
            given = self._in_one_piece(given)
        if self._uses_static(given):
            given = {**given, "disable_compile": True}  # of the whole model, which would skip the hooks
        state.run = _run(given, self._drafts(given))
        state.find_notes({**given, "input_ids": state.run.ids})
        try:
            return run(**given)
        finally:
            state.run, state.ids, state.fresh = None, None, False
            self.finished()

    def _check(self, given: dict[str, Any]) -> None:
        """Raise InputError for settings that cannot work, before anything runs."""
        kind = self._setting(given, "cache_implementation")
        if kind == "paged":
            raise InputError(BATCHING)
        if kind not in SUPPORTED and not (kind == "hybrid" and "cache_implementation" not in given):
            raise InputError(OTHER_STATIC)
        self._check_cache(new_static_cache(self.model.config, 1) if kind == "static" else cache_in(given))
        if self._uses_static(given) and self._drafts(given):
            raise InputError(STATIC_DRAFTS)
        mask = given.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2 and not bool(mask[:, -1].all()):
            raise InputError(RIGHT_PADDED)
        if self._setting(given, "assistant_early_exit") is not None or self._setting(given, "use_mtp"):
            raise InputError(
                "self-drafting (assistant_early_exit, use_mtp) runs only some of the layers, which then hold other "
                "tokens than the rest; use prompt_lookup_num_tokens or an assistant_model instead"
            )

    def _uses_static(self, given: dict[str, Any]) -> bool:
        return self._setting(given, "cache_implementation") == "static" or is_static(cache_in(given))

    def _drafts(self, given: dict[str, Any]) -> bool:
        return given.get("assistant_model") is not None or bool(self._setting(given, "prompt_lookup_num_tokens"))

    def _in_one_piece(self, given: dict[str, Any]) -> dict[str, Any]:
        """Turn off chunked prefill: a later cut needs the question and the whole picture in one call."""
        if self._setting(given, "prefill_chunk_size") is None:
            return given
        config = copy.deepcopy(given.get("generation_config") or self.model.generation_config)
        config.prefill_chunk_size = None
        return {**given, "generation_config": config, "prefill_chunk_size": None}

    def _setting(self, given: dict[str, Any], name: str) -> Any:
        return setting(self.model, given, name)


def given_by_name(model: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a call of `generate` is given, by name."""
    bound = signature(type(model).generate).bind_partial(model, *args, **kwargs).arguments
    more: dict[str, Any] = bound.pop("kwargs", {})
    return {name: value for name, value in bound.items() if name != "self"} | more


def setting(model: Any, given: dict[str, Any], name: str) -> Any:
    """A generation setting: from the call, else from its generation_config, else from the model's."""
    if given.get(name) is not None:
        return given[name]
    own = getattr(given.get("generation_config"), name, None)
    return own if own is not None else getattr(model.generation_config, name, None)


def _run(given: dict[str, Any], drafts: bool) -> Run:
    ids = given.get("input_ids")
    ids = given.get("inputs") if ids is None else ids
    prompt = ids if ids is not None and ids.shape[-1] else given.get("inputs_embeds")
    mask, cache = given.get("attention_mask"), cache_in(given)
    length = 0 if prompt is None else prompt.shape[1]
    if isinstance(mask, Tensor) and mask.dim() == 2:
        length = max(length, mask.shape[1])
    past = tokens_in(cache)
    return Run(ids, length if length > past else past + length, drafts)
