"""A token map as plain numbers, for a page that draws it itself: boxes, fates, merges and scores of one image."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vscan_core.draw.canvas import Canvas
from vscan_core.draw.fates import fates
from vscan_core.trace import ImageTrace

FATE_LABELS = ("global", "local")  # labels that `Fate` tells already
SCORE_DIGITS = 3  # significant digits of a score; ranks are exact


def map_data(trace: ImageTrace, canvas: Canvas) -> dict[str, Any]:
    """Everything that a map of one image shows, as JSON-able numbers and fixed words.

    Args:
        trace: What happened to the image.
        canvas: Its pixels and the boxes of its tokens in them.

    Returns:
        size (width, height) in pixels; tokens; boxes, four numbers per token in pixels, None for tokens without a
        place; tiles, grid and origin as in the trace; cells and frames of a video; cuts (see `cuts_data`); scores:
        name, layer of the cut, values in three significant digits (None: no score) and exact ranks from 1 (0: none).
    """
    return {
        "size": list(canvas.picture.size),
        "tokens": trace.tokens,
        "boxes": [None if math.isnan(x) else round(x, 1) for x in canvas.boxes.flatten().tolist()],
        "tiles": trace.tiles,
        "grid": list(trace.grid) if trace.grid else None,
        "origin": None if trace.origin is None else trace.origin.tolist(),
        "frames": [[frame + 1 for frame in trace.frames_of(tile)] for tile in range(trace.tiles)]
        if trace.frames
        else [],
        "cells": [list(cell) for cell in canvas.cells],
        "times": list(canvas.times),
        "cuts": cuts_data(trace),
        "scores": _scores_data(trace),
    }


def cuts_data(trace: ImageTrace) -> list[dict[str, Any]]:
    """Every cut: its layer, `Fate` values after it as one digit per token, and the token that absorbs each (-1: none).

    `merged` is empty where nothing was merged; `labels` are those that are no fates: name -> indices.
    """
    found = []
    for number, cut in enumerate(trace.cuts, start=1):
        merged = cut.merged_into.tolist()
        found.append(
            {
                "layer": cut.layer,
                "fates": "".join(map(str, fates(trace, number).codes.tolist())),
                "merged": merged if max(merged, default=-1) >= 0 else [],
                "labels": {name: label.tolist() for name, label in cut.labels.items() if name not in FATE_LABELS},
            }
        )
    return found


def ranks_of(scores: Tensor) -> list[int]:
    """Scores (tokens,) -> the rank of each, 1 = highest; ties by the lowest index, as methods choose; NaN: 0.

    0.2, NaN, 0.9 -> 2, 0, 1.
    """
    known = ~scores.isnan()
    order = scores.masked_fill(~known, -torch.inf).argsort(descending=True, stable=True)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(1, len(order) + 1, device=order.device))
    found: list[int] = ranks.masked_fill(~known, 0).tolist()
    return found


def _scores_data(trace: ImageTrace) -> list[dict[str, Any]]:
    found = []
    for cut in trace.cuts:
        for name, score in cut.scores.items():
            values = score.detach().float().cpu()
            if len(values) == trace.tokens and bool(values.isfinite().any()):
                found.append(score_data(name, cut.layer, values))
    return found


def score_data(name: str, layer: int, values: Tensor) -> dict[str, Any]:
    """One score (tokens,) as `map_data` gives it; NaN: the token has none."""
    numbers = [_rounded(value) for value in values.tolist()]
    return {"name": name, "layer": layer, "values": numbers, "ranks": ranks_of(values)}


def _rounded(value: float) -> float | None:
    return float(f"{value:.{SCORE_DIGITS}g}") if math.isfinite(value) else None
