"""Which decoder layer scores each later cut, where some layers have no attention (convolution, linear attention)."""

from __future__ import annotations

from collections.abc import Sequence

from vscan_core.engine.layer_signals import FROM_WEIGHTS
from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer

FROM_ATTENTION = FROM_WEIGHTS | {"text"}  # signals


def score_layers(reducer: Reducer, later: Sequence[int], attending: Sequence[int]) -> dict[int, int]:
    """{later cut: the layer whose weights score it}, for cuts at the layers `later`, ascending.

    It is the layer that the method names. If the method reads attention and this layer has none, it is the last one
    before it that has: its scores are those that the model itself computes, a few layers earlier.

    attending: the decoder layers with attention. Raises InputError for a cut that none of them can score, because the
    tokens that are to be cut have not passed through one since the cut before.
    """
    found, before = dict[int, int](), 0
    for cut in later:
        named = reducer.score_layer(cut)
        if reducer.needs_in_llm & FROM_ATTENTION:
            usable = [layer for layer in attending if before <= layer <= named]
            if not usable:
                raise InputError(_refusal(cut, named, attending))
            named = usable[-1]
        found[cut], before = named, cut
    return found


def _refusal(cut: int, named: int, attending: Sequence[int]) -> str:
    every = ", ".join(map(str, attending))
    deeper = min((layer for layer in attending if layer > named), default=None)
    advice = "use fewer cuts" if deeper is None else f"cut at layer {deeper + cut - named} or deeper"
    return f"nothing can score a cut at decoder layer {cut}: this model has attention only in layers {every}; {advice}"
