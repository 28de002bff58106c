"""Retention <-> whole visual tokens per stage. The only place where a share becomes a count.

Retention is the paper's: the average, over all decoder layers, of the share of visual tokens that enter the layer.
A schedule is {layer: visual tokens that enter from this layer on}; layer 0 is the entrance of the LLM.
"""

from __future__ import annotations

from collections.abc import Mapping

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
        raise InputError(f"{name} must be a number of tokens (int, from 1) or a share (float in (0, 1]), not {keep!r}")


def two_stage(retention: float, tokens: int, layers: int, later: int, share: float = 1 / 3) -> tuple[int, int]:
    """(tokens into layers 0..later-1, tokens into layers later..layers-1) whose layer average is `retention`.

    The second cut keeps `share` of what the first kept, while that is possible; where the first would have to keep
    more than everything, it keeps everything and the second cut keeps more. The first count is rounded to the
    nearest token; the second then takes up the rounding, so the true average is within half a token of the asked.

    two_stage(1/9, 576, 32, 16) = (96, 32); two_stage(1/3, 576, 32, 16) = (288, 96); two_stage(1, ...) = all, all.
    """
    wanted = retention * tokens * layers  # token-layers to spend
    if wanted < layers * (1 - 1e-9):
        raise InputError(
            f"retention {retention:.4g} of {tokens} visual tokens is less than one token; the least is {1 / tokens:.4g}"
        )
    first = min(tokens, max(1, round(wanted / (later + (layers - later) * share))))
    second = round((wanted - first * later) / (layers - later))
    return first, max(1, min(second, first))


def average(schedule: Mapping[int, int], tokens: int, layers: int) -> float:
    """Layer average of visual tokens that `schedule` spends. average({0: 96, 16: 32}, 576, 32) = 64."""
    per_layer, now = [], tokens
    for layer in range(layers):
        now = min(now, schedule.get(layer, now))
        per_layer.append(now)
    return sum(per_layer) / layers
