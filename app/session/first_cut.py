"""The first cut of a reducer on a picture, without the language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vscan_core.engine.preview import VisionPreview
from vscan_core.trace import ImageTrace

from .scan import scan_data

if TYPE_CHECKING:
    from vscan_core import Reducer


@dataclass(frozen=True)
class FirstCut:
    """What a cut keeps, and what follows from it."""

    trace: ImageTrace
    boxes: Tensor  # (tokens, 4) on the CPU, in pixels of the picture
    schedule: dict[int, int]  # {layer: visual tokens of the picture that enter from there on}
    scan: dict[str, Any] | None = None  # of VScan: what a browser needs to repeat it, see `scan_data`
    reads_twice: bool = False  # an unsure answer is asked for again with all visual tokens


def first_cut(vision: VisionPreview, reducer: Reducer) -> FirstCut:
    """Cut what the vision encoder gave. Raises InputError if the method refuses it."""
    anatomy, trace = vision.encoder.anatomy, vision.trace(reducer)
    per_tile, tiles = trace.budget
    schedule = reducer.schedule(per_tile, anatomy, tiles)
    if 0 in schedule:  # planned per tile; newline tokens stay, and padding was never there
        schedule[0] = len(trace.kept)
    twice = reducer.unsure_below is not None
    return FirstCut(trace, vision.boxes.cpu(), schedule, scan_data(vision, reducer, anatomy), twice)


def prefill_lengths(layers: int, prompt: int, tokens: int, schedule: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """How many tokens enter each layer of a prefill, dense and by a schedule.

    Of a prompt of 30, 20 of them visual, in 3 layers by {0: 10, 2: 5} -> [30, 30, 30] and [20, 20, 15].
    """
    left = [tokens] * layers
    for layer, number in sorted(schedule.items()):
        left[layer:] = [number] * (layers - layer)
    return [prompt] * layers, [prompt - tokens + number for number in left]
