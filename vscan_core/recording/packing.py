"""Traces as JSON types: indices as numbers, scores quantised to 16 bits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vscan_core.recording.checked import of_kind, require
from vscan_core.trace import Cut, ImageTrace, View

LEVELS, NO_SCORE = 65534, 65535
MOST_TOKENS = 1 << 17  # of one picture


def packed_image(image: ImageTrace) -> dict[str, Any]:
    """What all methods' runs on one picture have in common: its tokens and where they are, in its pixels."""
    boxes = None if image.boxes is None else image.boxes
    return {
        "tokens": image.tokens,
        "grid": list(image.grid) if image.grid else None,
        "tiles": image.tiles,
        "tokens_per_tile": image.budget[0],
        "tile_grid": list(image.view.cut),
        "origin": None if image.origin is None else image.origin.tolist(),
        "boxes": None if boxes is None else [None if x != x else round(x, 1) for x in boxes.flatten().tolist()],
    }


def unpacked_image(data: Mapping[str, Any], size: tuple[int, int]) -> ImageTrace:
    """The image without cuts. Raises InputError."""
    tokens = of_kind(data, "tokens", int)
    require(0 < tokens <= MOST_TOKENS, "the number of tokens is out of range")
    grid, cut = (data.get(name) for name in ("grid", "tile_grid"))
    for pair in (grid or [1, 1], cut or [1, 1]):
        require(
            isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n > 0 for n in pair), "a grid is wrong"
        )
    boxes = data.get("boxes")
    if boxes is not None:
        values = [torch.nan if x is None else x for x in of_kind(data, "boxes", list)]
        require(len(values) == 4 * tokens and all(isinstance(x, int | float) for x in values), "the boxes are wrong")
        boxes = torch.tensor(values, dtype=torch.float32).view(-1, 4)
    origin = data.get("origin")
    if origin is not None:
        origin = token_indices(origin, tokens_before=None, least=-1)
        require(len(origin) == tokens, "the origin of tokens is wrong")
    tiles, per_tile = of_kind(data, "tiles", int), of_kind(data, "tokens_per_tile", int)
    require(0 < tiles <= tokens and 0 < per_tile <= MOST_TOKENS, "the tiles are wrong")
    view = View(size=size, cut=(cut[0], cut[1]) if cut else (1, 1))
    return ImageTrace(tokens, tuple(grid) if grid else None, boxes, view, [], tiles, per_tile, origin)


def packed_cut(cut: Cut) -> dict[str, Any]:
    """One cut."""
    merged = cut.merged_into.tolist()
    return {
        "layer": cut.layer,
        "kept": cut.kept.tolist(),
        "labels": {name: index.tolist() for name, index in cut.labels.items()},
        "merged_into": merged if max(merged, default=-1) >= 0 else [],
        "scores": {name: packed_scores(values) for name, values in cut.scores.items()},
    }


def unpacked_cut(data: Mapping[str, Any], tokens: int) -> Cut:
    """One cut of an image of so many tokens. Raises InputError."""
    kept = token_indices(of_kind(data, "kept", list), tokens)
    labels = {str(name): token_indices(value, tokens) for name, value in of_kind(data, "labels", dict).items()}
    merged = of_kind(data, "merged_into", list)
    into = token_indices(merged, tokens, least=-1, ascending=False) if merged else torch.full((tokens,), -1)
    require(len(into) == tokens, "the merges are wrong")
    require(set(into[into >= 0].tolist()) <= set(kept.tolist()), "tokens merge into one that is not kept")
    scores = {str(name): unpacked_scores(value, tokens) for name, value in of_kind(data, "scores", dict).items()}
    layer = of_kind(data, "layer", int)
    require(0 <= layer < 1000, "a layer is out of range")
    return Cut(layer, kept, labels, into, scores)


def packed_scores(values: Tensor) -> dict[str, Any]:
    """Scores (tokens,) -> their range, and 16 bits for each, as base64 of little-endian numbers; 65535: no score."""
    numbers = values.detach().float().cpu().numpy().astype(np.float64)
    known = np.isfinite(numbers)
    low, high = (float(numbers[known].min()), float(numbers[known].max())) if known.any() else (0.0, 0.0)
    levels = np.full(len(numbers), NO_SCORE, np.uint16)
    levels[known] = np.round((numbers[known] - low) / ((high - low) or 1.0) * LEVELS).astype(np.uint16)
    return {"low": low, "high": high, "levels": base64.b64encode(levels.astype("<u2").tobytes()).decode()}


def unpacked_scores(data: Any, tokens: int) -> Tensor:
    """(tokens,) float32, NaN where there is none. Raises InputError."""
    require(isinstance(data, dict), "scores are wrong")
    low, high = (float(of_kind(data, name, float)) for name in ("low", "high"))
    try:
        levels = np.frombuffer(base64.b64decode(of_kind(data, "levels", str), validate=True), "<u2")
    except (binascii.Error, ValueError):
        levels = np.zeros(0, "<u2")
    require(len(levels) == tokens, "scores are wrong")
    values = low + levels.astype(np.float64) / LEVELS * (high - low)
    return torch.from_numpy(np.where(levels == NO_SCORE, np.nan, values).astype(np.float32))


def token_indices(data: Any, tokens_before: int | None, least: int = 0, ascending: bool = True) -> Tensor:
    """A list of token indices as int64. Raises InputError unless they are whole, in range and, if asked, ascending."""
    most = MOST_TOKENS if tokens_before is None else tokens_before
    good = isinstance(data, list) and len(data) <= MOST_TOKENS
    require(good and all(type(n) is int and least <= n < most for n in data), "token indices are out of range")
    found = torch.tensor(data, dtype=torch.int64)
    require(tokens_before is None or not ascending or bool((found.diff() > 0).all()), "token indices are not ascending")
    return found
