"""Signals out of random numbers, for a method that is asked without a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vscan_core.errors import InputError
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.reducers.table import TRIED_ON
from vscan_core.selection import Anatomy, Needs, Selection, Signals

ASKED_ABOUT = TRIED_ON  # LLaVA-1.5 7B
MADE_FRAMES = 3  # of the video for methods that only compare frames
TABLES = {"cls_attention": (5, 22), "received": (8, 22)}  # vision layers that most methods look at


def within_reach(name: str, anatomy: Anatomy = ASKED_ABOUT) -> Reducer:
    """The method of this name with its own settings and the smallest usual budget that it can keep to in `anatomy`."""
    *smaller, largest = (REDUCERS[name](retention=share) for share in (1 / 9, 0.3, 0.5, 0.7, 0.9))
    for reducer in smaller:
        with suppress(InputError):
            reducer.cut_layers(anatomy)
            return reducer
    return largest


def made_up_signals(
    tokens_per_side: int = 24, seed: int = 0, dtype: torch.dtype = torch.float32, needs: Needs | None = None
) -> Signals:
    """Every signal of a square picture, in float16's numbers whatever the type, with the layers that `needs` names."""
    make = torch.Generator().manual_seed(seed)
    tokens, needs = tokens_per_side**2, needs or Needs()

    def attention(*shape: int) -> Tensor:
        return (2 * torch.randn(*shape, generator=make)).softmax(-1).to(dtype)

    rows = {layer: attention(16, tokens) for layer in TABLES["cls_attention"]}
    other: dict[str, Any] = {
        name: torch.randn(count, dim, generator=make).half().to(dtype)
        for name, count, dim in (
            ("projected", tokens, 48),
            ("features", tokens, 32),
            ("keys", tokens, 8),
            ("joint_patches", tokens, 12),
            ("joint_text", 2, 12),
            ("question", 1, 48),
            ("queries", tokens, 4 * 8),
            ("llm_keys", tokens, 2 * 8),
            ("rotated_keys", tokens, 2 * 8),
            ("attended", tokens, 48),
            ("normed", tokens, 48),
            ("text_normed", 5, 48),
            ("text_rotated_keys", 5, 2 * 8),
        )
    }
    other["hidden"] = other["entered"] = other["projected"]
    other["question"] = other["question"][0]
    heads = ("queries", "llm_keys", "rotated_keys", "text_rotated_keys")
    other |= {name: other[name].unflatten(-1, (-1, 8)) for name in heads}
    text = attention(tokens)
    received = {layer: attention(tokens) for layer in TABLES["received"]}
    rows |= {layer: attention(16, tokens) for layer in needs.cls_attention if layer not in rows}
    received |= {layer: attention(tokens) for layer in needs.received if layer not in received}
    inside = {"values": (tokens, 2, 8), "text_values": (5, 2, 8), "front_values": (3, 2, 8)}
    for name, shape in {**inside, "rotary_means": (tokens, 2)}.items():
        other[name] = torch.randn(*shape, generator=make).half().to(dtype)
    return Signals(cls_attention=rows, received=received, text=text, grid=(tokens_per_side, tokens_per_side), **other)


def flat_signals(needs: Needs | None = None) -> Signals:
    """Signals of 6 x 6 tokens of which none differs from another; all numbers are exact in binary, or equal."""
    made = made_up_signals(6, needs=needs)
    short = changed(made, lambda name, tensor: torch.ones_like(tensor[..., :4]))
    rows = {layer: torch.ones(2, 36) / 36 for layer in made.cls_attention}
    received = {layer: torch.ones(36) / 36 for layer in made.received}
    heads: dict[str, Any] = {name: torch.ones(36, 2, 2) for name in ("llm_keys", "rotated_keys", "values")}
    heads |= {name: torch.ones(5, 2, 2) for name in ("text_rotated_keys", "text_values", "front_values")}
    heads |= {"queries": torch.ones(36, 4, 2)}
    return replace(short, cls_attention=rows, received=received, text=torch.ones(36) / 36, **heads)


def changed(signals: Signals, change: Any) -> Signals:
    """The same signals with `change(name, tensor)` for every tensor."""
    new: dict[str, Any] = {}
    for name, value in vars(signals).items():
        if isinstance(value, Tensor):
            new[name] = change(name, value)
        elif isinstance(value, Mapping):
            new[name] = {layer: change(name, rows) for layer, rows in value.items()}
    return replace(signals, **new)


def tensors_of(signals: Signals) -> dict[str, Tensor]:
    """Every tensor by its name, those of layers by name and layer."""
    found = {name: value for name, value in vars(signals).items() if isinstance(value, Tensor)}
    return found | {f"{name} {k}": v for name in TABLES for k, v in getattr(signals, name).items()}


def chosen(reducer: Reducer, signals: Signals, keep: int) -> list[list[Selection]]:
    """What a method chooses wherever it cuts, each time as a list of tiles: one, or the frames of a made-up video.

    The signals are of a square picture.
    """
    found, layers = [], reducer.cut_layers(ASKED_ABOUT)
    if 0 in layers and reducer.sees_all_tiles:
        frames = [changed(signals, lambda name, tensor, by=by: tensor.roll(by, 0)) for by in range(MADE_FRAMES)]
        found.append(reducer.select_tiles(replace(Signals.together(frames), video=True), keep))
    elif 0 in layers:
        found.append([reducer.select(signals, keep)])
    if any(layers):
        tokens = signals.tokens
        side = math.isqrt(tokens)
        places = torch.stack([torch.arange(tokens) % side, torch.arange(tokens) // side], dim=1)
        inside = replace(signals, indices=torch.arange(tokens), places=(places + 0.5) / side)
        found.append([reducer.select_in_llm(inside, keep)])
    return found
