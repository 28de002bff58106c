"""The limit of any method with a given schedule: the stock decoder at the schedule's own lengths, without a hook.

No score is computed, nothing is selected, and nothing is gathered; only the layers run, on random embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import groupby
from typing import Any

import torch
from torch import nn

from vscan_core.lvlm import LVLM
from vscan_core.measure import Stopwatch
from vscan_core.versions import CACHE, new_cache


def segments(tokens_per_layer: Sequence[int]) -> list[tuple[range, int]]:
    """Neighbouring layers of one length, and this length. [9, 9, 4] -> [(0 to 1, 9), (2, 4)]."""
    found, start = [], 0
    for length, group in groupby(tokens_per_layer):
        stop = start + len(list(group))
        found.append((range(start, stop), length))
        start = stop
    return found


def slice_of(decoder: Any, layers: range) -> Any:
    """A decoder stack of some of the layers of `decoder`, whose weights it shares; `decoder` stays as it is."""
    part = copy(decoder)
    part._modules = dict(decoder._modules)
    part.layers = nn.ModuleList(list(decoder.layers)[layers.start : layers.stop])
    part.config = copy(decoder.config)
    part.config.num_hidden_layers = len(layers)
    return part


class Limit:
    """A schedule on a model's stock decoder."""

    def __init__(self, lvlm: LVLM, tokens_per_layer: Sequence[int], rows: int = 1) -> None:
        decoder = lvlm.family.language_model(lvlm.model)
        self.model, self.stopwatch, self.decoder = lvlm.model, Stopwatch(lvlm.device), decoder
        self.pieces = []
        for layers, length in segments(tokens_per_layer):
            shape = (rows, length, decoder.config.hidden_size)
            rand = torch.Generator(lvlm.device).manual_seed(0)
            hidden = torch.randn(shape, generator=rand, device=lvlm.device, dtype=lvlm.model.dtype)
            self.pieces.append((slice_of(decoder, layers), hidden))

    @torch.inference_mode()
    def run(self) -> dict[str, float]:
        """Milliseconds of all segments, the LM head on the last row included."""
        start = self.stopwatch.mark()
        for part, hidden in self.pieces:
            cache = new_cache(self.decoder.config)
            out = part(inputs_embeds=hidden, use_cache=True, **{CACHE: cache}).last_hidden_state
        self.model.get_output_embeddings()(out[:, -1:]).argmax(-1)
        end = self.stopwatch.mark()
        self.stopwatch.wait()
        return {"prefill_and_reduce_ms": self.stopwatch.ms(start, end)}
