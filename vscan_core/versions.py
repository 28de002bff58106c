"""What the engine takes for granted about transformers, in one place: the names that differ between versions.

Tested from OLDEST to NEWEST (`make versions`). 5.24 renamed `past_key_values` to `cache`, everywhere; callers may
still use the old name. `check` compares the rest with what is installed, once per class of model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache as memoize
from inspect import signature
from typing import Any

import transformers
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, DynamicCache, StaticCache
from transformers.cache_utils import CacheLayerMixin, StaticLayer
from transformers.masking_utils import (
    blockwise_overlay,
    create_causal_mask,
    create_sliding_window_causal_mask,
    sliding_window_overlay,
)

from vscan_core.errors import InputError

OLDEST, NEWEST = "5.17.0", "5.24.0"  # of transformers; pyproject.toml declares the same range
CACHE_NAMES = ("cache", "past_key_values")
CACHE = next(name for name in (*CACHE_NAMES, "") if not name or name in signature(create_causal_mask).parameters)

_MODEL = ("input_ids", "attention_mask", "inputs_embeds", "labels", "logits_to_keep", CACHE)
_BASE = ("input_ids", "attention_mask", "inputs_embeds", "position_ids", CACHE)
_STACK = ("inputs_embeds", "attention_mask", "position_ids", CACHE)
_LAYER = ("hidden_states", "attention_mask", "position_ids", "position_embeddings", CACHE)
_MASK = ("config", "inputs_embeds", "attention_mask", "position_ids", "layer_idx", CACHE)
_CACHE_METHODS = {
    "get_seq_length": ("layer_idx",),
    "get_query_offset": ("layer_idx",),
    "get_mask_sizes": ("query_length", "layer_idx"),
    "update": ("key_states", "value_states", "layer_idx"),
    "crop": ("tokens_to_remove",),
    "reset": (),
    "reorder_cache": ("beam_idx",),
    "batch_select_indices": ("indices",),
    "batch_repeat_interleave": ("repeats",),
}


def cache_in(kwargs: Mapping[str, Any]) -> Any:
    """The KV cache among a call's arguments, under whichever name the caller used; None if there is none."""
    return next((kwargs[name] for name in CACHE_NAMES if kwargs.get(name) is not None), None)


def with_cache(kwargs: Mapping[str, Any], cache: Any) -> dict[str, Any]:
    """The arguments with this KV cache, under the installed version's name."""
    return {**{name: value for name, value in kwargs.items() if name not in CACHE_NAMES}, CACHE: cache}


def cache_out(output: Any) -> Any:
    """The KV cache of a model's output."""
    return output[CACHE]


def causal_mask(
    config: Any,
    hidden: Tensor,
    mask: Tensor | None,
    cache: Any,
    layer: int,
    kind: str = "",
    blocks: Tensor | None = None,
) -> Any:
    """transformers' own mask for decoder layer `layer`; mask (batch, logical length), hidden (batch, length, dim).

    kind: "sliding_attention" for a layer with a window. blocks (batch, length): in such a layer, tokens with the same
    number see each other both ways, if it is not negative; None: none do.
    """
    arguments = {"inputs_embeds": hidden, "attention_mask": mask, "position_ids": None, "layer_idx": layer}
    arguments = with_cache({"config": config, **arguments}, cache)
    if kind != "sliding_attention":
        return create_causal_mask(**arguments)
    if blocks is None:
        return create_sliding_window_causal_mask(**arguments)
    before = 0 if cache is None else cache.get_query_offset(layer)
    return create_causal_mask(
        **arguments,
        or_mask_function=blockwise_overlay(pad(blocks, (before, 0), value=-1)),
        and_mask_function=sliding_window_overlay(config.sliding_window),
    )


def is_static(cache: Any) -> bool:
    """Whether a cache has memory for a fixed length set aside."""
    return bool(getattr(cache, "is_compileable", False))


def check_static(cache: Any) -> None:
    """Raise InputError for a static cache whose layers cannot hold fewer tokens than the caller counts."""
    if getattr(cache, "offloading", False):
        raise InputError('a static cache that is offloaded cannot be shortened; use cache_implementation="static"')
    if any(type(layer) is not StaticLayer for layer in cache.layers):
        raise InputError(
            "a static cache can be shortened only where every decoder layer attends to all tokens, but this model's "
            "cache has layers of another kind (sliding windows, states); leave out cache_implementation (it then grows)"
        )


def counting_layer(cache: Any, layer: int) -> int:
    """The layer of a cache that tells the length at `layer`: itself, or the first that has keys if it has a state."""
    layers = cache.layers
    if layer >= len(layers) or isinstance(layers[layer], CacheLayerMixin):
        return layer
    return next(place for place, one in enumerate(layers) if isinstance(one, CacheLayerMixin))


def new_cache(config: Any) -> Any:
    """An empty cache that grows."""
    return DynamicCache(config=config)


def new_static_cache(config: Any, length: int) -> Any:
    """An empty cache for `length` tokens, whose memory is set aside at its first use."""
    return StaticCache(config=config, max_cache_len=length)


def check(*classes: Any) -> None:
    """Compare what the hooks read, write and override with the classes of a model, its base, decoder and layers.

    Raises RuntimeError, one sentence, for a version of transformers that differs: a hook that reads an argument
    under another name would silently do nothing.
    """
    if missing := _differences(*classes):
        raise RuntimeError(
            f"transformers {transformers.__version__} differs from the versions that this library supports ({OLDEST} "
            f"to {NEWEST}): it lacks {', '.join(missing)}; install a version in that range"
        )


@memoize
def _differences(*classes: Any) -> tuple[str, ...]:
    missing = _missing("create_causal_mask", create_causal_mask, _MASK)
    missing += _missing("create_sliding_window_causal_mask", create_sliding_window_causal_mask, _MASK)
    for cls, arguments in zip(classes, (_MODEL, _BASE, _STACK, _LAYER), strict=True):
        missing += _missing(cls.__name__, _function(cls.forward), arguments)
    for name, arguments in _CACHE_METHODS.items():
        method = getattr(Cache, name, None)
        missing += [f"Cache.{name}"] if method is None else _missing(f"Cache.{name}", method, arguments)
    return tuple(missing)


def _missing(place: str, function: Callable[..., Any], expected: Iterable[str]) -> list[str]:
    parameters = signature(function).parameters
    return [f"{name or 'the cache argument'} of {place}" for name in expected if name not in parameters]


def _function(forward: Any) -> Callable[..., Any]:
    """The forward with named parameters, below decorators that only pass on."""
    while hasattr(forward, "__wrapped__"):
        forward = forward.__wrapped__
    function: Callable[..., Any] = forward
    return function
