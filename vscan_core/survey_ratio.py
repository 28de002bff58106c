"""The FLOP ratio that a survey of the field prints, beside our own counts in `measure`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def survey_flop_ratio(
    tokens_per_layer: Sequence[int], whole: int, text_config: Any, *, as_printed: bool = False
) -> float:
    """FLOPs of a run as a share of those with all tokens, by the "TFLOP ratio" of a survey, corrected or as printed.

    With all mu = `whole` tokens in K of T layers, mu' in the others, width d and MLP width m, it prints
    [K (4 mu d^2 - 2 mu^2 d + 2 mu d m) + (T - K)(4 mu' d^2 - 2 mu' d m)] / [T (4 - mu d^2 - 2 mu^2 d + 2 mu d m)],
    which can be negative, and is not 1 without a cut. Misprints: every term is meant to be added, the denominator
    begins with 4 mu d^2, the pruned layers lack 2 mu'^2 d, and mu' is defined as N + M like mu. Corrected, each layer
    with n tokens counts 4 n d^2 + 2 n^2 d + 2 n d m: as `prefill_tflops` without causality, but with two matrices in
    the MLP for three, and with as many keys as queries.

    Args:
        tokens_per_layer: All tokens that enter each decoder layer. With several cuts, each layer has its own mu'.
        whole: Tokens of the prompt before any cut.
        text_config: Of the LLM, from transformers.

    Source: README of github.com/coder4nlp/Vision-Token-Reduction-Survey, commit 10a8eed, section "TFLOP ratio". The
    count of a layer is that of FastV (arXiv 2403.06764).
    """
    d, m = text_config.hidden_size, text_config.intermediate_size
    if not as_printed:
        counts = [4 * n * d * d + 2 * n * n * d + 2 * n * d * m for n in (*tokens_per_layer, whole)]
        return float(sum(counts[:-1]) / (len(tokens_per_layer) * counts[-1]))
    full = 4 * whole * d * d - 2 * whole * whole * d + 2 * whole * d * m
    spent = sum(full if n == whole else 4 * n * d * d - 2 * n * d * m for n in tokens_per_layer)
    divisor: int = 4 - whole * d * d - 2 * whole * whole * d + 2 * whole * d * m
    return float(spent / (len(tokens_per_layer) * divisor))
