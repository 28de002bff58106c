"""From retention to whole visual tokens per cut. The only place where a share becomes a count.

Retention as in VScan (arXiv 2505.22654): average over decoder layers of the share of visual tokens that enter each.
A schedule is {layer: visual tokens that enter from this layer on}; layer 0 is the entrance of the LLM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vscan_core.errors import InputError


def check_retention(retention: float) -> float:
    """Return `retention` if it lies in (0, 1], else raise InputError."""
    if isinstance(retention, bool) or not isinstance(retention, (int, float)) or not 0 < retention <= 1:
        raise InputError(f"retention must be above 0 and at most 1 (such as 0.111 for 11.1 %), but is {retention!r}")
    return float(retention)


def whole(keep: int | float, tokens: int) -> int:
    """An explicit budget as whole tokens: an int counts tokens, a float is a share, rounded down as in the papers.

    At least 1, at most `tokens`. whole(96, 576) = 96; whole(0.167, 140) = 23; whole(1.0, 140) = 140.
    """
    count = keep if isinstance(keep, int) else int(keep * tokens)
    return max(1, min(count, tokens))


def check_keep(keep: int | float, name: str) -> None:
    """Raise InputError unless `keep` is a positive int (tokens) or a float share in (0, 1]."""
    whole_tokens = isinstance(keep, int) and not isinstance(keep, bool) and keep >= 1
    share = isinstance(keep, float) and 0 < keep <= 1
    if not (whole_tokens or share):
        raise InputError(
            f"{name} must be a number of tokens (int, at least 1) or a share (float in (0, 1]), not {keep!r}"
        )


def check_layer(layer: int, layers: int, name: str) -> None:
    """Raise InputError, which calls the setting `name`, unless a later cut can be at `layer` of `layers`."""
    if not 1 <= layer < layers:
        raise InputError(f"{name} {layer} does not exist; this model's later cuts can be at layers 1 to {layers - 1}")


def check_layers(layers: Sequence[int], depth: int) -> list[int]:
    """The layers of several later cuts as a list. Raises InputError unless they exist and ascend."""
    for layer in layers:
        check_layer(layer, depth, "layers")
    if not layers or list(layers) != sorted(set(layers)):
        raise InputError(f"layers must be one or more layer numbers in ascending order, but are {tuple(layers)}")
    return list(layers)


def two_stage(retention: float, tokens: int, layers: int, later: int, share: float = 1 / 3) -> tuple[int, int]:
    """(tokens into layers 0..later-1, tokens into layers later..layers-1) whose layer average is `retention`.

    VScan's rule (arXiv 2505.22654): the second cut keeps `share` of what the first keeps. If the first would have to
    keep more than all tokens, it keeps all and the second keeps more. The first count is rounded to the nearest token
    and the second makes up for the rounding, so the true average is within half a token. Raises InputError if
    `retention` is less than one token.

    two_stage(1/9, 576, 32, 16) = (96, 32); two_stage(1/3, 576, 32, 16) = (288, 96); two_stage(1, ...) = all, all.
    """
    wanted = retention * tokens * layers  # tokens summed over layers
    if wanted < layers * (1 - 1e-9):
        raise InputError(
            f"retention {retention:.4g} of {tokens} visual tokens is less than one token; the least is {1 / tokens:.4g}"
        )
    first = min(tokens, max(1, round(wanted / (later + (layers - later) * share))))
    second = round((wanted - first * later) / (layers - later))
    return first, max(1, min(second, first))


def one_cut(retention: float, tokens: int, layers: int, layer: int = 0) -> int:
    """Tokens to keep from `layer` on so that the layer average is `retention`, if all enter the layers before it.

    Rounded to the nearest token. Raises InputError if `retention` is out of reach.
    one_cut(1/9, 576, 32) = 64; one_cut(1/3, 576, 32, 2) = 166.
    """
    wanted = retention * tokens * layers
    check_reachable(wanted, tokens, layers, [layer])
    return max(1, min(tokens, round((wanted - tokens * layer) / (layers - layer))))


def pyramid(
    retention: float, tokens: int, layers: int, cuts: Sequence[int], powers: Sequence[float] | None = None
) -> dict[int, int]:
    """{layer: tokens to keep}, each cut the same share of the previous one, as in PyramidDrop (arXiv 2410.17247).

    The share is chosen so that the layer average is `retention`, within half a token of rounding. With `powers`, which
    ascend, each cut keeps the share to its own power of all tokens instead of to the power 1, 2, 3 and so on. Raises
    InputError if `retention` is out of reach.
    pyramid(0.46875, 576, 32, [8, 16, 24]) = {8: 288, 16: 144, 24: 72}.
    """
    wanted = retention * tokens * layers
    check_reachable(wanted, tokens, layers, cuts)
    spans = [end - start for start, end in zip(cuts, [*cuts[1:], layers], strict=True)]
    raised = range(1, len(cuts) + 1) if powers is None else powers

    def kept(share: float) -> list[float]:
        return [max(1.0, tokens * share**power) for power in raised]

    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        spent = cuts[0] * tokens + sum(span * count for span, count in zip(spans, kept(share), strict=True))
        low, high = (share, high) if spent < wanted else (low, share)
    return {layer: round(count) for layer, count in zip(cuts, kept(high), strict=True)}


def check_reachable(wanted: float, tokens: int, layers: int, cuts: Sequence[int]) -> None:
    """Raise InputError if `wanted`, tokens summed over layers, leaves less than one token from the first cut on."""
    least = cuts[0] * tokens + layers - cuts[0]
    if wanted < least * (1 - 1e-9):
        share = math.ceil(least / (tokens * layers) * 1e4) / 1e4
        raise InputError(
            f"retention {wanted / (tokens * layers):.4g} is out of reach of a method whose first cut is at layer "
            f"{cuts[0]} of {layers}; the least is {share:.4g}"
        )


def average(schedule: Mapping[int, int], tokens: int, layers: int) -> float:
    """Average over layers of the visual tokens that `schedule` lets in. average({0: 96, 16: 32}, 576, 32) = 64."""
    per_layer, now = [], tokens
    for layer in range(layers):
        now = min(now, schedule.get(layer, now))
        per_layer.append(now)
    return sum(per_layer) / layers


def without_idle_cuts(cuts: Mapping[int, int], tokens: int, tiles: int = 1) -> dict[int, int]:
    """Only the cuts that drop tokens; the count of layer 0 is per tile. {0: 96, 8: 96, 16: 32} of 96 -> {16: 32}."""
    kept, now = {}, tokens * tiles
    for layer, keep in sorted(cuts.items()):
        left = keep if layer else keep * tiles
        if left < now:
            kept[layer], now = keep, left
    return kept
